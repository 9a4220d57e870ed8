//! The workers, each by itself.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::{job_link, page, time};
use crate::console::visit::{Shared, Visit};
use crate::console::words::{Lang, number};
use crate::fleet::{Heard, WorkerStatus};
use crate::timing::unix_seconds;

/// Jobs in hand that are listed of each worker.
const LISTED: usize = 8;
/// Seconds by which a worker's clock may be off.
const CLOCK: i64 = 10;

/// `GET /fleet`.
pub(in crate::console) async fn fleet(State(console): Shared, visit: Visit) -> Response {
    let now = unix_seconds();
    let workers = console.known.facts().workers.clone();
    let heard: Vec<&Heard> = workers.all().collect();
    let (mixed, holders) = (workers.mixed(now), &workers.holders);
    let value = serde_json::json!({
        "workers": heard.iter().map(|heard| serde_json::json!({
            "status": heard.status,
            "heard_at": heard.at,
            "silent": heard.is_silent(now),
        })).collect::<Vec<_>>(),
        "differ_in": mixed,
        "spool": holders,
        "unheard": workers.unheard,
    });
    visit.answer(&value, || {
        let lang = visit.lang;
        let content = html! {
            div #fleet data-live {
                @if !mixed.is_empty() {
                    p.banner.warn role="alert" {
                        strong { (lang.say("The workers differ in: ", "工作进程不一致：")) (mixed.join(", ")) ". " }
                        (lang.say("The same job may make other bytes at another worker. Restart those that are behind.",
                                  "同一作业在不同进程可能生成不同的文件。请重启版本落后的进程。"))
                    }
                }
                @if heard.is_empty() && holders.is_empty() {
                    p.banner.warn { (lang.say("No worker was heard. Each says every few seconds how it is, to the exchange banshi.status; those of an earlier version do not.",
                        "没有听到任何工作进程。各进程每隔几秒向交换机 banshi.status 报告状态；旧版本的进程不报告。"))
                        @if let Some(why) = &workers.unheard { " " (why) } }
                }
                @for heard in &heard { (worker(lang, heard, now, &mixed)) }
                @if !holders.is_empty() {
                    table {
                        thead { tr { th scope="col" { (lang.say("worker", "进程")) } th.number scope="col" { (lang.say("in hand", "处理中")) } } }
                        tbody { @for (name, held) in holders { tr { th scope="row" { (name) } td.number { (number(*held)) } } } }
                    }
                }
            }
        };
        page(&console, &visit, lang.say("Fleet", "工作进程"), &content)
    })
}

fn worker(lang: Lang, heard: &Heard, now: u64, mixed: &[&str]) -> Markup {
    let status: &WorkerStatus = &heard.status;
    let silent = heard.is_silent(now);
    let census = status.typesetters;
    let (mood, state) = match (silent, status.ready) {
        (true, _) => ("quiet", lang.say("silent", "无声响")),
        (_, true) => ("good", lang.say("ready", "就绪")),
        (_, false) => ("bad", lang.say("not ready", "未就绪")),
    };
    let digest = |text: &str| text.chars().take(12).collect::<String>();
    let differs = |name: &str| if mixed.contains(&name) { "warn" } else { "" };
    html! {
        section.worker.(mood) {
            h2 { (status.worker) " " span.badge.(mood) { (state) } }
            @if silent { p.hint { (lang.say("last heard ", "最后一次报告 ")) (time(heard.at)) } }
            @if let Some(why) = &status.why { p.banner.bad { (why) } }
            dl.facts {
                div { dt { (lang.say("version", "版本")) } dd.(differs("version")) { (status.version) } }
                div { dt { (lang.say("engine", "排版引擎")) } dd.(differs("engine")) { (status.engine) } }
                div { dt { (lang.say("templates", "模板")) } dd.(differs("templates")) { code title=(status.templates_sha256) { (digest(&status.templates_sha256)) } } }
                div { dt { (lang.say("fonts", "字体")) } dd.(differs("fonts")) { code title=(status.fonts_sha256) { (digest(&status.fonts_sha256)) } } }
                div { dt { (lang.say("up for", "已运行")) } dd { (lang.span(status.at.saturating_sub(status.started_at))) } }
                div { dt { (lang.say("typesetters", "排版进程")) } dd {
                    (census.busy) " " (lang.say("busy", "忙")) ", " (census.idle) " " (lang.say("idle", "闲"))
                    @if census.starting > 0 { ", " (census.starting) " " (lang.say("starting", "启动中")) }
                } }
                div { dt { (lang.say("replaced", "已更换")) } dd.(if census.replaced > 0 { "warn" } else { "" }) { (number(census.replaced)) } }
                div { dt { (lang.say("largest", "最大内存")) } dd { (number(census.memory_bytes >> 20)) " MiB" } }
                div { dt { (lang.state("completed")) } dd { (number(status.jobs.completed)) } }
                div { dt { (lang.state("rejected")) } dd { (number(status.jobs.rejected)) } }
                div { dt { (lang.state("failed")) } dd { (number(status.jobs.failed)) } }
                div { dt { (lang.say("sent to wait", "转入等待")) } dd { (number(status.jobs.waiting)) } }
                @if heard.ahead.abs() > CLOCK {
                    div { dt { (lang.say("its clock is off by", "时钟偏差")) } dd.warn { (heard.ahead) " s" } }
                }
            }
            @if !status.in_hand.is_empty() && !silent {
                details {
                    summary { (number(status.in_flight)) " " (lang.say("in hand", "处理中")) }
                    ul.hand {
                        @for job in status.in_hand.iter().take(LISTED) {
                            li { (job_link(&job.job_id)) " " span.quiet { (job.template) ", " (lang.queue(&job.lane)) ", " (lang.span(now.saturating_sub(job.since))) } }
                        }
                        @if status.in_flight as usize > LISTED { li.quiet { "… " (number(status.in_flight - LISTED as u64)) } }
                    }
                }
            }
        }
    }
}
