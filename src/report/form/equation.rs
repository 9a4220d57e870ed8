//! The rules of a form: equations over cells, written once and applied to every column or row.
//!
//! `outcome/total + carried_out = received + carried_in`: names are paths below the rule's table,
//! `sum(outcome/*)` adds every cell below a path but those of the left side, `prior(carried_out)`
//! is last year's figure, and a number is itself. There is nothing else: an equation can't loop,
//! and its cost is known.

use std::collections::{BTreeMap, BTreeSet};

use super::mistakes::{At, LIMITS, Reader};
use super::{CellPlace, Entry, braces};
use crate::problem::Code;
use crate::report::json::nearest;

/// A rule of a form.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its code.
    pub code: Code,
    /// The path that its names are below.
    pub table: String,
    /// The equation as the file has it.
    pub equation: String,
    /// Its condition as the file has it.
    pub condition: Option<String>,
    /// How the sides compare: the left with the right.
    pub comparison: Comparison,
    /// Whether the left side is computed where a job leaves it out.
    pub computes: bool,
    /// How the sides of its condition compare, where it has one.
    pub when: Option<Comparison>,
    /// What it is applied to.
    pub each: Each,
    /// The messages in English and in Chinese.
    pub message: [Vec<Piece>; 2],
    /// The equation for each column or row.
    pub instances: Vec<Instance>,
}

impl Rule {
    /// How much its equations add up: every cell, and what else stands in them.
    fn adds(&self) -> usize {
        let sides = self.instances.iter().flat_map(|instance| &instance.sides);
        sides.flatten().map(|term| term.cells().len().max(1)).sum()
    }

    /// The cells that it computes.
    pub fn computed(&self) -> impl Iterator<Item = usize> {
        let computing = self.instances.iter().filter(|_| self.computes);
        computing.filter_map(Instance::target)
    }
}

/// What a rule is applied to, in the order in which totals are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Each {
    /// Every row: names are columns.
    Row,
    /// Every column: names are rows.
    Column,
    /// Nothing: names are cells.
    Once,
}

/// How the sides of an equation compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `>`
    More,
}

impl Comparison {
    /// How it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::AtMost => "<=",
            Comparison::AtLeast => ">=",
            Comparison::Less => "<",
            Comparison::More => ">",
        }
    }

    /// Whether it holds.
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::AtMost => left <= right,
            Comparison::AtLeast => left >= right,
            Comparison::Less => left < right,
            Comparison::More => left > right,
        }
    }
}

/// A rule for one column or row.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The sides: left and right.
    pub sides: [Vec<Term>; 2],
    /// The sides of its condition.
    pub when: [Vec<Term>; 2],
    /// Where a problem stands: the first of these whose row the job has. Each with its row's cells.
    pub places: Vec<(usize, Vec<usize>)>,
}

impl Instance {
    /// The cell that it computes, where it is a rule that does.
    pub fn target(&self) -> Option<usize> {
        match &self.sides[0][..] {
            [
                Term {
                    adds: Adds::Cells(cells),
                    ..
                },
            ] => cells.first().copied(),
            _ => None,
        }
    }
}

/// A term of a side.
#[derive(Debug, Clone)]
pub struct Term {
    /// Whether it is subtracted.
    pub minus: bool,
    /// What it adds.
    pub adds: Adds,
}

impl Term {
    /// The cells whose figures it adds, of this year or the last.
    fn cells(&self) -> &[usize] {
        match &self.adds {
            Adds::Cells(cells) => cells,
            Adds::Prior(cell) => std::slice::from_ref(cell),
            Adds::Number(_) => &[],
        }
    }
}

/// What a term adds.
#[derive(Debug, Clone)]
pub enum Adds {
    /// The cells of these indices.
    Cells(Vec<usize>),
    /// Last year's figure of the cell of this index.
    Prior(usize),
    /// A number that stands in the equation.
    Number(u32),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The words of the row.
    Row,
    /// The words of the column.
    Column,
    /// The value of a side: 0 is the left.
    Side(usize),
    /// The value of a term of a side.
    Term(usize, usize),
}

/// A rule as the file has it.
#[derive(Debug, Clone)]
pub(super) struct RuleSource {
    pub at: At,
    pub code: Code,
    pub table: String,
    pub each: Option<(String, At)>,
    pub equation: (String, At),
    pub computes: bool,
    pub when: Option<(String, At)>,
    pub places: Vec<String>,
    pub message: [Option<(String, At)>; 2],
}

