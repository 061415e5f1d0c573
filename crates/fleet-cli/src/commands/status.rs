//! `fleet status`: jobs as a table, one job in full, or both as JSON.

use crate::args::Status;
use crate::context::Context;
use crate::error::Result;
use crate::fit;
use crate::follow::{cause_words, lasted};
use crate::offer_table::Side;
use crate::printer::{Paint, Printer, clean};
use crate::table::Columns;
use fleet_controller::Home;
use fleet_types::{JobView, Outcome, PhaseName, Timestamp};
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Status) -> Result<u8> {
    let home = context.home()?;
    let p = &context.printer;
    let jobs = context.block_on(async {
        match &args.job {
            Some(id) => Ok(vec![context.server(&home).await?.job(id).await?]),
            None => all(context, &home).await,
        }
    })?;
    if p.json {
        p.json(&json!({ "jobs": jobs }))?;
        return Ok(0);
    }
    match (&args.job, jobs.first()) {
        (Some(_), Some(job)) => detail(p, job)?,
        _ => table(p, &jobs)?,
    }
    Ok(0)
}

/// Every job of this home. A home without a database has none, and needs no server to say so.
pub(crate) async fn all(context: &Context, home: &Home) -> Result<Vec<JobView>> {
    let client = context.client(home)?;
    if let Ok(jobs) = client.jobs().await {
        return Ok(jobs);
    }
    if !home.db_path().exists() {
        return Ok(Vec::new());
    }
    Ok(context.server(home).await?.jobs().await?)
}

fn table(p: &Printer, jobs: &[JobView]) -> Result<()> {
    if jobs.is_empty() {
        p.talk("no jobs yet; run one: fleet launch FILE --use-spot");
        return Ok(());
    }
    let now = now();
    let mut columns = Columns::new(&[
        "ID", "NAME", "STATE", "PLACE", "MACHINE", "MARKET", ">TRIES", ">TIME", ">COST",
    ]);
    for job in jobs {
        let last = job.attempts.last();
        let dash = || "-".to_owned();
        columns.row([
            job.id.to_string(),
            job.name.as_deref().map_or_else(dash, |n| clean(n).into_owned()),
            state(job),
            last.map_or_else(dash, |a| format!("{}/{}/{}", a.provider, a.region, a.zone)),
            last.map_or_else(dash, |a| a.instance_type.clone()),
            last.map_or_else(dash, |a| a.market.to_string()),
            job.attempts.len().to_string(),
            lasted(job.created_at, job.finished_at, now),
            job.cost_usd.to_string(),
        ]);
    }
    for (i, line) in columns.lines().into_iter().enumerate() {
        p.data(&if i == 0 { p.out(Paint::Dim, &line) } else { clean(&line).into_owned() })?;
    }
    for job in jobs.iter().filter(|j| j.phase != PhaseName::Finished) {
        for alarm in &job.alarms {
            p.warn(&format!("{}: {}", job.id, clean(alarm)));
        }
    }
    Ok(())
}

fn detail(p: &Printer, job: &JobView) -> Result<()> {
    let paint = match job.outcome {
        Some(Outcome::Succeeded) => Paint::Green,
        Some(Outcome::Failed) => Paint::Red,
        Some(Outcome::Cancelled | Outcome::Stopped) | None => Paint::Yellow,
    };
    let name = job.name.as_deref().map(|n| format!(" ({})", clean(n))).unwrap_or_default();
    p.data(&format!(
        "{}{name}  {}",
        p.out(Paint::Bold, job.id.as_str()),
        p.out(paint, &state(job))
    ))?;
    let parts = &job.cost_parts;
    let facts = [
        ("reason", job.reason.clone()),
        ("exit code", job.exit_code.map(|c| c.to_string())),
        ("accepted", Some(job.created_at.to_string())),
        ("finished", job.finished_at.map(|t| t.to_string())),
        ("ends by", job.expires_at.filter(|_| job.finished_at.is_none()).map(|t| t.to_string())),
        (
            "cost",
            Some(format!(
                "{} (compute {}, disk {}, network {}, egress about {})",
                job.cost_usd, parts.compute, parts.disk, parts.network, parts.egress_estimated
            )),
        ),
        ("on demand", job.on_demand_usd.map(|u| u.to_string())),
        ("workdir", job.workdir_hash.clone()),
        ("group", job.group.clone()),
        ("checkpoints", job.checkpoint_dir.clone()),
        ("outputs", job.output_dir.clone()),
    ];
    for (name, text) in facts {
        if let Some(text) = text {
            let lines = fit::fact(name, &clean(&text), p.width(Side::Out));
            lines.iter().try_for_each(|l| p.data(l))?;
        }
    }
    attempts(p, job)?;
    for alarm in &job.alarms {
        p.warn(&clean(alarm));
    }
    Ok(())
}

fn attempts(p: &Printer, job: &JobView) -> Result<()> {
    if job.attempts.is_empty() {
        return Ok(());
    }
    let now = now();
    let mut columns = Columns::new(&[
        ">#", "PLACE", "MACHINE", "MARKET", ">PRICE/H", "ID", "HOST", ">TIME", ">COST", "END",
    ]);
    for a in &job.attempts {
        columns.row([
            a.epoch.to_string(),
            format!("{}/{}/{}", a.provider, a.region, a.zone),
            a.instance_type.clone(),
            a.market.to_string(),
            a.price_usd_per_hour.to_string(),
            a.instance_id.clone(),
            a.host.clone().unwrap_or_else(|| "-".to_owned()),
            a.launched_at.map_or_else(|| "-".to_owned(), |t| lasted(t, a.ended_at, now)),
            a.cost_usd.to_string(),
            a.end_cause.map_or("", cause_words).to_owned(),
        ]);
    }
    p.data("")?;
    for line in columns.lines() {
        p.data(&clean(&line))?;
    }
    Ok(())
}

/// The outcome of a job that has ended, else its phase.
fn state(job: &JobView) -> String {
    job.outcome.map_or_else(|| job.phase.to_string(), |o| o.to_string())
}

/// The time now, for what is still running.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_millis(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}
