//! Writes the sheets of a workbook.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use rust_xlsxwriter::{
    Color, ConditionalFormatFormula, DataValidation, DocProperties, ExcelDateTime, Format,
    FormatAlign, FormatBorder, Formula, ProtectionOptions, Workbook, Worksheet, XlsxError,
};
use serde_json::Value;

use super::formula::{self, At, Formulas, LONGEST};
use super::grid::{Area, Is, group_label, text_height};
use super::map::{self, Spot, What, address};
use super::plan::{
    Check, LEFT, Plan, RIGHT, RULES, STATE, TOP, TableSheet, cells_of, prior_of, take,
};
use super::{Made, digits, percentage};
use crate::problem::Severity;
use crate::report::form::{
    CellKind, Entry, Field, FieldKind, Holds, Piece, Term, TextRule, TextRuleKind,
};
use crate::report::{Cell, MARKS};

const SONG: &str = "宋体";
const HEI: &str = "黑体";
const KAI: &str = "楷体";

/// The fill of the official form's bands.
const BAND: Color = Color::RGB(0xC6_D9_F1);
/// The fill of what is filled in.
const INPUT: Color = Color::RGB(0xFF_FB_E6);
/// The fill of what is computed.
const TOTAL: Color = Color::RGB(0xF2_F2_F2);
const GREY: Color = Color::RGB(0x7F_7F_7F);

/// What stands beside a rule: that it is kept, broken, or to be looked at.
const KEPT: &str = "符合";
const BROKEN: &str = "不符合";
const DOUBTFUL: &str = "请核对";

/// The longest text of a cell, in UTF-16 units.
const LONGEST_CELL: usize = 32_767;

/// The columns of the sheet of texts: what a row is, its text, and the cells of a table beside it.
const TEXT_COLUMNS: u16 = 12;

/// What is written into a cell.
#[derive(Clone)]
enum Content {
    Blank,
    Text(String),
    Number(f64),
    Date(ExcelDateTime),
    /// A formula and what it comes to.
    Formula(String, String),
}

/// The workbook of a plan.
pub fn write(plan: &Plan) -> Result<Made, XlsxError> {
    let mut writer = Writer {
        plan,
        job: plan.job.clone(),
        left: plan.left.clone(),
        spots: Vec::new(),
        choices: Vec::new(),
    };
    let mut sheets = vec![writer.head()?];
    for table in &plan.tables {
        sheets.push(writer.table(table)?);
    }
    if let Some(sheet) = plan.prior_sheet {
        sheets.push(writer.prior(sheet)?);
    }
    let (texts, ranges) = writer.texts()?;
    sheets.push(texts);
    if let Some(sheet) = plan.check_sheet {
        sheets.push(writer.checks(sheet, &ranges)?);
    }
    sheets.push(writer.map()?);
    let mut book = Workbook::new();
    for sheet in sheets {
        book.push_worksheet(sheet);
    }
    // No clock: the same input is the same file.
    let made = ExcelDateTime::from_ymd(2020, 1, 1)?;
    let title = headline(plan);
    let properties = DocProperties::new()
        .set_title(title)
        .set_creation_datetime(&made);
    book.set_properties(&properties);
    let bytes = book.save_to_buffer()?;
    let mut left = writer.left;
    leaves(&writer.job, "", &mut left);
    Ok(Made { bytes, left })
}

/// What the document is called, with `××` for what is not known yet.
fn headline(plan: &Plan) -> String {
    let form = &plan.form;
    let mut title = String::new();
    for (at, part) in form.title.split('{').enumerate() {
        match part.split_once('}') {
            Some((_, after)) if at > 0 => {
                title.push_str("××");
                title.push_str(after);
            }
            _ => title.push_str(part),
        }
    }
    match title.as_str() {
        "××" => plan.template.clone(),
        _ => title,
    }
}

/// The pointers of all that is still in a job.
fn leaves(value: &Value, pointer: &str, left: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, &format!("{pointer}/{name}"), left);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{pointer}/{index}"), left);
            }
        }
        // Which form it is in is the workbook's own.
        _ if pointer == "/template" => {}
        _ => left.push(pointer.to_owned()),
    }
}

fn font(name: &str, size: f64) -> Format {
    Format::new()
        .set_font_name(name)
        .set_font_size(size)
        .set_align(FormatAlign::VerticalCenter)
        .set_text_wrap()
}

fn boxed(name: &str, size: f64) -> Format {
    font(name, size)
        .set_align(FormatAlign::Center)
        .set_border(FormatBorder::Thin)
}

/// A paper that is A4, as wide as a page, with page numbers as official documents have them.
fn paper(sheet: &mut Worksheet, wide: bool) {
    sheet.set_paper_size(9);
    if wide {
        sheet.set_landscape();
    }
    sheet.set_print_fit_to_pages(1, 0);
    sheet.set_print_center_horizontally(true);
    sheet.set_margins(0.75, 0.75, 0.9, 0.9, 0.4, 0.5);
    sheet.set_footer("&C— &P —");
    sheet.set_screen_gridlines(false);
}

fn protect(sheet: &mut Worksheet) {
    sheet.protect_with_options(&ProtectionOptions {
        format_columns: true,
        format_rows: true,
        ..ProtectionOptions::new()
    });
}

struct Writer<'a> {
    plan: &'a Plan,
    /// What of the job is not written yet.
    job: Value,
    left: Vec<String>,
    spots: Vec<Spot>,
    /// Lists of words to choose from, which the hidden sheet holds.
    choices: Vec<Vec<String>>,
}

