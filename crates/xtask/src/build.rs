//! Builds `fleet` and the agent beside it.
//!
//! The agent is static, so that it starts on machines with an older C library than this one's.

use crate::workspace::{cargo, output, run, target};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Builds both; answers where `fleet` lies.
pub(crate) fn all() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--package", "fleet-cli", "--bin", "fleet"]))?;
    agent()?;
    Ok(target().join("debug").join("fleet"))
}

/// Builds the static agent and puts it beside `fleet`.
pub(crate) fn agent() -> Result<PathBuf> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about
        .lines()
        .find_map(|l| l.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?
        .to_owned();
    let mut build =
        cargo(&["build", "--package", "fleet-agent", "--profile", "agent", "--target", &host]);
    run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let built = target().join(&host).join("agent").join("fleet-agent");
    let beside = target().join("debug").join("fleet-agent-static");
    std::fs::create_dir_all(target().join("debug"))?;
    // A copy that runs may not be written over: replace it.
    let fresh = beside.with_extension("new");
    std::fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
    std::fs::rename(&fresh, &beside)?;
    Ok(beside)
}
