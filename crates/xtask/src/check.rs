//! What is looked at before a change lands, besides the tests.

use crate::workspace::{cargo, run as run_command};
use crate::{deny, deps, tidy};
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
    deny::run()
}
