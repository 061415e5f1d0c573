//! File contents by their SHA-256, read once and stored once.
//!
//! Invariant: a blob has its name only when all its bytes are in it; a file that changes while it is read
//! is read again, and what is stored is always exactly what was hashed.

use super::index::Stamp;
use crate::durable;
use crate::error::{Error, Result};
use fleet_types::{Tree, TreeKind};
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files up to this size are hashed in memory, so that known content is never written again.
const SMALL: u64 = 1 << 20;
/// Tries before a file that keeps changing is taken as last read.
const TRIES: u32 = 4;
/// Contents synced one by one; above it the whole file system is synced once.
const SYNC_EACH: usize = 64;

/// A file as it was read.
#[derive(Debug)]
pub(super) struct TakenIn {
    pub(super) sha256: String,
    /// Its `size` is the number of bytes read.
    pub(super) stamp: Stamp,
    pub(super) mode: u32,
    /// Whether it stood still while it was read.
    pub(super) settled: bool,
}

/// Why a file was not taken in.
#[derive(Debug)]
pub(super) enum Refused {
    /// It went away, or is no longer a regular file.
    Gone,
    Unreadable(std::io::Error),
    Store(Error),
}

impl Refused {
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Gone => Error::unreadable(path)(ErrorKind::NotFound.into()),
            Self::Unreadable(source) => Error::unreadable(path)(source),
            Self::Store(error) => error,
        }
    }
}

/// The folder of blobs.
#[derive(Debug)]
pub(super) struct Blobs {
    blobs: PathBuf,
    young: PathBuf,
}

impl Blobs {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let blobs = dir.join("blobs");
        for byte in 0..=255_u8 {
            let folder = blobs.join(hex::encode([byte]));
            match std::fs::create_dir(&folder) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::disk(&folder)(e));
                }
                _ => {}
            }
        }
        Ok(Self { blobs, young: dir.join("young") })
    }

    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        let (folder, rest) = sha256.split_at_checked(2).unwrap_or(("", sha256));
        self.blobs.join(folder).join(rest)
    }

    /// Whether the content is here with its whole length.
    pub(super) fn has(&self, sha256: &str, size: u64) -> bool {
        self.path(sha256).metadata().is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// A point of the disk's own clock: what changed after it has a later time stamp.
    pub(super) fn clock(&self) -> Result<i128> {
        let probe = durable::young(&self.young)?;
        let meta = probe.as_file().metadata().map_err(Error::disk(&self.young))?;
        Ok(Stamp::of(&meta).ctime_ns)
    }

    /// Removes what a killed process left unfinished a day ago. Younger files may be somebody's work.
    pub(super) fn sweep(&self) -> Result<()> {
        let day_ago = self.clock()? - 86_400_000_000_000;
        for left in std::fs::read_dir(&self.young).map_err(Error::disk(&self.young))?.flatten() {
            if left.metadata().is_ok_and(|m| Stamp::of(&m).ctime_ns < day_ago) {
                // Another process may have been quicker.
                let _ = std::fs::remove_file(left.path());
            }
        }
        Ok(())
    }

    /// Reads a file and stores its content.
    pub(super) fn take_in(&self, path: &Path) -> std::result::Result<TakenIn, Refused> {
        let mut tries = 1;
        loop {
            let taken = self.read_once(path)?;
            if taken.settled || tries == TRIES {
                return Ok(taken);
            }
            tries += 1;
        }
    }

    fn read_once(&self, path: &Path) -> std::result::Result<TakenIn, Refused> {
        let unreadable = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound => Refused::Gone,
            _ => Refused::Unreadable(e),
        };
        // Not through a link, and without waiting for a writer, should the file have been swapped.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let mut file =
            OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
        let before = file.metadata().map_err(unreadable)?;
        if !before.is_file() {
            return Err(Refused::Gone);
        }
        let (sha256, size) = if before.len() <= SMALL {
            self.store_small(&mut file, before.len())?
        } else {
            self.store_large(&mut file)?
        };
        let after = file.metadata().map_err(unreadable)?;
        let (first, last) = (Stamp::of(&before), Stamp::of(&after));
        let settled = first == last && size == last.size;
        let stamp = Stamp { size, ..last };
        Ok(TakenIn { sha256, stamp, mode: after.mode() & 0o777, settled })
    }

    fn store_small(
        &self,
        file: &mut File,
        len: u64,
    ) -> std::result::Result<(String, u64), Refused> {
        let mut bytes = Vec::with_capacity(len as usize + 1);
        // A file that grows meanwhile is cut here and read again.
        file.take(2 * SMALL).read_to_end(&mut bytes).map_err(Refused::Unreadable)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let size = bytes.len() as u64;
        if !self.has(&sha256, size) {
            let store = |e: std::io::Error| Refused::Store(Error::disk(&self.young)(e));
            let mut young = durable::young(&self.young).map_err(Refused::Store)?;
            young.write_all(&bytes).map_err(store)?;
            durable::name(young, &self.path(&sha256)).map_err(Refused::Store)?;
        }
        Ok((sha256, size))
    }

    fn store_large(&self, file: &mut File) -> std::result::Result<(String, u64), Refused> {
        let store = |e: std::io::Error| Refused::Store(Error::disk(&self.young)(e));
        let mut young = durable::young(&self.young).map_err(Refused::Store)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut piece = vec![0; 256 << 10];
        loop {
            let n = file.read(&mut piece).map_err(Refused::Unreadable)?;
            if n == 0 {
                break;
            }
            hash.update(&piece[..n]);
            young.write_all(&piece[..n]).map_err(store)?;
            size += n as u64;
        }
        let sha256 = hex::encode(hash.finalize());
        if !self.has(&sha256, size) {
            durable::name(young, &self.path(&sha256)).map_err(Refused::Store)?;
        }
        Ok((sha256, size))
    }

    /// Puts the contents of `tree` on the disk for good.
    pub(super) fn sync(&self, tree: &Tree) -> Result<()> {
        let files = || {
            tree.entries.iter().filter_map(|e| match &e.kind {
                TreeKind::File { sha256, .. } => Some(sha256),
                TreeKind::Link { .. } | TreeKind::Dir => None,
            })
        };
        if files().nth(SYNC_EACH).is_some() {
            return self.sync_disk();
        }
        for sha256 in files() {
            let path = self.path(sha256);
            File::open(&path).and_then(|f| f.sync_all()).map_err(Error::disk(&path))?;
            durable::sync_dir(path.parent().unwrap_or(&self.blobs))?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn sync_disk(&self) -> Result<()> {
        let folder = File::open(&self.blobs).map_err(Error::disk(&self.blobs))?;
        nix::unistd::syncfs(&folder).map_err(|e| Error::disk(&self.blobs)(e.into()))
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_disk(&self) -> Result<()> {
        nix::unistd::sync();
        Ok(())
    }
}
