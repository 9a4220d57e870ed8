//! What the pages look like. Reference pages stand beside the templates, and a change that moves
//! one line anywhere is seen, and shown; the gallery in the documentation is made the same way.
//! `UPDATE=1` writes both anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use banshi::typesetter::proof;
use banshi::typesetter::{Manuscript, Pictures, Ppi, Typesetter};
use serde_json::{Value, json};

use crate::other_documents::sample;
use crate::support::cases::{HUNDRED, cases};
use crate::support::jobs::{BROKEN, CORPUS, corpus, remove};
use crate::support::picture::Picture;
use crate::support::{check, editions, listed, repository, settings};

/// Where the references are. The build leaves folders of this name out of the templates.
const REFERENCES: &str = "typst-templates/annual-report/tests";

/// Where what differs is shown.
const DIFFERENCES: &str = "target/picture-differences";

/// Where the gallery is.
const GALLERY: &str = "docs/gallery";

/// The picture at the head of the README.
const COVER: &str = "docs/page.png";

/// The picture of a proof, for who sends jobs.
const PROOF: &str = "docs/proof.png";

/// A pixel a point.
const REFERENCE_PPI: u16 = 72;

/// Small enough to see a report at a glance.
const GALLERY_PPI: u16 = 50;

/// Large enough to read.
const COVER_PPI: u16 = 80;

/// Of each real report the page that says most, and what it says.
const TELLING: [(&str, usize, &str); CORPUS.len()] = [
    (
        "hongze-2024",
        1,
        "levels that run in: （一） in 楷体, the rest of the paragraph in 仿宋",
    ),
    (
        "jinhu-2023",
        1,
        "a report that says nothing but its figures; one of them breaks a rule, and its sender \
         chose `warn`",
    ),
    (
        "pingtan-2019",
        10,
        "table 3 in the edition of 2019, a page of its own",
    ),
    ("pingtan-2021", 4, "text and table 2 on a page"),
    (
        "pingtan-2023",
        5,
        "table 3 in the edition of 2021, with labels of three lines",
    ),
    ("pingtan-2024", 6, "table 4, and what follows it"),
    ("pingtan-2025", 3, "table 2 at the foot of its page"),
    (
        "shanghai-science-2024",
        1,
        "a title of the agency's own, broken by sense",
    ),
    ("suqian-2024", 7, "figures of seven digits"),
    ("zibo-bigdata-2020", 2, "table 2 in the edition of 2019"),
];

/// The samples of the other documents, and what each shows. Whole.
const OTHERS: [(&str, &str); 4] = [
    (
        "enforcement-report/zhejiang-2024",
        "the statistics of administrative enforcement as Zhejiang prescribes them",
    ),
    (
        "enforcement-report/shanxi-2021",
        "the same as Shanxi has them, with twelve kinds of penalties",
    ),
    (
        "official-letter/notice",
        "a notice (通知) in the format of documents, with its red head and its 版记",
    ),
    (
        "official-letter/letter",
        "a letter (函) in the format of letters, with its two double rules",
    ),
];

/// What `make ofd-pictures` draws.
const AS_OFD: [(&str, &str); 3] = [
    ("annual-report", "table 3 of an annual report, by ofd-core"),
    ("notice", "a notice (通知), by sofd"),
    (
        "rare-characters",
        "characters of names and places, many of them beyond U+FFFF, by sofd",
    ),
];

/// The typesetter of the product, with the faces of the repository and no others.
pub static TYPESETTER: LazyLock<Typesetter> = LazyLock::new(|| {
    let mut settings = settings();
    settings.fonts.dir = repository("fonts");
    settings.fonts.more.clear();
    Typesetter::load(&settings).expect("faces and templates are in the repository")
});

