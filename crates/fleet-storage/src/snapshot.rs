//! Frozen folders, addressed by content: what a job's every attempt gets.
//!
//! Layout: `blobs/ab/cdef…` (file contents), `trees/<digest>.json` (lists of files), `index/` (what was
//! read of which file, so that an unchanged file is not read again), `young/` (unfinished files).
//! Invariant: a tree document names only blobs that were complete when it was written; nothing here is
//! changed after it has its name, and a sweep and a freeze never happen at once.
//! Deliberately absent: following links, reading `.git`, knowing which trees a job still needs.

mod blob;
mod index;
mod sweep;
mod walk;

use crate::durable;
use crate::error::{Error, Result, check_digest};
use blob::Blobs;
use fleet_types::tree::links;
use fleet_types::{Tree, TreeEntry, TreeKind};
use index::Index;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use sweep::Swept;

/// Warnings that a freeze spells out; the rest is counted.
const WARNINGS: usize = 50;

/// What is to be frozen and what not.
#[derive(Clone, Debug, Default)]
pub struct FreezeOptions {
    /// The caller asked about a whole disk or home, and the answer was yes.
    pub confirmed_wide: bool,
    /// The user's home, which is too wide to be meant.
    pub home: Option<PathBuf>,
    /// Folders that are never part of it (fleet's own home). The snapshot store itself never is.
    pub exclude: Vec<PathBuf>,
}

/// A folder as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    pub tree: Tree,
    /// [`Tree::digest`] of it.
    pub digest: String,
    /// What was left out, for people.
    pub warnings: Vec<String>,
    /// Bytes of the files that had to be read.
    pub bytes_read: u64,
    /// Files that had to be read; the others were unchanged since the last freeze.
    pub files_read: usize,
}

/// The store of frozen folders.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    blobs: Blobs,
}

