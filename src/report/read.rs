//! How the report is read out of JSON, field by field, in the order of the form.
//!
//! What cannot be read is noted and stands in the report as a placeholder, so that the rules
//! still see the rest and every problem is told at once.

use rust_decimal::Decimal;
use time::Date;
use unicode_normalization::UnicodeNormalization as _;

use super::form::{self, APPLICANTS, Figure, Form, Kind, RESULTS, REVIEW_GROUPS, SECTIONS};
use super::json::{Fields, Node, Place, Problems, bad, items, wrong, wrong_but};
use super::text::{self, Kind as Text};
use super::{
    Block, Cell, Disclosure, FORMS, MARKS, MAX_COUNT, Money, Prior, Report, Requests, Review, Row,
    Value, block_texts, edition_2019,
};
use crate::config::Limits;
use crate::problem::{Code, Problem};

/// Reads the `data` of a job. What cannot be read is noted in `problems` and stands in the
/// report as a placeholder, so that the rules still see the rest.
pub fn report(
    node: &Node,
    place: &Place,
    form: &'static Form,
    limits: &Limits,
    problems: &mut Problems,
) -> Report {
    let mut report = Report {
        form,
        agency: String::new(),
        year: 0,
        chosen_title: None,
        issued_on: None,
        introduction: Vec::new(),
        overview: Vec::new(),
        disclosure: Disclosure::default(),
        requests: Requests::default(),
        review: Review::default(),
        problems_and_improvements: Vec::new(),
        other_matters: Vec::new(),
    };
    let Some(mut fields) = Fields::of(node, place, problems) else {
        return report;
    };

    if let Some((node, place)) = fields.required("agency", "发文机关", problems) {
        report.agency = text::read(node, &place, Text::Line, problems);
    }
    if let Some((node, place)) = fields.required("year", "年度", problems) {
        report.year = read_year(node, &place, form, problems);
    }
    if let Some((node, place)) = fields.optional("title", "标题") {
        report.chosen_title = Some(text::read(node, &place, Text::Lines, problems));
    }
    if let Some((node, place)) = fields.optional("issued_on", "成文日期") {
        report.issued_on = read_date(node, &place, problems);
    }
    let mut prose = Prose {
        limits,
        paragraphs: 0,
        characters: 0,
    };
    if let Some((node, place)) = fields.optional("introduction", "引言") {
        report.introduction = prose.blocks(node, &place, problems);
    }
    for (name, heading) in SECTIONS {
        let Some((node, place)) = fields.required(name, heading, problems) else {
            continue;
        };
        match name {
            "proactive_disclosure" => {
                report.disclosure = read_disclosure(node, &place, form, &mut prose, problems);
            }
            "requests" => {
                report.requests = read_requests(node, &place, form, &mut prose, problems);
            }
            "review_and_litigation" => {
                report.review = read_review(node, &place, &mut prose, problems);
            }
            _ => {
                let blocks = prose.blocks(node, &place, problems);
                match name {
                    "overview" => report.overview = blocks,
                    "problems_and_improvements" => report.problems_and_improvements = blocks,
                    _ => report.other_matters = blocks,
                }
            }
        }
    }
    fields.finish(problems);
    prose.check(place, problems);
    report
}

fn read_year(node: &Node, place: &Place, form: &Form, problems: &mut Problems) -> u16 {
    let year = node.whole().and_then(|year| u16::try_from(year).ok());
    let Some(year) = year.filter(|year| (2008..=2100).contains(year)) else {
        wrong(
            problems,
            place,
            node,
            "a year from 2008 to 2100",
            "2008至2100的年份",
        );
        return 0;
    };
    if !form.years.contains(&year) {
        let (from, to) = (form.years.start(), form.years.end());
        let other = FORMS.iter().find(|form| form.years.contains(&year));
        let (en, zh) = match other {
            Some(other) => (
                format!("; the report for {year} uses {}", other.name),
                format!("；{year}年度报告应使用 {}（{}）", other.name, other.notice),
            ),
            None => Default::default(),
        };
        problems.push(
            Problem::new(
                Code::Edition,
                &place.pointer,
                format!(
                    "{} serves the years {from} to {to}, not {year}{en}",
                    form.name
                ),
                format!(
                    "{}适用于{from}至{to}年度，不适用于{year}年度{zh}",
                    form.name
                ),
            )
            .with(format!("{from}-{to}"), year),
        );
    }
    year
}

