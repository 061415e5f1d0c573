//! The last words about a job: outcome, time, attempts, money, work lost, and where its files lie.

use super::human::cause_words;
use crate::fit;
use crate::offer_table::Side;
use crate::printer::{Paint, Printer, clean};
use crate::table::Columns;
use fleet_types::{JobView, Outcome, Timestamp, show_duration};

/// Room for id, name and outcome before a reason.
const HEADLINE: usize = 40;

/// Reasons that are spelt out.
const REASONS: usize = 30;

/// The summary of a job that has ended, for stderr.
pub(crate) fn lines(printer: &Printer, job: &JobView) -> Vec<String> {
    let width = printer.width(Side::Err);
    let mut lines = vec![String::new(), headline(printer, job, width)];
    let mut fact = |name: &str, text: String| {
        lines.extend(fit::fact(name, &clean(&text), width));
    };
    let several = job.reason.as_deref().filter(|r| is_spelt_out(r, width)).unwrap_or_default();
    let mut parts = several.split("; ").filter(|p| !p.is_empty());
    for (i, part) in parts.by_ref().take(REASONS).enumerate() {
        fact(if i == 0 { "because" } else { "" }, part.to_owned());
    }
    if let more @ 1.. = parts.count() {
        fact("", format!("... and {more} more: fleet status {} --json", job.id));
    }
    if let Some(end) = job.finished_at {
        fact("wall time", show_duration(end.since(job.created_at)));
    }
    for (i, row) in attempts(job).into_iter().enumerate() {
        fact(if i == 0 { "attempts" } else { "" }, row);
    }
    fact("cost", cost(job));
    let lost: f64 = job.attempts.iter().filter_map(|a| a.lost_work_seconds).sum();
    if job.attempts.len() > 1 || lost > 0.0 {
        fact("lost work", format!("{lost:.1} s"));
    }
    // The two lie in one folder, unless a store of its own was named for one.
    let dirs = [("saved in", &job.checkpoint_dir), ("outputs in", &job.output_dir)];
    let mut shown = None;
    for (name, dir) in dirs {
        if let Some(dir) = dir.as_deref().filter(|d| shown != Some(*d)) {
            fact(name, dir.to_owned());
            shown = Some(dir);
        }
    }
    if shown.is_some() {
        fact("", format!("bring it home: fleet get {}", job.id));
    }
    for alarm in &job.alarms {
        fact("look at", alarm.clone());
    }
    lines
}

/// Whether a reason gets lines of its own: there are several, one for each place, or it is a long one.
fn is_spelt_out(reason: &str, width: Option<usize>) -> bool {
    reason.contains("; ") || width.is_some_and(|w| reason.chars().count() + HEADLINE > w)
}

fn headline(printer: &Printer, job: &JobView, width: Option<usize>) -> String {
    let name = job.name.as_deref().map(|n| format!(" ({})", clean(n))).unwrap_or_default();
    let outcome = job.outcome.map_or_else(|| job.phase.to_string(), |o| o.to_string());
    let paint = match job.outcome {
        Some(Outcome::Succeeded) => Paint::Green,
        Some(Outcome::Failed) => Paint::Red,
        Some(Outcome::Cancelled | Outcome::Stopped) | None => Paint::Yellow,
    };
    let exit = job.exit_code.filter(|c| *c != 0).map(|c| format!(", exit code {c}"));
    let reason = job.reason.as_deref().filter(|r| !is_spelt_out(r, width));
    let reason = reason.map(|r| format!(": {}", clean(r)));
    format!(
        "{}{name} {}{}{}",
        job.id,
        printer.err(paint, &outcome),
        exit.unwrap_or_default(),
        reason.unwrap_or_default()
    )
}

/// One row an attempt: where, how long, what it cost, how it ended.
fn attempts(job: &JobView) -> Vec<String> {
    // One line each: they stand in a column themselves.
    let mut columns =
        Columns::new(&[">#", "PLACE", "MACHINE", "MARKET", ">TIME", ">COST", "END"]).within(None);
    for a in &job.attempts {
        let time = match (a.launched_at, a.ended_at) {
            (Some(from), Some(to)) => show_duration(to.since(from)),
            _ => "-".to_owned(),
        };
        columns.row([
            a.epoch.to_string(),
            format!("{}/{}/{}", a.provider, a.region, a.zone),
            a.instance_type.clone(),
            a.market.to_string(),
            time,
            a.cost_usd.to_string(),
            a.end_cause.map_or("", cause_words).to_owned(),
        ]);
    }
    // The header is for tables that stand alone.
    columns.lines().into_iter().skip(1).collect()
}

fn cost(job: &JobView) -> String {
    match job.on_demand_usd.filter(|u| *u > job.cost_usd) {
        None => job.cost_usd.to_string(),
        Some(on_demand) => {
            let saved = 100.0 * (1.0 - job.cost_usd.dollars() / on_demand.dollars());
            format!("{} ({on_demand} on demand, {saved:.0} % saved)", job.cost_usd)
        }
    }
}

/// Time between two points, the second of which may still be ahead.
pub(crate) fn lasted(from: Timestamp, to: Option<Timestamp>, now: Timestamp) -> String {
    show_duration(to.unwrap_or(now).since(from))
}
