//! What a package holds: the texts of BagIt (RFC 8493) and of 档发〔2012〕7号.
//!
//! Takes the reports of a package, gives the texts that are made from them, in which the same
//! reports give the same bytes, whatever order they came in. Never reads a clock or a file. If we
//! crash here, nothing was written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::journal::{Entry, Report};
use crate::digest::sha256;
use crate::store::Manifest;

/// The folder in which RFC 8493 wants what is kept.
pub(super) const DATA: &str = "data";
/// The folder of the reports, in it.
pub(super) const REPORTS: &str = "电子档案";
/// The folder of what explains them.
const OTHERS: &str = "其他";
/// The payload's manifest, and that of everything else.
pub(super) const MANIFEST: &str = "manifest-sha256.txt";
pub(super) const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";
pub(super) const DECLARATION: &str = "bagit.txt";
const INFO: &str = "bag-info.txt";

/// Who says what an element of the metadata is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// banshi, from this field.
    From(&'static str),
    /// The agency or its archive: nothing that banshi has says it.
    ByTheArchive,
}

/// The elements of DA/T 46-2009 that a report of this kind has, and who says what they are.
pub const ELEMENTS: [(&str, Known); 34] = [
    ("聚合层次", Known::From("文件")),
    ("档案馆名称", Known::ByTheArchive),
    ("档案馆代码", Known::ByTheArchive),
    ("全宗名称", Known::ByTheArchive),
    ("立档单位名称", Known::ByTheArchive),
    ("电子文件号", Known::From("job_id")),
    ("全宗号", Known::ByTheArchive),
    ("目录号", Known::ByTheArchive),
    ("年度", Known::From("year")),
    ("保管期限", Known::ByTheArchive),
    ("机构或问题", Known::ByTheArchive),
    ("类别号", Known::ByTheArchive),
    ("室编件号", Known::ByTheArchive),
    ("馆编件号", Known::ByTheArchive),
    ("题名", Known::From("title")),
    ("主题词", Known::ByTheArchive),
    ("分类号", Known::ByTheArchive),
    ("文件编号", Known::ByTheArchive),
    ("责任者", Known::From("agency")),
    ("日期", Known::From("issued_on")),
    ("文种", Known::ByTheArchive),
    ("密级", Known::ByTheArchive),
    ("保密期限", Known::ByTheArchive),
    ("页数", Known::From("artifact.pages")),
    ("语种", Known::From("dc:language")),
    (
        "格式信息",
        Known::From("artifact.media_type, artifact.standard"),
    ),
    ("计算机文件名", Known::From("{job_id}.pdf")),
    ("计算机文件大小", Known::From("artifact.bytes")),
    ("文档创建程序", Known::From("product, engine")),
    ("信息系统描述", Known::From("source")),
    ("电子签名", Known::ByTheArchive),
    ("当前位置", Known::ByTheArchive),
    ("授权对象", Known::ByTheArchive),
    ("行为时间", Known::From("completed_at")),
];

/// The metadata of a report: every element that banshi knows, in the order of the standard. What
/// the report does not say is left out.
pub(super) fn metadata(manifest: &Manifest, issued_on: Option<&str>) -> String {
    let Manifest {
        job_id,
        agency,
        year,
        title,
        artifact,
        ..
    } = manifest;
    let value = |element: &str| match element {
        "聚合层次" => Some("文件".to_owned()),
        "电子文件号" => Some(job_id.clone()),
        "年度" => Some(year.to_string()),
        "题名" => Some(title.clone()),
        "责任者" => Some(agency.clone()),
        "日期" => issued_on.map(str::to_owned),
        "页数" => Some(artifact.pages.to_string()),
        "语种" => Some("zh-CN".to_owned()),
        "格式信息" => Some(format!("{}; {}", artifact.media_type, artifact.standard)),
        "计算机文件名" => Some(format!("{job_id}.pdf")),
        "计算机文件大小" => Some(artifact.bytes.to_string()),
        "文档创建程序" => Some(format!("{}; {}", manifest.product, manifest.engine)),
        "信息系统描述" => Some(manifest.source.clone()),
        "行为时间" => Some(manifest.completed_at.clone()),
        _ => None,
    };
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                    <电子文件元数据 依据=\"DA/T 46-2009\">\n"
        .to_owned();
    for (element, _) in ELEMENTS {
        if let Some(value) = value(element) {
            let value = xml(&value);
            // A String takes whatever is written.
            writeln!(text, "  <{element}>{value}</{element}>").unwrap_or_default();
        }
    }
    text + "</电子文件元数据>\n"
}

/// Which elements banshi fills in, and which the archive adds.
fn elements() -> String {
    let mut text = "元素,填写者,取自\n".to_owned();
    for (element, known) in ELEMENTS {
        let (who, from) = match known {
            Known::From(field) => ("banshi", field),
            Known::ByTheArchive => ("归档单位", ""),
        };
        writeln!(text, "{element},{who},\"{from}\"").unwrap_or_default();
    }
    text
}

/// What a package is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bag {
    /// The template's name without its edition.
    pub(super) document: String,
    pub(super) year: u16,
    /// From 1, of those of this document and year.
    pub(super) number: u32,
    /// By the folder in `data/` that is theirs alone.
    pub(super) reports: BTreeMap<String, Report>,
}

impl Bag {
    pub(super) fn new(document: &str, year: u16, number: u32) -> Bag {
        Bag {
            document: document.to_owned(),
            year,
            number,
            reports: BTreeMap::new(),
        }
    }

