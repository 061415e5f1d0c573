//! Background processes of ours: this same program, cut loose from the terminal.
//!
//! Invariant: what runs in the background inherits nothing that says who pays (see
//! `Env::inherited`), no terminal and no open file of the command that started it; it writes to its
//! log and says why it could not start.

use crate::env::Env;
use crate::error::{Error, Result};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A start under way.
pub(crate) struct Starting {
    what: &'static str,
    child: Child,
    log: PathBuf,
    /// Length of the log before the start: what follows is this start's own.
    log_from: u64,
    since: Instant,
}

/// How a start is going.
pub(crate) enum Progress {
    Running,
    /// It ended well by itself: somebody else was faster.
    Left,
}

/// Starts `fleet ARGS` in the background, its output in `log`.
pub(crate) fn start(
    env: &Env,
    home: &Path,
    what: &'static str,
    args: &[&OsStr],
    log: &Path,
) -> Result<Starting> {
    let failed = |e: std::io::Error| {
        Error::internal(format!("the {what} cannot be started: {}: {e}", log.display()))
    };
    let out = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(failed)?;
    let log_from = out.metadata().map_err(failed)?.len();
    let err = out.try_clone().map_err(failed)?;
    let child = Command::new(env.program())
        .args(args)
        .env_clear()
        .envs(env.inherited())
        .env("FLEET_HOME", home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(failed)?;
    Ok(Starting { what, child, log: log.to_owned(), log_from, since: Instant::now() })
}

impl Starting {
    /// Says whether it still comes up; an error carries the end of its log.
    pub(crate) fn check(&mut self, limit: Duration) -> Result<Progress> {
        match self.child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(Progress::Left),
            Ok(Some(status)) => return Err(self.failed(&format!("it ended with {status}"))),
            Ok(None) => {}
            Err(e) => return Err(self.failed(&e.to_string())),
        }
        if self.since.elapsed() > limit {
            return Err(self.failed(&format!("it does not answer after {} s", limit.as_secs())));
        }
        Ok(Progress::Running)
    }

    fn failed(&self, why: &str) -> Error {
        let said = tail(&self.log, self.log_from).unwrap_or_default();
        let said = said.trim();
        let message = match said.is_empty() {
            true => format!("the {} could not be started: {why}", self.what),
            false => format!("the {} could not be started: {why}\n{said}", self.what),
        };
        Error::internal(message).hint(format!("its log is {}", self.log.display()))
    }
}

/// What the log says since `from`, at most its last 2 KiB.
fn tail(log: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(2048))))?;
    let mut text = Vec::new();
    file.take(2048).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Cuts this process loose from its terminal; called first thing by a process that [`start`] made.
///
/// Until then Ctrl-C reaches it together with the command that started it, which nobody misses.
pub(crate) fn leave_terminal() -> Result<()> {
    nix::unistd::setsid()
        .map(drop)
        .map_err(|e| Error::internal(format!("cannot leave the terminal: {e}")))
}
