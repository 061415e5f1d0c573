//! Bringing home what the agent offers: finished checkpoints, outputs, pulled files.
//!
//! Invariant 17: a manifest is published last and by conditional put; what is half here is never seen.

use crate::inner::Inner;
use fleet_agent_api::{Blob, Invitation, Source, Want};
use fleet_storage::{BlobState, CheckpointStore, Published, RelayStore};
use fleet_types::{CheckpointId, CheckpointManifest, Epoch, JobId, Tree, TreeKind};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What came of a finished transfer.
pub(super) enum Arrived {
    /// Still on its way.
    Partial,
    /// A checkpoint is published.
    Checkpoint(CheckpointManifest),
    /// The output is home.
    Output,
    /// A pulled tree's blobs are home.
    Pulled(u32, Tree),
    /// It is not taken, for good.
    Declined(String),
    /// It could not be stored now; it is offered again.
    Failed(String),
}

/// The transfers of one connection.
pub(super) struct Relay {
    inner: Arc<Inner>,
    job: JobId,
    epoch: Epoch,
    keep: u32,
    open: HashMap<Source, Transfer>,
}

struct Transfer {
    invitation: Invitation,
    missing: BTreeSet<String>,
}

impl Relay {
    pub(super) fn new(inner: Arc<Inner>, job: JobId, epoch: Epoch, keep: u32) -> Self {
        Self { inner, job, epoch, keep, open: HashMap::new() }
    }

    /// Takes an invitation; answers what to ask for. Nothing: it is whole here already.
    pub(super) async fn invited(&mut self, invitation: Invitation) -> Result<Vec<Want>, String> {
        invitation.tree.check().map_err(|e| e.to_string())?;
        let missing = self
            .inner
            .checkpoints
            .missing(&self.job, &invitation.tree)
            .await
            .map_err(|e| e.to_string())?;
        let wants: Vec<_> = missing
            .iter()
            .map(|(sha256, from)| Want { sha256: sha256.clone(), from: *from })
            .collect();
        let missing = missing.into_iter().map(|(sha256, _)| sha256).collect();
        self.open.insert(invitation.source.clone(), Transfer { invitation, missing });
        Ok(wants)
    }

    /// Takes a piece of a blob in; answers the sources that it completed.
    pub(super) async fn piece(&mut self, blob: Blob) -> Result<Vec<Source>, String> {
        let sha256 = hex::encode(blob.sha256);
        if !self.open.values().any(|t| t.missing.contains(&sha256)) {
            return Ok(Vec::new());
        }
        let state = self
            .inner
            .checkpoints
            .write_blob(&self.job, &sha256, blob.size, blob.offset, blob.bytes)
            .await
            .map_err(|e| e.to_string())?;
        if !matches!(state, BlobState::Complete) {
            return Ok(Vec::new());
        }
        let mut done = Vec::new();
        for (source, transfer) in &mut self.open {
            if transfer.missing.remove(&sha256) && transfer.missing.is_empty() {
                done.push(source.clone());
            }
        }
        Ok(done)
    }

    /// Publishes a transfer whose blobs are all here.
    pub(super) async fn finish(&mut self, source: &Source) -> Arrived {
        let Some(transfer) = self.open.remove(source) else { return Arrived::Partial };
        if !transfer.missing.is_empty() {
            self.open.insert(source.clone(), transfer);
            return Arrived::Partial;
        }
        let Invitation { taken_at, tree, .. } = transfer.invitation;
        match source {
            Source::Checkpoint(number) => {
                let id = CheckpointId { epoch: self.epoch, number: *number };
                let job = self.job.clone();
                self.publish(CheckpointManifest { version: 1, job, id, taken_at, tree }).await
            }
            Source::Output => {
                match self.inner.checkpoints.publish_output(&self.job, self.epoch, &tree).await {
                    Ok(Published::Published | Published::AlreadyThere) => Arrived::Output,
                    Ok(Published::Beaten { by }) => Arrived::Declined(self.superseded(by)),
                    Err(e) => Arrived::Failed(e.to_string()),
                }
            }
            Source::Pull(request) => Arrived::Pulled(*request, tree),
        }
    }

    fn superseded(&self, by: impl std::fmt::Display) -> String {
        format!("epoch {} is superseded by epoch {by}", self.epoch)
    }

    async fn publish(&self, manifest: CheckpointManifest) -> Arrived {
        let store = &self.inner.checkpoints;
        match store.publish(&manifest).await {
            Ok(Published::Published | Published::AlreadyThere) => {
                if let Err(e) = store.keep(&self.job, self.keep.max(1)).await {
                    tracing::warn!(job = %self.job, "old checkpoints stay: {e}");
                }
                Arrived::Checkpoint(manifest)
            }
            Ok(Published::Beaten { by }) => Arrived::Declined(self.superseded(by)),
            Err(e) => Arrived::Failed(e.to_string()),
        }
    }
}

/// Sizes of a tree's blobs.
pub(super) fn sizes(tree: &Tree) -> HashMap<String, u64> {
    tree.entries
        .iter()
        .filter_map(|e| match &e.kind {
            TreeKind::File { size, sha256 } => Some((sha256.clone(), *size)),
            TreeKind::Link { .. } | TreeKind::Dir => None,
        })
        .collect()
}
