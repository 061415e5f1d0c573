//! What storing a folder can fail with.

use crate::bucket::Refused;
use fleet_types::tree::BadTree;
use fleet_types::{CheckpointId, Epoch, JobId};
use std::path::{Path, PathBuf};

/// Why a folder was not stored, or not given back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is a whole disk or a whole home: somebody has to say that it is meant.
    #[error("the folder `{}` holds far more than one project; name a smaller folder, or confirm it", .0.display())]
    Confirm(PathBuf),
    #[error("`{}` is not {wanted}", .path.display())]
    WrongKind { path: PathBuf, wanted: &'static str },
    #[error("cannot read `{}`: {source}; make it readable or name it in .fleetignore", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Full, read-only or broken: nothing half-done is visible.
    #[error("cannot store `{}`: {source}", .path.display())]
    Disk { path: PathBuf, source: std::io::Error },
    #[error("the object store refused `{path}`: {detail}")]
    Object { path: String, detail: String },
    /// What lies on the disk is not what its name says.
    #[error("`{}` is damaged: {detail}", .path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("the list of files is refused: {0}")]
    BadTree(#[from] BadTree),
    /// Text that came from outside and is no name of ours.
    #[error("`{}` is no {what}", .text.escape_debug())]
    BadName { what: &'static str, text: String },
    /// The bytes received are not those that were announced; they were thrown away.
    #[error("the bytes received for {sha256} are others than announced; send them again")]
    Digest { sha256: String },
    #[error("{sha256} was announced with {size} bytes and has more")]
    TooLong { sha256: String, size: u64 },
    /// A manifest names a file that is not here: ask what is missing and send it.
    #[error("{id} of job `{job}` names {sha256}, which was not received whole")]
    Incomplete { job: JobId, id: String, sha256: String },
    #[error("checkpoint {id} of job `{job}` was published before with other content")]
    Conflict { job: JobId, id: CheckpointId },
    #[error("attempt {epoch} of job `{job}` is over: attempt {by} has begun")]
    OldEpoch { job: JobId, epoch: Epoch, by: Epoch },
    #[error(
        "the document of job `{job}` has version {found}, this fleet knows 1; use the newer fleet"
    )]
    Newer { job: JobId, found: u32 },
    #[error("job `{job}` has no {what}")]
    Missing { job: JobId, what: String },
    /// A bucket, or its cloud.
    #[error(transparent)]
    Bucket(#[from] Refused),
    #[error("`{}` exists and is not empty; name another folder", .0.display())]
    Occupied(PathBuf),
}

/// What every call answers.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Disk { path: path.to_owned(), source }
    }
    pub(crate) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Unreadable { path: path.to_owned(), source }
    }
}

/// Refuses text that is no SHA-256 in lower-case hex, before it becomes part of a path.
pub(crate) fn check_digest(text: &str) -> Result<()> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() == 64 && text.bytes().all(hex) {
        return Ok(());
    }
    Err(Error::BadName { what: "SHA-256", text: text.chars().take(80).collect() })
}
