//! What SQLite says, in the store's words.
//!
//! Invariant: corruption is [`Error::Damaged`] and asks for a person; whatever else keeps SQLite from
//! writing or reading (full, busy, read-only, I/O) is [`Error::Unavailable`] and may be tried again.

use crate::Error;
use rusqlite::ErrorCode;
use std::path::Path;

/// Why an operation inside a transaction stopped.
#[derive(Debug)]
pub(super) enum Halt {
    /// SQLite stopped it.
    Sql(rusqlite::Error),
    /// The store's own rule stopped it.
    Rule(Error),
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}
impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Rule(error)
    }
}

impl Halt {
    /// The error that the caller sees.
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Rule(error) => error,
            Self::Sql(error) => translate(path, &error),
        }
    }
}

/// Sorts an error of SQLite.
pub(super) fn translate(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            damaged(path, error.to_string())
        }
        _ => Error::Unavailable(error.to_string()),
    }
}

/// The database cannot be trusted.
pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Error {
    Error::Damaged { path: path.display().to_string(), detail: detail.into() }
}

/// The file system refused.
pub(super) fn io(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("`{}`: {error}", path.display()))
}