/// A term as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    minus: bool,
    function: Function,
    path: String,
    /// As it stands in the equation, for messages to name it.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Cell,
    Sum,
    Prior,
    Number(u32),
}

/// The rules of a form file, with every name looked up. What makes no sense is noted.
pub(super) fn compile(
    sources: &[RuleSource],
    cells: &[CellPlace],
    prior: &[Entry],
    reader: &mut Reader,
) -> Vec<Rule> {
    if sources.len() > LIMITS.rules {
        let (found, most) = (sources.len(), LIMITS.rules);
        reader.note(0, "rule", &format!("{found} rules; there may be {most}"));
        return Vec::new();
    }
    let index = Index::of(cells, prior);
    let mut rules: Vec<Rule> = Vec::new();
    let mut terms = 0;
    for source in sources {
        let Some(rule) = rule(source, &index, reader) else {
            continue;
        };
        make_sense(source, &rule, &rules, &index, reader);
        terms += rule.adds();
        if terms > LIMITS.terms {
            let most = LIMITS.terms;
            let what = format!("the rules up to here add more than {most} cells");
            reader.note(source.at.byte, &source.at.key, &what);
            break;
        }
        rules.push(rule);
    }
    rules
}

/// The rules of a report whose lists have other rows than the form file's, in which they were
/// right. None, where they would add more than they may.
pub(super) fn compile_anew(
    sources: &[RuleSource],
    cells: &[CellPlace],
    prior: &[Entry],
) -> Option<Vec<Rule>> {
    let index = Index::of(cells, prior);
    let (mut rules, mut terms, mut reader) = (Vec::new(), 0, Reader::default());
    for source in sources {
        let rule = rule(source, &index, &mut reader)?;
        terms += rule.adds();
        if terms > LIMITS.list_terms {
            return None;
        }
        rules.push(rule);
    }
    Some(rules)
}

/// The cells of a form, to be looked up.
#[derive(Default)]
struct Index<'a> {
    cells: &'a [CellPlace],
    by_pointer: BTreeMap<&'a str, usize>,
    by_row: BTreeMap<&'a str, Vec<usize>>,
    /// Those of which last year's figure may be sent.
    prior: BTreeSet<usize>,
}