fn read_date(node: &Node, place: &Place, problems: &mut Problems) -> Option<Date> {
    let form = time::macros::format_description!("[year]-[month]-[day]");
    let date = node.as_str().and_then(|text| Date::parse(text, form).ok());
    if date.is_none() {
        let (en, zh) = (
            "a date that exists, as \"2021-01-26\"",
            "真实日期，格式如“2021-01-26”",
        );
        wrong(problems, place, node, en, zh);
    }
    date
}

/// Reads the text, and counts what it uses of its limits.
struct Prose<'a> {
    limits: &'a Limits,
    paragraphs: usize,
    characters: usize,
}

impl Prose<'_> {
    fn check(&self, place: &Place, problems: &mut Problems) {
        let limits = self.limits;
        for (spent, limit, key, en, zh) in [
            (
                self.paragraphs,
                limits.paragraphs,
                "paragraphs",
                "paragraphs and rows",
                "个段落和表行",
            ),
            (
                self.characters,
                limits.characters,
                "characters",
                "characters",
                "个字符",
            ),
        ] {
            if spent > limit {
                problems.push(
                    Problem::new(
                        Code::Schema,
                        &place.pointer,
                        format!(
                            "the text has {spent} {en}; this service takes {limit} (limits.{key})"
                        ),
                        format!("正文共{spent}{zh}，超过上限{limit}（limits.{key}）"),
                    )
                    .with(limit, spent),
                );
            }
        }
    }

    /// The blocks of an array.
    fn blocks(&mut self, node: &Node, place: &Place, problems: &mut Problems) -> Vec<Block> {
        let mut blocks = Vec::new();
        for (node, place) in items(node, place, problems) {
            if self.paragraphs > self.limits.paragraphs {
                // Over the limit already: count on, but collect no problems of what is not wanted.
                self.paragraphs += 1;
                continue;
            }
            if let Some(block) = read_block(node, &place, problems) {
                let texts = block_texts(&block);
                self.characters += texts
                    .iter()
                    .map(|(_, text)| text.chars().count())
                    .sum::<usize>();
                self.paragraphs += match &block {
                    Block::Table { rows, .. } => rows.len() + 1,
                    _ => 1,
                };
                blocks.push(block);
            }
        }
        blocks
    }

    /// The text between the heading of a section and its table.
    fn introduction(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Block> {
        match fields.optional("introduction", "表前文字") {
            Some((node, place)) => self.blocks(node, &place, problems),
            None => Vec::new(),
        }
    }
}

fn read_block(node: &Node, place: &Place, problems: &mut Problems) -> Option<Block> {
    const EN: &str = "a paragraph, {\"heading\": …} or {\"table\": …}";
    const ZH: &str = "段落、{\"heading\": …}或{\"table\": …}";
    if let Node::String(_) = node {
        let text = text::read(node, place, Text::Paragraph, problems);
        return Some(Block::Paragraph(text));
    }
    let Node::Object(pairs) = node else {
        wrong(problems, place, node, EN, ZH);
        return None;
    };
    let mut fields = Fields::of(node, place, problems)?;
    let heading = fields.optional("heading", "");
    let table = fields.optional("table", "");
    fields.finish(problems);
    match (heading, table) {
        (Some((node, place)), None) => {
            let text = text::read(node, &place, Text::Line, problems);
            Some(Block::Heading(text))
        }
        (None, Some((node, place))) => read_table(node, &place, problems),
        (None, None) if !pairs.is_empty() => None, // an unknown field, noted already
        _ => {
            let name = place.name();
            bad(
                problems,
                place,
                &format!("want {EN}"),
                &format!("{name}应为{ZH}"),
            );
            None
        }
    }
}

