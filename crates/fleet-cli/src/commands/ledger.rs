//! `fleet sandbox ledger`: the sandbox's own books; after `down`, those of the last run.

use crate::context::Context;
use crate::error::Result;
use crate::printer::clean;
use crate::table::Columns;
use serde_json::Value;

pub(crate) fn run(context: &Context) -> Result<u8> {
    let home = context.home()?;
    let ledger =
        context.block_on(async { Ok(fleet_sandbox::ledger(&home.sandbox_dir()).await?) })?;
    let p = &context.printer;
    if p.json {
        p.json(&ledger)?;
        return Ok(0);
    }
    let mut columns = Columns::new(&[
        "CLOUD", "PLACE", "MACHINE", "MARKET", "ID", "STARTED", "ENDED", "CAUSE", ">COST",
    ]);
    let (mut total, mut alive) = (0.0, 0);
    for row in rows(&ledger, "instances") {
        let cost = row["cost_usd"].as_f64().unwrap_or(0.0);
        total += cost;
        alive += usize::from(row["ended_at"].is_null());
        let place = format!("{}/{}", text(&row["region"]), text(&row["zone"]));
        let mut cells = vec![text(&row["provider"]), place];
        let names = ["instance_type", "market", "id", "started_at", "ended_at", "end_cause"];
        cells.extend(names.iter().map(|n| text(&row[*n])));
        cells.push(format!("${cost:.5}"));
        columns.row(cells);
    }
    for line in columns.lines() {
        p.data(&clean(&line))?;
    }
    let other: f64 = rows(&ledger, "resources").filter_map(|r| r["cost_usd"].as_f64()).sum();
    p.talk(&format!("${total:.5} for machines, ${other:.5} for the rest; {alive} alive"));
    Ok(0)
}

fn rows<'a>(ledger: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    ledger[name].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
