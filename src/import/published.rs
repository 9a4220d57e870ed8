//! A published report, text or web page, as a job: which form it is in, its sections by the official
//! headings, title, signature and date.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::figure;
use super::page::Page;
use super::table::{self, Found, Token, Walk};
use super::title::{self, Title};
use super::words::{self, alike, bare, norm, numbered};
use super::{Imported, Reading, RemarkKind, Taken, Unusable};
use crate::report::Editions;
use crate::report::form::{Entry, Field, FieldKind, Form, Holds, Shape};
use crate::report::view::level;

/// How many of a form's words must be in a document that is in it.
const ENOUGH: f64 = 0.5;

/// What begins a line of a site's own, above the report.
const ABOVE: &str = "发布时间 发布日期 发文日期 成文日期 生成日期 日期: 时间: 来源 信息来源 作者 \
    字号 字体 浏览 访问量 点击 阅读 打印 分享 索引号 发布机构 公开方式 公开时限 公开范围";

/// What stands in a line of a site's own, below the report.
const BELOW: &str = "打印本页 关闭窗口 关闭本页 【打印】 [打印] 上一篇 下一篇 主办单位 主办: \
    承办: 版权所有 icp备 网站标识码 公网安备 扫一扫 分享到 责任编辑 网站地图";

/// How a note under a table begins.
const NOTES: [&str; 4] = ["注", "备注", "说明", "附注"];

/// The longest heading of a line of its own, agency or title, in characters.
const LONGEST: usize = 60;

/// Reads a document.
pub(super) fn read(page: &Page, editions: &Editions) -> Result<Reading, Unusable> {
    let tokens = table::tokens(page);
    let form = recognised(page, &tokens, editions)?;
    let mut document = Document {
        form,
        page,
        starts: starts(page, &tokens),
        tokens,
        found: Found::default(),
        data: Map::new(),
    };
    let regions = document.regions();
    let above = regions.first().map_or(0, |region| region.from);
    let title = title::find(page, &document.form, above);
    let after_title = title.as_ref().map_or(0, |title| title.lines.end);
    let end = document.end(&regions, title.as_ref());
    document.head(title.as_ref(), after_title..above, &regions);
    document.sections(&regions, end);
    Ok(document.done())
}

/// The first token of each line, and the end.
fn starts(page: &Page, tokens: &[Token]) -> Vec<usize> {
    let mut starts = vec![tokens.len(); page.lines.len() + 1];
    for (at, token) in tokens.iter().enumerate().rev() {
        starts[token.line] = at;
    }
    starts
}

/// The form that a document is in: the one whose words it has most of.
fn recognised(page: &Page, tokens: &[Token], editions: &Editions) -> Result<Arc<Form>, Unusable> {
    let mut said: BTreeSet<&str> = BTreeSet::new();
    for token in tokens {
        said.extend([token.norm.as_str(), bare(&token.norm)]);
    }
    // Labels that were broken over two lines.
    let pairs: Vec<String> = tokens
        .windows(2)
        .filter(|pair| pair[0].norm.len() + pair[1].norm.len() < LONGEST * 4)
        .map(|pair| format!("{}{}", pair[0].norm, pair[1].norm))
        .collect();
    said.extend(pairs.iter().map(|pair| bare(pair)));
    let share = |form: &Form| {
        let words = words_of(form);
        let had = words
            .iter()
            .filter(|word| said.contains(bare(word)))
            .count();
        (had, words.len())
    };
    let forms = editions
        .values()
        .filter(|form| form.tables().any(|(_, table)| table.shape != Shape::List));
    let best = forms
        .map(|form| (share(form), form))
        .max_by(|((a, of), _), ((b, them), _)| {
            let (a, b) = (*a as f64 / *of as f64, *b as f64 / *them as f64);
            a.total_cmp(&b)
        });
    match best {
        Some(((had, words), form)) if had as f64 >= ENOUGH * words as f64 => Ok(Arc::clone(form)),
        Some(((had, words), form)) => {
            let (lines, name) = (page.lines.len(), &form.name);
            Err(Unusable::new(
                format!(
                    "it is in no form that this build knows: of the {words} headings and labels of \
                     {name}, the nearest, its {lines} lines have {had}"
                ),
                format!(
                    "不属于本版本所知的任何格式：最接近的{name}有{words}个标题和表头，文中{lines}行只有{had}个"
                ),
            ))
        }
        None => Err(Unusable::new(
            "this build knows no form with tables",
            "本版本没有带表格的格式",
        )),
    }
}

