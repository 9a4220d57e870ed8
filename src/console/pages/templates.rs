//! The templates: versions, schema, sample.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use maud::html;

use super::page;
use crate::console::visit::{Shared, Visit};
use crate::console::words::number;
use crate::report::{describe, schema};

/// `GET /templates`.
pub(in crate::console) async fn templates(State(console): Shared, visit: Visit) -> Response {
    let (templates, forms) = (&console.drawing.templates, &console.drawing.editions);
    let load = console.known.facts().history.load(0);
    let all: Vec<_> = templates
        .editions()
        .map(|edition| {
            let form = &forms[&edition.name];
            let years = (*form.years.start(), *form.years.end());
            (edition, form.notice.clone(), years)
        })
        .collect();
    let value = all
        .iter()
        .map(|(edition, notice, (from, to))| {
            serde_json::json!({
                "name": edition.name, "version": edition.version, "sha256": edition.sha256,
                "notice": notice, "years": [from, to],
            })
        })
        .collect::<Vec<_>>();
    visit.answer(&value, || {
        let lang = visit.lang;
        let content = html! {
            p.hint { (lang.say("Those of this console. The fleet's page says whether the workers have the same.", "此处为本控制台所带模板；各工作进程是否一致见“工作进程”页。")) }
            div.scroll tabindex="0" role="region" aria-label=(lang.say("Templates", "模板")) {
                table.list {
                    thead { tr {
                        th scope="col" { (lang.say("template", "模板")) }
                        th scope="col" { (lang.say("version", "版本")) }
                        th scope="col" { (lang.say("years", "年份")) }
                        th scope="col" { (lang.say("notice", "依据")) }
                        th.number scope="col" { (lang.say("completed", "已完成")) }
                        th scope="col" { "SHA-256" }
                    } }
                    tbody {
                        @for (edition, notice, (from, to)) in &all {
                            tr {
                                th scope="row" { a href={ "/templates/" (edition.name) } { (edition.name) } }
                                td { (edition.version) }
                                td { (from) "–" (to) }
                                td { (notice) }
                                td.number { (number(load.templates.get(&edition.name).map_or(0, |counts| counts.completed))) }
                                td { code title=(edition.sha256) { (edition.sha256.chars().take(12).collect::<String>()) } }
                            }
                        }
                    }
                }
            }
        };
        page(&console, &visit, lang.say("Templates", "模板"), &content)
    })
}

/// `GET /templates/NAME/EDITION`; the JSON is the schema of its jobs.
pub(in crate::console) async fn template(
    State(console): Shared,
    visit: Visit,
    Path((name, edition)): Path<(String, String)>,
) -> Response {
    let name = format!("{name}/{edition}");
    let (templates, forms) = (&console.drawing.templates, &console.drawing.editions);
    let (Some(edition), Some(form)) = (templates.edition(&name), forms.get(&name)) else {
        let why = visit.lang.say("there is no such template", "没有这个模板");
        return super::trouble(&console, &visit, StatusCode::NOT_FOUND, why);
    };
    let schema = schema::schema(&name, form);
    visit.answer(&schema, || {
        let lang = visit.lang;
        let sample = templates.sample(edition).unwrap_or_default();
        let content = html! {
            dl.facts {
                div { dt { (lang.say("version", "版本")) } dd { (edition.version) } }
                div { dt { (lang.say("notice", "依据")) } dd { (form.notice) } }
                div { dt { "SHA-256" } dd { code { (edition.sha256) } } }
            }
            div.sheets { img src={ "/templates/" (name) "/sample/1" } alt=(lang.say("The sample's first page", "示例首页")); }
            details open { summary { (lang.say("Fields and rules", "字段与规则")) }
                pre tabindex="0" { (describe::describe(&name, form)) } }
            details { summary { (lang.say("A sample job", "示例作业")) }
                pre tabindex="0" { (String::from_utf8_lossy(sample)) } }
            details { summary { "JSON Schema" }
                pre tabindex="0" { (serde_json::to_string_pretty(&schema).unwrap_or_default()) } }
        };
        page(&console, &visit, &name, &content)
    })
}

/// `GET /templates/NAME/EDITION/sample/N`: a page of the sample.
pub(in crate::console) async fn sample(
    State(console): Shared,
    Path((name, edition, number)): Path<(String, String, usize)>,
) -> Response {
    let edition = console
        .drawing
        .templates
        .edition(&format!("{name}/{edition}"));
    let Some(edition) = edition else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match console.drawing.sample(edition).await {
        Ok(Some(drawn)) => match drawn.picture(number) {
            Some(page) => ([(CONTENT_TYPE, "image/png")], page.to_vec()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(outage) => (StatusCode::BAD_GATEWAY, outage.chain()).into_response(),
    }
}
