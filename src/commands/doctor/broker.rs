//! RabbitMQ: reach, login, permissions, topology.

use super::Report;
use crate::commands::Error;
use crate::config::{Settings, Topology};
use crate::transport::amqp::{Client, Permissions, Standing, Use};

/// The oldest version that banshi is tested with.
const OLDEST: (u32, u32) = (3, 10);

pub(super) async fn broker(report: &mut Report, settings: &Settings) -> Result<(), Error> {
    let (queue, job_bytes) = (&settings.queue, settings.limits.job_bytes);
    let client = match Client::attach(queue, job_bytes).await {
        Ok(client) => client,
        Err(outage) => {
            return report.out(
                "broker",
                &outage,
                "连接不上消息服务器，或者它拒绝登录：请按上文检查地址、证书、用户名、口令和虚拟主机",
            );
        }
    };
    let address = client.address();
    report.ok("broker", format!("{address} lets us in"))?;
    way(report, &client)?;
    version(report, &client)?;
    let blocked = client.blocked().await;
    let client = match blocked {
        None => {
            report.ok("broker.alarm", "it takes messages")?;
            permissions(report, &client).await?;
            client
        }
        Some(why) => {
            report.fail(
                "broker.alarm",
                format!(
                    "it takes no messages: {why}. Free memory or disk on its machine (rabbitmqctl \
                     status lists the alarms), or raise vm_memory_high_watermark or lower \
                     disk_free_limit; permissions were not looked at"
                ),
                "消息服务器因内存或磁盘告警拒收消息：请释放其内存或磁盘空间；未检查权限",
            )?;
            // Nothing more is answered on a connection that published into an alarm.
            client.close().await;
            match Client::attach(queue, job_bytes).await {
                Ok(client) => client,
                Err(outage) => {
                    return report.out("broker.topology", &outage, "消息服务器不再响应");
                }
            }
        }
    };
    topology(report, &client, queue.topology).await?;
    let vhost = client.vhost();
    report.ok(
        "broker.policies",
        format!(
            "not checked, AMQP does not show them. None with overflow, message-ttl, expires or \
             delivery-limit may match {}.*, and consumer_timeout must be more than queue.lease: \
             rabbitmqctl list_policies -p {vhost}; rabbitmqctl list_operator_policies -p {vhost}",
            queue.prefix
        ),
    )?;
    client.close().await;
    Ok(())
}

fn way(report: &mut Report, client: &Client) -> Result<(), Error> {
    report.ok(
        "broker.tls",
        match client.way() {
            (true, _) => "encrypted, and its certificate is trusted",
            (false, true) => "not encrypted, on this machine",
            (false, false) => "not encrypted (amqp://), which is for a trusted network only",
        },
    )
}

fn version(report: &mut Report, client: &Client) -> Result<(), Error> {
    let Some(server) = client.server() else {
        return report.warn(
            "broker.version",
            "it does not say what it is; banshi is tested with RabbitMQ 3.10, 4.0 and 4.3",
            "未报告产品和版本；banshi 用 RabbitMQ 3.10、4.0 和 4.3 测试",
        );
    };
    let named = format!("{} {}", server.product, server.version);
    let mut numbers = server.version.split('.').map(str::parse::<u32>);
    let new = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    };
    if new && server.product == "RabbitMQ" {
        return report.ok("broker.version", named);
    }
    report.warn(
        "broker.version",
        format!("{named} is not what banshi is tested with: use RabbitMQ 3.10 or later"),
        format!("{named} 未经测试：请使用 RabbitMQ 3.10 或更高版本"),
    )
}

async fn permissions(report: &mut Report, client: &Client) -> Result<(), Error> {
    let found = match client.permissions().await {
        Ok(found) => found,
        Err(outage) => return report.out("broker.permissions", &outage, "无法查明权限"),
    };
    for Permissions { of, asked, refused } in found {
        let (check, permission, to) = match of {
            Use::Configure => (
                "broker.configure",
                "\"configure\"",
                "create exchanges and queues",
            ),
            Use::Bind => (
                "broker.bind",
                "\"write\" on queues and \"read\" on their exchanges",
                "bind queues",
            ),
            Use::Write => (
                "broker.write",
                "\"write\"",
                "publish events, retries and dead jobs",
            ),
            Use::Tell => {
                tell(report, client, &refused)?;
                continue;
            }
            Use::Read => ("broker.read", "\"read\"", "take jobs from the lanes"),
        };
        if refused.is_empty() {
            report.ok(check, format!("may {to} ({asked} of {asked})"))?;
            continue;
        }
        let (grant, names) = (client.grant(), some(&refused, asked));
        let verify = match of {
            Use::Configure | Use::Bind => {
                "; or create everything once with another user and set queue.topology = \"verify\""
            }
            Use::Write | Use::Tell | Use::Read => "",
        };
        report.fail(
            check,
            format!(
                "may not {to}, for which it needs the permission {permission}: {names}. \
                 {grant}{verify}"
            ),
            format!("用户缺少权限：{}；请执行 {grant}", zh(&names)),
        )?;
    }
    Ok(())
}

