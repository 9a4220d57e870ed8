//! The `banshi` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    banshi::commands::run()
}
