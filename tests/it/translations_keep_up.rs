//! What the manuals say in Chinese is what they say in English: the same headings, code, tables,
//! names, figures and links. What a sentence means no test can tell; that a section was left
//! behind by its original one can.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::support::{listed, repository};

#[test]
fn translations_say_what_the_english_pages_say() {
    let pairs = Pairs::read();
    let mut told = pairs.differences();
    for page in pairs.pages.values() {
        told.extend(dead_links(page));
    }
    assert!(told.is_empty(), "\n{}", told.join("\n"));
}

/// The pages by their paths in the repository, and which is whose translation.
struct Pairs {
    pages: BTreeMap<String, Page>,
    chinese_of: BTreeMap<String, String>,
}

impl Pairs {
    /// `docs/zh/NAME.md` translates `docs/NAME.md`, and `NAME.zh-CN.md` stands beside `NAME.md`.
    fn read() -> Pairs {
        let clients = listed(&repository("clients"))
            .into_iter()
            .map(|name| format!("clients/{name}/"))
            .filter(|folder| repository(folder).is_dir());
        let folders = [String::new(), "clients/".to_owned()].into_iter();
        let beside = folders.chain(clients).flat_map(|folder| {
            listed(&repository(&folder))
                .into_iter()
                .filter_map(move |name| {
                    let page = format!("{folder}{}.md", name.strip_suffix(".zh-CN.md")?);
                    Some((page, format!("{folder}{name}")))
                })
        });
        let below = ["", "install/", "runbooks/"]
            .into_iter()
            .flat_map(|folder| {
                listed(&repository(&format!("docs/zh/{folder}")))
                    .into_iter()
                    .filter(|name| name.ends_with(".md"))
                    .map(move |name| {
                        let page = format!("{folder}{name}");
                        (format!("docs/{page}"), format!("docs/zh/{page}"))
                    })
            });
        let texts: Vec<_> = beside
            .chain(below)
            .map(|(english, chinese)| [english, chinese].map(|path| (text(&path), path)))
            .collect();
        assert!(!texts.is_empty(), "there are no translations");
        Pairs::new(texts)
    }

    fn new(texts: impl IntoIterator<Item = [(String, String); 2]>) -> Pairs {
        let mut pairs = Pairs {
            pages: BTreeMap::new(),
            chinese_of: BTreeMap::new(),
        };
        for pair in texts {
            let [english, chinese] = pair.map(|(text, path)| {
                pairs.pages.insert(path.clone(), Page::read(&path, &text));
                path
            });
            pairs.chinese_of.insert(english, chinese);
        }
        pairs
    }

    /// What differs, a line each.
    fn differences(&self) -> Vec<String> {
        self.chinese_of
            .iter()
            .flat_map(|(english, chinese)| {
                self.differences_of(&self.pages[english], &self.pages[chinese])
            })
            .collect()
    }

    fn differences_of(&self, english: &Page, chinese: &Page) -> Vec<String> {
        let mut told = Vec::new();
        for (page, other) in [(english, chinese), (chinese, english)] {
            let links = page.sections[..page.sections.len().min(2)]
                .iter()
                .flat_map(|section| &section.links);
            if !links.into_iter().any(|link| *link == other.path) {
                told.push(format!(
                    "{}: no link to {} at its top",
                    page.path, other.path
                ));
            }
        }
        let [here, there] = [english, chinese].map(|page| &page.sections);
        let paired = |(one, other): (&Section, &Section)| {
            one.level == other.level && (!is_name(&one.title) || one.title == other.title)
        };
        if here.len() != there.len() || !here.iter().zip(there).all(paired) {
            // Which section is whose can't be told then.
            told.push(format!(
                "{}: other headings than {}:",
                chinese.path, english.path
            ));
            for place in 1..here.len().max(there.len()) {
                let [one, other] = [here, there].map(|sections| {
                    sections.get(place).map_or("(none)".to_owned(), |section| {
                        format!("{} {}", "#".repeat(section.level), section.title)
                    })
                });
                told.push(format!("    {one:40} {other}"));
            }
            return told;
        }
        for (one, other) in here.iter().zip(there) {
            let place = format!("{}, “{}” ({})", chinese.path, other.title, one.title);
            let mut tell = |what: &str| told.push(format!("{place}: {what}"));
            one.compare(other, &mut tell);
            let mut expected: Vec<String> = one
                .links
                .iter()
                .filter(|link| **link != chinese.path)
                .map(|link| self.in_chinese(link))
                .collect();
            let mut found: Vec<String> = other
                .links
                .iter()
                .filter(|link| **link != english.path)
                .cloned()
                .collect();
            expected.sort();
            found.sort();
            if expected != found {
                tell(&format!("links to {found:?} and should to {expected:?}"));
            }
        }
        told
    }

