//! How long reports wait: a simulation of January, `make simulate`.
//!
//! Reports come as offices send them, most in office hours of the last week before the deadline of
//! 31 January (政府信息公开条例, article 49), some in batches. Workers take them from two lanes;
//! an autoscaler adds and removes workers. A step is a second, nothing is shorter; the same seed
//! gives the same table. `docs/scaling.md` holds it and says what was assumed.

#![expect(clippy::print_stdout, reason = "it prints its table")]

use std::collections::VecDeque;

use clap::Parser;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const HOUR: usize = 3600;
const DAY: usize = 24 * HOUR;
const DAYS: usize = 31;

/// The share of each hour of a day, in parts of a thousand: 92 % from 9 to 18 o'clock.
const HOURS: [u32; 24] = [
    2, 1, 1, 1, 1, 1, 2, 5, 16, 140, 140, 140, 30, 30, 110, 120, 120, 90, 30, 8, 4, 4, 2, 2,
];

/// The share of each day of a January whose 31st is a Friday, in parts of a thousand: 70 % in the
/// last working week, 24 % on the last day.
const JANUARY: [u32; DAYS] = [
    0, 5, 5, 2, 2, 12, 12, 12, 12, 12, 2, 2, 16, 16, 16, 16, 16, 3, 3, 22, 24, 26, 28, 30, 3, 3,
    80, 100, 120, 160, 240,
];

/// How the reports come.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Over January; three of ten in batches, as an office's system sends what it has gathered.
    January { reports: u32, batch: u32 },
    /// All at one moment: everything sent again.
    AtOnce { reports: u32 },
}

impl Load {
    fn reports(self) -> u32 {
        match self {
            Load::January { reports, .. } | Load::AtOnce { reports } => reports,
        }
    }
}

/// The number of workers.
#[derive(Clone, Copy, Debug)]
enum Workers {
    /// Always as many.
    Fixed(u32),
    /// As KEDA and the autoscaler below it have them.
    Scaled { least: u32, most: u32 },
}

/// What a worker can do, and when there is another.
#[derive(Parser, Clone, Debug)]
struct Model {
    /// Milliseconds a report takes a typesetter
    #[arg(long, default_value_t = 30.0)]
    milliseconds: f64,
    /// Typesetters of a worker, a core each
    #[arg(long, default_value_t = 4)]
    typesetters: u32,
    /// Typesetters beside those, on the same cores, for urgent reports only
    #[arg(long, default_value_t = 1)]
    reserved: u32,
    /// Reports a second that the broker's two queues pass, all workers together
    #[arg(long, default_value_t = 1200)]
    broker: u32,
    /// Urgent reports in a thousand
    #[arg(long, default_value_t = 20)]
    urgent: u32,
    /// Waiting reports for each worker that the autoscaler aims at
    #[arg(long, default_value_t = 500)]
    value: u32,
    /// Seconds until a new worker takes its first report
    #[arg(long, default_value_t = 20)]
    start: usize,
    /// What chance begins with
    #[arg(long, default_value_t = 2021)]
    seed: u64,
}

/// Seconds between two looks of KEDA at an idle queue, its `pollingInterval`.
const POLL: usize = 30;
/// Seconds of an empty queue until there is no worker, its `cooldownPeriod`.
const COOLDOWN: usize = 300;
/// Seconds between two decisions of the Kubernetes autoscaler.
const SYNC: usize = 15;
/// Seconds for which it remembers that more workers were wanted, before it removes any.
const STABLE: usize = 300;

const BULK: usize = 0;
const URGENT: usize = 1;

