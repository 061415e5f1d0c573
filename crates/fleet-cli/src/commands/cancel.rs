//! `fleet cancel`: never asks, and is content with a job that has ended.

use crate::args::Cancel;
use crate::context::Context;
use crate::error::{Error, Result};
use fleet_types::PhaseName;
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Cancel) -> Result<u8> {
    let home = context.home()?;
    let p = &context.printer;
    context.block_on(async {
        let client = context.server(&home).await?;
        let ids = match args.all {
            true => {
                let live =
                    client.jobs().await?.into_iter().filter(|j| j.phase != PhaseName::Finished);
                live.map(|j| j.id.to_string()).collect()
            }
            false => args.jobs.clone(),
        };
        let (mut jobs, mut failed) = (Vec::new(), None);
        for id in &ids {
            match client.cancel(id).await {
                Ok(job) => {
                    let state = match job.outcome {
                        Some(outcome) => format!("has ended: {outcome}"),
                        None => "is cancelled; its machine ends in the background".to_owned(),
                    };
                    p.talk(&format!("{} {state}", job.id));
                    jobs.push(job);
                }
                // The others are still to be cancelled.
                Err(e) => {
                    let error = Error::from(e);
                    p.error(&error);
                    failed.get_or_insert(error.exit_code());
                }
            }
        }
        if p.json {
            p.json(&json!({ "jobs": jobs }))?;
        } else if ids.is_empty() {
            p.talk("nothing to cancel");
        }
        Ok(failed.unwrap_or(0))
    })
}
