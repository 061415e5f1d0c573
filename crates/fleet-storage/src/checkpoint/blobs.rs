//! The files of one job's checkpoints, by SHA-256, received piece by piece.
//!
//! Invariant: a file has its name only when every byte is there, hashed and synced. A piece counts only at
//! the offset where the file ends; the hash goes along with the pieces, so that the end costs no second
//! reading. After a restart the part on the disk is hashed once and the transfer goes on.

use super::BlobState;
use crate::durable;
use crate::error::{Error, Result, check_digest};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has been received of one file.
#[derive(Debug)]
struct Receiving {
    file: File,
    hash: Sha256,
    have: u64,
}

/// One file's transfer; `None` before the part on the disk was looked at, and after an error.
type Slot = Arc<Mutex<Option<Receiving>>>;

/// Transfers under way, by the path of their part.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    slots: Mutex<HashMap<PathBuf, Slot>>,
}

/// Where a whole file lies.
pub(super) fn whole(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(sha256)
}

fn part(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(format!("{sha256}.part"))
}

/// Whether a file is here with its whole length.
pub(super) fn has(folder: &Path, sha256: &str, size: u64) -> bool {
    whole(folder, sha256).metadata().is_ok_and(|m| m.is_file() && m.len() == size)
}

/// Bytes of a file that are here.
pub(super) fn have(folder: &Path, sha256: &str) -> u64 {
    part(folder, sha256).metadata().map_or(0, |m| m.len())
}

impl Transfers {
    /// Adds `bytes` at `offset`. Blocks.
    pub(super) fn receive(
        &self,
        folder: &Path,
        sha256: &str,
        size: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<BlobState> {
        check_digest(sha256)?;
        if has(folder, sha256, size) {
            return Ok(BlobState::Complete);
        }
        let path = part(folder, sha256);
        let slot = Arc::clone(guard(&self.slots).entry(path.clone()).or_default());
        let mut held = guard(&slot);
        // Taken out: after any error the part on the disk is looked at anew.
        let mut receiving = match held.take() {
            Some(receiving) => receiving,
            // Another call may have finished it while this one waited.
            None if has(folder, sha256, size) => return Ok(BlobState::Complete),
            None => resume(folder, &path)?,
        };
        if offset == receiving.have {
            if bytes.len() as u64 > size.saturating_sub(receiving.have) {
                self.give_up(&path)?;
                return Err(Error::TooLong { sha256: sha256.to_owned(), size });
            }
            receiving.file.write_all(bytes).map_err(Error::disk(&path))?;
            receiving.hash.update(bytes);
            receiving.have += bytes.len() as u64;
        }
        if receiving.have < size {
            let have = receiving.have;
            *held = Some(receiving);
            return Ok(BlobState::Partial(have));
        }
        if receiving.have > size || hex::encode(receiving.hash.finalize()) != sha256 {
            self.give_up(&path)?;
            return Err(Error::Digest { sha256: sha256.to_owned() });
        }
        receiving.file.sync_all().map_err(Error::disk(&path))?;
        let target = whole(folder, sha256);
        std::fs::rename(&path, &target).map_err(Error::disk(&target))?;
        durable::sync_dir(folder)?;
        guard(&self.slots).remove(&path);
        Ok(BlobState::Complete)
    }

    fn give_up(&self, path: &Path) -> Result<()> {
        guard(&self.slots).remove(path);
        remove(path)
    }

    /// Forgets the transfers into `folder`; their parts are the caller's to remove.
    pub(super) fn forget(&self, folder: &Path) {
        guard(&self.slots).retain(|path, _| !path.starts_with(folder));
    }
}

fn resume(folder: &Path, path: &Path) -> Result<Receiving> {
    durable::make_dir(folder)?;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(Error::disk(path))?;
    let (mut hash, mut have) = (Sha256::new(), 0);
    let mut piece = vec![0; 256 << 10];
    loop {
        let n = file.read(&mut piece).map_err(Error::disk(path))?;
        if n == 0 {
            return Ok(Receiving { file, hash, have });
        }
        hash.update(&piece[..n]);
        have += n as u64;
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::disk(path)(e)),
        _ => Ok(()),
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a slot empty or whole, never half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
