//! What the benchmarks share: real reports, each time with another text and other figures, as real
//! work is. The engine keeps what it has laid out, so that the same report again costs next to
//! nothing and says nothing.

#[path = "../../tests/it/support/figures.rs"]
mod figures;
#[expect(dead_code, reason = "only what adds up is used here")]
#[path = "../../tests/it/support/official.rs"]
mod official;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use banshi::config::Settings;
use banshi::job;
use banshi::report::Editions;
use banshi::typesetter::{Manuscript, Templates};
use official::{FORMS, Form};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// The seed's report, on which the targets stand: 5 pages, the edition of 2019.
pub const SEED: &str = "zibo-bigdata-2020";

/// Characters that keep their place in a varied text: what structure is read from, units, the ends
/// of names at which titles are broken, and the words that the form of 2021 asks for.
const KEPT: &str = "一二三四五六七八九十第条款项年月日件份个次元省市区县局委厅办信息处理费";

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The defaults, untouched by file or environment, with the repository's own faces alone.
pub fn settings() -> Settings {
    let defaults = repository("src/defaults.toml");
    let mut settings = Settings::load(&[defaults], []).expect("the defaults are right");
    settings.fonts.dir = repository("fonts");
    settings.fonts.more.clear();
    settings
}

/// A real report, of which there are as many varied ones as are asked for.
pub struct Model {
    name: String,
    job: Value,
    form: &'static Form,
    /// The Han characters of all real reports.
    characters: Vec<char>,
    settings: Settings,
    editions: Editions,
}

impl Model {
    /// The report of this name in `tests/corpus`.
    pub fn of(name: &str) -> Model {
        let mut characters = BTreeSet::new();
        let mut found = None;
        let corpus = repository("tests/corpus");
        for entry in std::fs::read_dir(&corpus).expect("the real reports are in tests/corpus") {
            let path = entry.expect("a folder can be listed").path();
            let text = std::fs::read_to_string(&path).expect("a real report can be read");
            let job: Value = serde_json::from_str(&text).expect("a real report's job is JSON");
            narrative(&job, &mut |text| {
                characters.extend(text.chars().filter(exchanged))
            });
            if path.file_stem().is_some_and(|stem| stem == name) {
                found = Some(job);
            }
        }
        let job = found.unwrap_or_else(|| panic!("there is no {name} in tests/corpus"));
        let templates = Templates::load(None).expect("the embedded templates are right");
        let edition = job["template"].as_str().expect("a job names its template");
        Model {
            name: name.to_owned(),
            form: FORMS
                .into_iter()
                .find(|form| form.name == edition)
                .expect("an official edition"),
            job,
            characters: characters.into_iter().collect(),
            settings: settings(),
            editions: templates.forms(),
        }
    }

    /// Variation `number` of the report's job: the same number gives the same job. Every figure is
    /// another one, and all still add up. Each Han character of the text is exchanged throughout
    /// for one from all real reports, and every digit for any: the text is as long, broken as
    /// often and set in as many different characters as the real one, and means nothing.
    pub fn job(&self, number: u64) -> Value {
        let mut random = StdRng::seed_from_u64(number);
        let mut others = self.characters.clone();
        others.shuffle(&mut random);
        let others = self
            .characters
            .iter()
            .copied()
            .zip(others)
            .collect::<BTreeMap<_, _>>();

        let mut job = self.job.clone();
        job["job_id"] = json!(format!("{}-{number}", self.name));
        let data = job["data"].as_object_mut().expect("a job has data");
        for (field, value) in data {
            match field.as_str() {
                // A digit of a title is its year.
                "agency" | "title" => texts(value, &mut |text| {
                    *text = text
                        .chars()
                        .map(|c| *others.get(&c).unwrap_or(&c))
                        .collect();
                }),
                "introduction" | "overview" | "problems_and_improvements" | "other_matters" => {
                    texts(value, &mut |text| {
                        let other = |c: char| match c {
                            '0'..='9' => digit(&mut random),
                            _ => *others.get(&c).unwrap_or(&c),
                        };
                        *text = text.chars().map(other).collect();
                    });
                }
                "proactive_disclosure" => disclosed(value, &mut random),
                _ => {}
            }
        }
        let rows = self
            .form
            .rows()
            .iter()
            .map(|_| std::array::from_fn(|_| random.random_range(0..30)))
            .collect();
        let results = std::array::from_fn(|_| std::array::from_fn(|_| random.random_range(0..30)));
        figures::consistent(&mut job, self.form, rows, results);
        job
    }

    /// Variation `number`, checked and ready to be set.
    pub fn manuscript(&self, number: u64) -> Manuscript {
        let job = self.job(number).to_string();
        match job::read(job.as_bytes(), None, &self.settings.limits, &self.editions) {
            Ok(job) => Manuscript::of(&job),
            Err(refusal) => panic!("{}-{number}: {:?}", self.name, refusal.rejection.problems()),
        }
    }
}

/// Whether a character of the text is exchanged for another.
fn exchanged(c: &char) -> bool {
    ('\u{4E00}'..='\u{9FA5}').contains(c) && !KEPT.contains(*c)
}

fn digit(random: &mut StdRng) -> char {
    char::from(random.random_range(b'1'..=b'9'))
}

/// Gives every text of a job to `see`.
fn narrative(job: &Value, see: &mut impl FnMut(&str)) {
    let mut data = job["data"].clone();
    for field in [
        "agency",
        "introduction",
        "overview",
        "problems_and_improvements",
        "other_matters",
    ] {
        texts(&mut data[field], &mut |text| see(text));
    }
}

/// Gives every string in a value to `change`.
fn texts(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| texts(value, change)),
        Value::Object(fields) => fields.values_mut().for_each(|value| texts(value, change)),
        _ => {}
    }
}

/// Puts other figures into table 2. Blank cells stay blank, and amounts as long as they are.
fn disclosed(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Number(_) => *value = json!(random.random_range(0..300)),
        Value::String(amount) => {
            let other = |c: char| if c.is_ascii_digit() { digit(random) } else { c };
            *amount = amount.chars().map(other).collect();
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if !["notes", "remark"].contains(&name.as_str()) {
                    disclosed(value, random);
                }
            }
        }
        _ => {}
    }
}
