//! `fleet sandbox preempt`: takes machines away as the cloud would.
//!
//! Asks the server which machine a job is on, and never starts one.

use crate::args::Preempt;
use crate::context::Context;
use crate::error::{Error, Result};
use fleet_controller::Home;
use fleet_sandbox::Target;
use fleet_types::parse_duration;
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Preempt) -> Result<u8> {
    let warning = args
        .warning
        .as_deref()
        .map(parse_duration)
        .transpose()
        .map_err(|e| Error::usage(format!("--warning: {e}")))?;
    let home = context.home()?;
    let dir = home.sandbox_dir();
    let state =
        fleet_sandbox::state(&dir).ok_or_else(|| fleet_sandbox::Error::NotRunning(dir.clone()))?;
    let p = &context.printer;
    context.block_on(async {
        let target = match (&args.target.job, &args.target.instance) {
            (Some(job), _) => Target::Instance(machine_of(context, &home, job).await?),
            (None, Some(id)) => Target::Instance(id.clone()),
            (None, None) => Target::All,
        };
        let taken = fleet_sandbox::preempt(&state, &target, warning).await?;
        if p.json {
            p.json(&json!({ "preempted": taken }))?;
            return Ok(0);
        }
        for machine in &taken {
            let told =
                if machine.notice { "was given notice and dies" } else { "dies without a word" };
            p.data(&format!("{} {told} at {}", machine.instance, machine.deadline))?;
        }
        if taken.is_empty() {
            p.talk("no machine is running");
        }
        Ok(0)
    })
}

/// The id of the machine that the job runs on now.
async fn machine_of(context: &Context, home: &Home, job: &str) -> Result<String> {
    let job = context.client(home)?.job(job).await?;
    let live =
        job.attempts.iter().rev().find(|a| a.ended_at.is_none() && !a.instance_id.is_empty());
    live.map(|a| a.instance_id.clone())
        .ok_or_else(|| Error::not_found(format!("job {} has no machine now", job.id)))
}
