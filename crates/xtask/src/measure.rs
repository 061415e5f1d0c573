//! Figures of this repository and of the built binary, to be copied into docs/benchmarks.md.

use crate::build;
use crate::tidy::product_lines;
use crate::workspace::{root, rust_files};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 15;

/// Prints every figure.
pub(crate) fn run() -> Result<()> {
    sizes()?;
    let fleet = build::all()?;
    let home = tempdir()?;
    println!("| command | median | min | max |\n|---|---|---|---|");
    for args in [&["--version"][..], &["--help"], &["status"]] {
        time(&fleet, &home, &[], args)?;
    }
    let sandbox = sandbox(&fleet, &home)?;
    time(&fleet, &home, &sandbox, &["launch", "examples/train.yaml", "--use-spot", "--dry-run"])?;
    time(&fleet, &home, &sandbox, &["offers", "--gpus", "T4:1", "--spot", "--refresh"])?;
    let mut down = Command::new(&fleet);
    down.args(["sandbox", "down"])
        .env("FLEET_HOME", &home)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    crate::workspace::run(&mut down)?;
    let mut stop = Command::new(&fleet);
    stop.args(["server", "stop"]).env("FLEET_HOME", &home).stdout(Stdio::null());
    crate::workspace::run(&mut stop)?;
    std::fs::remove_dir_all(home)?;
    Ok(())
}

/// Runs a command many times and prints its row; the first run, which warms caches, does not count.
fn time(fleet: &Path, home: &Path, env: &[(String, String)], args: &[&str]) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..=RUNS {
        let start = Instant::now();
        let status = Command::new(fleet)
            .args(args)
            .envs(env.iter().cloned())
            .env("FLEET_HOME", home)
            .current_dir(root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("running fleet")?;
        anyhow::ensure!(status.success(), "fleet {args:?} ended with {status}");
        times.push(start.elapsed());
    }
    times.remove(0);
    times.sort();
    let ms = |d: &Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
    let row = [&times[RUNS / 2], &times[0], &times[RUNS - 1]].map(ms).join(" | ");
    println!("| `fleet {}` | {row} |", args.join(" "));
    Ok(())
}

/// Starts a sandbox; answers the environment that points at it.
fn sandbox(fleet: &Path, home: &Path) -> Result<Vec<(String, String)>> {
    let mut up = Command::new(fleet);
    up.args(["sandbox", "up", "--seed", "1"]).env("FLEET_HOME", home);
    crate::workspace::output(&mut up)?;
    let mut env = Command::new(fleet);
    let text = crate::workspace::output(env.args(["sandbox", "env"]).env("FLEET_HOME", home))?;
    let lines = text.lines().filter_map(|l| l.strip_prefix("export ")?.split_once('='));
    Ok(lines.map(|(k, v)| (k.to_owned(), v.trim_matches(['\'', '"']).to_owned())).collect())
}

fn tempdir() -> Result<std::path::PathBuf> {
    let dir = std::env::temp_dir().join(format!("fleet-measure-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn sizes() -> Result<()> {
    let mut lines = Vec::new();
    for file in rust_files()? {
        if file.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        lines.push(product_lines(&std::fs::read_to_string(&file)?));
    }
    lines.sort_unstable();
    let at = |share: usize| lines.get(lines.len() * share / 100).copied().unwrap_or(0);
    let total: usize = lines.iter().sum();
    println!(
        "{} files, {total} lines before tests; median {}, 90th percentile {}, longest {}\n",
        lines.len(),
        at(50),
        at(90),
        lines.last().copied().unwrap_or(0)
    );
    Ok(())
}