impl<'a> Index<'a> {
    fn of(cells: &'a [CellPlace], prior: &[Entry]) -> Index<'a> {
        let mut index = Index {
            cells,
            prior: prior.iter().flat_map(Entry::cells).collect(),
            ..Index::default()
        };
        for (at, cell) in cells.iter().enumerate() {
            if !cell.kind.is_figure() {
                continue;
            }
            index.by_pointer.insert(&cell.pointer, at);
            index.by_row.entry(cell.parts().0).or_default().push(at);
        }
        index
    }
}

fn rule(source: &RuleSource, index: &Index<'_>, reader: &mut Reader) -> Option<Rule> {
    let each = match &source.each {
        None => Each::Once,
        Some((text, at)) => match text.as_str() {
            "row" => Each::Row,
            "column" => Each::Column,
            _ => {
                let what = format!("\"{text}\"; want \"row\" or \"column\", or leave it out");
                reader.note(at.byte, &at.key, &what);
                return None;
            }
        },
    };
    let mut parts = |(text, at): &(String, At)| {
        let parts = written(text);
        parts
            .map_err(|what| reader.note(at.byte, &at.key, &what))
            .ok()
    };
    let (sides, comparison) = parts(&source.equation)?;
    let when = match &source.when {
        Some(when) => Some(parts(when)?),
        None => None,
    };
    let message = messages(source, each, &sides, comparison, index.cells, reader)?;
    if source.computes && comparison != Comparison::Equal {
        let what = format!("a rule that computes has =, not {}", comparison.as_str());
        reader.note(source.at.byte, &source.at.key, &what);
        return None;
    }
    if source.computes && (sides[0].len() != 1 || sides[0][0].function != Function::Cell) {
        let what = "a rule that computes has one cell on its left side";
        reader.note(source.at.byte, &source.at.key, what);
        return None;
    }
    let scope = Scope {
        source,
        each,
        index,
    };
    let (when, compared) = match when {
        Some((sides, comparison)) => (sides, Some(comparison)),
        None => Default::default(),
    };
    let instances = scope.instances(&sides, &when, reader)?;
    Some(Rule {
        code: source.code,
        table: source.table.clone(),
        equation: source.equation.0.clone(),
        condition: source.when.as_ref().map(|(text, _)| text.clone()),
        comparison,
        when: compared,
        computes: source.computes,
        each,
        message,
        instances,
    })
}

/// Notes what a rule whose names are all there would do silently. `before` are those of the file
/// before it.
fn make_sense(
    source: &RuleSource,
    rule: &Rule,
    before: &[Rule],
    index: &Index<'_>,
    reader: &mut Reader,
) {
    let at = &source.equation.1;
    let circular = |instance: &Instance| {
        let right = instance.sides[1].iter().flat_map(Term::cells);
        let target = instance.target().filter(|_| rule.computes);
        target.is_some_and(|target| right.into_iter().any(|cell| *cell == target))
    };
    if rule.instances.iter().any(circular) {
        reader.note(
            at.byte,
            &at.key,
            "the cell that it computes is on both sides",
        );
    }
    let units = |sides: &[Vec<Term>; 2]| -> BTreeSet<String> {
        let cells = sides.iter().flatten().flat_map(Term::cells);
        cells.map(|&cell| index.cells[cell].kind.unit()).collect()
    };
    let all = rule.instances.iter();
    let mut all = all.flat_map(|instance| [units(&instance.sides), units(&instance.when)]);
    if let Some(units) = all.find(|units| units.len() > 1) {
        let units = units.into_iter().collect::<Vec<_>>().join(", ");
        let what = format!("figures of different kinds: {units}");
        reader.note(at.byte, &at.key, &what);
    }
    let (scope, at) = (
        Scope {
            source,
            each: rule.each,
            index,
        },
        &source.at,
    );
    let ones = scope.ones();
    for path in &source.places {
        if !ones.iter().any(|one| scope.find(path, one).is_some()) {
            let what = format!("at: no figure \"{path}\"{}", scope.nearest(path));
            reader.note(at.byte, &at.key, &what);
        }
    }
    // Across and down may meet in one cell, as totals do.
    let own: BTreeSet<usize> = rule.computed().collect();
    let twice = before.iter().find(|other| {
        let apart = other.each != rule.each && other.each != Each::Once && rule.each != Each::Once;
        !apart && other.computed().any(|cell| own.contains(&cell))
    });
    if let Some(other) = twice {
        let what = format!("{} computes the same cell; one of them may", other.code);
        reader.note(at.byte, &at.key, &what);
    }
}

/// An equation in its parts.
fn written(text: &str) -> Result<([Vec<Written>; 2], Comparison), String> {
    // The longer first: <= holds <, too.
    let comparisons = [
        Comparison::AtMost,
        Comparison::AtLeast,
        Comparison::Less,
        Comparison::More,
        Comparison::Equal,
    ];
    let found = comparisons
        .into_iter()
        .find_map(|comparison| Some((comparison, text.split_once(comparison.as_str())?)));
    let Some((comparison, (left, right))) = found else {
        return Err("no =, <=, >=, < or > between two sides".to_owned());
    };
    Ok(([side(left)?, side(right)?], comparison))
}

fn side(text: &str) -> Result<Vec<Written>, String> {
    let mut terms = Vec::new();
    let mut rest = text.trim();
    let mut minus = false;
    if rest.is_empty() {
        return Err("a side is empty".to_owned());
    }
    loop {
        let end = rest.find(['+', '-', '=', '<', '>']).unwrap_or(rest.len());
        let (term, after) = rest.split_at(end);
        terms.push(Written {
            minus,
            ..one(term.trim())?
        });
        let Some(sign) = after.chars().next() else {
            return Ok(terms);
        };
        if !['+', '-'].contains(&sign) {
            return Err("more than one comparison".to_owned());
        }
        minus = sign == '-';
        rest = after[1..].trim();
    }
}

fn one(text: &str) -> Result<Written, String> {
    let (function, path) = match text.split_once('(') {
        None => (Function::Cell, text),
        Some((name, rest)) => {
            let function = match name.trim() {
                "sum" => Function::Sum,
                "prior" => Function::Prior,
                other => return Err(format!("no function \"{other}\"; there are sum and prior")),
            };
            let path = rest.strip_suffix(')');
            (
                function,
                path.ok_or_else(|| format!("\"{text}\" has no )"))?,
            )
        }
    };
    let path = path.trim();
    if let (Function::Cell, Ok(number)) = (function, path.parse()) {
        return Ok(Written {
            minus: false,
            function: Function::Number(number),
            path: path.to_owned(),
            text: text.to_owned(),
        });
    }
    let right = |c: char| c.is_ascii_alphanumeric() || "_/*".contains(c);
    if path.is_empty() || !path.chars().all(right) {
        return Err(format!("\"{text}\" is no name of a cell"));
    }
    if function != Function::Sum && path.contains('*') {
        return Err(format!("\"{path}\" names several cells; write sum({path})"));
    }
    Ok(Written {
        minus: false,
        function,
        path: path.to_owned(),
        text: text.to_owned(),
    })
}

/// Whether a pointer is what a pattern names: each `*` stands for one name or more.
fn matches(pattern: &str, pointer: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == pointer,
        Some((before, after)) => pointer.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.match_indices('/').map(|(end, _)| end);
            let mut ends = ends.chain([rest.len()]).filter(|&end| end > 0);
            ends.any(|end| matches(after, &rest[end..]))
        }),
    }
}

