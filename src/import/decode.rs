//! What a file is, by its content, and its text.

use encoding_rs::{Encoding, GB18030, UTF_8};

use super::Unusable;

/// The kinds of files that are read.
pub(super) enum Kind {
    /// A PDF, of banshi or not.
    Pdf,
    /// A ZIP archive, as a workbook is.
    Zip,
    /// A web page.
    Html(String),
    /// Any other text.
    Text(String),
}

/// What other files begin with, what they are then, and what to do.
const OTHERS: [(&[u8], &str, &str); 9] = [
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Word or Excel file, or one with a password: save it as .xlsx or as a web page, \
         without a password",
        "旧版Word、Excel文件，或加了密码的文件：请去掉密码，另存为.xlsx或网页",
    ),
    (
        b"\x1f\x8b",
        "compressed with gzip: unpack it first",
        "gzip压缩数据：请先解压",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "a 7z archive: unpack it first",
        "7z压缩包：请先解压",
    ),
    (
        b"Rar!",
        "a RAR archive: unpack it first",
        "RAR压缩包：请先解压",
    ),
    (
        b"{\\rtf",
        "RTF: save it as a web page or as text",
        "RTF文件：请另存为网页或文本",
    ),
    (
        b"\x89PNG",
        "a picture: there is no text in it",
        "图片，其中没有文字",
    ),
    (
        b"\xff\xd8\xff",
        "a picture: there is no text in it",
        "图片，其中没有文字",
    ),
    (
        b"GIF8",
        "a picture: there is no text in it",
        "图片，其中没有文字",
    ),
    (
        b"MIME-Version:",
        "a web archive (.mht): save the page as .html",
        "单个文件网页（.mht）：请另存为.html",
    ),
];

/// What a file is.
pub(super) fn kind(bytes: &[u8]) -> Result<Kind, Unusable> {
    if bytes.starts_with(b"%PDF-") {
        return Ok(Kind::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(Kind::Zip);
    }
    if let Some((_, en, zh)) = OTHERS
        .into_iter()
        .find(|(mark, ..)| bytes.starts_with(mark))
    {
        return Err(Unusable::new(format!("it is {en}"), format!("这是{zh}")));
    }
    let text = text(bytes)?;
    let start = text.trim_start();
    if start.is_empty() {
        return Err(Unusable::new("it is empty", "文件是空的"));
    }
    if start.starts_with(['{', '[']) {
        return Err(Unusable::new(
            "it seems to be JSON: a job is not imported, `banshi check` takes it as it is",
            "似为JSON：任务无需导入，可直接交给banshi check",
        ));
    }
    Ok(match is_html(start) {
        true => Kind::Html(text),
        false => Kind::Text(text),
    })
}

/// How far the tags of a web page, and what it says of its encoding, are looked for, in bytes.
const HEAD: usize = 64 << 10;

/// Whether a text has tags in it, by those that every page has some of.
fn is_html(text: &str) -> bool {
    const TAGS: [&str; 7] = [
        "<!doctype html",
        "<html",
        "<body",
        "<table",
        "<div",
        "<p",
        "<br",
    ];
    let head = &text.as_bytes()[..text.len().min(HEAD)];
    let head = head.to_ascii_lowercase();
    TAGS.iter().any(|tag| {
        let ends = |at: usize| {
            let after = head.get(at + tag.len());
            after.is_none_or(|byte| !byte.is_ascii_alphanumeric())
        };
        find(&head, tag.as_bytes()).is_some_and(ends)
    })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}

/// How many characters a text has at least for each that was lost in it.
const SOUND: usize = 200;

/// The text of a file: in the encoding that its mark or its head names, or in UTF-8 or GB 18030,
/// whichever fits; a page may have been saved in another encoding than it names. Where none fits to
/// the byte, in the one that loses least, if that is little: a page may have been cut.
fn text(bytes: &[u8]) -> Result<String, Unusable> {
    let (named, bytes) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (Some(encoding), &bytes[mark..]),
        None => (charset(&bytes[..bytes.len().min(HEAD)]), bytes),
    };
    let encodings = || named.into_iter().chain([UTF_8, GB18030]);
    let whole = encodings()
        .find_map(|encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes));
    let text = match whole {
        Some(text) => Some(text),
        None => encodings()
            .map(|encoding| encoding.decode_without_bom_handling(bytes).0)
            .map(|text| (text.matches(char::REPLACEMENT_CHARACTER).count(), text))
            .min_by_key(|(lost, _)| *lost)
            .filter(|(lost, text)| lost * SOUND <= text.chars().count())
            .map(|(_, text)| text),
    };
    match text {
        Some(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(Unusable::new(
            "it is no text in UTF-8, GB 18030 (GBK, GB 2312) or the encoding that it names, and no \
             file of a kind that is read: .pdf and .xlsx of banshi, .html, .txt",
            "既不是UTF-8、GB 18030（GBK、GB 2312）或其自身标明编码的文本，也不是可读取的文件\
             （banshi的.pdf和.xlsx、.html、.txt）",
        )),
    }
}

