//! Bad input gets a clear answer that names the place and the fix, in English and Chinese, all
//! problems at once.

use serde_json::json;

use banshi::event::Event;
use banshi::problem::{Code, Rejection, Severity};

use crate::support::jobs::{BROKEN, CORPUS, bad, corpus, remove};
use crate::support::{check, places, refused, rule};

/// The codes that only the typesetter can find.
const LATER: [&str; 2] = ["E-GLYPH", "E-LAYOUT"];

#[test]
fn every_bad_job_is_refused_for_its_own_reason_at_its_own_place() {
    for bad in bad() {
        let checked = check(&bad.body);
        if LATER.contains(&bad.code) {
            assert!(
                checked.is_ok(),
                "{}: only the typesetter can tell",
                bad.name
            );
            continue;
        }
        let refusal = checked
            .err()
            .unwrap_or_else(|| panic!("{} was accepted", bad.name));
        let problems = refusal.rejection.problems();
        assert!(
            problems
                .iter()
                .any(|p| p.code.as_str() == bad.code && p.path == bad.path),
            "{}: want {} at {:?}, got {problems:#?}",
            bad.name,
            bad.code,
            bad.path
        );
        for problem in problems {
            assert!(
                !problem.message.is_empty() && problem.message_zh.chars().any(|c| c > '\u{2e80}')
            );
        }
    }
}

#[test]
fn all_problems_of_a_job_come_in_one_answer() {
    let mut job = corpus("zibo-bigdata-2020");
    job["on_violation"] = json!("ignore");
    job["data"]["year"] = json!(2023);
    job["data"]["colour"] = json!("red");
    remove(&mut job, "/data/requests/received", "business");
    job["data"]["requests"]["outcome"]["granted"]["total"] = json!(3);
    job["data"]["review_and_litigation"]["reconsideration"]["total"] = json!(1);
    assert_eq!(
        refused(&job),
        [
            (Code::SCHEMA, "/data/colour"),
            (rule("R-OUTCOME"), "/data/requests/outcome/total/total"),
            (rule("R-ROW"), "/data/requests/outcome/granted/total"),
            (Code::SCHEMA, "/data/requests/received/business"),
            (
                rule("R-REVIEW"),
                "/data/review_and_litigation/reconsideration/total"
            ),
            (Code::EDITION, "/data/year"),
            (Code::SCHEMA, "/on_violation"),
        ]
        .map(|(code, path)| (code, path.to_owned()))
        .into_iter()
        .collect::<Vec<_>>()
        .tap_sorted()
    );
}

#[test]
fn an_unknown_field_names_the_nearest_known_one() {
    let mut job = corpus("zibo-bigdata-2020");
    job["data"]["requests"]["outcome"]["refused"]["security_and_stabilty"] = json!(1);
    let refusal = check(job.to_string().as_bytes()).expect_err("a typo must not pass");
    let problem = &refusal.rejection.problems()[0];
    assert_eq!(
        problem.path,
        "/data/requests/outcome/refused/security_and_stabilty"
    );
    assert!(
        problem.message.contains("\"security_and_stability\""),
        "{}",
        problem.message
    );
    assert!(
        problem.message_zh.contains("security_and_stability"),
        "{}",
        problem.message_zh
    );
}

#[test]
fn a_field_given_twice_is_an_error_and_not_the_last_one_wins() {
    let job = corpus("zibo-bigdata-2020").to_string().replacen(
        "\"year\":2020",
        "\"year\":2020,\"year\":2019",
        1,
    );
    let refusal = check(job.as_bytes()).expect_err("one of the two figures would be dropped");
    assert_eq!(
        places(refusal.rejection.problems()),
        [(Code::SCHEMA, "/data/year".to_owned())]
    );
}

