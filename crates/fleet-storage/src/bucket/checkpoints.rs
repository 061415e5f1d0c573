//! Checkpoints that machines saved into a bucket by themselves.
//!
//! Here is decided which of them counts (BKT-2), from where an epoch begins (BKT-3), and what may be read
//! (BKT-4). Invariant: what a machine wrote is text of a stranger: it is checked before anything in it is
//! followed, and an answer "there is none" comes only from a store that was asked and said so.

mod fetch;
mod keep;
mod logs;
mod stored;
mod survey;

use super::{Bucket, Size};
use crate::checkpoint::place::check_job;
use crate::checkpoint::{CheckpointStore, Output};
use crate::clock::now;
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use fleet_agent_api::OutcomeRecord;
use fleet_types::bucket::{Fence, key};
use fleet_types::{CheckpointId, CheckpointManifest, Epoch, JobId, StoredTree};
pub use logs::LogRecords;
use std::path::Path;
use survey::Survey;

/// Version of the documents.
const VERSION: u32 = 1;
/// The longest fence and the longest outcome record.
const DOCUMENT: u64 = 4 << 20;
/// Looks at a fence that is there for one and not for another.
const TRIES: u32 = 5;

/// The checkpoints of jobs in a bucket.
#[derive(Clone, Debug)]
pub struct BucketCheckpoints {
    bucket: Bucket,
}

/// An epoch that may begin.
#[derive(Clone, Debug)]
pub struct Raised {
    pub fence: Fence,
    /// What it begins from; an older one than the fence says, if that one lost something since.
    pub base: Option<StoredTree>,
    /// Checkpoints that count and cannot be restored, newest first.
    pub skipped: Vec<Skipped>,
}

/// A checkpoint that cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub id: CheckpointId,
    pub why: String,
}

impl BucketCheckpoints {
    pub(super) fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Begins an epoch: says from which checkpoint, once and for all (BKT-3). May be repeated, also by
    /// several at once: all get the same.
    ///
    /// # Errors
    /// [`Error::OldEpoch`] if a higher one has begun; [`Error::Newer`]; [`Error::Bucket`].
    pub async fn raise_fence(&self, job: &JobId, epoch: Epoch) -> Result<Raised> {
        check_job(job)?;
        let mut survey = self.survey(job).await?;
        survey.refuse_old(job, epoch)?;
        let mut skipped = Vec::new();
        let fence = match survey.fence(epoch) {
            Some(fence) => fence.clone(),
            None => {
                let below = |id: CheckpointId| id.epoch < epoch;
                let base = self.restorable(job, &survey, &below, &mut skipped).await?;
                let id = base.as_ref().map(|b| b.manifest.id);
                let mine = Fence { version: VERSION, job: job.clone(), epoch, base: id, at: now() };
                let fence = self.put_fence(&mine).await?;
                // Somebody may have gone beyond meanwhile, or begun from what was not there yet.
                survey = self.survey(job).await?;
                survey.refuse_old(job, epoch)?;
                if fence == mine {
                    return Ok(Raised { fence, base, skipped });
                }
                fence
            }
        };
        skipped.clear();
        let base = match fence.base {
            None => None,
            Some(base) => {
                let upto = |id: CheckpointId| id <= base;
                self.restorable(job, &survey, &upto, &mut skipped).await?
            }
        };
        Ok(Raised { fence, base, skipped })
    }