    /// Where a link of an English page leads in its translation: the same section in Chinese, where
    /// there is one.
    fn in_chinese(&self, link: &str) -> String {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let Some(chinese) = self.chinese_of.get(path) else {
            return link.to_owned();
        };
        if anchor.is_empty() {
            return chinese.clone();
        }
        let anchors = self.pages[chinese].anchors();
        let place = self.pages[path]
            .anchors()
            .iter()
            .position(|it| it == anchor);
        match place.and_then(|place| anchors.get(place)) {
            Some(anchor) => format!("{chinese}#{anchor}"),
            None => format!("{chinese}#(the heading of {link})"),
        }
    }
}

/// A page as the manuals are written: headings with `#`, fenced code, tables with a `|` in front of
/// each row, lists with `- ` or `1. `, paragraphs.
struct Page {
    path: String,
    /// The first is what stands before any heading.
    sections: Vec<Section>,
}

#[derive(Default)]
struct Section {
    level: usize,
    title: String,
    /// Each with its language and its lines.
    code: Vec<(String, Vec<String>)>,
    /// Cells by row, without the line under the header.
    tables: Vec<Vec<Vec<String>>>,
    items: Vec<String>,
    paragraphs: Vec<String>,
    /// Paths from the repository's root, with their anchors, or addresses.
    links: Vec<String>,
}

/// What the line before was, which the next may go on with.
#[derive(PartialEq)]
enum Open {
    Nothing,
    Code,
    Table,
    Item,
    Paragraph,
}

impl Page {
    fn read(path: &str, text: &str) -> Page {
        let mut sections = vec![Section::default()];
        let mut open = Open::Nothing;
        for line in text.lines() {
            let section = sections.last_mut().expect("there is a first one");
            let words = line.trim();
            if let Some(language) = words.strip_prefix("```") {
                if open == Open::Code {
                    open = Open::Nothing;
                } else {
                    section.code.push((language.to_owned(), Vec::new()));
                    open = Open::Code;
                }
            } else if open == Open::Code {
                let (_, lines) = section.code.last_mut().expect("a block is open");
                lines.push(line.to_owned());
            } else if words.is_empty() {
                open = Open::Nothing;
            } else if let Some(title) = words.trim_start_matches('#').strip_prefix(' ')
                && words.starts_with('#')
            {
                sections.push(Section {
                    level: words.len() - title.len() - 1,
                    title: title.to_owned(),
                    ..Section::default()
                });
                open = Open::Nothing;
            } else if words.starts_with('|') {
                if open != Open::Table {
                    section.tables.push(Vec::new());
                    open = Open::Table;
                }
                if !words.contains("---") || words.contains(|other| !"|-: ".contains(other)) {
                    let table = section.tables.last_mut().expect("a table is open");
                    table.push(cells(words));
                }
            } else if words.starts_with("- ")
                || open != Open::Paragraph && words.split(' ').next().is_some_and(is_number)
            {
                section.items.push(words.to_owned());
                open = Open::Item;
            } else {
                let texts = if open == Open::Item {
                    &mut section.items
                } else {
                    &mut section.paragraphs
                };
                match texts.last_mut() {
                    Some(text) if matches!(open, Open::Item | Open::Paragraph) => {
                        *text = format!("{text} {words}");
                    }
                    _ => {
                        texts.push(words.to_owned());
                        open = Open::Paragraph;
                    }
                }
            }
        }
        for section in &mut sections {
            let links = section.texts().flat_map(|text| links(path, text)).collect();
            section.links = links;
        }
        Page {
            path: path.to_owned(),
            sections,
        }
    }

    /// The anchors that GitHub gives the sections, in their order.
    fn anchors(&self) -> Vec<String> {
        let mut seen = BTreeMap::new();
        self.sections
            .iter()
            .map(|section| {
                let slug: String = section
                    .title
                    .to_lowercase()
                    .chars()
                    .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                    .map(|c| if c == ' ' { '-' } else { c })
                    .collect();
                let before = seen.entry(slug.clone()).or_insert(0);
                *before += 1;
                match *before {
                    1 => slug,
                    more => format!("{slug}-{}", more - 1),
                }
            })
            .collect()
    }
}