/// The encoding that a page's `<meta>` names. In one byte a character, which is what servers name
/// that know no better, is no report; nor is in UTF-16 what was read here as ASCII.
fn charset(head: &[u8]) -> Option<&'static Encoding> {
    let head = head.to_ascii_lowercase();
    let meta = find(&head, b"<meta")?;
    let at = meta + find(&head[meta..], b"charset=")? + b"charset=".len();
    let label = head[at..].iter().skip_while(|byte| b"\"' ".contains(byte));
    let label: Vec<u8> = label
        .copied()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        .collect();
    let named = Encoding::for_label(&label)?.output_encoding();
    (!named.is_single_byte()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_the_encoding_that_fits() {
        let said = "<meta charset=utf-8><p>年度报告</p>";
        let (gbk, _, _) = GB18030.encode(said);
        // It names another encoding than it is in.
        assert_eq!(text(&gbk).unwrap(), said);
        assert_eq!(text(said.as_bytes()).unwrap(), said);
        for named in ["iso-8859-1", "windows-1252", "utf-16", "unicode"] {
            let said = said.replace("utf-8", named);
            let (gbk, _, _) = GB18030.encode(&said);
            assert_eq!(text(&gbk).unwrap(), said);
            assert_eq!(text(said.as_bytes()).unwrap(), said);
        }
        let marked = [b"\xef\xbb\xbf", said.as_bytes()].concat();
        assert_eq!(text(&marked).unwrap(), said);
        let wide: Vec<u8> = "\u{feff}年"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(text(&wide).unwrap(), "年");
        // A page that was cut within a character has lost that one.
        let page = "年度报告".repeat(100);
        let cut = [&page.as_bytes()[..100], &page.as_bytes()[101..]].concat();
        let lost = text(&cut).unwrap();
        assert!(
            lost.contains('\u{FFFD}') && lost.starts_with("年度报告"),
            "{lost}"
        );
        assert!(text(b"\x00\x01\x02").is_err());
        assert!(text(b"\xff\xff\xff").is_err());
    }

    #[test]
    fn a_file_is_told_by_its_content() {
        let html = ["<P class=x>a", " <!DOCTYPE html>", "x<br/>y", "<table>"];
        for text in html {
            assert!(matches!(kind(text.as_bytes()), Ok(Kind::Html(_))), "{text}");
        }
        for text in ["a < b", "1 <pre-tax> 2", "一、总体情况"] {
            assert!(matches!(kind(text.as_bytes()), Ok(Kind::Text(_))), "{text}");
        }
        for other in [
            &b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..],
            b"",
            b" \n",
            b"{}",
            b"\x89PNG\r\n",
        ] {
            assert!(kind(other).is_err(), "{other:?}");
        }
        assert!(matches!(kind(b"%PDF-1.7"), Ok(Kind::Pdf)));
    }
}
