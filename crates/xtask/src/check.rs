//! What is looked at before a change lands, besides the tests.

use crate::workspace::{cargo, has, run as run_command};
use crate::{deps, tidy};
use anyhow::Result;

/// Formatting, lints, arrows, tidiness, licences and advisories.
pub(crate) fn run() -> Result<()> {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["clippy", "--workspace", "--", "-D", "warnings"]))?;
    // What surrounds a test may unwrap and print as the test itself may.
    run_command(&mut cargo(&[
        "clippy",
        "--workspace",
        "--tests",
        "--benches",
        "--",
        "-D",
        "warnings",
        "-A",
        "clippy::unwrap_used",
        "-A",
        "clippy::print_stdout",
        "-A",
        "clippy::print_stderr",
    ]))?;
    deps::run()?;
    tidy::run()?;
    deny()
}

/// cargo-deny where it is installed; advisories only where their database can be reached.
fn deny() -> Result<()> {
    if !has("cargo-deny") {
        println!("SKIPPED cargo-deny: it is not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    run_command(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))?;
    if run_command(&mut cargo(&["deny", "check", "advisories"])).is_err() {
        println!(
            "SKIPPED advisories: the database could not be reached, or it names something above"
        );
    }
    Ok(())
}
