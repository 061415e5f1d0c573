//! A copy of the database beside it, made by SQLite's backup API while work goes on.
//!
//! Invariant: `<path>.backup` is always a whole database: the copy is made under another name, synced,
//! then renamed over the old one.

use super::fault::{io, translate};
use super::schema::folder_of;
use super::{Tuning, schema};
use crate::Result;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Pages copied before others may go on.
const PAGES: i32 = 1024;

/// Where the backup of `path` lies.
pub(super) fn backup_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".backup");
    PathBuf::from(name)
}

/// Copies the database.
pub(super) fn copy(path: &Path, tuning: &Tuning) -> Result<PathBuf> {
    let target = backup_path(path);
    let folder = folder_of(path);
    let young = tempfile::Builder::new()
        .prefix(".backup-")
        .tempfile_in(&folder)
        .map_err(|e| io(&folder, &e))?;
    let sql = |e: rusqlite::Error| translate(path, &e);
    let source = schema::open_reader(path, tuning)?;
    let mut copy = Connection::open(young.path()).map_err(sql)?;
    {
        let backup = Backup::new(&source, &mut copy).map_err(sql)?;
        // Yielding between steps: a long copy must not hold up a checkpoint of the log.
        while backup.step(PAGES).map_err(sql)? != StepResult::Done {
            std::thread::yield_now();
        }
    }
    // The copy has the source's log mode in its header; alone it shall be one plain file.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(sql)?;
    copy.close().map_err(|(_, e)| translate(path, &e))?;
    let file = young.persist(&target).map_err(|e| io(&target, &e.error))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| io(&target, &e))?;
    file.sync_all().map_err(|e| io(&target, &e))?;
    File::open(&folder).and_then(|f| f.sync_all()).map_err(|e| io(&folder, &e))?;
    Ok(target)
}

/// Copies the database whenever the copy is older than the tuning allows, until `stop` is closed.
pub(super) fn keep_fresh(path: &Path, tuning: &Tuning, stop: &Receiver<()>) {
    let mut wait = first_wait(path, tuning.backup_every);
    while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = copy(path, tuning) {
            tracing::error!(%error, "the hourly backup failed");
        }
        wait = tuning.backup_every;
    }
}

/// A controller that never runs for an hour shall have a fresh copy too.
fn first_wait(path: &Path, every: Duration) -> Duration {
    let age = std::fs::metadata(backup_path(path))
        .and_then(|m| m.modified())
        .map_or(every, |at| at.elapsed().unwrap_or_default());
    every.saturating_sub(age)
}
