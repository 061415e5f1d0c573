//! What was read of which file, so that an unchanged file is not read again.
//!
//! One small file for each frozen folder, text with NUL between records. Invariant: it is only a hint
//! about identity, size and both times of a file; a file that changed so lately that a further change
//! could carry the same time stamp is not remembered. A damaged index is an empty one.

use crate::durable;
use crate::error::Result;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// First record: raised when the form changes.
const HEADER: &str = "fleet index 1";

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) dev: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) mtime_ns: i128,
    pub(super) ctime_ns: i128,
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }
    /// Whether a change after `clock` is sure to show in the times.
    pub(super) fn is_old_at(&self, clock: i128) -> bool {
        // A clock tick of the kernel; whole seconds mean a file system that keeps no more.
        let coarse = self.ctime_ns % 1_000_000_000 == 0 && self.mtime_ns % 1_000_000_000 == 0;
        let grain = if coarse { 2_000_000_000 } else { 20_000_000 };
        self.ctime_ns + grain <= clock && self.mtime_ns + grain <= clock
    }
}

/// Path → (stamp, SHA-256).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    known: HashMap<String, (Stamp, String)>,
}

impl Index {
    pub(super) fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut records = text.split('\0');
        if records.next() != Some(HEADER) {
            return Self::default();
        }
        Self { known: records.filter_map(parse).collect() }
    }

    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let mut text = String::with_capacity(160 * self.known.len() + 20);
        text.push_str(HEADER);
        for (name, (stamp, sha256)) in &self.known {
            let Stamp { dev, inode, size, mtime_ns, ctime_ns } = stamp;
            // Writing to a string cannot fail.
            let _ = write!(text, "\0{sha256} {dev} {inode} {size} {mtime_ns} {ctime_ns} {name}");
        }
        durable::write(path, text.as_bytes(), false)
    }

    /// The SHA-256 of the file at `path`, if it is the one that was read.
    pub(super) fn find(&self, path: &str, stamp: &Stamp) -> Option<&str> {
        self.known.get(path).filter(|(known, _)| known == stamp).map(|(_, sha256)| sha256.as_str())
    }

    pub(super) fn remember(&mut self, path: String, stamp: Stamp, sha256: String) {
        self.known.insert(path, (stamp, sha256));
    }
}

fn parse(record: &str) -> Option<(String, (Stamp, String))> {
    let mut parts = record.splitn(7, ' ');
    let sha256 = parts.next()?.to_owned();
    let stamp = Stamp {
        dev: parts.next()?.parse().ok()?,
        inode: parts.next()?.parse().ok()?,
        size: parts.next()?.parse().ok()?,
        mtime_ns: parts.next()?.parse().ok()?,
        ctime_ns: parts.next()?.parse().ok()?,
    };
    crate::error::check_digest(&sha256).ok()?;
    Some((parts.next()?.to_owned(), (stamp, sha256)))
}

/// The name of the index of one folder.
pub(super) fn name_of(root: &Path) -> String {
    hex::encode(&Sha256::digest(root.as_os_str().as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_counts_only_when_a_later_change_must_show() {
        let at = |mtime_ns, ctime_ns| Stamp { dev: 1, inode: 1, size: 1, mtime_ns, ctime_ns };
        let clock = 1_764_000_000_500_000_000;
        assert!(!at(clock, clock).is_old_at(clock), "the same tick may follow");
        assert!(!at(clock - 90_000_000, clock - 1_000_000).is_old_at(clock));
        assert!(at(clock - 90_000_000, clock - 90_000_000).is_old_at(clock));
        let whole = clock - 500_000_000;
        assert!(!at(whole, whole).is_old_at(clock), "this disk may keep no more than seconds");
        assert!(at(whole, whole).is_old_at(clock + 2_000_000_000));
    }

    #[test]
    fn an_index_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut index = Index::default();
        let stamp =
            Stamp { dev: 1, inode: 2, size: 3, mtime_ns: -4, ctime_ns: i128::from(i64::MAX) };
        for name in ["a", "with space", "with\nline", "ü/b"] {
            index.remember(name.into(), stamp, "ab".repeat(32));
        }
        index.save(&path).unwrap();
        assert_eq!(Index::load(&path), index);
        assert_eq!(index.find("a", &Stamp { size: 4, ..stamp }), None);
    }
}
