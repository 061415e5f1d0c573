//! The job's store in a conversation: its key for the machine, signatures, the fence, the restore.
//!
//! Invariants: the machine gets a grant for this job's prefix and nothing of ours; the fence of this epoch
//! is raised before its task starts; a store that does not answer keeps the task from starting, never from
//! running, and `status` says so.

use super::Talk;
use super::take::note;
use crate::session::{Parting, SessionScene};
use crate::stores;
use fleet_agent_api::{FromAgent, Saved, Slot, StoreCall, ToAgent, encode_message};
use fleet_lifecycle::{Happening, Restored};
use fleet_storage::{Bucket, CheckpointStore, Grant};
use fleet_types::EventBody;
use std::time::Duration;
use tokio::time::Instant;

/// How the alarm about it begins.
const ALARM: &str = "store:";
/// After a refusal.
const AGAIN: Duration = Duration::from_secs(5);
/// A key is renewed after this part of its life …
const PART: u32 = 3;
/// … or after this long, whichever is sooner: a machine may lose contact at any time.
const OFTEN: Duration = Duration::from_secs(1800);

/// What this conversation knows of the store.
#[derive(Default)]
pub(super) struct StoreTalk {
    bucket: Option<Bucket>,
    /// When the key is due, the first one too.
    due: Option<Instant>,
    /// The machine is fetching the checkpoint to start from.
    pub(super) restoring: bool,
}

impl Talk {
    /// Hands the machine a fresh key where one is due. A refusal is an alarm, and is tried again.
    pub(super) async fn name_store(&mut self, s: &SessionScene) -> Result<(), Parting> {
        let due = self.store.due.is_none_or(|due| due <= Instant::now());
        if s.scene.doc.task.checkpoint.store.is_none() || !due {
            return Ok(());
        }
        match granted(s, self.epoch).await {
            Ok((bucket, grant)) => {
                let life = grant.access.expires_in_ms.map(Duration::from_millis);
                let renew = life.map_or(OFTEN, |life| (life / PART).min(OFTEN));
                self.store.due = Some(Instant::now() + renew.max(AGAIN));
                self.store.bucket = Some(bucket);
                s.scene.inner.calm(&s.scene.doc.facts.id, ALARM);
                self.say(&ToAgent::Store { access: Box::new(grant.access) }).await
            }
            Err(why) => {
                self.store_failed(s, &format!("no key for the machine: {why}")).await;
                Ok(())
            }
        }
    }

    /// Tells a failure once, and asks with fresh credentials in a moment.
    async fn store_failed(&mut self, s: &SessionScene, why: &str) {
        let text = format!("{ALARM} {why}");
        if s.scene.inner.raise(&s.scene.doc.facts.id, &text) {
            tracing::warn!(job = %s.scene.doc.facts.id, "{text}");
        }
        if let Some(uri) = &s.scene.doc.task.checkpoint.store {
            s.scene.inner.stores.forget(&s.scene.doc.facts.realm, uri).await;
        }
        self.store.due = Some(Instant::now() + AGAIN);
    }

    /// Raises this epoch's fence and has the machine fetch the checkpoint that it begins from.
    pub(super) async fn restore_from_store(&mut self, s: &mut SessionScene) -> Result<(), Parting> {
        let Some(bucket) = self.store.bucket.clone() else {
            // No key yet: asked again when there is one.
            self.restore_asked = false;
            return Ok(());
        };
        let job = s.scene.doc.facts.id.clone();
        let raised = match bucket.checkpoints().raise_fence(&job, self.epoch).await {
            Ok(raised) => raised,
            Err(e) => {
                self.restore_asked = false;
                self.store_failed(s, &format!("the task cannot begin yet: {e}")).await;
                return Ok(());
            }
        };
        for skipped in &raised.skipped {
            let reason = format!("checkpoint {} is passed over: {}", skipped.id, skipped.why);
            note(s, EventBody::CheckpointRefused { epoch: self.epoch, reason }).await;
        }
        let Some(stored) = raised.base else { return Box::pin(self.pursue(s)).await };
        let (id, bytes) = (stored.manifest.id, stored.tree().size());
        let place = s.attempt.borrow().place.clone();
        let egress_usd = stores::egress(&bucket, &place, bytes, true);
        self.restored = Some(Restored { id, bytes, egress_usd });
        if self.agent.as_ref().is_some_and(|a| a.placed.contains(&Slot::Checkpoint)) {
            return Box::pin(self.pursue(s)).await;
        }
        self.store.restoring = true;
        self.say(&ToAgent::Restore { stored: Box::new(stored) }).await
    }

