//! The queues of kept jobs: looked through, and where it is allowed replayed and dropped.

use std::collections::BTreeSet;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use tracing::warn;

use super::{badge, job_link, page, same, select};
use crate::console::Console;
use crate::console::dead::{Entry, Which};
use crate::console::visit::{Shared, Visit, asked};
use crate::console::words::{Lang, number};
use crate::timing::unix_seconds;
use crate::transport::{Kept, Verdict};

/// The query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    queue: String,
    q: String,
    code: String,
    template: String,
    /// Hours that a job has been there for.
    hours: String,
    /// What was done last, and with how many.
    done: String,
    count: String,
}

impl Asked {
    fn kept(&self) -> Kept {
        kept(&self.queue)
    }

    fn which(&self) -> Which {
        let hours: u64 = self.hours.parse().unwrap_or_default();
        Which {
            code: self.code.clone(),
            template: self.template.clone(),
            text: self.q.trim().to_owned(),
            older_than: hours.saturating_mul(3_600),
        }
    }
}

fn kept(queue: &str) -> Kept {
    match queue {
        "unrouted" => Kept::Unrouted(None),
        _ => Kept::Dead,
    }
}

/// `GET /dead`.
pub(in crate::console) async fn dead(
    State(console): Shared,
    visit: Visit,
    query: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = asked(query);
    let kept = asked.kept();
    let listing = match console.dead.list(&console.settings, kept).await {
        Ok(listing) => listing,
        Err(outage) => return super::outage(&console, &visit, &outage),
    };
    let (which, now) = (asked.which(), unix_seconds());
    let found: Vec<&Entry> = listing
        .jobs
        .iter()
        .filter(|entry| which.lets_through(entry, now))
        .collect();
    let value = serde_json::json!({ "jobs": found, "more": listing.more });
    visit.answer(&value, || {
        let lang = visit.lang;
        let title = match kept {
            Kept::Dead => lang.say("Dead queue", "死信队列"),
            Kept::Unrouted(_) => lang.say("Unrouted jobs", "无法投递的作业"),
        };
        let content = html! {
            nav.tabs aria-label=(lang.say("Queues", "队列")) {
                a href="/dead" aria-current=[(kept == Kept::Dead).then_some("page")] { (lang.say("Dead", "死信")) }
                a href="/dead?queue=unrouted" aria-current=[(kept != Kept::Dead).then_some("page")] { (lang.say("Unrouted", "无法投递")) }
            }
            (done(lang, &asked))
            (form(lang, &asked, &listing.jobs))
            (table(&console, lang, &asked, &found, listing.more, now))
        };
        page(&console, &visit, title, &content)
    })
}

/// What was done last.
fn done(lang: Lang, asked: &Asked) -> Markup {
    let count: u64 = asked.count.parse().unwrap_or_default();
    let what = match asked.done.as_str() {
        "replay" => lang.say("sent back to their lanes", "已重新投递"),
        "drop" => lang.say("dropped", "已丢弃"),
        _ => return html! {},
    };
    html! { p.banner.good role="status" { (number(count)) " " (what) } }
}

fn form(lang: Lang, asked: &Asked, jobs: &[Entry]) -> Markup {
    let unique = |of: fn(&Entry) -> &String| {
        let names = jobs.iter().map(of).filter(|name| !name.is_empty());
        same(names.collect::<BTreeSet<_>>())
    };
    html! {
        form.filter role="search" method="get" action="/dead" {
            input type="hidden" name="queue" value=(asked.queue);
            label.grow { span { (lang.say("Job id", "作业编号")) } input type="search" name="q" value=(asked.q) autocomplete="off"; }
            (select(lang, "code", lang.say("Code", "代码"), &asked.code, &unique(|it| &it.code)))
            (select(lang, "template", lang.say("Template", "模板"), &asked.template, &unique(|it| &it.template)))
            label { span { (lang.say("There for longer than", "已停留超过")) }
                select name="hours" {
                    option value="" { (lang.say("any time", "不限")) }
                    @for hours in ["1", "24", "168", "720"] {
                        option value=(hours) selected[hours == asked.hours] { (hours) " " (lang.say("h", "小时")) }
                    }
                }
            }
            button { (lang.say("Filter", "筛选")) }
        }
    }
}