impl SnapshotStore {
    /// Opens the store in `dir`, made if missing.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn open(dir: &Path) -> Result<Self> {
        for part in ["blobs", "trees", "index", "young"] {
            durable::make_dir(&dir.join(part))?;
        }
        let dir = dir.canonicalize().map_err(Error::disk(dir))?;
        let blobs = Blobs::new(&dir)?;
        blobs.sweep()?;
        Ok(Self { dir, blobs })
    }

    /// Freezes the folder `root`: reads what changed, stores it, answers the list.
    ///
    /// `.gitignore` (of the enclosing repository, or without one) and `.fleetignore` are honoured, `.git`
    /// never goes along. Links that lead outside, FIFOs, sockets, devices and names that are not UTF-8
    /// are left out with a warning. Blocks: it reads and writes files on several threads.
    ///
    /// # Errors
    /// [`Error::Confirm`] for a whole disk or home, [`Error::Unreadable`], [`Error::WrongKind`],
    /// [`Error::Disk`]; [`Error::BadTree`] for too many files.
    pub fn freeze(&self, root: &Path, options: &FreezeOptions) -> Result<Frozen> {
        let _freezing = self.freezing()?;
        let root = root.canonicalize().map_err(Error::unreadable(root))?;
        if !root.is_dir() {
            return Err(Error::WrongKind { path: root, wanted: "a folder" });
        }
        if is_wide(&root, options) && !options.confirmed_wide {
            return Err(Error::Confirm(root));
        }
        let index_path = self.dir.join("index").join(index::name_of(&root));
        let index = Index::load(&index_path);
        let mut exclude = options.exclude.clone();
        exclude.push(self.dir.clone());
        let mut seen = walk::walk(&root, &exclude, &self.blobs, &index)?;
        let tree = drop_leaving_links(seen.tree(), &mut seen.warnings);
        let digest = self.keep_tree(&tree, seen.files_read > 0)?;
        if seen.index != index {
            seen.index.save(&index_path)?;
        }
        Ok(Frozen {
            tree,
            digest,
            warnings: bounded(seen.warnings),
            bytes_read: seen.bytes_read,
            files_read: seen.files_read,
        })
    }

    /// Freezes one file, as the only entry of a tree, under its own base name.
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub fn freeze_file(&self, path: &Path) -> Result<Frozen> {
        let _freezing = self.freezing()?;
        let wrong =
            || Error::WrongKind { path: path.to_owned(), wanted: "a file with a plain name" };
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(wrong)?.to_owned();
        let real = path.canonicalize().map_err(Error::unreadable(path))?;
        let meta = real.metadata().map_err(Error::unreadable(path))?;
        if !meta.is_file() {
            return Err(wrong());
        }
        let read = self.blobs.take_in(&real).map_err(|e| e.into_error(&real))?;
        let kind = TreeKind::File { size: read.stamp.size, sha256: read.sha256 };
        let tree = Tree { entries: vec![TreeEntry { path: name, mode: read.mode, kind }] };
        let digest = self.keep_tree(&tree, true)?;
        let warnings = if read.settled { Vec::new() } else { vec![walk::unsettled(path)] };
        Ok(Frozen { tree, digest, warnings, bytes_read: read.stamp.size, files_read: 1 })
    }

    /// The list of files behind a digest.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the document is not what its name says.
    pub fn tree(&self, digest: &str) -> Result<Option<Tree>> {
        check_digest(digest)?;
        let path = self.tree_path(digest);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::disk(&path)(e)),
        };
        match serde_json::from_slice::<Tree>(&bytes) {
            Ok(tree) if tree.digest() == digest => Ok(Some(tree)),
            Ok(_) => Err(Error::Damaged { path, detail: "its digest is another".into() }),
            Err(e) => Err(Error::Damaged { path, detail: e.to_string() }),
        }
    }

    /// Where the content with this SHA-256 lies, or would lie.
    pub fn blob_path(&self, sha256: &str) -> PathBuf {
        self.blobs.path(sha256)
    }

    /// Whether that content is here.
    pub fn has_blob(&self, sha256: &str) -> bool {
        check_digest(sha256).is_ok() && self.blobs.path(sha256).is_file()
    }

    fn tree_path(&self, digest: &str) -> PathBuf {
        self.dir.join("trees").join(format!("{digest}.json"))
    }

    /// Writes the tree's document, after the contents that it names are on the disk.
    fn keep_tree(&self, tree: &Tree, read_any: bool) -> Result<String> {
        tree.check()?;
        let digest = tree.digest();
        let path = self.tree_path(&digest);
        if read_any {
            self.blobs.sync(tree)?;
        }
        if path.is_file() {
            // Asked for anew: a sweep must wait for the job that will name it.
            let touched = File::open(&path).and_then(|f| f.set_modified(SystemTime::now()));
            touched.map_err(Error::disk(&path))?;
        } else {
            let text = serde_json::to_vec(tree).map_err(|e| Error::disk(&path)(e.into()))?;
            durable::write(&path, &text, true)?;
        }
        Ok(digest)
    }
}

/// A whole disk, a home, what holds homes, or a folder of the system.
fn is_wide(root: &Path, options: &FreezeOptions) -> bool {
    const WIDE: [&str; 8] = ["/home", "/root", "/Users", "/usr", "/etc", "/var", "/opt", "/tmp"];
    let home = options.home.as_deref().and_then(|h| h.canonicalize().ok());
    home.is_some_and(|h| h.starts_with(root))
        || root.parent().is_none()
        || WIDE.iter().any(|w| Path::new(w) == root)
}

fn drop_leaving_links(mut tree: Tree, warnings: &mut BTreeSet<String>) -> Tree {
    // Dropping one can only make others dangle, never lead outside.
    let leaving: BTreeSet<usize> = links::leaving(&tree).into_iter().collect();
    let mut at = 0;
    tree.entries.retain(|entry| {
        let goes = leaving.contains(&at);
        at += 1;
        if goes {
            warnings.insert(walk::outside(&entry.path));
        }
        !goes
    });
    tree
}

fn bounded(warnings: BTreeSet<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(WARNINGS);
    let mut shown: Vec<String> = warnings.into_iter().take(WARNINGS).collect();
    if more > 0 {
        shown.push(format!("{more} more were left out; name them in .fleetignore"));
    }
    shown
}