impl Writer<'_> {
    fn formulas(&self) -> Formulas<'_> {
        Formulas {
            form: &self.plan.form,
            sheets: &self.plan.sheets,
            cells: &self.plan.cells,
            prior: &self.plan.prior,
            typed: &self.plan.typed,
        }
    }

    fn sheet(&self, index: usize) -> Result<Worksheet, XlsxError> {
        let mut sheet = Worksheet::new();
        sheet.set_name(&self.plan.sheets[index])?;
        protect(&mut sheet);
        // What comes to nothing is shown as nothing by who does not calculate on opening.
        sheet.set_formula_result_default("");
        Ok(sheet)
    }

    fn take(&mut self, pointer: &str) -> Option<Value> {
        take(&mut self.job, pointer)
    }

    /// Writes into a rectangle, and notes what stands there.
    fn put(
        &mut self,
        sheet: &mut Worksheet,
        cells: [(u32, u16); 2],
        content: Content,
        format: &Format,
        (what, path, text): (What, &str, &str),
    ) -> Result<(), XlsxError> {
        let [(row, column), (last_row, last_column)] = cells;
        if cells[0] != cells[1] {
            sheet.merge_range(row, column, last_row, last_column, "", format)?;
        }
        match content {
            Content::Blank => sheet.write_blank(row, column, format)?,
            Content::Text(text) => sheet.write_string_with_format(row, column, text, format)?,
            Content::Number(number) => {
                sheet.write_number_with_format(row, column, number, format)?
            }
            Content::Date(date) => sheet.write_datetime_with_format(row, column, &date, format)?,
            Content::Formula(formula, result) => {
                let formula = Formula::new(format!("={formula}")).set_result(result);
                sheet.write_formula_with_format(row, column, formula, format)?
            }
        };
        self.spots.push(Spot {
            sheet: sheet.name(),
            cells: [cells[0], cells[0]],
            what,
            path: path.to_owned(),
            text: text.to_owned(),
        });
        Ok(())
    }

    /// A text of the form.
    fn label(
        &mut self,
        sheet: &mut Worksheet,
        cells: [(u32, u16); 2],
        text: &str,
        format: &Format,
    ) -> Result<(), XlsxError> {
        let content = Content::Text(text.to_owned());
        self.put(sheet, cells, content, format, (What::Label, "", text))
    }

    /// A text or a formula of the workbook's own.
    fn made(
        &mut self,
        sheet: &mut Worksheet,
        cells: [(u32, u16); 2],
        content: Content,
        format: &Format,
    ) -> Result<(), XlsxError> {
        self.put(sheet, cells, content, format, (What::Made, "", ""))
    }

    /// The first sheet: how to fill it in, and what the document says of itself.
    fn head(&mut self) -> Result<Worksheet, XlsxError> {
        let plan = self.plan;
        let mut sheet = self.sheet(0)?;
        paper(&mut sheet, false);
        for (column, width) in [130, 330, 210].into_iter().enumerate() {
            sheet.set_column_width_pixels(column as u16, width)?;
        }
        let all = |row: u32| [(row, 0), (row, 2)];
        let title = font(HEI, 18.0).set_align(FormatAlign::Center);
        self.label(&mut sheet, all(0), &headline(plan), &title)?;
        sheet.set_row_height(0, 40)?;
        let notice = format!("{}　{}", plan.template, plan.form.notice);
        let small = font(SONG, 10.0)
            .set_align(FormatAlign::Center)
            .set_font_color(GREY);
        self.label(&mut sheet, all(1), &notice, &small)?;
        let text = font(SONG, 10.5);
        for (row, (zh, en)) in (2..).zip(INSTRUCTIONS) {
            let both = format!("{zh}\n{en}");
            self.made(&mut sheet, all(row), Content::Text(both.clone()), &text)?;
            sheet.set_row_height(row, text_height(&both, 670, 10.5))?;
        }
        let mut row = 3 + INSTRUCTIONS.len() as u32;
        let head = boxed(HEI, 11.0).set_background_color(BAND);
        for (column, text) in ["项目", "填写", "说明"].into_iter().enumerate() {
            let cell = (row, column as u16);
            self.label(&mut sheet, [cell, cell], text, &head)?;
        }
        row += 1;
        let id = (
            "/job_id",
            "任务编号 job_id",
            "可不填；字母、数字、. _ - / optional; letters, digits, . _ -",
        );
        let violation = (
            "/on_violation",
            "勾稽不符时 on_violation",
            "可不填；reject 退回，warn 仍出文 / optional; reject or warn",
        );
        for (path, label, hint) in [id, violation] {
            let sent = self.take(path);
            let content = match sent {
                Some(Value::String(text)) => Content::Text(text),
                Some(other) => {
                    self.left.push(path.to_owned());
                    Content::Text(other.to_string())
                }
                None => Content::Blank,
            };
            self.entry(&mut sheet, row, [path, label, hint], content, "@")?;
            if path == "/on_violation" {
                let words = DataValidation::new().allow_list_strings(&["reject", "warn"])?;
                sheet.add_data_validation(row, 1, row, 1, &words)?;
            }
            row += 1;
        }
        for field in &plan.form.fields {
            if !field.kind.is_short() {
                continue;
            }
            let path = format!("/data/{}", field.field);
            let sent = self.take(&path);
            let content = sent.map_or(Content::Blank, |sent| {
                let content = head_content(&field.kind, &sent);
                content.unwrap_or_else(|| {
                    self.left.push(path.clone());
                    Content::Text(sent.to_string())
                })
            });
            let hint = hint_of(field);
            let numbers = match field.kind {
                FieldKind::Year => "0",
                FieldKind::Date => DATE,
                _ => "@",
            };
            self.entry(
                &mut sheet,
                row,
                [&path, &field.label, &hint],
                content,
                numbers,
            )?;
            let x = address((row, 1));
            let rule = match field.kind {
                FieldKind::Year => {
                    let (from, to) = (plan.form.years.start(), plan.form.years.end());
                    Some((
                        format!("AND(ISNUMBER({x}),{x}=INT({x}),{x}>={from},{x}<={to})"),
                        format!("请填{from}至{to}的年份。\nA year from {from} to {to}."),
                    ))
                }
                FieldKind::Date => Some((
                    format!("AND(ISNUMBER({x}),{x}>=1,{x}<80000)"),
                    "请填日期，如 2021-1-26。\nA date, as 2021-1-26.".to_owned(),
                )),
                _ => None,
            };
            if let Some((rule, message)) = rule {
                let validation = custom(&rule, &message)?;
                sheet.add_data_validation(row, 1, row, 1, &validation)?;
            }
            row += 1;
        }
        sheet.set_active(true);
        Ok(sheet)
    }

    /// A line of the first sheet.
    fn entry(
        &mut self,
        sheet: &mut Worksheet,
        row: u32,
        [path, label, hint]: [&str; 3],
        content: Content,
        numbers: &str,
    ) -> Result<(), XlsxError> {
        let cell = |column| [(row, column), (row, column)];
        let name = boxed(SONG, 11.0).set_align(FormatAlign::Left);
        let note = boxed(SONG, 9.0)
            .set_align(FormatAlign::Left)
            .set_font_color(GREY);
        let input = boxed(SONG, 11.0)
            .set_align(FormatAlign::Left)
            .set_background_color(INPUT)
            .set_num_format(numbers)
            .set_unlocked();
        self.label(sheet, cell(0), label, &name)?;
        let typed = match &content {
            Content::Text(text) => text_height(text, 330, 11.0),
            _ => 20.0,
        };
        self.put(sheet, cell(1), content, &input, (What::Value, path, ""))?;
        self.made(sheet, cell(2), Content::Text(hint.to_owned()), &note)?;
        let height = text_height(hint, 210, 9.0).max(text_height(label, 130, 11.0));
        sheet.set_row_height(row, height.max(typed).max(20.0))?;
        Ok(())
    }

    /// The sheet of an official table.
    fn table(&mut self, table: &TableSheet) -> Result<Worksheet, XlsxError> {
        let plan = self.plan;
        let form = &plan.form;
        let field = &form.fields[table.field];
        let grid = &table.grid;
        let mut sheet = self.sheet(table.sheet)?;
        paper(&mut sheet, grid.width() > 900);
        for (column, width) in grid.widths.iter().enumerate() {
            sheet.set_column_width_pixels(column as u16, *width)?;
        }
        let last = grid.widths.len().saturating_sub(1) as u16;
        let title = font(HEI, 16.0);
        self.label(&mut sheet, [(0, 0), (0, last)], &field.label, &title)?;
        sheet.set_row_height(0, text_height(&field.label, grid.width(), 16.0).max(30.0))?;
        self.state_of(&mut sheet, table, last)?;
        for (row, height) in grid.heights.iter().enumerate() {
            sheet.set_row_height(TOP + row as u32, *height)?;
        }
        for area in &grid.areas {
            self.area(&mut sheet, area, grid.size, &field.field)?;
        }
        self.validate(&mut sheet, table)?;
        self.colour(&mut sheet, table)?;
        let FieldKind::Table(official) = &field.kind else {
            return Ok(sheet);
        };
        let note = font(SONG, 9.0);
        let below = TOP + grid.heights.len() as u32;
        for (row, text) in (below..).zip(&official.notes) {
            self.label(&mut sheet, [(row, 0), (row, last)], text, &note)?;
            sheet.set_row_height(row, text_height(text, grid.width(), 9.0))?;
        }
        Ok(sheet)
    }

    /// How many rules of a table are broken, above it.
    fn state_of(
        &mut self,
        sheet: &mut Worksheet,
        table: &TableSheet,
        last: u16,
    ) -> Result<(), XlsxError> {
        let plan = self.plan;
        let Some(checks) = plan.check_sheet else {
            return Ok(());
        };
        let end = RULES + plan.checks.len() as u32;
        let column = |letter| {
            format!(
                "'{}'!${letter}${}:${letter}${end}",
                plan.sheets[checks],
                RULES + 1
            )
        };
        let count = |word: &str| {
            let (states, tables) = (column('A'), column('H'));
            let name = &plan.sheets[table.sheet];
            format!("COUNTIFS({states},\"{word}\",{tables},\"{name}\")")
        };
        let (broken, doubtful) = (count(BROKEN), count(DOUBTFUL));
        let name = &plan.sheets[checks];
        let formula = format!(
            "IF({broken}+{doubtful}=0,{},{}&{broken}&{}&{doubtful}&{})",
            formula::text("勾稽关系：未发现不符　No rule is broken"),
            formula::text("勾稽关系：不符合"),
            formula::text("处，请核对"),
            formula::text(&format!("处，见“{name}”　Rules are broken: see {name}")),
        );
        let states: Vec<&str> = (0..plan.checks.len())
            .filter(|check| self.told_on(*check) == plan.sheets[table.sheet])
            .map(|check| self.known(check, 0).state)
            .collect();
        let of = |word: &str| states.iter().filter(|state| **state == word).count();
        let (kept, known) = ((of(BROKEN), of(DOUBTFUL)), &plan.sheets[checks]);
        let result = match kept {
            (0, 0) => "勾稽关系：未发现不符　No rule is broken".to_owned(),
            (broken, doubtful) => format!(
                "勾稽关系：不符合{broken}处，请核对{doubtful}处，见“{known}”　Rules are broken: see {known}"
            ),
        };
        let format = font(SONG, 10.0).set_font_color(GREY);
        let cells = [(1, 0), (1, last)];
        self.made(sheet, cells, Content::Formula(formula, result), &format)?;
        sheet.set_row_height(1, 18)?;
        let red = ConditionalFormatFormula::new()
            .set_rule(Formula::new(format!("={broken}>0")))
            .set_format(broken_format());
        let amber = ConditionalFormatFormula::new()
            .set_rule(Formula::new(format!("={doubtful}>0")))
            .set_format(doubtful_format());
        sheet.add_conditional_format(1, 0, 1, last, &red)?;
        sheet.add_conditional_format(1, 0, 1, last, &amber)?;
        Ok(())
    }

    /// A cell of a table, or a label.
    fn area(
        &mut self,
        sheet: &mut Worksheet,
        area: &Area,
        size: f64,
        field: &str,
    ) -> Result<(), XlsxError> {
        let first = (TOP + area.row, area.column);
        let last = (first.0 + area.rows - 1, first.1 + area.columns - 1);
        let cells = [first, last];
        let left = boxed(SONG, size).set_align(FormatAlign::Left);
        match &area.is {
            Is::Cell(cell) => self.figure(sheet, cells, *cell, size),
            Is::Serial(number) => {
                let text = number.to_string();
                let content = Content::Number(*number as f64);
                let format = boxed(SONG, size);
                self.put(sheet, cells, content, &format, (What::Label, "", &text))
            }
            Is::Empty => self.made(sheet, cells, Content::Blank, &boxed(SONG, size)),
            Is::Band(text) => {
                let format = boxed(HEI, size).set_background_color(BAND);
                self.label(sheet, cells, text, &format)
            }
            Is::Head(text) => self.label(sheet, cells, text, &boxed(SONG, size)),
            Is::Corner(text) => self.label(
                sheet,
                cells,
                text,
                &boxed(KAI, size).set_align(FormatAlign::Left),
            ),
            Is::Group(text) => self.label(sheet, cells, &group_label(text), &left),
            Is::Upright(text) => {
                // Han characters one below another.
                let format = boxed(SONG, size).set_rotation(270);
                self.label(sheet, cells, text, &format)
            }
            // A table that is all in one row of its own has no field in its labels.
            Is::Label(text) => {
                let item = text.starts_with(|c: char| c.is_ascii_digit()) && !field.is_empty();
                let format = if item {
                    boxed(KAI, size)
                } else {
                    boxed(SONG, size)
                };
                self.label(sheet, cells, text, &format.set_align(FormatAlign::Left))
            }
        }
    }

    /// A cell that is filled in, or a total.
    fn figure(
        &mut self,
        sheet: &mut Worksheet,
        cells: [(u32, u16); 2],
        cell: usize,
        size: f64,
    ) -> Result<(), XlsxError> {
        let plan = self.plan;
        let place = &plan.form.cells[cell];
        let path = format!("/data{}", place.pointer);
        let (held, sent) = &plan.held[cell];
        let format = boxed(SONG, size).set_num_format(number_format(&place.kind, held));
        let formula = plan
            .computed
            .get(&cell)
            .filter(|_| !plan.typed.contains_key(&cell));
        if let Some((_, instance)) = formula.and_then(|check| plan.rule(*check)) {
            let here = plan.cells[cell].sheet;
            let parts = cells_of(&instance.sides[1]);
            let formulas = self.formulas();
            let sum = formulas.side(&instance.sides[1], here);
            let filled = formulas.filled(&parts, here);
            let scale = if place.kind == CellKind::Percent {
                "/100"
            } else {
                ""
            };
            let formula = format!("IF({filled}=0,\"\",({sum}){scale})");
            if formula.len() <= LONGEST {
                let total = plan.side(&instance.sides[1]);
                let result = match plan.shown[cell] {
                    true => plain(total, &place.kind),
                    false => String::new(),
                };
                let format = format.set_background_color(TOTAL);
                let content = Content::Formula(formula, result);
                let spot = (What::Total, path.as_str(), "");
                return self.put(sheet, cells, content, &format, spot);
            }
            self.left
                .push(format!("{path}: its sum is longer than a workbook takes"));
        }
        let total = plan.computed.contains_key(&cell);
        let format = match total {
            true => format.set_background_color(TOTAL),
            false => format.set_background_color(INPUT),
        };
        let what = if total { What::Total } else { What::Value };
        let content = content_of(&place.kind, held, sent);
        let text = exactly(&place.kind, &content, sent);
        let format = format.set_unlocked();
        self.put(sheet, cells, content, &format, (what, &path, &text))
    }

    /// What may be typed into the cells of a table.
    fn validate(&mut self, sheet: &mut Worksheet, table: &TableSheet) -> Result<(), XlsxError> {
        let plan = self.plan;
        // Neighbours in a column share theirs.
        let mut cells: Vec<usize> = table
            .grid
            .areas
            .iter()
            .filter_map(|area| match area.is {
                Is::Cell(cell) => Some(cell),
                _ => None,
            })
            .collect();
        cells.sort_by_key(|cell| plan.cells[*cell]);
        let mut runs: Vec<(usize, u32)> = Vec::new();
        for cell in cells {
            let at = plan.cells[cell];
            let next = |(first, rows): &(usize, u32)| {
                let one = plan.cells[*first];
                one.column == at.column
                    && one.row + rows == at.row
                    && plan.form.cells[*first].kind == plan.form.cells[cell].kind
            };
            match runs.last_mut() {
                Some(run) if next(run) => run.1 += 1,
                _ => runs.push((cell, 1)),
            }
        }
        for (first, rows) in runs {
            let at = plan.cells[first];
            let kind = &plan.form.cells[first].kind;
            if let Some(validation) = self.validation(kind, &address((at.row, at.column)))? {
                let end = at.row + rows - 1;
                sheet.add_data_validation(at.row, at.column, end, at.column, &validation)?;
            }
        }
        Ok(())
    }

    fn validation(
        &mut self,
        kind: &CellKind,
        x: &str,
    ) -> Result<Option<DataValidation>, XlsxError> {
        let options = match kind {
            CellKind::YesNo => vec!["是".to_owned(), "否".to_owned()],
            CellKind::Choice(options) => options.clone(),
            _ => {
                let Some(rule) = formula::allowed(x, kind) else {
                    return Ok(None);
                };
                return Ok(Some(custom(&rule, &wanted(kind))?));
            }
        };
        let marks = MARKS.map(str::to_owned);
        let all: Vec<String> = options.into_iter().chain(marks).collect();
        let known = self.choices.iter().position(|list| *list == all);
        let column = known.unwrap_or_else(|| {
            self.choices.push(all.clone());
            self.choices.len() - 1
        });
        let column = CHOICES + column as u16;
        let ends = [(0, column), (all.len() as u32 - 1, column)];
        let [first, last] = ends.map(absolute);
        let list = Formula::new(format!("='{}'!{first}:{last}", map::SHEET));
        let validation = DataValidation::new()
            .allow_list_formula(list)
            .set_error_title("请从列表中选 Choose")?
            .set_error_message(wanted(kind))?;
        Ok(Some(validation))
    }

    /// Cells that turn red when a rule that is told there is broken.
    fn colour(&mut self, sheet: &mut Worksheet, table: &TableSheet) -> Result<(), XlsxError> {
        let plan = self.plan;
        let Some(checks) = plan.check_sheet else {
            return Ok(());
        };
        let mut told: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for check in 0..plan.checks.len() {
            if let Some((_, instance)) = plan.rule(check) {
                for (cell, _) in &instance.places {
                    told.entry(*cell).or_default().push(check);
                }
            }
        }
        for (cell, checks_of) in told {
            let at = plan.cells[cell];
            if at.sheet != table.sheet {
                continue;
            }
            for (word, format) in [(BROKEN, broken_format()), (DOUBTFUL, doubtful_format())] {
                let is = |check: &usize| {
                    let state = absolute((RULES + *check as u32, STATE));
                    let severity = plan.rule(*check).map(|(rule, _)| rule.code.severity());
                    let word_of = if severity == Some(Severity::Rule) {
                        BROKEN
                    } else {
                        DOUBTFUL
                    };
                    (word_of == word)
                        .then(|| format!("'{}'!{state}=\"{word}\"", plan.sheets[checks]))
                };
                let states: Vec<String> = checks_of.iter().filter_map(is).collect();
                if states.is_empty() {
                    continue;
                }
                let rule = Formula::new(format!("=OR({})", states.join(",")));
                let red = ConditionalFormatFormula::new()
                    .set_rule(rule)
                    .set_format(format);
                sheet.add_conditional_format(at.row, at.column, at.row, at.column, &red)?;
            }
        }
        Ok(())
    }

    /// Last year's figures.
    fn prior(&mut self, index: usize) -> Result<Worksheet, XlsxError> {
        let plan = self.plan;
        let mut sheet = self.sheet(index)?;
        let widest = plan
            .form
            .prior
            .iter()
            .map(|group| group.entries().len())
            .max();
        let widest = widest.unwrap_or(1).max(1) as u16;
        paper(&mut sheet, false);
        for column in 0..widest {
            sheet.set_column_width_pixels(column, (670 / u32::from(widest)).clamp(90, 160))?;
        }
        let last = widest.max(2) - 1;
        let title = "上年数据　Last year's figures";
        self.label(&mut sheet, [(0, 0), (0, last)], title, &font(HEI, 16.0))?;
        sheet.set_row_height(0, 30)?;
        let hint = "不知道的留空，有关核对即不进行。 Leave blank what is not known: its rules are not looked at then.";
        let grey = font(SONG, 10.0).set_font_color(GREY);
        self.made(
            &mut sheet,
            [(1, 0), (1, last)],
            Content::Text(hint.to_owned()),
            &grey,
        )?;
        sheet.set_row_height(1, 32)?;
        for group in &plan.form.prior {
            let Some(first) = group.cells().first().and_then(|cell| plan.prior.get(cell)) else {
                continue;
            };
            let heading = [(first.row - 2, 0), (first.row - 2, last)];
            self.label(&mut sheet, heading, &group.said, &font(HEI, 11.0))?;
            for entry in group.entries() {
                let Holds::Cell(cell) = entry.holds else {
                    continue;
                };
                let at = plan.prior[&cell];
                self.prior_cell(&mut sheet, group, entry, cell, at)?;
            }
        }
        Ok(sheet)
    }

    fn prior_cell(
        &mut self,
        sheet: &mut Worksheet,
        group: &Entry,
        entry: &Entry,
        cell: usize,
        at: At,
    ) -> Result<(), XlsxError> {
        let kind = &self.plan.form.cells[cell].kind;
        let head = (at.row - 1, at.column);
        self.label(sheet, [head, head], &entry.label, &boxed(SONG, 10.0))?;
        let held = match self.plan.last.get(&cell) {
            Some(figure) => Cell::of(*figure, kind),
            None => Cell::Blank,
        };
        let content = content_of(kind, &held, &Value::Null);
        let format = boxed(SONG, 10.0)
            .set_num_format(number_format(kind, &held))
            .set_background_color(INPUT)
            .set_unlocked();
        let path = format!("/prior/{}/{}", group.field, entry.field);
        let place = (at.row, at.column);
        self.put(
            sheet,
            [place, place],
            content,
            &format,
            (What::Value, &path, ""),
        )?;
        if let Some(rule) = formula::allowed(&address(place), kind) {
            let validation = custom(&rule, &wanted(kind))?;
            sheet.add_data_validation(at.row, at.column, at.row, at.column, &validation)?;
        }
        sheet.set_row_height(at.row - 1, 28)?;
        Ok(())
    }

    /// The sheet of texts; and of each field the rows of its text.
    fn texts(&mut self) -> Result<(Worksheet, BTreeMap<usize, [u32; 2]>), XlsxError> {
        let plan = self.plan;
        let mut sheet = self.sheet(plan.text_sheet)?;
        paper(&mut sheet, false);
        sheet.set_column_width_pixels(0, 84)?;
        sheet.set_column_width_pixels(1, 590)?;
        for column in 2..TEXT_COLUMNS {
            sheet.set_column_width_pixels(column, 90)?;
        }
        // Tables in the text go on beside; what is printed is the text.
        let title = "正文　Text";
        self.label(&mut sheet, [(0, 0), (0, 1)], title, &font(HEI, 16.0))?;
        sheet.set_row_height(0, 30)?;
        let grey = font(SONG, 10.0).set_font_color(GREY);
        self.made(
            &mut sheet,
            [(1, 0), (1, 1)],
            Content::Text(TEXTS.to_owned()),
            &grey,
        )?;
        sheet.set_row_height(1, text_height(TEXTS, 674, 10.0))?;
        let mut row = 3;
        let mut ranges = BTreeMap::new();
        for (index, field) in plan.form.fields.iter().enumerate() {
            let path = format!("/data/{}", field.field);
            let label = &field.label;
            let sections: Vec<(String, String, String, usize)> = match &field.kind {
                FieldKind::Blocks(rules) => {
                    let mut hint = hint_of(field);
                    for rule in rules {
                        hint = format!("{hint} {}", text_hint(field, rule));
                    }
                    vec![(path, label.clone(), hint.trim().to_owned(), 16)]
                }
                FieldKind::Parts => vec![(path, label.clone(), hint_of(field), 16)],
                FieldKind::Table(_) => vec![
                    (
                        format!("{path}/introduction"),
                        format!("{label}：表前文字"),
                        OPTIONAL.to_owned(),
                        3,
                    ),
                    (
                        format!("{path}/notes"),
                        format!("{label}：表下注"),
                        OPTIONAL.to_owned(),
                        4,
                    ),
                ],
                _ => continue,
            };
            for (path, label, hint, spare) in sections {
                let from = row + 2;
                row = self.text(&mut sheet, row, [&path, &label, &hint], &field.kind, spare)?;
                ranges.insert(index, [from, row - 2]);
            }
        }
        Ok((sheet, ranges))
    }

    /// A text with its heading; gives the row after it.
    fn text(
        &mut self,
        sheet: &mut Worksheet,
        row: u32,
        [path, label, hint]: [&str; 3],
        kind: &FieldKind,
        spare: usize,
    ) -> Result<u32, XlsxError> {
        let across = |row: u32| [(row, 0), (row, 1)];
        self.label(sheet, across(row), label, &font(HEI, 12.0))?;
        sheet.set_row_height(row, 24)?;
        let grey = font(SONG, 9.0).set_font_color(GREY);
        self.made(
            sheet,
            across(row + 1),
            Content::Text(hint.to_owned()),
            &grey,
        )?;
        sheet.set_row_height(row + 1, text_height(hint, 674, 9.0))?;
        let sent = self.take(path).unwrap_or(Value::Null);
        let rows = self.rows_of(path, &sent);
        let from = row + 2;
        let count = spare.max(rows.len() + spare.div_ceil(2));
        let end = from + count as u32 - 1;
        let word = boxed(SONG, 10.0).set_background_color(INPUT).set_unlocked();
        let text = boxed(SONG, 11.0)
            .set_align(FormatAlign::Left)
            .set_background_color(INPUT)
            .set_unlocked();
        // Beside the text the cells of a table may go on, without looking as if they must.
        let beside = font(SONG, 10.0).set_unlocked();
        for (at, row) in (from..=end).enumerate() {
            for column in 0..TEXT_COLUMNS {
                let format = match column {
                    0 => &word,
                    1 => &text,
                    _ => &beside,
                };
                let content = rows
                    .get(at)
                    .and_then(|cells| cells.get(usize::from(column)));
                match content.unwrap_or(&Content::Blank) {
                    Content::Text(text) => {
                        sheet.write_string_with_format(row, column, text, format)?
                    }
                    Content::Number(number) => {
                        sheet.write_number_with_format(row, column, *number, format)?
                    }
                    _ => sheet.write_blank(row, column, format)?,
                };
            }
            let more = rows.get(at).map_or(0, Vec::len);
            for column in usize::from(TEXT_COLUMNS)..more {
                if let Some(Content::Text(text)) = rows[at].get(column) {
                    sheet.write_string_with_format(row, column as u16, text, &beside)?;
                }
            }
        }
        let notes = path.ends_with("/notes") && matches!(kind, FieldKind::Table(_));
        let mut words = vec![map::PARAGRAPH];
        if !notes {
            words.extend([map::HEADING, map::CAPTION, map::COLUMNS, map::ROW]);
        }
        if matches!(kind, FieldKind::Parts) {
            words.push(map::PART);
        }
        let words = DataValidation::new().allow_list_strings(&words)?;
        sheet.add_data_validation(from, 0, end, 0, &words)?;
        let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let last = widest.max(usize::from(TEXT_COLUMNS)) - 1;
        self.spots.push(Spot {
            sheet: sheet.name(),
            cells: [(from, 0), (end, last as u16)],
            what: What::Text,
            path: path.to_owned(),
            text: String::new(),
        });
        Ok(end + 2)
    }

    /// The blocks of a text as rows: what each is, and its text or its cells.
    fn rows_of(&mut self, path: &str, sent: &Value) -> Vec<Vec<Content>> {
        let mut rows = Vec::new();
        for (index, block) in sent.as_array().into_iter().flatten().enumerate() {
            let pointer = format!("{path}/{index}");
            let title = block.get("title").and_then(Value::as_str);
            let blocks = block.get("blocks").and_then(Value::as_array);
            if let (Some(title), Some(blocks)) = (title, blocks) {
                rows.push(line(map::PART, title));
                for (at, block) in blocks.iter().enumerate() {
                    self.block(&format!("{pointer}/blocks/{at}"), block, &mut rows);
                }
            } else {
                self.block(&pointer, block, &mut rows);
            }
        }
        if !sent.is_array() && !sent.is_null() {
            self.left.push(path.to_owned());
        }
        rows
    }

    fn block(&mut self, pointer: &str, block: &Value, rows: &mut Vec<Vec<Content>>) {
        let made = block_rows(block);
        let fits = |content: &Content| match content {
            Content::Text(text) => text.encode_utf16().count() <= LONGEST_CELL,
            _ => true,
        };
        match made {
            Some(made) if made.iter().flatten().all(fits) => rows.extend(made),
            _ => self.left.push(pointer.to_owned()),
        }
    }

    /// The rules, each with what became of it.
    fn checks(
        &mut self,
        index: usize,
        ranges: &BTreeMap<usize, [u32; 2]>,
    ) -> Result<Worksheet, XlsxError> {
        let plan = self.plan;
        let mut sheet = self.sheet(index)?;
        paper(&mut sheet, true);
        for (column, width) in [70, 90, 90, 330, 330, 80, 80].into_iter().enumerate() {
            sheet.set_column_width_pixels(column as u16, width)?;
        }
        sheet.set_column_hidden(7)?;
        let title = font(HEI, 16.0);
        self.label(&mut sheet, [(0, 0), (0, 6)], "勾稽核对　Rules", &title)?;
        sheet.set_row_height(0, 30)?;
        let count = plan.checks.len() as u32;
        let states = format!("$A${}:$A${}", RULES + 1, RULES + count);
        let of = |word: &str| format!("COUNTIF({states},\"{word}\")");
        let (broken, doubtful) = (of(BROKEN), of(DOUBTFUL));
        let all = format!(
            "\"不符合 \"&{broken}&\" 处，请核对 \"&{doubtful}&\" 处　Broken: \"&{broken}&\", to be looked at: \"&{doubtful}"
        );
        let mut known = Vec::new();
        for check in 0..plan.checks.len() {
            let typed = ranges.get(&self.field_of(check)).copied();
            known.push(self.known(check, self.characters(check)));
            self.check(&mut sheet, check, index, typed, &known[check])?;
        }
        let counted = |word: &str| known.iter().filter(|known| known.state == word).count();
        let (is_broken, is_doubtful) = (counted(BROKEN), counted(DOUBTFUL));
        let result = format!(
            "不符合 {is_broken} 处，请核对 {is_doubtful} 处　Broken: {is_broken}, to be looked at: {is_doubtful}"
        );
        self.made(
            &mut sheet,
            [(1, 0), (1, 6)],
            Content::Formula(all, result),
            &font(SONG, 11.0),
        )?;
        let head = boxed(HEI, 10.0).set_background_color(BAND);
        for (column, text) in ["结果", "规则", "位置", "说明", "In English", "左边", "右边"]
            .into_iter()
            .enumerate()
        {
            let cell = (RULES - 1, column as u16);
            self.label(&mut sheet, [cell, cell], text, &head)?;
        }
        for (word, format) in [(BROKEN, broken_format()), (DOUBTFUL, doubtful_format())] {
            let rule = Formula::new(format!("=$A{}=\"{word}\"", RULES + 1));
            let colour = ConditionalFormatFormula::new()
                .set_rule(rule)
                .set_format(format);
            sheet.add_conditional_format(RULES, 0, RULES + count - 1, 4, &colour)?;
        }
        sheet.set_freeze_panes(RULES, 0)?;
        Ok(sheet)
    }

    fn check(
        &mut self,
        sheet: &mut Worksheet,
        check: usize,
        here: usize,
        typed: Option<[u32; 2]>,
        known: &Known,
    ) -> Result<(), XlsxError> {
        let plan = self.plan;
        let row = RULES + check as u32;
        let [state, left, right] = [STATE, LEFT, RIGHT].map(|column| address((row, column)));
        let made = match plan.rule(check) {
            Some((rule, instance)) => {
                let formulas = self.formulas();
                let sides = instance
                    .sides
                    .each_ref()
                    .map(|side| formulas.side(side, here));
                let mut cells = cells_of(&instance.sides[0]);
                cells.extend(cells_of(&instance.sides[1]));
                let mut idle = vec![format!("{}=0", formulas.filled(&cells, here))];
                let prior = instance
                    .sides
                    .iter()
                    .chain(&instance.when)
                    .flat_map(|side| prior_of(side));
                idle.extend(prior.filter_map(|cell| {
                    let at = plan.prior.get(&cell)?;
                    Some(format!("LEN({})=0", formulas.reference(*at, here)))
                }));
                if let Some(target) = instance.target().filter(|_| rule.computes) {
                    // An open total stands for what is computed.
                    let x = formulas.reference(plan.cells[target], here);
                    idle.push(formula::is_mark(&x));
                }
                let kept = formula::compared(&left, rule.comparison, &right);
                let word = word_of(rule.code.severity());
                let broken = match rule.when {
                    Some(when) => {
                        let [one, other] = instance
                            .when
                            .each_ref()
                            .map(|side| formulas.side(side, here));
                        let when =
                            formula::compared(&format!("({one})"), when, &format!("({other})"));
                        format!("IF({when},\"{word}\",\"\")")
                    }
                    None => format!("\"{word}\""),
                };
                let is = format!(
                    "IF(OR({}),\"\",IF({kept},\"{KEPT}\",{broken}))",
                    idle.join(",")
                );
                let said = |pieces: &[Piece]| {
                    let place = &plan.form.cells[instance.places[0].0];
                    let said = pieces.iter().map(|piece| match piece {
                        Piece::Text(text) => formula::text(text),
                        Piece::Row => formula::text(&place.row),
                        Piece::Column => formula::text(&place.column),
                        Piece::Side(0) => format!("ROUND({left},8)"),
                        Piece::Side(_) => format!("ROUND({right},8)"),
                        Piece::Term(side, at) => {
                            let term = formulas.term(&instance.sides[*side][*at].adds, here);
                            format!("ROUND({term},8)")
                        }
                    });
                    said.collect::<Vec<_>>().join("&")
                };
                let [en, zh] = rule.message.each_ref().map(|pieces| said(pieces));
                [is, zh, en, sides[0].clone(), sides[1].clone()]
            }
            None => {
                let (Some((field, rule)), Some([from, to])) = (plan.text_rule(check), typed) else {
                    return Ok(());
                };
                let TextRuleKind::Length(most) = rule.kind else {
                    return Ok(());
                };
                let name = &plan.sheets[plan.text_sheet];
                let column = |letter| format!("'{name}'!{letter}{}:{letter}{}", from + 1, to + 1);
                let (words, texts) = (column('A'), column('B'));
                // Tables are not counted, nor is white space.
                let shown = ["\" \"", "\"　\"", "CHAR(10)"]
                    .into_iter()
                    .fold(texts, |text, space| {
                        format!("SUBSTITUTE({text},{space},\"\")")
                    });
                let counted = [map::CAPTION, map::COLUMNS, map::ROW]
                    .map(|word| format!("({words}<>\"{word}\")"))
                    .join("*");
                let count = format!("SUMPRODUCT({counted}*LEN({shown}))");
                let word = word_of(rule.code.severity());
                let is = format!("IF({left}=0,\"\",IF({left}<={right},\"{KEPT}\",\"{word}\"))");
                let [en, zh] = rule.message.each_ref().map(|text| {
                    let text = text.replace("{heading}", &plan.form.fields[field].label);
                    let parts = text.split("{count}").map(formula::text);
                    parts.collect::<Vec<_>>().join(&format!("&{left}&"))
                });
                [is, zh, en, count, most.to_string()]
            }
        };
        let [is, zh, en, one, other] = made;
        let message = |text: &str| format!("IF(OR({state}=\"\",{state}=\"{KEPT}\"),\"\",{text})");
        let (zh, en) = (message(&zh), message(&en));
        if [&is, &zh, &en, &one, &other]
            .iter()
            .any(|formula| formula.len() > LONGEST)
        {
            self.left.push(format!(
                "{}: longer than a workbook takes",
                self.code(check)
            ));
            return Ok(());
        }
        let text = boxed(SONG, 9.0).set_align(FormatAlign::Left);
        let middle = boxed(SONG, 10.0);
        let cell = |column: u16| [(row, column), (row, column)];
        let told = |text: &str| match known.state {
            "" | KEPT => String::new(),
            _ => text.to_owned(),
        };
        let place = match plan.rule(check) {
            Some((_, instance)) => {
                let at = plan.cells[instance.places[0].0];
                map::place(&plan.sheets[at.sheet], (at.row, at.column))
            }
            None => plan.sheets[plan.text_sheet].clone(),
        };
        for (column, content, format) in [
            (0, Content::Formula(is, known.state.to_owned()), &middle),
            (1, Content::Text(self.code(check)), &middle),
            (2, Content::Text(place), &middle),
            (3, Content::Formula(zh, told(&known.zh)), &text),
            (4, Content::Formula(en, told(&known.en)), &text),
            (
                5,
                Content::Formula(one, known.sides[0].normalize().to_string()),
                &middle,
            ),
            (
                6,
                Content::Formula(other, known.sides[1].normalize().to_string()),
                &middle,
            ),
            (7, Content::Text(self.told_on(check)), &middle),
        ] {
            self.made(sheet, cell(column), content, format)?;
        }
        let height = text_height(&told(&known.zh), 330, 9.0);
        let height = height.max(text_height(&told(&known.en), 330, 9.0));
        sheet.set_row_height(row, height)?;
        Ok(())
    }

    fn code(&self, check: usize) -> String {
        let plan = self.plan;
        let code = plan.rule(check).map(|(rule, _)| rule.code);
        let code = code.or_else(|| plan.text_rule(check).map(|(_, rule)| rule.code));
        code.map_or_else(String::new, |code| code.as_str().to_owned())
    }

    /// The field whose text a check is about.
    fn field_of(&self, check: usize) -> usize {
        match self.plan.checks[check] {
            Check::Text(field, _) => field,
            Check::Figures(..) => usize::MAX,
        }
    }

    /// The sheet on which a check is told.
    fn told_on(&self, check: usize) -> String {
        let plan = self.plan;
        match plan.rule(check) {
            Some((_, instance)) => plan.sheet_of(instance.places[0].0).to_owned(),
            None => plan.sheets[plan.text_sheet].clone(),
        }
    }

    /// How many characters the text of a check has.
    fn characters(&self, check: usize) -> usize {
        let Some((field, _)) = self.plan.text_rule(check) else {
            return 0;
        };
        let pointer = format!("/data/{}", self.plan.form.fields[field].field);
        let blocks = self.plan.job.pointer(&pointer).and_then(Value::as_array);
        let texts = blocks
            .into_iter()
            .flatten()
            .filter_map(|block| match block {
                Value::String(text) => Some(text.as_str()),
                other => other.get("heading").and_then(Value::as_str),
            });
        let spaces = [' ', '\u{3000}', '\n'];
        texts
            .map(|text| text.chars().filter(|c| !spaces.contains(c)).count())
            .sum()
    }

    /// What became of a check when the workbook was made. `count` is of its text.
    fn known(&self, check: usize, count: usize) -> Known {
        let plan = self.plan;
        let Some((rule, instance)) = plan.rule(check) else {
            return self.known_text(check, count);
        };
        let sides = instance.sides.each_ref().map(|side| plan.side(side));
        let cells = instance.sides.iter().flat_map(|side| cells_of(side));
        let filled = cells.into_iter().any(|cell| plan.shown[cell]);
        let all = instance.sides.iter().chain(&instance.when);
        let prior = all
            .flat_map(|side| prior_of(side))
            .all(|cell| plan.last.contains_key(&cell));
        let open = instance
            .target()
            .filter(|_| rule.computes)
            .is_some_and(|target| {
                let typed = plan.typed.contains_key(&target);
                (typed && plan.held[target].0.is_open()) || (!typed && !plan.shown[target])
            });
        let applies = rule.when.is_none_or(|when| {
            when.holds(plan.side(&instance.when[0]), plan.side(&instance.when[1]))
        });
        let state = match (
            filled && prior && !open,
            rule.comparison.holds(sides[0], sides[1]),
        ) {
            (false, _) => "",
            (true, true) => KEPT,
            (true, false) if !applies => "",
            (true, false) => word_of(rule.code.severity()),
        };
        let place = &plan.form.cells[instance.places[0].0];
        let said = |pieces: &[Piece]| {
            let said = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Row => place.row.clone(),
                Piece::Column => place.column.clone(),
                Piece::Side(0) => sides[0].normalize().to_string(),
                Piece::Side(_) => sides[1].normalize().to_string(),
                Piece::Term(side, at) => {
                    let term: &Term = &instance.sides[*side][*at];
                    plan.term(&term.adds).normalize().to_string()
                }
            });
            said.collect::<String>()
        };
        let [en, zh] = rule.message.each_ref().map(|pieces| said(pieces));
        Known {
            state,
            zh,
            en,
            sides,
        }
    }

    fn known_text(&self, check: usize, count: usize) -> Known {
        let Some((field, rule)) = self.plan.text_rule(check) else {
            return Known::default();
        };
        let TextRuleKind::Length(most) = rule.kind else {
            return Known::default();
        };
        let state = match count {
            0 => "",
            count if count <= most => KEPT,
            _ => word_of(rule.code.severity()),
        };
        let [en, zh] = rule.message.each_ref().map(|text| {
            let text = text.replace("{heading}", &self.plan.form.fields[field].label);
            text.replace("{count}", &count.to_string())
        });
        Known {
            state,
            zh,
            en,
            sides: [Decimal::from(count), Decimal::from(most)],
        }
    }

    /// The hidden sheet: what stands where.
    fn map(&mut self) -> Result<Worksheet, XlsxError> {
        let mut sheet = self.sheet(self.plan.sheets.len() - 1)?;
        sheet.set_hidden(true);
        for (row, line) in [
            [map::MARK, map::VERSION],
            ["template", &self.plan.template],
            ["form", &self.plan.digest],
        ]
        .iter()
        .enumerate()
        {
            for (column, text) in line.iter().enumerate() {
                sheet.write_string(row as u32, column as u16, *text)?;
            }
        }
        for (row, spot) in (map::FIRST..).zip(&self.spots) {
            let range = spot.range();
            let line = [
                &spot.sheet,
                &range,
                spot.what.as_str(),
                &spot.path,
                &spot.text,
            ];
            for (column, text) in (0..).zip(line) {
                if !text.is_empty() {
                    sheet.write_string(row, column, text)?;
                }
            }
        }
        for (column, list) in (CHOICES..).zip(&self.choices) {
            for (row, word) in (0..).zip(list) {
                sheet.write_string(row, column, word)?;
            }
        }
        Ok(sheet)
    }
}

