//! Opening the database file: made whole or not at all, checked, migrated, its settings applied.
//!
//! Invariant: a database file that exists has a schema, because a new one is built in a folder of its
//! own and linked into place when it is complete. So an empty or headless file is damage, never a
//! fresh start that would forget machines that bill. A newer schema is refused, never guessed at.

use super::fault::{damaged, io, translate};
use super::{Tuning, disk};
use crate::{Error, Result};
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One script per schema version, from 1. Only ever appended to.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// The newest schema that this build knows.
const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Opens the connection that writes; makes the database where there is none.
pub(super) fn open_writer(path: &Path, tuning: &Tuning) -> Result<Connection> {
    let folder = folder_of(path);
    std::fs::create_dir_all(&folder).map_err(|e| io(&folder, &e))?;
    disk::refuse_network(&folder)?;
    if !path.try_exists().map_err(|e| io(path, &e))? {
        create(path, &folder)?;
    }
    if std::fs::metadata(path).map_err(|e| io(path, &e))?.len() == 0 {
        return Err(damaged(path, "the file is empty"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = |e: rusqlite::Error| translate(path, &e);
    let mut conn = Connection::open_with_flags(path, flags).map_err(sql)?;
    conn.busy_timeout(tuning.busy_timeout).map_err(sql)?;
    check_version(path, &conn)?;
    settings(path, &conn)?;
    quick_check(path, &conn)?;
    migrate(&mut conn).map_err(sql)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| io(path, &e))?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path, tuning: &Tuning) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = |e: rusqlite::Error| translate(path, &e);
    let conn = Connection::open_with_flags(path, flags).map_err(sql)?;
    conn.busy_timeout(tuning.busy_timeout).map_err(sql)?;
    Ok(conn)
}

/// The folder that holds `path`.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn create(path: &Path, folder: &Path) -> Result<()> {
    // SQLite would replay a log that another database left behind into the new one.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(&log).is_ok_and(|m| m.len() > 0) {
        return Err(damaged(path, "the file is missing and its log (`-wal`) is still there"));
    }
    let nursery = tempfile::Builder::new()
        .prefix(".new-database-")
        .tempdir_in(folder)
        .map_err(|e| io(folder, &e))?;
    let young = nursery.path().join("db");
    let sql = |e: rusqlite::Error| translate(path, &e);
    let mut conn = Connection::open(&young).map_err(sql)?;
    settings(path, &conn)?;
    migrate(&mut conn).map_err(sql)?;
    conn.close().map_err(|(_, e)| translate(path, &e))?;
    let file = File::open(&young).map_err(|e| io(path, &e))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|e| io(path, &e))?;
    file.sync_all().map_err(|e| io(path, &e))?;
    match std::fs::hard_link(&young, path) {
        Ok(()) => {}
        // Somebody else was quicker: theirs is as good.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(io(path, &e)),
    }
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io(folder, &e))
}

fn settings(path: &Path, conn: &Connection) -> Result<()> {
    let sql = |e: rusqlite::Error| translate(path, &e);
    let mode: String =
        conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sql)?;
    if mode != "wal" {
        return Err(Error::Unavailable(format!("write-ahead logging is refused (mode `{mode}`)")));
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864;",
    )
    .map_err(sql)
}

fn user_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn check_version(path: &Path, conn: &Connection) -> Result<()> {
    match user_version(conn).map_err(|e| translate(path, &e))? {
        found if found > KNOWN => {
            Err(Error::Newer { path: path.display().to_string(), found, known: KNOWN })
        }
        found if found < 1 => Err(damaged(path, "it holds no schema of fleet")),
        _ => Ok(()),
    }
}

fn quick_check(path: &Path, conn: &Connection) -> Result<()> {
    let said: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| translate(path, &e))?;
    if said == "ok" { Ok(()) } else { Err(damaged(path, said)) }
}

fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let step = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = user_version(&step)?;
    for (script, version) in MIGRATIONS.iter().zip(1..) {
        if version > found {
            step.execute_batch(script)?;
            step.pragma_update(None, "user_version", version)?;
        }
    }
    step.commit()
}
