//! Puts a received tree where it belongs.
//!
//! The workdir and the checkpoint folder are built aside and exchanged as a whole; a file mount is laid
//! over what is there, file by file, each by rename. Blobs are moved into place, so no byte is stored
//! twice and no file of the task shares its bytes with another. Invariant: nothing is written through a
//! symbolic link inside the target, and nothing outside it.

use crate::base::{Base, absent};
use crate::error::{Doing, Error, Result};
use crate::put::blob_path;
use fleet_agent_api::Slot;
use fleet_types::{Tree, TreeEntry, TreeKind, tree::is_inside};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The place of a slot on this machine.
pub(crate) fn target(base: &Base, slot: &Slot) -> Result<PathBuf> {
    let path = match slot {
        Slot::Workdir => return Ok(base.workdir()),
        Slot::Checkpoint => return Ok(base.checkpoint()),
        Slot::Mount(path) => path.trim_end_matches('/'),
    };
    let bad = || {
        Error::Refused(format!(
            "the mount path `{}` is neither absolute nor below `~/`, or has `..` in it",
            path.escape_debug()
        ))
    };
    let (root, rest) = match path.strip_prefix("~/") {
        Some(rest) => (base.home(), rest),
        None if path == "~" => return Ok(base.home().to_owned()),
        None => (Path::new("/"), path.strip_prefix('/').ok_or_else(bad)?),
    };
    if is_inside(rest) { Ok(root.join(rest)) } else { Err(bad()) }
}

/// Puts a tree, whose blobs are all here, in its place.
pub(crate) fn place(base: &Base, slot: &Slot, tree: &Tree) -> Result<()> {
    let target = target(base, slot)?;
    match slot {
        Slot::Workdir | Slot::Checkpoint => {
            // Both may be on their way at once.
            let draft = base.stage().join(format!("placing-{slot:?}"));
            absent(fs::remove_dir_all(&draft)).doing(|| format!("remove `{}`", draft.display()))?;
            fs::create_dir_all(&draft).doing(|| format!("create `{}`", draft.display()))?;
            lay(base, tree, &draft)?;
            exchange(&draft, &target)
        }
        Slot::Mount(_) => match file_mount(tree, &target) {
            Some(parent) => {
                fs::create_dir_all(parent).doing(|| format!("create `{}`", parent.display()))?;
                lay(base, tree, parent)
            }
            None => {
                fs::create_dir_all(&target).doing(|| format!("create `{}`", target.display()))?;
                lay(base, tree, &target)
            }
        },
    }
}

/// A tree of one file, named like the target, is that file and no folder: its parent.
fn file_mount<'a>(tree: &Tree, target: &'a Path) -> Option<&'a Path> {
    let [TreeEntry { path, kind: TreeKind::File { .. }, .. }] = tree.entries.as_slice() else {
        return None;
    };
    let is_named = target.file_name().is_some_and(|name| name == path.as_str());
    target.parent().filter(|_| is_named && !target.is_dir())
}

fn exchange(draft: &Path, target: &Path) -> Result<()> {
    let what = || format!("replace `{}`", target.display());
    let flags = RenameFlags::RENAME_EXCHANGE;
    if renameat2(AT_FDCWD, draft, AT_FDCWD, target, flags).is_err() {
        // A file system without exchange, or no target yet.
        absent(fs::remove_dir_all(target)).doing(what)?;
        return fs::rename(draft, target).doing(what);
    }
    absent(fs::remove_dir_all(draft)).doing(|| format!("remove `{}`", draft.display()))
}

/// Writes the entries of a tree below `root`.
fn lay(base: &Base, tree: &Tree, root: &Path) -> Result<()> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for entry in &tree.entries {
        if let TreeKind::File { sha256, .. } = &entry.kind {
            *uses.entry(sha256).or_default() += 1;
        }
    }
    let mut folders = HashSet::new();
    for entry in &tree.entries {
        let path = root.join(&entry.path);
        if let Some((parent, _)) = entry.path.rsplit_once('/') {
            make_folders(root, parent, &mut folders)?;
        }
        match &entry.kind {
            TreeKind::Dir => {
                make_folders(root, &entry.path, &mut folders)?;
                set_mode(&path, entry.mode | 0o700)?;
            }
            TreeKind::Link { target } => {
                let draft = draft_of(&path);
                absent(fs::remove_file(&draft))
                    .and_then(|()| symlink(target, &draft))
                    .and_then(|()| fs::rename(&draft, &path))
                    .doing(|| format!("link `{}`", path.display()))?;
            }
            TreeKind::File { size, sha256 } => {
                let left = uses.entry(sha256).or_default();
                *left = left.saturating_sub(1);
                let from = (*size > 0).then(|| blob_path(base, sha256));
                write_file(from.as_deref(), &path, entry.mode, *left == 0)?;
            }
        }
    }
    Ok(())
}

/// Makes the folders of a relative path, none of which may be a link.
fn make_folders<'a>(root: &Path, path: &'a str, made: &mut HashSet<&'a str>) -> Result<()> {
    if made.contains(path) {
        return Ok(());
    }
    if let Some((parent, _)) = path.rsplit_once('/') {
        make_folders(root, parent, made)?;
    }
    let place = root.join(path);
    match place.symlink_metadata() {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            return Err(Error::Refused(format!("`{}` is in the way, no folder", place.display())));
        }
        Err(_) => fs::create_dir(&place).doing(|| format!("create `{}`", place.display()))?,
    }
    made.insert(path);
    Ok(())
}

/// A name beside the file that nothing else has.
fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(60).collect();
    path.with_file_name(format!(".fleet-{name}.new"))
}

/// Makes one file: moves the blob where this is its last use, else copies it.
fn write_file(from: Option<&Path>, path: &Path, mode: u32, is_last: bool) -> Result<()> {
    let what = || format!("write `{}`", path.display());
    if let Some(from) = from.filter(|_| is_last) {
        set_mode(from, mode)?;
        match fs::rename(from, path) {
            Ok(()) => return Ok(()),
            // Another disk: copy.
            Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => {}
            Err(e) => return Err(e).doing(what),
        }
    }
    let draft = draft_of(path);
    absent(fs::remove_file(&draft)).doing(what)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).doing(what)?;
    if let Some(from) = from {
        File::open(from).and_then(|mut f| std::io::copy(&mut f, &mut file)).doing(what)?;
    }
    drop(file);
    set_mode(&draft, mode)?;
    fs::rename(&draft, path).doing(what)?;
    if let Some(from) = from.filter(|_| is_last) {
        absent(fs::remove_file(from)).doing(what)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .doing(|| format!("set the mode of `{}`", path.display()))
}
