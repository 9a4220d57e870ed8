//! The OFD shows what the PDF shows: the same text on the same pages, each figure in its official row
//! and column, the same data attached; and it is what GB/T 33190 and GB/T 42133 say, in the eyes of a
//! reader that shares nothing with banshi (tests/tools/ofd-read). That it draws the same glyphs in
//! the same places is shown where the frames are, in src/typesetter/ofd.rs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use banshi::digest::sha256;
use banshi::problem::{Code, Failure};
use banshi::typesetter::{Manuscript, Typesetter, ofd as format};
use serde_json::{Value, json};

use crate::every_cell_reads_back::figures_stand;
use crate::other_documents::sample;
use crate::support::jobs::{CORPUS, corpus};
use crate::support::notes::{TEMPLATE, note, settings, tree, typesetter};
use crate::support::pdf::Table;
use crate::support::{check, ofd, pdf, render, repository};

/// A note whose job has a whole digest.
fn a_note(text: &str) -> Manuscript {
    Manuscript {
        ident: "0123456789abcdef".repeat(4),
        ..note(&[text])
    }
}

/// The characters of a text, in no order, without spaces.
fn characters(text: &str) -> Vec<char> {
    let mut characters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    characters.sort_unstable();
    characters
}

/// A table of the PDF with the text that the OFD has in the same row and column. Both have the same
/// cells.
fn as_ofd(table: &Table, cells: &Value) -> Table {
    let cells = cells.as_array().expect("cells");
    assert_eq!(table.cells.len(), cells.len());
    let number = |cell: &Value, key: &str| cell[key].as_u64().expect("a number") as usize;
    let replaced = table.cells.iter().map(|cell| {
        let place = |other: &&Value| {
            (number(other, "row"), number(other, "column")) == (cell.row + 1, cell.column + 1)
        };
        let other = cells.iter().find(place);
        let other = other.unwrap_or_else(|| panic!("the OFD has {cell:?}"));
        let spans = (number(other, "rows"), number(other, "columns"));
        assert_eq!(spans, (cell.rows, cell.columns), "{cell:?}");
        assert_eq!(other["header"], json!(cell.header), "{cell:?}");
        let mut own = cell.clone();
        own.text = other["text"].as_str().expect("text").to_owned();
        own
    });
    Table {
        cells: replaced.collect(),
    }
}

