//! What the kernel says of a process: its children, the CPU time that it has had, its memory.

use std::fs;

/// Clock ticks a second in `/proc/PID/stat`, which the kernel fixes for every architecture that
/// we know (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The process ids of a process's children.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let mut children = Vec::new();
    for task in tasks {
        let path = task.expect("a thread").path().join("children");
        // A thread may be gone by now.
        let text = fs::read_to_string(path).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .map(|pid| pid.parse::<u32>().expect("a number")),
        );
    }
    children.sort_unstable();
    children
}

/// Seconds of CPU that a process has had, in user and kernel mode, all its threads together.
pub fn cpu(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name of the program, the second field, may hold anything but ends with the last bracket.
    let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
    let ticks = |field: usize| {
        let text = fields.split_whitespace().nth(field - 3);
        text.and_then(|text| text.parse::<f64>().ok())
            .expect("a number")
    };
    (ticks(14) + ticks(15)) / TICKS
}

/// Megabytes (10⁶ bytes) that a process holds.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All that is resident, with the pages of files that every process shares.
    pub resident: f64,
    /// What no other process shares.
    pub own: f64,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let kilobytes = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse::<f64>().ok())
            .expect("a line of smaps_rollup")
    };
    let megabytes = |kilobytes: f64| kilobytes * 1024.0 / 1e6;
    Memory {
        resident: megabytes(kilobytes("Rss:")),
        own: megabytes(kilobytes("Private_Clean:") + kilobytes("Private_Dirty:")),
    }
}
