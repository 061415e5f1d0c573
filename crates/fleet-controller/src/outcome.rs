//! What a machine wrote of its task's end, read before its death is acted on.
//!
//! Invariant (BKT-7): a task that ended while nobody was in contact is not run a second time and its result
//! is not lost. A store that cannot be asked is asked again, aloud; it is never taken for an empty one.

use crate::scene::Scene;
use crate::stores;
use fleet_agent_api::{OutcomeRecord, TaskStep};
use fleet_lifecycle::{Happening, Saved};
use fleet_storage::{BucketCheckpoints, CheckpointStore};
use fleet_types::{Epoch, Event, EventBody, LogLine, Usd};
use futures_util::TryStreamExt;
use std::time::Duration;

/// How the alarm about it begins.
const ALARM: &str = "store:";

/// Reads what the epoch left in the job's store, and tells it. Nothing where the job has none.
pub(crate) async fn tell(scene: &Scene, epoch: Epoch, journal: &crate::journal::Journal) {
    if scene.doc.task.checkpoint.store.is_none() {
        return;
    }
    let mut pause = Duration::from_secs(1);
    loop {
        match read(scene, epoch, journal).await {
            Ok(()) => return scene.inner.calm(&scene.doc.facts.id, ALARM),
            Err(why) => {
                let text = format!(
                    "{ALARM} whether the task had ended cannot be read, so nothing is started: {why}"
                );
                if scene.inner.raise(&scene.doc.facts.id, &text) {
                    tracing::warn!(job = %scene.doc.facts.id, "{text}");
                }
            }
        }
        if let Some(uri) = &scene.doc.task.checkpoint.store {
            scene.inner.stores.forget(&scene.doc.facts.realm, uri).await;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

async fn read(
    scene: &Scene,
    epoch: Epoch,
    journal: &crate::journal::Journal,
) -> Result<(), String> {
    let Some(bucket) = stores::of(&scene.inner, &scene.doc).await.map_err(|e| e.to_string())?
    else {
        return Ok(());
    };
    let checkpoints = bucket.checkpoints();
    let job = &scene.doc.facts.id;
    let say = |e: fleet_storage::Error| e.to_string();
    tell_saved(scene, epoch, &checkpoints).await?;
    bring_logs(scene, epoch, &checkpoints, journal).await?;
    if let Some(record) = checkpoints.outcome(job, epoch).await.map_err(say)? {
        tell_end(scene, &record).await;
    }
    Ok(())
}

/// Checkpoints that it published while nobody listened.
async fn tell_saved(
    scene: &Scene,
    epoch: Epoch,
    checkpoints: &BucketCheckpoints,
) -> Result<(), String> {
    let newest = checkpoints.newest(&scene.doc.facts.id).await.map_err(|e| e.to_string())?;
    if let Some(manifest) = newest.filter(|m| m.id.epoch == epoch) {
        let saved = Saved {
            number: manifest.id.number,
            taken_at: manifest.taken_at,
            bytes: manifest.tree.size(),
            files: manifest.tree.entries.len(),
            // What had to be sent is not in the manifest.
            egress_usd: Usd::ZERO,
        };
        scene.tell(Happening::Saved { epoch, saved }).await;
    }
    Ok(())
}

/// Lines that did not come over the connection.
async fn bring_logs(
    scene: &Scene,
    epoch: Epoch,
    checkpoints: &BucketCheckpoints,
    journal: &crate::journal::Journal,
) -> Result<(), String> {
    let job = &scene.doc.facts.id;
    let say = |e: fleet_storage::Error| e.to_string();
    let from = journal.log_offset(epoch).await;
    let records = checkpoints.logs(job, epoch, from).await.map_err(say)?;
    let mut batches = records.try_chunks(512);
    while let Some(batch) = batches.try_next().await.map_err(|e| e.1.to_string())? {
        let events: Vec<Event> = batch
            .into_iter()
            .map(|r| Event {
                at: r.at,
                job_id: job.clone(),
                body: EventBody::Log(LogLine {
                    epoch,
                    stream: r.stream,
                    node: 0,
                    line: r.line,
                    offset: r.offset,
                }),
            })
            .collect();
        journal.write_lines(events).await.map_err(|e| e.to_string())?;
    }
    journal.sync().await.map_err(|e| e.to_string())
}

async fn tell_end(scene: &Scene, record: &OutcomeRecord) {
    let (epoch, end) = (record.epoch, &record.end);
    let told = match end.step {
        TaskStep::Setup => Happening::Begun { epoch, at: end.at, restored: None },
        TaskStep::Run => Happening::Started { epoch, at: end.at, restored: None },
    };
    scene.tell(told).await;
    scene.tell(Happening::Exited { epoch, exit: crate::session::exit(end) }).await;
    scene.tell(Happening::Settled { epoch }).await;
}