/// The headings and labels of a form, for comparing.
fn words_of(form: &Form) -> BTreeSet<String> {
    let headings = form
        .fields
        .iter()
        .filter_map(|field| field.heading.as_deref());
    let labels = form.tables().flat_map(|(_, table)| table::labels(table));
    headings.chain(labels).map(norm).collect()
}

/// The part of a document that belongs to a field: its lines after the heading.
#[derive(Debug)]
struct Region {
    field: usize,
    /// The line of its heading, or its first one.
    from: usize,
    /// Its first line after that.
    first: usize,
    to: usize,
}

/// Where the report ends, and what it is signed with.
struct End {
    /// The line after the last of its text.
    text: usize,
    agency: Option<(usize, String)>,
    date: Option<(usize, time::Date)>,
    /// The line after the last of the report.
    after: usize,
}

struct Document<'a> {
    form: Arc<Form>,
    page: &'a Page,
    tokens: Vec<Token>,
    starts: Vec<usize>,
    found: Found,
    data: Map<String, Json>,
}

impl Document<'_> {
    fn norm(&self, line: usize) -> String {
        match self.page.lines[line].cells.as_slice() {
            [cell] if cell.chars().count() <= LONGEST => {
                let norm = norm(cell);
                norm.trim_end_matches([':', '。', '.']).to_owned()
            }
            _ => String::new(),
        }
    }

    /// Where the sections are: those of the official headings, and tables without theirs.
    fn regions(&self) -> Vec<Region> {
        let headed: Vec<usize> = {
            let fields = self.form.fields.iter().enumerate();
            fields
                .filter(|(_, field)| field.heading.is_some())
                .map(|(at, _)| at)
                .collect()
        };
        let mut begins = self.headings(&headed);
        // A table whose heading is not there, or a picture, is where its first labels are.
        for &field in &headed {
            let FieldKind::Table(table) = &self.form.fields[field].kind else {
                continue;
            };
            if begins.iter().any(|begin| begin.0 == field) {
                continue;
            }
            let before = begins.iter().rev().find(|begin| begin.0 < field);
            let from = before.map_or(0, |begin| begin.1 + 1);
            let after = begins.iter().find(|begin| begin.0 > field);
            let to = after.map_or(self.page.lines.len(), |begin| begin.1);
            let first = table
                .entries
                .first()
                .map_or("", |entry| entry.label.as_str());
            let anchors = [&table.corner, &table.columns_label, first].map(norm);
            let lines = (from..to).find(|&line| {
                let tokens = &self.tokens[self.starts[line]..self.starts[line + 1]];
                tokens
                    .iter()
                    .any(|token| token.norm.chars().count() > 2 && anchors.contains(&token.norm))
            });
            if let Some(line) = lines {
                let at = begins.partition_point(|begin| begin.0 < field);
                begins.insert(at, (field, line, false));
            }
        }
        let ends = begins.iter().skip(1).map(|begin| begin.1);
        let ends: Vec<usize> = ends.chain([self.page.lines.len()]).collect();
        let region = |((field, line, heading), to): ((usize, usize, bool), usize)| Region {
            field,
            from: line,
            first: line + usize::from(heading),
            to,
        };
        begins.into_iter().zip(ends).map(region).collect()
    }

    /// The lines of the headings, as `(field, line, true)`: those in the form's order that agree
    /// best, and of equals the last, since a list of contents stands first.
    fn headings(&self, fields: &[usize]) -> Vec<(usize, usize, bool)> {
        const MOST: usize = 1000;
        let headings: Vec<String> = fields
            .iter()
            .map(|&field| {
                norm(
                    self.form.fields[field]
                        .heading
                        .as_deref()
                        .unwrap_or_default(),
                )
            })
            .collect();
        let mut candidates = Vec::new();
        for line in 0..self.page.lines.len() {
            let said = self.norm(line);
            if said.is_empty() {
                continue;
            }
            for (order, heading) in headings.iter().enumerate() {
                if let score @ 1.. = agreement(heading, &said) {
                    candidates.push((order, line, score));
                }
            }
        }
        if candidates.len() > MOST {
            candidates.drain(..candidates.len() - MOST);
        }
        // The best chain that ends with each candidate: its score, and the one before it.
        let mut best: Vec<(usize, Option<usize>)> = Vec::new();
        for (at, &(order, line, score)) in candidates.iter().enumerate() {
            let before =
                (0..at).filter(|&one| candidates[one].0 < order && candidates[one].1 < line);
            let before = before.max_by_key(|&one| (best[one].0, one));
            let sum = before.map_or(0, |one| best[one].0);
            best.push((sum + score, before));
        }
        let mut chain = Vec::new();
        let mut next = (0..best.len()).max_by_key(|&at| (best[at].0, at));
        while let Some(at) = next {
            let (order, line, _) = candidates[at];
            chain.push((fields[order], line, true));
            next = best[at].1;
        }
        chain.reverse();
        chain
    }

    /// Where the report ends: with its date, or where the site goes on.
    fn end(&mut self, regions: &[Region], title: Option<&Title>) -> End {
        let whole = self.page.lines.len();
        let mut end = End {
            text: whole,
            agency: None,
            date: None,
            after: whole,
        };
        let last = regions
            .last()
            .filter(|region| matches!(self.form.fields[region.field].kind, FieldKind::Blocks(_)));
        let Some(region) = last else {
            return end;
        };
        let lines = region.first..region.to;
        let dated = lines.clone().find_map(|at| {
            let line = &self.page.lines[at];
            let date = words::date(line.cells.last()?)?;
            (line.cells.len() <= 2).then_some((at, date))
        });
        if let Some((at, date)) = dated {
            end = End {
                text: at,
                agency: None,
                date: Some((at, date)),
                after: at + 1,
            };
            let beside = match self.page.lines[at].cells.as_slice() {
                [agency, _] => Some((at, agency.clone())),
                _ => (at > region.first).then(|| (at - 1, self.page.lines[at - 1].text())),
            };
            let named = title.map(|title| title.agency.as_str()).unwrap_or_default();
            if let Some((at, agency)) = beside.filter(|(_, agency)| signs(agency, named)) {
                end.text = at;
                end.agency = Some((at, agency));
            }
            return end;
        }
        let below = lines.clone().find(|&at| {
            let said = norm(&self.page.lines[at].text()).to_lowercase();
            BELOW.split(' ').any(|word| said.contains(word))
        });
        if let Some(at) = below {
            (end.text, end.after) = (at, at);
            let place = self.page.lines[at].whole();
            self.found.remark(
                place,
                RemarkKind::Assumed,
                "from here on it is taken to be the site's, and left out".to_owned(),
                "自此行起视为网站内容，未读取".to_owned(),
            );
        }
        // Without a date the agency may sign alone.
        let at = end.text.checked_sub(1).filter(|at| lines.contains(at));
        let alone = at.map(|at| (at, self.page.lines[at].text()));
        end.agency = alone.filter(|(_, text)| title.is_some_and(|title| title.agency == *text));
        if let Some((at, _)) = end.agency {
            end.text = at;
        }
        end
    }

    /// What stands before the sections: title, agency, year, and the text that introduces them.
    fn head(&mut self, title: Option<&Title>, before: Range<usize>, regions: &[Region]) {
        for at in 0..title.map_or(0, |title| title.lines.start) {
            self.leave(at);
        }
        let form = Arc::clone(&self.form);
        let fields = form.fields.iter().enumerate();
        let plain: Vec<(usize, &Field)> = fields
            .filter(|(_, field)| field.heading.is_none())
            .collect();
        for (at, field) in plain {
            let name = &field.field;
            match &field.kind {
                FieldKind::Text if name == "title" => {
                    if let Some(title) = title {
                        self.take(title.lines.start, field, &title.text);
                        self.data.insert(name.clone(), json!(title.text));
                    }
                }
                FieldKind::Line if at == form.author => {
                    if let Some(title) = title.filter(|title| !title.agency.is_empty()) {
                        self.take(title.lines.start, field, &title.agency);
                        self.data.insert(name.clone(), json!(title.agency));
                    }
                }
                FieldKind::Year if at == form.year => {
                    let year = match title {
                        Some(title) => Some(title.year),
                        None => self.year_of_text(before.clone()),
                    };
                    if let Some(year) = year {
                        if let Some(title) = title {
                            self.take(title.lines.start, field, &year.to_string());
                        }
                        self.data.insert(name.clone(), json!(year));
                        self.edition_of(title, year);
                    }
                }
                FieldKind::Blocks(_) => {
                    let lines = self.introduction(before.clone(), title.is_some());
                    self.introduce(field, &lines, regions);
                }
                _ => {}
            }
        }
    }

    /// Takes lines for the introduction; where the first section has lost its heading, for that,
    /// since nothing says where it begins.
    fn introduce(&mut self, field: &Field, lines: &[usize], regions: &[Region]) {
        let form = Arc::clone(&self.form);
        let first = form.fields.iter().position(|field| field.heading.is_some());
        let lost = first.filter(|first| {
            let blocks = matches!(form.fields[*first].kind, FieldKind::Blocks(_));
            blocks && regions.iter().all(|region| region.field != *first)
        });
        let field = lost.map_or(field, |first| &form.fields[first]);
        let blocks = self.blocks(&field.field, lines);
        let (false, Some(&line)) = (blocks.is_empty(), lines.first()) else {
            return;
        };
        self.data.insert(field.field.clone(), blocks.into());
        if lost.is_some() {
            let (place, label) = (self.page.lines[line].whole(), &field.label);
            self.found.remark(
                place,
                RemarkKind::Assumed,
                format!(
                    "the heading 「{label}」 is not found; all text before the first table is \
                         taken for it"
                ),
                format!("未找到标题「{label}」，第一个表之前的文字均按该部分读取"),
            );
        }
    }

    fn take(&mut self, line: usize, field: &Field, text: &str) {
        let place = self.page.lines[line].whole();
        self.found.taken.push(Taken {
            place: place.0,
            pointer: format!("/data/{}", field.field),
            label: format!("「{}」", field.label),
            text: text.to_owned(),
        });
    }

    /// Leaves a line out, as no part of the report.
    fn leave(&mut self, line: usize) {
        let line = &self.page.lines[line];
        self.found.taken.push(Taken {
            place: line.whole().0,
            pointer: String::new(),
            label: String::new(),
            text: line.text(),
        });
    }

    /// The year of the text before the sections, where there is no title: the one it names most.
    fn year_of_text(&mut self, before: Range<usize>) -> Option<u16> {
        let (line, (_, year)) = before
            .clone()
            .find_map(|at| Some((at, words::year(&self.page.lines[at].text())?)))?;
        let place = self.page.lines[line].whole();
        self.found.remark(
            place,
            RemarkKind::Assumed,
            format!("there is no title; the year is taken to be {year}, from this line"),
            format!("未找到标题，年度按本行取为{year}"),
        );
        Some(year)
    }

    /// Tells where the tables are those of another edition than the year's.
    fn edition_of(&mut self, title: Option<&Title>, year: u16) {
        let form = Arc::clone(&self.form);
        if form.years.contains(&year) {
            return;
        }
        let line = title.map_or(0, |title| title.lines.start);
        let place = match self.page.lines.get(line) {
            Some(line) => line.whole(),
            None => Default::default(),
        };
        let (name, from, to) = (&form.name, form.years.start(), form.years.end());
        self.found.remark(
            place,
            RemarkKind::Assumed,
            format!(
                "the report is for {year}, and its tables are those of {name} ({from} to {to})"
            ),
            format!("报告年度为{year}，而表格是{name}（{from}至{to}年度）的"),
        );
    }

    /// The lines of the introduction, without a site's own and a list of contents. Without a title
    /// there is no telling where the report begins.
    fn introduction(&mut self, before: Range<usize>, titled: bool) -> Vec<usize> {
        if let (false, Some(line)) = (titled, self.page.lines[before.clone()].first()) {
            let (place, count) = (line.whole(), before.len());
            self.found.remark(
                place,
                RemarkKind::Unread,
                format!("there is no title; {count} lines before the first section are left out"),
                format!("未找到标题，第一部分之前的{count}行未读取"),
            );
        }
        let headings = self
            .form
            .fields
            .iter()
            .filter_map(|field| field.heading.as_deref());
        let headings: Vec<String> = headings.map(norm).collect();
        let mut lines = Vec::new();
        for at in before {
            let line = &self.page.lines[at];
            let said = norm(&line.text());
            let own =
                ABOVE.split(' ').any(|word| said.starts_with(word)) && said.chars().count() < 100;
            let contents = headings.iter().any(|heading| agreement(heading, &said) > 0);
            let dated = words::date(&line.text()).is_some();
            if !titled || own || contents || dated || line.picture {
                self.leave(at);
            } else {
                lines.push(at);
            }
        }
        lines
    }

    fn sections(&mut self, regions: &[Region], end: End) {
        let form = Arc::clone(&self.form);
        for (at, field) in form.fields.iter().enumerate() {
            let Some(heading) = &field.heading else {
                continue;
            };
            let region = regions.iter().find(|region| region.field == at);
            let Some(region) = region else {
                if !self.data.contains_key(&field.field) {
                    self.absent(field, heading);
                }
                continue;
            };
            let to = region.to.min(end.text).max(region.first);
            match &field.kind {
                FieldKind::Table(table) => {
                    let next = form.fields.get(at + 1);
                    let next = next.filter(|_| regions.iter().all(|region| region.field != at + 1));
                    self.table(field, table, heading, region.first..to, next);
                }
                FieldKind::Blocks(_) => {
                    let lines: Vec<usize> = (region.first..to).collect();
                    let blocks = self.blocks(&field.field, &lines);
                    self.data.insert(field.field.clone(), blocks.into());
                }
                _ => self.absent(field, heading),
            }
        }
        if let Some((line, agency)) = &end.agency {
            let field = &form.fields[form.author];
            self.take(*line, field, agency);
            // It signs with its full name, and the title may have a shorter one.
            self.data.insert(field.field.clone(), json!(agency));
        }
        if let (Some((line, date)), Some(field)) = (end.date, form.date) {
            let field = &form.fields[field];
            self.take(line, field, &date.to_string());
            self.data
                .insert(field.field.clone(), json!(date.to_string()));
        }
        for at in end.after..self.page.lines.len() {
            self.leave(at);
        }
        for field in form.fields.iter().filter(|field| !field.optional) {
            if field.heading.is_none() && !self.data.contains_key(&field.field) {
                let (name, label) = (&field.field, &field.label);
                self.found.remark(
                    (format!("/data/{name}"), format!("/data/{name}")),
                    RemarkKind::Unread,
                    format!("「{label}」 is not found"),
                    format!("未找到「{label}」"),
                );
            }
        }
    }

    fn absent(&mut self, field: &Field, heading: &str) {
        let name = &field.field;
        self.found.remark(
            (format!("/data/{name}"), format!("/data/{name}")),
            RemarkKind::Unread,
            format!("the heading 「{heading}」 is not found, nor what stands under it"),
            format!("未找到标题「{heading}」及其内容"),
        );
    }

    /// A table with the text above it and its notes. What stands below it belongs to the section
    /// after it, where that has lost its heading.
    fn table(
        &mut self,
        field: &Field,
        table: &crate::report::form::Table,
        heading: &str,
        lines: Range<usize>,
        next: Option<&Field>,
    ) {
        let form = Arc::clone(&self.form);
        let tokens = self.starts[lines.start]..self.starts[lines.end];
        let walk = Walk::new(
            &form,
            table,
            self.page,
            &self.tokens,
            tokens,
            &mut self.found,
        );
        let own = walk.read(heading);
        let mut object = Map::new();
        self.fill(&table.entries, &mut object);
        // Where the table is not found, its figures are none of the text above it.
        let own = own.unwrap_or_else(|| {
            let figure = |&at: &usize| {
                let mut cells = self.page.lines[at].cells.iter();
                cells.any(|cell| figure::is_figure(cell))
            };
            lines.clone().find(figure).unwrap_or(lines.end)..lines.end
        });
        let above: Vec<usize> = (lines.start..own.start).collect();
        let blocks = self.blocks(&format!("{}/introduction", field.field), &above);
        if !blocks.is_empty() {
            object.insert("introduction".to_owned(), blocks.into());
        }
        let below: Vec<usize> = (own.end..lines.end).collect();
        let is_note = |&at: &usize| {
            let said = norm(&self.page.lines[at].text());
            let (_, said) = numbered(&said);
            NOTES.iter().any(|word| {
                said.strip_prefix(word)
                    .is_some_and(|rest| rest.starts_with(':'))
            })
        };
        let (notes, rest): (Vec<usize>, Vec<usize>) = below.into_iter().partition(is_note);
        if !notes.is_empty() {
            let notes: Vec<String> = notes.iter().map(|&at| self.page.lines[at].text()).collect();
            object.insert("notes".to_owned(), json!(notes));
        }
        self.data.insert(field.field.clone(), object.into());
        let shown: Vec<usize> = rest
            .into_iter()
            .filter(|&at| !self.page.lines[at].text().is_empty())
            .collect();
        let Some(&first) = shown.first() else {
            return;
        };
        let place = self.page.lines[first].whole();
        match next {
            Some(next) if matches!(next.kind, FieldKind::Blocks(_)) => {
                let label = &next.label;
                self.found.remark(
                    place,
                    RemarkKind::Assumed,
                    format!("the heading 「{label}」 is not found; what follows the table is taken for it"),
                    format!("未找到标题「{label}」，表后文字按该部分读取"),
                );
                let blocks = self.blocks(&next.field, &shown);
                self.data.insert(next.field.clone(), blocks.into());
            }
            _ => {
                let (text, count) = (self.page.lines[first].text(), shown.len());
                let text: String = text.chars().take(LONGEST).collect();
                self.found.remark(
                    place,
                    RemarkKind::Unread,
                    format!("“{text}”: {count} lines below the table belong to no section"),
                    format!("“{text}”：表后{count}行不属于任何部分"),
                );
            }
        }
    }

    /// The cells that were read, in the objects that a job has them in.
    fn fill(&self, entries: &[Entry], object: &mut Map<String, Json>) {
        for entry in entries {
            match &entry.holds {
                Holds::Cell(cell) => {
                    if let Some(value) = self.found.cells.get(cell) {
                        object.insert(entry.field.clone(), value.clone());
                    }
                }
                Holds::Entries(inner) => {
                    let mut own = Map::new();
                    self.fill(inner, &mut own);
                    if !(own.is_empty() && entry.optional) {
                        object.insert(entry.field.clone(), own.into());
                    }
                }
                Holds::Rows(_) => {}
            }
        }
    }

    /// Lines as paragraphs, headings and tables.
    fn blocks(&mut self, field: &str, lines: &[usize]) -> Vec<Json> {
        let mut blocks: Vec<Json> = Vec::new();
        let mut rest = lines;
        let (mut joined, mut joint) = (0, 0);
        while let [first, after @ ..] = rest {
            let line = &self.page.lines[*first];
            let table = line.at.table.filter(|_| line.cells.len() > 1);
            if let Some((number, _)) = table {
                let own = |&&at: &&usize| {
                    let at = self.page.lines[at].at.table;
                    at.is_some_and(|(other, _)| other == number)
                };
                let count = rest.iter().take_while(own).count();
                let (rows, after) = rest.split_at(count);
                blocks.extend(self.small_table(rows));
                rest = after;
                continue;
            }
            rest = after;
            let mut text = line.text();
            if line.picture || text.is_empty() {
                continue;
            }
            let mut last = *first;
            while let [next, after @ ..] = rest
                && *next == last + 1
                && self.page.goes_on(last)
            {
                go_on(&mut text, &self.page.lines[*next].text());
                if joined == 0 {
                    joint = *first;
                }
                (rest, last, joined) = (after, *next, joined + 1);
            }
            if text.contains(char::REPLACEMENT_CHARACTER) {
                self.found.remark(
                    line.whole(),
                    RemarkKind::Unread,
                    "a character was lost in this line before it came here".to_owned(),
                    "本行有文字在导入前已丢失".to_owned(),
                );
            }
            self.found.taken.push(Taken {
                place: line.whole().0,
                pointer: format!("/data/{field}/{}", blocks.len()),
                label: String::new(),
                text: text.clone(),
            });
            blocks.push(match is_heading(&text) {
                true => json!({ "heading": text }),
                false => json!(text),
            });
        }
        if let (1.., Some(width)) = (joined, self.page.width()) {
            self.found.remark(
                self.page.lines[joint].whole(),
                RemarkKind::Assumed,
                format!(
                    "paragraphs are broken over lines at {width} columns from here on: {joined} \
                     lines are taken to go on with the one before"
                ),
                format!("自此行起段落按{width}列断行：有{joined}行与上一行接为一段"),
            );
        }
        blocks
    }

    /// A table in the text, where its rows have as many cells as its head.
    fn small_table(&mut self, rows: &[usize]) -> Option<Json> {
        let cells = |&at: &usize| self.page.lines[at].cells.clone();
        let rows_read: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let (columns, body) = rows_read.split_first()?;
        let even = body.iter().all(|row| row.len() == columns.len());
        if even && !body.is_empty() && columns.iter().all(|column| !column.is_empty()) {
            return Some(json!({ "table": { "columns": columns, "rows": body } }));
        }
        let place = self.page.lines[rows[0]].whole();
        let count = rows.len();
        self.found.remark(
            place,
            RemarkKind::Unread,
            format!("a table of {count} rows in the text, with cells that span others"),
            format!("正文中一个{count}行的表格有合并单元格，未读取"),
        );
        None
    }

    fn done(self) -> Reading {
        let job = json!({ "template": self.form.name, "data": self.data });
        let Found { taken, remarks, .. } = self.found;
        Reading {
            imported: Imported { job, remarks },
            taken,
        }
    }
}

