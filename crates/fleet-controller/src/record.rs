//! The document that a job is accepted as: facts, task and frozen files. Never changed after.

use crate::api::{MountSnapshot, TaskSubmission};
use fleet_lifecycle::{JobFacts, JobState, view};
use fleet_spec::Task;
use fleet_store::JobRecord;
use fleet_types::{JobView, Timestamp};
use serde::{Deserialize, Serialize};

/// What was accepted. Secrets' values are sealed in the vault under the job's id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobDoc {
    /// Version of this document: 1.
    pub version: u32,
    pub facts: JobFacts,
    pub task: Task,
    pub workdir: Option<String>,
    pub mounts: Vec<MountSnapshot>,
}

impl JobDoc {
    /// The document of a submitted task.
    pub(crate) fn new(facts: JobFacts, submission: &TaskSubmission) -> Self {
        Self {
            version: 1,
            facts,
            task: submission.task.clone(),
            workdir: submission.workdir.clone(),
            mounts: submission.mounts.clone(),
        }
    }
}

/// Reads a stored job.
pub(crate) fn read(record: &JobRecord) -> crate::error::Result<(JobDoc, JobState)> {
    let odd = |e: serde_json::Error| crate::error::Error::internal("reading a stored job", e);
    let doc = serde_json::from_value(record.spec.clone()).map_err(odd)?;
    let state = serde_json::from_value(record.state.clone()).map_err(odd)?;
    Ok((doc, state))
}

/// The outside view of a stored job.
pub(crate) fn view_of(
    home: &crate::Home,
    doc: &JobDoc,
    state: &JobState,
    now: Timestamp,
) -> JobView {
    let mut out = view(&doc.facts, state, now);
    let checkpoints = home.checkpoints_dir().join(doc.facts.id.as_str());
    if state.checkpoint.is_some() {
        out.checkpoint_dir = Some(checkpoints.display().to_string());
    }
    let output = checkpoints.join("output.json");
    if output.exists() {
        out.output_dir = Some(checkpoints.display().to_string());
    }
    out
}