fn read_table(node: &Node, place: &Place, problems: &mut Problems) -> Option<Block> {
    let mut fields = Fields::of(node, place, problems)?;
    let columns = fields.required("columns", "表头", problems);
    let rows = fields.required("rows", "表行", problems);
    let caption = fields.optional("caption", "表题");
    fields.finish(problems);

    let caption = caption.map(|(node, place)| text::read(node, &place, Text::Lines, problems));
    let (columns_node, columns_place) = columns?;
    let columns: Vec<String> = items(columns_node, &columns_place, problems)
        .into_iter()
        .map(|(node, place)| table_cell(node, &place, problems))
        .collect();
    if columns.is_empty() {
        bad(
            problems,
            &columns_place,
            "a table needs a column",
            "表格至少要有一列",
        );
    }
    let (rows_node, rows_place) = rows?;
    let mut cells = Vec::new();
    for (node, place) in items(rows_node, &rows_place, problems) {
        let row: Vec<String> = items(node, &place, problems)
            .into_iter()
            .map(|(node, place)| table_cell(node, &place, problems))
            .collect();
        if row.len() != columns.len() && matches!(node, Node::Array(_)) {
            let (want, found) = (columns.len(), row.len());
            problems.push(
                Problem::new(
                    Code::Schema,
                    &place.pointer,
                    format!("the row has {found} cells, the table {want} columns"),
                    format!("本行有{found}格，而表头有{want}列"),
                )
                .with(want, found),
            );
        }
        cells.push(row);
    }
    Some(Block::Table {
        columns,
        rows: cells,
        caption,
    })
}

/// A cell of a table in the text: a string, which may be empty, or a whole number.
fn table_cell(node: &Node, place: &Place, problems: &mut Problems) -> String {
    match node {
        Node::String(_) => text::read(node, place, Text::Cell, problems),
        other => match other.whole() {
            Some(number) => number.to_string(),
            None => {
                let en = "a string, or a whole number that is less than 2^53";
                wrong(problems, place, other, en, "字符串，或小于2^53的整数");
                String::new()
            }
        },
    }
}

fn read_notes(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let Some((node, place)) = fields.optional("notes", "注") else {
        return Vec::new();
    };
    items(node, &place, problems)
        .into_iter()
        .map(|(node, place)| text::read(node, &place, Text::Lines, problems))
        .collect()
}

fn read_disclosure(
    node: &Node,
    place: &Place,
    form: &'static Form,
    prose: &mut Prose<'_>,
    problems: &mut Problems,
) -> Disclosure {
    let unread = |figure: &Figure| match figure.kind {
        Kind::Count | Kind::Change => Value::Number(Cell::Unread),
        Kind::Amount | Kind::AmountWan => Value::NoMoney(Cell::Unread),
    };
    // Labels of tables name row and column only; the section would be said in every message.
    let place = Place::new(&place.pointer, "");
    let Some(mut fields) = Fields::of(node, &place, problems) else {
        return Disclosure {
            figures: form.figures().map(|(.., figure)| unread(figure)).collect(),
            ..Disclosure::default()
        };
    };
    let introduction = prose.introduction(&mut fields, problems);
    let mut figures = Vec::new();
    for band in form.disclosure {
        let found = fields.required(band.field, band.label, problems);
        let mut items = found
            .as_ref()
            .and_then(|(node, place)| Fields::of(node, place, problems));
        for item in band.items {
            let found = items
                .as_mut()
                .and_then(|f| f.required(item.field, item.label, problems));
            let mut cells = found
                .as_ref()
                .and_then(|(node, place)| Fields::of(node, place, problems));
            for figure in band.figures {
                let found = cells
                    .as_mut()
                    .and_then(|f| f.required(figure.field, &figure.name(), problems));
                figures.push(match found {
                    Some((node, place)) => read_figure(node, &place, figure.kind, problems),
                    None => unread(figure),
                });
            }
            if let Some(cells) = cells {
                cells.finish(problems);
            }
        }
        if let Some(items) = items {
            items.finish(problems);
        }
    }
    let notes = read_notes(&mut fields, problems);
    fields.finish(problems);
    Disclosure {
        introduction,
        figures,
        notes,
    }
}

fn read_figure(node: &Node, place: &Place, kind: Kind, problems: &mut Problems) -> Value {
    match kind {
        Kind::Count => Value::Number(read_count(node, place, problems)),
        Kind::Change => Value::Number(read_change(node, place, problems)),
        Kind::Amount => read_money(node, place, &["元", "万", "万元", "亿元", ""], problems),
        Kind::AmountWan => read_money(node, place, &[""], problems),
    }
}

/// A cell that holds no figure and says so: `null`, or a mark.
fn open(node: &Node) -> Option<Cell> {
    match node {
        Node::Null => Some(Cell::Blank),
        Node::String(text) => {
            let mark = MARKS.into_iter().find(|mark| mark == text)?;
            Some(Cell::Mark(mark))
        }
        _ => None,
    }
}

