//! The form for the reports of 2021 and after: 《中华人民共和国政府信息公开工作年度报告格式》,
//! 国办公开办函〔2021〕30号.

use super::form::*;

const DECISIONS: &[Figure] = &[Figure {
    field: "decisions",
    label: "本年处理决定数量",
    kind: Kind::Count,
}];

/// The 2021 edition.
pub static FORM: Form = Form {
    name: "annual-report/2021",
    edition: "2021",
    years: 2021..=2100,
    notice: "国办公开办函〔2021〕30号",
    disclosure: &[
        Band {
            field: "article_20_1",
            label: "第二十条第（一）项",
            figures: &[
                Figure {
                    field: "issued",
                    label: "本年制发件数",
                    kind: Kind::Count,
                },
                Figure {
                    field: "repealed",
                    label: "本年废止件数",
                    kind: Kind::Count,
                },
                Figure {
                    field: "in_force",
                    label: "现行有效件数",
                    kind: Kind::Count,
                },
            ],
            items: &[
                Item {
                    field: "rules",
                    label: "规章",
                },
                Item {
                    field: "normative_documents",
                    label: "行政规范性文件",
                },
            ],
        },
        Band {
            field: "article_20_5",
            label: "第二十条第（五）项",
            figures: DECISIONS,
            items: &[Item {
                field: "licensing",
                label: "行政许可",
            }],
        },
        Band {
            field: "article_20_6",
            label: "第二十条第（六）项",
            figures: DECISIONS,
            items: &[
                Item {
                    field: "penalties",
                    label: "行政处罚",
                },
                Item {
                    field: "coercion",
                    label: "行政强制",
                },
            ],
        },
        Band {
            field: "article_20_8",
            label: "第二十条第（八）项",
            figures: &[Figure {
                field: "amount",
                label: "本年收费金额（单位：万元）",
                kind: Kind::AmountWan,
            }],
            items: &[Item {
                field: "fees",
                label: "行政事业性收费",
            }],
        },
    ],
    requests: &[
        RECEIVED_LINE,
        CARRIED_IN_LINE,
        Line::Group {
            field: "outcome",
            label: OUTCOME_LABEL,
            lines: &[
                GRANTED,
                PARTIALLY_GRANTED,
                REFUSED,
                UNABLE,
                NOT_PROCESSED,
                Line::Group {
                    field: "other",
                    label: "（六）其他处理",
                    lines: &[
                        Line::Row {
                            field: "overdue_correction",
                            label: "1.申请人无正当理由逾期不补正、行政机关不再处理其政府信息公开申请",
                        },
                        Line::Row {
                            field: "overdue_fee",
                            label: "2.申请人逾期未按收费通知要求缴纳费用、行政机关不再处理其政府信息公开申请",
                        },
                        Line::Row {
                            field: "other",
                            label: "3.其他",
                        },
                    ],
                },
                OUTCOME_TOTAL,
            ],
        },
        CARRIED_OUT_LINE,
    ],
    states_fee: true,
    overview_characters: Some(1000),
};
