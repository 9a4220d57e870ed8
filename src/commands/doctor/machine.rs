//! This machine: its clock, a typesetter, and what the kernel lets a worker have.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Report, size};
use crate::commands::Error;
use crate::config::{Confine, Settings};
use crate::event;
use crate::problem::{Failure, Outage};
use crate::typesetter::{Manuscript, Pool, Program, Templates};

/// A clock that says less stands wrong: this build is younger.
const BUILT: &str = "2026-01-01";

/// Bytes for the worker itself, the faces included.
const WORKER: u64 = 200 << 20;

/// Bytes that a typesetter takes in everyday work.
const EVERYDAY: u64 = 150 << 20;

/// Bytes below which no `render.memory` may be.
const LEAST: u64 = 256 << 20;

/// Open files of the worker itself: connections, calls to a disk, the admin port.
const FILES: u64 = 256;

/// Open files for each typesetter: its pipes.
const PIPES: u64 = 8;

pub(super) fn clock(report: &mut Report) -> Result<(), Error> {
    let now = event::now();
    if now.as_str() < BUILT {
        return report.fail(
            "clock",
            format!("it says {now}, which is past: set it by NTP"),
            format!("本机时钟为 {now}，明显有误：请用 NTP 校准"),
        );
    }
    report.ok("clock", format!("it says {now}"))
}

/// Typesetter processes of a worker.
fn typesetters(settings: &Settings) -> u64 {
    let bulk = settings.render.typesetters();
    bulk.saturating_add(settings.reserved()) as u64
}

/// Starts one typesetter, and has it set a sample.
pub(super) async fn typesetter(report: &mut Report, settings: &Settings) -> Result<(), Error> {
    let mut one = settings.clone();
    one.render.threads = 1;
    let began = Instant::now();
    let started = match Program::this() {
        Ok(program) => Pool::start(&one, program).await,
        Err(outage) => Err(outage),
    };
    let pool = match started {
        Ok(pool) => pool,
        Err(outage) => {
            return report.out(
                "typesetter",
                &outage,
                "排版进程无法启动：请按上文处理（内存上限、隔离、字体或模板）",
            );
        }
    };
    let ready = began.elapsed();
    let set = sample(&pool, &one).await;
    let done =
        set_a_sample(report, settings, ready, set).and_then(|()| confined(report, one, &pool));
    pool.close().await;
    done
}

/// Pages of a sample, and how long it took.
async fn sample(pool: &Pool, settings: &Settings) -> Result<(String, usize, Duration), Failure> {
    let templates = Templates::load(settings.templates.folder())?;
    let Some(edition) = templates.editions().next() else {
        let none = "there is no template";
        return Err(Outage::new(crate::problem::Part::Templates, none).into());
    };
    let manuscript = Manuscript::sample(&templates, edition);
    let began = Instant::now();
    let pdf = pool.typeset(&manuscript).await?;
    Ok((edition.name.clone(), pdf.pages, began.elapsed()))
}

fn set_a_sample(
    report: &mut Report,
    settings: &Settings,
    ready: Duration,
    set: Result<(String, usize, Duration), Failure>,
) -> Result<(), Error> {
    const CHECK: &str = "typesetter";
    let (name, pages, took) = match set {
        Ok(set) => set,
        Err(Failure::Outage(outage)) => return report.out(CHECK, &outage, "样张无法排版"),
        Err(Failure::Rejected(rejection)) => {
            let problems = rejection.problems().iter();
            let problems: Vec<_> = problems.map(|problem| problem.message.as_str()).collect();
            return report.fail(
                CHECK,
                format!("the sample cannot be set: {}", problems.join("; ")),
                "样张无法排版：请按上文检查 render.* 的上限和模板",
            );
        }
    };
    let deadline = Duration::from_secs(settings.render.deadline);
    let found = format!(
        "ready after {} ms; the sample of {name}, {pages} pages, took {} ms",
        ready.as_millis(),
        took.as_millis()
    );
    if took > deadline / 10 {
        return report.warn(
            CHECK,
            format!(
                "{found}, a good part of render.deadline ({} s), which a large report may not keep: \
                 give the machine fewer typesetters or more processors, or raise render.deadline",
                settings.render.deadline
            ),
            "排一份样张太慢，大报告可能超过 render.deadline：请减少排版进程、增加处理器，或提高该上限",
        );
    }
    report.ok(CHECK, found)
}

