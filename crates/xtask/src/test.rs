//! The README's second command: installs what the tests need, builds, runs all of them, counts skips.
//!
//! A test that cannot run prints a line starting with `SKIPPED`; the last lines say how many did.

use crate::build;
use crate::workspace::{self, cargo, has, target};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Debian packages that tests use, by the program that tells whether they are there.
const TOOLS: &[(&str, &str)] = &[("sshd", "openssh-server"), ("ssh", "openssh-client")];

/// Runs every test of the workspace; arguments go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    install();
    let fleet = build::all()?;
    crate::deps::run()?;
    crate::tidy::run()?;
    crate::deny::run()?;
    let mut test = cargo(&["test", "--workspace", "--no-fail-fast"]);
    test.args(args)
        .env("FLEET_BIN", &fleet)
        .env("FLEET_AGENT", target().join("debug").join("fleet-agent-static"))
        .stdout(Stdio::piped());
    let mut child = test.spawn().context("cannot run cargo test")?;
    let mut skipped = Vec::new();
    let (mut passed, mut failed, mut ignored) = (0_u64, 0_u64, 0_u64);
    if let Some(out) = child.stdout.take() {
        let mut stdout = std::io::stdout().lock();
        for line in BufReader::new(out).lines() {
            let line = line?;
            writeln!(stdout, "{line}")?;
            if line.contains("SKIPPED") {
                skipped.push(line.trim().to_owned());
            }
            if let Some(counts) = line.strip_prefix("test result: ") {
                passed += count(counts, "passed");
                failed += count(counts, "failed");
                ignored += count(counts, "ignored");
            }
        }
    }
    let status = child.wait()?;
    for line in &skipped {
        println!("{line}");
    }
    println!("{passed} passed, {failed} failed, {} skipped", skipped.len() as u64 + ignored);
    if !status.success() {
        bail!("tests failed");
    }
    Ok(())
}

fn count(line: &str, word: &str) -> u64 {
    line.split(';')
        .find_map(|part| part.trim().strip_suffix(word)?.trim().rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// Installs missing tools where that can be done without asking.
fn install() {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !has(program)).collect();
    if missing.is_empty() {
        return;
    }
    let names: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let root = is_root();
    let mut apt = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        apt.args(["-n", "apt-get"]);
    }
    let mut update = Command::new(apt.get_program());
    update.args(apt.get_args()).arg("update").stdout(Stdio::null());
    apt.args(["install", "-y", "--no-install-recommends"]).args(&names).stdout(Stdio::null());
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    if let Err(e) = workspace::run(&mut update).and_then(|()| workspace::run(&mut apt)) {
        println!("SKIPPED installing {}: {e}", names.join(", "));
    }
}

fn is_root() -> bool {
    workspace::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
