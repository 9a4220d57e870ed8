//! `banshi verify` of an OFD: made again from its attachments and compared, entry by entry; what is no
//! package of banshi's is refused before anything in it is believed.

use banshi::digest::sha256;
use banshi::typesetter::{Manuscript, Provenance};
use serde_json::json;

use crate::a_changed_file_is_found::{Files, manuscript, text, typesetter};
use crate::support::jobs::{CORPUS, corpus};
use crate::support::ofd::{Stored, edited, package, render, set, unpacked};

const PAGE: &str = "Doc_0/Pages/Page_0/Content.xml";
const DATA: &str = "Doc_0/Attachs/report.json";
const PROVENANCE: &str = "Doc_0/Attachs/provenance.json";

fn seed() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::read(render(&corpus("zibo-bigdata-2020"), folder.path())).expect("the OFD")
}

/// The bytes of an entry.
fn entry(ofd: &[u8], name: &str) -> Vec<u8> {
    let entries = banshi::typesetter::ofd::entries(ofd).expect("a package");
    let entry = entries.iter().find(|entry| entry.name == name);
    entry.and_then(|entry| entry.read(ofd)).expect("its bytes")
}

#[test]
fn every_real_report_is_authentic() {
    let files = Files::new();
    let folder = tempfile::tempdir().expect("a folder");
    let names = CORPUS.map(|name| format!("{name}.ofd"));
    for (name, file) in CORPUS.into_iter().zip(&names) {
        let mut job = corpus(name);
        job["on_violation"] = json!("warn");
        let ofd = std::fs::read(render(&job, folder.path())).expect("the OFD");
        files.add(file, &ofd);
    }
    let (code, findings) = files.verify(&names.each_ref().map(String::as_str));
    for finding in &findings {
        assert_eq!(finding["verdict"], "authentic", "{finding}");
        assert_eq!(finding["data_agree"], true, "{finding}");
        assert_eq!(finding["provenance"]["standard"], "GB/T 33190-2016, OFD-A");
    }
    assert_eq!(code, Some(0));
}

/// The package has one form, which anybody can write who knows ZIP.
#[test]
fn another_program_that_writes_the_same_form_writes_the_same_file() {
    let ofd = seed();
    assert_eq!(sha256(&package(&unpacked(&ofd))), sha256(&ofd));
}

#[test]
fn what_is_changed_in_an_entry_is_found_and_the_entry_named() {
    let (files, ofd) = (Files::new(), seed());
    for (name, from, to) in [
        (PAGE, ">2020<", ">2021<"),
        (
            PAGE,
            "<ofd:FillColor Value=\"0 0 0\"/>",
            "<ofd:FillColor Value=\"0 0 0\"></ofd:FillColor>",
        ),
        ("OFD.xml", "OFD-A", "OFD"),
        ("Doc_0/Document.xml", "Zoom=\"0\"", "Zoom=\"1\""),
        ("Doc_0/Tags/structure.xml", "Column=\"2\"", "Column=\"3\""),
        ("Doc_0/Attachs/Attachments.xml", "txt", "xml"),
    ] {
        files.add("changed.ofd", &edited(&ofd, name, from, to));
        files.altered("changed.ofd", &format!("{name} is another"));
    }
    let mut entries = unpacked(&ofd);
    let face = entries
        .iter_mut()
        .find(|entry| entry.name.ends_with(".ttf"))
        .expect("a face");
    let mut bytes = entry(&ofd, &face.name);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let name = face.name.clone();
    *face = Stored::new(&name, &bytes);
    files.add("face.ofd", &package(&entries));
    files.altered("face.ofd", &format!("{name} is another"));
}

#[test]
fn a_digit_changed_in_the_data_is_found() {
    let (files, ofd) = (Files::new(), seed());
    let changed = edited(&ofd, DATA, "2823.12万", "2823.13万");
    files.add("data.ofd", &changed);
    files.altered("data.ofd", "report.json is not the one");
    let (_, findings) = files.verify(&["data.ofd"]);
    assert_eq!(findings[0]["data_agree"], false);
    // And with a provenance that names the changed data.
    let (before, after) = (entry(&ofd, DATA), entry(&changed, DATA));
    let both = edited(&changed, PROVENANCE, &sha256(&before), &sha256(&after));
    files.add("both.ofd", &both);
    let (_, findings) = files.verify(&["both.ofd"]);
    assert_eq!(findings[0]["data_agree"], true);
    files.altered("both.ofd", "is another");
}

#[test]
fn an_entry_added_taken_out_or_moved_is_found() {
    let (files, ofd) = (Files::new(), seed());
    let entries = unpacked(&ofd);
    let mut more = entries.clone();
    more.push(Stored::new("Doc_0/more.xml", b"<a/>"));
    files.add("added.ofd", &package(&more));
    files.altered("added.ofd", "Doc_0/more.xml was added");
    for place in 0..entries.len() {
        let mut fewer = entries.clone();
        let name = fewer.remove(place).name;
        files.add("fewer.ofd", &package(&fewer));
        let why = match name.as_str() {
            DATA | PROVENANCE => format!(
                "no {} is attached",
                name.trim_start_matches("Doc_0/Attachs/")
            ),
            _ => format!("{name} is missing"),
        };
        // Which of many says the same is tried on some.
        if place % 4 == 0 || name == DATA || name == PROVENANCE {
            files.altered("fewer.ofd", &why);
        }
    }
    let mut moved = entries;
    moved.swap(1, 2);
    files.add("moved.ofd", &package(&moved));
    files.altered("moved.ofd", "in another order");
}

