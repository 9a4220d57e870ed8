//! The annual report's tables, row by row, in the words of the official notices: what the forms of
//! the templates and the pages made with them are held to.
//!
//! 国办公开办函〔2019〕60号 for the reports of 2019 and 2020, 国办公开办函〔2021〕30号 for those after.

/// An edition of the official form.
#[derive(Debug)]
pub struct Form {
    /// The contract's name, as `annual-report/2021`.
    pub name: &'static str,
    /// The edition alone, as `2021`.
    pub edition: &'static str,
    /// 二、主动公开政府信息情况, table 2.
    pub disclosure: &'static [Band],
    /// 三、收到和处理政府信息公开申请情况, table 3.
    pub requests: &'static [Line],
}

/// A band of table 2: 第二十条第（N）项 and the rows under it.
#[derive(Debug)]
pub struct Band {
    /// The contract's name.
    pub field: &'static str,
    /// The band's text.
    pub label: &'static str,
    /// The columns after 信息内容.
    pub figures: &'static [Figure],
    /// The rows.
    pub items: &'static [Item],
}

/// A row of table 2.
#[derive(Debug)]
pub struct Item {
    /// The contract's name.
    pub field: &'static str,
    /// The row's text.
    pub label: &'static str,
}

/// A column of a band of table 2.
#[derive(Debug)]
pub struct Figure {
    /// The contract's name.
    pub field: &'static str,
    /// The column's text, with the line break that the official form has in it.
    pub label: &'static str,
    /// What stands in it.
    pub kind: Kind,
}

impl Figure {
    /// The column's text on one line.
    pub fn name(&self) -> String {
        self.label.replace('\n', "")
    }
}

/// What stands in a cell of table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A non-negative whole number, with or without a remark.
    Count,
    /// A signed whole number, printed with its sign: 本年增/减.
    Change,
    /// A decimal with the unit that the agency uses (采购总金额, 2019).
    Amount,
    /// A decimal in 万元 (本年收费金额, 2021).
    AmountWan,
}

/// A line of table 3: a row of seven cells, or a group of lines under one label.
#[derive(Debug)]
pub enum Line {
    /// Seven cells.
    Row {
        /// The contract's name.
        field: &'static str,
        /// The row's text.
        label: &'static str,
    },
    /// A label that spans the lines under it.
    Group {
        /// The contract's name.
        field: &'static str,
        /// The group's text.
        label: &'static str,
        /// The lines.
        lines: &'static [Line],
    },
}

/// A row of table 3 with its place in the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlace {
    /// JSON Pointer below `/data/requests`, as `/outcome/refused/state_secret`.
    pub pointer: String,
    /// The labels from the outside in, without 三、本年度办理结果: `（三）不予公开 1.属于国家秘密`.
    pub label: String,
}

impl RowPlace {
    /// Whether this is the row （七）总计, which sums the rows above it.
    pub fn is_total(&self) -> bool {
        self.pointer == TOTAL
    }

    /// Whether this is a row that （七）总计 sums.
    pub fn is_summand(&self) -> bool {
        self.pointer.starts_with("/outcome/") && !self.is_total()
    }
}

/// 一、本年新收.
pub const RECEIVED: &str = "/received";
/// 二、上年结转.
pub const CARRIED_IN: &str = "/carried_in";
/// 三（七）总计.
pub const TOTAL: &str = "/outcome/total";
/// 四、结转下年度继续办理.
pub const CARRIED_OUT: &str = "/carried_out";

impl Form {
    /// The rows of table 3 in their order on the page.
    pub fn rows(&self) -> Vec<RowPlace> {
        fn walk(lines: &'static [Line], pointer: &str, label: &str, rows: &mut Vec<RowPlace>) {
            for line in lines {
                match line {
                    Line::Row { field, label: own } => rows.push(RowPlace {
                        pointer: format!("{pointer}/{field}"),
                        label: join(label, own),
                    }),
                    // 三、本年度办理结果 spans nearly the whole table: naming it says nothing.
                    Line::Group {
                        field: "outcome",
                        lines,
                        ..
                    } => {
                        walk(lines, &format!("{pointer}/outcome"), label, rows);
                    }
                    Line::Group {
                        field,
                        label: own,
                        lines,
                    } => {
                        walk(
                            lines,
                            &format!("{pointer}/{field}"),
                            &join(label, own),
                            rows,
                        );
                    }
                }
            }
        }
        let mut rows = Vec::new();
        walk(self.requests, "", "", &mut rows);
        rows
    }

    /// The cells of table 2 in their order on the page: band, row, column.
    pub fn figures(&self) -> impl Iterator<Item = (&'static Band, &'static Item, &'static Figure)> {
        self.disclosure.iter().flat_map(|band| {
            band.items
                .iter()
                .flat_map(move |item| band.figures.iter().map(move |figure| (band, item, figure)))
        })
    }
}