/// Where the names of a rule are looked up.
struct Scope<'a> {
    source: &'a RuleSource,
    each: Each,
    index: &'a Index<'a>,
}

impl Scope<'_> {
    /// The pattern of a name in one row or column.
    fn pattern(&self, path: &str, one: &str) -> String {
        match self.each {
            Each::Row => format!("{one}/{path}"),
            Each::Column => format!("{}/{path}/{one}", self.source.table),
            Each::Once => format!("{}/{path}", self.source.table),
        }
    }

    fn find(&self, path: &str, one: &str) -> Option<usize> {
        let pointer = self.pattern(path, one);
        self.index.by_pointer.get(pointer.as_str()).copied()
    }

    /// The rows or columns of the table that the rule may be applied to, in the order of the page.
    fn ones(&self) -> Vec<&str> {
        let inside = format!("{}/", self.source.table);
        let mut ones: Vec<&str> = Vec::new();
        let mut seen = BTreeSet::new();
        for cell in self.index.cells {
            let (row, column) = cell.parts();
            let one = match self.each {
                Each::Row => row,
                Each::Column => column,
                Each::Once => "",
            };
            // What has no sum is in no rule for every column.
            let right = self.each != Each::Column || cell.kind.adds_up();
            if cell.pointer.starts_with(&inside) && right && seen.insert(one) {
                ones.push(one);
            }
        }
        ones
    }

    fn instances(
        &self,
        sides: &[Vec<Written>; 2],
        when: &[Vec<Written>; 2],
        reader: &mut Reader,
    ) -> Option<Vec<Instance>> {
        let (_, at) = &self.source.equation;
        let ones = self.ones();
        if ones.is_empty() {
            let known = self
                .index
                .cells
                .iter()
                .filter_map(|cell| cell.pointer.split('/').nth(1));
            let table = self.source.table.trim_matches('/');
            let near = nearest(table, known).unwrap_or_default();
            let what = format!("no cells in a table \"{table}\"; the nearest is \"{near}\"");
            reader.note(self.source.at.byte, &self.source.at.key, &what);
            return None;
        }
        // A name that is nowhere is a mistake; a row or column that has not got it is left out.
        for term in sides.iter().chain(when).flatten() {
            let known = |one: &&str| match term.function {
                Function::Sum => !self.summed(term, one, &[]).is_empty(),
                Function::Cell | Function::Prior => self.find(&term.path, one).is_some(),
                Function::Number(_) => true,
            };
            if !ones.iter().any(known) {
                let path = &term.path;
                let there = |one: &&str| {
                    let pointer = self.pattern(path, one);
                    self.index.cells.iter().any(|cell| cell.pointer == pointer)
                };
                let what = match ones.iter().any(there) {
                    true => format!("\"{path}\" holds words, and no figure"),
                    false => format!("no figure \"{path}\"{}", self.nearest(path)),
                };
                reader.note(at.byte, &at.key, &what);
                return None;
            }
        }
        let instances = ones
            .iter()
            .filter_map(|one| self.instance(sides, when, one));
        let instances: Vec<Instance> = instances.collect();
        if instances.is_empty() {
            let what = match sides
                .iter()
                .flatten()
                .any(|term| term.function == Function::Prior)
            {
                true => "no row or column has all of these; is there a [[prior]] for last year's?",
                false => "no row or column has all of these",
            };
            reader.note(at.byte, &at.key, what);
            return None;
        }
        Some(instances)
    }

    /// The nearest name that there is for a path of the equation.
    fn nearest(&self, path: &str) -> String {
        let inside = format!("{}/", self.source.table);
        let cells = self.index.cells.iter();
        let figures = cells.filter(|cell| cell.kind.is_figure());
        let inside = figures.filter(|cell| cell.pointer.starts_with(&inside));
        let names = inside.map(|cell| {
            let (row, column) = cell.parts();
            match self.each {
                Each::Row => column,
                Each::Column => row.get(self.source.table.len() + 1..).unwrap_or_default(),
                Each::Once => &cell.pointer[self.source.table.len() + 1..],
            }
        });
        let near = nearest(path, names);
        near.map_or_else(String::new, |near| format!("; the nearest is \"{near}\""))
    }

    fn summed(&self, term: &Written, one: &str, but: &[usize]) -> Vec<usize> {
        let pattern = self.pattern(&term.path, one);
        let (start, _) = pattern.split_once('*').unwrap_or((&pattern, ""));
        let near = self.index.by_pointer.range(start..);
        let near = near.take_while(|(pointer, _)| pointer.starts_with(start));
        let cells = near.filter(|(pointer, at)| !but.contains(at) && matches(&pattern, pointer));
        let mut cells: Vec<usize> = cells.map(|(_, at)| *at).collect();
        cells.sort_unstable();
        cells
    }

    /// The equation for one row or column, if that has all cells.
    fn instance(
        &self,
        sides: &[Vec<Written>; 2],
        when: &[Vec<Written>; 2],
        one: &str,
    ) -> Option<Instance> {
        let left: Vec<usize> = sides[0]
            .iter()
            .filter_map(|term| self.find(&term.path, one))
            .collect();
        let term = |term: &Written| {
            let adds = match term.function {
                Function::Cell => Adds::Cells(vec![self.find(&term.path, one)?]),
                Function::Sum => Adds::Cells(self.summed(term, one, &left)),
                Function::Prior => {
                    let cell = self.find(&term.path, one)?;
                    Adds::Prior(self.index.prior.contains(&cell).then_some(cell)?)
                }
                Function::Number(number) => Adds::Number(number),
            };
            Some(Term {
                minus: term.minus,
                adds,
            })
        };
        let side = |side: &Vec<Written>| side.iter().map(term).collect::<Option<Vec<Term>>>();
        let (sides, when) = (
            [side(&sides[0])?, side(&sides[1])?],
            [side(&when[0])?, side(&when[1])?],
        );
        let named = self.source.places.iter();
        let mut places: Vec<usize> = named.filter_map(|path| self.find(path, one)).collect();
        if places.is_empty() {
            let terms = sides.iter().flatten();
            let mut cells = terms.filter_map(|term| match &term.adds {
                Adds::Cells(cells) => cells.first().copied(),
                Adds::Prior(cell) => Some(*cell),
                Adds::Number(_) => None,
            });
            // An equation without a cell is about nothing.
            places.push(cells.next()?);
        }
        let row = |cell: usize| {
            let (row, _) = self.index.cells[cell].parts();
            (cell, self.index.by_row[row].clone())
        };
        Some(Instance {
            sides,
            when,
            places: places.into_iter().map(row).collect(),
        })
    }
}

