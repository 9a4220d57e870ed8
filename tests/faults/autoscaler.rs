//! How many workers there are to be, as KEDA and Kubernetes decide it from the manifests of
//! deploy/kubernetes.
//!
//! KEDA hands on what the management API counts; how many replicas follow from that, the
//! `HorizontalPodAutoscaler` decides every 15 s, which is also how often KEDA asks here. It is
//! written down again below, as a function of time and counts that starts nothing and ends nothing:
//! <https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/>.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::repository;

/// What the autoscaler takes for no difference, by default.
const TOLERANCE: f64 = 0.1;

/// What the manifests say.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How often the queues are looked at.
    pub polling: Duration,
    /// Replicas, at least.
    pub least: usize,
    /// Replicas, at most.
    pub most: usize,
    /// Failed looks after which there are to be at least so many replicas.
    fallback: (u32, usize),
    up: Policy,
    down: Policy,
    /// How long less must have been wanted before there is less.
    stabilization: Duration,
    /// The queues.
    pub triggers: Vec<Trigger>,
    /// How long a replica has after SIGTERM.
    pub grace: Duration,
}

/// By how much the replicas may change in a time.
#[derive(Debug, Clone, Copy)]
struct Policy {
    percent: f64,
    period: Duration,
}

/// A queue.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// Its name without the prefix.
    pub queue: String,
    /// Jobs for each replica.
    pub value: u64,
}

impl Rules {
    /// Of the `ScaledObject` and of the worker's Deployment.
    pub fn read() -> Rules {
        let files = ["components/keda/scaledobject.yaml", "base/worker.yaml"];
        let read = Command::new(repository("tests/tools/manifests"))
            .arg("read")
            .args(files.map(|file| repository("deploy/kubernetes").join(file)))
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&read.stderr);
        let objects: Vec<Value> =
            serde_json::from_slice(&read.stdout).unwrap_or_else(|_| panic!("{said}"));
        let spec = |kind: &str| {
            let mut found = objects.iter().filter(|it| it["kind"] == kind);
            &found.next().expect("the manifests have one")["spec"]
        };
        let (scaled, pod) = (
            spec("ScaledObject"),
            &spec("Deployment")["template"]["spec"],
        );
        let fallback = &scaled["fallback"];
        assert_eq!(fallback["behavior"], "currentReplicasIfHigher");
        let behavior = &scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        let triggers = scaled["triggers"].as_array().expect("triggers").iter();
        let trigger = |it: &Value| {
            let metadata = &it["metadata"];
            // What is counted here is what is ready and what is held.
            assert_eq!(metadata["protocol"], "http");
            assert_eq!(metadata["mode"], "QueueLength");
            assert_eq!(metadata["excludeUnacknowledged"], "false");
            let text = |key: &str| metadata[key].as_str().expect("a text");
            let queue = text("queueName").strip_prefix("banshi.");
            Trigger {
                queue: queue.expect("a queue of banshi's").to_owned(),
                value: text("value").parse().expect("a number"),
            }
        };
        Rules {
            polling: seconds(&scaled["pollingInterval"]),
            least: number(&scaled["minReplicaCount"]),
            most: number(&scaled["maxReplicaCount"]),
            fallback: (
                number(&fallback["failureThreshold"]) as u32,
                number(&fallback["replicas"]),
            ),
            up: policy(&behavior["scaleUp"]),
            down: policy(&behavior["scaleDown"]),
            stabilization: seconds(&behavior["scaleDown"]["stabilizationWindowSeconds"]),
            triggers: triggers.map(trigger).collect(),
            grace: seconds(&pod["terminationGracePeriodSeconds"]),
        }
    }

    /// The same for a fraction of the jobs, in that fraction of the time.
    pub fn in_small(mut self, fraction: u32) -> Rules {
        for time in [
            &mut self.polling,
            &mut self.up.period,
            &mut self.down.period,
            &mut self.stabilization,
            &mut self.grace,
        ] {
            *time /= fraction;
        }
        for trigger in &mut self.triggers {
            trigger.value = trigger.value.div_ceil(u64::from(fraction));
        }
        self
    }
}

fn policy(behavior: &Value) -> Policy {
    let policies = behavior["policies"].as_array().expect("policies");
    let [policy] = policies.as_slice() else {
        panic!("one policy is understood here: {policies:?}");
    };
    assert_eq!(policy["type"], "Percent");
    Policy {
        percent: number(&policy["value"]) as f64 / 100.0,
        period: seconds(&policy["periodSeconds"]),
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().expect("seconds"))
}

/// What it has decided so far.
pub struct Autoscaler {
    rules: Rules,
    /// When replicas were added or removed, and how many.
    changes: Vec<(Duration, f64)>,
    /// What was wanted, and when.
    wanted: Vec<(Duration, usize)>,
    failures: u32,
}

impl Autoscaler {
    pub fn new(rules: Rules) -> Autoscaler {
        Autoscaler {
            rules,
            changes: Vec::new(),
            wanted: Vec::new(),
            failures: 0,
        }
    }

