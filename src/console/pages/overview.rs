//! The overview: will everything be out in time, and if not, why.

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{bar, figure, page, time};
use crate::console::known::Management;
use crate::console::visit::{Shared, Visit, asked, json};
use crate::console::words::{Lang, number};
use crate::fleet::{Bucket, Load, Overview, Queue};
use crate::timing::unix_seconds;

/// Seconds of which the counts by template and code are shown.
const DAY: u64 = 24 * 3_600;
/// Problem codes that are shown, the most frequent.
const CODES: usize = 12;

/// `GET /`.
pub(in crate::console) async fn overview(State(console): Shared, visit: Visit) -> Response {
    let now = unix_seconds();
    let deadline = console.settings.console.deadline().unwrap_or_default();
    let (overview, load, management) = {
        let facts = console.known.facts();
        let load = facts.history.load(now.saturating_sub(DAY));
        let management = facts.management.clone();
        (facts.overview(now, deadline), load, management)
    };
    visit.answer(&overview, || {
        let title = visit.lang.say("Overview", "总览");
        let content = content(visit.lang, &overview, &load, management.as_ref());
        page(&console, &visit, title, &content)
    })
}

fn content(
    lang: Lang,
    overview: &Overview,
    load: &Load,
    management: Option<&Management>,
) -> Markup {
    html! {
        (verdict(lang, overview))
        div.columns {
            section {
                h2 { (lang.say("Jobs that end, by minute", "每分钟完结的作业")) }
                div.plot data-plot="/load/minutes" data-labels=(labels(lang)) role="img"
                    aria-label=(lang.say("Jobs that end, by minute, over the last three hours", "最近三小时每分钟完结的作业数")) {}
            }
            section {
                h2 { (lang.say("Backlog", "积压")) }
                div.plot data-plot="/load/queues" data-labels=(lang.say("backlog,dead", "积压,死信")) role="img"
                    aria-label=(lang.say("Jobs that wait, over time", "等待中的作业数")) {}
            }
        }
        div.columns {
            (queues(lang, overview, management))
            (day(lang, load))
        }
        div.columns {
            (codes(lang, load))
            (templates(lang, load))
        }
    }
}

fn labels(lang: Lang) -> &'static str {
    match lang {
        Lang::En => "completed,rejected,failed",
        Lang::Zh => "已完成,已退回,失败",
    }
}