/// A job, its PDF and what is read of its OFD.
fn compare(job: &Value, read: &Value) {
    let id = job["job_id"].as_str().expect("an id");
    assert_eq!(read["faults"], json!([]), "{id}");
    assert_eq!(read["doc_type"], "OFD-A");
    let rendered = render(job);
    let path = rendered.path();

    // The same text on the same pages.
    let pages = read["pages"].as_array().expect("pages");
    let shown = pdf::words(&path);
    assert_eq!(pages.len(), shown.len(), "{id}");
    for (number, (page, words)) in pages.iter().zip(&shown).enumerate() {
        assert_eq!(page["box"], "0 0 210 297", "{id}");
        let units = page["units"].as_array().expect("units").iter();
        let ours: String = units.filter_map(|unit| unit["text"].as_str()).collect();
        let theirs: String = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(
            characters(&ours),
            characters(&theirs),
            "{id}, page {}",
            number + 1
        );
    }

    // The same tables, headings and metadata.
    let tables = pdf::tables(&path);
    let cells = read["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), cells.len(), "{id}");
    let told: Vec<Table> = tables
        .iter()
        .zip(cells)
        .map(|(a, b)| as_ofd(a, b))
        .collect();
    for (table, own) in tables.iter().zip(&told) {
        for (number, (cell, own)) in table.cells.iter().zip(&own.cells).enumerate() {
            let (theirs, ours) = (characters(&cell.text), characters(&own.text));
            // What poppler shows after a table is taken for the last cell's.
            let more = number + 1 == table.cells.len() && cell.text.starts_with(&own.text);
            assert!(theirs == ours || more, "{id}: {cell:?}, {:?}", own.text);
        }
    }
    if CORPUS.contains(&id) {
        figures_stand(job, &told);
    }
    let structure = read["structure"].as_array().expect("a structure");
    let levels = structure.iter().filter_map(|element| {
        let name = element[0].as_str()?;
        name.strip_prefix('H')?.parse::<usize>().ok()
    });
    assert_eq!(levels.collect::<Vec<_>>(), pdf::headings(&path), "{id}");
    let outline = read["outline"].as_array().expect("an outline");
    let headings: Vec<&Value> = structure
        .iter()
        .filter(|element| {
            element[0]
                .as_str()
                .is_some_and(|name| name.starts_with('H'))
        })
        .collect();
    // Those that a template leaves out of its outline are in none.
    assert!(!outline.is_empty(), "{id}");
    let mut rest = headings.into_iter();
    for entry in outline {
        let text = |value: &Value| characters(value.as_str().expect("text"));
        let found = rest.any(|heading| text(&entry[1]) == text(&heading[1]));
        assert!(found, "{id}: {entry} is a heading, in its order");
    }
    if CORPUS.contains(&id) {
        assert_eq!(rest.count(), 0, "{id}");
    }
    let checked = check(job.to_string().as_bytes()).expect("a good job");
    let report = checked.report();
    let info = &read["info"];
    let title = report.title().replace('\n', "");
    assert_eq!(info["Title"], json!(title), "{id}");
    assert_eq!(info["Author"], json!(report.author()), "{id}");
    assert_eq!(info["DocID"], json!(checked.identity.sha256[..32]), "{id}");
    assert_eq!(info["CreationDate"], info["ModDate"]);
    let dated = pdf::info(&path);
    let date = format!(
        "CreationDate:    {}T00:00:00Z",
        info["CreationDate"].as_str().expect("a date")
    );
    assert!(dated.contains(&date), "{date} in {dated}");
    assert_eq!(
        format!(
            "{} {}",
            info["Creator"].as_str().expect("a name"),
            info["CreatorVersion"].as_str().expect("a version")
        ),
        banshi::PRODUCT
    );
    assert_eq!(read["custom"]["题名"], json!(title));
    assert_eq!(read["custom"]["责任者"], json!(report.author()));
    assert_eq!(read["custom"]["电子文件号"], json!(id));

    // The same data, and a provenance that differs in the standards alone.
    let own = |name: &str| read["attachments"][name].as_str().expect("attached");
    assert_eq!(
        own("report.json").as_bytes(),
        pdf::attachment(&path, "report.json")
    );
    let theirs = pdf::attachment(&path, "provenance.json");
    let theirs = String::from_utf8(theirs).expect("UTF-8");
    let theirs = theirs.replace(banshi::typesetter::STANDARD, format::STANDARD);
    assert_eq!(own("provenance.json"), theirs, "{id}");
}

#[test]
fn every_real_report_is_the_same_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let jobs: Vec<Value> = CORPUS.map(corpus).into();
    let jobs: Vec<Value> = jobs
        .into_iter()
        .map(|mut job| {
            job["on_violation"] = json!("warn");
            job
        })
        .collect();
    let files: Vec<PathBuf> = jobs
        .iter()
        .map(|job| ofd::render(job, folder.path()))
        .collect();
    let read = ofd::read(&files);
    std::thread::scope(|scope| {
        for (job, read) in jobs.iter().zip(&read) {
            scope.spawn(|| compare(job, read));
        }
    });
}

/// Tables that stand sideways, lists over many pages, a head in red.
#[test]
fn so_is_every_other_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = [
        "enforcement-report/shanxi-2021",
        "enforcement-report/zhejiang-2024",
        "official-letter/letter",
        "official-letter/notice",
    ];
    let jobs = names.map(sample);
    let files: Vec<PathBuf> = jobs
        .iter()
        .map(|job| ofd::render(job, folder.path()))
        .collect();
    for (job, read) in jobs.iter().zip(ofd::read(&files)) {
        compare(job, &read);
    }
}

