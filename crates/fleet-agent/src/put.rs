//! Receives folders: which blobs are missing, their bytes, and when a folder is whole.
//!
//! A blob is written to `blobs/<digest>.part` and takes its name when its bytes have that digest, so a cut
//! connection costs only what was in flight. Invariant: what is put in place was hashed here; a tree that
//! fails [`Tree::check`] never touches the disk. One session has one [`Receiver`].

use crate::base::{Base, absent};
use crate::error::{Doing, Error, Result};
use crate::parcel::{Hash, PIECE};
use crate::place;
use fleet_agent_api::{Blob, FromAgent, Slot, Want};
use fleet_types::{Tree, TreeKind};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What a session has in the works.
pub(crate) struct Receiver {
    base: Base,
    pending: Vec<Pending>,
    part: Option<Part>,
}

struct Pending {
    slot: Slot,
    tree: Tree,
    missing: HashSet<Hash>,
}

/// A blob half received.
struct Part {
    hash: Hash,
    file: File,
    sum: Sha256,
    written: u64,
}

/// What to answer.
pub(crate) enum Answer {
    Say(FromAgent),
    /// The folder with this digest is in place.
    Placed(Slot, String),
}

impl Receiver {
    pub(crate) fn new(base: Base) -> Self {
        Self { base, pending: Vec::new(), part: None }
    }

    /// Takes an order to put a tree somewhere. `placed`: the digest of what is there already.
    pub(crate) fn put(&mut self, slot: Slot, tree: Tree, placed: Option<&str>) -> Vec<Answer> {
        let outcome = self.check(&slot, &tree).and_then(|()| {
            if placed == Some(tree.digest().as_str()) {
                return Ok(None);
            }
            missing(&self.base.blobs(), &tree).map(Some)
        });
        self.pending.retain(|p| p.slot != slot);
        match outcome {
            Err(e) => vec![failed(slot, &e)],
            Ok(None) => {
                let need = FromAgent::Need { slot: slot.clone(), blobs: Vec::new() };
                vec![Answer::Say(need), Answer::Placed(slot, tree.digest())]
            }
            Ok(Some(wants)) => {
                let missing: HashSet<Hash> =
                    wants.iter().filter_map(|w| hash_of(&w.sha256)).collect();
                let mut answers =
                    vec![Answer::Say(FromAgent::Need { slot: slot.clone(), blobs: wants })];
                self.pending.push(Pending { slot, tree, missing });
                self.settle(&mut answers);
                answers
            }
        }
    }

    fn check(&self, slot: &Slot, tree: &Tree) -> Result<()> {
        check_tree(tree)?;
        place::target(&self.base, slot).map(drop)
    }

    /// Takes a piece of a blob.
    pub(crate) fn blob(&mut self, blob: &Blob) -> Vec<Answer> {
        // A blob that nobody waits for is late, or not ours to store.
        if !self.pending.iter().any(|p| p.missing.contains(&blob.sha256)) {
            return Vec::new();
        }
        match self.store(blob) {
            Ok(false) => Vec::new(),
            Ok(true) => {
                for pending in &mut self.pending {
                    pending.missing.remove(&blob.sha256);
                }
                let mut answers = Vec::new();
                self.settle(&mut answers);
                answers
            }
            Err(e) => self.fail(&blob.sha256, &e),
        }
    }