/// Reports that come in each second, by lane.
fn arrivals(load: Load, model: &Model) -> Vec<[u32; 2]> {
    let mut random = StdRng::seed_from_u64(model.seed);
    let mut coming = Vec::new();
    let mut add = |second: usize, reports: u32, random: &mut StdRng| {
        if coming.len() <= second {
            coming.resize(second + 1, [0, 0]);
        }
        for _ in 0..reports {
            let urgent = random.random_range(0..1000) < model.urgent;
            coming[second][usize::from(urgent)] += 1;
        }
    };
    match load {
        Load::AtOnce { reports } => add(0, reports, &mut random),
        Load::January { reports, batch } => {
            let mut left = reports;
            while left > 0 {
                // Where three of ten reports are to come in batches, one of so many is a batch.
                let together = random.random_range(0..7 * batch + 3) < 3;
                let reports = if together { batch.min(left) } else { 1 };
                add(moment(&mut random), reports, &mut random);
                left -= reports;
            }
        }
    }
    coming
}

/// A second of January, by the shares of days and hours.
fn moment(random: &mut StdRng) -> usize {
    let day = draw(&JANUARY, random);
    let hour = draw(&HOURS, random);
    day * DAY + hour * HOUR + random.random_range(0..HOUR)
}

/// An index, as likely as its share.
fn draw(shares: &[u32], random: &mut StdRng) -> usize {
    let mut at = random.random_range(0..shares.iter().sum());
    shares
        .iter()
        .position(|&share| {
            let here = at < share;
            at = at.saturating_sub(share);
            here
        })
        .unwrap_or(0)
}

/// The reports of a lane that wait, oldest first: the second they came in, and how many.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<(usize, u32)>,
    length: u64,
    /// How many have waited each number of seconds.
    waited: Vec<u64>,
    /// What is left of a report's worth of work from the last second.
    credit: f64,
}

impl Lane {
    fn come(&mut self, now: usize, reports: u32) {
        if reports > 0 {
            self.waiting.push_back((now, reports));
            self.length += u64::from(reports);
        }
    }

    /// Takes as many as there is work for, and says how many.
    fn take(&mut self, now: usize, work: f64) -> u32 {
        self.credit += work;
        let mut taken = 0;
        while let Some((came, reports)) = self.waiting.front_mut() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few thousand, never negative"
            )]
            let able = self.credit as u32;
            let some = able.min(*reports);
            if some == 0 {
                break;
            }
            let wait = now - *came;
            if self.waited.len() <= wait {
                self.waited.resize(wait + 1, 0);
            }
            self.waited[wait] += u64::from(some);
            self.length -= u64::from(some);
            self.credit -= f64::from(some);
            *reports -= some;
            taken += some;
            if *reports == 0 {
                self.waiting.pop_front();
            }
        }
        if self.waiting.is_empty() {
            // Nobody works ahead.
            self.credit = self.credit.fract();
        }
        taken
    }

    fn done(&self) -> u64 {
        self.waited.iter().sum()
    }

    /// The seconds that a share of the reports has waited at most.
    fn percentile(&self, share: f64) -> usize {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
        let wanted = self.done() as f64 * share;
        let mut sum = 0;
        let found = self.waited.iter().position(|&reports| {
            sum += reports;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
            let enough = sum as f64 >= wanted;
            enough
        });
        found.unwrap_or(0)
    }
}

/// Decides how many workers there are.
struct Autoscaler {
    workers: Workers,
    /// When each takes its first report; the newest last.
    ready: Vec<usize>,
    /// How many were wanted at each of the last decisions.
    wanted: VecDeque<u32>,
    /// Since when the queue is empty.
    idle: usize,
}

impl Autoscaler {
    fn new(workers: Workers) -> Autoscaler {
        let (Workers::Fixed(at_first)
        | Workers::Scaled {
            least: at_first, ..
        }) = workers;
        Autoscaler {
            workers,
            ready: vec![0; at_first as usize],
            wanted: VecDeque::new(),
            idle: 0,
        }
    }

    fn set(&mut self, count: u32, ready_at: usize) {
        self.ready.resize(count as usize, ready_at);
    }

