//! Where files go: the store, the spool, and the disks beneath them.

use std::path::Path;
use std::time::Duration;

use super::{Report, size};
use crate::commands::Error;
use crate::config::{self, ConditionalPut};
use crate::disk;
use crate::store::{Clock, Examined, ReadBack, Store};
use crate::transport::spool;

/// A clock that is off by more than this is worth a look. S3 servers refuse who is off by more than
/// a quarter of an hour.
const SKEW: Duration = Duration::from_secs(60);

/// Free bytes below which a disk is soon full: some thousand reports.
const LITTLE: u64 = 1 << 30;

/// Free bytes below which a store takes nothing: the room that is seen to before each job.
const NONE: u64 = 2 << 20;

/// Files that can still be made, below which a disk is soon full. A report is two.
const FEW: u64 = 10_000;

/// A disk that takes longer than this for a small file holds up every report.
const SLOW: Duration = Duration::from_secs(1);

pub(super) async fn store(report: &mut Report, settings: &config::Store) -> Result<(), Error> {
    let site = match Store::site(settings) {
        Ok(site) => site,
        Err(outage) => return report.out("store", &outage, "store.url 有误"),
    };
    let store = match Store::visit(settings) {
        Ok(Some(store)) => store,
        Ok(None) => {
            not_begun(report, &settings.url)?;
            return match &site.folder {
                Some(folder) => space(report, "store.space", folder),
                None => Ok(()),
            };
        }
        Err(outage) => {
            return report.out(
                "store",
                &outage,
                "存储不可用：请检查是否已挂载、目录权限以及 AWS_* 变量；新建存储请执行 banshi \
                 store init",
            );
        }
    };
    let address = store.address();
    match store.is_begun().await {
        Ok(true) => report.ok("store", format!("{address} is a store and answers"))?,
        Ok(false) if site.may_begin => not_begun(report, &settings.url)?,
        Ok(false) => report.fail(
            "store",
            format!(
                "there is no store at {address} (no .banshi-ready in it), and store.create is \
                 \"never\": check store.url, or make one with banshi store init"
            ),
            "此处没有存储，且 store.create 为 never：请检查 store.url，或执行 banshi store init",
        )?,
        Err(outage) => {
            return report.out(
                "store",
                &outage,
                "存储无响应，或其布局与配置不符：请按上文处理",
            );
        }
    }
    if let Some(folder) = &site.folder {
        space(report, "store.space", folder)?;
    }
    let examined = match store.examine().await {
        Ok(examined) => examined,
        Err(outage) => {
            return report.out(
                "store.write",
                &outage,
                "写入存储失败：请按上文检查磁盘、权限或密钥",
            );
        }
    };
    condition(report, settings, &examined)?;
    let took = examined.took;
    match &examined.read_back {
        ReadBack::Same => {
            let how = match &site.folder {
                Some(_) => "written, synced, linked under a second name",
                None => "put",
            };
            written(report, "store.write", how, took)?;
        }
        ReadBack::NotTried(why) => report.ok(
            "store.write",
            format!(
                "not tried: what is put to find out could not be removed ({why}); a worker needs no \
                 right to remove"
            ),
        )?,
    }
    match examined.clock {
        Some(clock) => skew(report, "store.clock", clock),
        None => Ok(()),
    }
}

fn not_begun(report: &mut Report, url: &str) -> Result<(), Error> {
    report.warn(
        "store",
        format!(
            "there is no store at {url} yet: a worker makes one at its first start, or banshi store \
             init does"
        ),
        format!("{url} 处还没有存储：工作进程首次启动时会创建，也可执行 banshi store init"),
    )
}

fn condition(
    report: &mut Report,
    settings: &config::Store,
    examined: &Examined,
) -> Result<(), Error> {
    const CHECK: &str = "store.put-if-absent";
    match examined.keeps_condition {
        Some(true) => report.ok(CHECK, "it refuses to put where something is"),
        None => report.ok(CHECK, "not tried: nothing could be put"),
        Some(false) if settings.conditional_put == ConditionalPut::Require => report.fail(
            CHECK,
            "it overwrites although asked not to (If-None-Match: *), which store.conditional_put = \
             \"require\" does not allow: use another server, or set \"prefer\"",
            "该服务器无视 If-None-Match 而覆盖，store.conditional_put = \"require\" \
             不允许：请换用其他服务器，或改为 prefer",
        ),
        Some(false) => report.warn(
            CHECK,
            "it overwrites although asked not to (If-None-Match: *): a weaker rule is used \
             (docs/operator.md, \"A server that overwrites\"); use a server that keeps the \
             condition where that is not enough",
            "该服务器无视 If-None-Match 而覆盖：将采用较弱的规则（docs/zh/operator.md\
             “会覆盖的服务器”）；如不能接受，请换用遵守该条件的服务器",
        ),
    }
}

