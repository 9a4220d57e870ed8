//! The pages: what they have in common.

pub(super) mod dead;
pub(super) mod fleet;
pub(super) mod job;
pub(super) mod jobs;
pub(super) mod overview;
pub(super) mod templates;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;

use super::Console;
use super::door::Refusal;
use super::visit::{Shared, Visit};
use super::words::Lang;
use crate::escape;
use crate::problem::Outage;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A page around its content.
pub(super) fn page(console: &Console, visit: &Visit, title: &str, content: &Markup) -> Markup {
    let lang = visit.lang;
    let path = visit.uri.path();
    let (out, catching_up) = {
        let facts = console.known.facts();
        (facts.out.clone(), !facts.caught_up)
    };
    let links = [
        ("/", lang.say("Overview", "总览")),
        ("/jobs", lang.say("Jobs", "作业")),
        ("/dead", lang.say("Dead queue", "死信队列")),
        ("/fleet", lang.say("Fleet", "工作进程")),
        ("/templates", lang.say("Templates", "模板")),
    ];
    let here = |link: &str| match link {
        "/" => path == "/",
        link => path == link || path.starts_with(&format!("{link}/")),
    };
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            (head(title))
            body {
                a.skip href="#content" { (lang.say("Skip to content", "跳到正文")) }
                header.top {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="24" height="24"; span { "版式 banshi" } }
                    nav aria-label=(lang.say("Pages", "页面")) {
                        @for (link, name) in links {
                            a href=(link) aria-current=[here(link).then_some("page")] { (name) }
                        }
                    }
                    div.tools {
                        span.pulse #pulse data-live { span.dot.(if out.is_some() { "bad" } else { "good" }) {}
                            @if out.is_some() { (lang.say("nothing new is heard", "收不到新消息")) }
                            @else if catching_up { (lang.say("reading the log", "正在读取日志")) }
                            @else { (lang.say("live", "实时")) }
                        }
                        a.lang href=(other_language(visit)) hreflang=(lang.say("zh-CN", "en")) lang=(lang.say("zh-CN", "en")) {
                            (lang.say("中文", "English"))
                        }
                    }
                }
                div #trouble data-live {
                    @if let Some(why) = out {
                        p.banner.bad role="alert" {
                            strong { (lang.say("Nothing new comes in.", "收不到任何新消息。")) } " " (why)
                        }
                    }
                }
                main #content tabindex="-1" { h1 { (title) } (content) }
                footer { "banshi " (VERSION) }
                script src={ "/assets/console.js?" (VERSION) } defer {}
            }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · 版式 banshi" }
            link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
            link rel="stylesheet" href={ "/assets/uPlot.css?" (VERSION) };
            link rel="stylesheet" href={ "/assets/console.css?" (VERSION) };
        }
    }
}

/// The same page in the other language.
fn other_language(visit: &Visit) -> String {
    let other = visit.lang.say("zh", "en");
    let mut query = String::new();
    for pair in visit.uri.query().unwrap_or_default().split('&') {
        if !pair.is_empty() && !pair.starts_with("lang=") {
            query.push_str(pair);
            query.push('&');
        }
    }
    format!("{}?{query}lang={other}", visit.uri.path())
}

/// An answer that says why there is none.
pub(super) fn trouble(console: &Console, visit: &Visit, status: StatusCode, why: &str) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => visit.lang.say("Not found", "未找到"),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => visit.lang.say("Not allowed", "不允许"),
        _ => visit.lang.say("Something is out", "有部件不可用"),
    };
    let value = serde_json::json!({ "error": why });
    let content = html! { p.banner.bad role="alert" { (why) } };
    let answer = visit.answer(&value, || page(console, visit, title, &content));
    (status, answer).into_response()
}

/// The same, of something that is out.
pub(super) fn outage(console: &Console, visit: &Visit, outage: &Outage) -> Response {
    trouble(console, visit, StatusCode::BAD_GATEWAY, &outage.chain())
}

/// Says why a request is refused.
pub(super) fn refuse(console: &Console, visit: &Visit, refusal: Refusal) -> Response {
    let lang = visit.lang;
    let why = match refusal {
        Refusal::Unknown => lang.say("show the token first", "请先出示令牌"),
        Refusal::Foreign => lang.say(
            "this was not asked from a page of this console: open it by its own address, and \
             reload the page",
            "请求并非来自本控制台的页面：请用控制台自己的地址打开，并刷新页面",
        ),
        Refusal::ReadOnly => lang.say(
            "nothing can be changed from here: console.actions is off",
            "此处不能更改任何内容：console.actions 未开启",
        ),
    };
    trouble(console, visit, refusal.status(), why)
}

