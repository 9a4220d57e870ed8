//! Writes what goes beside the program in a package: a manual page for each command, and the
//! completions of the usual shells. The shipped program itself carries neither.
//!
//! `cargo run --example manual -- DIR` writes `DIR/man/*.1` and `DIR/completions/`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("manual: want the folder that the pages go to");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        std::fs::create_dir_all(folder)?;
    }
    for shell in SHELLS {
        let mut command = banshi::commands::command_line();
        clap_complete::generate_to(shell, &mut command, "banshi", &completions)?;
    }
    let mut command = banshi::commands::command_line().disable_help_subcommand(true);
    command.build();
    pages(&man, &command)
}

/// The page of a command and of each below it.
fn pages(folder: &Path, command: &Command) -> io::Result<()> {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(examples) = command.get_after_help() {
        // Line by line, as a terminal shows it.
        writeln!(
            page,
            ".SH NOTES\n.nf\n{}\n.fi",
            literal(&examples.to_string())
        )?;
    }
    std::fs::write(folder.join(man.get_filename()), page)?;
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    for command in shown {
        pages(folder, command)?;
    }
    Ok(())
}

/// Text in which roff sees no requests.
fn literal(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