/// A change: a whole number with or without a sign, `null`, or a mark.
fn read_change(node: &Node, place: &Place, problems: &mut Problems) -> Cell {
    if let Some(cell) = open(node) {
        return cell;
    }
    match node.whole() {
        Some(value) if value.abs() <= MAX_COUNT => Cell::Number {
            value,
            remark: None,
        },
        _ => {
            let marks = MARKS.join(" ");
            let en = format!(
                "a whole number from -10^12 to 10^12, as 2 or -18; or null or a mark ({marks}) \
                 where there is none"
            );
            let zh = format!("-10^12至10^12的整数，如 2 或 -18；无此项的填null或{marks}之一");
            wrong_but(problems, place, node, (&en, &zh), instead(node, -MAX_COUNT));
            Cell::Unread
        }
    }
}

/// Digits before and after the point of an amount: what a decimal holds exactly.
pub(super) const MONEY_DIGITS: (usize, usize) = (18, 10);

/// An amount with one of the units.
fn money(text: &str, units: &[&str]) -> Option<Money> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let plain = (1..=MONEY_DIGITS.0).contains(&whole.len())
        && (1..=MONEY_DIGITS.1).contains(&part.len())
        && !part.contains('.');
    let amount = Decimal::from_str_exact(number).ok().filter(|_| plain)?;
    let known = units.contains(&unit);
    known.then(|| Money {
        text: text.to_owned(),
        amount,
        unit: unit.to_owned(),
    })
}

fn read_money(node: &Node, place: &Place, units: &[&str], problems: &mut Problems) -> Value {
    if let Some(cell) = open(node) {
        return Value::NoMoney(cell);
    }
    if let Some(money) = node.as_str().and_then(|text| money(text, units)) {
        return Value::Money(money);
    }
    let wan = units.len() == 1;
    let (en, zh) = if wan {
        (
            "a decimal string in 万元, as \"24252.311082\"",
            "以万元为单位的小数字符串，如“24252.311082”",
        )
    } else {
        (
            "a decimal string with 元, 万, 万元, 亿元 or no unit, as \"2823.12万\"",
            "小数字符串，单位为元、万、万元、亿元或不写，如“2823.12万”",
        )
    };
    let marks = MARKS.join(" ");
    let en = format!("{en}; or null or a mark ({marks}) where there is none");
    let zh = format!("{zh}；无此项的填null或{marks}之一");
    let instead = instead_of_money(node, units);
    wrong_but(problems, place, node, (&en, &zh), instead);
    Value::NoMoney(Cell::Unread)
}

/// Digits as other programs write them, as plain ones: full width, with spaces and thousands
/// separators. A comma that separates no thousands may be a point, and stays.
fn plain_digits(text: &str) -> String {
    let plain: String = text.nfkc().filter(|c| !c.is_whitespace()).collect();
    let digits = |part: &str| part.bytes().take_while(u8::is_ascii_digit).count();
    let mut parts = plain.split(',');
    let first = parts.next().unwrap_or_default();
    match (1..=3).contains(&digits(first)) && parts.all(|part| digits(part) == 3) {
        true => plain.replace(',', ""),
        false => plain,
    }
}

/// What to send instead of a figure that was sent as text; `least` is the least that it may be.
fn instead(node: &Node, least: i64) -> Option<(String, String)> {
    let plain = plain_digits(node.as_str()?);
    let taken = |digits: &str| {
        let digits = match digits.split_once('.') {
            Some((whole, part)) if part.chars().all(|c| c == '0') => whole,
            _ => digits,
        };
        let number = digits.parse::<i64>().ok();
        number.filter(|number| (least..=MAX_COUNT).contains(number))
    };
    if let Some(number) = taken(&plain) {
        return Some((
            format!("the figure was sent as text: send {number}, without quotes or separators"),
            format!("所填为文本，请直接填数字{number}，不加引号和分隔符"),
        ));
    }
    // 22（其中修订16件）, or 22件, in one string. NFKC has made the brackets plain.
    let (digits, rest) = plain.split_at(plain.find(|c: char| !c.is_ascii_digit())?);
    let number = taken(digits)?;
    let remark = rest
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let sent = match remark.filter(|_| least == 0) {
        Some(remark) => format!("{{\"value\": {number}, \"remark\": \"{remark}\"}}"),
        None => number.to_string(),
    };
    Some((
        format!("the figure was sent as text: send {sent}"),
        format!("所填为文本，请填{sent}"),
    ))
}