    /// Looks at the length of the queue, and acts when it is time to.
    fn look(&mut self, now: usize, length: u64, model: &Model) {
        let Workers::Scaled { least, most } = self.workers else {
            return;
        };
        if length > 0 {
            self.idle = now;
        }
        let count = u32::try_from(self.ready.len()).unwrap_or(most);
        if count == 0 {
            if now.is_multiple_of(POLL) && length > 0 {
                self.set(1, now + model.start);
            }
            return;
        }
        if least == 0 && now >= self.idle + COOLDOWN {
            self.wanted.clear();
            self.set(0, now);
        } else if now.is_multiple_of(SYNC) {
            let wanted = u32::try_from(length.div_ceil(u64::from(model.value))).unwrap_or(most);
            let wanted = wanted.clamp(least.max(1), most);
            self.wanted.push_back(wanted);
            while self.wanted.len() > STABLE / SYNC {
                self.wanted.pop_front();
            }
            if wanted > count {
                // At most double, or four more, in each decision.
                self.set(wanted.min((2 * count).max(count + 4)), now + model.start);
            } else {
                let kept = self.wanted.iter().max().copied().unwrap_or(wanted);
                self.set(kept.min(count), now);
            }
        }
    }

    fn working(&self, now: usize) -> u32 {
        let working = self.ready.iter().filter(|&&at| at <= now).count();
        u32::try_from(working).unwrap_or(u32::MAX)
    }
}

/// What came of a month.
struct Outcome {
    lanes: [Lane; 2],
    came: u64,
    peak_backlog: u64,
    peak_workers: usize,
    worker_seconds: u64,
    /// The lengths of both lanes, added up over all seconds.
    area: u64,
}

fn simulate(load: Load, workers: Workers, model: &Model) -> Outcome {
    let coming = arrivals(load, model);
    let mut scaler = Autoscaler::new(workers);
    let mut outcome = Outcome {
        lanes: Default::default(),
        came: 0,
        peak_backlog: 0,
        peak_workers: 0,
        worker_seconds: 0,
        area: 0,
    };
    let mut now = 0;
    while now < coming.len() || outcome.lanes.iter().any(|lane| lane.length > 0) {
        let [bulk, urgent] = coming.get(now).copied().unwrap_or_default();
        outcome.came += u64::from(bulk) + u64::from(urgent);
        outcome.lanes[BULK].come(now, bulk);
        outcome.lanes[URGENT].come(now, urgent);
        let length = |lanes: &[Lane; 2]| lanes.iter().map(|lane| lane.length).sum::<u64>();
        outcome.peak_backlog = outcome.peak_backlog.max(length(&outcome.lanes));
        scaler.look(now, length(&outcome.lanes), model);
        outcome.peak_workers = outcome.peak_workers.max(scaler.ready.len());

        // All cores work while anything waits. Where bulk reports keep their typesetters busy,
        // urgent ones have what the reserved typesetters get of the cores, and else all of them.
        let Model {
            typesetters,
            reserved,
            ..
        } = *model;
        let cores = f64::from(scaler.working(now) * typesetters);
        let work = (cores * 1000.0 / model.milliseconds).min(f64::from(model.broker));
        let contended = reserved > 0 && outcome.lanes[BULK].length > 0;
        let share = if contended {
            f64::from(reserved) / f64::from(typesetters + reserved)
        } else {
            1.0
        };
        let urgent = outcome.lanes[URGENT].take(now, work * share);
        let left = (work - f64::from(urgent)).max(0.0);
        outcome.lanes[BULK].take(now, left);

        outcome.area += length(&outcome.lanes);
        outcome.worker_seconds += scaler.ready.len() as u64;
        now += 1;
    }
    outcome
}

/// Seconds, as one says them.
fn duration(seconds: usize) -> String {
    match seconds {
        0 => "< 1 s".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h", (seconds + 1800) / HOUR),
    }
}

