//! Instructions, counted.

use std::process::Command;

/// Millions of instructions that this program takes with these arguments, as valgrind counts them;
/// none without it.
pub fn counted(arguments: &[&str]) -> Option<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=cachegrind",
        "--cache-sim=no",
        "--cachegrind-out-file=/dev/null",
    ]);
    let program = std::env::current_exe().expect("this program");
    let ran = valgrind.arg(program).args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("I   refs:"));
    let (_, count) = line.expect("valgrind says how many instructions it saw");
    let count = count.trim().replace(',', "").parse::<f64>();
    Some(count.expect("a number") / 1e6)
}
