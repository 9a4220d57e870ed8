//! How lines and pages end (避头尾, numbers with their units, headings with their text), read back
//! from the text layer.

use serde_json::{Value, json};

use crate::support::jobs::{CORPUS, case, corpus};
use crate::support::pdf::Word;
use crate::support::{pdf, render};

const NUMBERS: &str = "2023年全区共主动公开政府信息13561条，占51.85%，按国办公开办函〔2021〕30号要求，收费\
     5949.088667万元，于2024年1月31日前完成，第711号令第20条，全年共3次、答复 2 件、81件，温度±0.5℃，电话0591-23165385，\
     办理率100%，较上年增长12.5个百分点；";

/// The lines of the text, page by page, without the page number.
fn pages(job: &Value) -> Vec<Vec<String>> {
    let mut pages = pdf::pages(&render(job).path());
    for page in &mut pages {
        page.retain(|line| !line.starts_with('—'));
    }
    pages
}

fn warned(name: &str) -> Value {
    let mut job = corpus(name);
    job["on_violation"] = json!("warn");
    job
}

fn han(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c)
}

#[test]
fn a_number_stays_with_its_unit() {
    // Begun at every character, so that every place of the text comes to stand at a line's end.
    let around: Vec<char> = NUMBERS.chars().collect();
    let texts = (0..around.len()).filter(|&at| !around[at].is_ascii_digit());
    let texts = texts.map(|at| around[at..].iter().chain(&around[..at]).collect::<String>());
    let texts: Vec<String> = texts.map(|text| format!("甲{text}乙。")).collect();
    let mut job = warned("pingtan-2023");
    job["data"]["overview"] = json!(texts);
    let lines: Vec<String> = pages(&job).concat();
    let end = lines.iter().position(|line| line.starts_with("二、"));
    let lines = &lines[..end.expect("the second section")];
    for pair in lines.windows(2) {
        let (last, first) = (pair[0].chars().last(), pair[1].chars().next());
        let (Some(last), Some(first)) = (last, first) else {
            continue;
        };
        let parted = last.is_ascii_digit() && (han(first) || "%℃".contains(first))
            || "第〕".contains(last) && first.is_ascii_digit();
        assert!(!parted, "{:?} / {:?}", pair[0], pair[1]);
    }
    // The text layer has what was sent, and nothing else.
    let text = lines.concat();
    for sent in texts {
        assert!(text.contains(&sent.replace(' ', "")), "{sent}");
    }
}

#[test]
fn no_line_begins_with_a_closing_mark_or_ends_with_an_opening_one() {
    for name in CORPUS {
        let pages = pages(&warned(name));
        // In the third table a label stands upright.
        let text = pages
            .iter()
            .filter(|page| !page.concat().contains("申请人情况"));
        for line in text.flatten() {
            assert!(
                !line.starts_with([
                    '、', '，', '。', '；', '：', '！', '？', '）', '》', '”', '〕'
                ]),
                "{name}: {line}"
            );
            assert!(!line.ends_with(['（', '《', '“', '〔']), "{name}: {line}");
        }
    }
}

#[test]
fn no_page_ends_with_a_heading() {
    for name in CORPUS {
        let job = warned(name);
        let mut headings: Vec<String> = [
            "一、总体情况",
            "二、主动公开政府信息情况",
            "五、存在的主要问题及改进情况",
        ]
        .map(str::to_owned)
        .to_vec();
        for section in [
            "introduction",
            "overview",
            "problems_and_improvements",
            "other_matters",
        ] {
            let blocks = job["data"][section].as_array().cloned().unwrap_or_default();
            headings.extend(
                blocks
                    .iter()
                    .filter_map(|block| Some(block["heading"].as_str()?.to_owned())),
            );
        }
        for page in pages(&job) {
            let last = page.last().expect("a line");
            assert!(!headings.contains(last), "{name}: {last}");
        }
    }
}