/// What to send instead of money that was sent otherwise.
fn instead_of_money(node: &Node, units: &[&str]) -> Option<(String, String)> {
    let wanted = |text: &str| money(text, units).map(|money| money.text);
    if let Node::Number(number) = node {
        let text = wanted(&number.to_string())?;
        return Some((
            format!("money is a string, so that no digit is lost: send \"{text}\""),
            format!("金额须为字符串，以免丢失精度：请填\"{text}\""),
        ));
    }
    let plain = plain_digits(node.as_str()?);
    if let Some(text) = wanted(&plain) {
        return Some((
            format!("send \"{text}\": plain digits, without separators or spaces"),
            format!("请填\"{text}\"，不用千位分隔符、空格和全角数字"),
        ));
    }
    let other = money(&plain, &["元", "万", "万元", "亿元"])?;
    match other.unit.as_str() {
        "万" | "万元" => {
            let text = plain.trim_end_matches(['万', '元']);
            Some((
                format!("the column says 万元 already: send \"{text}\""),
                format!("表头已注明单位为万元：请填\"{text}\""),
            ))
        }
        unit => Some((
            format!(
                "the column is in 万元, and this in {unit}: convert it, and send the number alone"
            ),
            format!("表头单位为万元，所填为{unit}：请换算后只填数字"),
        )),
    }
}

/// A count: a whole number, `null`, a mark, or a number with a remark.
fn read_count(node: &Node, place: &Place, problems: &mut Problems) -> Cell {
    if let Some(cell) = open(node) {
        return cell;
    }
    let number = |value: Option<i64>, remark| match value {
        Some(value) => Cell::Number { value, remark },
        None => Cell::Unread,
    };
    let Node::Object(_) = node else {
        return number(read_number(node, place, problems), None);
    };
    let Some(mut fields) = Fields::of(node, place, problems) else {
        return Cell::Unread;
    };
    let value = fields.required("value", "", problems);
    let remark = fields.required("remark", "", problems);
    fields.finish(problems);
    let remark = remark.map(|(node, place)| text::read(node, &place, Text::Line, problems));
    let value = value.and_then(|(node, place)| read_number(node, &place, problems));
    number(value, remark)
}

fn read_number(node: &Node, place: &Place, problems: &mut Problems) -> Option<i64> {
    let number = node.whole().filter(|value| (0..=MAX_COUNT).contains(value));
    if number.is_none() {
        let marks = MARKS.join(" ");
        let en = format!(
            "a whole number from 0 to 10^12; null or a mark ({marks}) where the agency has none; \
             or {{\"value\", \"remark\"}}"
        );
        let zh = format!(
            "0至10^12的整数；机关无此项的填null或{marks}之一；带说明的用{{\"value\", \"remark\"}}"
        );
        wrong_but(problems, place, node, (&en, &zh), instead(node, 0));
    }
    number
}

fn read_requests(
    node: &Node,
    place: &Place,
    form: &'static Form,
    prose: &mut Prose<'_>,
    problems: &mut Problems,
) -> Requests {
    use form::Line;
    fn walk(
        fields: &mut Option<Fields<'_>>,
        lines: &'static [Line],
        label: &str,
        rows: &mut Vec<Row>,
        problems: &mut Problems,
    ) {
        for line in lines {
            match line {
                Line::Row {
                    field: "total",
                    label: own,
                } => {
                    // （七）总计 may be left out: it is computed then.
                    let found = fields
                        .as_mut()
                        .and_then(|fields| fields.optional("total", own));
                    rows.push(match found {
                        Some((node, place)) => read_row(node, &place, problems),
                        None if fields.is_some() => std::array::from_fn(|_| Cell::Absent),
                        None => Row::default(),
                    });
                }
                Line::Row { field, label: own } => {
                    let label = if label.is_empty() {
                        (*own).to_owned()
                    } else {
                        format!("{label} {own}")
                    };
                    let found = fields
                        .as_mut()
                        .and_then(|f| f.required(field, &label, problems));
                    rows.push(match found {
                        Some((node, place)) => read_row(node, &place, problems),
                        None => Row::default(),
                    });
                }
                Line::Group {
                    field,
                    label: own,
                    lines,
                } => {
                    let label = if *field == "outcome" { "" } else { own };
                    let found = fields
                        .as_mut()
                        .and_then(|f| f.required(field, own, problems));
                    // Rows name their group themselves.
                    let found = found.map(|(node, place)| (node, Place::new(place.pointer, "")));
                    let mut inner = found
                        .as_ref()
                        .and_then(|(node, place)| Fields::of(node, place, problems));
                    walk(&mut inner, lines, label, rows, problems);
                    if let Some(inner) = inner {
                        inner.finish(problems);
                    }
                }
            }
        }
    }
    let place = Place::new(&place.pointer, "");
    let mut fields = Fields::of(node, &place, problems);
    let introduction = fields
        .as_mut()
        .map(|f| prose.introduction(f, problems))
        .unwrap_or_default();
    let mut rows = Vec::new();
    walk(&mut fields, form.requests, "", &mut rows, problems);
    let notes = fields
        .as_mut()
        .map(|f| read_notes(f, problems))
        .unwrap_or_default();
    if let Some(fields) = fields {
        fields.finish(problems);
    }
    Requests {
        introduction,
        rows,
        notes,
    }
}