fn join(outer: &str, inner: &str) -> String {
    if outer.is_empty() {
        inner.to_owned()
    } else {
        format!("{outer} {inner}")
    }
}

/// The seven columns of table 3: the contract's name and 申请人情况.
pub const APPLICANTS: [(&str, &str); 7] = [
    ("natural_person", "自然人"),
    ("business", "商业企业"),
    ("research", "科研机构"),
    ("public_welfare", "社会公益组织"),
    ("legal_service", "法律服务机构"),
    ("other", "其他"),
    ("total", "总计"),
];

/// The five columns of each group of table 4.
pub const RESULTS: [(&str, &str); 5] = [
    ("upheld", "结果维持"),
    ("corrected", "结果纠正"),
    ("other", "其他结果"),
    ("pending", "尚未审结"),
    ("total", "总计"),
];

/// The three groups of table 4: pointer below `/data/review_and_litigation`, and label.
pub const REVIEW_GROUPS: [(&str, &str); 3] = [
    ("/reconsideration", "行政复议"),
    ("/litigation/direct", "行政诉讼 未经复议直接起诉"),
    ("/litigation/after_reconsideration", "行政诉讼 复议后起诉"),
];

/// （一）（二） of the outcome, the same in both editions.
pub const GRANTED: Line = Line::Row {
    field: "granted",
    label: "（一）予以公开",
};
/// （二）
pub const PARTIALLY_GRANTED: Line = Line::Row {
    field: "partially_granted",
    label: "（二）部分公开（区分处理的，只计这一情形，不计其他情形）",
};
/// （三）
pub const REFUSED: Line = Line::Group {
    field: "refused",
    label: "（三）不予公开",
    lines: &[
        Line::Row {
            field: "state_secret",
            label: "1.属于国家秘密",
        },
        Line::Row {
            field: "prohibited_by_law",
            label: "2.其他法律行政法规禁止公开",
        },
        Line::Row {
            field: "security_and_stability",
            label: "3.危及“三安全一稳定”",
        },
        Line::Row {
            field: "third_party_rights",
            label: "4.保护第三方合法权益",
        },
        Line::Row {
            field: "internal_affairs",
            label: "5.属于三类内部事务信息",
        },
        Line::Row {
            field: "deliberative_process",
            label: "6.属于四类过程性信息",
        },
        Line::Row {
            field: "enforcement_file",
            label: "7.属于行政执法案卷",
        },
        Line::Row {
            field: "inquiry_matter",
            label: "8.属于行政查询事项",
        },
    ],
};
/// （四）
pub const UNABLE: Line = Line::Group {
    field: "unable",
    label: "（四）无法提供",
    lines: &[
        Line::Row {
            field: "not_held",
            label: "1.本机关不掌握相关政府信息",
        },
        Line::Row {
            field: "needs_creation",
            label: "2.没有现成信息需要另行制作",
        },
        Line::Row {
            field: "still_unclear",
            label: "3.补正后申请内容仍不明确",
        },
    ],
};
/// （五）
pub const NOT_PROCESSED: Line = Line::Group {
    field: "not_processed",
    label: "（五）不予处理",
    lines: &[
        Line::Row {
            field: "petition",
            label: "1.信访举报投诉类申请",
        },
        Line::Row {
            field: "repeated",
            label: "2.重复申请",
        },
        Line::Row {
            field: "publications",
            label: "3.要求提供公开出版物",
        },
        Line::Row {
            field: "excessive",
            label: "4.无正当理由大量反复申请",
        },
        Line::Row {
            field: "reissue",
            label: "5.要求行政机关确认或重新出具已获取信息",
        },
    ],
};
/// （七）
pub const OUTCOME_TOTAL: Line = Line::Row {
    field: "total",
    label: "（七）总计",
};
/// 一
pub const RECEIVED_LINE: Line = Line::Row {
    field: "received",
    label: "一、本年新收政府信息公开申请数量",
};
/// 二
pub const CARRIED_IN_LINE: Line = Line::Row {
    field: "carried_in",
    label: "二、上年结转政府信息公开申请数量",
};
/// 四
pub const CARRIED_OUT_LINE: Line = Line::Row {
    field: "carried_out",
    label: "四、结转下年度继续办理",
};
/// The label of 三.
pub const OUTCOME_LABEL: &str = "三、本年度办理结果";

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
pub static FORM_2019: Form = Form {
    name: "annual-report/2019",
    edition: "2019",
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
};

const DECISIONS: &[Figure] = &[Figure {
    field: "decisions",
    label: "本年处理决定数量",
    kind: Kind::Count,
}];

/// The 2021 edition.
pub static FORM_2021: Form = Form {
    name: "annual-report/2021",
    edition: "2021",
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
};

/// Both editions.
pub static FORMS: [&Form; 2] = [&FORM_2019, &FORM_2021];