#[test]
fn no_byte_can_be_changed_cut_off_or_added() {
    let (files, ofd) = (Files::new(), seed());
    let mut names = Vec::new();
    for place in (0..ofd.len()).step_by(ofd.len() / 60) {
        let mut changed = ofd.clone();
        changed[place] ^= 1;
        names.push(format!("{place}.ofd"));
        files.add(&names[names.len() - 1], &changed);
    }
    for (name, bytes) in [
        ("cut.ofd", &ofd[..ofd.len() - 1]),
        ("half.ofd", &ofd[..ofd.len() / 2]),
        ("head.ofd", &ofd[..4]),
        ("added.ofd", &[&ofd, &b"\0"[..]].concat()),
        ("before.ofd", &[&b"PK\x03\x04"[..], &ofd].concat()),
    ] {
        names.push(name.to_owned());
        files.add(name, bytes);
    }
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let (code, findings) = files.verify(&names);
    assert_eq!(code, Some(1));
    for finding in &findings {
        assert_eq!(finding["verdict"], "altered", "{finding}");
    }
}

#[test]
fn a_package_that_means_harm_is_refused() {
    let (files, ofd) = (Files::new(), seed());
    let foreign = "not written as banshi writes an OFD";
    let with = |change: &dyn Fn(&mut Vec<Stored>)| {
        let mut entries = unpacked(&ofd);
        change(&mut entries);
        package(&entries)
    };
    let place = |entries: &[Stored], name: &str| {
        entries
            .iter()
            .position(|entry| entry.name == name)
            .expect("an entry")
    };
    // What a small file would grow to.
    let bomb = Stored::new(PROVENANCE, &vec![b' '; 80 << 20]);
    assert!(bomb.packed.len() < 100_000);
    let put = |entry: Stored| {
        move |entries: &mut Vec<Stored>| {
            let place = place(entries, &entry.name);
            entries[place] = entry.clone();
        }
    };
    let lie = |plain: u32| Stored {
        plain,
        ..bomb.clone()
    };
    files.add("bomb.ofd", &with(&put(bomb.clone())));
    files.altered("bomb.ofd", foreign);
    files.add("lying.ofd", &with(&put(lie(600))));
    files.altered("lying.ofd", foreign);
    files.add("largest.ofd", &with(&put(lie(u32::MAX))));
    files.altered("largest.ofd", foreign);
    let sum = |entries: &mut Vec<Stored>| {
        let place = place(entries, DATA);
        entries[place].crc ^= 1;
    };
    files.add("sum.ofd", &with(&sum));
    files.altered("sum.ofd", foreign);
    for (number, name) in [
        "../../etc/passwd",
        "/etc/passwd",
        "Doc_0\\a",
        DATA,
        "a/../b",
    ]
    .into_iter()
    .enumerate()
    {
        let file = format!("name-{number}.ofd");
        files.add(
            &file,
            &with(&|entries| entries.push(Stored::new(name, b"x"))),
        );
        files.altered(&file, foreign);
    }
    // Many entries, of which each is nothing.
    let many: Vec<Stored> = (0..20_000)
        .map(|number| Stored::new(&format!("a{number}"), b""))
        .collect();
    files.add("many.ofd", &package(&many));
    files.altered("many.ofd", foreign);
    files.add("empty.ofd", &package(&[]));
    files.altered("empty.ofd", "");
    let saved = std::process::Command::new("python3")
        .args(["-c", "import sys,zipfile\nwith zipfile.ZipFile(sys.argv[1]) as a, zipfile.ZipFile(sys.argv[2],'w',8) as b:\n for n in a.namelist(): b.writestr(n, a.read(n))"])
        .args({
            files.add("a.ofd", &ofd);
            [files.path("a.ofd"), files.path("saved.ofd")]
        })
        .status();
    assert!(saved.is_ok_and(|saved| saved.success()));
    files.altered("saved.ofd", foreign);
}

#[test]
fn another_version_that_sets_the_same_pages_is_equivalent() {
    let (files, typesetter) = (Files::new(), typesetter());
    let manuscript = manuscript(&corpus("hongze-2024"));
    let own = entry(&set(&typesetter, &manuscript).expect("an OFD"), PROVENANCE);
    let own: Provenance = serde_json::from_slice(&own).expect("a provenance");
    let older = Manuscript {
        made: Some(Box::new(Provenance {
            product: "banshi 0.0.9".to_owned(),
            ..own
        })),
        ..manuscript
    };
    files.add("older.ofd", &set(&typesetter, &older).expect("an OFD"));
    let (code, findings) = files.verify(&["older.ofd"]);
    assert_eq!(
        (code, text(&findings[0], "verdict")),
        (Some(0), "equivalent")
    );
}