/// The messages of a rule, its own or made from its names.
fn messages(
    source: &RuleSource,
    each: Each,
    sides: &[Vec<Written>; 2],
    comparison: Comparison,
    cells: &[CellPlace],
    reader: &mut Reader,
) -> Option<[Vec<Piece>; 2]> {
    let [en, zh] = &source.message;
    let made = |[sum, last]: [&str; 2], [is, most, least, less, more]: [&str; 5]| {
        let word = |term: &Written| match term.function {
            Function::Sum => sum.to_owned(),
            Function::Prior => format!("{last}{}", label(source, each, &term.path, cells)),
            _ => label(source, each, &term.path, cells),
        };
        let side = |terms: &[Written]| {
            let sign = |(at, term): (usize, &Written)| match (at, term.minus) {
                (0, _) => word(term),
                (_, false) => format!(" + {}", word(term)),
                (_, true) => format!(" − {}", word(term)),
            };
            terms.iter().enumerate().map(sign).collect::<String>()
        };
        let compared = match comparison {
            Comparison::Equal => is,
            Comparison::AtMost => most,
            Comparison::AtLeast => least,
            Comparison::Less => less,
            Comparison::More => more,
        };
        let one = match each {
            Each::Row => "「{row}」",
            Each::Column => "「{column}」",
            Each::Once => "",
        };
        let [left, right] = sides.each_ref().map(|terms| side(terms));
        (one, left, compared.to_owned(), right)
    };
    let en = en.clone().unwrap_or_else(|| {
        let at = source.at.clone();
        let words = ["be", "be at most", "be at least", "be under", "be over"];
        let (one, left, compared, right) = made(["the sum of its parts", "last year's "], words);
        let text =
            format!("{one}{left} is {{left}}, but must {compared} {right}, which is {{right}}");
        (text, at)
    });
    let zh = zh.clone().unwrap_or_else(|| {
        let at = source.at.clone();
        let words = ["等于", "不大于", "不小于", "小于", "大于"];
        let (one, left, compared, right) = made(["各分项之和", "上年度"], words);
        let text = format!("{one}{left}为{{left}}，应{compared}{right}，而后者为{{right}}");
        (text, at)
    });
    Some([pieces(&en, sides, reader)?, pieces(&zh, sides, reader)?])
}