/// What became of a check.
#[derive(Debug, Default)]
struct Known {
    state: &'static str,
    zh: String,
    en: String,
    sides: [Decimal; 2],
}

/// The column of the hidden sheet where the lists to choose from begin.
const CHOICES: u16 = 6;

/// A date as it is shown.
const DATE: &str = "yyyy\"年\"m\"月\"d\"日\"";

const OPTIONAL: &str = "可不填　optional";

/// What the first sheet says, in Chinese and in English.
const INSTRUCTIONS: [(&str, &str); 5] = [
    (
        "1. 只填浅黄色的格；灰色的格是合计，自动计算。其他格已锁定。",
        "Fill in the yellow cells; the grey ones are totals and add themselves up. All others are locked.",
    ),
    (
        "2. 数字填整数，没有发生的填 0；本机关无此项的填 / 、— 或 无；留空的按空白处理。需要说明的写作 22（其中修订16件）。",
        "Figures are whole numbers, 0 where there were none; /, — or 无 where the agency has no such power; an empty cell is left blank. A remark stands behind its figure: 22（…）.",
    ),
    (
        "3. 不符合勾稽关系的格变红，须核对的变黄，“勾稽核对”表逐条说明。",
        "Cells that break a rule turn red, doubtful ones amber; the sheet 勾稽核对 says which rule and why.",
    ),
    (
        "4. 文字写在“正文”表，一行一段。",
        "The text goes on the sheet 正文, a paragraph a row.",
    ),
    (
        "5. 请勿增删行列，勿改表名。填好后保存为 .xlsx，用 banshi import 读取。",
        "Do not insert or delete rows, and do not rename sheets. Save as .xlsx; banshi import reads it.",
    ),
];