    /// Everything that waited for this blob has failed.
    fn fail(&mut self, hash: &Hash, error: &Error) -> Vec<Answer> {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|p| p.missing.contains(hash));
        self.pending = kept;
        gone.into_iter().map(|p| failed(p.slot, error)).collect()
    }

    /// Stores a piece; whether the blob is whole now.
    fn store(&mut self, blob: &Blob) -> Result<bool> {
        let blobs = self.base.blobs();
        let name = hex::encode(blob.sha256);
        let path = blobs.join(format!("{name}.part"));
        let is_whole = blob.offset == 0 && blob.bytes.len() as u64 == blob.size;
        if is_whole {
            // Most files of a workdir come in one piece: no state, one write. Cut short by a crash, it
            // has not its size and counts as missing.
            check_hash(&name, &Sha256::digest(&blob.bytes).into(), &blob.sha256)?;
            fs::write(blobs.join(&name), &blob.bytes).doing(|| format!("write `{name}`"))?;
            return Ok(true);
        }
        let part = self.part(&path, blob)?;
        if part.written != blob.offset {
            return Err(Error::Refused(format!(
                "a piece of {name} begins at {} where {} was due",
                blob.offset, part.written
            )));
        }
        part.file.write_all(&blob.bytes).doing(|| format!("write `{name}`"))?;
        part.sum.update(&blob.bytes);
        part.written += blob.bytes.len() as u64;
        if part.written < blob.size {
            return Ok(false);
        }
        let sum = part.sum.clone().finalize().into();
        self.part = None;
        if let Err(e) = check_hash(&name, &sum, &blob.sha256) {
            absent(fs::remove_file(&path)).doing(|| format!("remove `{name}`"))?;
            return Err(e);
        }
        fs::rename(&path, blobs.join(&name)).doing(|| format!("store `{name}`"))?;
        Ok(true)
    }

    /// The open part for a piece; what an earlier connection left of it is hashed again first.
    fn part(&mut self, path: &Path, blob: &Blob) -> Result<&mut Part> {
        if self.part.as_ref().is_none_or(|p| p.hash != blob.sha256) {
            self.part = None;
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(blob.offset == 0)
                .read(true)
                .write(true)
                .open(path)
                .doing(|| format!("open `{}`", path.display()))?;
            let (mut sum, mut written) = (Sha256::new(), 0);
            let mut buffer = vec![0; PIECE];
            loop {
                let length =
                    file.read(&mut buffer).doing(|| format!("read `{}`", path.display()))?;
                if length == 0 {
                    break;
                }
                sum.update(&buffer[..length]);
                written += length as u64;
            }
            self.part = Some(Part { hash: blob.sha256, file, sum, written });
        }
        self.part.as_mut().ok_or_else(|| Error::Refused("no blob is open".into()))
    }

    /// Puts in place what is whole.
    fn settle(&mut self, answers: &mut Vec<Answer>) {
        let (whole, rest): (Vec<_>, Vec<_>) =
            self.pending.drain(..).partition(|p| p.missing.is_empty());
        self.pending = rest;
        for mut pending in whole {
            // An earlier folder may have taken blobs that this one counted on.
            match missing(&self.base.blobs(), &pending.tree) {
                Ok(wants) if wants.is_empty() => {
                    answers.push(match place::place(&self.base, &pending.slot, &pending.tree) {
                        Ok(()) => Answer::Placed(pending.slot, pending.tree.digest()),
                        Err(e) => failed(pending.slot, &e),
                    });
                }
                Ok(wants) => {
                    pending.missing = wants.iter().filter_map(|w| hash_of(&w.sha256)).collect();
                    let slot = pending.slot.clone();
                    answers.push(Answer::Say(FromAgent::Need { slot, blobs: wants }));
                    self.pending.push(pending);
                }
                Err(e) => answers.push(failed(pending.slot, &e)),
            }
        }
    }
}

/// Refuses a tree that must not reach the disk.
pub(crate) fn check_tree(tree: &Tree) -> Result<()> {
    tree.check()?;
    for entry in &tree.entries {
        if let TreeKind::File { sha256, .. } = &entry.kind
            && hash_of(sha256).is_none()
        {
            return Err(Error::Refused(format!("`{}` is no SHA-256", sha256.escape_debug())));
        }
    }
    Ok(())
}

fn failed(slot: Slot, error: &Error) -> Answer {
    Answer::Say(FromAgent::PutFailed { slot, reason: error.to_string() })
}

fn check_hash(name: &str, sum: &Hash, wanted: &Hash) -> Result<()> {
    if sum == wanted {
        return Ok(());
    }
    Err(Error::Refused(format!("the bytes sent as {name} have the digest {}", hex::encode(sum))))
}

/// A digest in lower-case hex, and nothing else: it becomes a file name.
pub(crate) fn hash_of(text: &str) -> Option<Hash> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    hex::decode(text).ok()?.try_into().ok()
}

/// Which blobs of a tree are not here, and from which byte. Empty files need no bytes.
pub(crate) fn missing(blobs: &Path, tree: &Tree) -> Result<Vec<Want>> {
    let mut here: HashMap<String, u64> = HashMap::new();
    for entry in fs::read_dir(blobs).doing(|| format!("list `{}`", blobs.display()))? {
        let entry = entry.doing(|| format!("list `{}`", blobs.display()))?;
        let meta = entry.metadata().doing(|| format!("look at `{}`", entry.path().display()))?;
        here.insert(entry.file_name().to_string_lossy().into_owned(), meta.len());
    }
    let (mut wants, mut seen) = (Vec::new(), HashSet::new());
    for entry in &tree.entries {
        let TreeKind::File { size, sha256 } = &entry.kind else { continue };
        if *size == 0 || here.get(sha256) == Some(size) || !seen.insert(sha256) {
            continue;
        }
        let from = here.get(&format!("{sha256}.part")).copied().filter(|from| from < size);
        wants.push(Want { sha256: sha256.clone(), from: from.unwrap_or(0) });
    }
    Ok(wants)
}

/// Where a blob's bytes lie.
pub(crate) fn blob_path(base: &Base, sha256: &str) -> PathBuf {
    base.blobs().join(sha256)
}
