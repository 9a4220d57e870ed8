//! The jobs: what became of them, searched.

use std::fmt::Write as _;

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{badge, encoded, job_link, page, same, select, time};
use crate::console::visit::{Shared, Visit, asked};
use crate::console::words::{Lang, number};
use crate::event::Kind;
use crate::fleet::{Filter, Outcome};
use crate::timing::unix_seconds;

/// Jobs on a page.
const ROWS: usize = 50;

/// The query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    q: String,
    kind: String,
    template: String,
    code: String,
    /// Hours back.
    hours: String,
    page: String,
}

impl Asked {
    fn filter(&self, now: u64) -> Filter {
        let hours: u64 = self.hours.parse().unwrap_or_default();
        Filter {
            text: self.q.clone(),
            kind: Kind::named(&format!("report.{}", self.kind)),
            template: self.template.clone(),
            code: self.code.clone(),
            since: match hours {
                0 => 0,
                hours => now.saturating_sub(hours.saturating_mul(3_600)),
            },
            until: 0,
        }
    }

    /// The address of another page of the same.
    fn page(&self, page: usize) -> String {
        let mut address = format!("/jobs?page={page}");
        let fields = [
            ("q", &self.q),
            ("kind", &self.kind),
            ("template", &self.template),
            ("code", &self.code),
            ("hours", &self.hours),
        ];
        for (name, value) in fields {
            if !value.is_empty() {
                write!(address, "&{name}={}", encoded(value).0).unwrap_or_default();
            }
        }
        address
    }
}

/// `GET /jobs`.
pub(in crate::console) async fn jobs(
    State(console): Shared,
    visit: Visit,
    query: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let asked = asked(query);
    let number_of = asked.page.parse().unwrap_or(0);
    let (found, all, since, templates, codes) = {
        let facts = console.known.facts();
        let filter = asked.filter(unix_seconds());
        let search = facts.history.search(&filter, number_of, ROWS);
        let found: Vec<Outcome> = search.found.into_iter().cloned().collect();
        let load = facts.history.load(0);
        let names = |names: Vec<String>| names.into_iter().filter(|name| !name.is_empty());
        let templates: Vec<_> = names(load.templates.into_keys().collect()).collect();
        let codes: Vec<_> = names(load.codes.into_keys().collect()).collect();
        (found, search.all, facts.history.since(), templates, codes)
    };
    let value = serde_json::json!({
        "jobs": found, "all": all, "page": number_of, "rows": ROWS, "since": since,
    });
    visit.answer(&value, || {
        let lang = visit.lang;
        let content = html! {
            (form(lang, &asked, &templates, &codes))
            div #found data-live {
                p.hint {
                    (number(all as u64)) " " (lang.say("found", "条"))
                    @if let Some(since) = since { ", " (lang.say("known one by one since ", "逐条记录始于 ")) (time(since)) }
                    "; " (lang.say("a job that has not ended is not listed: search for its whole id", "尚未完结的作业不在此列：请按完整编号查找"))
                }
                (table(lang, &found))
                (pages(lang, &asked, number_of, all))
            }
        };
        page(&console, &visit, lang.say("Jobs", "作业"), &content)
    })
}

fn form(lang: Lang, asked: &Asked, templates: &[String], codes: &[String]) -> Markup {
    let kinds = ["completed", "rejected", "failed"].map(|kind| (kind, lang.state(kind)));
    let hours = ["1", "6", "24", "168"];
    let hours = hours.map(|hours| (hours, format!("{hours} {}", lang.say("h", "小时"))));
    let hours = hours
        .each_ref()
        .map(|(value, text)| (*value, text.as_str()));
    html! {
        form.filter role="search" method="get" action="/jobs" {
            label.grow { span { (lang.say("Job id, agency or year", "作业编号、单位或年份")) }
                input type="search" name="q" value=(asked.q) autocomplete="off";
            }
            (select(lang, "kind", lang.say("Outcome", "结果"), &asked.kind, &kinds))
            (select(lang, "template", lang.say("Template", "模板"), &asked.template, &same(templates)))
            (select(lang, "code", lang.say("Problem", "问题"), &asked.code, &same(codes)))
            (select(lang, "hours", lang.say("Within", "时间"), &asked.hours, &hours))
            button { (lang.say("Search", "查找")) }
            @if !asked.q.trim().is_empty() {
                a.button href={ "/jobs/" (encoded(asked.q.trim())) } { (lang.say("Open this id", "打开此编号")) }
            }
        }
    }
}

fn table(lang: Lang, found: &[Outcome]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(lang.say("Jobs", "作业")) {
            table.list {
                thead { tr {
                    th scope="col" { (lang.say("job", "作业")) }
                    th scope="col" { (lang.say("outcome", "结果")) }
                    th scope="col" { (lang.say("agency", "单位")) }
                    th.number scope="col" { (lang.say("year", "年份")) }
                    th scope="col" { (lang.say("template", "模板")) }
                    th scope="col" { (lang.say("problems", "问题")) }
                    th scope="col" { (lang.say("ended", "完结")) }
                } }
                tbody {
                    @for outcome in found {
                        tr {
                            td { (job_link(&outcome.job_id)) }
                            td { (badge(lang, outcome.kind.as_str())) }
                            td { (outcome.agency) }
                            td.number { @if outcome.year > 0 { (outcome.year) } }
                            td { (outcome.template) }
                            td { @for code in &outcome.codes { code { (code) } " " } }
                            td { (time(outcome.time)) }
                        }
                    }
                    @if found.is_empty() { tr { td colspan="7" { (lang.say("nothing was found", "未找到")) } } }
                }
            }
        }
    }
}

fn pages(lang: Lang, asked: &Asked, number: usize, all: usize) -> Markup {
    let last = all.saturating_sub(1) / ROWS;
    html! {
        @if last > 0 {
            nav.pages aria-label=(lang.say("Pages of the list", "列表页")) {
                @if number > 0 { a href=(asked.page(number - 1)) rel="prev" { "← " (lang.say("newer", "较新")) } }
                span { (number + 1) " / " (last + 1) }
                @if number < last { a href=(asked.page(number + 1)) rel="next" { (lang.say("older", "较旧")) " →" } }
            }
        }
    }
}
