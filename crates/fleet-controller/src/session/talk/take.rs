//! Taking in what the agent has: lines, checkpoints, outputs, pulled files.
//!
//! Invariant: a line is acknowledged only when it is durable here, and a transfer is called published only
//! when it is.

use super::{Talk, acks};
use crate::mail::Pull;
use crate::session::relay::Arrived;
use crate::session::{Parting, SessionScene};
use fleet_agent_api::{Notice, Source, TaskEnd, ToAgent};
use fleet_lifecycle::{Exit, Happening, Saved};
use fleet_types::{Epoch, Event, EventBody, LogLine, Tree, Usd};

impl Talk {
    pub(super) async fn log(
        &mut self,
        s: &SessionScene,
        records: Vec<fleet_agent_api::LogRecord>,
    ) -> Result<(), Parting> {
        let Some(last) = records.last().map(|r| r.offset) else { return Ok(()) };
        let events: Vec<Event> = records
            .into_iter()
            .map(|r| Event {
                at: r.at,
                job_id: s.scene.doc.facts.id.clone(),
                body: EventBody::Log(LogLine {
                    epoch: self.epoch,
                    stream: r.stream,
                    node: 0,
                    line: r.line,
                    offset: r.offset,
                }),
            })
            .collect();
        s.journal.write_lines(events).await.map_err(|e| Parting::Lost(e.to_string()))?;
        self.acks.wrote(last, || sync(s));
        self.settle(s).await
    }

    /// Lines are durable: the agent may forget them. What was written meanwhile is synced next.
    pub(super) async fn acknowledge(
        &mut self,
        s: &SessionScene,
        durable: crate::error::Result<u64>,
    ) -> Result<(), Parting> {
        let offset = durable.map_err(|e| Parting::Lost(e.to_string()))?;
        self.acks.go_on(|| sync(s));
        self.say(&ToAgent::LogAck { offset }).await
    }

    pub(super) async fn ready(
        &mut self,
        s: &mut SessionScene,
        invitation: fleet_agent_api::Invitation,
    ) -> Result<(), Parting> {
        let source = invitation.source.clone();
        match self.relay.invited(invitation).await {
            Ok(blobs) if blobs.is_empty() => self.arrived(s, source).await,
            Ok(blobs) => self.say(&ToAgent::Want { source, blobs }).await,
            Err(reason) => self.say(&ToAgent::Declined { source, reason }).await,
        }
    }

    pub(super) async fn arrived(
        &mut self,
        s: &mut SessionScene,
        source: Source,
    ) -> Result<(), Parting> {
        let epoch = self.epoch;
        match self.relay.finish(&source).await {
            Arrived::Partial => Ok(()),
            Arrived::Checkpoint(manifest) => {
                s.scene
                    .tell(Happening::Saved {
                        epoch,
                        saved: Saved {
                            number: manifest.id.number,
                            taken_at: manifest.taken_at,
                            bytes: manifest.tree.size(),
                            files: manifest.tree.entries.len(),
                            egress_usd: Usd::ZERO,
                        },
                    })
                    .await;
                self.say(&ToAgent::Published { source }).await
            }
            Arrived::Output => self.say(&ToAgent::Published { source }).await,
            Arrived::Pulled(request, tree) => {
                self.export(s, request, &tree).await;
                self.say(&ToAgent::Published { source }).await
            }
            Arrived::Failed(why) => Err(Parting::Lost(format!("storing what it sent: {why}"))),
            Arrived::Declined(reason) => {
                note(s, EventBody::CheckpointRefused { epoch, reason: reason.clone() }).await;
                self.say(&ToAgent::Declined { source, reason }).await
            }
        }
    }

    pub(super) async fn pull(&mut self, pull: Pull) -> Result<(), Parting> {
        self.next_pull += 1;
        let (request, path) = (self.next_pull, pull.path.clone());
        self.pulls.insert(request, pull);
        self.say(&ToAgent::Pull { request, path }).await
    }

    async fn export(&mut self, s: &SessionScene, request: u32, tree: &Tree) {
        let Some(dest) = self.pulls.get(&request).map(|p| p.dest.clone()) else { return };
        let store = &s.scene.inner.checkpoints;
        let (store, job, size) = (store.clone(), s.scene.doc.facts.id.clone(), tree.size());
        let tree = tree.clone();
        let done = tokio::task::spawn_blocking(move || store.export_tree(&job, &tree, &dest)).await;
        let answer = match done {
            Ok(Ok(())) => Ok(size),
            Ok(Err(e)) => Err(e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        self.answer_pull(request, answer);
    }

    pub(super) fn answer_pull(&mut self, request: u32, answer: Result<u64, String>) {
        if let Some(pull) = self.pulls.remove(&request)
            && pull.answer.send(answer).is_err()
        {
            tracing::debug!("nobody waits for the pulled files any more");
        }
    }
}

fn sync(s: &SessionScene) -> acks::Sync {
    let journal = s.journal.clone();
    tokio::spawn(async move { journal.sync().await })
}

pub(crate) fn exit(end: &TaskEnd) -> Exit {
    Exit {
        code: end.code.or(end.signal.map(|s| 128 + s)).unwrap_or(1),
        in_setup: end.step == fleet_agent_api::TaskStep::Setup,
        stopped: end.stopped.is_some(),
        done: end.done,
        lost: end.lost,
        at: end.at,
    }
}

pub(super) async fn tell_notice(s: &SessionScene, epoch: Epoch, notice: Notice) {
    // The machine's clock is not ours: what counts is how long it had when it saw the notice.
    let Notice { source, deadline, seen_at } = notice;
    let deadline = s.scene.now().plus(deadline.since(seen_at));
    s.scene.tell(Happening::Notice { epoch, source, deadline }).await;
}

/// An event that belongs to no step.
pub(super) async fn note(s: &SessionScene, body: EventBody) {
    let job = s.scene.doc.facts.id.clone();
    let event = Event { at: s.scene.now(), job_id: job.clone(), body };
    let store = &*s.scene.inner.store;
    if let Err(e) = store.append(vec![event]).await {
        tracing::warn!(%job, "an event is lost: {e}");
    } else if let Err(e) = s.journal.catch_up(&job, store).await {
        tracing::warn!(%job, "the stream lags: {e}");
    }
}
