//! `banshi status`: how it goes, and where a job is.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{json, line};
use super::{Error, Exit, Format, StatusArgs, block_on};
use crate::config::Settings;
use crate::escape;
use crate::fleet::{self, Bucket, Fleet, Heard, Load, Overview, Story, Workers};
use crate::problem::{Outage, Part};
use crate::timing::unix_seconds;
use crate::transport::{Client, Observer, Verdict};

/// The time between two looks of `--watch`, beside what a look takes.
const AGAIN: Duration = Duration::from_secs(2);
/// The time that the rate of late is looked for in.
const LATELY: u64 = 61 * 60;

pub fn status(settings: &Settings, args: &StatusArgs) -> Result<Exit, Error> {
    block_on(async {
        if let Some(url) = &args.console {
            return ask(settings, url, args).await;
        }
        let observer = Observer::open(&settings.queue).await?;
        let told = tell(settings, &observer, args).await;
        observer.close().await;
        told
    })
}

async fn tell(settings: &Settings, observer: &Observer, args: &StatusArgs) -> Result<Exit, Error> {
    if let Some(job_id) = &args.job {
        let (workers, found) =
            tokio::join!(fleet::listen(observer), fleet::story(observer, job_id));
        let ((events, since), workers) = (found?, workers?);
        let mut story = Story::new(job_id, &workers, events, since, unix_seconds());
        if matches!(story.state.as_str(), "rejected" | "failed" | "unknown") {
            story.dead = Some(is_dead(settings, job_id).await?);
        }
        return print_story(&story, args.format);
    }
    loop {
        if let Some(age) = args.since {
            let since = unix_seconds().saturating_sub(age.as_secs());
            let history = fleet::history(observer, since).await?;
            print_load(&history.load(0), since, args)?;
        } else if args.workers {
            print_workers(&fleet::listen(observer).await?, args)?;
        } else {
            print_overview(&overview(settings, observer).await?, args)?;
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Everything at a glance.
async fn overview(settings: &Settings, observer: &Observer) -> Result<Overview, Error> {
    let depths = observer.depths();
    let since = unix_seconds().saturating_sub(LATELY);
    let (depths, history, workers) = tokio::join!(
        depths(),
        fleet::history(observer, since),
        fleet::listen(observer)
    );
    let deadline = settings.console.deadline();
    let deadline = deadline.map_err(|why| Outage::new(Part::Disk, why))?;
    let (depths, history, workers) = (depths?, history?, workers?);
    let now = unix_seconds();
    Ok(Overview::new(now, &depths, &history, &workers, deadline))
}

async fn is_dead(settings: &Settings, job_id: &str) -> Result<bool, Error> {
    let mut client = Client::open_within(&settings.queue, settings.limits.job_bytes).await?;
    let ids = client.dead_ids(job_id).await?;
    let mut found = false;
    let walked = client
        .walk_dead(|job| {
            found |= ids.contains(&job.id) || job.job_id().as_deref() == Some(job_id);
            match found {
                true => Verdict::Stop,
                false => Verdict::Keep,
            }
        })
        .await;
    client.close().await;
    walked?;
    Ok(found)
}

/// Asks a console, which has read the log already.
async fn ask(settings: &Settings, url: &str, args: &StatusArgs) -> Result<Exit, Error> {
    let url = url.trim_end_matches('/');
    if let Some(job_id) = &args.job {
        let story: Story =
            get(settings, &format!("{url}/jobs/{}", escape::segment(job_id))).await?;
        return print_story(&story, args.format);
    }
    loop {
        if let Some(age) = args.since {
            let since = unix_seconds().saturating_sub(age.as_secs());
            let load: Load = get(settings, &format!("{url}/load?since={since}")).await?;
            print_load(&load, since, args)?;
        } else {
            print_overview(&get(settings, &format!("{url}/")).await?, args)?;
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn get<T: DeserializeOwned>(settings: &Settings, url: &str) -> Result<T, Error> {
    let out = |error: reqwest::Error| {
        let text = format!("the console does not answer at {url}; see whether it runs there");
        Error::Outage(Outage::because(Part::Admin, text, error))
    };
    let client = crate::tls::http()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(out)?;
    let mut request = client.get(url).header("accept", "application/json");
    let token = crate::console::token(&settings.console)?;
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(out)?;
    if answer.status().as_u16() == 401 {
        let text = format!(
            "the console at {url} asks for its token: set console.token or console.token_file"
        );
        return Err(Error::Outage(Outage::new(Part::Admin, text)));
    }
    let answer = answer.error_for_status().map_err(out)?;
    let bytes = answer.bytes().await.map_err(out)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("what answers at {url} is no console of this version");
        Error::Outage(Outage::because(Part::Admin, text, error))
    })
}

/// Makes a place for what is printed again and again.
fn begin(args: &StatusArgs) -> Result<(), Error> {
    if args.watch && args.format == Format::Text && std::io::stdout().is_terminal() {
        super::output::as_it_is(b"\x1b[H\x1b[2J")?;
    }
    Ok(())
}

fn print_overview(overview: &Overview, args: &StatusArgs) -> Result<(), Error> {
    if args.format == Format::Json {
        return Ok(json(overview)?);
    }
    begin(args)?;
    let count = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let ready = |name: &str| count(overview.ready(name));
    let Fleet {
        workers,
        ready: up,
        silent,
        typesetters,
        busy,
        in_flight,
        mixed,
        why,
        unheard,
    } = &overview.fleet;
    row(
        "backlog 积压",
        format!(
            "{}  (bulk {}, urgent {}, retry {}, in hand {in_flight})",
            count(overview.backlog),
            ready("bulk"),
            ready("urgent"),
            ready("retry"),
        ),
    )?;
    row(
        "rate 速度",
        format!("{:.1} a minute", overview.rate_per_minute),
    )?;
    let now = overview.at;
    row(
        "time to empty 清空",
        match overview.time_to_empty_seconds {
            Some(0) => "nothing waits".to_owned(),
            Some(left) => format!("{}, at {}", span(left), clock(now + left)),
            None if overview.backlog.is_none() => {
                "unknown: the broker does not tell this user how long the queues are".to_owned()
            }
            None => "never at this rate: nothing has ended in the last hour".to_owned(),
        },
    )?;
    if let Some(deadline) = overview.deadline {
        let verdict = match deadline.late {
            Some(true) => "will be LATE 将逾期",
            Some(false) => "in time 来得及",
            None => "unknown 不详",
        };
        row(
            "deadline 截止",
            format!("{}: {verdict}", clock(deadline.at)),
        )?;
    }
    if let Some(since) = overview.oldest_in_hand {
        row("oldest in hand", span(now.saturating_sub(since)))?;
    }
    row("last hour 近一小时", bucket(overview.hour))?;
    if let Some(day) = overview.day {
        row("last day 近一天", bucket(day))?;
    }
    row(
        "dead 死信",
        format!("{}  (unrouted {})", ready("dead"), ready("unrouted")),
    )?;
    let gone = match silent {
        0 => String::new(),
        silent => format!("; {silent} have fallen silent"),
    };
    row(
        "workers 工作进程",
        match workers {
            0 => format!("none was heard{gone}"),
            // Those of a spool say nothing of themselves.
            _ if *typesetters == 0 => format!("{workers}{gone}"),
            _ => format!("{up} ready of {workers}; {busy} of {typesetters} typesetters busy{gone}"),
        },
    )?;
    for why in why {
        row("not ready because", why)?;
    }
    if let Some(why) = unheard {
        row("not heard because", why)?;
    }
    if !mixed.is_empty() {
        row("mixed fleet 版本不一", mixed.join(", "))?;
    }
    Ok(())
}

fn print_workers(workers: &Workers, args: &StatusArgs) -> Result<(), Error> {
    let holders = &workers.holders;
    if args.format == Format::Json {
        for Heard { status, .. } in workers.all() {
            json(status)?;
        }
        for (worker, held) in holders {
            json(&serde_json::json!({ "worker": worker, "in_flight": held }))?;
        }
        if let Some(why) = &workers.unheard {
            json(&serde_json::json!({ "unheard": why }))?;
        }
        return Ok(());
    }
    begin(args)?;
    let mixed = workers.mixed(unix_seconds());
    for Heard { status, .. } in workers.all() {
        let state = match &status.why {
            None => "ready".to_owned(),
            Some(why) => format!("NOT READY: {why}"),
        };
        let up = span(status.at.saturating_sub(status.started_at));
        line(format_args!(
            "{}  {}  up {up}  {state}",
            status.worker, status.version
        ))?;
        let census = status.typesetters;
        row(
            "  typesetters",
            format!(
                "{} idle, {} busy, {} starting; {} replaced; the largest has {} MiB",
                census.idle,
                census.busy,
                census.starting,
                census.replaced,
                census.memory_bytes >> 20
            ),
        )?;
        let jobs = status.jobs;
        row(
            "  jobs",
            format!(
                "{} in hand; {} completed, {} rejected, {} failed, {} sent to wait",
                status.in_flight, jobs.completed, jobs.rejected, jobs.failed, jobs.waiting
            ),
        )?;
        let digest = |text: &str| text.chars().take(12).collect::<String>();
        row(
            "  made of",
            format!(
                "{}, templates {}, fonts {}",
                status.engine,
                digest(&status.templates_sha256),
                digest(&status.fonts_sha256)
            ),
        )?;
    }
    for (worker, held) in holders {
        line(format_args!("{worker}  {held} in hand"))?;
    }
    if workers.all().next().is_none() && holders.is_empty() {
        line("no worker was heard")?;
    }
    if let Some(why) = &workers.unheard {
        row("not heard because", why)?;
    }
    if !mixed.is_empty() {
        line(format_args!(
            "the workers differ in: {}; restart those that are behind",
            mixed.join(", ")
        ))?;
    }
    Ok(())
}

fn print_load(load: &Load, since: u64, args: &StatusArgs) -> Result<(), Error> {
    if args.format == Format::Json {
        return Ok(json(load)?);
    }
    begin(args)?;
    row(&format!("since {}", clock(since)), bucket(load.all))?;
    line("")?;
    for (template, counts) in &load.templates {
        let name = match template.as_str() {
            "" => "(no template)",
            name => name,
        };
        row(name, bucket(*counts))?;
    }
    line("")?;
    for (code, count) in &load.codes {
        row(code, count)?;
    }
    line("")?;
    for (hour, counts) in &load.hours {
        row(&clock(*hour), bucket(*counts))?;
    }
    Ok(())
}

fn print_story(story: &Story, format: Format) -> Result<Exit, Error> {
    let exit = match story.state.as_str() {
        "rejected" | "failed" | "unknown" => Exit::JobAtFault,
        _ => Exit::Done,
    };
    if format == Format::Json {
        json(story)?;
        return Ok(exit);
    }
    let id = escape::id(&story.job_id);
    line(match story.state.as_str() {
        "unknown" if story.dead == Some(true) => format!("{id}: in the dead queue"),
        "unknown" => format!(
            "{id}: nothing is known of it: it may wait in a queue, and no event names it{}",
            match story.looked_since {
                0 => " in the whole log".to_owned(),
                since => format!(" since {}", clock(since)),
            }
        ),
        "in_hand" => format!("{id}: in hand"),
        state => format!("{id}: {state}"),
    })?;
    if let (Some(worker), Some(job)) = (&story.worker, &story.in_hand) {
        row(
            &clock(job.since),
            format!("worker {worker} has it, attempt {}", job.attempt),
        )?;
    }
    for wait in &story.waits {
        row(
            &clock(wait.until),
            format!("due again after attempt {}: {}", wait.attempt, wait.why),
        )?;
    }
    for told in &story.events {
        print_event(&told.event)?;
    }
    if story.dead == Some(true) {
        line("it is in the dead queue: banshi dead show, replay, drop")?;
    }
    Ok(exit)
}

fn print_event(event: &serde_json::Value) -> Result<(), Error> {
    let text = |pointer: &str| {
        let value = event.pointer(pointer);
        value
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    row(text("/time"), text("/type"))?;
    for pointer in ["/data/artifact/uri", "/data/error/message"] {
        if !text(pointer).is_empty() {
            row("", text(pointer))?;
        }
    }
    for list in ["problems", "warnings"] {
        let problems = event["data"][list].as_array();
        for problem in problems.into_iter().flatten() {
            let of = |name: &str| problem[name].as_str().unwrap_or_default();
            row(
                "",
                format!("{} {}: {}", of("code"), of("path"), of("message")),
            )?;
            row(
                "",
                format!("{} {}", " ".repeat(of("code").len()), of("message_zh")),
            )?;
        }
    }
    Ok(())
}

/// A line of a name and what belongs to it.
fn row(name: &str, value: impl std::fmt::Display) -> Result<(), Error> {
    // A Chinese character is as wide as two others.
    let width: usize = name.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    let gap = " ".repeat(22_usize.saturating_sub(width));
    Ok(line(format_args!("{name}{gap}  {value}"))?)
}

fn bucket(counts: Bucket) -> String {
    format!(
        "{} completed, {} rejected, {} failed",
        counts.completed, counts.rejected, counts.failed
    )
}

/// Seconds as one says them.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A time, in UTC.
fn clock(seconds: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds.cast_signed());
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| seconds.to_string())
}