/// Adds a line to the paragraph that it goes on with: Latin words and numbers were parted at a
/// space, Chinese at none.
fn go_on(text: &mut String, line: &str) {
    let latin = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if latin(text.chars().last()) && latin(line.chars().next()) {
        text.push(' ');
    }
    text.push_str(line);
}

/// How well a line agrees with a heading, both for comparing; 0, if it is no heading.
fn agreement(heading: &str, said: &str) -> usize {
    const MORE: usize = 12;
    if heading == said {
        return 8;
    }
    let (own, words) = numbered(heading);
    let (number, rest) = numbered(said);
    // （一） and 1. are levels below.
    if !(number.is_empty() || number.ends_with('、')) {
        return 0;
    }
    let same = number == own || number.is_empty();
    let longer = rest.ends_with(words) && rest.chars().count() <= words.chars().count() + MORE;
    match rest == words {
        true if number.is_empty() => 6,
        true => 5,
        false if same && longer && words.chars().count() > 4 => 4,
        false if number == own && alike(words, rest).is_some() => 3,
        false => 0,
    }
}

/// Whether a line may be the name of the agency above a date: it is the title's, or begins as that
/// does.
fn signs(line: &str, agency: &str) -> bool {
    const LONGEST: usize = 30;
    let named = |text: &str| text.chars().take(2).collect::<String>();
    let stops = ['。', '，', '；', '：', '、', ':'];
    let short = line.chars().count() <= LONGEST && !line.contains(stops);
    short && (agency.is_empty() || named(line) == named(agency))
}

/// Whether a paragraph is a heading of its own line: it has a number of the official levels and is
/// no sentence.
fn is_heading(text: &str) -> bool {
    const LONGEST: usize = 40;
    level(text).is_some()
        && text.chars().count() <= LONGEST
        && !text.contains(['。', '；'])
        && !text.ends_with(['，', '：', '！', '？', ':', ',', ';', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_known_without_its_number_and_with_more_words() {
        let five = "五、存在的主要问题及改进情况";
        for (said, expected) in [
            (five, true),
            ("存在的主要问题及改进情况", true),
            ("五、政府信息公开工作存在的主要问题及改进情况", true),
            ("六、存在的主要问题及改进情况", true),
            ("五、存在的主要问题和改进情况", true),
            ("（一）存在的主要问题及改进情况", false),
            ("存在的主要问题", false),
            ("五、政府信息管理", false),
        ] {
            assert_eq!(agreement(&norm(five), &norm(said)) > 0, expected, "{said}");
        }
    }
}
