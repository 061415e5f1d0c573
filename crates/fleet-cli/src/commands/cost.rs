//! `fleet cost`: what jobs have cost, by part, and what the same time would have cost on demand.

use crate::args::Cost;
use crate::commands::status;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::printer::{Paint, clean};
use crate::table::Columns;
use fleet_types::{CostParts, JobView, Timestamp, Usd, parse_duration};
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Cost) -> Result<u8> {
    let since = args.since.as_deref().map(since).transpose()?;
    let home = context.home()?;
    let mut jobs = context.block_on(status::all(context, &home))?;
    jobs.retain(|j| since.is_none_or(|s| j.created_at >= s));
    let parts = jobs.iter().fold(CostParts::default(), |sum, j| add(sum, &j.cost_parts));
    let total: Usd = jobs.iter().map(|j| j.cost_usd).sum();
    let p = &context.printer;
    if p.json {
        let rows: Vec<_> = jobs
            .iter()
            .map(|j| {
                json!({
                    "id": j.id, "name": j.name, "created_at": j.created_at, "outcome": j.outcome,
                    "cost_usd": j.cost_usd, "cost_parts": j.cost_parts, "on_demand_usd": j.on_demand_usd,
                })
            })
            .collect();
        p.json(&json!({ "since": since, "cost_usd": total, "cost_parts": parts, "jobs": rows }))?;
        return Ok(0);
    }
    let mut columns = Columns::new(&[
        "ID",
        "NAME",
        "ACCEPTED",
        ">COMPUTE",
        ">DISK",
        ">NETWORK",
        ">EGRESS",
        ">COST",
        ">ON DEMAND",
    ]);
    for j in &jobs {
        let on_demand = j.on_demand_usd.map_or_else(|| "-".to_owned(), |u| u.to_string());
        let name = clean(j.name.as_deref().unwrap_or("-")).into_owned();
        columns.row(cells(
            j.id.to_string(),
            name,
            j.created_at.to_string(),
            &j.cost_parts,
            j.cost_usd,
            on_demand,
        ));
    }
    let on_demand: Usd = jobs.iter().filter_map(|j| j.on_demand_usd).sum();
    columns.row(cells(
        "total".into(),
        String::new(),
        String::new(),
        &parts,
        total,
        on_demand.to_string(),
    ));
    for (i, line) in columns.lines().into_iter().enumerate() {
        p.data(&if i == 0 { p.out(Paint::Dim, &line) } else { line })?;
    }
    saved(context, &jobs);
    Ok(0)
}

fn cells(
    id: String,
    name: String,
    at: String,
    c: &CostParts,
    total: Usd,
    od: String,
) -> [String; 9] {
    let [compute, disk, network, egress] =
        [c.compute, c.disk, c.network, c.egress_estimated].map(|u| u.to_string());
    [id, name, at, compute, disk, network, egress, total.to_string(), od]
}

fn saved(context: &Context, jobs: &[JobView]) {
    let both = jobs.iter().filter_map(|j| Some((j.cost_usd, j.on_demand_usd?)));
    let (paid, on_demand) =
        both.fold((0.0, 0.0), |(a, b), (c, d)| (a + c.dollars(), b + d.dollars()));
    if on_demand > paid {
        let share = 100.0 * (1.0 - paid / on_demand);
        context.printer.talk(&format!("{share:.0} % less than the same time on demand"));
    }
}

fn add(a: CostParts, b: &CostParts) -> CostParts {
    CostParts {
        compute: a.compute + b.compute,
        disk: a.disk + b.disk,
        network: a.network + b.network,
        egress_estimated: a.egress_estimated + b.egress_estimated,
    }
}

/// `7d`, `2026-01-31` or a full RFC 3339 time.
fn since(text: &str) -> Result<Timestamp> {
    if let Ok(span) = parse_duration(text) {
        return Ok(status::now().minus(span));
    }
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z"))).ok_or_else(
        || {
            Error::usage(format!("--since `{}` is no time", text.escape_debug()))
                .hint("write a span such as 7d, or a date such as 2026-01-31")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_reads_spans_dates_and_times() {
        let day = since("2026-01-31").unwrap();
        assert_eq!(day, since("2026-01-31T00:00:00Z").unwrap());
        assert!(since("1d").unwrap() > day);
        for bad in ["", "yesterday", "2026-13-01", "-1d"] {
            assert_eq!(since(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
