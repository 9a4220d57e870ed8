//! What a user would otherwise pick, measured beside banshi on the same reports:
//! `make bench-peers`.
//!
//! Alone it hands over to `compare.py`, which starts this program again for what needs the library:
//!
//! - `reports FOLDER COUNT` writes reports that all differ, as each peer takes them;
//! - `typeset` sets one report after another in a typesetter that is kept, as the worker's are: a
//!   line `JOB PDF` with two paths in, a line `done` out.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints what it does"
)]

#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use banshi::job;
use banshi::typesetter::{Fonts, Manuscript, Pool, Program, Templates};
use serde_json::json;
use support::{Model, SEED, repository, settings};
use tokio::runtime::Builder;

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

/// Sets reports until standard input ends, in one typesetter of the pool that the worker has: the
/// job read, checked, set by the child, the PDF written.
fn typeset() -> Result<()> {
    let mut settings = settings();
    settings.render.threads = 1;
    let editions = Templates::load(settings.templates.folder())?.forms();
    let program = Program {
        path: env!("CARGO_BIN_EXE_banshi").into(),
        args: vec!["typesetter".to_owned()],
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let pool = runtime.block_on(Pool::start(&settings, program))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (path, pdf) = line.split_once(' ').ok_or("want two paths in a line")?;
        let job = match job::read(&fs::read(path)?, None, &settings.limits, &editions) {
            Ok(job) => job,
            Err(refusal) => return Err(format!("{path}: {:?}", refusal.rejection).into()),
        };
        let set = runtime.block_on(pool.typeset(&Manuscript::of(&job)));
        let set = set.map_err(|failure| format!("{path}: {failure:?}"))?;
        fs::write(pdf, set.bytes)?;
        println!("done");
        std::io::stdout().flush()?;
    }
    runtime.block_on(pool.close());
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
    let settings = settings();
    let fonts = Fonts::load(&settings.fonts)?;
    let model = Model::of(SEED);
    let tree = folder.join("typst");
    copy_tree(&repository("typst-templates"), &tree)?;
    fs::write(tree.join("gongwen/fonts.json"), fonts.json())?;
    fs::write(
        tree.join("gongwen/settings.json"),
        json!({ "bands": settings.render.bands }).to_string(),
    )?;
    for number in 0..count {
        let name = format!("{number:04}");
        let job = model.job(number).to_string();
        let manuscript = model.manuscript(number);
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
            "fonts": fonts.sha256(),
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