/// What the sheet of texts says.
const TEXTS: &str = "一行一段；单元格内换行也分段。左列选“小标题”的单独成行；表格依次写“表题”“表头”“表行”，各格向右填。\n\
    A paragraph a row; a line break in a cell begins another. 小标题 is a heading of its own line; a table is 表题 (caption), 表头 (heads), 表行 (rows), its cells to the right.";

fn broken_format() -> Format {
    Format::new()
        .set_background_color(Color::RGB(0xFF_C7_CE))
        .set_font_color(Color::RGB(0x9C_00_06))
}

fn doubtful_format() -> Format {
    Format::new()
        .set_background_color(Color::RGB(0xFF_EB_9C))
        .set_font_color(Color::RGB(0x7F_60_00))
}

fn word_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Error | Severity::Rule => BROKEN,
        Severity::Warning => DOUBTFUL,
    }
}

fn absolute((row, column): (u32, u16)) -> String {
    let address = address((row, column));
    let digits = address.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    format!("${}${}", &address[..digits], &address[digits..])
}

fn custom(rule: &str, message: &str) -> Result<DataValidation, XlsxError> {
    DataValidation::new()
        .allow_custom(Formula::new(format!("={rule}")))
        .set_error_title("填写有误 Not taken")?
        .set_error_message(message)
}

