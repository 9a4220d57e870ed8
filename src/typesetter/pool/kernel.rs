//! What the kernel knows of a child, and what it is told to hold a child to.
//!
//! Takes a process id, or the pipe to it. The child has no part in it, so that one that was taken
//! over can neither lie nor free itself. Linux only: elsewhere nothing is known and nothing held.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// What a pipe is to hold, in bytes: a report's PDF, and the most that the kernel gives to anybody.
#[cfg(target_os = "linux")]
const PIPE: usize = 1 << 20;

/// Lets a pipe hold a whole PDF, so that a child needn't wait until the worker has come to read it.
/// Where the user's pipes have too much already, it stays as it is, and is only slower.
#[cfg(target_os = "linux")]
pub(super) fn widen(pipe: &impl std::os::fd::AsFd) {
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(pipe, PIPE) {
        tracing::debug!(%error, "a pipe stays small");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn widen<T>(_: &T) {}

/// The memory that a process has for itself, in bytes: what is resident and not shared, as the
/// faces are.
#[cfg(target_os = "linux")]
pub(super) fn own_memory(process: u32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let mut pages = statm.split_whitespace().skip(1).map(str::parse::<u64>);
    let (Some(Ok(resident)), Some(Ok(shared))) = (pages.next(), pages.next()) else {
        return Err(unclear());
    };
    Ok(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
}

/// Lets a process use so much processor time more; then the kernel sends it SIGXCPU, and again
/// each second. The wall clock is the pool's own to watch: this holds a child that nobody watches,
/// because it has no report or because the worker itself was stopped.
#[cfg(target_os = "linux")]
pub(super) fn limit_cpu_time(process: u32, more: Duration) -> io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field, the name in parentheses, may hold anything. `utime` is the 14th.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(unclear)?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        return Err(unclear());
    };
    let used = (user + system) / rustix::param::clock_ticks_per_second();
    // What is lowered can't be raised again, so the upper limit stays what it is: the worker's.
    let maximum = getrlimit(Resource::Cpu).maximum;
    let current = used + 1 + more.as_secs();
    let limit = Rlimit {
        current: Some(maximum.map_or(current, |maximum| maximum.min(current))),
        maximum,
    };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(unclear)?;
    prlimit(Some(process), Resource::Cpu, limit)?;
    Ok(())
}

/// Whether it was that limit that ended a process.
#[cfg(target_os = "linux")]
pub(super) fn out_of_time(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGXCPU)
}

#[cfg(target_os = "linux")]
fn unclear() -> io::Error {
    io::Error::other("/proc says something else")
}

#[cfg(not(target_os = "linux"))]
pub(super) fn own_memory(_: u32) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn limit_cpu_time(_: u32, _: Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn out_of_time(_: ExitStatus) -> bool {
    false
}
