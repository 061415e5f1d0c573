//! cargo-deny: banned crates, licences, sources, advisories.
//!
//! It is built once into the user's cache where it is missing, pinned, beside the target folders that
//! outlive a clone. Invariant: what could not be looked at says `SKIPPED`; a finding is a failure.

use crate::workspace::{cargo, has, run as run_command};
use anyhow::Result;
use std::path::PathBuf;

/// The release that is installed where there is none.
const VERSION: &str = "0.20.2";

/// Runs it; advisories only where their database can be reached.
pub(crate) fn run() -> Result<()> {
    let Some(program) = program() else { return Ok(()) };
    let check = |what: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(["--all-features", "check"]).args(what);
        command.current_dir(crate::workspace::root());
        command
    };
    run_command(&mut check(&["bans", "licenses", "sources"]))?;
    let mut fetch = std::process::Command::new(&program);
    fetch.args(["fetch", "db"]).current_dir(crate::workspace::root());
    if run_command(&mut fetch).is_err() {
        println!("SKIPPED advisories: their database could not be reached");
        return Ok(());
    }
    run_command(&mut check(&["--disable-fetch", "advisories"]))
}

/// The program: from the path, from the cache, or built now.
fn program() -> Option<PathBuf> {
    if has("cargo-deny") {
        return Some(PathBuf::from("cargo-deny"));
    }
    let cache = cache()?;
    let (tools, program) = (cache.join("tools"), cache.join("tools/bin/cargo-deny"));
    if !program.is_file() {
        let mut install = cargo(&["install", "cargo-deny", "--locked", "--version", VERSION]);
        install.arg("--root").arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
        let installed = run_command(&mut install);
        // Only the program is wanted.
        if let Err(e) = std::fs::remove_dir_all(tools.join("build")) {
            eprintln!("{} stays: {e}", tools.join("build").display());
        }
        if let Err(e) = installed {
            println!("SKIPPED cargo-deny: it could not be installed: {e}");
            return None;
        }
    }
    Some(program)
}

fn cache() -> Option<PathBuf> {
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(of_home)?;
    Some(base.join("fleet"))
}
