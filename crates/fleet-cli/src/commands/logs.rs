//! `fleet logs`: what the task printed, and nothing else.

use crate::args::Logs;
use crate::context::Context;
use crate::error::Result;
use fleet_types::{Event, EventBody};
use std::collections::VecDeque;

pub(crate) fn run(context: &Context, args: &Logs) -> Result<u8> {
    let home = context.home()?;
    context.block_on(async {
        let client = context.server(&home).await?;
        let job = client.job(&args.job).await?;
        let now = client.stream(job.id.as_str(), false).await?;
        let seen = match args.tail {
            Some(most) => tail(context, now, most).await?,
            None => all(context, now, 0).await?,
        };
        if args.follow {
            let lines = client.stream(job.id.as_str(), true).await?;
            all(context, lines, seen).await?;
        }
        Ok(0)
    })
}

/// Prints every log line after the first `skip` lines of the stream; returns how many lines it has.
async fn all(context: &Context, mut lines: fleet_api::Lines, skip: usize) -> Result<usize> {
    let mut seen = 0;
    while let Some(line) = lines.next().await? {
        seen += 1;
        if seen > skip {
            print(context, &line)?;
        }
    }
    Ok(seen.max(skip))
}

/// Prints the last `most` log lines of what there is now; returns how many lines the stream has.
async fn tail(context: &Context, mut lines: fleet_api::Lines, most: usize) -> Result<usize> {
    let (mut seen, mut kept) = (0, VecDeque::new());
    while let Some(line) = lines.next().await? {
        seen += 1;
        if is_log(&line) {
            kept.push_back(line);
            if kept.len() > most {
                kept.pop_front();
            }
        }
    }
    kept.iter().try_for_each(|line| print(context, line))?;
    Ok(seen)
}

fn is_log(line: &str) -> bool {
    // Cheap first: the other events are few.
    line.contains("\"log\"") && matches!(parsed(line), Some(EventBody::Log(_)))
}

fn parsed(line: &str) -> Option<EventBody> {
    serde_json::from_str::<Event>(line).ok().map(|e| e.body)
}

fn print(context: &Context, line: &str) -> Result<()> {
    let p = &context.printer;
    match parsed(line) {
        Some(EventBody::Log(_)) if p.json => p.data(line),
        Some(EventBody::Log(log)) => p.data(&p.foreign(&log.line)),
        _ => Ok(()),
    }
}
