//! Where checkpoints and outputs of jobs are kept, whoever keeps them.
//!
//! A checkpoint is whole files plus one manifest, published last by conditional put. Invariant: newest is
//! the highest (epoch, number), whatever clocks said; once an epoch has been opened, a lower one publishes
//! nothing more; a reader never sees a manifest whose files are not all there.
//!
//! [`CheckpointStore`] is what every keeper can do. The local folder ([`LocalCheckpoints`]) is filled by
//! whoever relays ([`RelayStore`]); a bucket by the machines themselves.
//! Deliberately absent: deciding when to save, and moving bytes between machines.

mod blobs;
pub(crate) mod export;
mod local;
pub(crate) mod place;

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::{CheckpointId, CheckpointManifest, Epoch, JobId, Tree};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use tokio::io::AsyncRead;

pub use local::LocalCheckpoints;

/// How much of one file is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobState {
    /// So many bytes from the start; send on from there.
    Partial(u64),
    /// All of it, its digest verified, on the disk.
    Complete,
}

/// What came of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    Published,
    /// The very same was published before: an answer had been lost.
    AlreadyThere,
    /// It comes too late and was not published: this one is ahead. Number 0: the epoch has begun and
    /// has published nothing yet.
    Beaten {
        by: CheckpointId,
    },
}

/// What a job left as its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Version of this document: 1.
    pub version: u32,
    pub job: JobId,
    pub epoch: Epoch,
    pub tree: Tree,
}

/// The bytes of one file.
pub type BlobReader = Box<dyn AsyncRead + Send + Unpin>;

/// A keeper of checkpoints and outputs: what all of them can do. Every call may be repeated.
#[async_trait]
pub trait CheckpointStore: Send + Sync + Debug {
    /// The newest published checkpoint whose files are all here.
    async fn newest(&self, job: &JobId) -> Result<Option<CheckpointManifest>>;
    /// Every published checkpoint that counts, oldest first.
    async fn list(&self, job: &JobId) -> Result<Vec<CheckpointManifest>>;
    /// The job's output.
    async fn output(&self, job: &JobId) -> Result<Option<Output>>;
    /// Writes a checkpoint's files as the folder `dest`, which must not hold anything yet: whole, verified,
    /// or not at all. [`crate::Error::Missing`] if there is no such checkpoint.
    async fn fetch(&self, job: &JobId, id: CheckpointId, dest: &Path) -> Result<()>;
    /// The same for the job's output.
    async fn fetch_output(&self, job: &JobId, dest: &Path) -> Result<()>;
    /// Removes all but the newest `n` checkpoints (at least one stays) and the files that only they
    /// named; answers how many checkpoints went.
    async fn keep(&self, job: &JobId, n: u32) -> Result<usize>;
    /// Removes everything of a job.
    async fn forget(&self, job: &JobId) -> Result<()>;
}

/// A keeper that is filled piece by piece by one who relays what machines send.
#[async_trait]
pub trait RelayStore: CheckpointStore {
    /// Begins an epoch: from now on lower ones publish nothing, and what they left unpublished is
    /// cleaned up. [`crate::Error::OldEpoch`] if a higher one has begun.
    async fn open_epoch(&self, job: &JobId, epoch: Epoch) -> Result<()>;
    /// Files of `tree` that are not here yet, each once, with the bytes that are. What is not missing is
    /// held until the job's next publish, so that the answer stays true meanwhile.
    async fn missing(&self, job: &JobId, tree: &Tree) -> Result<Vec<(String, u64)>>;
    /// Adds a piece of a file. A piece that does not fit on what is here is not an error: the answer says
    /// from where to go on. [`crate::Error::Digest`]: all was received, was wrong and is thrown away.
    async fn write_blob(
        &self,
        job: &JobId,
        sha256: &str,
        size: u64,
        offset: u64,
        bytes: Bytes,
    ) -> Result<BlobState>;
    /// Makes a checkpoint exist, durably. [`crate::Error::Incomplete`] if a file is missing.
    async fn publish(&self, manifest: &CheckpointManifest) -> Result<Published>;
    /// Makes a tree the job's output; a higher epoch's output stays.
    async fn publish_output(&self, job: &JobId, epoch: Epoch, tree: &Tree) -> Result<Published>;
    /// Reads one file.
    async fn open(&self, job: &JobId, sha256: &str) -> Result<BlobReader>;
    /// Where one file lies on this machine, if it does.
    fn local_path(&self, job: &JobId, sha256: &str) -> Option<PathBuf>;
}