/// The answer to the first question.
fn verdict(lang: Lang, overview: &Overview) -> Markup {
    let Overview {
        at,
        backlog,
        rate_per_minute,
        time_to_empty_seconds,
        deadline,
        fleet,
        hour,
        ..
    } = overview;
    let late = deadline.is_some_and(|deadline| deadline.late == Some(true));
    let stands = backlog.is_some() && time_to_empty_seconds.is_none();
    let left = match time_to_empty_seconds {
        Some(0) => lang.say("empty", "已清空").to_owned(),
        Some(left) => lang.span(*left),
        None if stands => lang.say("never", "无法清空").to_owned(),
        None => lang.say("unknown", "不详").to_owned(),
    };
    let mood = match (late || stands, deadline) {
        (true, _) => "bad",
        (false, Some(_)) if backlog.is_some() => "good",
        (false, _) => "",
    };
    let until = html! {
        @match (time_to_empty_seconds, deadline) {
            (None, _) if !stands => { (lang.say("the broker does not tell this user", "该用户无权得知队列长度")) }
            (None, _) => { (lang.say("nothing ends, and jobs wait", "有作业等待，却无一完结")) }
            (Some(0), None) => { (lang.say("nothing waits", "没有作业在等待")) }
            (Some(left), None) => { (lang.say("until", "至")) " " (time(at + left)) }
            (Some(_), Some(deadline)) if late => {
                strong { (lang.say("LATE", "将逾期")) } " · " (lang.say("due", "截止")) " " (time(deadline.at))
            }
            (Some(_), Some(deadline)) => {
                (lang.say("in time", "来得及")) " · " (lang.say("due", "截止")) " " (time(deadline.at))
            }
        }
    };
    let ready = match fleet.workers {
        workers if fleet.ready < workers || workers == 0 && *backlog > Some(0) => "bad",
        _ if !fleet.mixed.is_empty() => "warn",
        _ => "",
    };
    let oldest = overview
        .oldest_in_hand
        .map(|since| lang.span(at.saturating_sub(since)));
    html! {
        dl.figures #verdict data-live {
            (figure(lang.say("Time to empty", "清空还需"), left, until, &format!("lead {mood}")))
            (figure(lang.say("Backlog", "积压"), count(*backlog), html! {
                (number(fleet.in_flight)) " " (lang.say("in hand", "处理中"))
                @if let Some(oldest) = &oldest { ", " (lang.say("the oldest for", "最久")) " " (oldest) }
            }, ""))
            (figure(lang.say("Rate", "速度"), format!("{rate_per_minute:.1}"), lang.say("jobs a minute", "件/分钟"), ""))
            (figure(lang.say("Last hour", "近一小时"), number(hour.all()), html! {
                a href="/jobs?kind=rejected" { (number(hour.rejected)) " " (lang.state("rejected")) }
                ", "
                a href="/jobs?kind=failed" { (number(hour.failed)) " " (lang.state("failed")) }
            }, if hour.failed > 0 { "warn" } else { "" }))
            (figure(lang.say("Workers", "工作进程"), format!("{}/{}", fleet.ready, fleet.workers), html! {
                a href="/fleet" {
                    @if !fleet.mixed.is_empty() { (lang.say("they differ", "版本不一")) ": " (fleet.mixed.join(", ")) }
                    @else if fleet.silent > 0 { (fleet.silent) " " (lang.say("silent", "无声响")) }
                    @else if fleet.workers == 0 { (lang.say("none was heard", "未听到任何进程")) }
                    @else { (lang.say("ready", "就绪")) }
                }
            }, ready))
        }
        @if !fleet.why.is_empty() {
            div.banner.bad #why data-live role="alert" {
                strong { (lang.say("Workers are not ready:", "工作进程未就绪：")) }
                ul { @for why in &fleet.why { li { (why) } } }
            }
        } @else { div #why data-live {} }
    }
}

fn queues(lang: Lang, overview: &Overview, management: Option<&Management>) -> Markup {
    let most = overview.queues.iter().filter_map(|queue| queue.ready).max();
    let most = most.unwrap_or_default().max(1);
    let row = |queue: &Queue| Row {
        name: match queue.name.as_str() {
            "dead" => html! { a href="/dead" { (lang.queue("dead")) } },
            "unrouted" => html! { a href="/dead?queue=unrouted" { (lang.queue("unrouted")) } },
            name => html! { (lang.queue(name)) },
        },
        count: queue.ready,
        of: most,
        kind: queue.name.clone(),
        mood: match queue.name.as_str() {
            "dead" | "unrouted" if queue.ready > Some(0) => "warn",
            _ => "",
        },
    };
    let rows: Vec<Row> = overview.queues.iter().map(row).collect();
    html! {
        section #queues data-live {
            h2 { (lang.say("Queues", "队列")) }
            (tally([lang.say("queue", "队列"), lang.say("ready", "待取")], &rows))
            @if rows.is_empty() { p.quiet { (lang.say("nothing is known yet", "尚无数据")) } }
            @if let Some(management) = management {
                p.hint {
                    @match &management.out {
                        Some(why) => { (lang.say("the management API does not answer: ", "管理接口没有响应：")) (why) }
                        None => {
                            (number(management.unacknowledged)) " " (lang.say("delivered and not acknowledged; ", "条已投递未确认；"))
                            (number(management.event_queues)) " " (lang.say("queues hear the events", "个队列接收事件"))
                        }
                    }
                }
            }
        }
    }
}

fn day(lang: Lang, load: &Load) -> Markup {
    let Bucket {
        completed,
        rejected,
        failed,
    } = load.all;
    let counts = [
        ("completed", completed),
        ("rejected", rejected),
        ("failed", failed),
    ];
    let rows = counts.map(|(state, count)| Row {
        name: html! { a href={ "/jobs?kind=" (state) } { (super::badge(lang, state)) } },
        count: Some(count),
        of: load.all.all().max(1),
        kind: state.to_owned(),
        mood: "",
    });
    html! {
        section #day data-live {
            h2 { (lang.say("Last 24 hours", "近 24 小时")) }
            (tally([lang.say("outcome", "结果"), lang.say("jobs", "作业")], &rows))
        }
    }
}