    /// How many replicas there are to be now, where there are so many and the queues have so many
    /// jobs, in the order of the triggers; none, when the management API did not say.
    pub fn decide(&mut self, now: Duration, current: usize, jobs: Option<&[u64]>) -> usize {
        let rules = &self.rules;
        let Some(jobs) = jobs else {
            self.failures += 1;
            let (threshold, replicas) = rules.fallback;
            let falls_back = self.failures >= threshold && replicas > current;
            let to = if falls_back { replicas } else { current };
            self.changes.push((now, to as f64 - current as f64));
            return to;
        };
        self.failures = 0;
        let each = jobs.iter().zip(&rules.triggers).map(|(jobs, trigger)| {
            let for_each = trigger.value as f64 * current as f64;
            match (*jobs as f64 / for_each - 1.0).abs() <= TOLERANCE {
                true => current,
                false => jobs.div_ceil(trigger.value) as usize,
            }
        });
        let wanted = each.max().expect("there are triggers");
        let wanted = wanted.clamp(rules.least, rules.most);
        self.wanted.push((now, wanted));
        let recent = self.wanted.iter().rev();
        let recent = recent.take_while(|(at, _)| *at + rules.stabilization > now);
        let most_of_late = recent.map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        let to = if wanted > current {
            let before = current as f64 - self.changed(now, rules.up.period);
            let limit = (before * (1.0 + rules.up.percent)).ceil() as usize;
            wanted.min(limit.max(current))
        } else {
            let before = current as f64 - self.changed(now, rules.down.period);
            let limit = (before * (1.0 - rules.down.percent)).floor() as usize;
            most_of_late.max(limit).min(current)
        };
        self.changes.push((now, to as f64 - current as f64));
        to
    }

    /// By how many replicas there were more than before, in the time that has just passed.
    fn changed(&self, now: Duration, within: Duration) -> f64 {
        let recent = self.changes.iter().filter(|(at, _)| *at + within > now);
        recent.map(|(_, change)| change).sum()
    }
}

/// What is wrong with how the number of workers went: it must rise over what it was at first, and
/// fall to that again.
pub fn objection(least: usize, counts: &[usize]) -> Option<String> {
    let peak = counts.iter().copied().max().unwrap_or_default();
    let last = counts.last().copied().unwrap_or_default();
    if peak < least + 2 {
        return Some(format!("there were never more than {peak} workers"));
    }
    (last != least).then(|| format!("of {peak} workers {last} are left, and not {least}"))
}

/// A look: the second, the replicas, jobs in bulk and urgent, and the decision.
type Look = (u64, usize, Option<[u64; 2]>, usize);

/// Holds it to cases that were worked out by hand; gives their number.
pub fn hold() -> Result<usize, String> {
    let rules = Rules {
        polling: Duration::from_secs(15),
        least: 2,
        most: 20,
        fallback: (4, 4),
        up: Policy {
            percent: 1.0,
            period: Duration::from_secs(60),
        },
        down: Policy {
            percent: 0.5,
            period: Duration::from_secs(120),
        },
        stabilization: Duration::from_secs(300),
        triggers: [("jobs.bulk", 320), ("jobs.urgent", 16)]
            .map(|(queue, value)| Trigger {
                queue: queue.to_owned(),
                value,
            })
            .into(),
        grace: Duration::from_secs(60),
    };
    let cases: [(&str, &[Look]); 7] = [
        ("nothing waits", &[(0, 2, Some([0, 0]), 2)]),
        (
            "twice as many within a minute, and twice as many again in the next",
            &[
                (0, 2, Some([3200, 0]), 4),
                (15, 4, Some([3200, 0]), 4),
                (61, 4, Some([3200, 0]), 8),
            ],
        ),
        (
            "never more than there may be",
            &[(0, 15, Some([99_999, 0]), 20)],
        ),
        (
            "the lane that wants more decides",
            &[(0, 2, Some([0, 40]), 3)],
        ),
        (
            "a tenth more or less is no difference",
            &[(0, 4, Some([1400, 0]), 4)],
        ),
        (
            "less only when less was wanted for 300 s, and by half in 120 s",
            &[
                (0, 8, Some([2560, 0]), 8),
                (150, 8, Some([0, 0]), 8),
                (290, 8, Some([0, 0]), 8),
                (301, 8, Some([0, 0]), 4),
                (316, 4, Some([0, 0]), 4),
                (430, 4, Some([0, 0]), 2),
            ],
        ),
        (
            "of a management API that is out nothing follows but a least number",
            &[
                (0, 2, None, 2),
                (15, 2, None, 2),
                (30, 2, None, 2),
                (45, 2, None, 4),
                (60, 5, None, 5),
            ],
        ),
    ];
    for (what, looks) in cases {
        let mut autoscaler = Autoscaler::new(rules.clone());
        for &(second, current, jobs, want) in looks {
            let jobs = jobs.as_ref().map(|jobs| &jobs[..]);
            let decided = autoscaler.decide(Duration::from_secs(second), current, jobs);
            if decided != want {
                return Err(format!("{what}: {decided} and not {want} after {second} s"));
            }
        }
    }
    let wrong: [(&str, &[usize]); 3] = [
        ("it did not rise", &[2, 2, 2]),
        ("it did not fall", &[2, 4, 6]),
        ("it did not fall to what it was", &[2, 6, 3]),
    ];
    for (what, counts) in wrong {
        if objection(2, counts).is_none() {
            return Err(format!("{what}: no objection"));
        }
    }
    match objection(2, &[2, 4, 6, 3, 2]) {
        Some(why) => Err(format!("it rose and fell, and still: {why}")),
        None => Ok(cases.len() + wrong.len()),
    }
}