impl Section {
    /// All that is not code.
    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.title)
            .chain(self.tables.iter().flatten().flatten())
            .chain(&self.items)
            .chain(&self.paragraphs)
            .map(String::as_str)
    }

    /// Tells what another section has otherwise than this, its original.
    fn compare(&self, other: &Section, tell: &mut impl FnMut(&str)) {
        let blocks = [self, other].map(|section| section.code.len());
        equal("code blocks", blocks, tell);
        for (at, (one, other)) in (1..).zip(self.code.iter().zip(&other.code)) {
            let [one, other] = [one, other].map(without_comments);
            let lines = [&one, &other].map(Vec::len);
            if equal(&format!("lines of code block {at}"), lines, tell)
                && let Some((one, other)) = one.iter().zip(&other).find(|(one, it)| one != it)
            {
                tell(&format!("code block {at}: {other:?} and should be {one:?}"));
            }
        }
        let tables = [self, other].map(|section| section.tables.len());
        equal("tables", tables, tell);
        for (at, (one, other)) in (1..).zip(self.tables.iter().zip(&other.tables)) {
            if !equal(
                &format!("rows of table {at}"),
                [one.len(), other.len()],
                tell,
            ) {
                continue;
            }
            for (row, (one, other)) in (1..).zip(one.iter().zip(other)) {
                let row = format!("table {at}, row {row}");
                equal(&format!("cells of {row}"), [one.len(), other.len()], tell);
                alike(&row, [one, other], tell);
            }
        }
        if equal("list items", [self.items.len(), other.items.len()], tell) {
            for (at, (one, other)) in (1..).zip(self.items.iter().zip(&other.items)) {
                let [one, other] = [one, other].map(std::slice::from_ref);
                alike(&format!("list item {at}"), [one, other], tell);
            }
        }
        let paragraphs = [self, other].map(|section| section.paragraphs.len());
        // The Chinese page may explain what an English drawing says.
        if paragraphs[0] > paragraphs[1] {
            equal("paragraphs", paragraphs, tell);
        }
        alike("text", [&self.paragraphs, &other.paragraphs], tell);
        let titles = [self, other].map(|section| std::slice::from_ref(&section.title));
        alike("heading", titles, tell);
    }
}

/// Tells which names and figures texts have otherwise than their original.
fn alike(what: &str, texts: [&[String]; 2], tell: &mut impl FnMut(&str)) {
    let [english, chinese] = texts.map(names_in);
    let lost: Vec<_> = english.difference(&chinese).collect();
    let new: Vec<_> = chinese.difference(&english).collect();
    if !lost.is_empty() || !new.is_empty() {
        tell(&format!("{what}: without {lost:?}, with {new:?}"));
    }
    // A number in words may be one in digits in Chinese, not the other way round.
    let [english, chinese] = texts.map(figures_in);
    let lost: Vec<_> = english.difference(&chinese).collect();
    if !lost.is_empty() {
        tell(&format!("{what}: without {lost:?}"));
    }
}

fn equal(what: &str, [english, chinese]: [usize; 2], tell: &mut impl FnMut(&str)) -> bool {
    if english != chinese {
        tell(&format!("{what}: {chinese} and should be {english}"));
    }
    english == chinese
}

/// A heading without small letters and without Chinese is a name, as `E-JSON` and `S3`, and stays.
fn is_name(title: &str) -> bool {
    title.is_ascii() && !title.contains(|c: char| c.is_ascii_lowercase())
}

fn is_number(word: &str) -> bool {
    word.strip_suffix('.')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()))
}

/// The cells of a row; a `|` after a backslash is text.
fn cells(row: &str) -> Vec<String> {
    let row = row.strip_prefix('|').unwrap_or(row);
    row.strip_suffix('|')
        .unwrap_or(row)
        .replace("\\|", "\u{0}")
        .split('|')
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// A comment is what follows a `#` that begins a line or stands after a blank. Data and drawings
/// have none.
fn without_comments((language, lines): &(String, Vec<String>)) -> Vec<String> {
    let bare = |line: &String| {
        let comment = line
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| *at == 0 || line[..*at].ends_with(char::is_whitespace));
        match comment {
            Some(at) if !["json", "text"].contains(&language.as_str()) => {
                format!("{} #", line[..at].trim_end())
            }
            _ => line.clone(),
        }
    };
    std::iter::once(language.clone())
        .chain(lines.iter().map(bare))
        .collect()
}

/// What stands between backticks.
fn names_in(texts: &[String]) -> BTreeSet<&str> {
    texts
        .iter()
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .collect()
}

/// Numbers in digits, `65,536` as 65536.
fn figures_in(texts: &[String]) -> BTreeSet<String> {
    texts
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_digit() && !",.".contains(c)))
        .map(|number| number.trim_matches([',', '.']).replace(',', ""))
        .filter(|number| !number.is_empty())
        .collect()
}

