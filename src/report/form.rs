//! What an edition of the form is: its tables, row by row, in the words of the official notice.
//!
//! A form is data. Reading, checking, the JSON Schema, the messages and the page are all made by
//! walking it, so that a label on the page and the same label in a message cannot differ.

use std::ops::RangeInclusive;

/// An edition of the official form.
#[derive(Debug)]
pub struct Form {
    /// The contract's name, as `annual-report/2021`.
    pub name: &'static str,
    /// The edition alone, as `2021`.
    pub edition: &'static str,
    /// The reporting years it serves.
    pub years: RangeInclusive<u16>,
    /// The notice that prescribes it.
    pub notice: &'static str,
    /// 二、主动公开政府信息情况, table 2.
    pub disclosure: &'static [Band],
    /// 三、收到和处理政府信息公开申请情况, table 3.
    pub requests: &'static [Line],
    /// Whether section 六 must state the 信息处理费.
    pub states_fee: bool,
    /// 原则上不超过一千字: characters that 总体情况 should not exceed.
    pub overview_characters: Option<usize>,
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

/// The index of 总计 among [`APPLICANTS`].
pub const ALL_APPLICANTS: usize = 6;

/// The five columns of each group of table 4.
pub const RESULTS: [(&str, &str); 5] = [
    ("upheld", "结果维持"),
    ("corrected", "结果纠正"),
    ("other", "其他结果"),
    ("pending", "尚未审结"),
    ("total", "总计"),
];

/// The index of 总计 among [`RESULTS`].
pub const ALL_RESULTS: usize = 4;

/// The three groups of table 4: pointer below `/data/review_and_litigation`, and label.
pub const REVIEW_GROUPS: [(&str, &str); 3] = [
    ("/reconsideration", "行政复议"),
    ("/litigation/direct", "行政诉讼 未经复议直接起诉"),
    ("/litigation/after_reconsideration", "行政诉讼 复议后起诉"),
];

/// The sentence that both editions print in table 3.
pub const RECONCILIATION: &str =
    "（本列数据的勾稽关系为：第一项加第二项之和，等于第三项加第四项之和）";

/// The sections: the contract's name and the official heading, the same in both editions.
pub const SECTIONS: [(&str, &str); 6] = [
    ("overview", "一、总体情况"),
    ("proactive_disclosure", "二、主动公开政府信息情况"),
    ("requests", "三、收到和处理政府信息公开申请情况"),
    (
        "review_and_litigation",
        "四、政府信息公开行政复议、行政诉讼情况",
    ),
    ("problems_and_improvements", "五、存在的主要问题及改进情况"),
    ("other_matters", "六、其他需要报告的事项"),
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
