//! What was signed of a report: a copy that adds nothing but signatures is told from one that
//! changes what it shows, and a signature beside a file from one of something else. Signed by
//! `pyHanko` and OpenSSL, and by hand where no program would.

use std::ops::Range;
use std::sync::LazyLock;

use banshi::signature::{self, Kind, Level, Refusal, Signature};
use serde_json::{Value, json};

use crate::a_changed_file_is_found::{Files, text};
use crate::support::jobs::corpus;
use crate::support::render;
use crate::support::signing::{Signer, Update, fill, hole, place, sign};

static STORED: LazyLock<Vec<u8>> = LazyLock::new(|| stored("zibo-bigdata-2020"));
static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new("rsa:2048"));

fn stored(name: &str) -> Vec<u8> {
    std::fs::read(render(&corpus(name)).path()).expect("the PDF")
}

/// A copy is none that only adds signatures, for a reason that is named.
#[track_caller]
fn refused(what: &str, copy: &[u8], why: &str) {
    let refusal = signature::copy(&STORED, copy).expect_err(what);
    let said = refusal.to_string();
    assert!(said.contains(why), "{what}: {why:?} in {said:?}");
    assert!(!refusal.zh().is_ascii(), "{what}: {}", refusal.zh());
}

fn why(answer: Result<Signature, Refusal>) -> String {
    answer.expect_err("refused").to_string()
}