fn read_row(node: &Node, place: &Place, problems: &mut Problems) -> Row {
    read_cells(node, place, &APPLICANTS, problems)
}

/// The cells of a row or group; the last one, its total, may be left out.
fn read_cells<const N: usize>(
    node: &Node,
    place: &Place,
    columns: &[(&'static str, &str); N],
    problems: &mut Problems,
) -> [Cell; N] {
    let Some(mut fields) = Fields::of(node, place, problems) else {
        return std::array::from_fn(|_| Cell::Unread);
    };
    let cells = std::array::from_fn(|column| {
        let (name, label) = columns[column];
        let total = column == N - 1;
        let found = if total {
            fields.optional(name, label)
        } else {
            fields.required(name, label, problems)
        };
        match found {
            Some((node, place)) => read_count(node, &place, problems),
            None if total => Cell::Absent,
            None => Cell::Unread,
        }
    });
    fields.finish(problems);
    cells
}

fn read_review(
    node: &Node,
    place: &Place,
    prose: &mut Prose<'_>,
    problems: &mut Problems,
) -> Review {
    let place = Place::new(&place.pointer, "");
    let mut review = Review::default();
    let Some(mut fields) = Fields::of(node, &place, problems) else {
        return review;
    };
    review.introduction = prose.introduction(&mut fields, problems);
    let [reconsideration, direct, after] = REVIEW_GROUPS.map(|(_, label)| label);
    if let Some((node, place)) = fields.required("reconsideration", reconsideration, problems) {
        review.groups[0] = read_cells(node, &place, &RESULTS, problems);
    }
    if let Some((node, place)) = fields.required("litigation", "行政诉讼", problems) {
        let place = Place::new(place.pointer, "");
        if let Some(mut litigation) = Fields::of(node, &place, problems) {
            if let Some((node, place)) = litigation.required("direct", direct, problems) {
                review.groups[1] = read_cells(node, &place, &RESULTS, problems);
            }
            if let Some((node, place)) =
                litigation.required("after_reconsideration", after, problems)
            {
                review.groups[2] = read_cells(node, &place, &RESULTS, problems);
            }
            litigation.finish(problems);
        }
    }
    review.notes = read_notes(&mut fields, problems);
    fields.finish(problems);
    review
}

impl Prior {
    /// Reads the `prior` of a job.
    pub fn read(node: &Node, place: &Place, form: &Form, problems: &mut Problems) -> Prior {
        let mut prior = Prior::default();
        let Some(mut fields) = Fields::of(node, place, problems) else {
            return prior;
        };
        if let Some((node, place)) = fields.optional("carried_out", "上年度 四、结转下年度继续办理")
            && let Some(mut cells) = Fields::of(node, &place, problems)
        {
            for (column, (name, label)) in APPLICANTS.into_iter().enumerate() {
                if let Some((node, place)) = cells.optional(name, label) {
                    prior.carried_out[column] = read_count(node, &place, problems).number();
                }
            }
            cells.finish(problems);
        }
        // 现行有效件数 is a column of the 2021 edition.
        if form.edition != edition_2019::FORM.edition
            && let Some((node, place)) = fields.optional("in_force", "上年度 现行有效件数")
            && let Some(mut cells) = Fields::of(node, &place, problems)
        {
            if let Some((node, place)) = cells.optional("rules", "规章") {
                prior.rules_in_force = read_count(node, &place, problems).number();
            }
            if let Some((node, place)) = cells.optional("normative_documents", "行政规范性文件")
            {
                prior.documents_in_force = read_count(node, &place, problems).number();
            }
            cells.finish(problems);
        }
        fields.finish(problems);
        prior
    }
}