/// Where the links of a text lead, from the repository's root.
fn links(page: &str, text: &str) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect();
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|link| {
            if link.contains("://") {
                return link.to_owned();
            }
            let (path, anchor) = match link.split_once('#') {
                Some((path, anchor)) => (path, format!("#{anchor}")),
                None => (link, String::new()),
            };
            if path.is_empty() {
                return format!("{page}{anchor}");
            }
            let mut folders: Vec<&str> = page.split('/').collect();
            folders.pop();
            for part in path.split('/') {
                if part == ".." {
                    folders.pop();
                } else {
                    folders.push(part);
                }
            }
            format!("{}{anchor}", folders.join("/"))
        })
        .collect()
}

/// The links of a page that lead nowhere, a line each.
fn dead_links(page: &Page) -> Vec<String> {
    let leads_somewhere = |link: &String| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        link.contains("://")
            || repository(path).exists()
                && (anchor.is_empty()
                    || Page::read(path, &text(path))
                        .anchors()
                        .iter()
                        .any(|it| it == anchor))
    };
    page.sections
        .iter()
        .flat_map(|section| &section.links)
        .filter(|link| !leads_somewhere(link))
        .map(|link| format!("{}: {link} leads nowhere", page.path))
        .collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const ENGLISH: &str = "# Dogs

[中文](zh/dogs.md)

## Feeding

Twice a day, 65,536 times, from `bowl.size` on ([cats](cats.md), [bones](#bones)).

| | |
|---|---|
| `bone` | none |
| `milk` | 1 |

## Bones

```sh
dog feed --bone    # it barks
```

- one
- two
";

const CHINESE: &str = "# 狗

[English](../dogs.md)

## 喂养

每天 2 次，共 65536 次，
从 `bowl.size` 起（[猫](../cats.md)、[骨头](#骨头)）。

| 物 | 量 |
|---|---|
| `bone` | 无 |
| `milk` | 1 |

## 骨头

```sh
dog feed --bone    # 会叫
```

- 一
- 二
";

fn told(chinese: &str) -> Vec<String> {
    let texts = [(ENGLISH, "docs/dogs.md"), (chinese, "docs/zh/dogs.md")];
    Pairs::new([texts.map(|(text, path)| (text.to_owned(), path.to_owned()))]).differences()
}

#[test]
fn a_translation_left_behind_is_told_with_its_section() {
    assert_eq!(told(CHINESE), [""; 0]);
    let spoilt = [
        (
            "| `bone` | 无 |",
            "| `bones` | 无 |",
            "“喂养” (Feeding): table 1, row 2: without [\"bone\"], with [\"bones\"]",
        ),
        (
            "| `milk` | 1 |\n",
            "",
            "“喂养” (Feeding): rows of table 1: 2 and should be 3",
        ),
        (
            "| 1 |",
            "| 1 | 2 |",
            "“喂养” (Feeding): cells of table 1, row 3: 3 and should be 2",
        ),
        (
            "`bowl.size`",
            "碗",
            "“喂养” (Feeding): text: without [\"bowl.size\"], with []",
        ),
        (
            "65536",
            "65535",
            "“喂养” (Feeding): text: without [\"65536\"]",
        ),
        (
            "(../cats.md)",
            "(../cat.md)",
            "“喂养” (Feeding): links to [\"docs/cat.md\"",
        ),
        (
            "(#骨头)",
            "(#喂养)",
            "should to [\"docs/cats.md\", \"docs/zh/dogs.md#骨头\"]",
        ),
        (
            "每天 2 次，共 65536 次，\n从 `bowl.size` 起（[猫](../cats.md)、[骨头](#骨头)）。",
            "",
            "“喂养” (Feeding): paragraphs: 0 and should be 1",
        ),
        (
            "--bone ",
            "--bones ",
            "“骨头” (Bones): code block 1: \"dog feed --bones #\" and should be \"dog feed --bone #\"",
        ),
        (
            "# 会叫\n",
            "# 会叫\ndog sleep\n",
            "“骨头” (Bones): lines of code block 1: 3 and should be 2",
        ),
        (
            "- 二\n",
            "",
            "“骨头” (Bones): list items: 1 and should be 2",
        ),
        (
            "## 骨头",
            "### 骨头",
            "    ## Bones                                 ### 骨头",
        ),
        (
            "## 骨头\n",
            "",
            "    ## Bones                                 (none)",
        ),
        (
            "[English](../dogs.md)",
            "",
            "docs/zh/dogs.md: no link to docs/dogs.md at its top",
        ),
    ];
    for (from, to, expected) in spoilt {
        assert!(CHINESE.contains(from), "{from}");
        let told = told(&CHINESE.replacen(from, to, 1));
        assert!(
            told.iter().any(|line| line.contains(expected)),
            "{from} → {to}: {told:#?}"
        );
    }
}