fn codes(lang: Lang, load: &Load) -> Markup {
    let mut codes: Vec<_> = load.codes.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let most = codes.first().map_or(1, |(_, count)| **count);
    let rows = codes.into_iter().take(CODES).map(|(code, count)| Row {
        name: html! { a href={ "/jobs?code=" (super::encoded(code)) } { code { (code) } } },
        count: Some(*count),
        of: most,
        kind: String::new(),
        mood: "",
    });
    let rows: Vec<Row> = rows.collect();
    html! {
        section #codes data-live {
            h2 { (lang.say("Problems, last 24 hours", "近 24 小时的问题")) }
            @if rows.is_empty() { p.quiet { (lang.say("none", "无")) } }
            @else { (tally([lang.say("code", "代码"), lang.say("reports", "报告")], &rows)) }
        }
    }
}

fn count(known: Option<u64>) -> String {
    known.map_or_else(|| "?".to_owned(), number)
}

/// A count, with a bar beside it.
struct Row {
    name: Markup,
    /// None: it is not known.
    count: Option<u64>,
    /// What a whole bar would be.
    of: u64,
    /// What is counted, by which the bar has its colour.
    kind: String,
    mood: &'static str,
}

fn tally([name, counted]: [&str; 2], rows: &[Row]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { (name) } th.number scope="col" { (counted) } th.wide {} } }
            tbody {
                @for row in rows {
                    tr {
                        th scope="row" { (row.name) }
                        td.number.(row.mood) { (count(row.count)) }
                        td.wide { @if let Some(some @ 1..) = row.count { (bar(&row.kind, some as f64 / row.of as f64)) } }
                    }
                }
            }
        }
    }
}

fn templates(lang: Lang, load: &Load) -> Markup {
    html! {
        section #templates data-live {
            h2 { (lang.say("Templates, last 24 hours", "近 24 小时的模板")) }
            @if load.templates.is_empty() { p.quiet { (lang.say("none", "无")) } }
            @else {
                table {
                    thead { tr {
                        th scope="col" { (lang.say("template", "模板")) }
                        @for state in ["completed", "rejected", "failed"] { th.number scope="col" { (lang.state(state)) } }
                    } }
                    tbody {
                        @for (name, counts) in &load.templates {
                            tr {
                                th scope="row" {
                                    @match name.as_str() {
                                        "" => span.quiet { (lang.say("not known", "未知")) },
                                        name => a href={ "/jobs?template=" (super::encoded(name)) } { (name) },
                                    }
                                }
                                td.number { (number(counts.completed)) }
                                td.number { (number(counts.rejected)) }
                                td.number { (number(counts.failed)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The query of the counts.
#[derive(Debug, Default, Deserialize)]
pub(in crate::console) struct Since {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    minutes: u64,
}

/// `GET /load?since=SECONDS`: what is counted from an hour on, as JSON.
pub(in crate::console) async fn load(
    State(console): Shared,
    query: Result<Query<Since>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let since = asked(query).since;
    json(&console.known.facts().history.load(since))
}

/// `GET /load/minutes?minutes=N`: the outcomes by minute, as columns for a plot.
pub(in crate::console) async fn minutes(
    State(console): Shared,
    query: Result<Query<Since>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let minutes = match asked(query).minutes {
        0 => 180,
        minutes => minutes.min(crate::fleet::MINUTES),
    };
    let now = unix_seconds();
    let counts = console.known.facts().history.minutes(now, minutes);
    let column = |of: fn(&Bucket) -> u64| counts.iter().map(|(_, it)| of(it)).collect::<Vec<_>>();
    let times: Vec<u64> = counts.iter().map(|(at, _)| *at).collect();
    json(&[
        times,
        column(|it| it.completed),
        column(|it| it.rejected),
        column(|it| it.failed),
    ])
}

/// `GET /load/queues`: the backlog and the dead queue over time, as columns for a plot.
pub(in crate::console) async fn samples(State(console): Shared) -> Response {
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for sample in &console.known.facts().samples {
        columns[0].push(Some(sample.at));
        columns[1].push(sample.backlog);
        columns[2].push(sample.dead);
    }
    json(&columns)
}