fn table(
    console: &Console,
    lang: Lang,
    asked: &Asked,
    found: &[&Entry],
    more: usize,
    now: u64,
) -> Markup {
    let acts = console.door.actions();
    html! {
        form #kept method="post" action="/dead/ask" {
            input type="hidden" name="csrf" value=(console.door.csrf());
            input type="hidden" name="queue" value=(asked.queue);
            p.hint {
                (number(found.len() as u64)) " " (lang.say("jobs", "件"))
                @if more > 0 { ", " (lang.say("and in the queue as many more that are not listed: ", "队列中另有未列出：")) (number(more as u64)) }
            }
            div.scroll tabindex="0" role="region" aria-label=(lang.say("Kept jobs", "留存的作业")) {
                table.list {
                    thead { tr {
                        @if acts { th scope="col" { input type="checkbox" data-all aria-label=(lang.say("all", "全选")); } }
                        th scope="col" { (lang.say("job", "作业")) }
                        th scope="col" { (lang.say("outcome", "结果")) }
                        th scope="col" { (lang.say("code", "代码")) }
                        th scope="col" { (lang.say("why", "原因")) }
                        th scope="col" { (lang.say("template", "模板")) }
                        th scope="col" { (lang.say("there for", "停留")) }
                    } }
                    tbody {
                        @for entry in found {
                            tr {
                                @if acts { td { input type="checkbox" name="id" value=(entry.id) aria-label=(entry.job_id); } }
                                td { (job_link(&entry.job_id)) @if !entry.whole { " " span.badge.warn { (lang.say("not as sent", "非原样")) } } }
                                td { (badge(lang, &entry.event)) }
                                td { code { (entry.code) } }
                                td.why { (entry.message) }
                                td { (entry.template) }
                                td { @if let Some(since) = entry.since { span title=(since) { (lang.span(now.saturating_sub(since))) } } }
                            }
                        }
                        @if found.is_empty() { tr { td colspan="7" { (lang.say("nothing is here", "空")) } } }
                    }
                }
            }
            @if acts && !found.is_empty() {
                div.actions {
                    button name="verb" value="replay" { (lang.say("Replay those chosen …", "重新投递所选 …")) }
                    button.danger name="verb" value="drop" { (lang.say("Drop those chosen …", "丢弃所选 …")) }
                    span.hint { (lang.say("What would be done is shown first.", "先预演，再执行。")) }
                }
            } @else if !acts {
                p.hint { (lang.say("Read-only: with console.actions = true jobs can be replayed and dropped from here; banshi dead does so from a shell.",
                    "只读：设置 console.actions = true 后可在此重新投递或丢弃；也可在命令行使用 banshi dead。")) }
            }
        }
    }
}

