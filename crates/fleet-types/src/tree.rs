//! A folder as a list of files with hashes: snapshots, checkpoints and outputs are all trees.
//!
//! Invariant: a path in a tree is relative, has no `..`, no empty part and no NUL; whoever receives a
//! tree checks it with [`Tree::check`] before it touches a disk. No link leads out of it, links on its
//! way included.

pub mod links;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeKind {
    /// A regular file; `sha256` in lower-case hex.
    File { size: u64, sha256: String },
    /// A symbolic link that stays inside the tree.
    Link { target: String },
    /// An empty folder.
    Dir,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative, `/`-separated.
    pub path: String,
    /// Permission bits, at most 0o777.
    pub mode: u32,
    #[serde(flatten)]
    pub kind: TreeKind,
}

/// A folder, its entries sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree {
    pub entries: Vec<TreeEntry>,
}

/// Why a tree is not to be written to a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTree {
    #[error("the path `{}` would leave the folder", .0.escape_debug())]
    Escapes(String),
    #[error("the path `{}` appears twice, or is both a file and a folder", .0.escape_debug())]
    Twice(String),
    #[error("{0} entries are too many (at most {MAX_ENTRIES})")]
    TooMany(usize),
    #[error("the mode {0:o} has bits beyond 777")]
    Mode(u32),
}

/// The most entries a tree may have.
pub const MAX_ENTRIES: usize = 2_000_000;

impl Tree {
    /// Sum of the files' sizes in bytes.
    pub fn size(&self) -> u64 {
        self.entries
            .iter()
            .map(|e| if let TreeKind::File { size, .. } = &e.kind { *size } else { 0 })
            .sum()
    }
    /// Hash of the whole folder: its name in the content-addressed store and in `status`.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for e in &self.entries {
            hash.update((e.path.len() as u64).to_be_bytes());
            hash.update(e.path.as_bytes());
            hash.update(e.mode.to_be_bytes());
            match &e.kind {
                TreeKind::File { size, sha256 } => {
                    hash.update(b"f");
                    hash.update(size.to_be_bytes());
                    hash.update(sha256.as_bytes());
                }
                TreeKind::Link { target } => {
                    hash.update(b"l");
                    hash.update((target.len() as u64).to_be_bytes());
                    hash.update(target.as_bytes());
                }
                TreeKind::Dir => hash.update(b"d"),
            }
        }
        hex::encode(hash.finalize())
    }
    /// Refuses what must not reach a disk. Entries must be sorted by path.
    pub fn check(&self) -> Result<(), BadTree> {
        if self.entries.len() > MAX_ENTRIES {
            return Err(BadTree::TooMany(self.entries.len()));
        }
        let mut leaves: HashMap<&str, bool> = HashMap::with_capacity(self.entries.len());
        for e in &self.entries {
            if !is_inside(&e.path) {
                return Err(BadTree::Escapes(e.path.clone()));
            }
            if e.mode & !0o777 != 0 {
                return Err(BadTree::Mode(e.mode));
            }
            if leaves.insert(&e.path, e.kind == TreeKind::Dir).is_some() {
                return Err(BadTree::Twice(e.path.clone()));
            }
            if let TreeKind::Link { target } = &e.kind
                && !link_stays_inside(&e.path, target)
            {
                return Err(BadTree::Escapes(format!("{} -> {target}", e.path)));
            }
        }
        // No entry may pass through another that is a file or a link (symlink-then-write).
        for e in &self.entries {
            let mut parent = e.path.as_str();
            while let Some((up, _)) = parent.rsplit_once('/') {
                if leaves.get(up) == Some(&false) {
                    return Err(BadTree::Twice(up.to_owned()));
                }
                parent = up;
            }
        }
        match links::leaving(self).first() {
            Some(at) => Err(BadTree::Escapes(self.entries[*at].path.clone())),
            None => Ok(()),
        }
    }
}

/// Whether a relative path stays inside its root.
pub fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
}

/// Whether a link at `path` with `target` points inside the root that holds both, by its text alone:
/// other links on its way are [`links::leaving`]'s.
pub fn link_stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return false;
    }
    let mut depth = path.matches('/').count() as i64;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeEntry {
        TreeEntry {
            path: path.into(),
            mode: 0o644,
            kind: TreeKind::File { size: 1, sha256: "00".into() },
        }
    }

    #[test]
    fn paths_that_leave_are_refused() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/\0b", "./a"] {
            let tree = Tree { entries: vec![file(bad)] };
            assert!(matches!(tree.check(), Err(BadTree::Escapes(_))), "{bad:?}");
        }
        assert!(Tree { entries: vec![file("a/b"), file("a/c")] }.check().is_ok());
    }

    #[test]
    fn a_link_cannot_be_written_through() {
        let link = TreeEntry {
            path: "a".into(),
            mode: 0o777,
            kind: TreeKind::Link { target: "b".into() },
        };
        assert!(Tree { entries: vec![link.clone(), file("a/x")] }.check().is_err());
        for bad in ["/etc", "..", "b/../../x", ""] {
            assert!(!link_stays_inside("a", bad), "{bad}");
        }
        assert!(link_stays_inside("d/a", "../b"));
        assert!(Tree { entries: vec![link, file("b")] }.check().is_ok());
    }

    #[test]
    fn links_that_climb_out_together_are_refused() {
        let link = |path: &str, target: &str| TreeEntry {
            path: path.into(),
            mode: 0o777,
            kind: TreeKind::Link { target: target.into() },
        };
        let tree = Tree { entries: vec![link("d/up", ".."), link("k", "d/up/../x")] };
        assert_eq!(tree.check(), Err(BadTree::Escapes("k".into())));
        assert!(Tree { entries: vec![link("d/up", ".."), link("k", "d/up/x")] }.check().is_ok());
    }

    #[test]
    fn setuid_and_doubles_are_refused() {
        let mut e = file("a");
        e.mode = 0o4755;
        assert_eq!(Tree { entries: vec![e] }.check(), Err(BadTree::Mode(0o4755)));
        assert!(Tree { entries: vec![file("a"), file("a")] }.check().is_err());
    }
}
