//! Everything that is done to this repository, as `cargo xtask …`.
//!
//! `demo` and `test` are the README's two commands; each does its own set-up. Invariant: a step that
//! cannot be done says so in a line that starts with `SKIPPED`, never silently.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to its terminal")]

mod build;
mod check;
mod demo;
mod deny;
mod deps;
mod measure;
mod test;
mod tidy;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  demo      build, then run the main job in the sandbox (README, first command)
  test      install what the tests need, build, run all tests (README, second command)
  build     build `fleet` and the static agent beside it
  agent     build the static agent alone
  check     fmt, clippy, deps, tidy, cargo-deny
  deps      the arrows between crates, one TLS stack
  tidy      headers, sizes, names
  measure   sizes of files and functions, startup and throughput figures
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => test::run(&rest),
        "build" => build::all().map(|_| ()),
        "agent" => build::agent().map(|path| println!("{}", path.display())),
        "check" => check::run(),
        "deps" => deps::run(),
        "tidy" => tidy::run(),
        "measure" => measure::run(),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no command `{other}`\n\n{HELP}"),
    }
}
