//! Writing a tree into a folder of the user's: what `fleet get` brings home.
//!
//! Invariant: nothing is written outside the folder, whatever the tree says, and the folder appears whole
//! or not at all. The tree is checked first, links are made last and none may lead outside, files are
//! copies: what the user does to them does not reach the store.

use super::blobs;
use crate::durable;
use crate::error::{Error, Result, check_digest};
use fleet_types::{JobId, Tree, TreeKind};
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Refuses a tree that must not reach a disk.
pub(crate) fn check(tree: &Tree) -> Result<()> {
    tree.check()?;
    for entry in &tree.entries {
        if let TreeKind::File { sha256, .. } = &entry.kind {
            check_digest(sha256)?;
        }
    }
    Ok(())
}

/// A folder that is being written, under a name that nobody knows. Dropped early, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Export {
    tree: Tree,
    dest: PathBuf,
    nursery: TempDir,
}

impl Export {
    /// Checks tree and place, and makes the folders. Blocks.
    pub(crate) fn begin(tree: &Tree, dest: &Path) -> Result<Self> {
        check(tree)?;
        if std::fs::symlink_metadata(dest).is_ok() && !is_empty_folder(dest) {
            return Err(Error::Occupied(dest.to_owned()));
        }
        let parent = match dest.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        durable::make_dir(parent)?;
        let nursery = tempfile::Builder::new()
            .prefix(".fleet-get-")
            .tempdir_in(parent)
            .map_err(Error::disk(parent))?;
        let export = Self { tree: tree.clone(), dest: dest.to_owned(), nursery };
        // A folder of its own inside, so that it gets the mode that the user's new folders get.
        durable::make_dir(&export.young())?;
        for entry in &tree.entries {
            let path = export.path(&entry.path);
            match &entry.kind {
                TreeKind::Dir => durable::make_dir(&path)?,
                TreeKind::File { .. } | TreeKind::Link { .. } => {
                    durable::make_dir(path.parent().unwrap_or(&export.young()))?;
                }
            }
        }
        Ok(export)
    }

    fn young(&self) -> PathBuf {
        self.nursery.path().join("tree")
    }

    /// Where the entry with this path is written.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.young().join(path)
    }

    /// Gives the folder its modes, its links and, last, its name. Every file has been written. Blocks.
    pub(crate) fn finish(self) -> Result<()> {
        let disk = Error::disk;
        for entry in &self.tree.entries {
            let path = self.path(&entry.path);
            match &entry.kind {
                TreeKind::File { .. } | TreeKind::Dir => {
                    let mode = Permissions::from_mode(entry.mode);
                    std::fs::set_permissions(&path, mode).map_err(disk(&path))?;
                }
                TreeKind::Link { .. } => {}
            }
        }
        for entry in &self.tree.entries {
            if let TreeKind::Link { target } = &entry.kind {
                let path = self.path(&entry.path);
                symlink(target, &path).map_err(disk(&path))?;
            }
        }
        std::fs::rename(self.young(), &self.dest).map_err(disk(&self.dest))
    }
}

/// A new file that only its owner reads until the export is finished.
pub(crate) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path).map_err(Error::disk(path))
}

/// Writes `tree`, whose files lie in the folder `from`, as `dest`.
pub(super) fn export(job: &JobId, tree: &Tree, from: &Path, dest: &Path) -> Result<()> {
    let export = Export::begin(tree, dest)?;
    for entry in &tree.entries {
        let TreeKind::File { size, sha256 } = &entry.kind else { continue };
        if !blobs::has(from, sha256, *size) {
            let (id, sha256) = (entry.path.clone(), sha256.clone());
            return Err(Error::Incomplete { job: job.clone(), id, sha256 });
        }
        let (source, path) = (blobs::whole(from, sha256), export.path(&entry.path));
        let mut reader = File::open(&source).map_err(Error::disk(&source))?;
        let mut file = create(&path)?;
        std::io::copy(&mut reader, &mut file).map_err(Error::disk(&path))?;
    }
    export.finish()
}

fn is_empty_folder(path: &Path) -> bool {
    let plain = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    plain && std::fs::read_dir(path).is_ok_and(|mut found| found.next().is_none())
}
