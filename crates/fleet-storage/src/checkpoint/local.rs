//! Checkpoints in a folder of this machine.
//!
//! Layout of a job: `blobs/<sha256>` (whole files), `blobs/<sha256>.part` (transfers under way),
//! `<epoch>/open` (the fence: this epoch has begun), `<epoch>/<number>/manifest.json`, `output.json`.
//! Documents go through `object_store` with conditional puts, as they will in a bucket. Invariant: a
//! manifest is put after every file that it names has been synced, and taken away before any of them is.

use super::blobs::Transfers;
use super::place::{
    TRASH, check_job, clean, manifest_key, number_of, on_disk, output_key, remove_folder,
};
use super::{BlobReader, BlobState, CheckpointStore, Output, Published, RelayStore, blobs, export};
use crate::durable;
use crate::error::{Error, Result, check_digest};
use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::{CheckpointId, CheckpointManifest, Epoch, JobId, Tree, TreeKind};
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Version of the documents.
const VERSION: u32 = 1;

/// Checkpoints in a folder.
#[derive(Debug)]
pub struct LocalCheckpoints {
    dir: PathBuf,
    objects: LocalFileSystem,
    transfers: Arc<Transfers>,
    /// Files that an answer called present, by job. The lock also puts publishing, fencing and removal
    /// in one order.
    held: Mutex<HashMap<JobId, HashSet<String>>>,
}

/// What a job's folder holds besides files.
#[derive(Debug, Default)]
struct Shelf {
    /// The highest epoch that has begun.
    fence: Option<Epoch>,
    published: BTreeSet<CheckpointId>,
}

