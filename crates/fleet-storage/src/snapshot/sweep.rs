//! Removing frozen folders that nobody needs any more.
//!
//! Invariant: a blob goes only when no remaining tree names it. A freeze holds the store's lock shared and a
//! sweep holds it alone, across processes, so that a freeze never counts on a blob that goes meanwhile; a
//! tree younger than a day stays, because the job that will name it may be on its way.

use super::SnapshotStore;
use super::index::Stamp;
use crate::durable;
use crate::error::{Error, Result, check_digest};
use fleet_types::TreeKind;
use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// From a tree's last freeze to the first sweep that may take it, in nanoseconds.
const GRACE_NS: i128 = 86_400_000_000_000;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub trees: usize,
    pub blobs: usize,
    /// Bytes of the blobs.
    pub bytes: u64,
}

impl SnapshotStore {
    /// Removes trees that are not in `keep` and were last frozen more than a day ago, and the blobs that
    /// no remaining tree names. `None`: a freeze is under way, nothing was looked at. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a tree that stays cannot be read, so that nobody knows what it names;
    /// nothing was removed then. [`Error::Disk`].
    pub fn sweep(&self, keep: &HashSet<String>) -> Result<Option<Swept>> {
        let lock = self.lock()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Error::disk(&self.dir)(e)),
        }
        let (named, goes) = self.sort_trees(keep)?;
        let mut swept = Swept { trees: goes.len(), ..Swept::default() };
        for path in &goes {
            remove(path)?;
        }
        durable::sync_dir(&self.dir.join("trees"))?;
        for folder in found(&self.dir.join("blobs"))? {
            for blob in found(&folder)? {
                let name = format!("{}{}", name_of(&folder), name_of(&blob));
                if named.contains(&name) {
                    continue;
                }
                swept.bytes += blob.metadata().map_or(0, |m| m.len());
                swept.blobs += 1;
                remove(&blob)?;
            }
        }
        Ok(Some(swept))
    }

    /// What the trees that stay name, and the documents that go.
    fn sort_trees(&self, keep: &HashSet<String>) -> Result<(HashSet<String>, Vec<PathBuf>)> {
        let day_ago = self.blobs.clock()? - GRACE_NS;
        let (mut named, mut goes) = (HashSet::new(), Vec::new());
        for path in found(&self.dir.join("trees"))? {
            let name = name_of(&path);
            let digest = name.strip_suffix(".json").filter(|d| check_digest(d).is_ok());
            let Some(digest) = digest else { continue };
            let is_young = path.metadata().is_ok_and(|m| Stamp::of(&m).mtime_ns > day_ago);
            if !keep.contains(digest) && !is_young {
                goes.push(path);
                continue;
            }
            for entry in self.tree(digest)?.unwrap_or_default().entries {
                if let TreeKind::File { sha256, .. } = entry.kind {
                    named.insert(sha256);
                }
            }
        }
        Ok((named, goes))
    }

    /// Held while a freeze goes on. Waits for a sweep to end.
    pub(super) fn freezing(&self) -> Result<File> {
        let lock = self.lock()?;
        lock.lock_shared().map_err(Error::disk(&self.dir))?;
        Ok(lock)
    }

    fn lock(&self) -> Result<File> {
        let path = self.dir.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        options.open(&path).map_err(Error::disk(&path))
    }
}

fn found(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(Error::disk(dir))?;
    entries.map(|e| e.map(|e| e.path()).map_err(Error::disk(dir))).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::disk(path)(e)),
        _ => Ok(()),
    }
}
