//! Writing a tree into a folder of the user's: what `fleet get` brings home.
//!
//! Invariant: nothing is written outside the folder, whatever the tree says, and the folder appears whole
//! or not at all. The tree is checked first, links are made last and none may lead outside, files are
//! copies: what the user does to them does not reach the store.

use super::blobs;
use crate::error::{Error, Result, check_digest};
use crate::{durable, links};
use fleet_types::tree::BadTree;
use fleet_types::{JobId, Tree, TreeEntry, TreeKind};
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// Refuses a tree that must not reach a disk.
pub(super) fn check(tree: &Tree) -> Result<()> {
    tree.check()?;
    if let Some(at) = links::leaving(tree).first() {
        return Err(BadTree::Escapes(tree.entries[*at].path.clone()).into());
    }
    for entry in &tree.entries {
        if let TreeKind::File { sha256, .. } = &entry.kind {
            check_digest(sha256)?;
        }
    }
    Ok(())
}

/// Writes `tree`, whose files lie in the folder `from`, as `dest`.
pub(super) fn export(job: &JobId, tree: &Tree, from: &Path, dest: &Path) -> Result<()> {
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
    // A folder of its own inside, so that it gets the mode that the user's new folders get.
    let young = nursery.path().join("tree");
    durable::make_dir(&young)?;
    let is_link = |e: &&TreeEntry| matches!(e.kind, TreeKind::Link { .. });
    for entry in tree.entries.iter().filter(|e| !is_link(e)) {
        write(job, entry, from, &young)?;
    }
    for entry in tree.entries.iter().filter(is_link) {
        write(job, entry, from, &young)?;
    }
    std::fs::rename(&young, dest).map_err(Error::disk(dest))
}

fn write(job: &JobId, entry: &TreeEntry, from: &Path, young: &Path) -> Result<()> {
    let path = young.join(&entry.path);
    if let Some(parent) = path.parent() {
        durable::make_dir(parent)?;
    }
    let disk = Error::disk;
    match &entry.kind {
        TreeKind::Dir => {
            durable::make_dir(&path)?;
            std::fs::set_permissions(&path, Permissions::from_mode(entry.mode)).map_err(disk(&path))
        }
        TreeKind::Link { target } => symlink(target, &path).map_err(disk(&path)),
        TreeKind::File { size, sha256 } => {
            if !blobs::has(from, sha256, *size) {
                let (id, sha256) = (entry.path.clone(), sha256.clone());
                return Err(Error::Incomplete { job: job.clone(), id, sha256 });
            }
            let source = blobs::whole(from, sha256);
            let mut reader = File::open(&source).map_err(disk(&source))?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(disk(&path))?;
            std::io::copy(&mut reader, &mut file).map_err(disk(&path))?;
            file.set_permissions(Permissions::from_mode(entry.mode)).map_err(disk(&path))
        }
    }
}

fn is_empty_folder(path: &Path) -> bool {
    let plain = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    plain && std::fs::read_dir(path).is_ok_and(|mut found| found.next().is_none())
}
