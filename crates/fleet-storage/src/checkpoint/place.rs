//! The names and folders of a local checkpoint store.
//!
//! Invariant: text becomes part of a path only after it was checked; what a killed process left
//! half-written is known by its name and removed before anything is read.

use super::blobs;
use crate::error::{Error, Result};
use fleet_types::{CheckpointId, JobId};
use object_store::path::Path as Key;
use std::path::Path;

/// A job being forgotten has this before its name.
pub(super) const TRASH: &str = ".trash-";

pub(super) fn manifest_key(job: &JobId, id: CheckpointId) -> Key {
    Key::from(format!("{job}/{:06}/{:06}/manifest.json", id.epoch.0, id.number))
}
pub(super) fn output_key(job: &JobId) -> Key {
    Key::from(format!("{job}/output.json"))
}

/// The number that a folder is named by.
pub(super) fn number_of(folder: &Key) -> Option<u32> {
    folder.filename()?.parse().ok()
}

/// A job id becomes a folder's name: it is checked before.
pub(crate) fn check_job(job: &JobId) -> Result<()> {
    let text = job.as_str();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::BadName { what: "job id", text: text.chars().take(80).collect() })
}

/// Removes what a killed process left: unfinished documents and half-removed jobs.
pub(super) fn clean(dir: &Path) -> Result<()> {
    let list = |path: &Path| {
        std::fs::read_dir(path).map(|found| found.flatten().map(|f| f.path()).collect::<Vec<_>>())
    };
    for job in list(dir).map_err(Error::disk(dir))? {
        if job.file_name().is_some_and(|n| n.to_string_lossy().starts_with(TRASH)) {
            remove_folder(&job)?;
            continue;
        }
        let mut folders = vec![(job, 0)];
        while let Some((folder, depth)) = folders.pop() {
            for path in list(&folder).unwrap_or_default() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // A job holds epochs, an epoch holds numbers.
                if depth < 2 && path.is_dir() && name.bytes().all(|b| b.is_ascii_digit()) {
                    folders.push((path, depth + 1));
                } else if name.contains('#') {
                    // How `object_store` names a document that it has not put yet.
                    blobs::remove(&path)?;
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::disk(path)(e)),
        _ => Ok(()),
    }
}

/// Runs blocking work where it holds nobody up.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Error::Object { path: String::new(), detail: format!("the work was cut off: {e}") })
    })
}