/// A page of a refused job: table 3 with a total that is none, a figure in quotes, one that is
/// missing.
fn proof() -> Vec<u8> {
    let (_, mut job) = samples().swap_remove(1);
    let rows = &mut job["data"]["requests"];
    rows["received"]["total"] = json!(80);
    rows["outcome"]["granted"]["business"] = json!("12");
    remove(&mut job, "/data/requests/carried_in", "research");
    let body = job.to_string();
    let draft = proof::draft(body.as_bytes(), &[], &settings().limits, &editions());
    let png = Pictures::Png(Ppi::new(REFERENCE_PPI).expect("a fair number"));
    let proof = TYPESETTER.proof(&draft.sheet.expect("it is a report"), png);
    let pages = proof.expect("it can be laid out").pages;
    let page = pages.into_iter().max_by_key(|page| page.marks.len());
    page.expect("a page").picture
}

/// The pages of a job as PNG, as `banshi render --format png` draws them.
pub fn draw(typesetter: &Typesetter, job: &Value, ppi: u16) -> Vec<Vec<u8>> {
    let checked = check(job.to_string().as_bytes());
    let job = checked.unwrap_or_else(|refusal| panic!("{:?}", refusal.rejection.problems()));
    let png = Pictures::Png(Ppi::new(ppi).expect("a fair number"));
    let pages = typesetter.picture(&Manuscript::of(&job), png);
    pages.unwrap_or_else(|failure| panic!("{}: {failure:?}", job.id))
}

/// The same, read.
fn pages(typesetter: &Typesetter, job: &Value) -> Vec<Picture> {
    let pages = draw(typesetter, job, REFERENCE_PPI);
    pages.iter().map(|page| Picture::read(page)).collect()
}

/// Does something with each of several things, on all cores.
fn each<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(things.into_iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("nobody panicked with it").next();
                    let Some((index, thing)) = next else { return };
                    let result = work(thing);
                    done.lock()
                        .expect("nobody panicked with it")
                        .insert(index, result);
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panicked with it");
    done.into_values().collect()
}

/// The pages of a report that are looked at, each with its number: all, or of a long one the first
/// two and the last.
fn looked_at(name: &str, pages: Vec<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
    let last = pages.len();
    let numbered = (1..).zip(pages);
    numbered
        .filter(|(number, _)| name != HUNDRED || [1, 2, last].contains(number))
        .collect()
}

/// Pictures that are committed, and what they must be.
struct Album {
    /// The folder that holds no others.
    folder: &'static str,
    /// The command that draws them anew.
    command: &'static str,
    /// By path in the repository.
    pictures: BTreeMap<String, Picture>,
}

impl Album {
    /// Every picture that is not what it must be, as a message; or draws them anew.
    fn compare(&self, update: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let shown = repository(DIFFERENCES).join(self.folder);
        if shown.exists() {
            std::fs::remove_dir_all(&shown).expect("the build folder is ours");
        }
        for (path, picture) in &self.pictures {
            let committed = Picture::load(&repository(path));
            let show = repository(DIFFERENCES).join(path);
            let Some(said) = compare(committed.as_ref(), picture, &show) else {
                continue;
            };
            if update {
                std::fs::create_dir_all(repository(self.folder)).expect("a folder");
                std::fs::write(repository(path), picture.write()).expect("the repository is ours");
            } else {
                wrong.push(format!("{path}: {said}"));
            }
        }
        // Before the first drawing there is no folder.
        let folder = repository(self.folder);
        let there = folder.is_dir().then(|| listed(&folder));
        for name in there.unwrap_or_default() {
            let path = format!("{}/{name}", self.folder);
            if !name.ends_with(".png") || self.pictures.contains_key(&path) {
                continue;
            }
            if update {
                std::fs::remove_file(repository(&path)).expect("the repository is ours");
            } else {
                wrong.push(format!("{path}: nothing is drawn under this name any more"));
            }
        }
        wrong
    }

    /// Fails with everything that differs and what to do.
    fn check(&self) {
        let wrong = self.compare(update());
        assert!(
            wrong.is_empty(),
            "{} differ:\n  {}\nIf that is what you meant, {} writes them anew; look at them before \
             you commit.",
            wrong.len(),
            wrong.join("\n  "),
            self.command
        );
    }
}