#[test]
fn a_long_address_is_broken_after_its_marks_and_fills_its_lines() {
    let address = "https://www.pingtan.gov.cn/zwgk/zfxxgk/zfxxgkzd/202311/t20231109_80968.htm";
    let mut job = warned("pingtan-2023");
    job["data"]["overview"] = json!([format!("全文见{address}，请查阅。")]);
    let lines: Vec<String> = pages(&job).concat();
    let begins = lines
        .iter()
        .position(|line| line.contains("https"))
        .expect("it is there");
    let first = &lines[begins];
    assert!(
        first.contains("全文见") && first.ends_with(['/', '.', '_']),
        "{first}"
    );
}

/// How far the Han characters of a line are moved apart to fill it, in em: the middle one of all
/// gaps.
fn torn(line: &[Word]) -> f64 {
    let (advance, size) = (156.0 / 28.0 * 72.0 / 25.4, 16.0);
    let mut places: Vec<(f64, bool)> = Vec::new();
    for word in line {
        let characters: Vec<char> = word.text.chars().collect();
        let whole = characters.iter().all(|&c| han(c));
        let steps = (characters.len() - 1).max(1) as f64;
        let step = (word.right - word.left - size) / steps;
        let place = |at: usize| (word.left + step * at as f64, whole);
        places.extend((0..characters.len()).map(place));
    }
    let gaps = places.windows(2).filter(|pair| pair[0].1 && pair[1].1);
    let mut gaps: Vec<f64> = gaps.map(|pair| pair[1].0 - pair[0].0 - advance).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).map_or(0.0, |gap| gap / size)
}

/// The lines of the text that are torn open, with the line after each.
fn torn_lines(job: &Value) -> Vec<(f64, String, String)> {
    let text = |line: &[Word]| {
        line.iter()
            .map(|word| word.text.as_str())
            .collect::<String>()
    };
    // Tables have smaller type; a line of the text is 16 pt high, and as long as the block.
    let long = |line: &Vec<Word>| line.last().is_some_and(|word| word.right > 515.0);
    let pages = pdf::lines(&render(job).path());
    let lines: Vec<Vec<Word>> = pages.into_iter().flatten().collect();
    let pairs = lines.windows(2).filter(|pair| long(&pair[0]));
    let found = pairs.map(|pair| (torn(&pair[0]), text(&pair[0]), text(&pair[1])));
    found.filter(|(gap, ..)| *gap > 0.1).collect()
}

#[test]
fn no_line_is_torn_open_by_an_address_that_is_longer_than_a_line() {
    let address = "http://www.example.gov.cn/zfxxgk/fdzdgknr/zfxxgknb/202401/t20240131_87229032_\
                   a_very_long_name_that_never_ends_0123456789_0123456789.html\
                   ?isMobile=false&from=timeline";
    // Begun at every place of a line.
    let texts: Vec<String> = (1..28)
        .map(|at| format!("{}{address}下载。", "见".repeat(at)))
        .collect();
    let mut job = warned("pingtan-2023");
    job["data"]["overview"] = json!(texts);
    let torn = torn_lines(&job);
    assert!(torn.is_empty(), "{torn:#?}");
    let text = pdf::pages(&render(&job).path()).concat().concat();
    for sent in texts {
        assert!(text.contains(&sent), "{sent}");
    }
}

#[test]
fn a_report_with_a_long_address_and_a_mail_address_has_no_torn_line() {
    let job = case("long-url");
    let torn = torn_lines(&job);
    assert!(torn.is_empty(), "{torn:#?}");
    let text = pages(&job).concat().concat();
    for sent in job["data"]["overview"].as_array().unwrap() {
        let sent = sent.as_str().unwrap().replace(' ', "");
        assert!(text.replace(' ', "").contains(&sent), "{sent} in {text}");
    }
}

