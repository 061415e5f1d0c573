//! Runs the conformance suite: every driver of this build × every MUST of `docs/specs/provider.md`.
//!
//! Not the usual test harness, because the trials are known only at run time. This program is also every
//! machine of the sandboxes it starts: with `__machine` as its first argument it is nothing else.

use fleet_testkit::Bench;
use fleet_testkit::trials::{ALL, Trial};
use fleet_types::ProviderId;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Longest that a trial may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "__machine") {
        let file = arguments.next().unwrap_or_default();
        return fleet_sandbox::machine::machine_main(Path::new(&file));
    }
    let arguments = libtest_mimic::Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            let name = "the trials can be listed";
            let fail = move || Err(format!("{error:#}").into());
            let only = vec![libtest_mimic::Trial::test(name, fail)];
            libtest_mimic::run(&arguments, only).exit_code()
        }
    }
}

fn trials() -> anyhow::Result<Vec<libtest_mimic::Trial>> {
    let mut all = Vec::new();
    for id in fleet_providers::drivers() {
        let capabilities = fleet_testkit::trials::capabilities(*id)?;
        for trial in ALL.iter().filter(|t| (t.needs)(&capabilities)) {
            let name = format!("{id}::PRV-{} {}", trial.number, trial.title);
            let run = move || run(*id, trial).map_err(|e| format!("{e:#}").into());
            all.push(libtest_mimic::Trial::test(name, run));
        }
    }
    Ok(all)
}

fn run(id: ProviderId, trial: &Trial) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let bench = Bench::up(id, &(trial.weather)(id)).await?;
        let result = tokio::time::timeout(PATIENCE, (trial.run)(&bench)).await;
        let result = result.unwrap_or_else(|_| anyhow::bail!("not done within {PATIENCE:?}"));
        bench.down().await.and(result)
    });
    // A thread that waits for a dead machine must not keep the next trial.
    runtime.shutdown_background();
    result
}
