//! A folder's files, hashed and held still, ready to be carried away.
//!
//! A [`Seal`] is what a file looked like (inode, size, time of change); whoever reads the file checks the
//! seal before and after, so bytes of two versions are never mixed. Invariant: the tree of a [`Parcel`]
//! names exactly the bytes that were under the seals. It does not decide when to look: `watch` does.

use crate::error::{Doing, Error, Result};
use fleet_types::tree::MAX_ENTRIES;
use fleet_types::{Timestamp, Tree, TreeEntry, TreeKind, tree::link_stays_inside};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];
/// Files are read in pieces of this many bytes.
pub(crate) const PIECE: usize = 256 << 10;

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    inode: u64,
    pub(crate) size: u64,
    seconds: i64,
    nanos: i64,
}

impl Seal {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.size(),
            seconds: meta.mtime(),
            nanos: meta.mtime_nsec(),
        }
    }
    /// Time of the last change since 1970, in seconds and nanoseconds.
    pub(crate) fn stamp(&self) -> (i64, i64) {
        (self.seconds, self.nanos)
    }
    /// Time of the last change, since 1970.
    pub(crate) fn changed_at(&self) -> Timestamp {
        Timestamp::from_millis(self.seconds.saturating_mul(1000) + self.nanos / 1_000_000)
    }
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    File(Seal),
    Link(String),
    Dir,
}

/// Lists a folder, sorted by path, without following links. `leave_out` sees every relative path; devices,
/// sockets and links that point outside are left out as well.
pub(crate) fn scan(root: &Path, leave_out: &dyn Fn(&str) -> bool) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let mut is_empty = true;
        let place = root.join(&folder);
        for entry in fs::read_dir(&place).doing(|| format!("list `{}`", place.display()))? {
            let entry = entry.doing(|| format!("list `{}`", place.display()))?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(Error::Refused(format!(
                    "the name `{}` is not UTF-8",
                    entry.path().display()
                )));
            };
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if leave_out(&path) {
                continue;
            }
            let meta = entry.metadata().doing(|| format!("look at `{path}`"))?;
            let kind = if meta.is_dir() {
                is_empty = false;
                folders.push(path);
                continue;
            } else if meta.is_file() {
                Kind::File(Seal::of(&meta))
            } else if meta.is_symlink() {
                match link_target(root, &path)? {
                    Some(target) => Kind::Link(target),
                    None => continue,
                }
            } else {
                continue;
            };
            is_empty = false;
            found.push(Found { path, mode: meta.mode() & 0o777, kind });
            if found.len() > MAX_ENTRIES {
                return Err(Error::Refused(format!("more than {MAX_ENTRIES} files")));
            }
        }
        if is_empty && !folder.is_empty() {
            let meta = place.symlink_metadata().doing(|| format!("look at `{folder}`"))?;
            found.push(Found { path: folder, mode: meta.mode() & 0o777, kind: Kind::Dir });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Where a link leads, relative and inside the folder; absolute ones into the folder are made relative.
fn link_target(root: &Path, path: &str) -> Result<Option<String>> {
    let target = fs::read_link(root.join(path)).doing(|| format!("read the link `{path}`"))?;
    let target = match target.strip_prefix(root) {
        Ok(inside) => Path::new(&"../".repeat(path.matches('/').count())).join(inside),
        Err(_) => target,
    };
    Ok(target.into_os_string().into_string().ok().filter(|t| link_stays_inside(path, t)))
}

/// Sum of the files' sizes.
pub(crate) fn size(found: &[Found]) -> u64 {
    found.iter().map(|f| if let Kind::File(seal) = f.kind { seal.size } else { 0 }).sum()
}

/// Hashes a file that must bear `seal` before and after.
pub(crate) fn hash_file(path: &Path, seal: &Seal, buffer: &mut [u8]) -> Result<Hash> {
    let mut file = open_sealed(path, seal)?;
    let mut hash = Sha256::new();
    loop {
        let length = file.read(buffer).doing(|| format!("read `{}`", path.display()))?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
    }
    check_seal(&file, path, seal)?;
    Ok(hash.finalize().into())
}

/// Opens a regular file, never through a link, that bears `seal`.
pub(crate) fn open_sealed(path: &Path, seal: &Seal) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .doing(|| format!("open `{}`", path.display()))?;
    check_seal(&file, path, seal)?;
    Ok(file)
}

/// Errs with [`Error::Changed`] where the file is no longer what it was.
pub(crate) fn check_seal(file: &File, path: &Path, seal: &Seal) -> Result<()> {
    let meta = file.metadata().doing(|| format!("look at `{}`", path.display()))?;
    if !meta.is_file() || Seal::of(&meta) != *seal {
        return Err(Error::Changed(path.display().to_string()));
    }
    Ok(())
}

/// A tree with the files that hold its bytes.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) tree: Tree,
    pub(crate) taken_at: Timestamp,
    pub(crate) files: HashMap<Hash, (PathBuf, Seal)>,
    /// Links held for it alone: removed with it.
    pub(crate) stage: Option<PathBuf>,
    /// Directories of a known layout that are whole in it.
    pub(crate) whole: Vec<String>,
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if let Some(stage) = &self.stage {
            let _ = fs::remove_dir_all(stage);
        }
    }
}

impl Parcel {
    /// Hashes what was found. `place(index, path)` says where the bytes of a file are read from.
    pub(crate) fn new(
        found: Vec<Found>,
        taken_at: Timestamp,
        stage: Option<PathBuf>,
        place: &dyn Fn(usize, &str) -> PathBuf,
        cache: &mut HashMap<Seal, Hash>,
    ) -> Result<Self> {
        let (tree, files) = (Tree::default(), HashMap::new());
        let mut parcel = Self { tree, taken_at, files, stage, whole: Vec::new() };
        let mut buffer = vec![0; PIECE];
        let mut seen = HashMap::new();
        for (index, Found { path, mode, kind }) in found.into_iter().enumerate() {
            let kind = match kind {
                Kind::Dir => TreeKind::Dir,
                Kind::Link(target) => TreeKind::Link { target },
                Kind::File(seal) => {
                    let at = place(index, &path);
                    let hash = match cache.get(&seal) {
                        Some(hash) => *hash,
                        None => hash_file(&at, &seal, &mut buffer)?,
                    };
                    seen.insert(seal, hash);
                    parcel.files.insert(hash, (at, seal));
                    TreeKind::File { size: seal.size, sha256: hex::encode(hash) }
                }
            };
            parcel.tree.entries.push(TreeEntry { path, mode, kind });
        }
        *cache = seen;
        parcel.tree.check()?;
        Ok(parcel)
    }
}