/// What is to be said of a picture that differs from what is committed; writes a picture that
/// shows it: committed, drawn, and what differs in red.
fn compare(committed: Option<&Picture>, drawn: &Picture, show: &Path) -> Option<String> {
    let Some(committed) = committed else {
        return Some("is not there".to_owned());
    };
    let difference = committed.difference(drawn)?;
    let panels = [committed.clone(), drawn.clone(), difference.marked];
    std::fs::create_dir_all(show.parent().expect("a folder")).expect("the build folder is ours");
    std::fs::write(show, Picture::sheet(&panels, 3).write()).expect("the build folder is ours");
    Some(format!(
        "{} pixels differ, in rows {} to {} of {}; committed, drawn and the difference: {}",
        difference.pixels,
        difference.first,
        difference.last,
        committed.height(),
        show.display()
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch for maintainers, not a setting"
)]
pub fn update() -> bool {
    std::env::var("UPDATE").is_ok()
}

/// The samples of both editions, under the names of their pictures.
fn samples() -> Vec<(String, Value)> {
    ["2019", "2021"]
        .map(|edition| {
            let path = format!("typst-templates/annual-report/{edition}/sample.json");
            let text = std::fs::read_to_string(repository(&path)).expect("a sample");
            let job = serde_json::from_str(&text).expect("a sample is JSON");
            (format!("sample-{edition}"), job)
        })
        .to_vec()
}

#[test]
fn the_reference_pages_are_as_committed() {
    let cases = cases()
        .into_iter()
        .map(|case| (case.name.to_owned(), case.job));
    let reports: Vec<(String, Value)> = samples().into_iter().chain(cases).collect();
    let drawn = each(reports, |(name, job)| {
        let pages = draw(&TYPESETTER, &job, REFERENCE_PPI);
        if name == HUNDRED {
            let count = pages.len();
            assert!((98..=102).contains(&count), "a hundred pages are {count}");
        }
        (looked_at(&name, pages), name)
    });
    let (mut seen, mut pictures) = (BTreeSet::new(), BTreeMap::new());
    for (pages, name) in drawn {
        for (number, page) in pages {
            // A page that looks like one of another report is kept once.
            let picture = Picture::read(&page);
            if seen.insert(page) {
                pictures.insert(format!("{REFERENCES}/{name}-{number}.png"), picture);
            }
        }
    }
    let references = Album {
        folder: REFERENCES,
        command: "`make references`",
        pictures,
    };
    references.check();
}

#[test]
fn the_gallery_is_as_committed() {
    let real = TELLING.map(|(name, number, _)| {
        let mut job = corpus(name);
        if name == BROKEN {
            job["on_violation"] = json!("warn");
        }
        (name, job, Some(number))
    });
    let cases = cases();
    let hard = cases
        .iter()
        .map(|case| (case.name, case.job.clone(), None))
        .collect::<Vec<_>>();
    let jobs = real.into_iter().chain(hard).collect();
    let drawn = each(jobs, |(name, job, telling)| {
        let ppi = if telling.is_some() {
            REFERENCE_PPI
        } else {
            GALLERY_PPI
        };
        let mut pages = looked_at(name, draw(&TYPESETTER, &job, ppi));
        if let Some(telling) = telling {
            pages.retain(|(number, _)| *number == telling);
        }
        assert!(!pages.is_empty(), "{name} has no page {telling:?}");
        let pages: Vec<Picture> = pages.iter().map(|(_, page)| Picture::read(page)).collect();
        (format!("{GALLERY}/{name}.png"), Picture::sheet(&pages, 4))
    });
    let mut pictures: BTreeMap<String, Picture> = drawn.into_iter().collect();
    for (template, _) in OTHERS {
        let pages = draw(&TYPESETTER, &sample(template), GALLERY_PPI);
        let pages: Vec<Picture> = pages.iter().map(|page| Picture::read(page)).collect();
        let name = template.replace('/', "-");
        pictures.insert(format!("{GALLERY}/{name}.png"), Picture::sheet(&pages, 4));
    }
    let (_, sample) = samples().swap_remove(0);
    let pages = draw(&TYPESETTER, &sample, COVER_PPI);
    let pages: Vec<Picture> = pages[..3].iter().map(|page| Picture::read(page)).collect();
    pictures.insert(COVER.to_owned(), Picture::sheet(&pages, 3));
    pictures.insert(PROOF.to_owned(), Picture::read(&proof()));
    let gallery = Album {
        folder: GALLERY,
        command: "`make gallery`",
        pictures,
    };
    gallery.check();

    let mut text = "# Gallery\n\nMade by `make gallery` and compared by a test, as the reference \
                    pages of the templates are: what is here is what this version prints.\n\n## \
                    Hard cases\n\nWhole reports; `tests/it/support/cases.rs` makes them.\n"
        .to_owned();
    for case in &cases {
        let (name, what) = (case.name, case.what);
        text.push_str(&format!("\n**{name}**: {what}.\n\n![{name}]({name}.png)\n"));
    }
    text.push_str("\n## Other documents\n\nThe samples of the templates.\n");
    for (template, what) in OTHERS {
        let name = template.replace('/', "-");
        text.push_str(&format!(
            "\n**{template}**: {what}.\n\n![{template}]({name}.png)\n"
        ));
    }
    text.push_str("\n## Real reports\n\nA page of each report in `tests/corpus`.\n");
    for (name, number, what) in TELLING {
        text.push_str(&format!(
            "\n**{name}**, page {number}: {what}.\n\n![{name}]({name}.png)\n"
        ));
    }
    text.push_str(
        "\n## As OFD\n\nOn the left the PDF as poppler draws it, on the right the OFD as a reader draws it \
         that shares no code\nwith banshi. Made by `make ofd-pictures`, which needs those readers; no test \
         compares them, but\n`make ofd-test` measures every page ([ofd.md](../ofd.md#readers)).\n",
    );
    for (name, what) in AS_OFD {
        text.push_str(&format!(
            "\n**{name}**: {what}.\n\n![{name}](../ofd/{name}.png)\n"
        ));
    }
    let path = repository(GALLERY).join("README.md");
    if update() {
        std::fs::write(&path, &text).expect("the repository is ours");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is stale: `make gallery`",
        path.display()
    );
}

// The comparison itself.

/// A page of text and one of figures to look at closely.
fn two_pages() -> [Picture; 2] {
    let (_, job) = samples().swap_remove(0);
    let pages = pages(&TYPESETTER, &job);
    [pages[0].clone(), pages[2].clone()]
}

/// What the comparison says, and whether it shows it.
fn said(committed: &Picture, drawn: &Picture) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let show = folder.path().join("page.png");
    let said = compare(Some(committed), drawn, &show);
    assert_eq!(said.is_some(), show.exists());
    if let Some(said) = &said {
        assert!(said.contains(&show.display().to_string()), "{said}");
        let shown = Picture::load(&show).expect("a picture");
        assert!(shown.width > 3 * committed.width, "three side by side");
    }
    said
}