impl LocalCheckpoints {
    /// Opens the folder `dir`, made if missing, and removes what a killed process left half-written.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn open(dir: &Path) -> Result<Self> {
        durable::make_dir(dir)?;
        clean(dir)?;
        Self::look(dir)
    }

    /// Opens the folder `dir` to read from it, beside the process that writes: removes and makes nothing.
    ///
    /// # Errors
    /// [`Error::Disk`], also when it is missing.
    pub fn look(dir: &Path) -> Result<Self> {
        let dir = dir.canonicalize().map_err(Error::disk(dir))?;
        let objects = LocalFileSystem::new_with_prefix(&dir)
            .map_err(|e| refused(&Key::default(), &e))?
            .with_fsync(true);
        Ok(Self { dir, objects, transfers: Arc::default(), held: Mutex::default() })
    }

    /// Writes a checkpoint's files as the folder `dest`, which must not hold anything yet. Blocks.
    ///
    /// # Errors
    /// [`Error::BadTree`] if the manifest is not to be trusted, [`Error::Occupied`],
    /// [`Error::Incomplete`], [`Error::Disk`]; `dest` is as before then.
    pub fn export(&self, manifest: &CheckpointManifest, dest: &Path) -> Result<()> {
        self.export_tree(&manifest.job, &manifest.tree, dest)
    }

    /// As [`Self::export`], for any tree of the job: its output.
    ///
    /// # Errors
    /// As [`Self::export`].
    pub fn export_tree(&self, job: &JobId, tree: &Tree, dest: &Path) -> Result<()> {
        export::export(job, tree, &self.blobs(job)?, dest)
    }

    async fn export_later(&self, job: &JobId, tree: Tree, dest: &Path) -> Result<()> {
        let (job, from, dest) = (job.clone(), self.blobs(job)?, dest.to_owned());
        on_disk(move || export::export(&job, &tree, &from, &dest)).await
    }

    fn folder(&self, job: &JobId) -> Result<PathBuf> {
        check_job(job)?;
        Ok(self.dir.join(job.as_str()))
    }
    fn blobs(&self, job: &JobId) -> Result<PathBuf> {
        Ok(self.folder(job)?.join("blobs"))
    }

    async fn shelf(&self, job: &JobId) -> Result<Shelf> {
        check_job(job)?;
        let mut shelf = Shelf::default();
        let base = Key::from(job.as_str());
        // By folders, so that the many files are not listed.
        let epochs =
            self.objects.list_with_delimiter(Some(&base)).await.map_err(|e| refused(&base, &e))?;
        for folder in epochs.common_prefixes {
            let Some(epoch) = number_of(&folder) else { continue };
            let inside = self
                .objects
                .list(Some(&folder))
                .try_collect::<Vec<_>>()
                .await
                .map_err(|e| refused(&folder, &e))?;
            for object in inside {
                let parts: Vec<_> =
                    object.location.parts().map(|p| p.as_ref().to_owned()).collect();
                let epoch = Epoch(epoch);
                match parts.iter().map(String::as_str).collect::<Vec<_>>()[2..] {
                    ["open"] => shelf.fence = shelf.fence.max(Some(epoch)),
                    [number, "manifest.json"] => {
                        let Ok(number) = number.parse() else { continue };
                        shelf.fence = shelf.fence.max(Some(epoch));
                        shelf.published.insert(CheckpointId { epoch, number });
                    }
                    _ => {}
                }
            }
        }
        Ok(shelf)
    }

    /// Reads one manifest; an unreadable one is as good as none, and older ones are still there.
    async fn manifest(&self, job: &JobId, id: CheckpointId) -> Result<Option<CheckpointManifest>> {
        let key = manifest_key(job, id);
        let Some(bytes) = self.get(&key).await? else { return Ok(None) };
        let manifest: CheckpointManifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::error!(%key, %error, "a manifest is unreadable");
                return Ok(None);
            }
        };
        if manifest.version > VERSION {
            return Err(Error::Newer { job: job.clone(), found: manifest.version });
        }
        if manifest.job != *job || manifest.id != id || export::check(&manifest.tree).is_err() {
            tracing::error!(%key, "a manifest is not what its name says");
            return Ok(None);
        }
        Ok(Some(manifest))
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        match self.objects.get(key).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|e| refused(key, &e))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(refused(key, &error)),
        }
    }

    /// Puts a document; `false` if a new one was wanted and the key is taken.
    async fn put<T: Serialize>(&self, key: &Key, document: &T, mode: PutMode) -> Result<bool> {
        let bytes = serde_json::to_vec(document)
            .map_err(|e| Error::Object { path: key.to_string(), detail: e.to_string() })?;
        match self.objects.put_opts(key, PutPayload::from(bytes), mode.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(refused(key, &error)),
        }
    }

    fn is_whole(&self, job: &JobId, tree: &Tree) -> Result<Option<String>> {
        let folder = self.blobs(job)?;
        let lacking =
            files(tree).into_iter().find(|(sha256, size)| !blobs::has(&folder, sha256, *size));
        Ok(lacking.map(|(sha256, _)| sha256.to_owned()))
    }

    fn refuse_incomplete(&self, job: &JobId, tree: &Tree, what: &str) -> Result<()> {
        match self.is_whole(job, tree)? {
            None => Ok(()),
            Some(sha256) => {
                Err(Error::Incomplete { job: job.clone(), id: what.to_owned(), sha256 })
            }
        }
    }

    async fn read_output(&self, job: &JobId) -> Result<Option<Output>> {
        check_job(job)?;
        let key = output_key(job);
        let Some(bytes) = self.get(&key).await? else { return Ok(None) };
        let damaged = |detail: String| Error::Damaged { path: self.dir.join(key.as_ref()), detail };
        let output: Output = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if output.version > VERSION {
            return Err(Error::Newer { job: job.clone(), found: output.version });
        }
        export::check(&output.tree)?;
        Ok(Some(output))
    }

    /// Removes files that no manifest, no output and no answer under way speaks of.
    async fn sweep(&self, job: &JobId, held: &HashSet<String>, parts_too: bool) -> Result<()> {
        let mut named = held.clone();
        for manifest in self.list(job).await? {
            named.extend(files(&manifest.tree).into_keys().map(str::to_owned));
        }
        if let Some(output) = self.read_output(job).await? {
            named.extend(files(&output.tree).into_keys().map(str::to_owned));
        }
        let folder = self.blobs(job)?;
        if parts_too {
            self.transfers.forget(&folder);
        }
        on_disk(move || {
            let Ok(found) = std::fs::read_dir(&folder) else { return Ok(()) };
            for file in found.flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                let goes = if name.ends_with(".part") { parts_too } else { !named.contains(&name) };
                if goes {
                    blobs::remove(&file.path())?;
                }
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl CheckpointStore for LocalCheckpoints {
    async fn newest(&self, job: &JobId) -> Result<Option<CheckpointManifest>> {
        for id in self.shelf(job).await?.published.into_iter().rev() {
            let Some(manifest) = self.manifest(job, id).await? else { continue };
            match self.is_whole(job, &manifest.tree)? {
                None => return Ok(Some(manifest)),
                Some(sha256) => tracing::error!(%job, %id, sha256, "a checkpoint lost a file"),
            }
        }
        Ok(None)
    }

    async fn list(&self, job: &JobId) -> Result<Vec<CheckpointManifest>> {
        let mut all = Vec::new();
        for id in self.shelf(job).await?.published {
            all.extend(self.manifest(job, id).await?);
        }
        Ok(all)
    }

    async fn output(&self, job: &JobId) -> Result<Option<Output>> {
        self.read_output(job).await
    }

    async fn fetch(&self, job: &JobId, id: CheckpointId, dest: &Path) -> Result<()> {
        check_job(job)?;
        let manifest = self.manifest(job, id).await?;
        let manifest = manifest.ok_or_else(|| missing(job, format!("checkpoint {id}")))?;
        self.export_later(job, manifest.tree, dest).await
    }

    async fn fetch_output(&self, job: &JobId, dest: &Path) -> Result<()> {
        let output = self.read_output(job).await?;
        let output = output.ok_or_else(|| missing(job, "output".to_owned()))?;
        self.export_later(job, output.tree, dest).await
    }

    async fn keep(&self, job: &JobId, n: u32) -> Result<usize> {
        let held = self.held.lock().await;
        // One that cannot be restored does not count as kept.
        let Some(newest) = self.newest(job).await? else { return Ok(0) };
        let older: Vec<_> =
            self.shelf(job).await?.published.into_iter().filter(|id| *id < newest.id).collect();
        let stay = n.max(1) as usize - 1;
        let goes = &older[..older.len().saturating_sub(stay)];
        for id in goes {
            let key = manifest_key(job, *id);
            self.objects.delete(&key).await.map_err(|e| refused(&key, &e))?;
        }
        if !goes.is_empty() {
            let none = HashSet::new();
            self.sweep(job, held.get(job).unwrap_or(&none), false).await?;
        }
        Ok(goes.len())
    }

    async fn forget(&self, job: &JobId) -> Result<()> {
        let folder = self.folder(job)?;
        let mut held = self.held.lock().await;
        held.remove(job);
        self.transfers.forget(&folder);
        let trash = self.dir.join(format!("{TRASH}{job}"));
        on_disk(move || {
            remove_folder(&trash)?;
            // At once and whole; what follows may be interrupted.
            match std::fs::rename(&folder, &trash) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(Error::disk(&folder))?,
            }
            remove_folder(&trash)
        })
        .await
    }
}

#[async_trait]
impl RelayStore for LocalCheckpoints {
    async fn open_epoch(&self, job: &JobId, epoch: Epoch) -> Result<()> {
        let mut held = self.held.lock().await;
        match self.shelf(job).await?.fence {
            Some(by) if by > epoch => {
                return Err(Error::OldEpoch { job: job.clone(), epoch, by });
            }
            // Begun before a restart: its transfers go on.
            Some(by) if by == epoch => return Ok(()),
            Some(_) | None => {}
        }
        let key = Key::from(format!("{job}/{:06}/open", epoch.0));
        self.put(&key, &epoch, PutMode::Create).await?;
        // Older epochs publish nothing more, so what they left unpublished is of no use.
        held.remove(job);
        self.sweep(job, &HashSet::new(), true).await
    }

    async fn missing(&self, job: &JobId, tree: &Tree) -> Result<Vec<(String, u64)>> {
        export::check(tree)?;
        let folder = self.blobs(job)?;
        let mut held = self.held.lock().await;
        let held = held.entry(job.clone()).or_default();
        let mut missing = Vec::new();
        for (sha256, size) in files(tree) {
            held.insert(sha256.to_owned());
            if !blobs::has(&folder, sha256, size) {
                missing.push((sha256.to_owned(), blobs::have(&folder, sha256)));
            }
        }
        Ok(missing)
    }

    async fn write_blob(
        &self,
        job: &JobId,
        sha256: &str,
        size: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<BlobState> {
        let (folder, sha256) = (self.blobs(job)?, sha256.to_owned());
        let transfers = Arc::clone(&self.transfers);
        on_disk(move || transfers.receive(&folder, &sha256, size, offset, &bytes)).await
    }

    async fn publish(&self, manifest: &CheckpointManifest) -> Result<Published> {
        let (job, id) = (&manifest.job, manifest.id);
        if manifest.version != VERSION {
            return Err(Error::Newer { job: job.clone(), found: manifest.version });
        }
        check_job(job)?;
        export::check(&manifest.tree)?;
        let mut held = self.held.lock().await;
        let shelf = self.shelf(job).await?;
        if shelf.published.contains(&id) {
            return match self.manifest(job, id).await? {
                Some(known) if known == *manifest => Ok(Published::AlreadyThere),
                _ => Err(Error::Conflict { job: job.clone(), id }),
            };
        }
        if let Some(by) = ahead_of(&shelf, id) {
            return Ok(Published::Beaten { by });
        }
        self.refuse_incomplete(job, &manifest.tree, &id.to_string())?;
        if !self.put(&manifest_key(job, id), manifest, PutMode::Create).await? {
            return Err(Error::Conflict { job: job.clone(), id });
        }
        held.remove(job);
        Ok(Published::Published)
    }

    async fn publish_output(&self, job: &JobId, epoch: Epoch, tree: &Tree) -> Result<Published> {
        check_job(job)?;
        export::check(tree)?;
        let mut held = self.held.lock().await;
        let output = Output { version: VERSION, job: job.clone(), epoch, tree: tree.clone() };
        let known = self.read_output(job).await?;
        if known.as_ref() == Some(&output) {
            return Ok(Published::AlreadyThere);
        }
        let begun = self.shelf(job).await?.fence.max(known.map(|k| k.epoch));
        if let Some(epoch) = begun.filter(|b| *b > epoch) {
            return Ok(Published::Beaten { by: CheckpointId { epoch, number: 0 } });
        }
        self.refuse_incomplete(job, tree, "the output")?;
        self.put(&output_key(job), &output, PutMode::Overwrite).await?;
        held.remove(job);
        Ok(Published::Published)
    }

    async fn open(&self, job: &JobId, sha256: &str) -> Result<BlobReader> {
        check_digest(sha256)?;
        let path = blobs::whole(&self.blobs(job)?, sha256);
        let file = tokio::fs::File::open(&path).await.map_err(Error::disk(&path))?;
        Ok(Box::new(file))
    }

    fn local_path(&self, job: &JobId, sha256: &str) -> Option<PathBuf> {
        check_digest(sha256).ok()?;
        let path = blobs::whole(&self.blobs(job).ok()?, sha256);
        path.is_file().then_some(path)
    }
}

fn missing(job: &JobId, what: String) -> Error {
    Error::Missing { job: job.clone(), what }
}

fn ahead_of(shelf: &Shelf, id: CheckpointId) -> Option<CheckpointId> {
    if let Some(newest) = shelf.published.last().filter(|newest| **newest > id) {
        return Some(*newest);
    }
    let epoch = shelf.fence.filter(|fence| *fence > id.epoch)?;
    Some(CheckpointId { epoch, number: 0 })
}

/// The files of a tree, each content once, with its size.
fn files(tree: &Tree) -> BTreeMap<&str, u64> {
    tree.entries
        .iter()
        .filter_map(|e| match &e.kind {
            TreeKind::File { size, sha256 } => Some((sha256.as_str(), *size)),
            TreeKind::Link { .. } | TreeKind::Dir => None,
        })
        .collect()
}

fn refused(key: &Key, error: &object_store::Error) -> Error {
    Error::Object { path: key.to_string(), detail: error.to_string() }
}