/// What a cell of a kind may hold, for who typed something else.
fn wanted(kind: &CellKind) -> String {
    let (zh, en) = match kind {
        CellKind::Count => (
            "请填0以上的整数；需要说明的写作 22（其中修订16件）",
            "A whole number from 0; with a remark: 22（…）",
        ),
        CellKind::Change => (
            "请填整数，减少的填负数",
            "A whole number, negative for less",
        ),
        CellKind::Money(_) | CellKind::MoneyWithUnit(_) => ("请填金额", "An amount"),
        CellKind::Percent => ("请填百分数，如 85.3%", "A percentage, as 85.3%"),
        CellKind::Text => ("请填文字", "A text"),
        CellKind::Date => ("请填日期，如 2021-1-26", "A date, as 2021-1-26"),
        CellKind::YesNo | CellKind::Choice(_) => ("请从列表中选择", "One of the list"),
    };
    let marks = MARKS.join(" ");
    format!("{zh}；无此项的填 {marks} 之一。\n{en}; or one of {marks}.")
}

/// How the numbers of a kind are shown.
fn number_format(kind: &CellKind, held: &Cell) -> String {
    let decimals = |least: usize| {
        let scale = match held {
            Cell::Money(money) => money.amount.scale() as usize,
            _ => least,
        };
        match scale {
            0 => "0".to_owned(),
            scale => format!("0.{}", "0".repeat(scale)),
        }
    };
    match (kind, held) {
        (CellKind::Change, _) => "+0;-0;0".to_owned(),
        (CellKind::Money(_) | CellKind::MoneyWithUnit(_), Cell::Money(_)) => decimals(0),
        (CellKind::Percent, _) => format!("{}%", decimals(2)),
        (CellKind::Date, _) => DATE.to_owned(),
        (CellKind::Text, _) => "@".to_owned(),
        _ => "General".to_owned(),
    }
}