    /// `annual-report-2024-0001`.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-{:04}", self.document, self.year, self.number)
    }

    /// Adds a report, whose files are in place.
    pub(super) fn add(&mut self, report: Report) {
        let own = format!("{}/{}", report.folder, report.job_id);
        self.reports.insert(own, report);
    }

    /// Every file that is not a report's, with its path in the package, in the order in which they
    /// are to be written: the last vouches for all before it.
    pub(super) fn texts(&self) -> Vec<(String, Vec<u8>)> {
        let mut texts: Vec<(String, Vec<u8>)> = [
            ("说明文件.TXT", self.notes()),
            ("文件目录.XML", self.catalogue()),
            (
                &format!("{OTHERS}/event.schema.json"),
                include_str!("../../schemas/event.schema.json").to_owned(),
            ),
            (
                &format!("{OTHERS}/manifest.schema.json"),
                include_str!("../../schemas/manifest.schema.json").to_owned(),
            ),
            (&format!("{OTHERS}/元数据项目.csv"), elements()),
        ]
        .map(|(path, text)| (format!("{DATA}/{path}"), text.into_bytes()))
        .into();
        let mut payload: BTreeMap<String, Entry> = texts
            .iter()
            .map(|(path, bytes)| (path.clone(), entry(path, bytes)))
            .collect();
        for (own, report) in &self.reports {
            let files = report.files.iter();
            payload.extend(files.map(|file| (format!("{DATA}/{own}/{}", file.name), file.clone())));
        }
        let tags = [
            (
                MANIFEST,
                manifest(payload.iter().map(|(p, e)| (&**p, &*e.sha256))),
            ),
            (
                DECLARATION,
                "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n".to_owned(),
            ),
            (INFO, self.info(&payload)),
        ];
        let digests: BTreeMap<&str, String> = tags
            .iter()
            .map(|(path, text)| (*path, sha256(text.as_bytes())))
            .collect();
        let last = manifest(digests.iter().map(|(path, sha256)| (*path, &**sha256)));
        let tags = tags.into_iter().chain([(TAG_MANIFEST, last)]);
        texts.extend(tags.map(|(path, text)| (path.to_owned(), text.into_bytes())));
        texts
    }

    /// The latest moment at which one of its reports was completed.
    fn completed_at(&self) -> &str {
        let times = self.reports.values().map(|report| &*report.completed_at);
        times.max().unwrap_or_default()
    }

    fn info(&self, payload: &BTreeMap<String, Entry>) -> String {
        let bytes: u64 = payload.values().map(|file| file.bytes).sum();
        let day = self.completed_at().get(..10).unwrap_or_default();
        format!(
            "External-Identifier: {name}\n\
             External-Description: {document}, {year}: {reports} reports\n\
             Bag-Group-Identifier: {document}-{year}\n\
             Bag-Count: {number} of ?\n\
             Bagging-Date: {day}\n\
             Payload-Oxum: {bytes}.{files}\n\
             Bag-Software-Agent: {agent}\n",
            name = self.name(),
            document = self.document,
            year = self.year,
            reports = self.reports.len(),
            number = self.number,
            files = payload.len(),
            agent = crate::PRODUCT,
        )
    }

    /// 文件目录.XML.
    fn catalogue(&self) -> String {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<文件目录>\n".to_owned();
        for (number, (own, report)) in (1..).zip(&self.reports) {
            let day: String = report.issued_on.as_deref().unwrap_or_default().into();
            let (agency, title) = (xml(&report.agency), xml(&report.title));
            writeln!(
                text,
                "  <文件><顺序号>{number}</顺序号><档号/><责任者>{agency}</责任者><题名>{title}\
                 </题名><日期>{}</日期><密级/><电子档案名称>{own}/{}.pdf</电子档案名称><备注/></文件>",
                day.replace('-', ""),
                report.job_id
            )
            .unwrap_or_default();
        }
        text + "</文件目录>\n"
    }

    /// 说明文件.TXT.
    fn notes(&self) -> String {
        format!(
            "{name}\n\
             \n\
             内容：{document}，{year}年度，{reports}件。\n\
             结构：本文件所在文件夹按《电子档案移交与接收办法》（档发〔2012〕7号）附件2组织：\n\
             \x20 说明文件.TXT  本文件\n\
             \x20 文件目录.XML  每件一条：顺序号、责任者、题名、日期（成文日期）、电子档案名称\n\
             \x20 电子档案/年度/类别/任务编号/  每件的PDF、清单（.json）、事件（.event.json）、元数据（.metadata.xml），及清单companions所列文件\n\
             \x20 其他/  元数据项目及其填写者，清单和事件的JSON Schema\n\
             软件环境：文件为PDF/A-3a，任何PDF阅读器均可阅读；清单所列的OFD（.ofd）用OFD阅读器，网页（.html）用浏览器，\n\
             \x20 签名件（.signed.pdf）用PDF阅读器，单独的签名（.p7s、.sm2）用OpenSSL；其余为UTF-8编码的JSON、XML、CSV和文本。\n\
             校验：所在包符合BagIt（RFC 8493）；在包的文件夹中运行 sha256sum -c manifest-sha256.txt，\n\
             \x20 或 bagit.py --validate，或 banshi archive check。\n\
             由移交单位填写（banshi不知道）：载体编号、载体类型和容量、制作单位、制作日期、档号、密级。\n\
             生成：{agent}\n",
            name = self.name(),
            document = self.document,
            year = self.year,
            reports = self.reports.len(),
            agent = crate::PRODUCT,
        )
    }
}

/// A file of these bytes.
pub(super) fn entry(name: &str, bytes: &[u8]) -> Entry {
    Entry {
        name: name.to_owned(),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
    }
}

/// Digests and paths, a line each.
fn manifest<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (path, sha256) in files {
        writeln!(text, "{sha256}  {path}").unwrap_or_default();
    }
    text
}

/// Text in XML 1.0, without the characters that it cannot have.
fn xml(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
