//! One pass over a folder: what belongs to it, hashed and stored on several threads.
//!
//! Invariant: what is left out is either ignored by rule or named in a warning; a file that cannot be read
//! stops the freeze, because a workdir with holes is worse than none. Links are recorded, never followed.

use super::blob::{Blobs, Refused, TakenIn};
use super::index::{Index, Stamp};
use crate::error::{Error, Result};
use fleet_types::{Tree, TreeEntry, TreeKind, tree};
use ignore::{DirEntry, WalkBuilder, WalkState};
use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// What a pass found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    leaves: Vec<TreeEntry>,
    folders: Vec<TreeEntry>,
    pub(super) index: Index,
    pub(super) warnings: BTreeSet<String>,
    pub(super) bytes_read: u64,
    pub(super) files_read: usize,
}

/// One thing that a thread found.
enum Found {
    Leaf(TreeEntry),
    Folder(TreeEntry),
    /// A file, and whether it had to be read.
    File {
        entry: TreeEntry,
        taken: TakenIn,
        read: bool,
    },
    Warning(String),
    Failed(Error),
}

/// Walks `root`.
pub(super) fn walk(root: &Path, exclude: &[PathBuf], blobs: &Blobs, index: &Index) -> Result<Seen> {
    let clock = blobs.clock()?;
    let (sender, found) = mpsc::channel();
    let walker = builder(root, exclude).build_parallel();
    let pass = Pass { root, blobs, index };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let sender = sender;
            walker.run(|| {
                let (sender, pass) = (sender.clone(), &pass);
                Box::new(move |entry| pass.visit(entry, &sender))
            });
        });
        collect(found, clock)
    })
}

fn builder(root: &Path, exclude: &[PathBuf]) -> WalkBuilder {
    let in_repository = root.ancestors().any(|a| a.join(".git").exists());
    let exclude: Vec<PathBuf> = exclude.to_vec();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false)
        .ignore(false)
        .git_ignore(true)
        .git_exclude(true)
        // A user's global rules are not part of the folder: two people would freeze different trees.
        .git_global(false)
        // Rules above the folder count up to the repository's root; without one they may be anybody's.
        .require_git(in_repository)
        .parents(in_repository)
        .add_custom_ignore_filename(".fleetignore")
        .follow_links(false)
        .threads(threads)
        .filter_entry(move |e| {
            e.file_name() != ".git" && !exclude.iter().any(|x| x.as_path() == e.path())
        });
    walk
}

struct Pass<'a> {
    root: &'a Path,
    blobs: &'a Blobs,
    index: &'a Index,
}

impl Pass<'_> {
    fn visit(
        &self,
        entry: std::result::Result<DirEntry, ignore::Error>,
        found: &mpsc::Sender<Found>,
    ) -> WalkState {
        let answer = match entry {
            Ok(entry) if entry.depth() == 0 => return WalkState::Continue,
            Ok(entry) => self.look(&entry).unwrap_or_else(Found::Failed),
            Err(error) if is_gone(&error) => return WalkState::Continue,
            Err(error) => Found::Failed(unwalkable(self.root, error)),
        };
        let failed = matches!(answer, Found::Failed(_));
        // The receiver goes away only after a failure.
        if found.send(answer).is_err() || failed { WalkState::Quit } else { WalkState::Continue }
    }

    fn look(&self, entry: &DirEntry) -> Result<Found> {
        let full = entry.path();
        let relative = full.strip_prefix(self.root).unwrap_or(full);
        let Some(path) = relative.to_str().map(str::to_owned) else {
            return Ok(Found::Warning(format!("skipped {relative:?}: its name is not UTF-8")));
        };
        let meta = match std::fs::symlink_metadata(full) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(gone(&path)),
            Err(e) => return Err(Error::unreadable(full)(e)),
        };
        let (kind, mode) = (meta.file_type(), meta.mode() & 0o777);
        if kind.is_dir() {
            return Ok(Found::Folder(TreeEntry { path, mode, kind: TreeKind::Dir }));
        }
        if kind.is_symlink() {
            return self.link(path, full);
        }
        if !kind.is_file() {
            let what = match () {
                () if kind.is_fifo() => "a FIFO",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            return Ok(Found::Warning(format!("skipped `{}`: it is {what}", path.escape_debug())));
        }
        let stamp = Stamp::of(&meta);
        if let Some(sha256) = self.index.find(&path, &stamp)
            && self.blobs.has(sha256, stamp.size)
        {
            let sha256 = sha256.to_owned();
            return Ok(file(path, TakenIn { sha256, stamp, mode, settled: true }, false));
        }
        match self.blobs.take_in(full) {
            Ok(taken) => Ok(file(path, taken, true)),
            Err(Refused::Gone) => Ok(gone(&path)),
            Err(refused) => Err(refused.into_error(full)),
        }
    }

    fn link(&self, path: String, full: &Path) -> Result<Found> {
        let target = match std::fs::read_link(full) {
            Ok(target) => target,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(gone(&path)),
            Err(e) => return Err(Error::unreadable(full)(e)),
        };
        // An absolute link into the folder is the same link elsewhere, once it is relative.
        let up = "../".repeat(path.matches('/').count());
        let target = match target.strip_prefix(self.root) {
            Ok(inside) if inside.as_os_str().is_empty() => Some(format!("{up}.")),
            Ok(inside) => inside.to_str().map(|t| format!("{up}{t}")),
            Err(_) => target.to_str().map(str::to_owned),
        };
        Ok(match target {
            Some(target) if tree::link_stays_inside(&path, &target) => {
                Found::Leaf(TreeEntry { path, mode: 0o777, kind: TreeKind::Link { target } })
            }
            _ => Found::Warning(outside(&path)),
        })
    }
}

