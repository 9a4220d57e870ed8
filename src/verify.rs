//! Whether a PDF or an OFD is what banshi made: it is made again from its own attachments and
//! compared.
//!
//! Takes the bytes of a file, gives a [`Finding`]. Never takes the file's word for anything but
//! what to make again: equal bytes are the only proof, and what can't be compared is called
//! unproven. If we crash here, nothing is lost: nothing was written.
//!
//! A finding is of page, data and provenance together. Whoever can run banshi can make a file that
//! is consistent in itself; that a file is *the* file, its manifest, its event or a signature says.

use serde::Serialize;

use crate::attachment::{Unreadable, attachment, first_revision};
use crate::config::{Bands, Format, Limits, Settings};
use crate::digest::sha256;
use crate::job::{self, Job};
use crate::problem::{Failure, Outage, Rejection};
use crate::report::Editions;
use crate::signature::{self, Signature};
use crate::store::{Companion, Manifest};
use crate::typesetter::ofd::Entry;
use crate::typesetter::{
    self, DATA, ENGINE, Edition, Fonts, Manuscript, PROVENANCE, Pool, Program, Provenance,
    STANDARD, Templates,
};

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// 真实. This build makes the same file of its data, byte for byte.
    Authentic,
    /// 等同. Made by another version or with other templates or faces, and this build makes the
    /// same file of its data but for what the file says of versions, or for the line end at its
    /// end.
    Equivalent,
    /// 已签名. A copy that begins with a file which is authentic or equivalent, as the finding says,
    /// and adds nothing but signatures that hold. Whether their certificates are to be trusted was
    /// not asked.
    Signed,
    /// 未能核实. Made by another version or with wider limits, and this build makes another file of
    /// its data, or none: it cannot tell. Its data are those that its provenance names.
    Unproven,
    /// 已改动. Not what banshi made: changed, saved again, or never banshi's.
    Altered,
}

impl Verdict {
    /// As it is printed: in English and Chinese.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Verdict::Authentic => ("authentic", "真实"),
            Verdict::Equivalent => ("equivalent", "等同"),
            Verdict::Signed => ("signed", "已签名"),
            Verdict::Unproven => ("unproven", "未能核实"),
            Verdict::Altered => ("altered", "已改动"),
        }
    }
}

/// The file that a signed copy is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Original {
    /// Authentic or equivalent, if the copy is signed; unproven, if the copy is, too.
    pub verdict: Verdict,
    /// How many bytes of the copy it is, from the first on.
    pub bytes: usize,
    /// SHA-256 of these.
    pub sha256: String,
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What the file is.
    pub verdict: Verdict,
    /// Why, for people, in English.
    pub message: String,
    /// Why, for people, in Chinese.
    pub message_zh: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether the attached data are those that the provenance names; none, when either can't be
    /// read.
    pub data_agree: Option<bool>,
    /// What the file says of how it was made, when that can be read.
    pub provenance: Option<Provenance>,
    /// The file within it that was signed, of a signed copy.
    pub original: Option<Original>,
    /// The signatures of a signed copy, in the order in which they were added.
    pub signatures: Vec<Signature>,
}

impl Finding {
    /// Whether the file is shown to be what banshi made, with or without a manifest that does or
    /// does not agree. One of another version that this build cannot tell of is vouched for by its
    /// manifest, or not at all.
    pub fn is_good(&self, manifest_agrees: Option<bool>) -> bool {
        match (self.verdict, manifest_agrees) {
            (Verdict::Altered, _) | (_, Some(false)) | (Verdict::Unproven, None) => false,
            (Verdict::Authentic | Verdict::Equivalent | Verdict::Signed, _)
            | (Verdict::Unproven, Some(true)) => true,
        }
    }