    /// A checkpoint is in the store.
    pub(super) async fn saved(&mut self, s: &SessionScene, saved: &Saved) {
        let Some(bucket) = self.store.bucket.clone() else { return };
        let place = s.attempt.borrow().place.clone();
        let told = fleet_lifecycle::Saved {
            number: saved.number,
            taken_at: saved.taken_at,
            bytes: saved.bytes,
            files: usize::try_from(saved.files).unwrap_or(usize::MAX),
            egress_usd: stores::egress(&bucket, &place, saved.sent_bytes, false),
        };
        s.scene.tell(Happening::Saved { epoch: self.epoch, saved: told }).await;
        let (job, keep) = (s.scene.doc.facts.id.clone(), s.scene.doc.task.checkpoint.keep);
        tokio::spawn(async move {
            if let Err(e) = bucket.checkpoints().keep(&job, keep.max(1)).await {
                tracing::warn!(%job, "old checkpoints stay in the store: {e}");
            }
        });
    }

    /// Signs requests for a machine that holds no key.
    pub(super) async fn sign(
        &mut self,
        s: &SessionScene,
        request: u32,
        calls: Vec<StoreCall>,
    ) -> Result<(), Parting> {
        let Some(bucket) = self.store.bucket.clone() else {
            let reason = "the job's store is not open".to_owned();
            return self.say(&ToAgent::NotSigned { request, reason }).await;
        };
        let scope = bucket.job_scope(&s.scene.doc.facts.id, self.epoch);
        let out = self.out.clone();
        tokio::spawn(async move {
            let answer = match bucket.sign(&scope, &calls).await {
                Ok(calls) => ToAgent::Signed { request, calls },
                Err(e) => ToAgent::NotSigned { request, reason: e.to_string() },
            };
            if let Ok(frame) = encode_message(&answer)
                && out.send(frame).await.is_err()
            {
                tracing::debug!("the connection ended before a signature was needed");
            }
        });
        Ok(())
    }

    /// Words about the store.
    pub(super) async fn hear_of_store(
        &mut self,
        s: &mut SessionScene,
        message: FromAgent,
    ) -> Result<(), Parting> {
        match message {
            FromAgent::Saved(saved) => self.saved(s, &saved).await,
            FromAgent::Sign { request, calls } => return self.sign(s, request, calls).await,
            FromAgent::Slow { bytes, per_second, warning_ms } => {
                let reason = slow(bytes, per_second, warning_ms);
                note(s, EventBody::CheckpointRefused { epoch: self.epoch, reason }).await;
            }
            other => tracing::debug!("not a word about the store: {other:?}"),
        }
        Ok(())
    }
}

fn slow(bytes: u64, per_second: u64, warning_ms: u64) -> String {
    let seconds = bytes as f64 / per_second.max(1) as f64;
    format!(
        "a checkpoint takes {seconds:.0} s to reach the store ({:.1} MB/s) and the cloud warns {} s ahead: at \
         a preemption the one before is restored; save less, save more often, or use a store nearby",
        per_second as f64 / 1e6,
        warning_ms / 1000
    )
}

async fn granted(s: &SessionScene, epoch: fleet_types::Epoch) -> Result<(Bucket, Grant), String> {
    let doc = &s.scene.doc;
    let say = |e: &dyn std::fmt::Display| e.to_string();
    let bucket = stores::of(&s.scene.inner, doc).await.map_err(|e| say(&e))?;
    let bucket = bucket.ok_or("the task names no store")?;
    let scope = bucket.job_scope(&doc.facts.id, epoch);
    let trust = s.attempt.borrow().trust;
    let name = format!("{}-{epoch}", doc.facts.id);
    let away = doc.task.checkpoint.away;
    let grant = bucket.grant(&scope, &name, trust, away).await.map_err(|e| say(&e))?;
    Ok((bucket, grant))
}