/// What a worker says of itself it can leave unsaid.
fn tell(report: &mut Report, client: &Client, refused: &[String]) -> Result<(), Error> {
    let Some(exchange) = refused.first() else {
        return Ok(());
    };
    let grant = client.grant();
    report.warn(
        "broker.write",
        format!(
            "may not say how the worker is, for which it needs the permission \"write\": {exchange}. \
             Without it `banshi status` and the console do not hear this worker. {grant}"
        ),
        format!(
            "用户缺少权限：{}；banshi status 和控制台收不到该进程的状态。请执行 {grant}",
            zh(exchange)
        ),
    )
}

async fn topology(report: &mut Report, client: &Client, mode: Topology) -> Result<(), Error> {
    const CHECK: &str = "broker.topology";
    let found = match client.standings().await {
        Ok(found) => found,
        Err(outage) => return report.out(CHECK, &outage, "无法查明交换机与队列的状态"),
    };
    let (all, mut well) = (found.len(), 0);
    let (mut missing, mut earlier, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
    for (what, standing) in found {
        match standing {
            Standing::Well => well += 1,
            Standing::Spare if mode == Topology::Verify => spare(report, CHECK, &what)?,
            Standing::Missing | Standing::Spare => missing.push(what),
            Standing::Earlier => earlier.push(what),
            Standing::Unseen(_) => unseen.push(what),
            Standing::Other { said, migrates } => {
                let fix = match migrates {
                    true => {
                        "run `banshi topology migrate`, which gives it ours and keeps what is in it"
                    }
                    false => {
                        "arguments cannot be changed: choose another queue.prefix, or delete it \
                         once it is empty (rabbitmqctl delete_queue), and a worker makes it anew"
                    }
                };
                report.fail(
                    CHECK,
                    format!("{what} stands with other arguments: {said}; {fix}"),
                    format!(
                        "{} 的参数与本版本不符：{}",
                        zh(&what),
                        match migrates {
                            true => "请执行 banshi topology migrate，其中的消息会保留",
                            false => "参数无法更改，请换一个 queue.prefix，或在清空后删除，由工作进程重建",
                        }
                    ),
                )?;
            }
        }
    }
    if !missing.is_empty() {
        let names = some(&missing, all);
        match mode {
            Topology::Declare => report.warn(
                CHECK,
                format!("not there yet, a worker creates them at its start: {names}"),
                format!("尚不存在，工作进程启动时会创建：{}", zh(&names)),
            )?,
            Topology::Verify => report.fail(
                CHECK,
                format!(
                    "not there, and queue.topology is \"verify\": {names}. Start a worker once with \
                     \"declare\" and a user that may, or check queue.prefix"
                ),
                format!(
                    "不存在，而 queue.topology 为 verify：{}；请用有权限的用户以 declare \
                     启动一次工作进程，或检查 queue.prefix",
                    zh(&names)
                ),
            )?,
        }
    }
    if !earlier.is_empty() {
        let names = some(&earlier, all);
        report.warn(
            CHECK,
            format!(
                "stand with the arguments of an earlier version: {names}. Once every worker is of \
                 this version run `banshi topology migrate`, which keeps what is in them"
            ),
            format!(
                "仍是旧版本的参数：{}；所有工作进程升级后，请执行 banshi topology migrate",
                zh(&names)
            ),
        )?;
    }
    // Without "configure" the arguments of what is there are not compared.
    match (well, unseen.len()) {
        (0, 0) => Ok(()),
        (_, 0) => report.ok(CHECK, format!("{well} of {all} stand as they must")),
        (_, others) => report.ok(
            CHECK,
            format!(
                "{well} of {all} stand as they must; how the other {others} are declared this user \
                 may not see: `banshi topology check` by one that may configure them"
            ),
        ),
    }
}

/// What is not there, and can be done without.
fn spare(report: &mut Report, check: &str, what: &str) -> Result<(), Error> {
    report.warn(
        check,
        format!(
            "not there: {what} (topic, durable). Workers do without it, but `banshi status` and \
             the console do not hear them until it is created"
        ),
        format!(
            "不存在：{}（topic，durable）。工作进程可以照常运行，但创建之前 banshi status \
             和控制台收不到其状态",
            zh(what)
        ),
    )
}

/// Names for one line: all of them by a word, or the first few.
fn some(names: &[String], all: usize) -> String {
    const NAMED: usize = 6;
    match names.len() {
        count if count == all && count > NAMED => format!("all {all}"),
        count if count > NAMED => {
            let rest = count - NAMED;
            format!("{} and {rest} more", names[..NAMED].join(", "))
        }
        _ => names.join(", "),
    }
}

/// The same in Chinese.
fn zh(names: &str) -> String {
    names
        .replace(" to exchange ", " → 交换机 ")
        .replace("exchange ", "交换机 ")
        .replace("queue ", "队列 ")
        .replace("all ", "全部 ")
        .replace(" and ", " 等，另有 ")
        .replace(" more", " 个")
}