#[test]
fn a_reference_is_read_back_as_it_was_drawn_and_small() {
    for page in two_pages() {
        let file = page.write();
        assert!(Picture::read(&file) == page);
        assert!(file.len() < 40_000, "{} bytes", file.len());
        assert_eq!(said(&page, &page), None);
    }
}

#[test]
fn what_is_missing_changed_or_left_over_is_named_and_drawn_anew() {
    let folder = "target/album-of-a-test";
    let path = |name: &str| repository(folder).join(name);
    if repository(folder).exists() {
        std::fs::remove_dir_all(repository(folder)).expect("the build folder is ours");
    }
    let [one, two] = two_pages();
    let mut album = Album {
        folder,
        command: "",
        pictures: BTreeMap::from([(format!("{folder}/page.png"), one)]),
    };
    let missing = format!("{folder}/page.png: is not there");
    assert_eq!(album.compare(false), [missing]);
    assert_eq!(album.compare(true), [""; 0]);
    assert_eq!(album.compare(false), [""; 0]);

    album.pictures.insert(format!("{folder}/page.png"), two);
    std::fs::copy(path("page.png"), path("old.png")).expect("a copy");
    let said = album.compare(false);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("pixels differ, in rows "), "{said:?}");
    assert!(
        said[1].starts_with(&format!("{folder}/old.png: nothing is drawn")),
        "{said:?}"
    );
    assert_eq!(album.compare(true), [""; 0]);
    assert_eq!(album.compare(false), [""; 0]);
    assert!(!path("old.png").exists());
    std::fs::remove_dir_all(repository(folder)).expect("the build folder is ours");
}

