//! `fleet events`: what happened to a job; with `--json` the stream again, log lines too.

use crate::args::Events;
use crate::context::Context;
use crate::error::Result;
use crate::follow::describe;
use crate::offer_table::Side;
use crate::printer::Paint;
use fleet_types::{Event, EventBody, ProviderId};

pub(crate) fn run(context: &Context, args: &Events) -> Result<u8> {
    let home = context.home()?;
    context.block_on(async {
        let client = context.server(&home).await?;
        let job = client.job(&args.job).await?;
        let mut lines = client.stream(job.id.as_str(), false).await?;
        let mut provider = None;
        while let Some(line) = lines.next().await? {
            match context.printer.json {
                true => context.printer.data(&line)?,
                false => print(context, &line, &mut provider)?,
            }
        }
        Ok(0)
    })
}

fn print(context: &Context, line: &str, provider: &mut Option<ProviderId>) -> Result<()> {
    let p = &context.printer;
    let Ok(event) = serde_json::from_str::<Event>(line) else { return Ok(()) };
    let at = event.at.to_string();
    let room = p.width(Side::Out).map(|w| w.saturating_sub(at.len() + 2));
    let lines = match &event.body {
        EventBody::Log(_) => return Ok(()),
        EventBody::Finished { job } => {
            vec![format!("finished: {}", job.outcome.map_or(String::new(), |o| o.to_string()))]
        }
        body => {
            if let EventBody::Launching { place, .. } = body {
                *provider = Some(place.provider);
            }
            describe(p, Side::Out, body, *provider, room)
        }
    };
    for line in lines {
        p.data(&format!("{}  {line}", p.out(Paint::Dim, &at)))?;
    }
    Ok(())
}