/// What a typesetter gave up, and what it takes.
fn confined(report: &mut Report, settings: Settings, pool: &Pool) -> Result<(), Error> {
    const CHECK: &str = "typesetter.confinement";
    let (without, wanted) = (pool.unconfined().join(", "), settings.render.confine);
    if wanted == Confine::Off {
        report.warn(
            CHECK,
            "off: the typesetters can reach files and network; set render.confine = \"try\" or \
             \"require\"",
            "隔离已关闭：请把 render.confine 设为 try 或 require",
        )?;
    } else if without.is_empty() {
        report.ok(
            CHECK,
            "files, network, programs and other processes are out of reach",
        )?;
    } else {
        report.warn(
            CHECK,
            format!(
                "without {without}: allow it in the container or the kernel (docs/operator.md, \
                 \"Confinement\"), or do without"
            ),
            format!(
                "未能完全隔离，缺少 {without}：请在容器或内核中放行（docs/zh/operator.md“隔离”）"
            ),
        )?;
    }
    let limit = settings.render.memory << 20;
    match pool.warm() {
        Some(warm) => report.ok(
            "typesetter.memory",
            format!(
                "{} of its own when warm, and {} at most (render.memory)",
                size(warm),
                size(limit)
            ),
        ),
        None => report.ok("typesetter.memory", "this system does not say"),
    }
}

/// What the kernel lets the worker have.
pub(super) fn limits(report: &mut Report, settings: &Settings) -> Result<(), Error> {
    let count = typesetters(settings);
    files(report, count)?;
    address_space(report, settings)?;
    memory(report, settings, count)
}

fn files(report: &mut Report, typesetters: u64) -> Result<(), Error> {
    const CHECK: &str = "limits.files";
    let Some(limit) = kernel::open_files() else {
        return report.ok(CHECK, "no limit of open files");
    };
    let want = FILES + PIPES * typesetters;
    if limit >= want {
        return report.ok(CHECK, format!("{limit} open files, {want} are enough"));
    }
    report.warn(
        CHECK,
        format!(
            "{limit} open files, and {} want {want}: raise it (LimitNOFILE= in the unit, ulimit \
             -n)",
            of_them(typesetters)
        ),
        format!("最多打开 {limit} 个文件，{typesetters} 个排版进程需要 {want} 个：请提高（LimitNOFILE=、ulimit -n）"),
    )
}

fn address_space(report: &mut Report, settings: &Settings) -> Result<(), Error> {
    const CHECK: &str = "limits.process";
    let wanted = settings.render.memory << 20;
    let Some((limit, name)) = kernel::process_memory().filter(|(limit, _)| *limit < wanted) else {
        return report.ok(CHECK, "a typesetter may have the memory of render.memory");
    };
    let (has, wants) = (size(limit), size(wanted));
    let message = format!(
        "a process may have {has} ({name}), less than the {wants} of render.memory: raise it \
         ({name} of the shell that starts the worker, or the unit's)"
    );
    let message_zh = format!("单个进程最多 {has}（{name}），小于 render.memory 的 {wants}：请提高");
    match limit < LEAST {
        true => report.fail(CHECK, message, message_zh),
        false => report.warn(CHECK, message, message_zh),
    }
}

