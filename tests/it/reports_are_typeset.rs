//! The typesetter: what it promises of every PDF, and what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use banshi::config::{Bands, Settings};
use banshi::problem::{Code, Failure, Part};
use banshi::typesetter::{Fonts, Manuscript, Pdf, Pool, Program, Templates, Typesetter};

use crate::support::notes::*;
use crate::support::repository;

/// What a reader's search finds, with poppler's tools.
fn text_of(pdf: &Pdf) -> String {
    tool(pdf, "pdftotext", &["-raw", "FILE", "-"])
}

fn tool(pdf: &Pdf, name: &str, args: &[&str]) -> String {
    let file = tempfile::NamedTempFile::with_suffix(".pdf").unwrap();
    fs::write(file.path(), &pdf.bytes).unwrap();
    let args = args.iter().map(|arg| {
        if *arg == "FILE" {
            file.path().to_str().unwrap()
        } else {
            arg
        }
    });
    let output = Command::new(name).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// What every PDF is.

#[test]
fn the_same_manuscript_gives_the_same_bytes() {
    let tree = tree(TEMPLATE);
    let first = typesetter(&tree)
        .typeset(&note(&["第一段。", "第二段。"]))
        .unwrap();
    let typesetter = typesetter(&tree);
    typesetter.typeset(&note(&["别的报告。"])).unwrap();
    let second = typesetter
        .typeset(&note(&["第一段。", "第二段。"]))
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(first.pages, 1);
    assert_eq!(first.fonts, ["LiberationSerif", "ZhuqueFangsong-Regular"]);
}

#[test]
fn another_job_gives_another_document() {
    let typesetter = typesetter(&tree(TEMPLATE));
    let first = typesetter.typeset(&note(&["一样。"])).unwrap();
    let second = Manuscript {
        ident: "另一个".to_owned(),
        ..note(&["一样。"])
    };
    assert_ne!(first.bytes, typesetter.typeset(&second).unwrap().bytes);
}

#[test]
fn metadata_and_attachment_are_the_manuscripts() {
    let hostile = "标题 #panic() \\ $x$ `y` \"z\" <a> *b* _c_ @d // e";
    let manuscript = Manuscript {
        title: hostile.to_owned(),
        author: "机关 #let".to_owned(),
        data: r##"{"text":"#panic() \"\\ 数据"}"##.to_owned(),
        ..note(&["正文。"])
    };
    let pdf = typesetter(&tree(TEMPLATE)).typeset(&manuscript).unwrap();
    let info = tool(&pdf, "pdfinfo", &["FILE"]);
    for line in [
        format!("Title:           {hostile}"),
        "Author:          机关 #let".to_owned(),
        "Subject:         年度报告".to_owned(),
        "Keywords:        政府信息公开, 2021".to_owned(),
        format!("Creator:         {}", banshi::PRODUCT),
        "CreationDate:    Wed Jan 26 00:00:00 2022 UTC".to_owned(),
        "Tagged:          yes".to_owned(),
        "Pages:           1".to_owned(),
    ] {
        assert!(info.contains(&line), "{line}\n{info}");
    }
    let plain = tool(
        &pdf,
        "qpdf",
        &["--qdf", "--object-streams=disable", "FILE", "-"],
    );
    for part in [
        "/AFRelationship /Source",
        "/Subtype /application#2fjson",
        "/Lang (zh-CN)",
        "(report.json)",
    ] {
        assert!(plain.contains(part), "{part}");
    }
    assert!(plain.contains("<pdfaid:part>3</pdfaid:part>"), "PDF/A-3");
    assert!(
        plain.contains("<pdfaid:conformance>A</pdfaid:conformance>"),
        "level A"
    );
    assert!(plain.contains("<pdfuaid:part>1</pdfuaid:part>"), "PDF/UA-1");
    assert_eq!(
        tool(
            &pdf,
            "pdfdetach",
            &["-savefile", "report.json", "-o", "/dev/stdout", "FILE"]
        ),
        manuscript.data
    );
}

#[test]
fn hostile_text_is_set_as_it_is() {
    let hostile = [
        "#panic(\"x\") #read(\"/etc/passwd\")",
        "\\ \\u{41} $x^2$ `raw` *b* _i_ = h - l + e / t: d @r <l>",
        "\"quotes\" 'single' ~ -- --- ... // comment /* comment */",
        "]}) [{( #{ #[ %$& \\#",
        "https://example.org/a?b=c#d",
        "= 标题 == 标题",
        "1. 条目；- 条目；+ 条目",
    ];
    let pdf = typesetter(&tree(TEMPLATE))
        .typeset(&note(&hostile))
        .unwrap();
    let text = text_of(&pdf);
    let flat = |text: &str| text.split_whitespace().collect::<String>();
    for line in hostile {
        assert!(flat(&text).contains(&flat(line)), "{line}\n{text}");
    }
    assert!(
        !tool(&pdf, "qpdf", &["--qdf", "FILE", "-"]).contains("/URI"),
        "text became a link"
    );
}

// What a template can see.

#[test]
fn a_template_sees_no_file_package_or_clock() {
    for (code, says) in [
        (
            "#read(\"/etc/passwd\")",
            "main.typ:1:7: failed to load file (there is no etc/passwd among the templates",
        ),
        (
            "#read(\"../../../../etc/passwd\")",
            "would escape the project root",
        ),
        (
            "#import \"@preview/cetz:0.3.4\"",
            "main.typ:1:9: failed to load file (there is no package @preview/cetz:0.3.4",
        ),
        (
            "#include \"/banshi/none.typ\"",
            "main.typ:1:10: failed to load file (there is no banshi/none.typ",
        ),
        (
            "#datetime.today().display()",
            "main.typ:1:2: unable to get the current date",
        ),
        (
            "#image(\"/home/x.png\")",
            "main.typ:1:8: failed to load file (there is no home/x.png",
        ),
    ] {
        let said = said(typesetter(&tree(code)).typeset(&note(&["正文。"])));
        assert!(
            said.starts_with("E-LAYOUT  the report could not be laid out: note/"),
            "{said}"
        );
        assert!(said.contains(says), "{code}: {said}");
    }
}

#[test]
fn a_template_with_a_mistake_is_found_at_start() {
    let tree = tree("#let report = json(\"report.json\")\n#report.nothing\n");
    let error = typesetter(&tree).check().unwrap_err().to_string();
    assert!(
        error.contains("note/1: the report could not be laid out: note/main.typ:2:9: dictionary"),
        "{error}"
    );
}

#[test]
fn a_folder_of_templates_replaces_file_by_file() {
    let tree = tree("#import \"/gongwen/page.typ\": greeting\n#greeting");
    let gongwen = tree.path().join("gongwen");
    fs::create_dir(&gongwen).unwrap();
    fs::write(gongwen.join("page.typ"), "#let greeting = [替换了]").unwrap();
    let typesetter = typesetter(&tree);
    assert!(
        typesetter
            .templates()
            .edition("annual-report/2021")
            .is_some(),
        "the embedded ones stay"
    );
    let text = text_of(&typesetter.typeset(&note(&[])).unwrap());
    assert!(text.contains("替换了"), "{text}");
    let sha = |typesetter: &Typesetter| {
        typesetter
            .templates()
            .edition("annual-report/2021")
            .unwrap()
            .sha256
            .clone()
    };
    let plain = Typesetter::load(&settings(Path::new(""))).unwrap();
    assert_ne!(
        sha(&typesetter),
        sha(&plain),
        "gongwen is part of every edition"
    );
}

#[test]
fn every_mistake_in_the_catalogue_is_named() {
    let tree = tree(TEMPLATE);
    let toml = tree.path().join("note/typst.toml");
    let said = |text: &str| {
        fs::write(&toml, text).unwrap();
        Templates::load(Some(tree.path())).unwrap_err().to_string()
    };
    let package = "[package]\nversion = \"1.0.0\"\n";
    let error = said("[package\n");
    assert!(
        error.contains("note/typst.toml: TOML parse error at line 1"),
        "{error}"
    );
    let edition = "[tool.banshi.editions.1]\nentrypoint = \"a.typ\"\nform = \"x/1\"\n";
    let error = said(&format!("{package}{edition}"));
    assert!(
        error.contains("[tool.banshi.editions.1]: entrypoint note/a.typ does not exist"),
        "{error}"
    );
    let error = said(&format!(
        "{package}{}",
        edition.replace("a.typ", "main.typ").replace("x/1", "x")
    ));
    assert!(error.contains("form \"x\"; want NAME/EDITION"), "{error}");
    let error = said(&format!(
        "{package}{}",
        edition.replace("a.typ", "main.typ")
    ));
    assert!(error.contains("x/1/form.toml is missing"), "{error}");
    let edition = "[tool.banshi.editions.1]\nentrypoint = \"a.typ\"\n";
    fs::remove_file(tree.path().join("note/report.json")).unwrap();
    let error = said(&format!(
        "{package}{}",
        edition.replace("a.typ", "main.typ")
    ));
    assert!(error.contains("note/report.json is missing"), "{error}");
}

// What is refused.

#[test]
fn an_unknown_template_is_refused() {
    let manuscript = Manuscript {
        template: "note/9".to_owned(),
        ..note(&[])
    };
    let said = said(typesetter(&tree(TEMPLATE)).typeset(&manuscript));
    assert!(
        said.starts_with(
            "E-TEMPLATE /template there is no template \"note/9\"; there are annual-report/2019,"
        ),
        "{said}"
    );
}

#[test]
fn every_character_without_a_glyph_is_named_with_its_place() {
    let text = [
        "好的",
        "坏\u{1F600}的\u{E000}和\u{1F600}",
        "控\u{7}制\t",
        "又\u{1F600}",
    ];
    let problems = problems(typesetter(&tree(TEMPLATE)).typeset(&note(&text)));
    let found = problems.iter().map(|p| {
        (
            p.code,
            p.path.as_str(),
            p.message.split(" cannot").next().unwrap(),
        )
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            (
                Code::GLYPH,
                "/data/text/1",
                "the character “\u{1F600}” (U+1F600)"
            ),
            (Code::GLYPH, "/data/text/1", "the character U+E000"),
            (Code::GLYPH, "/data/text/2", "the character U+0007"),
            (Code::GLYPH, "/data/text/2", "the character U+0009"),
            (
                Code::GLYPH,
                "/data/text/3",
                "the character “\u{1F600}” (U+1F600)"
            ),
        ]
    );
    assert!(problems[0].message_zh.contains("“\u{1F600}”（U+1F600）"));
}

#[test]
fn a_missing_glyph_that_was_not_foreseen_is_named_too() {
    let mut manuscript = note(&["坏\u{1F600}的"]);
    manuscript.texts[0].1 = "别的".to_owned();
    let said = said(typesetter(&tree(TEMPLATE)).typeset(&manuscript));
    assert!(
        said.starts_with("E-GLYPH  the character “\u{1F600}” (U+1F600) cannot be drawn"),
        "{said}"
    );
}

/// Lays out every invisible or otherwise odd character that is let through, in the middle of Han,
/// of Latin, alone and at the end, so that none of them can stop a report later.
#[test]
fn what_passes_the_check_can_be_set() {
    let typesetter = typesetter(&tree(TEMPLATE));
    let odd = (0..0xA1).chain([0xAD, 0x34F, 0x61C, 0x115F, 0x180B, 0x180E, 0x3164]);
    let odd = odd
        .chain(0x2000..=0x2070)
        .chain([0x3000, 0xFEFF, 0xFFF0, 0xFFA0, 0xFFFC, 0xFFFD]);
    let odd = odd
        .chain(0xFE00..=0xFE0F)
        .chain([0xE0001, 0xE0020, 0xE0100, 0xE01EF, 0x300, 0x5D0]);
    let odd = odd
        .filter_map(char::from_u32)
        .filter(|&c| typesetter.fonts().covers(c))
        .collect::<Vec<_>>();
    let text = odd.iter().flat_map(|c| {
        [
            format!("前{c}后"),
            format!("a{c}b"),
            c.to_string(),
            format!("前{c}"),
        ]
    });
    let text = text.collect::<Vec<_>>();
    let text = text.iter().map(String::as_str).collect::<Vec<_>>();
    typesetter.typeset(&note(&text)).unwrap();
    let refused = [
        '\t', '\r', '\u{0}', '\u{7F}', '\u{2028}', '\u{3164}', '\u{E000}',
    ];
    assert_eq!(refused.map(|c| typesetter.fonts().covers(c)), [false; 7]);
    let passes = [
        '\n',
        ' ',
        '\u{3000}',
        '\u{200B}',
        '\u{AD}',
        '\u{E0100}',
        '㎡',
        '①',
        '䶮',
        'é',
        '−',
    ];
    assert_eq!(passes.map(|c| typesetter.fonts().covers(c)), [true; 11]);
}

/// Letters that run from right to left do, and stand in the text layer as they were sent.
#[test]
fn right_to_left_letters_are_set() {
    let typesetter = typesetter(&tree(TEMPLATE));
    let pdf = typesetter
        .typeset(&note(&["前שלום后12", "שלום 12 בא"]))
        .unwrap();
    let text = text_of(&pdf);
    assert!(text.contains("שלום") && text.contains("12"), "{text}");
}

/// A control of direction can make 1234 read 4321. The page shows what the data says.
#[test]
fn marks_of_direction_and_byte_order_change_nothing() {
    let typesetter = typesetter(&tree(TEMPLATE));
    let marked = "\u{FEFF}共\u{202E}1234\u{202C}件，\u{2067}甲乙\u{2069}\u{200F}（1）\u{200E}。";
    let marked = Manuscript {
        title: format!("\u{202E}{marked}"),
        ..note(&[marked])
    };
    let plain = Manuscript {
        title: "共1234件，甲乙（1）。".to_owned(),
        ..note(&["共1234件，甲乙（1）。"])
    };
    assert_eq!(
        typesetter.typeset(&marked).unwrap().bytes,
        typesetter.typeset(&plain).unwrap().bytes
    );
}

#[test]
fn a_report_over_its_pages_is_refused() {
    let mut settings = settings(tree(TEMPLATE).keep().as_path());
    settings.render.max_pages = 2;
    let typesetter = Typesetter::load(&settings).unwrap();
    let long = vec!["很长的一段。"; 100];
    let problems = problems(typesetter.typeset(&note(&long)));
    assert_eq!(problems[0].code, Code::LAYOUT);
    assert!(
        problems[0].message.contains("pages and may have 2"),
        "{}",
        problems[0].message
    );
    assert_eq!(problems[0].expected.as_deref(), Some("2"));
    fs::remove_dir_all(settings.templates.dir).unwrap();
}

// Faces.

#[test]
fn a_role_without_a_face_names_role_families_and_folders() {
    let mut fonts = settings(Path::new("")).fonts;
    fonts.roles.kaiti = vec!["Nowhere Kai".to_owned(), "Neither:500".to_owned()];
    let error = Fonts::load(&fonts).err().unwrap().to_string();
    assert!(
        error.contains(
            "fonts.roles.kaiti (楷体, the second level): none of Nowhere Kai, Neither is there"
        ),
        "{error}"
    );
    assert!(
        error.contains("/fonts") && error.contains("LXGW WenKai GB Lite"),
        "{error}"
    );
}

#[test]
fn a_missing_or_broken_face_is_named() {
    let mut fonts = settings(Path::new("")).fonts;
    fonts.dir = "/nowhere/fonts".into();
    let error = Fonts::load(&fonts).err().unwrap().to_string();
    assert!(
        error.contains("fonts.dir: can't open /nowhere/fonts"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken.ttf"), "no font").unwrap();
    fonts.dir = folder.path().to_owned();
    let error = Fonts::load(&fonts).err().unwrap().to_string();
    assert!(
        error.contains("broken.ttf is no font that can be read"),
        "{error}"
    );
}

/// 生僻字 are drawn by the faces of the last role, and the result says which and by what.
#[test]
fn rare_characters_are_drawn_by_the_fallback_and_listed() {
    let tree = tree(TEMPLATE);
    let mut settings = settings(tree.path());
    settings.fonts.more.clear();
    settings.fonts.roles.kaiti = vec!["Zhuque Fangsong (technical preview)".to_owned()];
    settings.fonts.roles.fallback = vec!["LXGW WenKai GB Lite".to_owned()];
    let typesetter = Typesetter::load(&settings).unwrap();
    let alone = |c: &char| typesetter.fonts().face_of(*c) == Some("LXGW WenKai GB Lite");
    let rare = ('\u{3400}'..'\u{4DB5}').filter(alone).take(2);
    let rare = rare.collect::<Vec<_>>();
    let (one, other) = (rare[0], rare[1]);
    let text = format!("联系人：王{other}、李{one}、张{other}。");
    let pdf = typesetter.typeset(&note(&[&text])).unwrap();
    let listed = |c: char| {
        serde_json::json!({
            "char": c,
            "code_point": format!("U+{:04X}", u32::from(c)),
            "face": "LXGWWenKaiGBLite-Regular",
        })
    };
    assert_eq!(
        serde_json::to_value(&pdf.rare).unwrap(),
        serde_json::json!([listed(one), listed(other)])
    );
    assert!(text_of(&pdf).contains(one));
    let plain = typesetter.typeset(&note(&["联系人：王小明。"])).unwrap();
    assert_eq!(plain.rare, []);
}

#[test]
fn quotes_come_from_a_face_that_has_them_full_width() {
    let fonts = Fonts::load(&settings(Path::new("")).fonts).unwrap();
    assert_eq!(fonts.face_of('“'), Some("Noto Serif CJK SC"));
    assert_eq!(
        fonts.face_of('仿'),
        Some("Zhuque Fangsong (technical preview)")
    );
    assert_eq!(fonts.face_of('7'), Some("Liberation Serif"));
    assert_eq!(fonts.face_of('㎡'), Some("Noto Serif CJK SC"));
    assert_eq!(fonts.face_of('\u{1F600}'), None);
}

/// The file that a typographer works with outside banshi says what banshi serves in its place.
#[test]
fn the_templates_own_list_of_faces_is_what_the_settings_give() {
    let mut settings = settings(Path::new("")).fonts;
    settings.more.clear();
    let served: serde_json::Value =
        serde_json::from_str(&Fonts::load(&settings).unwrap().json()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("typst-templates/gongwen/fonts.json");
    let listed: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(listed == served, "{} should be\n{served:#}", path.display());
}

// The settings of the pages.

#[test]
fn bands_are_filled_or_not_as_the_settings_say() {
    let report = fs::read_to_string(repository("typst-templates/annual-report/2021/report.json"));
    let manuscript = Manuscript {
        template: "annual-report/2021".to_owned(),
        view: report.unwrap(),
        texts: Vec::new(),
        ..note(&[])
    };
    let set = |bands| {
        let mut settings = settings(Path::new(""));
        settings.render.bands = bands;
        let typesetter = Typesetter::load(&settings).unwrap();
        let pdf = typesetter.typeset(&manuscript).unwrap();
        assert_eq!(pdf, typesetter.typeset(&manuscript).unwrap());
        tool(&pdf, "pdfinfo", &["-struct-text", "FILE"])
    };
    let filled = |tree: &str| {
        tree.matches("/BackgroundColor [0.776471 0.85098 0.945098]")
            .count()
    };
    assert_eq!(filled(&set(Bands::Blue)), 4);
    assert_eq!(filled(&set(Bands::None)), 0);
    // What a typographer works with outside banshi is the default.
    let listed = fs::read(repository("typst-templates/gongwen/settings.json")).unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let default = Settings::load(&[], []).unwrap().render.bands;
    assert_eq!(listed, serde_json::json!({ "bands": default }));
}

// The pool.

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_give_the_same_bytes_as_none() {
    let (tree, children) = (tree(TEMPLATE), Children::new());
    let mut settings = settings(tree.path());
    settings.render.threads = 2;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let manuscript = note(&["同一份报告，“同样”的字节。", "第二段。"]);
    let here = typesetter(&tree).typeset(&manuscript).unwrap();
    let (first, second) = tokio::join!(pool.typeset(&manuscript), pool.typeset(&manuscript));
    assert_eq!(first.unwrap(), here);
    assert_eq!(second.unwrap(), here);
    let problems = problems(pool.typeset(&note(&["坏\u{1F600}"])).await);
    assert_eq!(problems[0].path, "/data/text/0");
    assert_eq!(children.alive(), 2);
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_takes_too_long_costs_only_itself() {
    let (tree, children) = (tree(SLOW), Children::new());
    let mut settings = settings(tree.path());
    settings.render.deadline = 1;
    settings.render.threads = 2;
    let pool = Pool::start(&settings, children.program()).await.unwrap();
    let (endless, others) = (slow(4_000_000), slow(0));
    let (hung, quick) = tokio::join!(pool.typeset(&endless), async {
        let mut quick = Vec::new();
        for _ in 0..5 {
            quick.push(pool.typeset(&others).await);
        }
        quick
    });
    quick
        .into_iter()
        .for_each(|pdf| assert_eq!(pdf.unwrap().pages, 1));
    let said = said(hung);
    assert_eq!(
        said,
        "E-LAYOUT  the report could not be laid out: the typesetter was killed after 1 s \
         (render.deadline), twice"
    );
    pool.typeset(&others).await.unwrap();
    pool.close().await;
    assert_eq!(children.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_whose_typesetter_is_killed_is_set_by_the_next() {
    let (tree, children) = (tree(SLOW), Children::new());
    let pool = Pool::start(&settings(tree.path()), children.program())
        .await
        .unwrap();
    let report = slow(3_000);
    let (set, ()) = tokio::join!(pool.typeset(&report), async {
        wait(0.3).await;
        children.kill("-9");
    });
    assert_eq!(set.unwrap().pages, 1);
    assert_eq!(children.pids().len(), 2);
    // One that dies with nothing in hand is replaced too.
    children.kill("-9");
    wait(0.1).await;
    pool.typeset(&slow(0)).await.unwrap();
    assert_eq!(children.pids().len(), 3);
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typesetter_outlives_a_signal_to_stop() {
    let (tree, children) = (tree(SLOW), Children::new());
    let pool = Pool::start(&settings(tree.path()), children.program())
        .await
        .unwrap();
    children.kill("-TERM");
    children.kill("-INT");
    wait(0.1).await;
    pool.typeset(&slow(0)).await.unwrap();
    assert_eq!(children.pids().len(), 1);
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_the_answer_to_an_abandoned_report() {
    let (tree, children) = (tree(SLOW), Children::new());
    let pool = Pool::start(&settings(tree.path()), children.program())
        .await
        .unwrap();
    let report = slow(3_000);
    let left =
        tokio::time::timeout(std::time::Duration::from_millis(300), pool.typeset(&report)).await;
    assert!(left.is_err());
    let next = Manuscript {
        ident: "next".to_owned(),
        ..slow(0)
    };
    assert_eq!(
        pool.typeset(&next).await.unwrap(),
        typesetter(&tree).typeset(&next).unwrap()
    );
    assert_eq!(children.pids().len(), 2, "the child was replaced");
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pool_leaves_no_process() {
    let (tree, children) = (tree(SLOW), Children::new());
    let pool = Pool::start(&settings(tree.path()), children.program())
        .await
        .unwrap();
    assert_eq!(children.alive(), 1);
    drop(pool);
    wait(1.0).await;
    assert_eq!(children.alive(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_child_from_working_comes_through_the_pipe() {
    let tree = tree(TEMPLATE);
    let children = Children::new();
    let mut broken = settings(tree.path());
    broken.fonts.roles.heiti = vec!["Nowhere Hei".to_owned()];
    let outage = Pool::start(&broken, children.program())
        .await
        .err()
        .unwrap();
    assert_eq!(outage.part, Part::Fonts);
    assert!(
        outage.message.contains("none of Nowhere Hei is there"),
        "{outage}"
    );

    fs::write(tree.path().join("note/main.typ"), "#nothing").unwrap();
    let outage = Pool::start(&settings(tree.path()), children.program())
        .await
        .err()
        .unwrap();
    assert_eq!(outage.part, Part::Templates);
    assert!(
        outage
            .message
            .contains("note/main.typ:1:2: unknown variable: nothing"),
        "{outage}"
    );

    let none = Program {
        path: "/nowhere/banshi".into(),
        args: Vec::new(),
    };
    let outage = Pool::start(&settings(tree.path()), none)
        .await
        .err()
        .unwrap();
    assert!(
        outage
            .chain()
            .contains("can't start /nowhere/banshi: No such file"),
        "{}",
        outage.chain()
    );

    let quits = Program {
        path: "/bin/false".into(),
        args: Vec::new(),
    };
    let outage = Pool::start(&settings(tree.path()), quits)
        .await
        .err()
        .unwrap();
    assert!(
        outage
            .message
            .contains("a starting typesetter ended with exit code 1"),
        "{outage}"
    );
}

/// As the kernel kills for want of memory, or an operator by mistake: no reason for the worker to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_while_it_starts_is_started_again() {
    let tree = tree(SLOW);
    let mut settings = settings(tree.path());
    settings.render.threads = 1;
    let marks = tempfile::tempdir().unwrap();
    let start = |times: usize, name: &str| {
        let folder = marks.path().join(name);
        fs::create_dir(&folder).unwrap();
        let script = format!(
            "cd {}; if [ $(ls | wc -l) -lt {times} ]; then touch $$; kill -KILL $$; fi; \
             exec {} typesetter",
            folder.display(),
            env!("CARGO_BIN_EXE_banshi"),
        );
        let program = Program {
            path: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script],
        };
        Pool::start(&settings, program)
    };
    let pool = start(1, "once").await.unwrap();
    pool.typeset(&slow(1)).await.unwrap();
    pool.close().await;
    let outage = start(2, "twice").await.err().unwrap();
    assert!(outage.message.contains("SIGKILL"), "{outage}");
}

/// A child that is replaced after the templates changed would make other pages of the same job.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_child_with_other_templates_is_not_used() {
    let (tree, children) = (tree(SLOW), Children::new());
    let pool = Pool::start(&settings(tree.path()), children.program())
        .await
        .unwrap();
    fs::write(tree.path().join("note/main.typ"), format!("{SLOW}\n又一行")).unwrap();
    pool.typeset(&slow(0)).await.unwrap();
    children.kill("-9");
    wait(1.5).await;
    match pool.typeset(&slow(0)).await {
        Err(Failure::Outage(outage)) => {
            assert!(outage.message.contains("restart the worker"), "{outage}")
        }
        other => panic!("wanted an outage, got {other:?}"),
    }
    // As before again: the next child is one like the first.
    fs::write(tree.path().join("note/main.typ"), SLOW).unwrap();
    wait(2.5).await;
    pool.typeset(&slow(0)).await.unwrap();
    pool.close().await;
}

/// The pipe by hand: what a worker of another version would say.
#[test]
fn a_child_of_another_version_refuses() {
    use std::io::{Read, Write};
    let mut child = Command::new(env!("CARGO_BIN_EXE_banshi"))
        .arg("typesetter")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let hello = r#"{"Hello":{"protocol":999,"product":"banshi 9.9.9","setup":{"new":true}}}"#;
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(&u32::try_from(hello.len()).unwrap().to_be_bytes())
        .unwrap();
    input.write_all(hello.as_bytes()).unwrap();
    input.flush().unwrap();
    let mut reply = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut reply)
        .unwrap();
    let reply = String::from_utf8_lossy(&reply[4..]).into_owned();
    assert!(
        reply.contains("Refused") && reply.contains("the worker is banshi 9.9.9 (protocol 999)"),
        "{reply}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_child_whose_worker_is_gone_ends_in_the_middle_of_a_page() {
    use std::io::{Read, Write};
    let tree = tree(SLOW);
    let settings = settings(tree.path());
    let mut child = Command::new(env!("CARGO_BIN_EXE_banshi"))
        .arg("typesetter")
        // As its worker starts it: otherwise the allocator asks for more than `render.memory`.
        .env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut order = |order: serde_json::Value| {
        let order = order.to_string();
        input
            .write_all(&u32::try_from(order.len()).unwrap().to_be_bytes())
            .unwrap();
        input.write_all(order.as_bytes()).unwrap();
        input.flush().unwrap();
    };
    let setup = serde_json::json!({
        "fonts": settings.fonts, "templates": settings.templates, "render": settings.render,
        "digests": {},
    });
    let hello = serde_json::json!({
        "protocol": 6, "product": banshi::PRODUCT, "setup": setup,
    });
    order(serde_json::json!({ "Hello": hello }));
    let mut length = [0; 4];
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut length).unwrap();
    order(serde_json::json!({ "Set": { "number": 1, "manuscript": slow(4_000_000) } }));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    drop(input);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_some(), "it is still at it");
}
