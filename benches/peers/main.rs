//! What a user would otherwise pick, measured beside banshi on the same reports: `make bench-peers`.
//!
//! Alone it hands over to `compare.py`, which starts this program again for what needs the library:
//!
//! - `reports FOLDER COUNT` writes reports that all differ, as each peer takes them;
//! - `typeset` sets one report after another in this process, warm, as a typesetter's child does:
//!   a line `JOB PDF` with two paths in, a line `done` out.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use banshi::config::Settings;
use banshi::job;
use banshi::report::form::{
    APPLICANTS, CARRIED_IN, CARRIED_OUT, Form, RECEIVED, RESULTS, REVIEW_GROUPS, TOTAL,
};
use banshi::report::{Editions, FORMS};
use banshi::typesetter::{Manuscript, Typesetter};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["reports", folder, count] => count
            .parse()
            .map_err(Into::into)
            .and_then(|count| write_reports(Path::new(folder), count)),
        ["typeset"] => typeset(),
        options => compare(options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the comparison with this build of banshi.
fn compare(options: &[&str]) -> Result<()> {
    let status = Command::new("python3")
        .arg(repository("benches/peers/compare.py"))
        .arg(format!("--banshi={}", env!("CARGO_BIN_EXE_banshi")))
        .arg(format!("--setter={}", std::env::current_exe()?.display()))
        // What `cargo bench` says to every benchmark.
        .args(options.iter().filter(|option| **option != "--bench"))
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("compare.py ended with {status}").into())
    }
}

/// The settings that come with banshi, and the faces of the repository alone: the peers have no
/// others.
fn settings() -> Result<Settings> {
    let fonts = repository("fonts").display().to_string();
    let own = [
        ("BANSHI__FONTS__DIR".to_owned(), fonts),
        ("BANSHI__FONTS__MORE".to_owned(), "[]".to_owned()),
    ];
    let here = Path::new("/nonexistent/banshi.toml");
    let file = Some(here).filter(|path| path.exists());
    Ok(Settings::load(file, own)?)
}

fn read(bytes: &[u8], settings: &Settings, editions: &Editions) -> Result<Manuscript> {
    match job::read(bytes, None, &settings.limits, editions) {
        Ok(job) => Ok(Manuscript::of(&job)),
        Err(refusal) => Err(format!("{:?}", refusal.rejection).into()),
    }
}