fn memory(report: &mut Report, settings: &Settings, typesetters: u64) -> Result<(), Error> {
    const CHECK: &str = "limits.memory";
    let total = total_memory();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = group_limit(Path::new("/sys/fs/cgroup"), &groups);
    let group = group.filter(|limit| total.is_none_or(|total| *limit < total));
    let Some(limit) = group.or(total) else {
        return report.ok(CHECK, "this system does not say");
    };
    let whose = match group {
        Some(_) => "the control group (MemoryMax=, the container's limit) has",
        None => "the machine has",
    };
    let everyday = WORKER.saturating_add(EVERYDAY.saturating_mul(typesetters));
    let most = settings.render.memory << 20;
    let most = WORKER.saturating_add(most.saturating_mul(typesetters));
    let (has, everyday_size, most_size) = (size(limit), size(everyday), size(most));
    let (fix, fix_zh) = match group {
        Some(_) => (
            "raise the limit, or lower render.threads",
            "请提高上限，或减小 render.threads",
        ),
        None => (
            "give it more, or lower render.threads",
            "请增加内存，或减小 render.threads",
        ),
    };
    let children = of_them(typesetters);
    if limit < everyday {
        return report.fail(
            CHECK,
            format!(
                "{whose} {has}, and a worker with {children} takes {everyday_size} \
                 in everyday work: {fix}"
            ),
            format!("内存上限 {has}，{typesetters} 个排版进程日常需要 {everyday_size}：{fix_zh}"),
        );
    }
    if limit < most {
        return report.warn(
            CHECK,
            format!(
                "{whose} {has}, and {children} may take {most_size} when the largest \
                 reports come together (render.memory for each): {fix} or render.memory"
            ),
            format!(
                "内存上限 {has}，最大的报告同时到来时 {typesetters} 个排版进程可能用到 \
                 {most_size}：{fix_zh} 或 render.memory"
            ),
        );
    }
    report.ok(
        CHECK,
        format!("{whose} {has}; a worker with {children} takes {most_size} at most"),
    )
}

/// So many typesetters, in words.
fn of_them(typesetters: u64) -> String {
    match typesetters {
        1 => "1 typesetter".to_owned(),
        more => format!("{more} typesetters"),
    }
}

/// Bytes of the machine.
fn total_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib << 10)
}

/// The least limit of memory among the control groups of a process and those above them, in
/// version 1 and 2: `groups` is its `/proc/PID/cgroup`, `root` is `/sys/fs/cgroup`.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let mut least = None::<u64>;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the names above its own group may not be there.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = fs::read_to_string(folder.join(group).join(file)).unwrap_or_default();
            if let Ok(limit) = text.trim().parse::<u64>() {
                least = Some(least.map_or(limit, |least| least.min(limit)));
            }
        }
    }
    least
}

#[cfg(target_os = "linux")]
mod kernel {
    use rustix::process::{Resource, getrlimit};

    /// How many files this process may open; none, when it is not limited. The soft limit: nobody
    /// raises it.
    pub(super) fn open_files() -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }

    /// How much memory a process may have, and by which limit; none, when it is not limited.
    pub(super) fn process_memory() -> Option<(u64, &'static str)> {
        // A typesetter sets the first one for itself, as far as it may.
        let limits = [
            (getrlimit(Resource::Data).maximum, "ulimit -d"),
            (getrlimit(Resource::As).current, "ulimit -v"),
        ];
        let limits = limits.into_iter();
        limits
            .filter_map(|(limit, name)| Some((limit?, name)))
            .min()
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    /// Not looked at here.
    pub(super) fn open_files() -> Option<u64> {
        None
    }

    /// Not looked at here.
    pub(super) fn process_memory() -> Option<(u64, &'static str)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_above_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "900\n");
        write("system.slice/banshi.service/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/a/memory.limit_in_bytes", "700\n");
        let limit = |groups| group_limit(root.path(), groups);
        assert_eq!(limit("0::/system.slice/banshi.service\n"), Some(900));
        assert_eq!(limit("4:cpu,memory:/a/b\n0::/\n"), Some(700));
        assert_eq!(limit("3:cpuset:/\n0::/\n"), None);
        // A path of the host's, which a container does not see.
        write("memory.max", "500\n");
        assert_eq!(limit("0::/docker/0123\n"), Some(500));
    }
}