fn main() {
    let model = Model::parse();
    let january = |reports: u32| Load::January {
        reports,
        batch: (reports / 200).clamp(50, 20_000),
    };
    let scaled = |least, most| Workers::Scaled { least, most };
    let at_once = |reports| Load::AtOnce { reports };
    let settings = [
        (january(10_000), Workers::Fixed(1)),
        (january(10_000), scaled(0, 10)),
        (january(100_000), Workers::Fixed(1)),
        (january(100_000), scaled(0, 10)),
        (january(1_000_000), Workers::Fixed(1)),
        (january(1_000_000), Workers::Fixed(2)),
        (january(1_000_000), scaled(0, 10)),
        (january(1_000_000), scaled(1, 10)),
        (january(10_000_000), Workers::Fixed(1)),
        (january(10_000_000), Workers::Fixed(4)),
        (january(10_000_000), scaled(1, 10)),
        (at_once(1_000_000), Workers::Fixed(1)),
        (at_once(1_000_000), scaled(0, 10)),
        (at_once(1_000_000), scaled(0, 40)),
    ];
    println!("{model:?}\n");
    println!(
        "| {:>10} | {:<25} | {:<9} | {:>9} | {:>7} | {:>8} | {:>8} | {:>8} | {:>8} | {:>8} | {:>8} \
         | {:>8} |",
        "reports",
        "come",
        "workers",
        "most wait",
        "at most",
        "bulk p50",
        "p99",
        "longest",
        "urgent p50",
        "p99",
        "longest",
        "worker-h"
    );
    println!("|--:|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (load, workers) in settings {
        let outcome = simulate(load, workers, &model);
        let come = match load {
            Load::January { batch, .. } => format!("January, batches of {batch}"),
            Load::AtOnce { .. } => "at one moment".to_owned(),
        };
        let workers = match workers {
            Workers::Fixed(count) => format!("{count}"),
            Workers::Scaled { least, most } => format!("{least} to {most}"),
        };
        let [bulk, urgent] = &outcome.lanes;
        let wait = |lane: &Lane, share| duration(lane.percentile(share));
        println!(
            "| {:>10} | {come:<25} | {workers:<9} | {:>9} | {:>7} | {:>8} | {:>8} | {:>8} | {:>10} \
             | {:>8} | {:>8} | {:>8} |",
            load.reports(),
            outcome.peak_backlog,
            outcome.peak_workers,
            wait(bulk, 0.5),
            wait(bulk, 0.99),
            wait(bulk, 1.0),
            wait(urgent, 0.5),
            wait(urgent, 0.99),
            wait(urgent, 1.0),
            (outcome.worker_seconds + HOUR as u64 / 2) / HOUR as u64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::parse_from(["arrivals"])
    }

    const SOME: Load = Load::January {
        reports: 60_000,
        batch: 2_000,
    };

    const SCALED: Workers = Workers::Scaled { least: 0, most: 8 };

    #[test]
    fn every_report_comes_and_is_done() {
        for load in [SOME, Load::AtOnce { reports: 60_000 }] {
            let outcome = simulate(load, SCALED, &model());
            let done: u64 = outcome.lanes.iter().map(Lane::done).sum();
            assert_eq!(outcome.came, u64::from(load.reports()));
            assert_eq!(done, outcome.came);
        }
    }

    #[test]
    fn the_backlog_over_time_is_the_time_that_reports_wait() {
        // Little's law, exact when both are counted in whole seconds.
        let outcome = simulate(SOME, SCALED, &model());
        let waits = outcome
            .lanes
            .iter()
            .flat_map(|lane| lane.waited.iter().zip(0_u64..));
        let waited: u64 = waits.map(|(reports, seconds)| reports * seconds).sum();
        assert!(
            waited > 0,
            "nobody waited; the load is too light to test anything"
        );
        assert_eq!(outcome.area, waited);
    }

    #[test]
    fn with_more_workers_nobody_waits_longer() {
        let of = |count| simulate(SOME, Workers::Fixed(count), &model());
        let (one, two, four) = (of(1), of(2), of(4));
        for lane in [BULK, URGENT] {
            for share in [0.5, 0.9, 0.99, 1.0] {
                let wait = |outcome: &Outcome| outcome.lanes[lane].percentile(share);
                assert!(wait(&two) <= wait(&one) && wait(&four) <= wait(&two));
            }
        }
        assert!(four.lanes[BULK].percentile(1.0) < one.lanes[BULK].percentile(1.0));
    }

    #[test]
    fn a_worker_does_what_its_typesetters_do() {
        // 4 typesetters of 30 ms: 133 reports a second, whatever their lane.
        for urgent in [0, 20, 1000] {
            let model = Model { urgent, ..model() };
            let load = Load::AtOnce { reports: 10_000 };
            let outcome = simulate(load, Workers::Fixed(1), &model);
            let longest = outcome.lanes.iter().map(|lane| lane.percentile(1.0)).max();
            assert_eq!(longest, Some(74));
        }
    }

    #[test]
    fn urgent_reports_pass_a_backlog() {
        let outcome = simulate(
            Load::AtOnce { reports: 100_000 },
            Workers::Fixed(1),
            &model(),
        );
        let wait = |lane: usize| outcome.lanes[lane].percentile(0.5);
        assert!(wait(URGENT) * 5 < wait(BULK));
    }

    #[test]
    fn the_broker_is_a_limit_to_all_workers() {
        let outcome = simulate(
            Load::AtOnce { reports: 120_000 },
            Workers::Fixed(100),
            &model(),
        );
        let longest = outcome.lanes.iter().map(|lane| lane.percentile(1.0)).max();
        assert_eq!(longest, Some(99));
    }

    #[test]
    fn workers_come_when_there_is_work_and_go_when_there_is_none() {
        let model = model();
        let mut scaler = Autoscaler::new(Workers::Scaled { least: 0, most: 10 });
        scaler.look(0, 10_000, &model);
        assert_eq!(scaler.ready.len(), 1);
        assert_eq!(scaler.working(model.start - 1), 0);
        assert_eq!(scaler.working(model.start), 1);
        (1..=SYNC).for_each(|now| scaler.look(now, 10_000, &model));
        assert_eq!(scaler.ready.len(), 5, "at most four more at a time");
        (SYNC + 1..=2 * SYNC).for_each(|now| scaler.look(now, 10_000, &model));
        assert_eq!(
            scaler.ready.len(),
            10,
            "at most double, and no more than there may be"
        );
        let mut now = 2 * SYNC;
        let mut run = |scaler: &mut Autoscaler, seconds: usize| {
            for _ in 0..seconds {
                now += 1;
                scaler.look(now, 0, &model);
            }
        };
        run(&mut scaler, STABLE - SYNC);
        assert_eq!(scaler.ready.len(), 10, "kept for a while");
        run(&mut scaler, COOLDOWN);
        assert_eq!(scaler.ready.len(), 0);
    }

    #[test]
    fn the_shares_are_of_a_thousand() {
        assert_eq!(HOURS.iter().sum::<u32>(), 1000);
        assert_eq!(JANUARY.iter().sum::<u32>(), 1000);
    }

    #[test]
    fn the_last_week_and_office_hours_carry_most() {
        let coming = arrivals(
            Load::January {
                reports: 20_000,
                batch: 50,
            },
            &model(),
        );
        let sum = |wanted: &dyn Fn(usize) -> bool| -> u32 {
            let seconds = coming.iter().enumerate().filter(|(at, _)| wanted(*at));
            seconds.map(|(_, lanes)| lanes[0] + lanes[1]).sum()
        };
        let near = |reports: u32, wanted: u32| reports.abs_diff(wanted) < 600;
        assert!(near(sum(&|at| at >= 26 * DAY), 14_000));
        assert!(near(
            sum(&|at| (9..18).contains(&(at % DAY / HOUR))),
            18_400
        ));
    }
}
