//! Why bytes are no job: what they seem to be, and what is wrong with their JSON, in words.
//!
//! Takes bytes that could not be read, gives a problem with the cause and what to send, in English
//! and Chinese. Never decodes anything: what a sender did not send as UTF-8 is the sender's to
//! mend. If we crash here, nothing has happened yet.

use std::str::Utf8Error;

use crate::problem::{Code, Problem};

/// What bytes that are no UTF-8 begin with, and what they are then.
const BEGINNINGS: [(&[u8], &str, &str); 8] = [
    (b"\x1f\x8b", "compressed with gzip", "gzip压缩数据"),
    (b"PK\x03\x04", "a ZIP archive", "ZIP压缩包"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd压缩数据"),
    (b"%PDF-", "a PDF", "PDF文件"),
    (b"\xff\xfe", "UTF-16, little endian", "UTF-16（小端）"),
    (b"\xfe\xff", "UTF-16, big endian", "UTF-16（大端）"),
    (b"{\0", "UTF-16, little endian", "UTF-16（小端）"),
    (b"\0{", "UTF-16, big endian", "UTF-16（大端）"),
];

/// Characters beyond ASCII that GB 18030 text may begin with and still pass for UTF-8.
const BY_CHANCE: usize = 3;

/// What bytes are by their beginning, where it says that they are no UTF-8.
pub(super) fn recognised(bytes: &[u8]) -> Option<Problem> {
    let (_, en, zh) = BEGINNINGS
        .into_iter()
        .find(|(beginning, ..)| bytes.starts_with(beginning))?;
    Some(problem(
        format!("the job is not UTF-8: it seems to be {en}; send the JSON itself, in UTF-8"),
        format!("任务不是UTF-8编码，似为{zh}；请直接以UTF-8编码发送JSON"),
    ))
}

/// Bytes that are no UTF-8.
pub(super) fn not_utf8(bytes: &[u8], error: &Utf8Error) -> Problem {
    let at = error.valid_up_to();
    let (before, _) = bytes.split_at(at);
    let read = String::from_utf8_lossy(before);
    let read = read.chars().filter(|c| !c.is_ascii()).count();
    if read < BY_CHANCE && is_gb18030(bytes) {
        return problem(
            format!(
                "the job is not UTF-8 from byte {at} on: it seems to be GB 18030 (GBK, GB 2312, \
                 ANSI); save or convert it as UTF-8 and send that"
            ),
            format!(
                "任务自第{at}字节起不是UTF-8编码，似为GB 18030（GBK、GB 2312、ANSI）；请转为UTF-8后发送"
            ),
        );
    }
    problem(
        format!("the job is not UTF-8: byte {at} begins no character; send UTF-8"),
        format!("任务不是UTF-8编码：第{at}字节起无法解码，请用UTF-8发送"),
    )
}

/// Text that is no JSON.
pub(super) fn not_json(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let cause = CAUSES.into_iter().find(|(en, _)| said.starts_with(en));
    let zh = match cause {
        Some((_, zh)) => zh.to_owned(),
        // A cause that this list has not got is better in English than not at all.
        None => said.split(" at line ").next().unwrap_or(&said).to_owned(),
    };
    problem(
        format!("the job is not JSON: {said}"),
        format!("任务不是合法的JSON：第{line}行第{column}列：{zh}"),
    )
}

fn problem(en: String, zh: String) -> Problem {
    Problem::new(Code::JSON, "", en, zh)
}

/// What the reader of JSON says, and the same in Chinese.
const CAUSES: [(&str, &str); 21] = [
    ("EOF while parsing a list", "数组未写完，内容到此为止"),
    ("EOF while parsing an object", "对象未写完，内容到此为止"),
    ("EOF while parsing a string", "字符串未写完，内容到此为止"),
    ("EOF while parsing a value", "此处应有值，而内容到此为止"),
    ("expected `:`", "此处应为冒号“:”"),
    ("expected `,` or `]`", "此处应为逗号“,”或“]”"),
    ("expected `,` or `}`", "此处应为逗号“,”或“}”"),
    ("expected ident", "此处应为true、false或null"),
    ("expected value", "此处应为值"),
    ("expected `\"`", "此处应为双引号"),
    ("invalid escape", "字符串中的转义符无效"),
    ("invalid number", "数字的写法无效"),
    ("number out of range", "数字超出范围"),
    (
        "invalid unicode code point",
        "字符串中的\\u转义不是有效字符",
    ),
    (
        "control character",
        "字符串中有未转义的控制字符（如换行、制表符）",
    ),
    ("key must be a string", "字段名应为带双引号的字符串"),
    (
        "lone leading surrogate",
        "字符串中的\\u转义是不成对的代理项",
    ),
    (
        "unexpected end of hex escape",
        "字符串中的\\u转义不是成对的代理项",
    ),
    ("trailing comma", "末尾多了逗号"),
    ("trailing characters", "JSON之后还有其他内容"),
    ("recursion limit exceeded", "嵌套过深"),
];

/// Whether bytes are GB 18030 by their structure: ASCII, pairs, and groups of four.
fn is_gb18030(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return true,
            [0..=0x7F, rest @ ..] => rest,
            [0x81..=0xFE, 0x40..=0x7E | 0x80..=0xFE, rest @ ..] => rest,
            [
                0x81..=0xFE,
                b'0'..=b'9',
                0x81..=0xFE,
                b'0'..=b'9',
                rest @ ..,
            ] => rest,
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::Node;

    #[test]
    fn every_mistake_in_json_is_told_in_chinese_too() {
        for text in [
            "",
            "{",
            "[",
            "[1",
            "\"a",
            "{\"a\"",
            "{\"a\" 1}",
            "[1 2]",
            "{\"a\":1 2}",
            "tru",
            "nul]",
            "x",
            "\"\\q\"",
            "01",
            "-",
            "1e400",
            "1.",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\u12\"",
            "\"\\uzzzz\"",
            "\"\t\"",
            "{a:1}",
            "{1:1}",
            "[1,]",
            "{\"a\":1,}",
            "{} {}",
            "{'a':1}",
            "{\"a\":}",
            "[1,",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain(["[".repeat(200)])
        {
            let error = serde_json::from_str::<Node>(&text).expect_err(&text);
            let Problem { message_zh, .. } = not_json(&error);
            let (_, cause) = message_zh.split_once("列：").expect("a place and a cause");
            let first = cause.chars().next().expect("a cause");
            assert!(
                !first.is_ascii() || cause.starts_with("JSON之后"),
                "{text}: {error}: {message_zh}"
            );
        }
    }

    #[test]
    fn text_that_was_cut_is_not_taken_for_another_encoding() {
        let text = "{\"agency\":\"某市档案局\"}";
        for end in 1..text.len() {
            let bytes = [&text.as_bytes()[..end], b"\"}"].concat();
            let Err(error) = std::str::from_utf8(&bytes) else {
                continue;
            };
            let said = not_utf8(&bytes, &error).message;
            // With the first character cut there is nothing to tell by.
            assert!(end < 20 || !said.contains("GB 18030"), "{end}: {said}");
        }
    }
}
