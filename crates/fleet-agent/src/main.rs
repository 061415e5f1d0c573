//! `fleet-agent`: what fleet puts on every machine it rents.
//!
//! It runs the task, spools its output, carries its checkpoints to the controller or into the job's store and
//! gives the machine back when nobody is left who wants it. It is one static binary with threads and no
//! runtime, because it is copied to every machine over the user's own line. Invariant: it listens on no
//! port, holds no credential but the job's key for its own store, in memory alone, and connects to nothing
//! but that store, the metadata endpoint and the end-machine call of its start configuration.
//! `docs/specs/agent.md` tells the conversation and numbers the guarantees (AGT-1…).

mod attach;
mod base;
mod bell;
mod bucket;
mod checkpoint;
mod clock;
mod core;
mod daemon;
mod deadman;
mod error;
mod gpu;
mod health;
mod journal;
mod layout;
mod lines;
mod notice;
mod offers;
mod outbox;
mod parcel;
mod place;
mod procs;
mod publish;
mod pull;
mod put;
mod restore;
mod session;
mod shards;
mod signer;
mod spool;
mod start;
mod store;
mod supervise;
mod task;
mod watch;

use crate::error::{Error, Result};
use fleet_types::{Epoch, JobId};
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: fleet-agent start | attach JOB EPOCH | version";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note(&format!("error: {e}"));
            ExitCode::from(if matches!(e, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["start"] => start::start(),
        ["attach", job, epoch] => {
            let epoch: u32 = epoch
                .parse()
                .map_err(|_| Error::Usage(format!("`{}` is no epoch", epoch.escape_debug())))?;
            attach::attach(&JobId::new(*job), Epoch(epoch))
        }
        ["daemon"] => daemon::daemon(),
        ["supervise"] => supervise::supervise(),
        ["version"] => say(&format!("fleet-agent {}", env!("CARGO_PKG_VERSION"))),
        _ => Err(Error::Usage(USAGE.into())),
    }
}

/// One line on standard output.
fn say(line: &str) -> Result<()> {
    use crate::error::Doing;
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).doing(|| "write to standard output".into())
}

/// One line for whoever looks into `agent.log` later. Never holds text of the task or a secret.
fn note(line: &str) {
    // Nobody is left to tell when even this fails.
    let _ = writeln!(std::io::stderr(), "{} {line}", clock::now());
}
