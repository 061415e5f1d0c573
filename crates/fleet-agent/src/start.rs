//! `fleet-agent start`: makes sure that the daemon of one (job, epoch) runs.
//!
//! Invariant: idempotent. The daemon holds a lock on its folder, so a second start finds it and says `ok`
//! again; a daemon of another epoch is never talked over.

use crate::base::Base;
use crate::error::{Doing, Error, Result};
use crate::say;
use fleet_agent_api::{AgentConfig, PROTOCOL};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

/// A start configuration is small.
const CONFIG_LIMIT: u64 = 1 << 20;

/// Reads the configuration from `input` and refuses a protocol that is not ours.
pub(crate) fn read_config(input: impl Read) -> Result<(AgentConfig, Vec<u8>)> {
    let mut text = Vec::new();
    input.take(CONFIG_LIMIT).read_to_end(&mut text).doing(|| "read the configuration".into())?;
    let config: AgentConfig = serde_json::from_slice(&text).map_err(Error::Config)?;
    if config.protocol != PROTOCOL {
        return Err(Error::Refused(format!(
            "the controller speaks protocol {}, this agent {PROTOCOL}; update the older of the two",
            config.protocol
        )));
    }
    Ok((config, text))
}

/// Starts the daemon where none runs, and says `ok`.
pub(crate) fn start() -> Result<()> {
    let (config, text) = read_config(std::io::stdin())?;
    let base = Base::of(&config.job)?;
    base.create()?;
    if is_running(&base)? {
        return match base.load() {
            Some(memory) if memory.epoch != config.epoch => Err(Error::Refused(format!(
                "epoch {} of {} runs on this machine, not {}; release it first",
                memory.epoch, config.job, config.epoch
            ))),
            _ => say("ok"),
        };
    }
    spawn(&base, &text)?;
    say("ok")
}

/// Whether a daemon holds this folder's lock.
fn is_running(base: &Base) -> Result<bool> {
    let lock = open_lock(&base.daemon_lock())?;
    Ok(lock.try_lock().is_err())
}

/// Opens a lock file, making it where it is missing.
pub(crate) fn open_lock(path: &std::path::Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .doing(|| format!("open `{}`", path.display()))
}

/// Starts the daemon and waits until its socket is there.
fn spawn(base: &Base, config: &[u8]) -> Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(base.log())
        .doing(|| format!("open `{}`", base.log().display()))?;
    let mut child = Command::new("/proc/self/exe")
        .arg("daemon")
        .current_dir(base.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .doing(|| "start the daemon".into())?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config).doing(|| "hand over the configuration".into())?;
    }
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(64).read_to_string(&mut answer).doing(|| "hear from the daemon".into())?;
    }
    if answer == "ready\n" || is_running(base)? {
        return Ok(());
    }
    Err(Error::Refused(format!("the daemon did not start; `{}` says why", base.log().display())))
}
