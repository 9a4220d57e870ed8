//! One job: its whole story, its pages, and what is wrong with it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{badge, encoded, page as whole_page, time};
use crate::config::{Format, Gives};
use crate::console::Console;
use crate::console::dead::Entry;
use crate::console::drawing::Drawn;
use crate::console::stories;
use crate::console::visit::{Shared, Visit, asked};
use crate::console::words::{Lang, number};
use crate::escape;
use crate::fleet::{Story, Told};
use crate::problem::{Outage, Problem};
use crate::timing::unix_seconds;
use crate::transport::Kept;
use crate::typesetter::proof::{Page, Proof};

/// `GET /jobs/ID`.
pub(in crate::console) async fn job(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
) -> Response {
    let mut story = match stories::story(&console, &id).await {
        Ok(story) => story,
        Err(outage) => return super::outage(&console, &visit, &outage),
    };
    let dead = match story.state.as_str() {
        "completed" | "in_hand" => None,
        _ => match kept(&console, &id).await {
            Ok(dead) => dead,
            Err(outage) => return super::outage(&console, &visit, &outage),
        },
    };
    if matches!(story.state.as_str(), "rejected" | "failed" | "unknown") {
        story.dead = Some(dead.is_some());
    }
    let pictures = match visit.json {
        true => Ok(None),
        false => pictures(&console, &story, dead.as_ref()).await,
    };
    let lang = visit.lang;
    let content = html! {
        (headline(lang, &story, dead.as_ref()))
        (what_to_do(lang, &story, dead.as_ref()))
        (result(lang, &id, story.events.last()))
        (wrong(lang, &id, &story, &pictures))
        (timeline(lang, &story))
        @if let Ok(Some(drawn)) = &pictures { (stored_pages(lang, &id, last(&story), drawn)) }
    };
    visit.answer(&story, || whole_page(&console, &visit, &id, &content))
}

/// The job in the dead queue, or among the unrouted.
async fn kept(console: &Console, id: &str) -> Result<Option<Entry>, Outage> {
    for queue in [Kept::Dead, Kept::Unrouted(None)] {
        let listing = console.dead.list(&console.settings, queue).await?;
        if let Some(entry) = listing
            .jobs
            .iter()
            .find(|entry| entry.id == id || entry.job_id == id)
        {
            return Ok(Some(entry.clone()));
        }
    }
    Ok(None)
}

/// What can be drawn: of what is stored its pages, of what was refused its proof.
async fn pictures(
    console: &Console,
    story: &Story,
    dead: Option<&Entry>,
) -> Result<Option<Arc<Drawn>>, Outage> {
    let name = name(&story.job_id, last(story));
    if story.state == "completed"
        && let Some(Told { event, .. }) = story.events.last()
    {
        return console.drawing.pages(&name, event).await;
    }
    let Some(body) = dead.and_then(|entry| entry.body.as_deref()) else {
        return Ok(None);
    };
    let problems = problems(story);
    let drawn = console.drawing.proof(&name, body, &problems).await?;
    Ok(Some(drawn))
}

/// Whether a job is under way, so that its page is fetched again when something is new.
fn moves(story: &Story) -> bool {
    matches!(story.state.as_str(), "in_hand" | "waiting")
}

/// Under which name a job's pictures are kept: those of its last event.
fn name(job_id: &str, last: u64) -> String {
    format!("job {job_id} {last}")
}

/// The last event's place in the log; 0, when there is none.
fn last(story: &Story) -> u64 {
    story.events.last().map_or(0, |told| told.offset)
}

/// The problems that were told of a job.
fn problems(story: &Story) -> Vec<Problem> {
    let told = story.events.last();
    let problems = told.map(|told| told.event["data"]["problems"].clone());
    problems
        .and_then(|problems| serde_json::from_value(problems).ok())
        .unwrap_or_default()
}