#[test]
fn the_same_job_gives_the_same_bytes_and_another_does_not() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let job = corpus("hongze-2024");
    let made = |job: &Value, folder: &tempfile::TempDir| {
        std::fs::read(ofd::render(job, folder.path())).expect("the OFD")
    };
    let [first, second] = folders.each_ref().map(|folder| made(&job, folder));
    assert_eq!(sha256(&first), sha256(&second));
    let mut other = job.clone();
    other["job_id"] = json!("another");
    assert_ne!(first, made(&other, &folders[0]));
}

/// Characters that people's names have, a mark set upright, and what is written from right to left.
#[test]
fn rare_characters_and_marks_are_text() {
    let typesetter = typesetter(&tree(TEMPLATE));
    let rare: String = ('\u{20000}'..='\u{2EBE0}')
        .filter(|c| typesetter.fonts().covers(*c))
        .take(3)
        .collect();
    assert_eq!(
        rare.chars().count(),
        3,
        "faces with characters beyond U+FFFF"
    );
    let text = format!("〇一二，“引号”；王{rare}与㐂堃。 12 345.6% A&B <C> é");
    let made = ofd::set(&typesetter, &a_note(&text)).expect("an OFD");
    let read = ofd::sound(&made);
    let shown: String = ofd::texts(&read).concat();
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        assert!(shown.contains(c), "{c} in {shown}");
    }
    // In the order of the text.
    let flat: String = shown.split_whitespace().collect();
    let wanted: String = text.split_whitespace().collect();
    assert!(flat.contains(&wanted), "{wanted} in {flat}");
}

#[test]
fn a_reader_without_the_embedded_faces_finds_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = ofd::read(&[ofd::render(&corpus("pingtan-2023"), folder.path())]).remove(0);
    let fonts = read["fonts"].as_array().expect("fonts").iter();
    let said: BTreeSet<(&str, &str, bool, bool)> = fonts
        .map(|font| {
            let text = |key: &str| font[key].as_str().unwrap_or_default();
            let is = |key: &str| font[key] == "true";
            (
                text("FontName"),
                text("FamilyName"),
                is("Bold"),
                is("Serif"),
            )
        })
        .collect();
    let wanted = [
        ("LXGWWenKaiGBLite-Regular", "楷体", false, true),
        ("LiberationSerif", "Times New Roman", false, true),
        ("LiberationSerif-Bold", "Times New Roman", true, true),
        ("NotoSansCJKsc-Regular", "黑体", false, false),
        ("NotoSerifCJKsc-Bold", "方正小标宋简体", true, true),
        ("NotoSerifCJKsc-Regular", "宋体", false, true),
        ("ZhuqueFangsong-Regular", "仿宋", false, true),
    ];
    assert_eq!(said, BTreeSet::from(wanted));
}

/// The problems of a manuscript that can't be written, `E-OFD` each, and its PDF can.
fn unwritable(typesetter: &Typesetter, manuscript: &Manuscript) -> Vec<String> {
    typesetter.typeset(manuscript).expect("a PDF");
    let Err(Failure::Rejected(rejection)) = ofd::set(typesetter, manuscript) else {
        panic!("wanted a rejection");
    };
    let problems = rejection.problems().iter();
    let said = problems.map(|problem| {
        assert_eq!((problem.code, problem.path.as_str()), (Code::OFD, ""));
        assert!(problem.message_zh.starts_with("报告不能生成OFD："));
        problem.message.clone()
    });
    said.collect()
}