#[test]
fn what_is_not_longer_than_a_line_is_broken_after_its_marks_only() {
    for address in [
        "zwgk_office@pingtan.gov.cn",
        "https://www.pingtan.gov.cn/zwgk/2023-01/index.htm",
    ] {
        let texts: Vec<String> = (1..28)
            .map(|at| format!("{}{address}，请查阅。", "见".repeat(at)))
            .collect();
        let mut job = warned("pingtan-2023");
        job["data"]["overview"] = json!(texts);
        let lines: Vec<String> = pages(&job).concat();
        let text = lines.iter().take_while(|line| !line.starts_with("二、"));
        let text: Vec<&String> = text.collect();
        for pair in text.windows(2) {
            let broken = pair[0].ends_with(|c: char| c.is_ascii_graphic())
                && pair[1].starts_with(|c: char| c.is_ascii_graphic());
            let after = pair[0].ends_with(['/', '.', '-', '_', '@', ':']);
            assert!(!broken || after, "{pair:?}");
        }
    }
}

#[test]
fn the_lines_of_real_reports_are_torn_open_by_figures_and_words_alone() {
    for name in CORPUS {
        for (gap, line, next) in torn_lines(&warned(name)) {
            let whole = next.starts_with(|c: char| c.is_ascii_alphanumeric());
            assert!(whole && gap < 0.2, "{name}: {gap} em in {line} / {next}");
        }
    }
}

#[test]
fn a_numbered_sentence_on_a_line_of_its_own_is_not_the_last_of_a_page() {
    let line = "某局认真做好政府信息公开工作并持续提升公开质量。";
    let mut at_the_foot = 0;
    for before in 12..22 {
        let mut text = vec![line.to_owned(); before];
        text.push("（二）依申请公开情况。".into());
        text.push(line.repeat(3));
        let mut job = warned("pingtan-2023");
        job["data"]["introduction"] = json!([]);
        job["data"]["overview"] = json!(text);
        let pages = pages(&job);
        assert_ne!(
            pages[0].last().map(String::as_str),
            Some("（二）依申请公开情况。")
        );
        at_the_foot += usize::from(pages[1][0] == "（二）依申请公开情况。");
    }
    assert!(at_the_foot > 0, "one of them would have stood at the foot");
}

#[test]
fn a_numbered_sentence_at_the_foot_of_a_real_page_goes_on_to_the_next() {
    let pages = pages(&case("level-sentence-at-page-foot"));
    assert_eq!(pages[1][0], "（二）依申请公开情况。");
}

#[test]
fn numbered_sentences_under_each_other_fill_their_page() {
    let text: Vec<String> = (1..40)
        .map(|number| format!("{number}.加强组织领导。"))
        .collect();
    let mut job = warned("pingtan-2023");
    job["data"]["introduction"] = json!([]);
    job["data"]["overview"] = json!(text);
    let first = &pages(&job)[0];
    assert!(first.len() > 18, "{first:?}");
}

#[test]
fn a_title_is_never_broken_inside_a_word() {
    for (agency, first) in [
        ("平潭综合实验区", "平潭综合实验区"),
        ("国家税务总局淄博市税务局", "国家税务总局淄博市税务局"),
        (
            "新疆维吾尔自治区克孜勒苏柯尔克孜自治州阿克陶县布伦口乡人民政府",
            "新疆维吾尔自治区",
        ),
        (
            "中国（上海）自由贸易试验区临港新片区管理委员会办公室",
            "中国（上海）自由贸易试验区",
        ),
    ] {
        let mut job = warned("pingtan-2023");
        job["data"]["agency"] = json!(agency);
        let title = format!("{agency}2023年政府信息公开工作年度报告");
        job["data"]["title"] = json!(title);
        let page = &pages(&job)[0];
        let count = (1..=page.len()).find(|&count| page[..count].concat() == title);
        let lines = &page[..count.unwrap_or_else(|| panic!("{title} heads {page:?}"))];
        assert!(lines[0].starts_with(first), "{lines:?}");
        assert_eq!(
            lines.last().map(String::as_str),
            Some("2023年政府信息公开工作年度报告")
        );
        for pair in lines.windows(2) {
            let at = pair[0].len();
            let joined = pair.concat();
            for word in [
                "年度报告",
                "自治区",
                "自治州",
                "人民政府",
                "委员会",
                "办公室",
                "试验区",
                "政府信息公开",
            ] {
                let inside = joined
                    .match_indices(word)
                    .any(|(start, word)| start < at && at < start + word.len());
                assert!(!inside, "{word}: {lines:?}");
            }
        }
    }
}