    /// The newest checkpoint that counts and can be restored (BKT-2, BKT-4), with where its contents lie.
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::Bucket`].
    pub async fn newest_stored(&self, job: &JobId) -> Result<Option<StoredTree>> {
        let survey = self.survey(job).await?;
        self.restorable(job, &survey, &|_| true, &mut Vec::new()).await
    }

    /// How the task of an epoch ended, as its machine wrote it (BKT-7).
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::Bucket`], also for a record that is not what its key says.
    pub async fn outcome(&self, job: &JobId, epoch: Epoch) -> Result<Option<OutcomeRecord>> {
        check_job(job)?;
        let key = format!("{job}/{}", key::outcome(epoch));
        let Some(bytes) = self.bucket.get(&key, DOCUMENT).await? else { return Ok(None) };
        let record: OutcomeRecord = serde_json::from_slice(&bytes)
            .map_err(|e| self.bucket.damaged(&key, &e.to_string()))?;
        self.check_document(&key, job, epoch, (&record.job, record.epoch, record.version))?;
        Ok(Some(record))
    }

    /// How much of the bucket a job takes.
    ///
    /// # Errors
    /// [`Error::Bucket`].
    pub async fn size(&self, job: &JobId) -> Result<Size> {
        check_job(job)?;
        self.bucket.size(job.as_str()).await
    }

    /// Puts a fence where there is none; answers the one that is there after that.
    async fn put_fence(&self, mine: &Fence) -> Result<Fence> {
        let key = format!("{}/{}", mine.job, key::open(mine.epoch));
        let text =
            serde_json::to_vec(mine).map_err(|e| self.bucket.damaged(&key, &e.to_string()))?;
        for _ in 0..TRIES {
            // Read back even if it was put: a store without conditional puts may have taken another's since.
            self.bucket.put_new(&key, Bytes::from(text.clone())).await?;
            if let Some(fence) = self.read_fence(&mine.job, mine.epoch).await? {
                return Ok(fence);
            }
        }
        Err(self.bucket.damaged(&key, "it is there for one request and not for the next"))
    }

    async fn read_fence(&self, job: &JobId, epoch: Epoch) -> Result<Option<Fence>> {
        let key = format!("{job}/{}", key::open(epoch));
        let Some(bytes) = self.bucket.get(&key, DOCUMENT).await? else { return Ok(None) };
        let fence: Fence = serde_json::from_slice(&bytes)
            .map_err(|e| self.bucket.damaged(&key, &e.to_string()))?;
        self.check_document(&key, job, epoch, (&fence.job, fence.epoch, fence.version))?;
        Ok(Some(fence))
    }

    fn check_document(
        &self,
        key: &str,
        job: &JobId,
        epoch: Epoch,
        (of, at, version): (&JobId, Epoch, u32),
    ) -> Result<()> {
        if version > VERSION {
            return Err(Error::Newer { job: job.clone(), found: version });
        }
        match of == job && at == epoch {
            true => Ok(()),
            false => Err(self.bucket.damaged(key, "it is of another job or epoch")),
        }
    }

    /// The newest of those that count and are `wanted` whose contents are all there.
    async fn restorable(
        &self,
        job: &JobId,
        survey: &Survey,
        wanted: &(dyn Fn(CheckpointId) -> bool + Sync),
        skipped: &mut Vec<Skipped>,
    ) -> Result<Option<StoredTree>> {
        for id in survey.counting().filter(|id| wanted(*id)) {
            let why = match self.stored(job, id).await? {
                // A number that came to no manifest.
                None => continue,
                Some(Err(why)) => why,
                Some(Ok(stored)) => match self.lacking(job, &stored).await? {
                    None => return Ok(Some(stored)),
                    Some(why) => why,
                },
            };
            tracing::warn!(%job, %id, why, "a checkpoint cannot be restored; an older one is taken");
            skipped.push(Skipped { id, why });
        }
        Ok(None)
    }
}

#[async_trait]
impl CheckpointStore for BucketCheckpoints {
    async fn newest(&self, job: &JobId) -> Result<Option<CheckpointManifest>> {
        Ok(self.newest_stored(job).await?.map(|stored| stored.manifest))
    }

    async fn list(&self, job: &JobId) -> Result<Vec<CheckpointManifest>> {
        let survey = self.survey(job).await?;
        let mut all = Vec::new();
        for id in survey.counting() {
            if let Some(Ok(stored)) = self.stored(job, id).await? {
                all.push(stored.manifest);
            }
        }
        all.reverse();
        Ok(all)
    }

    async fn output(&self, job: &JobId) -> Result<Option<Output>> {
        let Some(stored) = self.stored_output(job).await? else { return Ok(None) };
        let CheckpointManifest { version, job, id, tree, .. } = stored.manifest;
        Ok(Some(Output { version, job, epoch: id.epoch, tree }))
    }

    async fn fetch(&self, job: &JobId, id: CheckpointId, dest: &Path) -> Result<()> {
        let missing = || Error::Missing { job: job.clone(), what: format!("checkpoint {id}") };
        check_job(job)?;
        let stored = self.stored(job, id).await?.ok_or_else(missing)?;
        let stored = stored.map_err(|why| self.bucket.damaged(&key::manifest(id), &why))?;
        self.write(job, &stored, dest).await
    }

    async fn fetch_output(&self, job: &JobId, dest: &Path) -> Result<()> {
        let missing = || Error::Missing { job: job.clone(), what: "output".to_owned() };
        let stored = self.stored_output(job).await?.ok_or_else(missing)?;
        self.write(job, &stored, dest).await
    }

    async fn keep(&self, job: &JobId, n: u32) -> Result<usize> {
        self.keep_newest(job, n).await
    }

    async fn forget(&self, job: &JobId) -> Result<()> {
        self.forget_all(job).await
    }
}
