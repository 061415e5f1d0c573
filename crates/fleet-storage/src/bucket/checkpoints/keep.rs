//! Removing checkpoints that nobody will restore, and everything of a job.
//!
//! Invariant (BKT-5): what stays is whole: a manifest goes before any file that only it names, and a file
//! goes only when no manifest names it that stays. In the epoch that may still be at work, only what lies
//! below its newest published number is touched.

use super::BucketCheckpoints;
use super::stored::{is_file, lack};
use crate::bucket::{Bucket, Door, Held};
use crate::checkpoint::place::{check_job, remove_folder};
use crate::error::Result;
use fleet_types::bucket::key::{self, Named};
use fleet_types::bucket::{Fence, counts};
use fleet_types::{CheckpointId, Epoch, JobId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

/// A job's folder, all of it.
struct Inventory {
    /// Sizes by key, relative to the job.
    sizes: HashMap<String, u64>,
    published: BTreeSet<CheckpointId>,
    outputs: Vec<Epoch>,
    fences: Vec<(Epoch, Option<CheckpointId>)>,
}

impl Inventory {
    /// Whether a higher epoch has begun.
    fn is_fenced(&self, epoch: Epoch) -> bool {
        self.fences.iter().any(|(by, _)| *by > epoch)
    }

    /// The newest number that an epoch has published.
    fn newest_of(&self, epoch: Epoch) -> Option<u32> {
        self.published.iter().filter(|id| id.epoch == epoch).map(|id| id.number).max()
    }

    /// Whether nobody is at work on what has this number.
    fn is_settled(&self, id: CheckpointId) -> bool {
        self.is_fenced(id.epoch)
            || self.newest_of(id.epoch).is_some_and(|newest| id.number < newest)
    }
}

impl BucketCheckpoints {
    /// Removes all but the newest `n` checkpoints that count, and the files that only they named.
    pub(super) async fn keep_newest(&self, job: &JobId, n: u32) -> Result<usize> {
        check_job(job)?;
        let inventory = self.inventory(job).await?;
        // One that cannot be restored does not count as kept, and with none nothing is safe to remove.
        let Some(newest) = self.newest_whole(job, &inventory).await? else { return Ok(0) };
        let goes = goes(&inventory, newest, n);
        let named = self.named(job, &inventory, &goes).await?;
        let whole = |key: &str| format!("{job}/{key}");
        self.bucket.delete(goes.iter().map(|id| whole(&key::manifest(*id))).collect()).await?;
        let settled = |key: &str| number_of(key).is_some_and(|id| inventory.is_settled(id));
        let files = inventory.sizes.keys().filter(|k| !named.contains(*k) && settled(k));
        self.bucket.delete(files.map(|k| whole(k)).collect()).await?;
        self.bucket.prune(job, &goes);
        Ok(goes.len())
    }

    /// The newest checkpoint that counts and whose files are all there.
    async fn newest_whole(
        &self,
        job: &JobId,
        inventory: &Inventory,
    ) -> Result<Option<CheckpointId>> {
        for id in inventory.published.iter().rev().copied() {
            if !counts(id, &inventory.fences) {
                continue;
            }
            if let Some(Ok(stored)) = self.stored(job, id).await?
                && lack(&stored, &inventory.sizes).is_none()
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The files that a checkpoint which stays, or an output, names.
    async fn named(
        &self,
        job: &JobId,
        inventory: &Inventory,
        goes: &BTreeSet<CheckpointId>,
    ) -> Result<HashSet<String>> {
        let stay = inventory.published.iter().copied().filter(|id| !goes.contains(id));
        let manifests = stay.map(|id| (id, key::manifest(id)));
        let outputs = inventory
            .outputs
            .iter()
            .map(|epoch| (CheckpointId { epoch: *epoch, number: 0 }, key::output(*epoch)));
        let mut named = HashSet::new();
        for (id, key) in manifests.chain(outputs) {
            // One that cannot be followed names nothing that could ever be restored.
            if let Some(Ok(stored)) = self.stored_at(job, id, &key).await? {
                named.extend(stored.objects.into_values());
            }
        }
        Ok(named)
    }

    /// Removes everything of a job; its manifests first, so that none is left that names nothing.
    pub(super) async fn forget_all(&self, job: &JobId) -> Result<()> {
        check_job(job)?;
        let all = self.bucket.list(job.as_str()).await?;
        let is_manifest = |h: &Held| h.key.ends_with("/manifest.json");
        let (manifests, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_manifest);
        for part in [manifests, others] {
            self.bucket.delete(part.into_iter().map(|h| h.key).collect()).await?;
        }
        match &self.bucket.inner.door {
            Door::Folder(dir) => remove_folder(&dir.join(job.as_str())),
            Door::S3(_) | Door::Gcs(_) | Door::Azure(_) => Ok(()),
        }
    }

    async fn inventory(&self, job: &JobId) -> Result<Inventory> {
        let prefix = format!("{job}/");
        let mut inventory = Inventory {
            sizes: HashMap::new(),
            published: BTreeSet::new(),
            outputs: Vec::new(),
            fences: Vec::new(),
        };
        for Held { key, size } in self.bucket.list(job.as_str()).await? {
            let Some(key) = key.strip_prefix(&prefix) else { continue };
            match key::named(key) {
                Named::Open(epoch) => {
                    let fence = self.read_fence(job, epoch).await?;
                    inventory.fences.extend(fence.map(|Fence { base, .. }| (epoch, base)));
                }
                Named::Manifest(id) => {
                    inventory.published.insert(id);
                }
                Named::Output(epoch) => inventory.outputs.push(epoch),
                Named::Log(..) | Named::Outcome(_) => {}
                Named::Other if is_file(key) => {
                    inventory.sizes.insert(key.to_owned(), size);
                }
                Named::Other => {}
            }
        }
        Ok(inventory)
    }
}

/// The checkpoints that go: those that do not count, and those older than the newest `n` that do.
fn goes(inventory: &Inventory, newest: CheckpointId, n: u32) -> BTreeSet<CheckpointId> {
    let mut stay = n.max(1);
    let mut goes = BTreeSet::new();
    for id in inventory.published.iter().rev().copied() {
        let does_count = counts(id, &inventory.fences);
        if does_count && id > newest {
            // It counts and lost something: whoever looks for the reason finds it there.
            continue;
        }
        if does_count && stay > 0 {
            stay -= 1;
        } else if inventory.is_settled(id) {
            goes.insert(id);
        }
    }
    goes
}

/// The checkpoint that a file belongs to.
fn number_of(key: &str) -> Option<CheckpointId> {
    let mut parts = key.split('/');
    let epoch = Epoch(parts.next()?.parse().ok()?);
    Some(CheckpointId { epoch, number: parts.next()?.parse().ok()? })
}

impl Bucket {
    /// Removes the folders that checkpoints leave empty, where a store has such things.
    fn prune(&self, job: &JobId, gone: &BTreeSet<CheckpointId>) {
        let Door::Folder(dir) = &self.inner.door else { return };
        for id in gone {
            let folder = dir.join(job.as_str()).join(format!("{:06}/{:06}", id.epoch.0, id.number));
            remove_empty(&folder);
        }
    }
}

/// Removes empty folders from the deepest up; one that holds something stays.
fn remove_empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // Not empty, or gone already: both are fine.
    let _ = std::fs::remove_dir(folder);
}
