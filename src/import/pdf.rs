//! A PDF of banshi, back as its job: its attachments hold all but what decided whether the job was
//! taken, `prior` and `on_violation`.

use serde_json::{Value as Json, json};

use super::{Imported, Remark, RemarkKind, Unusable};
use crate::attachment::{Unreadable, attachment};
use crate::digest::sha256;
use crate::report::json::Node;
use crate::typesetter::{DATA, PROVENANCE, Provenance};

/// The largest data that are read, in bytes: what is attached may be deflated from very little.
const MOST_DATA: usize = 16 << 20;

pub(super) fn read(pdf: &[u8]) -> Result<Imported, Unusable> {
    let provenance = attachment(pdf, PROVENANCE).map_err(unusable)?;
    let data = attachment(pdf, DATA).map_err(unusable)?;
    if provenance.len().max(data.len()) > MOST_DATA {
        let most = MOST_DATA >> 20;
        return Err(Unusable::new(
            format!("what is attached is larger than {most} MiB: no job is"),
            format!("附件超过{most} MiB，不会是任务"),
        ));
    }
    let provenance: Provenance =
        serde_json::from_slice(&provenance).map_err(|error| other(PROVENANCE, &error))?;
    let report: Json = serde_json::from_slice(&data).map_err(|error| other(DATA, &error))?;
    let mut job = json!({
        "job_id": provenance.job.id,
        "template": provenance.template.name,
        "data": report,
    });
    let mut remarks = Vec::new();
    if sha256(&data) != provenance.data.sha256 {
        remarks.push(Remark {
            place: DATA.to_owned(),
            kind: RemarkKind::Assumed,
            en: format!(
                "it is not what {PROVENANCE} names: the PDF was changed; `banshi verify` says more"
            ),
            zh: format!("{DATA}：与{PROVENANCE}所记不符，PDF曾被改动；详见banshi verify"),
        });
    } else if !complete(&mut job, &provenance.job.sha256) {
        remarks.push(Remark {
            place: "/prior".to_owned(),
            kind: RemarkKind::Unread,
            en: "the job that the PDF was made of said more than its data: last year's figures \
                 (prior), which no PDF holds; with them on_violation may be missing"
                .to_owned(),
            zh: "/prior：排出此PDF的任务除data外还有上年度数字（prior），PDF中不含，\
                 on_violation也可能缺失"
                .to_owned(),
        });
    }
    Ok(Imported { job, remarks })
}

/// Completes a job with the `on_violation` that it had: the one with which it has the digest of the
/// job that the PDF was made of. Whether there is one.
fn complete(job: &mut Json, digest: &str) -> bool {
    let is_it = |job: &Json| {
        let node = serde_json::from_str::<Node>(&job.to_string());
        node.is_ok_and(|node| sha256(node.canonical().as_bytes()) == digest)
    };
    if is_it(job) {
        return true;
    }
    for said in ["warn", "reject"] {
        let mut other = job.clone();
        other["on_violation"] = json!(said);
        if is_it(&other) {
            *job = other;
            return true;
        }
    }
    false
}

fn unusable(why: Unreadable) -> Unusable {
    const INSTEAD: &str = "import the page or the text that was published";
    const INSTEAD_ZH: &str = "请导入公开的网页或文本";
    match why {
        Unreadable::NotPdf => Unusable::new("it is not a PDF", "不是PDF"),
        Unreadable::Foreign => Unusable::new(
            format!("{}: {INSTEAD}", Unreadable::Foreign),
            format!("此PDF不是banshi所排，或已被其他程序重新保存：{INSTEAD_ZH}"),
        ),
        Unreadable::Absent => Unusable::new(
            format!("no report is attached to this PDF: {INSTEAD}"),
            format!("此PDF未附报告数据：{INSTEAD_ZH}"),
        ),
    }
}

fn other(name: &str, error: &serde_json::Error) -> Unusable {
    Unusable::new(
        format!("what is attached as {name} is not what banshi attaches: {error}"),
        format!("附件{name}的内容不是banshi所附的内容"),
    )
}
