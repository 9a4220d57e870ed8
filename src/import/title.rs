//! The title of a published report: who publishes it, and of which year it is.

use std::ops::Range;

use super::page::{Line, Page};
use super::words;
use crate::report::form::Form;

/// The longest line of a title, in characters.
const LONGEST: usize = 60;

/// A title, on the lines that it stands on.
pub(super) struct Title {
    pub(super) lines: Range<usize>,
    pub(super) text: String,
    pub(super) agency: String,
    pub(super) year: u16,
}

/// The title: the lines above the first section that end with the words of the form's.
pub(super) fn find(page: &Page, form: &Form, above: usize) -> Option<Title> {
    const MOST_LINES: usize = 4;
    let words = form.title.rsplit('}').next().unwrap_or_default();
    let words = words.trim_start_matches(['年', '度']);
    if words.is_empty() {
        return None;
    }
    let mut partial = None;
    for last in (0..above).rev() {
        for first in (last.saturating_sub(MOST_LINES - 1)..=last).rev() {
            let lines = &page.lines[first..=last];
            let short = |line: &Line| line.text().chars().count() <= LONGEST;
            if !lines.iter().all(short) {
                break;
            }
            let text: String = lines.iter().map(|line| line.text()).collect();
            // What precedes it is the way to the page.
            let text = text.rsplit(['>', '＞', '›', '»']).next().unwrap_or(&text);
            let text = text.trim().trim_matches(['《', '》']);
            let Some((agency, year)) = parsed(text, words) else {
                continue;
            };
            let title = Title {
                lines: first..last + 1,
                text: text.to_owned(),
                agency,
                year,
            };
            match title.agency.is_empty() {
                true => partial = partial.or(Some(title)),
                false => return Some(title),
            }
        }
    }
    partial
}

/// The agency and the year of a title that ends with these words; of one that names no agency, an
/// empty one.
fn parsed(text: &str, words: &str) -> Option<(String, u16)> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let (before, after) = text.rsplit_once(words)?;
    if !(after.is_empty() || after.starts_with(['（', '('])) {
        return None;
    }
    let (agency, year) = match (words::year(before), words::year(after)) {
        (Some((range, year)), _) => {
            let rest = before[range.end..].strip_prefix('年')?;
            let rest = rest.strip_prefix('度').unwrap_or(rest);
            (format!("{}{rest}", &before[..range.start]), year)
        }
        (None, after) => (before.to_owned(), after?.1),
    };
    let agency = agency
        .trim_end_matches(['的', '-', '－', '—', '：', ':'])
        .to_owned();
    let sentence = agency.contains(['，', '。', '；', '：', '！', '？', '《', '》']);
    (!sentence).then_some((agency, year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_names_agency_and_year_in_any_order() {
        const WORDS: &str = "政府信息公开工作年度报告";
        for (title, agency, year) in [
            (
                "淄博市大数据局2020年政府信息公开工作年度报告",
                "淄博市大数据局",
                2020,
            ),
            (
                "平潭综合实验区2021年度政府信息公开工作年度报告",
                "平潭综合实验区",
                2021,
            ),
            (
                "2024年上海市科委政府信息公开工作年度报告",
                "上海市科委",
                2024,
            ),
            ("某局２０２３年政府信息公开工作年度报告", "某局", 2023),
            ("某局二〇二三年政府信息公开工作年度报告", "某局", 2023),
            ("某局政府信息公开工作年度报告（2023年度）", "某局", 2023),
            ("2024年政府信息公开工作年度报告", "", 2024),
        ] {
            assert_eq!(
                parsed(title, WORDS),
                Some((agency.to_owned(), year)),
                "{title}"
            );
        }
        let sentence = "根据规定，现将我局2020年政府信息公开工作年度报告向社会公布。";
        assert_eq!(parsed(sentence, WORDS), None);
    }
}