#[test]
fn a_line_that_moves_by_a_pixel_is_seen_wherever_it_stands() {
    const LINE: usize = 20;
    let mut moved = 0;
    for page in two_pages() {
        for top in (0..page.height() - LINE).step_by(LINE) {
            let mut other = page.clone();
            for y in top..top + LINE {
                for x in 1..page.width {
                    other.set(x, y, page.at(x - 1, y));
                }
            }
            let empty =
                (top..top + LINE).all(|y| (1..page.width).all(|x| page.at(x, y) == page.at(0, y)));
            let seen = page.difference(&other).is_some();
            assert_eq!(seen, !empty, "the line at {top}");
            moved += usize::from(!empty);
        }
    }
    assert!(moved > 40, "{moved} lines were moved");
}

#[test]
fn one_digit_is_seen() {
    let (_, mut job) = samples().swap_remove(0);
    let before = pages(&TYPESETTER, &job);
    // 2823.12万
    let amount = "/data/proactive_disclosure/article_20_9/procurement/amount";
    *job.pointer_mut(amount).expect("an amount") = json!("2828.12万");
    let after = pages(&TYPESETTER, &job);
    let pages = before.iter().zip(&after);
    let differ: Vec<bool> = pages.map(|(one, two)| said(one, two).is_some()).collect();
    assert_eq!(differ, [false, true, false, false, false]);
}

#[test]
fn a_template_that_moves_a_line_is_seen_on_its_page_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let main = repository("typst-templates/annual-report/2019/main.typ");
    let main = std::fs::read_to_string(main).expect("a template");
    let package = folder.path().join("annual-report/2019");
    std::fs::create_dir_all(&package).expect("a folder");
    let (_, job) = samples().swap_remove(0);
    let before = pages(&TYPESETTER, &job);
    // A third of a point is a tenth of a millimetre.
    for (rule, seen) in [
        ("#show \"2823.12万\": it => it", false),
        ("#show \"2823.12万\": it => box(move(dy: 0.33pt, it))", true),
    ] {
        std::fs::write(package.join("main.typ"), format!("{rule}\n{main}")).expect("a file");
        let mut settings = settings();
        settings.fonts.dir = repository("fonts");
        settings.fonts.more.clear();
        settings.templates.dir = folder.path().to_owned();
        let typesetter = Typesetter::load(&settings).expect("the template is right");
        let after = pages(&typesetter, &job);
        let pages = before.iter().zip(&after);
        let differ: Vec<bool> = pages.map(|(one, two)| said(one, two).is_some()).collect();
        assert_eq!(differ, [false, seen, false, false, false], "{rule}");
    }
}

#[test]
fn rounding_is_not_seen_and_another_size_is() {
    let [page, _] = two_pages();
    let mut rounded = page.clone();
    for y in 0..page.height() {
        for x in 0..page.width {
            let step = |channel: u8| {
                if channel < 17 {
                    channel + 17
                } else {
                    channel - 17
                }
            };
            rounded.set(x, y, page.at(x, y).map(step));
        }
    }
    assert_eq!(said(&page, &rounded), None);
    let sheet = Picture::sheet(std::slice::from_ref(&page), 1);
    assert!(said(&page, &sheet).is_some());
    let missing = compare(None, &page, Path::new("/nowhere/page.png"));
    assert_eq!(missing.as_deref(), Some("is not there"));
}
