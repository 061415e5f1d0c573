//! The order that starts a task on a machine: scripts, environment, signals.

use crate::api::Folders;
use crate::record::JobDoc;
use crate::scene::Scene;
use crate::session::Parting;
use fleet_agent_api::{RunSpec, SignalTarget};
use fleet_spec::SignalTo;
use fleet_types::{Epoch, JobId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The relay is for small things: a home line carries no more in two minutes.
pub(crate) const CHECKPOINT_LIMIT: u64 = 2 << 30;

/// Seconds between two log objects in a job's store.
const LOG_EVERY: f64 = 30.0;
const SHORTEST_LOG: Duration = Duration::from_secs(1);

/// Builds the order. Secrets come from the vault and go to the machine only here.
pub(crate) fn run_spec(scene: &Scene, epoch: Epoch, warning: Duration) -> Result<RunSpec, Parting> {
    let doc = &scene.doc;
    let task = &doc.task;
    let secrets = scene
        .inner
        .vault
        .unseal(&format!("job-{}", doc.facts.id))
        .map_err(|e| Parting::Lost(e.to_string()))?;
    if let Some(name) = task.secrets.keys().find(|name| !secrets.contains_key(*name)) {
        return Err(Parting::Unfit(format!(
            "the value of secret `{name}` is not in the fleet home"
        )));
    }
    let mut env: BTreeMap<String, String> = task.envs.clone();
    env.extend(variables(doc, epoch));
    let checkpoint = &task.checkpoint;
    Ok(RunSpec {
        setup: task.setup.clone(),
        run: task.run.clone().unwrap_or_default(),
        env,
        secrets,
        signal: checkpoint.signal.clone(),
        signal_to: match &checkpoint.signal_to {
            SignalTo::Main => SignalTarget::Main,
            SignalTo::Group => SignalTarget::Group,
            SignalTo::Command(command) => SignalTarget::Command(command.clone()),
        },
        grace_ms: doc.facts.grace_ms,
        quiet_ms: checkpoint.quiet.as_millis() as u64,
        checkpoint_limit: CHECKPOINT_LIMIT,
        to_store: checkpoint.store.is_some(),
        warning_ms: (!warning.is_zero()).then_some(warning.as_millis() as u64),
        log_every_ms: Some(scene.secs(LOG_EVERY).max(SHORTEST_LOG).as_millis() as u64),
    })
}

/// What fleet itself puts into a task's environment, its folders aside: those the agent knows.
pub(crate) fn variables(doc: &JobDoc, epoch: Epoch) -> BTreeMap<String, String> {
    let first = doc.task.resources.alternatives.first();
    let gpus = first
        .and_then(|a| a.accelerator.as_ref())
        .map_or(0, fleet_types::AcceleratorRequest::count);
    let name = doc.facts.name.clone().unwrap_or_else(|| doc.facts.id.to_string());
    let variables = [
        ("FLEET_JOB_ID", doc.facts.id.to_string()),
        ("FLEET_ATTEMPT", epoch.to_string()),
        ("FLEET_NODE_RANK", "0".into()),
        ("FLEET_NODE_IPS", "127.0.0.1".into()),
        ("FLEET_NUM_NODES", "1".into()),
        ("FLEET_NUM_GPUS_PER_NODE", gpus.to_string()),
        ("SKYPILOT_NODE_RANK", "0".into()),
        ("SKYPILOT_NODE_IPS", "127.0.0.1".into()),
        ("SKYPILOT_NUM_NODES", "1".into()),
        ("SKYPILOT_NUM_GPUS_PER_NODE", gpus.to_string()),
        ("SKYPILOT_TASK_ID", format!("fleet-{}-{name}", doc.facts.id)),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Where a job lies on its machine, and the task's variables that hold paths there (docs/specs/agent.md,
/// "Folders").
pub(crate) fn folders(job: &JobId) -> Folders {
    let paths = [
        ("FLEET_CHECKPOINT_DIR", "checkpoint"),
        ("FLEET_OUTPUT_DIR", "output"),
        ("FLEET_DONE_FILE", "done"),
        ("FLEET_PREEMPTION_DEADLINE", "preemption"),
    ];
    Folders {
        base: format!(".fleet/{job}"),
        workdir: "workdir".to_owned(),
        paths: paths.map(|(name, path)| (name.to_owned(), path.to_owned())).into(),
    }
}
