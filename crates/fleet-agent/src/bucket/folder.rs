//! A folder that every machine sees, such as a share of NFS: keys are paths in it.
//!
//! Invariant: an object appears whole or not at all, under its name only when its bytes are on the disk; a
//! second conditional put of one name fails. The folder itself is never made here: where it is missing, the
//! share is not mounted, and what was written would stay on this machine.

use super::lanes::Lanes;
use super::protocol::Source;
use super::{Entry, Page, StoreError};
use fleet_types::Timestamp;
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// What is being written has a name that begins so; no key of ours does.
const UNFINISHED: &str = ".fleet-unfinished-";
const PAGE: usize = 1000;
const PIECE: usize = 256 << 10;

/// Keeps names of unfinished files of one process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder that keys are relative to.
    pub(super) fn new(root: &str) -> Self {
        Self { root: PathBuf::from(root) }
    }

    pub(super) fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Result<(), StoreError> {
        self.write(key, if_absent, &mut |file| file.write_all(bytes).map_err(|e| self.odd(key, &e)))
    }

    pub(super) fn put_file(&self, source: &Source<'_>, lanes: &Lanes) -> Result<(), StoreError> {
        let mut lane = lanes.take();
        self.write(source.key, false, &mut |file| {
            let (mut at, mut sum) = (0, Sha256::new());
            while at < source.size {
                let length =
                    usize::try_from(source.size - at).unwrap_or(usize::MAX).min(lane.len());
                let buffer = &mut lane[..length];
                source.fill(at, buffer).map_err(|trouble| trouble.error)?;
                sum.update(&*buffer);
                file.write_all(buffer).map_err(|e| self.odd(source.key, &e))?;
                at += length as u64;
            }
            match source.sha256 {
                Some(wanted) if sum.finalize()[..] != wanted[..] => Err(source.other_digest()),
                _ => Ok(()),
            }
        })
    }

    pub(super) fn get(&self, key: &str, limit: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let file = self.open(key)?;
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| self.odd(key, &e))?;
        if bytes.len() > limit {
            return Err(StoreError::Odd(format!(
                "{}: it is longer than {limit} bytes",
                self.name(key)
            )));
        }
        Ok(bytes)
    }

    pub(super) fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, StoreError> {
        let mut file = self.open(key)?;
        file.seek(SeekFrom::Start(from)).map_err(|e| self.odd(key, &e))?;
        let (mut file, mut buffer, mut done) = (file.take(length), vec![0; PIECE], 0);
        loop {
            let length = file.read(&mut buffer).map_err(|e| self.odd(key, &e))?;
            if length == 0 {
                return Ok(done);
            }
            out(&buffer[..length]).map_err(|e| {
                StoreError::Odd(format!("{}: what was read cannot be kept: {e}", self.name(key)))
            })?;
            done += length as u64;
        }
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.must_be_there(),
            Err(e) => return Err(self.odd(key, &e)),
        }
        // Folders are nothing that a store would keep when they are empty.
        for above in path.ancestors().skip(1).take_while(|p| **p != self.root) {
            if fs::remove_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.must_be_there()?;
        let folder = below.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut found = BTreeMap::new();
        self.walk(folder, below, after, &mut found)?;
        let more = found.len() > PAGE;
        if more {
            found.pop_last();
        }
        let next = found.last_key_value().map(|(key, _)| key.clone()).filter(|_| more);
        Ok(Page { entries: found.into_values().collect(), next })
    }

    /// Collects the lowest keys that come after `after`, one more than a page.
    fn walk(
        &self,
        folder: &str,
        below: &str,
        after: Option<&str>,
        found: &mut BTreeMap<String, Entry>,
    ) -> Result<(), StoreError> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            // It went away, or there never was one.
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(self.odd(folder, &e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| self.odd(folder, &e))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let key = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(self.odd(&key, &e)),
            };
            if meta.is_dir() {
                let inside = format!("{key}/");
                let wanted = inside.starts_with(below) || below.starts_with(&inside);
                // All that lies in it comes before `after`.
                let passed = after.is_some_and(|a| !a.starts_with(&inside) && inside.as_str() < a);
                if wanted && !passed {
                    self.walk(&key, below, after, found)?;
                }
            } else if meta.is_file()
                && !name.starts_with(UNFINISHED)
                && key.starts_with(below)
                && after.is_none_or(|after| key.as_str() > after)
            {
                found.insert(key.clone(), Entry { key, ..described(&meta) });
                if found.len() > PAGE + 1 {
                    found.pop_last();
                }
            }
        }
        Ok(())
    }

    /// Writes beside the name, then gives the name.
    fn write(
        &self,
        key: &str,
        if_absent: bool,
        fill: &mut dyn FnMut(&mut File) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.must_be_there()?;
        let path = self.path(key);
        let above = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(above).map_err(|e| self.odd(key, &e))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let host = nix::unistd::gethostname().unwrap_or_default();
        let name =
            format!("{UNFINISHED}{}-{}-{number}", host.to_string_lossy(), std::process::id());
        let beside = above.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&beside)
            .map_err(|e| self.odd(key, &e))?;
        let outcome = fill(&mut file)
            .and_then(|()| file.sync_all().map_err(|e| self.odd(key, &e)))
            .and_then(|()| self.give_name(key, &beside, &path, if_absent));
        if outcome.is_err() || if_absent {
            // The failure that is told is the first one.
            let _ = fs::remove_file(&beside);
        }
        outcome?;
        File::open(above).and_then(|folder| folder.sync_all()).map_err(|e| self.odd(key, &e))
    }

    fn give_name(
        &self,
        key: &str,
        beside: &Path,
        path: &Path,
        if_absent: bool,
    ) -> Result<(), StoreError> {
        let named = if if_absent { fs::hard_link(beside, path) } else { fs::rename(beside, path) };
        match named {
            Ok(()) => Ok(()),
            // NFS may have done it and lost the answer: then the file has two names.
            Err(_) if if_absent && fs::metadata(beside).is_ok_and(|meta| meta.nlink() == 2) => {
                Ok(())
            }
            Err(e) if if_absent && e.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Exists)
            }
            Err(e) if if_absent && has_no_links(&e) => {
                if path.exists() {
                    return Err(StoreError::Exists);
                }
                fs::rename(beside, path).map_err(|e| self.odd(key, &e))
            }
            Err(e) => Err(self.odd(key, &e)),
        }
    }

    fn open(&self, key: &str) -> Result<File, StoreError> {
        match File::open(self.path(key)) {
            Ok(file) if file.metadata().is_ok_and(|meta| meta.is_dir()) => Err(StoreError::Missing),
            Ok(file) => Ok(file),
            Err(e) if is_absent(&e) => self.must_be_there().and(Err(StoreError::Missing)),
            Err(e) => Err(self.odd(key, &e)),
        }
    }

    fn must_be_there(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(StoreError::NoBucket),
            Err(e) if is_absent(&e) => Err(StoreError::NoBucket),
            Err(e) => Err(self.odd("", &e)),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn name(&self, key: &str) -> String {
        format!("`file://{}`", self.path(key).display().to_string().escape_debug())
    }

    fn odd(&self, key: &str, error: &io::Error) -> StoreError {
        let text = format!("{}: {error}", self.name(key));
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => StoreError::Full(text),
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => StoreError::Denied(text),
            // A share that is away for the moment.
            Some(
                Errno::EIO | Errno::ESTALE | Errno::ETIMEDOUT | Errno::EAGAIN | Errno::EHOSTDOWN,
            ) => StoreError::Passing(text),
            _ => StoreError::Odd(text),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn has_no_links(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK))
}

fn described(meta: &fs::Metadata) -> Entry {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    Entry {
        key: String::new(),
        size: meta.len(),
        modified: modified.map(Timestamp::from_millis),
        etag: Some(format!("{:x}-{:x}", meta.ino(), since.unwrap_or_default().as_nanos())),
    }
}