fn file(path: String, taken: TakenIn, read: bool) -> Found {
    let kind = TreeKind::File { size: taken.stamp.size, sha256: taken.sha256.clone() };
    Found::File { entry: TreeEntry { path, mode: taken.mode, kind }, taken, read }
}

fn collect(found: mpsc::Receiver<Found>, clock: i128) -> Result<Seen> {
    let mut seen = Seen::default();
    for one in found {
        match one {
            Found::Failed(error) => return Err(error),
            Found::Warning(text) => drop(seen.warnings.insert(text)),
            Found::Folder(entry) => seen.folders.push(entry),
            Found::Leaf(entry) => seen.leaves.push(entry),
            Found::File { entry, taken: TakenIn { sha256, stamp, settled, .. }, read } => {
                if read {
                    seen.files_read += 1;
                    seen.bytes_read += stamp.size;
                }
                if !settled {
                    seen.warnings.insert(unsettled(Path::new(&entry.path)));
                } else if stamp.is_old_at(clock) {
                    seen.index.remember(entry.path.clone(), stamp, sha256);
                }
                seen.leaves.push(entry);
            }
        }
    }
    Ok(seen)
}

impl Seen {
    /// The list: leaves, and the folders that hold none.
    pub(super) fn tree(&mut self) -> Tree {
        let mut entries = std::mem::take(&mut self.leaves);
        let mut filled: HashSet<&str> = HashSet::new();
        for entry in entries.iter().chain(&self.folders) {
            let mut path = entry.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                if !filled.insert(parent) {
                    break;
                }
                path = parent;
            }
        }
        let empty: Vec<TreeEntry> =
            self.folders.iter().filter(|f| !filled.contains(f.path.as_str())).cloned().collect();
        entries.extend(empty);
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Tree { entries }
    }
}

fn gone(path: &str) -> Found {
    Found::Warning(format!("skipped `{}`: it went away meanwhile", path.escape_debug()))
}

/// The warning about a link that leads outside.
pub(super) fn outside(path: &str) -> String {
    format!("skipped `{}`: the link leads outside the folder", path.escape_debug())
}

/// The warning about a file that never stood still.
pub(super) fn unsettled(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("`{}` kept changing while it was read; it goes as last read", path.escape_debug())
}

fn is_gone(error: &ignore::Error) -> bool {
    error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn unwalkable(root: &Path, error: ignore::Error) -> Error {
    let path = match &error {
        ignore::Error::WithPath { path, .. } => path.clone(),
        _ => root.to_owned(),
    };
    let text = error.to_string();
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other(text));
    Error::Unreadable { path, source }
}