/// The event with all of them would be larger than a broker takes, and nobody reads it.
#[test]
fn of_a_hundred_thousand_problems_the_first_thousand_are_told_and_the_rest_counted() {
    let fields: Vec<String> = (0..60_000).map(|n| format!("\"k{n:05}\":0")).collect();
    let job = format!("{{{}}}", fields.join(","));
    let refusal = check(job.as_bytes()).expect_err("no such fields");
    let problems = refusal.rejection.problems();
    assert_eq!(problems.len(), Rejection::MOST + 1);
    let last = &problems[Rejection::MOST];
    // Three fields are missing, too.
    let more = 60_000 + 3 - Rejection::MOST;
    for message in [&last.message, &last.message_zh] {
        assert!(message.contains(&more.to_string()), "{message}");
    }
    let event = Event::rejected(&refusal.identity, problems, "banshi");
    let bytes = event.structured().len();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn a_missing_figure_is_named_by_its_official_row_and_column() {
    let mut job = corpus("zibo-bigdata-2020");
    remove(
        &mut job,
        "/data/requests/outcome/refused/security_and_stability",
        "natural_person",
    );
    let refusal = check(job.to_string().as_bytes()).expect_err("a missing figure is never a zero");
    let problem = &refusal.rejection.problems()[0];
    assert_eq!(
        problem.path,
        "/data/requests/outcome/refused/security_and_stability/natural_person"
    );
    for message in [&problem.message, &problem.message_zh] {
        assert!(
            message.contains("「（三）不予公开 3.危及“三安全一稳定”」「自然人」"),
            "{message}"
        );
    }
}

#[test]
fn the_message_id_must_be_the_job_id() {
    let job = corpus("zibo-bigdata-2020").to_string();
    let (limits, editions) = (
        crate::support::settings().limits,
        crate::support::editions(),
    );
    let read = |message_id| banshi::job::read(job.as_bytes(), message_id, &limits, &editions);
    assert!(read(None).is_ok());
    assert!(read(Some("zibo-bigdata-2020")).is_ok());
    let refusal = read(Some("zibo-bigdata-2021")).expect_err("whose job is it?");
    assert_eq!(
        places(refusal.rejection.problems()),
        [(Code::SCHEMA, "/job_id".to_owned())]
    );
}

#[test]
fn limits_of_text_are_errors_that_name_the_setting() {
    let mut limits = crate::support::settings().limits;
    (limits.paragraphs, limits.characters) = (3, 100);
    let job = corpus("zibo-bigdata-2020").to_string();
    let refusal = banshi::job::read(job.as_bytes(), None, &limits, &crate::support::editions())
        .expect_err("over both limits");
    let messages: Vec<_> = refusal
        .rejection
        .problems()
        .iter()
        .map(|p| p.message.as_str())
        .collect();
    assert!(
        messages.iter().any(|m| m.contains("limits.paragraphs")),
        "{messages:?}"
    );
    assert!(
        messages.iter().any(|m| m.contains("limits.characters")),
        "{messages:?}"
    );
}

#[test]
fn every_real_report_passes_but_the_one_that_breaks_a_rule() {
    for name in CORPUS {
        let job = corpus(name);
        if name == BROKEN {
            let direct = "/data/review_and_litigation/litigation/direct/total".to_owned();
            assert_eq!(refused(&job), [(rule("R-REVIEW"), direct)]);
        } else {
            assert_eq!(refused(&job), [], "{name}");
        }
    }
}

#[test]
fn a_broken_rule_becomes_a_warning_where_the_sender_wants_it() {
    let mut job = corpus(BROKEN);
    job["on_violation"] = json!("warn");
    let job = check(job.to_string().as_bytes()).expect("the sender publishes it as it is");
    let rules = job
        .report
        .warnings()
        .iter()
        .filter(|p| p.code.severity() == Severity::Rule);
    assert_eq!(
        rules.map(|p| p.code).collect::<Vec<_>>(),
        [rule("R-REVIEW")]
    );
}

#[test]
fn last_years_figures_are_compared() {
    let last = corpus("pingtan-2023");
    let mut job = corpus("pingtan-2024");
    job["prior"] = json!({ "carried_out": last["data"]["requests"]["carried_out"] });
    assert_eq!(
        refused(&job),
        [],
        "pingtan carried over what it had carried over"
    );
    job["prior"]["carried_out"]["natural_person"] = json!(99);
    let place = "/data/requests/carried_in/natural_person".to_owned();
    assert_eq!(refused(&job), [(rule("R-PRIOR"), place)]);

    let in_force = &last["data"]["proactive_disclosure"]["article_20_1"];
    let in_force = json!({
        "rules": in_force["rules"]["in_force"],
        "normative_documents": in_force["normative_documents"]["in_force"],
    });
    let mut job = corpus("pingtan-2024");
    job["prior"] = json!({ "in_force": in_force });
    let job = check(job.to_string().as_bytes()).expect("a warning never blocks");
    let warned = places(job.report.warnings());
    let place = "/data/proactive_disclosure/article_20_1/normative_documents/in_force".to_owned();
    assert!(warned.contains(&(rule("W-INFORCE"), place)), "{warned:?}");
}

#[test]
fn the_warnings_of_the_2021_edition() {
    let mut job = corpus("pingtan-2023");
    job["data"]["other_matters"] = json!(["无。"]);
    job["data"]["requests"]["carried_out"]["other"] = json!(null);
    let job = check(job.to_string().as_bytes()).expect("warnings never block");
    let warned: Vec<Code> = job.report.warnings().iter().map(|p| p.code).collect();
    assert_eq!(warned, [rule("W-FEE"), rule("W-LENGTH"), Code::BLANK]);
}

trait TapSorted {
    /// As a rejection lists them: by place.
    fn tap_sorted(self) -> Self;
}

impl TapSorted for Vec<(Code, String)> {
    fn tap_sorted(mut self) -> Self {
        self.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        self
    }
}