/// Sets reports until standard input ends: the job read, checked, set, the PDF written.
fn typeset() -> Result<()> {
    let settings = settings()?;
    let typesetter = Typesetter::load(&settings)?;
    let editions = typesetter.editions()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (job, pdf) = line.split_once(' ').ok_or("want two paths in a line")?;
        let manuscript = read(&fs::read(job)?, &settings, &editions)?;
        let set = typesetter.typeset(&manuscript);
        let set = set.map_err(|failure| format!("{job}: {failure:?}"))?;
        fs::write(pdf, set.bytes)?;
        println!("done");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Writes the reports, each into a folder of its own, `0000` and so on:
///
/// - `job.json` for banshi;
/// - `report.json`, the same as finished strings in the order of the page, which a template has
///   only to lay out;
/// - `data.json` and `provenance.json`, which the PDF is to carry;
/// - `about.json`, what the document says of itself.
///
/// Beside them `typst`, a tree that the Typst command line sets them in: our templates, and for
/// each report its entrypoint.
fn write_reports(folder: &Path, count: u64) -> Result<()> {
    let settings = settings()?;
    let typesetter = Typesetter::load(&settings)?;
    let editions = typesetter.editions()?;
    let seed: Value = serde_json::from_str(&fs::read_to_string(repository(
        "tests/corpus/zibo-bigdata-2020.json",
    ))?)?;
    let form = FORMS
        .into_iter()
        .find(|form| seed["template"] == form.name)
        .ok_or("the seed's report is of an edition that there is")?;

    let tree = folder.join("typst");
    copy_tree(&repository("typst-templates"), &tree)?;
    fs::write(tree.join("gongwen/fonts.json"), typesetter.fonts().json())?;
    fs::write(
        tree.join("gongwen/settings.json"),
        json!({ "bands": settings.render.bands }).to_string(),
    )?;
    for number in 0..count {
        let name = format!("{number:04}");
        let job = varied(&seed, form, number)?.to_string();
        let manuscript = read(job.as_bytes(), &settings, &editions)?;
        let (year, month, day) = manuscript.date;
        let about = json!({
            "title": manuscript.title,
            "author": [manuscript.author],
            "description": manuscript.description,
            "keywords": manuscript.keywords,
            "year": year,
            "month": month,
            "day": day,
            "entrypoint": format!("/reports/{name}/main.typ"),
        });
        let provenance = json!({
            "product": banshi::PRODUCT,
            "engine": banshi::typesetter::ENGINE,
            "template": manuscript.template,
            "fonts": typesetter.fonts().sha256(),
            "job": manuscript.ident,
        });
        let own = folder.join(&name);
        let entry = tree.join("reports").join(&name);
        for folder in [&own, &entry] {
            fs::create_dir_all(folder)?;
            fs::write(folder.join("report.json"), &manuscript.view)?;
            fs::write(folder.join("about.json"), about.to_string())?;
            fs::write(folder.join("data.json"), &manuscript.data)?;
            fs::write(folder.join("provenance.json"), provenance.to_string())?;
        }
        fs::write(own.join("job.json"), job)?;
        let edition = repository("typst-templates").join(&manuscript.template);
        fs::copy(edition.join("main.typ"), entry.join("main.typ"))?;
        fs::copy(
            repository("src/typesetter/frame.typ"),
            entry.join("frame.typ"),
        )?;
    }
    Ok(())
}

/// Copies a tree of templates, without their tests.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_name() == "tests" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The seed's job with a narrative and figures of its own, as long as the original: the clauses
/// of each paragraph in another order, with other numbers, and every sum right.
fn varied(seed: &Value, form: &Form, number: u64) -> Result<Value> {
    let mut random = StdRng::seed_from_u64(number);
    let mut job = seed.clone();
    job["job_id"] = json!(format!("peers-{number:04}"));
    for section in [
        "introduction",
        "overview",
        "problems_and_improvements",
        "other_matters",
    ] {
        let paragraphs = job["data"][section].as_array_mut();
        for paragraph in paragraphs.into_iter().flatten() {
            if let Value::String(text) = paragraph {
                *text = reworded(text, &mut random);
            }
        }
    }
    let bands = job["data"]["proactive_disclosure"].as_object_mut();
    for figure in bands.into_iter().flat_map(leaves) {
        if figure.is_u64() {
            *figure = json!(random.random_range(0..1000));
        }
    }

    let places = form.rows();
    let at = |pointer: &str| {
        let found = places.iter().position(|place| place.pointer == pointer);
        found.ok_or_else(|| format!("{} has no row {pointer}", form.name))
    };
    let (received, carried_in) = (at(RECEIVED)?, at(CARRIED_IN)?);
    let (total, carried_out) = (at(TOTAL)?, at(CARRIED_OUT)?);
    let kinds = APPLICANTS.len() - 1;
    let mut rows = vec![vec![0_u64; kinds]; places.len()];
    for kind in 0..kinds {
        for (row, place) in rows.iter_mut().zip(&places) {
            if place.is_summand() {
                row[kind] = random.random_range(0..40);
            }
        }
        let summands = places
            .iter()
            .zip(&rows)
            .filter(|(place, _)| place.is_summand());
        rows[total][kind] = summands.map(|(_, row)| row[kind]).sum();
        rows[carried_out][kind] = random.random_range(0..9);
        let handled = rows[total][kind] + rows[carried_out][kind];
        rows[carried_in][kind] = random.random_range(0..=handled.min(9));
        rows[received][kind] = handled - rows[carried_in][kind];
    }
    for (place, row) in places.iter().zip(&rows) {
        let pointer = format!("/data/requests{}", place.pointer);
        put(&mut job, &pointer, APPLICANTS.map(|(name, _)| name), row)?;
    }
    for (pointer, _) in REVIEW_GROUPS {
        let row: Vec<u64> = (1..RESULTS.len())
            .map(|_| random.random_range(0..20))
            .collect();
        let pointer = format!("/data/review_and_litigation{pointer}");
        put(&mut job, &pointer, RESULTS.map(|(name, _)| name), &row)?;
    }
    Ok(job)
}

/// Every value below an object that is no object.
fn leaves(object: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut found = Vec::new();
    for (_, value) in object {
        match value {
            Value::Object(inner) => found.extend(leaves(inner)),
            other => found.push(other),
        }
    }
    found
}

/// Puts figures into the cells of a row, and their sum into the last.
fn put<const N: usize>(
    job: &mut Value,
    pointer: &str,
    names: [&str; N],
    figures: &[u64],
) -> Result<()> {
    let cells = job
        .pointer_mut(pointer)
        .ok_or_else(|| format!("no {pointer}"))?;
    let sum: u64 = figures.iter().sum();
    for (name, figure) in names.into_iter().zip(figures.iter().chain([&sum])) {
        cells[name] = json!(figure);
    }
    Ok(())
}

/// The clauses of a paragraph in another order, each number another of as many digits.
fn reworded(text: &str, random: &mut StdRng) -> String {
    let end = text.trim_end_matches(['。', '：']);
    let mut clauses: Vec<&str> = end.split(['，', '。']).collect();
    clauses.shuffle(random);
    let text = clauses.join("，") + &text[end.len()..];
    let digit = |c: char| {
        if c.is_ascii_digit() {
            char::from(random.random_range(b'1'..=b'9'))
        } else {
            c
        }
    };
    text.chars().map(digit).collect()
}