/// The first page's content, and another object of the original.
fn content(update: &Update) -> u32 {
    let page = update.object(update.page);
    let (_, rest) = page.split_once("/Contents ").expect("its content");
    rest.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

/// The object that an entry of the catalog refers to.
fn of_catalog(update: &Update, key: &str) -> u32 {
    let catalog = update.object(update.catalog);
    let (_, rest) = catalog.split_once(key).expect("the entry");
    let number = rest.trim_start().split(' ').next();
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// A second field, which holds no signature and looks like this; and what is said of it.
fn empty(update: &mut Update, look: &str) -> String {
    let (page, field, number) = (update.page, update.field, update.field + 9);
    let (one, both) = (
        format!("[{field} 0 R]"),
        format!("[{field} 0 R {number} 0 R]"),
    );
    update.edit(page, &one, &both);
    update.edit(update.catalog, &one, &both);
    update.set(
        number,
        &format!("<</Type/Annot/Subtype/Widget/FT/Sig/T(b)/Rect[9 9 99 99]/F 4{look}>>"),
    );
    format!("object {number}, the field of a signature: it shows something and holds no signature")
}

const FORM: &str = "/Type/XObject/Subtype/Form/BBox[0 0 9 9]";

#[test]
fn copies_signed_once_and_twice_are_signed() {
    let files = Files::new();
    let other = Signer::new("ec -pkeyopt ec_paramgen_curve:P-256");
    let pingtan = stored("pingtan-2023");
    let once = SIGNER.copy(&STORED, "");
    files.add("once.pdf", &once);
    files.add("twice.pdf", &other.copy(&once, "--field Second"));
    files.add("other.pdf", &Update::signature(&pingtan).signed(&other));
    // What earlier builds have stored, without the line end.
    let earlier = &STORED[..STORED.len() - 1];
    files.add("earlier.pdf", &Update::signature(earlier).signed(&SIGNER));
    let (code, findings) = files.verify(&["once.pdf", "twice.pdf", "other.pdf", "earlier.pdf"]);
    for finding in &findings {
        assert_eq!(finding["verdict"], "signed", "{finding}");
        assert_eq!(finding["ok"], true, "{finding}");
    }
    assert_eq!(code, Some(0));
    let signature = &findings[0]["signatures"][0];
    let signer = "CN=test,O=平潭综合实验区,C=CN";
    for (key, value) in [
        ("kind", "signature"),
        ("signer", signer),
        ("issuer", signer),
        ("algorithm", "RSA PKCS#1 v1.5, SHA-256"),
        ("sub_filter", "ETSI.CAdES.detached"),
        ("level", "B-B"),
    ] {
        assert_eq!(signature[key], value, "{signature}");
    }
    assert_eq!(signature["covers"], once.len());
    assert_eq!(signature["time_stamped"], false);
    assert_eq!(signature["seal"], Value::Null);
    let at = text(signature, "at");
    assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
    let original = &findings[0]["original"];
    assert_eq!(original["verdict"], "authentic");
    assert_eq!(original["bytes"], STORED.len());
    assert_eq!(original["sha256"], banshi::digest::sha256(&STORED));
    let twice = findings[1]["signatures"].as_array().expect("a list");
    let algorithms: Vec<&str> = twice.iter().map(|one| text(one, "algorithm")).collect();
    assert_eq!(
        algorithms,
        ["RSA PKCS#1 v1.5, SHA-256", "ECDSA P-256, SHA-256"]
    );
    assert_eq!(findings[3]["original"]["verdict"], "equivalent");
    assert!(text(&findings[3], "message").contains("line end after %%EOF"));
}

#[test]
fn certificates_and_time_stamps_of_an_archival_signature_belong_to_it() {
    let signer = Signer::new("rsa:2048");
    signer.authority();
    let copy = signer.copy(&STORED, "--archival .");
    let signatures = signature::copy(&STORED, &copy).expect("a signed copy");
    let [first, stamp] = &signatures[..] else {
        panic!("{signatures:#?}")
    };
    assert_eq!(first.kind, Kind::Signature);
    assert_eq!(first.signer.as_deref(), Some("CN=certificate"));
    assert_eq!(first.issuer.as_deref(), Some("CN=authority"));
    assert_eq!(
        (first.time_stamped, first.level),
        (true, Some(Level::Archival))
    );
    assert_eq!(stamp.kind, Kind::TimeStamp);
    assert_eq!(stamp.signer.as_deref(), Some("CN=stamp"));
    assert!(stamp.at.is_some() && stamp.time_stamped);
    assert_eq!(first.stamped_by.as_deref(), Some("CN=stamp"));
    // Without what came last, which no signature covers: certificates alone.
    assert!(stamp.covers < copy.len());
    let signatures = signature::copy(&STORED, &copy[..stamp.covers]).expect("a signed copy");
    assert_eq!(signatures.len(), 2);
    let signatures = signature::copy(&STORED, &copy[..first.covers]).expect("a signed copy");
    assert_eq!(signatures[0].level, Some(Level::Stamped));
}

#[test]
fn a_seal_on_the_page_is_told_with_its_place() {
    let copy = Update::seal(&STORED).signed(&SIGNER);
    let signatures = signature::copy(&STORED, &copy).expect("a signed copy");
    let seal = signatures[0].seal.expect("a seal");
    assert_eq!((seal.page, seal.rect), (1, [400.0, 100.0, 500.0, 200.0]));
    assert_eq!(signatures[0].level, None, "it is no PAdES");
    assert_eq!(signatures[0].at.as_deref(), Some("2026-11-30T02:00:00Z"));
    let files = Files::new();
    files.add("sealed.pdf", &copy);
    let (code, findings) = files.verify(&["sealed.pdf"]);
    assert_eq!((code, text(&findings[0], "verdict")), (Some(0), "signed"));
    assert_eq!(findings[0]["signatures"][0]["seal"]["page"], 1);
    let (_, said, _) = files.say(&["sealed.pdf"]);
    for line in [
        "sealed.pdf: signed 已签名\n",
        "shown on page 1 from (400, 100) to (500, 200) pt",
        "the certificate's chain is not checked",
        "未核验证书链",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
}

#[test]
fn a_valid_signature_does_not_cover_up_a_change_of_what_is_shown() {
    type Change = fn(&mut Update) -> String;
    let changes: [(&str, Change); 30] = [
        ("a page's content is replaced", |update| {
            let number = content(update);
            update.stream(number, "", b"0 0 100 100 re f");
            format!("object {number} (stream) was replaced")
        }),
        ("a page's content is taken out", |update| {
            let number = content(update);
            update.freed.push(number);
            format!("object {number} was taken out")
        }),
        ("a page's box is another", |update| {
            let page = update.page;
            update.edit(page, "/MediaBox[", "/CropBox[0 0 100 100]/MediaBox[");
            format!("object {page}, page 1: /CropBox was changed")
        }),
        ("a note is added beside the signature", |update| {
            let (page, field, note) = (update.page, update.field, update.field + 9);
            let both = format!("[{field} 0 R {note} 0 R]");
            update.edit(page, &format!("[{field} 0 R]"), &both);
            update.set(
                note,
                "<</Type/Annot/Subtype/FreeText/Rect[0 0 99 99]/Contents(x)>>",
            );
            format!("object {note}, an annotation added on page 1, is no field of a signature")
        }),
        ("another catalog", |update| {
            let (catalog, other) = (update.catalog, update.field + 9);
            update.set(other, &update.object(catalog));
            update.trailer = update
                .trailer
                .replace(&format!("/Root {catalog}"), &format!("/Root {other}"));
            "the trailer names another catalog".to_owned()
        }),
        ("a script that runs when it is opened", |update| {
            update.add(update.catalog, "/OpenAction<</S/JavaScript/JS(app.alert)>>");
            format!(
                "object {}, the catalog: /OpenAction was changed",
                update.catalog
            )
        }),
        ("a script of the field", |update| {
            update.add(update.field, "/AA<</Fo<</S/JavaScript/JS(x)>>>>");
            format!(
                "object {}, the field of a signature: it has /AA",
                update.field
            )
        }),
        ("layers that hide and show", |update| {
            update.add(update.catalog, "/OCProperties<</OCGs[]/D<<>>>>");
            "/OCProperties was changed".to_owned()
        }),
        ("a layer in the seal", |update| {
            *update = Update::seal(&STORED);
            let form = update.field + 2;
            update.stream(form, "/Type/XObject/Subtype/Form/BBox[0 0 1 1]/OC<<>>", b"");
            format!("object {form} has /OC")
        }),
        ("a seal as large as the page", |update| {
            *update = Update::seal(&STORED);
            update.edit(update.field, "/Rect[400 100 500 200]", "/Rect[0 0 595 842]");
            "it is 595 by 842 points, a seal is of at most 200".to_owned()
        }),
        (
            "a seal that shows something else when it is pointed at",
            |update| {
                *update = Update::seal(&STORED);
                let form = update.field + 2;
                update.edit(update.field, "/AP<<", &format!("/AP<</R {form} 0 R"));
                "what it shows is not one new form".to_owned()
            },
        ),
        ("a seal that shows a part of the report", |update| {
            *update = Update::seal(&STORED);
            let (form, number) = (update.field + 2, content(update));
            update.edit(update.field, &format!("/N {form}"), &format!("/N {number}"));
            "what it shows is not one new form".to_owned()
        }),
        ("a seal that is only printed", |update| {
            *update = Update::seal(&STORED);
            update.edit(update.field, "/F 132", "/F 36");
            "it is not shown on screen and paper alike (F 36)".to_owned()
        }),
        ("a seal that stays as large when it is zoomed", |update| {
            *update = Update::seal(&STORED);
            update.edit(update.field, "/F 132", "/F 140");
            "it is not zoomed and turned with the page (F 140)".to_owned()
        }),
        ("a seal that stays upright when it is turned", |update| {
            *update = Update::seal(&STORED);
            update.edit(update.field, "/F 132", "/F 148");
            "it is not zoomed and turned with the page (F 148)".to_owned()
        }),
        ("a field that paints and holds no signature", |update| {
            let form = update.field + 10;
            update.stream(form, FORM, b"0 0 9 9 re f");
            empty(update, &format!("/AP<</N {form} 0 R>>"))
        }),
        ("a field that a viewer paints by itself", |update| {
            empty(update, "/MK<</BG[1 1 1]>>")
        }),
        ("a seal of what is still to come", |update| {
            *update = Update::seal(&STORED);
            let (form, later) = (update.field + 2, update.field + 99);
            let of = format!(
                "/Type/XObject/Subtype/Form/BBox[0 0 1 1]/Resources<</XObject<</P {later} 0 R>>>>"
            );
            update.stream(form, &of, b"/P Do");
            format!("refers to object {later}, which is not there")
        }),
        (
            "a seal among the certificates, which may change",
            |update| {
                *update = Update::seal(&STORED);
                let form = update.field + 2;
                update.add(update.catalog, &format!("/DSS<</Certs[{form} 0 R]>>"));
                format!("object {form} is used both as certificates and otherwise")
            },
        ),
        ("a tag that is none of the seal's", |update| {
            *update = Update::seal(&STORED);
            update.edit(update.field + 4, "/S/Form", "/S/P/ActualText(x)");
            "an added tag, is not the Form of a signature's field".to_owned()
        }),
        ("a tag that reads otherwise", |update| {
            *update = Update::seal(&STORED);
            let root = of_catalog(update, "/StructTreeRoot ");
            update.edit(root, "/RoleMap<<", "/RoleMap<</Table/P");
            format!("object {root}, the root of the tags: /RoleMap was changed")
        }),
        ("tags within the catalog", |update| {
            let root = of_catalog(update, "/StructTreeRoot ");
            let (from, to) = (format!("/StructTreeRoot {root} 0 R"), update.object(root));
            update.edit(update.catalog, &from, &format!("/StructTreeRoot{to}"));
            "the catalog: /StructTreeRoot was changed".to_owned()
        }),
        ("metadata within the catalog", |update| {
            let from = format!("/Metadata {} 0 R", of_catalog(update, "/Metadata "));
            update.edit(update.catalog, &from, "/Metadata<</Type/Metadata>>");
            "the catalog: /Metadata was changed".to_owned()
        }),
        ("another attachment", |update| {
            let catalog = update.catalog;
            update.edit(catalog, "(report.json)", "(other.json)");
            "/Names was changed".to_owned()
        }),
        ("another title", |update| {
            let (_, info) = update
                .trailer
                .split_once("/Info ")
                .expect("the information");
            let info = info
                .split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number");
            update.edit(info, "/Creator(", "/Creator(x");
            format!("object {info}, the document information: /Creator was changed")
        }),
        ("other metadata", |update| {
            let metadata = of_catalog(update, "/Metadata ");
            let packet = update.object(metadata);
            let (_, packet) = packet.split_once("stream\n").expect("a stream");
            let packet = packet.strip_suffix("\nendstream").expect("its end");
            let packet = packet.replace("2020年", "2021年");
            update.stream(metadata, "/Type/Metadata/Subtype/XML", packet.as_bytes());
            format!("object {metadata}, the metadata: /{{http://purl.org/dc/elements/1.1/}}")
        }),
        ("an object that nothing needs yet", |update| {
            let number = update.field + 9;
            update.set(number, "<</Type/Page>>");
            format!("object {number} (/Page) was added and belongs to no signature")
        }),
        ("an object that no table names", |update| {
            update.hidden = "999 0 obj\n<</Type/Page>>\nendobj\n".to_owned();
            "bytes that belong to no object of the cross-reference table".to_owned()
        }),
        ("a key twice, of which readers choose", |update| {
            update.add(update.field, "/Rect[0 0 1 1]");
            "an object that can't be read as the standard writes it".to_owned()
        }),
        ("a second table for other readers", |update| {
            update.trailer += "/XRefStm 9";
            "the trailer has /XRefStm".to_owned()
        }),
    ];
    for (what, change) in changes {
        let mut update = Update::signature(&STORED);
        let why = change(&mut update);
        refused(what, &update.signed(&SIGNER), &why);
    }
    let file = Update::signature(&STORED).bytes();
    let (size, root) = (place(&file, b"/Size "), place(&file, b"/Root "));
    let short = [&file[..size], b"/Size 3", &file[root..]].concat();
    let why = "the trailer's Size leaves objects out";
    refused(
        "objects that the trailer leaves out",
        &sign(short, &SIGNER),
        why,
    );
    let copy = Update::signature(&STORED).signed(&SIGNER);
    assert_eq!(
        signature::copy(&STORED, &copy)
            .expect("unchanged, it is one")
            .len(),
        1
    );
}

#[test]
fn a_signature_does_not_cover_up_an_empty_field_of_an_update_before_it() {
    let whole = Update::signature(&STORED);
    let look = |shown: bool| {
        let mut first = Update::nothing(&STORED);
        let (catalog, page, field) = (first.catalog, first.page, first.field);
        first.add(
            catalog,
            &format!("/AcroForm<</Fields[{field} 0 R]/SigFlags 3>>"),
        );
        first.add(page, &format!("/Annots[{field} 0 R]"));
        let look = match shown {
            true => format!("/AP<</N {} 0 R>>", field + 1),
            false => String::new(),
        };
        if shown {
            first.stream(field + 1, FORM, b"0 0 9 9 re f");
        }
        let widget = "<</Type/Annot/Subtype/Widget/FT/Sig/T(a)/Rect[9 9 99 99]/F 4";
        first.set(field, &format!("{widget}{look}>>"));
        let mut second = Update::nothing(&first.bytes());
        let (one, both) = (
            format!("[{field} 0 R]"),
            format!("[{field} 0 R {} 0 R]", second.field),
        );
        second.edit(catalog, &one, &both);
        second.edit(page, &one, &both);
        let v = |number: u32| format!("/V {number} 0 R");
        let signed = whole.object(whole.field);
        let signed = signed.replace(&v(whole.signature), &v(second.signature));
        second.set(second.field, &signed);
        second.set(second.signature, &whole.object(whole.signature));
        (field, second.signed(&SIGNER))
    };
    let (_, copy) = look(false);
    assert_eq!(signature::copy(&STORED, &copy).expect("signed").len(), 1);
    let (field, copy) = look(true);
    refused(
        "a field that paints",
        &copy,
        &format!("object {field}, the field of a signature: it shows something"),
    );
}

#[test]
fn a_seal_that_can_show_text_is_told_whatever_brings_the_face() {
    let tile = "/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 9 9]/XStep 9/YStep 9";
    let picture = Update::seal(&STORED).signed(&SIGNER);
    let mut seals = vec![("a picture", picture, false)];
    // In the resources of the seal: N is the font, M has it in its own.
    for (what, resources) in [
        ("a font", "/Font<</F N 0 R>>"),
        ("a graphics state", "/ExtGState<</G<</Font[N 0 R 9]>>>>"),
        ("a pattern", "/Pattern<</T M 0 R>>"),
        ("a mask", "/ExtGState<</G<</SMask<</S/Alpha/G M 0 R>>>>>>"),
    ] {
        let mut update = Update::seal(&STORED);
        let (font, with) = (update.field + 9, update.field + 10);
        update.set(font, "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>");
        if resources.contains('M') {
            let entries = if what == "a pattern" { tile } else { FORM };
            let entries = format!("{entries}/Resources<</Font<</F {font} 0 R>>>>");
            update.stream(with, &entries, b"BT /F 9 Tf (x) Tj ET");
        }
        let resources = resources.replace("N 0 R", &format!("{font} 0 R"));
        let resources = resources.replace("M 0 R", &format!("{with} 0 R"));
        let to = format!("/Resources<<{resources}");
        update.edit(update.field + 2, "/Resources<<", &to);
        seals.push((what, update.signed(&SIGNER), true));
    }
    for (what, copy, text) in seals {
        let signatures = signature::copy(&STORED, &copy);
        let signatures = signatures.unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
        assert_eq!(signatures[0].seal.expect("a seal").text, text, "{what}");
    }
}

#[test]
fn what_comes_after_the_last_signature_is_found() {
    let signed = Update::seal(&STORED).signed(&SIGNER);
    let after = |change: fn(&mut Update)| {
        let mut update = Update::nothing(&signed);
        change(&mut update);
        update.bytes()
    };
    refused("a byte", &[&signed[..], b"x"].concat(), "");
    refused("lines", &[&signed[..], b"\n\n"].concat(), "");
    refused(
        "nothing at all",
        &after(|_| {}),
        "is covered by no signature",
    );
    refused(
        "a field without a signature",
        &after(|update| {
            let (catalog, form) = (update.catalog, update.field);
            let fields = format!("/Fields[{} 0 R", form - 5);
            update.edit(catalog, &fields, &format!("{fields} {form} 0 R"));
            update.set(
                form,
                "<</Type/Annot/Subtype/Widget/FT/Sig/T(b)/Rect[0 0 0 0]>>",
            );
        }),
        "is covered by no signature",
    );
    refused(
        "another page",
        &after(|update| {
            let number = content(update);
            update.stream(number, "", b"");
        }),
        "(stream) was replaced",
    );
    // And with another signature over it.
    let update = Update::signature(&STORED);
    let second = {
        let mut second = Update::nothing(&signed);
        let (field, signature) = (second.field, second.signature);
        let first = field - 5;
        let catalog = second.catalog;
        second.edit(
            catalog,
            &format!("/Fields[{first} 0 R"),
            &format!("/Fields[{first} 0 R {field} 0 R"),
        );
        for (from, to) in [(update.field, field), (update.signature, signature)] {
            let object = update.object(from).replace("(Seal)", "(Second)");
            let v = format!("/V {} 0 R", update.signature);
            second.set(to, &object.replace(&v, &format!("/V {signature} 0 R")));
        }
        second
    };
    let twice = second.signed(&SIGNER);
    let signatures = signature::copy(&STORED, &twice).expect("signed twice");
    assert_eq!(signatures.len(), 2);
    let seal = second.field - 3;
    let mut changed = second;
    changed.stream(seal, "/Type/XObject/Subtype/Form/BBox[0 0 1 1]", b"");
    refused(
        "another picture in the first seal",
        &changed.signed(&SIGNER),
        &format!("object {seal} (/XObject) was replaced"),
    );
    let first = changed.field - 5;
    changed.edit(first, "/Rect[400", "/Rect[300");
    refused(
        "the first seal elsewhere",
        &changed.signed(&SIGNER),
        &format!("object {first}, a field that was signed before, was replaced"),
    );
}

#[test]
fn a_signature_is_over_all_of_its_revision_or_none() {
    let signed = Update::signature(&STORED).signed(&SIGNER);
    let edited = |from: &str, to: &str| {
        let at = place(&signed, from.as_bytes());
        [&signed[..at], to.as_bytes(), &signed[at + from.len()..]].concat()
    };
    let mut changed = signed.clone();
    changed[1000] ^= 1;
    refused(
        "a byte of the original",
        &changed,
        "other bytes from byte 1000 on",
    );
    refused(
        "cut off",
        &signed[..STORED.len() - 1],
        "does not begin with the original",
    );
    refused("nothing added", &STORED, "nothing was signed");
    refused(
        "another date",
        &edited("D:20261130", "D:20271130"),
        "the digests differ",
    );
    let number = Update::signature(&STORED).signature;
    let digits = |at: usize| format!("{at:010}");
    let Range { start: hole, end } = hole(&signed);
    let rest = signed.len() - end;
    refused(
        "a wider hole",
        &edited(&digits(hole), &digits(hole - 9)),
        &format!("object {number}, a signature: its ByteRange leaves out bytes"),
    );
    refused(
        "a shorter end",
        &edited(&digits(rest), &digits(rest - 7)),
        "its ByteRange ends at byte",
    );
    refused(
        "a longer end",
        &edited(&digits(rest), &digits(rest + 7)),
        "its ByteRange ends at byte",
    );
    refused(
        "not from the first byte",
        &edited("/ByteRange[0 ", "/ByteRange[1 "),
        "no ByteRange of two",
    );
    let mut more = signed.clone();
    more[end - 3] = b'1';
    refused("more in the hole", &more, "more than zeros follow");
    let mut other = signed.clone();
    fill(&mut other, &SIGNER.cms(b"something else", ""));
    refused(
        "the signature of something else",
        &other,
        "the digests differ",
    );
    let mut other = signed.clone();
    let covered = [&signed[..hole], &signed[end..]].concat();
    fill(&mut other, &SIGNER.cms(&covered, "-nodetach")[..4000]);
    refused("half a signature", &other, "");
    let unsupported = edited("adbe.pkcs7.detached", "adbe.pkcs7.sha1aaaa");
    refused(
        "an old kind",
        &unsupported,
        "its SubFilter \"adbe.pkcs7.sha1aaaa\" is none of",
    );
    let mut weak = signed.clone();
    fill(&mut weak, &SIGNER.cms(&covered, "-md sha1"));
    refused("a digest that has fallen", &weak, "is none of SHA-256");
}

/// Within the hole stand certificates, too, of which not every byte is signed by this one.
#[test]
fn no_byte_of_what_was_added_can_be_changed_or_cut_off() {
    let signed = Update::seal(&STORED).signed(&SIGNER);
    let hole = hole(&signed);
    for place in (STORED.len()..signed.len()).step_by(97) {
        let mut changed = signed.clone();
        changed[place] ^= 1;
        let answer = signature::copy(&STORED, &changed);
        assert!(hole.contains(&place) || answer.is_err(), "byte {place}");
        let cut = signature::copy(&STORED, &signed[..place]);
        assert!(cut.is_err(), "cut at {place}");
    }
}

#[test]
fn what_would_take_all_time_is_refused() {
    let after = |what: &str| [&STORED[..], what.as_bytes()].concat();
    for open in ["[", "<<", "<</A", "[<</A "] {
        let at = STORED.len();
        let deep = open.repeat(200_000);
        let table = format!("xref\n0 0\ntrailer\n{deep}\nstartxref\n{at}\n%%EOF\n");
        refused(open, &after(&table), &format!("byte {at}"));
    }
    let circle = format!(
        "xref\n0 0\ntrailer\n<</Prev {0}>>\nstartxref\n{0}\n%%EOF\n",
        STORED.len()
    );
    refused("a circle of tables", &after(&circle), "do not lead back");
    let mut update = Update::seal(&STORED);
    let form = update.field + 2;
    let itself =
        format!("/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</P {form} 0 R>>>>");
    update.stream(form, &itself, b"");
    let picture = form + 1;
    refused(
        "a form in itself, and a picture of nobody",
        &update.signed(&SIGNER),
        &format!("object {picture} (/XObject) was added and belongs to no signature"),
    );
    let mut update = Update::seal(&STORED);
    let (root, large) = (of_catalog(&update, "/StructTreeRoot "), update.field + 9);
    update.set(large, &format!("[{}]", "0 ".repeat(500_000)));
    let pairs = (10_000..40_000).map(|key| format!(" {key} {large} 0 R"));
    let last = format!("9999 {} 0 R", update.field + 4);
    let more = pairs.collect::<String>();
    update.edit(root, &last, &format!("{last}{more}"));
    refused(
        "a large object as a tag time and again",
        &update.signed(&SIGNER),
        &format!("object {large}, an added tag, is not the Form of a signature's field"),
    );
    for values in [1_100_000, 900_000] {
        let mut update = Update::signature(&STORED);
        let first = update.field + 9;
        for number in first..first + 8 {
            update.set(number, &format!("[{}]", "0 ".repeat(values)));
        }
        let why = match values {
            900_000 => "more was added than is ever read",
            _ => "can't be read as the standard writes it",
        };
        refused(
            "objects of nothing but values",
            &update.signed(&SIGNER),
            why,
        );
    }
    let mut update = Update::signature(&STORED);
    let (field, length) = (update.field, update.field + 9);
    update.set(length, &format!("{}5", " ".repeat(4 << 20)));
    for number in length + 1..length + 1_500 {
        let stream = format!("<</Length {length} 0 R>>\nstream\n12345\nendstream");
        update.set(number, &stream);
    }
    refused(
        "a length that takes long to read",
        &update.signed(&SIGNER),
        "an object that can't be read as the standard writes it",
    );
    let mut update = Update::signature(&STORED);
    for number in 0..2_000 {
        update.set(field + 9 + number, "0");
    }
    refused(
        "more objects than a signature needs",
        &update.signed(&SIGNER),
        "no cross-reference table of entries of 20 bytes",
    );
    let mut update = Update::signature(&STORED);
    let more = field + 9..field + 9 + 64;
    let each = more.clone().map(|number| format!(" {number} 0 R"));
    let fields = format!("/Fields[{field} 0 R");
    let all = format!("{fields}{}", each.collect::<String>());
    update.edit(update.catalog, &fields, &all);
    for number in more {
        let widget = "<</Type/Annot/Subtype/Widget/FT/Sig/T(b)/Rect[0 0 0 0]>>";
        update.set(number, widget);
    }
    refused(
        "a field too many",
        &update.signed(&SIGNER),
        "an update brings more than 64 fields",
    );
    let mut update = Update::signature(&STORED);
    let again = format!("{fields}{}", format!(" {field} 0 R").repeat(100_000));
    update.edit(update.catalog, &fields, &again);
    refused(
        "a field time and again",
        &update.signed(&SIGNER),
        "a field stands in it twice",
    );
}

#[test]
fn a_signature_beside_a_file_is_of_it() {
    let p256 = Signer::new("ec -pkeyopt ec_paramgen_curve:P-256");
    let p384 = Signer::new("ec -pkeyopt ec_paramgen_curve:P-384");
    let pss = "-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:digest";
    for (signer, more, algorithm) in [
        (
            &*SIGNER,
            "-md sha256".to_owned(),
            "RSA PKCS#1 v1.5, SHA-256",
        ),
        (
            &*SIGNER,
            "-md sha512 -noattr".to_owned(),
            "RSA PKCS#1 v1.5, SHA-512",
        ),
        (&*SIGNER, format!("-md sha384 {pss}"), "RSA PSS, SHA-384"),
        (
            &p256,
            "-md sha256 -keyid".to_owned(),
            "ECDSA P-256, SHA-256",
        ),
        (&p384, "-md sha384".to_owned(), "ECDSA P-384, SHA-384"),
    ] {
        let held = signature::detached(&STORED, &signer.cms(&STORED, &more), None);
        let held = held.unwrap_or_else(|refusal| panic!("{algorithm}: {refusal}"));
        assert_eq!(held.algorithm, algorithm);
        assert_eq!(held.kind, Kind::Detached);
        assert_eq!(
            held.signer.as_deref(),
            Some("CN=test,O=平潭综合实验区,C=CN")
        );
        assert_eq!(held.covers, STORED.len());
        assert_eq!(held.at.is_some(), !more.contains("-noattr"));
        let other = signature::detached(b"other", &signer.cms(&STORED, &more), None);
        assert!(other.is_err(), "{algorithm}");
    }
    // As PEM, without its certificate, and by another.
    let cms = SIGNER.cms(&STORED, "-outform PEM");
    assert!(signature::detached(&STORED, &cms, None).is_ok());
    let bare = SIGNER.cms(&STORED, "-nocerts");
    let certificate = SIGNER.read("certificate.pem");
    let said = why(signature::detached(&STORED, &bare, None));
    assert!(said.contains("does not bring the certificate"), "{said}");
    let held = signature::detached(&STORED, &bare, Some(&certificate)).expect("it holds");
    assert!(held.serial.is_some());
    let other = p256.read("certificate.pem");
    let said = why(signature::detached(&STORED, &cms, Some(&other)));
    assert!(
        said.contains("another certificate than the one given"),
        "{said}"
    );
    let said = why(signature::detached(&STORED, &bare, Some(b"x")));
    assert!(
        said.contains("no PEM of a CERTIFICATE or a PUBLIC KEY"),
        "{said}"
    );
    let said = why(signature::detached(
        &STORED,
        &SIGNER.cms(&STORED, "-nodetach"),
        None,
    ));
    assert!(said.contains("a content of its own"), "{said}");
    let said = why(signature::detached(&STORED, b"{}", None));
    assert!(said.contains("no SignedData"), "{said}");
    // No damage brings it down, and none makes it another's.
    let cms = SIGNER.cms(b"{}", "");
    for place in 0..cms.len() {
        let mut changed = cms.clone();
        changed[place] ^= 1;
        let _answer = signature::detached(b"{}", &changed, None);
        assert!(
            signature::detached(b"[]", &changed, None).is_err(),
            "byte {place}"
        );
        assert!(
            signature::detached(b"{}", &cms[..place], None).is_err(),
            "cut at {place}"
        );
    }
}

/// DER: a tag, and parts one after the other.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = u16::try_from(value.len()).expect("short").to_be_bytes();
    let length = match value.len() {
        0..=127 => vec![length[1]],
        128..=255 => vec![0x81, length[1]],
        _ => vec![0x82, length[0], length[1]],
    };
    [&[tag][..], &length, &value].concat()
}

/// OpenSSL 3.0 signs with SM2, but makes no CMS of it: this is put together as GB/T 35275 says.
#[test]
fn sm2_signs_alone_and_in_a_cms() {
    let identity = "distid:1234567812345678";
    let signer = Signer::with("sm2", &format!("-sm3 -sigopt {identity}"));
    let sign = |message: &[u8]| {
        std::fs::write(signer.path("message"), message).expect("a file");
        signer.run(
            "openssl",
            &format!(
                "pkeyutl -sign -inkey key.pem -rawin -digest sm3 -pkeyopt {identity} -in message \
                 -out signature"
            ),
        );
        signer.read("signature")
    };
    let alone = sign(&STORED);
    signer.run(
        "openssl",
        "x509 -in certificate.pem -pubkey -noout -out public.pem",
    );
    signer.run(
        "openssl",
        "x509 -in certificate.pem -outform DER -out certificate.der",
    );
    let (certificate, public) = (signer.read("certificate.pem"), signer.read("public.pem"));
    let held = signature::detached(&STORED, &alone, Some(&certificate)).expect("it holds");
    assert_eq!(held.algorithm, "SM2, SM3");
    assert_eq!(
        held.signer.as_deref(),
        Some("CN=test,O=平潭综合实验区,C=CN")
    );
    let held = signature::detached(&STORED, &alone, Some(&public)).expect("it holds");
    assert_eq!(held.signer, None);
    assert!(why(signature::detached(b"other", &alone, Some(&public))).contains("not made of this"));
    assert!(why(signature::detached(&STORED, &alone, None)).contains("give the certificate"));
    let other = SIGNER.read("certificate.pem");
    assert!(why(signature::detached(&STORED, &alone, Some(&other))).contains("of SM2 only"));

    let oid = |dotted: &str| {
        let ran = signer.run(
            "openssl",
            &format!("asn1parse -genstr OID:{dotted} -noout -out oid"),
        );
        assert!(ran.is_empty(), "{ran}");
        signer.read("oid")
    };
    let cms = |content_type: &str, with_attributes: bool| {
        signer.run("openssl", "dgst -sm3 -binary -out digest stored");
        let digest = signer.read("digest");
        let certificate = signer.read("certificate.der");
        let parsed = der_issuer_and_serial(&certificate);
        let sm3 = der(0x30, &[&oid("1.2.156.10197.1.401")]);
        let kind = oid(content_type);
        let attributes = [
            der(0x30, &[&oid("1.2.840.113549.1.9.3"), &der(0x31, &[&kind])]),
            der(
                0x30,
                &[
                    &oid("1.2.840.113549.1.9.4"),
                    &der(0x31, &[&der(4, &[&digest])]),
                ],
            ),
        ];
        let attributes = attributes.concat();
        let (signed, shown) = match with_attributes {
            true => (sign(&der(0x31, &[&attributes])), der(0xA0, &[&attributes])),
            false => (sign(&STORED), Vec::new()),
        };
        let info = der(
            0x30,
            &[
                &der(2, &[&[1]]),
                &parsed,
                &sm3,
                &shown,
                &der(0x30, &[&oid("1.2.156.10197.1.501")]),
                &der(4, &[&signed]),
            ],
        );
        let data = der(
            0x30,
            &[
                &der(2, &[&[1]]),
                &der(0x31, &[&sm3]),
                &der(0x30, &[&kind]),
                &der(0xA0, &[&certificate]),
                &der(0x31, &[&info]),
            ],
        );
        let outer = content_type.replace("4.2.1", "4.2.2").replace("7.1", "7.2");
        der(0x30, &[&oid(&outer), &der(0xA0, &[&data])])
    };
    std::fs::write(signer.path("stored"), &*STORED).expect("a file");
    for content_type in ["1.2.156.10197.6.1.4.2.1", "1.2.840.113549.1.7.1"] {
        for with_attributes in [true, false] {
            let signature = cms(content_type, with_attributes);
            let held = signature::detached(&STORED, &signature, None);
            let held = held.unwrap_or_else(|refusal| panic!("{content_type}: {refusal}"));
            assert_eq!(held.algorithm, "SM2, SM3");
            assert!(signature::detached(b"other", &signature, None).is_err());
        }
    }
}

/// The issuer and the serial number of a certificate, as a CMS names it.
fn der_issuer_and_serial(certificate: &[u8]) -> Vec<u8> {
    let item = |bytes: &[u8]| -> (usize, usize) {
        match bytes[1] {
            length @ 0..=127 => (2, usize::from(length)),
            0x81 => (3, usize::from(bytes[2])),
            _ => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        }
    };
    let (head, _) = item(certificate);
    let tbs = &certificate[head..];
    let (head, _) = item(tbs);
    let mut rest = &tbs[head..];
    let mut next = || {
        let (head, length) = item(rest);
        let (one, after) = rest.split_at(head + length);
        rest = after;
        one.to_vec()
    };
    let (_version, serial, _algorithm, issuer) = (next(), next(), next(), next());
    der(0x30, &[&issuer, &serial])
}

#[test]
fn verify_tells_of_the_signature_beside_a_file() {
    let files = Files::new();
    files.add("a.pdf", &STORED);
    files.add("a.p7s", &SIGNER.cms(&STORED, ""));
    files.add("other.p7s", &SIGNER.cms(b"other", ""));
    let with = ["--format", "json", "--signature"];
    let (code, findings) = files.verify_with(&[&with[..], &["a.p7s"]].concat(), &["a.pdf"], &[]);
    assert_eq!(code, Some(0));
    assert_eq!(findings[0]["verdict"], "authentic");
    assert_eq!(
        findings[0]["signature"],
        json!({ "holds": true, "faults": [] })
    );
    assert_eq!(findings[0]["signatures"][0]["kind"], "detached");
    let (code, findings) =
        files.verify_with(&[&with[..], &["other.p7s"]].concat(), &["a.pdf"], &[]);
    assert_eq!(code, Some(1));
    assert_eq!(findings[0]["ok"], false);
    assert_eq!(findings[0]["signature"]["holds"], false);
    let faults = findings[0]["signature"]["faults"].to_string();
    assert!(
        faults.contains("the digests differ") && faults.contains("摘要不符"),
        "{faults}"
    );
    assert_eq!(findings[0]["signatures"], json!([]));
    let (code, said, _) = files.say(&["--signature", "other.p7s", "a.pdf"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("the signature beside it does not hold"),
        "{said}"
    );
    assert!(said.contains("旁附的签名无效"), "{said}");
    let (code, _, error) = files.say(&["--signature", "a.p7s", "a.pdf", "a.pdf"]);
    assert_eq!(code, Some(2), "{error}");
}