/// `GET /login`.
pub(super) async fn login(State(console): Shared, visit: Visit) -> Response {
    Html(login_page(&console, &visit, false).into_string()).into_response()
}

/// The page on which one shows the token. It says nothing of what is inside.
pub(super) fn login_page(console: &Console, visit: &Visit, wrong: bool) -> Markup {
    let lang = visit.lang;
    let title = lang.say("Sign in", "登录");
    html! {
        (DOCTYPE)
        html lang=(lang.tag()) {
            (head(title))
            body.login {
                main {
                    h1 { img src="/assets/icon.svg" alt="" width="32" height="32"; "版式 banshi" }
                    @if wrong { p.banner.bad role="alert" { (lang.say("That is not the token.", "令牌不正确。")) } }
                    @if console.door.has_token() {
                        form method="post" action="/login" {
                            label for="token" { (lang.say("Token", "令牌")) }
                            input #token type="password" name="token" autocomplete="current-password" required autofocus;
                            button { (title) }
                            p.hint { (lang.say("It is console.token, or in the file that console.token_file names.", "即 console.token，或 console.token_file 所指文件的内容。")) }
                        }
                    } @else { p { a href="/" { (lang.say("No token is needed.", "无需令牌。")) } } }
                    p { a href=(other_language(visit)) { (lang.say("中文", "English")) } }
                }
            }
        }
    }
}

/// A figure with its name.
pub(super) fn figure(
    name: &str,
    value: impl maud::Render,
    note: impl maud::Render,
    mood: &str,
) -> Markup {
    html! {
        div.figure.(mood) {
            dt { (name) }
            dd { strong { (value) } span.note { (note) } }
        }
    }
}

/// How a job ended or where it is.
pub(super) fn badge(lang: Lang, state: &str) -> Markup {
    let state = state.strip_prefix("report.").unwrap_or(state);
    html! { span.badge.(state) { (lang.state(state)) } }
}

/// A time: in the reader's own clock where there is a script, else in UTC.
pub(super) fn time(seconds: u64) -> Markup {
    let time = OffsetDateTime::from_unix_timestamp(seconds.cast_signed());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, hour) = (time.date(), time.time());
    let stamp = format!(
        "{date}T{:02}:{:02}:{:02}Z",
        hour.hour(),
        hour.minute(),
        hour.second()
    );
    html! { time datetime=(stamp) { (date) " " (format!("{:02}:{:02}:{:02}", hour.hour(), hour.minute(), hour.second())) " UTC" } }
}

/// A link to a job's page.
pub(super) fn job_link(job_id: &str) -> Markup {
    match job_id {
        "" => html! { span.quiet { "—" } },
        id => html! { a.id href={ "/jobs/" (encoded(id)) } { (id) } },
    }
}

/// A text as a segment of a path.
pub(super) fn encoded(text: &str) -> PreEscaped<String> {
    PreEscaped(escape::segment(text))
}

/// A list to choose from, with a choice that is none; of each its value and its name.
pub(super) fn select(
    lang: Lang,
    name: &str,
    label: &str,
    chosen: &str,
    options: &[(&str, &str)],
) -> Markup {
    html! {
        label { span { (label) }
            select name=(name) {
                option value="" { (lang.say("any", "不限")) }
                @for (value, text) in options {
                    option value=(value) selected[*value == chosen] { (text) }
                }
            }
        }
    }
}

/// Choices whose names are their values.
pub(super) fn same<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<(&'a str, &'a str)> {
    let names = names.into_iter();
    names.map(|it| (it.as_str(), it.as_str())).collect()
}

/// A bar of a share of something of this kind.
pub(super) fn bar(kind: &str, share: f64) -> Markup {
    let width = (share.clamp(0.0, 1.0) * 100.0).max(1.0);
    // A drawing, and no style of an element, which the page's policy forbids.
    html! {
        svg.bar.(kind) viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(format!("{width:.1}")) height="8" rx="1" {}
        }
    }
}