/// What stands in the cell of a table.
fn content_of(kind: &CellKind, held: &Cell, sent: &Value) -> Content {
    let number = |number: Decimal| number.to_f64().map_or(Content::Blank, Content::Number);
    match held {
        Cell::Number {
            value,
            remark: None,
        } => Content::Number(*value as f64),
        Cell::Number {
            value,
            remark: Some(remark),
        } => Content::Text(format!("{value}（{remark}）")),
        Cell::Money(money) => match kind {
            CellKind::Percent => number(money.amount / Decimal::ONE_HUNDRED),
            CellKind::MoneyWithUnit(_) if !money.unit.is_empty() => {
                Content::Text(money.text.clone())
            }
            _ => number(money.amount),
        },
        Cell::Text(text) => match (kind, sent.as_str()) {
            (CellKind::Date, Some(sent)) => date_of(sent).map_or(Content::Blank, Content::Date),
            // As it was sent, spaces and all.
            (CellKind::Text, Some(sent)) => Content::Text(sent.to_owned()),
            _ => Content::Text(text.clone()),
        },
        Cell::Mark(mark) => Content::Text((*mark).to_owned()),
        Cell::Blank | Cell::Absent => Content::Blank,
        Cell::Unread => Content::Text(match sent {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}

/// What was sent, where what is read back would not be it.
fn exactly(kind: &CellKind, content: &Content, sent: &Value) -> String {
    let read = match (kind, content) {
        (CellKind::Money(_) | CellKind::MoneyWithUnit(_), Content::Number(number)) => {
            digits(*number)
        }
        (CellKind::Percent, Content::Number(number)) => percentage(*number),
        _ => return String::new(),
    };
    match sent.as_str() {
        Some(sent) if sent != read => sent.to_owned(),
        _ => String::new(),
    }
}

fn plain(total: Decimal, kind: &CellKind) -> String {
    let total = match kind {
        CellKind::Percent => total / Decimal::ONE_HUNDRED,
        _ => total,
    };
    total.normalize().to_string()
}

fn date_of(text: &str) -> Option<ExcelDateTime> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    ExcelDateTime::from_ymd(year, month, day).ok()
}

/// What the first sheet holds of a field; none, where it is not what the field holds.
fn head_content(kind: &FieldKind, sent: &Value) -> Option<Content> {
    let text = match kind {
        FieldKind::Year => return Some(Content::Number(sent.as_f64()?)),
        FieldKind::Date => return date_of(sent.as_str()?).map(Content::Date),
        FieldKind::Lines => {
            let lines = sent.as_array()?.iter().map(Value::as_str);
            lines.collect::<Option<Vec<_>>>()?.join("\n")
        }
        _ => sent.as_str()?.to_owned(),
    };
    (text.encode_utf16().count() <= LONGEST_CELL).then_some(Content::Text(text))
}

/// What is said of a field beside it.
fn hint_of(field: &Field) -> String {
    let mut hint = Vec::new();
    if field.optional {
        hint.push(OPTIONAL.to_owned());
    }
    if let Some(note) = &field.note {
        // In a cell a line is broken, not written \n.
        hint.push(note.replace("\\n", "Alt+Enter"));
    }
    if matches!(field.kind, FieldKind::Lines) {
        hint.push("每行一个，Alt+Enter换行　one a line".to_owned());
    }
    hint.join("　")
}

/// What a rule asks of a text.
fn text_hint(field: &Field, rule: &TextRule) -> String {
    match &rule.kind {
        TextRuleKind::Length(most) => format!("不超过{most}字　{most} characters at most."),
        TextRuleKind::Mention { .. } => {
            let [en, zh] = rule
                .message
                .each_ref()
                .map(|text| text.replace("{heading}", &field.label));
            format!("{}：{zh}　{en}", rule.code)
        }
    }
}

fn line(word: &str, text: &str) -> Vec<Content> {
    vec![
        Content::Text(word.to_owned()),
        Content::Text(text.to_owned()),
    ]
}

/// A block as rows; none, where it is none.
fn block_rows(block: &Value) -> Option<Vec<Vec<Content>>> {
    let fields = match block {
        Value::String(text) => return Some(vec![line(map::PARAGRAPH, text)]),
        Value::Object(fields) if fields.len() == 1 => fields,
        _ => return None,
    };
    if let Some(heading) = fields.get("heading") {
        return Some(vec![line(map::HEADING, heading.as_str()?)]);
    }
    let table = fields.get("table")?.as_object()?;
    let cell = |value: &Value| match value {
        Value::String(text) if text.is_empty() => Some(Content::Blank),
        Value::String(text) => Some(Content::Text(text.clone())),
        value => Some(Content::Number(value.as_f64()?)),
    };
    let cells = |word: &str, cells: &Value| {
        let cells = cells.as_array()?.iter().map(cell);
        let word = Some(Content::Text(word.to_owned()));
        [word].into_iter().chain(cells).collect::<Option<Vec<_>>>()
    };
    let mut rows = Vec::new();
    if let Some(caption) = table.get("caption") {
        rows.push(line(map::CAPTION, caption.as_str()?));
    }
    rows.push(cells(map::COLUMNS, table.get("columns")?)?);
    for row in table.get("rows")?.as_array()? {
        rows.push(cells(map::ROW, row)?);
    }
    Some(rows)
}