fn headline(lang: Lang, story: &Story, dead: Option<&Entry>) -> Markup {
    let text = |pointer: &str| {
        let told = story.events.last();
        let value = told.and_then(|told| told.event.pointer(pointer));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let year = story
        .events
        .last()
        .and_then(|told| told.event["data"]["year"].as_u64());
    let template = match dead {
        Some(entry) if !entry.template.is_empty() => entry.template.clone(),
        _ => text("/data/template"),
    };
    html! {
        div.headline #headline data-live[moves(story)] {
            p.state { (badge(lang, dead.map_or(story.state.as_str(), |entry| match story.state.as_str() {
                "unknown" => entry.event.as_str(),
                state => state,
            })))
                @if dead.is_some() { " " a.badge.quiet href="/dead" { (lang.say("in the dead queue", "在死信队列中")) } }
            }
            dl.facts {
                @if !text("/data/agency").is_empty() { div { dt { (lang.say("agency", "单位")) } dd { (text("/data/agency")) } } }
                @if let Some(year) = year { div { dt { (lang.say("year", "年份")) } dd { (year) } } }
                @if !template.is_empty() { div { dt { (lang.say("template", "模板")) } dd { (template) } } }
                @if let Some(entry) = dead {
                    div { dt { (lang.say("lane", "通道")) } dd { (lang.queue(&entry.lane)) } }
                    div { dt { (lang.say("size", "大小")) } dd { (number(entry.bytes as u64)) " B" } }
                }
            }
        }
    }
}

/// One sentence on what helps.
fn what_to_do(lang: Lang, story: &Story, dead: Option<&Entry>) -> Markup {
    let (en, zh) = match (story.state.as_str(), dead) {
        ("completed", _) => return html! {},
        ("rejected", _) => (
            "The report is at fault, and not the service: whoever sent it has to correct what is \
             listed below and to send it again. Nothing has to be done here; the copy in the dead \
             queue can be dropped once it was sent again.",
            "问题在报告本身，服务正常：请发送方按下列问题更正后重新发送。此处无需处理；重新发送后可丢弃死信队列中的副本。",
        ),
        ("failed", _) => (
            "A part of the service was out until the attempts were used up. See that it is back \
             (banshi doctor), then replay the job.",
            "服务的某个部件一直不可用，重试次数已用完。请先确认其恢复（banshi doctor），再重新投递。",
        ),
        ("in_hand", _) => (
            "A worker has it in hand. If that lasts, look at the worker on the fleet's page.",
            "某个工作进程正在处理。如果持续很久，请到“工作进程”页查看该进程。",
        ),
        ("waiting", _) => (
            "It waits for its next attempt, which comes by itself. Why it waits is below.",
            "正在等待下一次重试，会自动进行。原因见下。",
        ),
        (_, Some(entry)) if entry.event == "crashed" => (
            "Its workers ended before it did, every time that it was delivered. Show the job to \
             whoever looks after banshi before it is replayed.",
            "每次投递时处理它的进程都先行终止。重新投递前请交由维护人员检查。",
        ),
        (_, Some(_)) => (
            "It was sent with a routing key that is no lane. Replay it from the unrouted queue, \
             and correct the sender.",
            "发送时使用的路由键不是任何通道。请从“无法投递”队列重新投递，并更正发送方。",
        ),
        (_, None) => (
            "No event names it, and no worker has it in hand. It waits in a queue, or it was never \
             sent with this id: ask its sender whether the broker confirmed it.",
            "没有事件提到它，也没有进程在处理。它可能仍在队列中等待，或从未以此编号发送：请向发送方核实是否收到确认。",
        ),
    };
    html! { p.banner.info { strong { (lang.say("What to do: ", "怎么办：")) } (lang.say(en, zh)) } }
}