    /// Holds the file against a manifest: as its PDF, or as what it names beside that; a signed copy
    /// by the file that was signed, too.
    ///
    /// # Errors
    /// What the manifest says otherwise, a line each.
    pub fn agrees_with(
        &self,
        manifest: &Manifest,
        companion: Option<&Companion>,
    ) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        let mut compare = |what: &str, manifest: &str, file: &str| {
            if manifest != file {
                wrong.push(format!(
                    "{what}: the manifest says {manifest}, the file {file} 与清单不符"
                ));
            }
        };
        if let Some(it) = companion {
            compare("companions, sha256", &it.sha256, &self.sha256);
        }
        let original = self.original.as_ref().map(|original| &original.sha256);
        if companion.is_none() || original.is_some() {
            let file = original.unwrap_or(&self.sha256);
            compare("artifact.sha256", &manifest.artifact.sha256, file);
        }
        if let Some(made) = &self.provenance {
            let (template, stated) = (&manifest.template, &made.template);
            for (what, manifest, file) in [
                ("job_id", &manifest.job_id, &made.job.id),
                ("job.sha256", &manifest.job.sha256, &made.job.sha256),
                ("template.name", &template.name, &stated.name),
                ("template.version", &template.version, &stated.version),
                ("template.sha256", &template.sha256, &stated.sha256),
                ("fonts.sha256", &manifest.fonts.sha256, &made.fonts.sha256),
                ("engine", &manifest.engine, &made.engine),
                ("product", &manifest.product, &made.product),
            ] {
                compare(what, manifest, file);
            }
            if companion.is_none() {
                let standard = &manifest.artifact.standard;
                compare("artifact.standard", standard, &made.standard);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Holds what stands beside a PDF against what its manifest says of it; none where it isn't there.
///
/// # Errors
/// What is otherwise, in English and Chinese.
pub fn companion_agrees(
    companion: &Companion,
    name: &str,
    file: Option<&[u8]>,
) -> Result<(), String> {
    let named = &companion.sha256;
    match file.map(sha256) {
        Some(sha256) if sha256 == *named => Ok(()),
        Some(sha256) => Err(format!(
            "{name} is not the file that the manifest names beside the PDF 不是清单所列的文件: \
             sha256 {sha256}, and the manifest says {named}"
        )),
        None => Err(format!(
            "{name} is not here, and the manifest names it beside the PDF 清单列有而此处没有"
        )),
    }
}

/// This build, ready to make files again.
pub struct Verifier {
    pool: Pool,
    limits: Limits,
    forms: Editions,
    editions: Vec<Edition>,
    fonts_sha256: String,
    bands: Bands,
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pdf,
    Ofd,
}

impl Kind {
    fn of(file: &[u8]) -> Kind {
        // Of a ZIP, whatever is in it.
        match file.starts_with(b"PK") {
            true => Kind::Ofd,
            false => Kind::Pdf,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Pdf => "PDF",
            Kind::Ofd => "OFD",
        }
    }

    fn standard(self) -> &'static str {
        match self {
            Kind::Pdf => STANDARD,
            Kind::Ofd => typesetter::ofd::STANDARD,
        }
    }

    fn attachment(self, file: &[u8], name: &str) -> Result<Vec<u8>, Unreadable> {
        match self {
            Kind::Pdf => attachment(file, name),
            Kind::Ofd => typesetter::ofd::attachment(file, name),
        }
    }
}

/// A verdict and why, before the rest is known.
struct Verdicts {
    verdict: Verdict,
    en: String,
    zh: String,
}

fn altered(en: impl Into<String>, zh: impl Into<String>) -> Verdicts {
    Verdicts {
        verdict: Verdict::Altered,
        en: en.into(),
        zh: zh.into(),
    }
}

impl Verifier {
    /// Starts `render.threads` typesetters with the templates and faces of the settings.
    ///
    /// # Errors
    /// As [`Fonts::load`], [`Templates::load`] and [`Pool::start`].
    pub async fn start(settings: &Settings) -> Result<Verifier, Outage> {
        let fonts = Fonts::load(&settings.fonts)?;
        let templates = Templates::load(settings.templates.folder())?;
        Ok(Verifier {
            pool: Pool::start(settings, Program::this()?).await?,
            limits: settings.limits.clone(),
            forms: templates.forms(),
            editions: templates.editions().cloned().collect(),
            fonts_sha256: fonts.sha256().to_owned(),
            bands: settings.render.bands,
        })
    }

    /// Lets the typesetters go.
    pub async fn close(self) {
        self.pool.close().await;
    }

    /// What a file is.
    ///
    /// # Errors
    /// When there is no typesetter to be had.
    pub async fn verify(&self, file: &[u8]) -> Result<Finding, Outage> {
        let mut finding = Finding {
            verdict: Verdict::Altered,
            message: String::new(),
            message_zh: String::new(),
            sha256: sha256(file),
            data_agree: None,
            provenance: None,
            original: None,
            signatures: Vec::new(),
        };
        let found = self.judge(file, &mut finding).await?;
        finding.verdict = found.verdict;
        finding.message = found.en;
        finding.message_zh = found.zh;
        if finding.verdict == Verdict::Unproven {
            signed_unproven(file, &mut finding);
        }
        Ok(finding)
    }

    async fn judge(&self, file: &[u8], finding: &mut Finding) -> Result<Verdicts, Outage> {
        let kind = Kind::of(file);
        let stated = match kind.attachment(file, PROVENANCE) {
            Ok(stated) => stated,
            Err(error) => return Ok(unreadable(kind, PROVENANCE, error)),
        };
        let Ok(made) = serde_json::from_slice::<Provenance>(&stated) else {
            return Ok(unknown(&stated));
        };
        finding.provenance = Some(made.clone());
        let data = match kind.attachment(file, DATA) {
            Ok(data) => data,
            Err(error) => return Ok(unreadable(kind, DATA, error)),
        };
        let agree = sha256(&data) == made.data.sha256 && data.len() == made.data.bytes;
        finding.data_agree = Some(agree);
        if !agree {
            return Ok(altered(
                format!("the attached {DATA} is not the one that {PROVENANCE} names"),
                format!("附件{DATA}与{PROVENANCE}所载摘要不符"),
            ));
        }
        let others = self.others(kind, &made);
        if others.is_empty() && made.json().as_bytes() != stated {
            return Ok(altered(
                format!("the attached {PROVENANCE} is not as this version writes it"),
                format!("附件{PROVENANCE}与本版本的写法不一致"),
            ));
        }
        let Some(data) = std::str::from_utf8(&data).ok() else {
            return Ok(not_canonical());
        };
        let job = match self.job(&made, data) {
            Ok(job) => job,
            Err(rejection) => return Ok(refused(&rejection, &others)),
        };
        // Also sees to it that the data were no more than the data.
        if job.data != data {
            return Ok(not_canonical());
        }
        let mut manuscript = Manuscript::of(&job);
        manuscript.ident = made.job.sha256.clone();
        manuscript.made = Some(Box::new(made));
        if kind == Kind::Ofd {
            manuscript.companions = vec![Format::Ofd];
        }
        match self.pool.typeset(&manuscript).await {
            Ok(mut again) => {
                let companion = again.companions.pop();
                let again = companion.map_or(again.bytes, |(_, ofd)| ofd);
                let (same, found) = compare(kind, file, &again, &others);
                match same.filter(|same| *same < file.len()) {
                    Some(same) => Ok(more(file, same, found, finding)),
                    None => Ok(found),
                }
            }
            Err(Failure::Outage(outage)) => Err(outage),
            Err(Failure::Rejected(rejection)) => Ok(refused(&rejection, &others)),
        }
    }

    /// What the file says of versions that is not so of this build: the file's, and ours.
    fn others(&self, kind: Kind, made: &Provenance) -> Vec<(String, String)> {
        let mut others = Vec::new();
        let mut compare = |theirs: String, ours: String| {
            if theirs != ours {
                others.push((printable(&theirs), ours));
            }
        };
        let template = |name: &str, version: &str, sha256: &str| {
            format!("{name} {version} (sha256 {})", short(sha256))
        };
        let stated = &made.template;
        let ours = self.editions.iter().find(|ours| ours.name == stated.name);
        compare(made.product.clone(), crate::PRODUCT.to_owned());
        compare(made.engine.clone(), ENGINE.to_owned());
        compare(
            template(&stated.name, &stated.version, &stated.sha256),
            ours.map_or_else(
                || format!("no {}", stated.name),
                |ours| template(&ours.name, &ours.version, &ours.sha256),
            ),
        );
        let faces = |sha256: &str| format!("fonts (sha256 {})", short(sha256));
        compare(faces(&made.fonts.sha256), faces(&self.fonts_sha256));
        let bands = |bands: Bands| match bands {
            Bands::Blue => "bands filled blue".to_owned(),
            Bands::None => "bands not filled".to_owned(),
        };
        compare(bands(made.bands), bands(self.bands));
        compare(made.standard.clone(), kind.standard().to_owned());
        others
    }

    /// A job of these data. One that breaks a rule was made if its sender wanted it so, and the
    /// page is the same.
    fn job(&self, made: &Provenance, data: &str) -> Result<Job, Rejection> {
        let id = serde_json::Value::from(made.job.id.as_str());
        let template = serde_json::Value::from(made.template.name.as_str());
        let text = format!(
            "{{\"job_id\":{id},\"template\":{template},\"on_violation\":\"warn\",\"data\":{data}}}"
        );
        job::read(text.as_bytes(), None, &self.limits, &self.forms)
            .map_err(|refusal| refusal.rejection)
    }
}

/// The file against what this build made: how many of its first bytes that is, if it begins with
/// it, and what these are; else what the file is.
fn compare(
    kind: Kind,
    file: &[u8],
    again: &[u8],
    others: &[(String, String)],
) -> (Option<usize>, Verdicts) {
    // Earlier builds ended a PDF with `%%EOF`, without the line end.
    let bare = again.strip_suffix(b"\n");
    let bare = bare.filter(|_| kind == Kind::Pdf && !file.starts_with(again));
    let again = bare.unwrap_or(again);
    let same = match kind {
        Kind::Pdf => file.starts_with(again),
        Kind::Ofd => file == again,
    };
    let (theirs, ours) = versions(others);
    let found = match (same, others.is_empty()) {
        (true, true) if bare.is_some() => Verdicts {
            verdict: Verdict::Equivalent,
            en: format!(
                "the same bytes as {} makes of its data, but for the line end after %%EOF, which \
                 earlier builds did not write",
                crate::PRODUCT
            ),
            zh: format!(
                "除%%EOF之后的换行外，与{}由其数据重新生成的文件逐字节相同；早期构建不写该换行",
                crate::PRODUCT
            ),
        },
        (true, true) => Verdicts {
            verdict: Verdict::Authentic,
            en: format!("the same bytes as {} makes of its data", crate::PRODUCT),
            zh: format!("与{}由其数据重新生成的文件逐字节相同", crate::PRODUCT),
        },
        (true, false) => Verdicts {
            verdict: Verdict::Equivalent,
            en: format!(
                "made with {theirs}; this build has {ours} and makes the same of its data but for \
                 these names"
            ),
            zh: format!(
                "由{theirs}生成；本机为{ours}，由其数据重新生成的文件除上述版本信息外完全相同"
            ),
        },
        (false, false) => Verdicts {
            verdict: Verdict::Unproven,
            en: format!(
                "made with {theirs}, of which this build cannot tell: it has {ours}, and makes \
                 another file of its data. The data are those that its provenance names. Verify it \
                 with what made it"
            ),
            zh: format!(
                "由{theirs}生成，本机为{ours}，重新生成的文件与之不同，无法核实；所附数据与其生成依据一致。请用原版本核实"
            ),
        },
        (false, true) if kind == Kind::Ofd => other_entry(file, again),
        (false, true) => {
            let place = file.iter().zip(again).position(|(a, b)| a != b);
            let place = place.unwrap_or(file.len().min(again.len()));
            altered(
                format!(
                    "not what this very version makes of its data: other bytes from byte {place} on"
                ),
                format!("与同一版本由其数据重新生成的文件不同：自第{place}字节起不一致"),
            )
        }
    };
    (same.then_some(again.len()), found)
}

/// What a file is that begins with one that is known to be good, of so many bytes, and goes on.
fn more(file: &[u8], bytes: usize, found: Verdicts, finding: &mut Finding) -> Verdicts {
    let (original, added) = (&file[..bytes], file.len() - bytes);
    let (verdict, verdict_zh) = found.verdict.words();
    match signature::copy(original, file) {
        Ok(signatures) => {
            let many = signatures.len();
            finding.signatures = signatures;
            finding.original = Some(Original {
                verdict: found.verdict,
                bytes,
                sha256: sha256(original),
            });
            let (noun, pronoun) = match many {
                1 => ("signature", "it"),
                _ => ("signatures", "each"),
            };
            Verdicts {
                verdict: Verdict::Signed,
                en: format!(
                    "a signed copy: its first {bytes} bytes are {verdict} ({}), and the {added} \
                     bytes after them are {many} {noun} and what belongs to {pronoun}",
                    found.en
                ),
                zh: format!(
                    "已签名的副本：前{bytes}字节{verdict_zh}（{}），其后{added}字节是{many}个签名及其附属内容",
                    found.zh
                ),
            }
        }
        Err(refusal) => altered(
            format!(
                "its first {bytes} bytes are {verdict}, and {added} bytes were added after them, \
                 which are not just signatures that hold: {refusal}"
            ),
            format!(
                "前{bytes}字节{verdict_zh}，其后追加了{added}字节，但不只是有效的签名：{}",
                refusal.zh()
            ),
        ),
    }
}

/// What was signed of a file that is unproven, so that its manifest can vouch for the file that was
/// signed.
fn signed_unproven(file: &[u8], finding: &mut Finding) {
    let first = first_revision(file).filter(|first| *first < file.len());
    let Some((original, first)) = first.map(|first| (&file[..first], first)) else {
        return;
    };
    match signature::copy(original, file) {
        Ok(signatures) => {
            finding.message += &format!(
                ". It is a signed copy: its first {first} bytes are that file, and after them come \
                 only signatures that hold"
            );
            finding.message_zh += &format!(
                "。这是已签名的副本：前{first}字节为该文件，其后只有有效的签名及其附属内容"
            );
            finding.signatures = signatures;
            finding.original = Some(Original {
                verdict: Verdict::Unproven,
                bytes: first,
                sha256: sha256(original),
            });
        }
        Err(refusal) => {
            let added = file.len() - first;
            finding.message += &format!(
                ". The {added} bytes after its first {first} are not just signatures that hold: \
                 {refusal}"
            );
            finding.message_zh += &format!(
                "。前{first}字节之后的{added}字节不只是有效的签名：{}",
                refusal.zh()
            );
        }
    }
}

/// Which entry of an OFD is not the one that this build made.
fn other_entry(file: &[u8], again: &[u8]) -> Verdicts {
    let read = |package| typesetter::ofd::entries(package).unwrap_or_default();
    let (theirs, ours) = (read(file), read(again));
    let named = |entries: &[Entry], name: &str| entries.iter().any(|entry| entry.name == name);
    let found = ours.iter().find_map(|our| {
        let their = theirs.iter().find(|their| their.name == our.name);
        match their {
            None => Some((&our.name, "is missing", "缺失")),
            Some(their) if their.packed(file) != our.packed(again) => {
                Some((&our.name, "is another", "已不同"))
            }
            Some(_) => None,
        }
    });
    let more = || {
        let more = theirs.iter().find(|their| !named(&ours, &their.name))?;
        Some((&more.name, "was added", "系多出"))
    };
    match found.or_else(more) {
        Some((name, en, zh)) => altered(
            format!("not what this very version makes of its data: {name} {en}"),
            format!("与同一版本由其数据重新生成的文件不同：{name}{zh}"),
        ),
        None => altered(
            "not what this very version makes of its data: the same entries in another order",
            "与同一版本由其数据重新生成的文件不同：各条目相同而次序不同",
        ),
    }
}

/// The data can't be set. That is no proof of a change: limits and pages are set by whoever runs
/// this, and may have been wider.
fn refused(rejection: &Rejection, others: &[(String, String)]) -> Verdicts {
    let problem = &rejection.problems()[0];
    let (code, path) = (problem.code, &problem.path);
    let (en, zh) = (&problem.message, &problem.message_zh);
    let (made, made_zh) = if others.is_empty() {
        (
            "made with this version".to_owned(),
            "由本版本生成".to_owned(),
        )
    } else {
        let (theirs, ours) = versions(others);
        (
            format!("made with {theirs}, where this build has {ours}"),
            format!("由{theirs}生成，本机为{ours}"),
        )
    };
    Verdicts {
        verdict: Verdict::Unproven,
        en: format!(
            "{made}; with these settings this build makes no file of its data, and cannot tell: \
             {code} {path}: {en}"
        ),
        zh: format!("{made_zh}；按现有设置不能由其数据生成文件，无法核实：{code} {path}：{zh}"),
    }
}

fn not_canonical() -> Verdicts {
    altered(
        format!("the attached {DATA} is not canonical JSON (RFC 8785), as banshi attaches it"),
        format!("附件{DATA}不是规范化的JSON（RFC 8785），并非版式(banshi)所附"),
    )
}

fn unreadable(kind: Kind, name: &str, error: Unreadable) -> Verdicts {
    match error {
        Unreadable::NotPdf => altered("it is not a PDF, and no OFD", "不是PDF文件，也不是OFD文件"),
        Unreadable::Foreign => {
            let kind = kind.name();
            altered(
                format!(
                    "it is not written as banshi writes a{} {kind}; another program made it or \
                     saved it again",
                    if kind == "OFD" { "n" } else { "" }
                ),
                format!("不是版式(banshi)写出的{kind}：由其他软件生成，或被其他软件重新保存"),
            )
        }
        Unreadable::Absent => altered(
            format!("no {name} is attached: banshi did not make it, or it was taken out"),
            format!("没有附件{name}：不是版式(banshi)生成的文件，或附件已被删除"),
        ),
    }
}

/// A provenance of no known shape: a later version's, or nobody's.
fn unknown(stated: &[u8]) -> Verdicts {
    let stated = serde_json::from_slice::<serde_json::Value>(stated).unwrap_or_default();
    match stated["product"].as_str().map(printable) {
        Some(product) if product != crate::PRODUCT && product.starts_with("banshi ") => Verdicts {
            verdict: Verdict::Unproven,
            en: format!(
                "its {PROVENANCE} is of {product} and {} cannot read it. Verify it with what made \
                 it",
                crate::PRODUCT
            ),
            zh: format!(
                "其{PROVENANCE}由{product}写出，{}无法读取。请用原版本核实",
                crate::PRODUCT
            ),
        },
        _ => altered(
            format!("the attached {PROVENANCE} is not one of banshi's"),
            format!("附件{PROVENANCE}不是版式(banshi)写出的"),
        ),
    }
}

/// The file's names that are not ours, and ours in their place.
fn versions(others: &[(String, String)]) -> (String, String) {
    let list = |side: fn(&(String, String)) -> &String| {
        let names = others.iter().map(side).cloned();
        names.collect::<Vec<_>>().join(", ")
    };
    (list(|(theirs, _)| theirs), list(|(_, ours)| ours))
}

/// What a file says, fit for a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// The beginning of a digest, for a message.
fn short(sha256: &str) -> String {
    sha256.chars().take(12).collect()
}