#[test]
fn what_has_no_place_in_it_is_told_and_there_is_no_file() {
    let with = |more: &str| typesetter(&tree(&format!("{TEMPLATE}\n{more}")));
    let manuscript = a_note("正文。");
    let artifact = |drawn: &str| format!("#pdf.artifact[{drawn}]");
    for (more, why) in [
        (
            artifact("#rect(width: 2cm, height: 1cm, fill: gradient.linear(red, blue))"),
            "page 1 has a gradient or a pattern",
        ),
        (
            artifact("#box(width: 1cm, height: 1cm, clip: true, rect(width: 3cm, height: 3cm))"),
            "page 1 has something that a clip cuts off",
        ),
        (
            artifact("#scale(x: 50%, rect(width: 2cm, stroke: 1pt))"),
            "page 1 has a line that is scaled more in one direction",
        ),
        (
            "#image(bytes(\"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>\"), alt: \"a\")".to_owned(),
            "page 1 has a picture that is not an upright PNG or JPEG",
        ),
    ] {
        let said = unwritable(&with(&more), &manuscript);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(why), "{why} in {said:?}");
    }
}

#[test]
fn a_face_with_other_outlines_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(repository("target/tools/documents/bin/python"))
        .args(["-c", OTF])
        .arg(folder.path().join("digits.otf"))
        .status();
    assert!(
        made.is_ok_and(|made| made.success()),
        "tests/tools/install test"
    );
    let tree = tree(TEMPLATE);
    let mut settings = settings(tree.path());
    settings.fonts.more = vec![folder.path().to_owned()];
    settings.fonts.roles.latin.insert(0, "Digits".to_owned());
    let typesetter = Typesetter::load(&settings).expect("the faces");
    let said = unwritable(&typesetter, &a_note("共123件。"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("the face Digits has no TrueType outlines"),
        "{said:?}"
    );
}

/// Makes a face with digits, whose outlines are CFF.
const OTF: &str = "
import sys
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
names = ['.notdef'] + ['d%d' % n for n in range(10)]
pen = T2CharStringPen(500, None)
pen.moveTo((50, 0)); pen.lineTo((50, 700)); pen.lineTo((450, 700)); pen.closePath()
font = FontBuilder(1000, isTTF=False)
font.setupGlyphOrder(names)
font.setupCharacterMap({0x30 + n: 'd%d' % n for n in range(10)})
font.setupCFF('Digits', {}, {name: pen.getCharString() for name in names}, {})
font.setupHorizontalMetrics({name: (500, 50) for name in names})
font.setupHorizontalHeader(ascent=800, descent=-200)
font.setupNameTable({'familyName': 'Digits', 'styleName': 'Regular', 'psName': 'Digits', 'fullName': 'Digits', 'uniqueFontIdentifier': 'Digits', 'version': '1'})
font.setupOS2(usWeightClass=400)
font.setupPost()
font.save(sys.argv[1])
";

/// A picture is taken over as it is, once, however often it stands there.
#[test]
fn pictures_are_kept_as_they_are() {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory");
    writer
        .write_image_data(&[255, 0, 0, 0, 0, 255])
        .expect("memory");
    writer.finish().expect("memory");
    let tree = tree(&format!(
        "{TEMPLATE}\n#let it = image(\"seal.png\", width: 20mm, height: 10mm, alt: \"红\")\n#it\n#it"
    ));
    std::fs::write(tree.path().join("note/seal.png"), &png).expect("a file");
    let made = ofd::set(&typesetter(&tree), &a_note("正文。")).expect("an OFD");
    let read = ofd::sound(&made);
    let units = read["pages"][0]["units"].as_array().expect("units").iter();
    let images: Vec<&Value> = units.filter(|unit| unit["kind"] == "ImageObject").collect();
    assert_eq!(images.len(), 2, "{images:?}");
    let side = |image: &Value, side: usize| image["boundary"][side].as_f64().expect("a number");
    for image in images {
        assert!((side(image, 2) - 20.0).abs() < 0.01 && (side(image, 3) - 10.0).abs() < 0.01);
    }
    let entries = format::entries(&made).expect("a package");
    let pictures: Vec<_> = entries
        .iter()
        .filter(|entry| entry.name.ends_with(".png"))
        .collect();
    assert_eq!(pictures.len(), 1);
    assert_eq!(pictures[0].read(&made), Some(png));
}