fn result(lang: Lang, id: &str, told: Option<&Told>) -> Markup {
    let Some(told) = told.filter(|told| told.event["type"] == "report.completed") else {
        return html! {};
    };
    let data = &told.event["data"];
    let text = |pointer: &str| {
        data.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let count = |pointer: &str| {
        data.pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    html! {
        section {
            h2 { (text("/title")) }
            dl.facts {
                div { dt { "PDF" } dd { a href={ "/jobs/" (encoded(id)) "/report.pdf" } { (lang.say("open", "打开")) } } }
                div { dt { (lang.say("pages", "页数")) } dd { (count("/artifact/pages")) } }
                div { dt { (lang.say("size", "大小")) } dd { (number(count("/artifact/bytes"))) " B" } }
                div { dt { (lang.say("standard", "标准")) } dd { (text("/artifact/standard")) } }
                div { dt { "SHA-256" } dd { code { (text("/artifact/sha256")) } } }
                div { dt { (lang.say("stored at", "存储位置")) } dd { code { (text("/artifact/uri")) } } }
                div { dt { (lang.say("manifest", "清单")) } dd { code { (text("/manifest/uri")) } } }
            }
            @for companion in data["companions"].as_array().into_iter().flatten() { (beside(lang, id, companion)) }
            @if let Some(warnings) = data["warnings"].as_array().filter(|list| !list.is_empty()) {
                h3 { (lang.say("Warnings", "警告")) }
                ol.problems { @for warning in warnings {
                    li { code { (warning["code"].as_str().unwrap_or_default()) } " " code.path { (warning["path"].as_str().unwrap_or_default()) }
                        p lang="zh-CN" { (warning["message_zh"].as_str().unwrap_or_default()) }
                        p lang="en" { (warning["message"].as_str().unwrap_or_default()) } }
                } }
            }
        }
    }
}

/// A stored file that is given out.
#[derive(Debug, Clone, Copy)]
pub(in crate::console) struct Given {
    /// What its name ends in, which is its format in a manifest, too.
    pub(in crate::console) ending: &'static str,
    media_type: &'static str,
    /// What it is called, in English and Chinese.
    name: [&'static str; 2],
    /// Whether a browser shows it.
    shown: bool,
}

/// All that are.
pub(in crate::console) fn given_out() -> [Given; 6] {
    let format = |format: Format, name| Given {
        ending: format.as_str(),
        media_type: format.media_type(),
        name: [name; 2],
        shown: format != Format::Ofd,
    };
    let signature = |gives: Gives, name| Given {
        ending: gives.ending(),
        media_type: gives.media_type(),
        name,
        shown: gives == Gives::Pdf,
    };
    [
        format(Format::Pdf, "PDF"),
        format(Format::Ofd, "OFD"),
        format(Format::Html, "HTML"),
        signature(Gives::Pdf, ["signed copy", "签名后的副本"]),
        signature(Gives::Cms, ["signature", "签名"]),
        signature(Gives::Sm2, ["signature", "签名"]),
    ]
}

/// What stands beside the PDF: the same report in another format, or a signature of it. A later
/// version may have formats that this one can't give out.
fn beside(lang: Lang, id: &str, companion: &Value) -> Markup {
    let text = |name: &str| companion[name].as_str().unwrap_or_default();
    let format = text("format");
    let known = given_out().into_iter().find(|it| it.ending == format);
    let name = known.map(|known| lang.say(known.name[0], known.name[1]).to_owned());
    let name = name.unwrap_or_else(|| format.to_uppercase());
    html! {
        dl.facts {
            div { dt { (name) } dd {
                @match known {
                    Some(known) => a href={ "/jobs/" (encoded(id)) "/report." (known.ending) } {
                        @if known.shown { (lang.say("open", "打开")) } @else { (lang.say("download", "下载")) }
                    },
                    None => "–",
                }
            } }
            div { dt { (lang.say("size", "大小")) } dd { (number(companion["bytes"].as_u64().unwrap_or_default())) " B" } }
            div { dt { "SHA-256" } dd { code { (text("sha256")) } } }
            div { dt { (lang.say("stored at", "存储位置")) } dd { code { (text("uri")) } } }
        }
    }
}

/// What is wrong with a job, beside the picture of its pages.
fn wrong(
    lang: Lang,
    id: &str,
    story: &Story,
    pictures: &Result<Option<Arc<Drawn>>, Outage>,
) -> Markup {
    let told = problems(story);
    let problems = match pictures.as_ref().map(|drawn| drawn.as_deref()) {
        Ok(Some(Drawn::Proof(problems, _))) if !problems.is_empty() => problems,
        _ => &told,
    };
    if let Some(error) = story.events.last().map(|told| &told.event["data"]["error"])
        && error.is_object()
    {
        return html! {
            section { h2 { (lang.say("The last error", "最后一次错误")) }
                p { code { (error["code"].as_str().unwrap_or_default()) } " " (error["message"].as_str().unwrap_or_default()) } }
        };
    }
    if problems.is_empty() {
        return html! {};
    }
    let (first, second) = match lang {
        Lang::En => ("en", "zh-CN"),
        Lang::Zh => ("zh-CN", "en"),
    };
    html! {
        section.wrong {
            h2 { (lang.say("What is wrong", "存在的问题")) " (" (problems.len()) ")" }
            div.beside {
                ol.problems {
                    @for (index, problem) in problems.iter().enumerate() {
                        li #{ "problem-" (index + 1) } tabindex="-1" {
                            div { code { (problem.code) } " " code.path { (escape::text(&problem.path)) } }
                            p.first lang=(first) { (lang.say(&problem.message, &problem.message_zh)) }
                            p.second lang=(second) { (lang.say(&problem.message_zh, &problem.message)) }
                            @if problem.expected.is_some() || problem.actual.is_some() {
                                p.values {
                                    @if let Some(actual) = &problem.actual { (lang.say("there is ", "实际")) " " code { (actual) } " " }
                                    @if let Some(expected) = &problem.expected { (lang.say("wanted ", "应为")) " " code { (expected) } }
                                }
                            }
                        }
                    }
                }
                @match pictures.as_ref().map(|drawn| drawn.as_deref()) {
                    Ok(Some(Drawn::Proof(problems, proof))) => (proof_pages(lang, id, last(story), problems, proof.as_ref())),
                    Ok(_) => p.quiet { (lang.say("There is no picture: the job is not in the dead queue any more, or too large.", "没有图样：作业已不在死信队列中，或过大。")) },
                    Err(outage) => p.banner.warn { (lang.say("The pages can't be drawn now: ", "目前无法绘制页面：")) (outage.chain()) },
                }
            }
        }
    }
}

/// The pages of a proof, each with links from what is marked to the list.
fn proof_pages(
    lang: Lang,
    id: &str,
    of: u64,
    problems: &[Problem],
    proof: Option<&Proof>,
) -> Markup {
    let Some(proof) = proof else {
        return html! { p.quiet { (lang.say("Nothing of it can be laid out, so there is no picture.", "内容完全无法排版，因此没有图样。")) } };
    };
    let marked = |page: &&Page| !page.marks.is_empty();
    let count = proof.pages.iter().filter(marked).count();
    html! {
        div.proofs {
            @if proof.tables_alone { p.hint { (lang.say("The texts can't be laid out: only the tables are shown.", "正文无法排版：仅显示表格。")) } }
            @for (index, page) in proof.pages.iter().enumerate() {
                @let alt = format!("{} {}{}", lang.say("Page", "第"), page.number, lang.say("", " 页"));
                @if page.marks.is_empty() && count > 0 {
                    details { summary { (alt) " · " (lang.say("nothing marked", "无标记")) } (proof_page(id, of, index, page, &alt, problems)) }
                } @else { (proof_page(id, of, index, page, &alt, problems)) }
            }
            @if proof.all_pages > proof.pages.len() { p.hint { (number(proof.all_pages as u64)) " " (lang.say("pages in all", "页，仅显示一部分")) } }
        }
    }
}

fn proof_page(
    id: &str,
    of: u64,
    index: usize,
    page: &Page,
    alt: &str,
    problems: &[Problem],
) -> Markup {
    html! {
        svg.page viewBox={ "0 0 " (page.width) " " (page.height) } role="group" aria-label=(alt) {
            image href={ "/jobs/" (encoded(id)) "/proof/" (index + 1) "?of=" (of) } width=(page.width) height=(page.height) {}
            @for mark in &page.marks {
                @if let Some(first) = mark.problems.first() {
                    a href={ "#problem-" (first + 1) } aria-label=[problems.get(*first).map(|problem| problem.message_zh.as_str())] {
                        rect.mark x=(mark.x) y=(mark.y) width=(mark.width) height=(mark.height) {
                            @if let Some(problem) = problems.get(*first) { title { (problem.code) " " (problem.message_zh) } }
                        }
                    }
                }
            }
        }
    }
}

/// The pages of what is stored.
fn stored_pages(lang: Lang, id: &str, of: u64, drawn: &Drawn) -> Markup {
    let Drawn::Pages(pages) = drawn else {
        return html! {};
    };
    html! {
        @if !pages.is_empty() {
            section {
                h2 { (lang.say("Pages", "页面")) }
                div.sheets {
                    @for page in 1..=pages.len() {
                        a href={ "/jobs/" (encoded(id)) "/pages/" (page) "?of=" (of) } {
                            img src={ "/jobs/" (encoded(id)) "/pages/" (page) "?of=" (of) } loading="lazy" alt={ (lang.say("Page", "第")) " " (page) (lang.say("", " 页")) };
                        }
                    }
                }
            }
        }
    }
}

fn timeline(lang: Lang, story: &Story) -> Markup {
    let now = unix_seconds();
    html! {
        section #timeline data-live[moves(story)] {
            h2 { (lang.say("Story", "经过")) }
            ol.timeline {
                @for told in &story.events {
                    li { (badge(lang, told.event["type"].as_str().unwrap_or_default())) " "
                        (told.event["time"].as_str().map_or_else(|| html! {}, stamp))
                        " " span.quiet { (lang.say("event", "事件")) " " code { (told.event["id"].as_str().unwrap_or_default()) } }
                        @if let Some(attempts) = told.event["data"]["attempts"].as_u64() { " " (attempts) " " (lang.say("attempts", "次尝试")) }
                    }
                }
                @for wait in &story.waits {
                    li { (badge(lang, "waiting")) " " (lang.say("after attempt", "第")) " " (wait.attempt) " " (lang.say("", "次尝试之后"))
                        " → " (time(wait.until))
                        @if wait.until > now { " (" (lang.span(wait.until - now)) ")" }
                        p.quiet { code { (wait.part) } " " (wait.why) } }
                }
                @if let (Some(worker), Some(job)) = (&story.worker, &story.in_hand) {
                    li { (badge(lang, "in_hand")) " " (time(job.since)) " " (lang.say("worker", "进程")) " " a href="/fleet" { (worker) }
                        ", " (lang.say("attempt", "尝试")) " " (job.attempt) }
                }
            }
            @if story.events.is_empty() && story.waits.is_empty() && story.in_hand.is_none() {
                p.quiet {
                    @match story.looked_since {
                        0 => { (lang.say("The whole log of events was looked through.", "已查遍整个事件日志。")) }
                        since => { (lang.say("The log was looked through since ", "已查日志，始于 ")) (time(since)) }
                    }
                }
            }
        }
    }
}

/// A time as an event has it.
fn stamp(text: &str) -> Markup {
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    match parsed
        .ok()
        .and_then(|it| u64::try_from(it.unix_timestamp()).ok())
    {
        Some(seconds) => time(seconds),
        None => html! { (text) },
    }
}

/// A stored page for the web is not the console's: it has its own style, and nothing of it runs.
const FOREIGN: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; \
                       frame-ancestors 'none'";

/// `GET /jobs/ID/report.pdf`, and what stands beside it.
pub(in crate::console) async fn report(
    State(console): Shared,
    visit: Visit,
    Path(id): Path<String>,
    file: Given,
) -> Response {
    let Given {
        ending,
        media_type,
        shown,
        ..
    } = file;
    let found = async {
        let story = stories::story(&console, &id).await?;
        match story.events.last() {
            Some(told) => console.drawing.stored(&told.event, ending).await,
            None => Ok(None),
        }
    };
    match found.await {
        Ok(Some(bytes)) => {
            let shown = if shown { "inline" } else { "attachment" };
            let headers = [
                (CONTENT_TYPE, media_type.to_owned()),
                (
                    CONTENT_DISPOSITION,
                    format!("{shown}; filename=\"report.{ending}\""),
                ),
            ];
            let mut answer = (headers, bytes).into_response();
            if ending == Format::Html.as_str() {
                let policy = HeaderValue::from_static(FOREIGN);
                answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            }
            answer
        }
        Ok(None) => {
            let name = ending.to_uppercase();
            let why = match visit.lang {
                Lang::En => format!("its {name} is not in this store"),
                Lang::Zh => format!("{name} 不在此存储中"),
            };
            super::trouble(&console, &visit, StatusCode::NOT_FOUND, &why)
        }
        Err(outage) => super::outage(&console, &visit, &outage),
    }
}

/// Which of a job's pictures.
#[derive(Debug, Default, Deserialize)]
pub(in crate::console) struct Of {
    /// The event that they were drawn for.
    #[serde(default)]
    of: u64,
}

/// `GET /jobs/ID/pages/N` and `/jobs/ID/proof/N`: a picture that the job's page has had drawn, or
/// it is drawn again.
pub(in crate::console) async fn picture(
    State(console): Shared,
    Path((id, number)): Path<(String, usize)>,
    query: Result<Query<Of>, QueryRejection>,
) -> Response {
    let drawn = match console.drawing.kept(&name(&id, asked(query).of)) {
        Some(drawn) => Some(drawn),
        None => {
            let drawn = async {
                let story = stories::story(&console, &id).await?;
                let dead = kept(&console, &id).await?;
                pictures(&console, &story, dead.as_ref()).await
            };
            drawn.await.ok().flatten()
        }
    };
    match drawn.as_ref().and_then(|drawn| drawn.picture(number)) {
        Some(page) => ([(CONTENT_TYPE, "image/png")], page.to_vec()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
