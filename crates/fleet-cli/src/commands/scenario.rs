//! `fleet sandbox scenario`: lists the built-in scenarios, or prints one as a file to start from.

use crate::args::Scenario;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::table::Columns;
use serde_json::json;

pub(crate) fn run(context: &Context, args: &Scenario) -> Result<u8> {
    let p = &context.printer;
    if let Some(name) = &args.name {
        let scenario = fleet_sandbox::builtin(name)
            .ok_or_else(|| Error::from(fleet_sandbox::Error::UnknownScenario(name.clone())))?;
        let text = serde_json::to_string_pretty(&scenario)
            .map_err(|e| Error::internal(format!("a scenario is no JSON: {e}")))?;
        p.data(&text)?;
        return Ok(0);
    }
    let all: Vec<_> = fleet_sandbox::names()
        .iter()
        .filter_map(|n| Some((*n, fleet_sandbox::builtin(n)?)))
        .collect();
    if p.json {
        let rows: Vec<_> =
            all.iter().map(|(n, s)| json!({ "name": n, "description": s.description })).collect();
        p.json(&json!({ "scenarios": rows }))?;
        return Ok(0);
    }
    let mut columns = Columns::new(&["NAME", "WHAT HAPPENS"]);
    for (name, scenario) in &all {
        columns.row([*name, scenario.description.as_str()]);
    }
    columns.lines().iter().try_for_each(|l| p.data(l))?;
    Ok(0)
}