/// `POST /dead/ask` shows what would be done, `/dead/replay` and `/dead/drop` do it.
pub(in crate::console) async fn act(
    State(console): Shared,
    visit: Visit,
    headers: HeaderMap,
    Path(action): Path<String>,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let fields = form.map(|Form(fields)| fields).unwrap_or_default();
    let field = |name: &str| {
        let mut named = fields.iter().filter(|(key, _)| key == name);
        named.next().map_or("", |(_, value)| value.as_str())
    };
    if let Err(refusal) = console.door.lets_act(&headers, field("csrf")) {
        return super::refuse(&console, &visit, refusal);
    }
    let ids: Vec<String> = fields
        .iter()
        .filter(|(key, _)| key == "id")
        .map(|(_, id)| id.clone())
        .collect();
    let queue = field("queue").to_owned();
    let (verb, asks) = match action.as_str() {
        "ask" => (field("verb").to_owned(), true),
        action => (action.to_owned(), false),
    };
    let verdict = match verb.as_str() {
        "replay" => Verdict::Replay,
        "drop" => Verdict::Drop,
        _ => {
            let why = visit.lang.say("want replay or drop", "只能重新投递或丢弃");
            return super::trouble(&console, &visit, StatusCode::BAD_REQUEST, why);
        }
    };
    if asks {
        let listing = match console.dead.list(&console.settings, kept(&queue)).await {
            Ok(listing) => listing,
            Err(outage) => return super::outage(&console, &visit, &outage),
        };
        let jobs = listing.jobs.iter();
        let chosen: Vec<&Entry> = jobs.filter(|entry| ids.contains(&entry.id)).collect();
        let page = rehearsal(&console, &visit, &queue, &verb, &chosen);
        return Html(page.into_string()).into_response();
    }
    let (settings, queue_of) = (&console.settings, kept(&queue));
    match console.dead.settle(settings, queue_of, &ids, verdict).await {
        Ok(done) => {
            let who = console.door.who(&headers);
            let ids = done.join(" ");
            warn!(%who, action = %verb, count = done.len(), %ids, "jobs of the dead queue were settled from the console");
            let count = done.len();
            let queue = queue_of.as_str();
            let back = format!("/dead?queue={queue}&done={verb}&count={count}");
            (StatusCode::SEE_OTHER, [(LOCATION, back)]).into_response()
        }
        Err(outage) => super::outage(&console, &visit, &outage),
    }
}

/// What would be done, to be said yes to.
fn rehearsal(
    console: &Console,
    visit: &Visit,
    queue: &str,
    verb: &str,
    chosen: &[&Entry],
) -> Markup {
    let lang = visit.lang;
    let replays = verb == "replay";
    let (able, unable): (Vec<&Entry>, Vec<&Entry>) =
        chosen.iter().partition(|entry| !replays || entry.whole);
    let title = match replays {
        true => lang.say("Replay these jobs?", "重新投递这些作业？"),
        false => lang.say("Drop these jobs for good?", "永久丢弃这些作业？"),
    };
    let content = html! {
        @if able.is_empty() {
            p.banner.warn { (lang.say("No job was chosen that this can be done with.", "没有选中可执行此操作的作业。")) }
        } @else {
            p {
                (number(able.len() as u64)) " "
                @if replays { (lang.say("jobs go back to their lanes, as they were sent. Nothing has been done yet.", "件作业将原样回到原队列。尚未执行。")) }
                @else { (lang.say("jobs are removed; nobody can bring them back. Nothing has been done yet.", "件作业将被删除，无法恢复。尚未执行。")) }
            }
            ul.ids { @for entry in &able { li { (job_link(&entry.job_id)) " " code { (entry.code) } " " span.quiet { (entry.lane) } } } }
        }
        @if !unable.is_empty() {
            p.banner.warn { (lang.say("These can't be replayed, for no true copy of them can be made; their senders have to send them again:", "以下作业无法重新投递（没有原样副本），须由发送方重新发送：")) }
            ul.ids { @for entry in &unable { li { (job_link(&entry.job_id)) } } }
        }
        form method="post" action={ "/dead/" (verb) } {
            input type="hidden" name="csrf" value=(console.door.csrf());
            input type="hidden" name="queue" value=(queue);
            @for entry in &able { input type="hidden" name="id" value=(entry.id); }
            div.actions {
                @if !able.is_empty() {
                    button.(if replays { "" } else { "danger" }) { (if replays { lang.say("Replay", "重新投递") } else { lang.say("Drop", "丢弃") }) }
                }
                a.button href={ "/dead?queue=" (queue) } { (lang.say("Back", "返回")) }
            }
        }
    };
    page(console, visit, title, &content)
}
