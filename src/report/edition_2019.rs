//! The trial form, for the reports of 2019 and 2020: 《中华人民共和国政府信息公开工作年度报告格式
//! （试行）》, 国办公开办函〔2019〕60号.

use super::form::*;

const MADE_AND_DISCLOSED: &[Figure] = &[
    Figure {
        field: "made",
        label: "本年新\n制作数量",
        kind: Kind::Count,
    },
    Figure {
        field: "disclosed",
        label: "本年新\n公开数量",
        kind: Kind::Count,
    },
    Figure {
        field: "public_total",
        label: "对外公开总数量",
        kind: Kind::Count,
    },
];

const ITEMS_AND_DECISIONS: &[Figure] = &[
    Figure {
        field: "previous_items",
        label: "上一年项目数量",
        kind: Kind::Count,
    },
    Figure {
        field: "change",
        label: "本年增/减",
        kind: Kind::Change,
    },
    Figure {
        field: "decisions",
        label: "处理决定数量",
        kind: Kind::Count,
    },
];

/// The 2019 edition.
pub static FORM: Form = Form {
    name: "annual-report/2019",
    edition: "2019",
    years: 2019..=2020,
    notice: "国办公开办函〔2019〕60号",
    disclosure: &[
        Band {
            field: "article_20_1",
            label: "第二十条第（一）项",
            figures: MADE_AND_DISCLOSED,
            items: &[
                Item {
                    field: "rules",
                    label: "规章",
                },
                Item {
                    field: "normative_documents",
                    label: "规范性文件",
                },
            ],
        },
        Band {
            field: "article_20_5",
            label: "第二十条第（五）项",
            figures: ITEMS_AND_DECISIONS,
            items: &[
                Item {
                    field: "licensing",
                    label: "行政许可",
                },
                Item {
                    field: "other_services",
                    label: "其他对外管理服务事项",
                },
            ],
        },
        Band {
            field: "article_20_6",
            label: "第二十条第（六）项",
            figures: ITEMS_AND_DECISIONS,
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
            figures: &[
                Figure {
                    field: "previous_items",
                    label: "上一年项目数量",
                    kind: Kind::Count,
                },
                Figure {
                    field: "change",
                    label: "本年增/减",
                    kind: Kind::Change,
                },
            ],
            items: &[Item {
                field: "fees",
                label: "行政事业性收费",
            }],
        },
        Band {
            field: "article_20_9",
            label: "第二十条第（九）项",
            figures: &[
                Figure {
                    field: "items",
                    label: "采购项目数量",
                    kind: Kind::Count,
                },
                Figure {
                    field: "amount",
                    label: "采购总金额",
                    kind: Kind::Amount,
                },
            ],
            items: &[Item {
                field: "procurement",
                label: "政府集中采购",
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
                Line::Row {
                    field: "other",
                    label: "（六）其他处理",
                },
                OUTCOME_TOTAL,
            ],
        },
        CARRIED_OUT_LINE,
    ],
    states_fee: false,
    overview_characters: None,
};