fn skew(report: &mut Report, check: &str, clock: Clock) -> Result<(), Error> {
    let seconds = clock.skew().as_secs();
    if clock.skew() <= SKEW {
        return report.ok(check, format!("within {} s of ours", seconds.max(1)));
    }
    let (how, how_zh) = match clock {
        Clock::Ahead(_) => ("ahead of", "快"),
        Clock::Behind(_) => ("behind", "慢"),
    };
    report.warn(
        check,
        format!(
            "{seconds} s {how} ours: set both by NTP; an S3 server refuses whoever is 15 minutes \
             away"
        ),
        format!(
            "比本机{how_zh} {seconds} 秒：请用 NTP 校准两边的时钟；相差 15 分钟时 S3 会拒绝请求"
        ),
    )
}

pub(super) async fn spool(report: &mut Report, dir: &str) -> Result<(), Error> {
    let dir = Path::new(if dir.is_empty() { "." } else { dir });
    let (missing, trial) = match spool::examine(dir).await {
        Ok(found) => found,
        Err(outage) => {
            return report.out(
                "spool",
                &outage,
                "Spool 目录不可用：请检查是否已挂载、目录权限和文件系统",
            );
        }
    };
    let Some(trial) = trial else {
        report.warn(
            "spool",
            format!(
                "there is no spool at {} yet: a worker makes it at its start",
                dir.display()
            ),
            format!(
                "{} 处还没有 Spool 目录：工作进程启动时会创建",
                dir.display()
            ),
        )?;
        return space(report, "spool.space", dir);
    };
    match missing.is_empty() {
        true => report.ok("spool", format!("{} has its folders", dir.display()))?,
        false => {
            let names: Vec<_> = missing
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            let names = names.join(", ");
            report.warn(
                "spool",
                format!("not there yet, a worker makes them at its start: {names}"),
                format!("尚不存在，工作进程启动时会创建：{names}"),
            )?;
        }
    }
    space(report, "spool.space", dir)?;
    let how = "in each folder a file was written, synced, linked under a second name";
    written(report, "spool.write", how, trial.sync)
}

fn written(report: &mut Report, check: &str, how: &str, took: Duration) -> Result<(), Error> {
    let millis = took.as_millis();
    let message = format!("{how}, read back the same and removed; kept within {millis} ms");
    if took <= SLOW {
        return report.ok(check, message);
    }
    report.warn(
        check,
        format!(
            "{message}, which is slow, and each report is several such: see to the disk or the \
                 network"
        ),
        format!("写入一个小文件用了 {millis} 毫秒，太慢，每份报告要写多次：请检查磁盘或网络"),
    )
}

/// What is free on the disk of a folder, or of the next one above it that is there.
fn space(report: &mut Report, check: &str, dir: &Path) -> Result<(), Error> {
    let here = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = here.ancestors().find(|folder| folder.exists());
    let free = match disk::space(there.unwrap_or(dir)) {
        Ok(Some(free)) => free,
        Ok(None) => return report.ok(check, "not looked at on this system"),
        Err(error) => {
            return report.fail(
                check,
                format!("cannot look at {}: {error}", dir.display()),
                "无法查看磁盘空间",
            );
        }
    };
    let files = match free.files {
        Some(files) => format!("{files} more files"),
        None => "any number of files".to_owned(),
    };
    let (dir, bytes) = (dir.display(), size(free.bytes));
    let found = format!("{bytes} and {files} are free at {dir}");
    let found_zh = format!("{dir} 剩余 {bytes}");
    let files = free.files.unwrap_or(u64::MAX);
    if free.bytes < NONE || files < 2 {
        return report.fail(
            check,
            format!("{found}, no room for a report: free some space there"),
            format!("{found_zh}，已放不下一份报告：请清理空间"),
        );
    }
    if free.bytes < LITTLE || files < FEW {
        return report.warn(
            check,
            format!("{found}, which is soon full: a report takes some 300 KiB and two files"),
            format!("{found_zh}，即将用尽：一份报告约占 300 KiB、两个文件"),
        );
    }
    report.ok(check, found)
}