/// What a name of an equation is called on the page.
fn label(source: &RuleSource, each: Each, path: &str, cells: &[CellPlace]) -> String {
    let cell = cells.iter().find(|cell| {
        let (row, column) = cell.parts();
        match each {
            Each::Row => column == path && cell.pointer.starts_with(&source.table),
            Each::Column => row == format!("{}/{path}", source.table),
            Each::Once => cell.pointer == format!("{}/{path}", source.table),
        }
    });
    match (cell, each) {
        (Some(cell), Each::Row) => format!("「{}」", cell.column),
        (Some(cell), Each::Column) => format!("「{}」", cell.row),
        (Some(cell), Each::Once) => format!("「{}」「{}」", cell.row, cell.column),
        (None, _) => path.to_owned(),
    }
}

/// The pieces of a message: text, and names in braces.
fn pieces(
    (text, at): &(String, At),
    sides: &[Vec<Written>; 2],
    reader: &mut Reader,
) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let Some((names, rest)) = braces(text) else {
        reader.note(at.byte, &at.key, "the message has a { without }");
        return None;
    };
    for (before, name) in names {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let term = || {
            (0..2).find_map(|side| {
                let place = sides[side].iter().position(|term| term.text == name)?;
                Some(Piece::Term(side, place))
            })
        };
        let piece = match name {
            "row" => Some(Piece::Row),
            "column" => Some(Piece::Column),
            "left" => Some(Piece::Side(0)),
            "right" => Some(Piece::Side(1)),
            _ => term(),
        };
        let Some(piece) = piece else {
            let known = ["row", "column", "left", "right"].into_iter();
            let known = known.chain(sides.iter().flatten().map(|term| term.text.as_str()));
            let near = nearest(name, known).unwrap_or_default();
            let what =
                format!("the message has no value for {{{name}}}; the nearest is {{{near}}}");
            reader.note(at.byte, &at.key, &what);
            return None;
        };
        pieces.push(piece);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::{matches, written};

    #[test]
    fn a_star_is_one_name_or_more() {
        for (pattern, pointer, expected) in [
            ("/t/outcome/*/business", "/t/outcome/granted/business", true),
            (
                "/t/outcome/*/business",
                "/t/outcome/refused/secret/business",
                true,
            ),
            ("/t/outcome/*/business", "/t/outcome/business", false),
            ("/t/outcome/*/business", "/t/received/business", false),
            ("/t/row/*", "/t/row/total", true),
            ("/t/row/*", "/t/row", false),
        ] {
            assert_eq!(matches(pattern, pointer), expected, "{pattern} {pointer}");
        }
    }

    #[test]
    fn what_is_no_equation_says_why() {
        for (text, why) in [
            ("a + b", "no =, <=, >=, < or >"),
            ("a = ", "a side is empty"),
            ("a = b = c", "more than one comparison"),
            ("a = sum(b", "has no )"),
            ("a = max(b)", "no function \"max\""),
            ("a = b/*", "names several cells"),
            ("a = b $ c", "is no name of a cell"),
            ("a = + b", "is no name of a cell"),
        ] {
            let error = written(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
