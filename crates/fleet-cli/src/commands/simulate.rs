//! `fleet simulate`: recorded traces replayed through the policies that production uses.
//!
//! Reads files, hands them to the pure simulator and prints. Invariant: all that is wrong with flags
//! and files is said before the first replay; a file of cases is answered in its order.

use crate::args::Simulate;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::table::Columns;
use fleet_optimizer::policy;
use fleet_optimizer::simulate::{Case, Checkpoints, Outcome, Trace, World, optimum, simulate};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The policy that knows the future.
const OPTIMUM: &str = "optimum";

pub(crate) fn run(context: &Context, args: &Simulate) -> Result<u8> {
    for name in args.policies.iter().filter(|n| *n != OPTIMUM) {
        policy::named(name).map_err(|e| Error::usage(e.to_string()))?;
    }
    match &args.cases {
        Some(file) => batch(context, args, file),
        None => single(context, args),
    }
}

/// One job, as the flags describe it.
fn single(context: &Context, args: &Simulate) -> Result<u8> {
    if args.traces.is_empty() {
        return Err(Error::usage("no trace to replay").hint("name one with --trace FILE"));
    }
    let hours = |flag: Option<f64>| flag.unwrap_or(f64::NAN);
    let case = case(
        args,
        &FileCase {
            start_tick: args.start_tick,
            duration_hours: hours(args.duration_hours),
            deadline_hours: hours(args.deadline_hours),
            restart_overhead_hours: hours(args.restart_overhead_hours),
            migration_cost: args.migration_cost,
            ..FileCase::default()
        },
    )?;
    let world = world(args, &args.traces)?;
    let mut rows = Vec::new();
    for name in &args.policies {
        let result = Replay::of(&world, &case, name)?;
        if context.printer.json {
            let mut value = result.json();
            if args.policies.len() > 1 {
                value["policy"] = json!(name);
            }
            context.printer.json(&value)?;
        }
        rows.push((name, vec![result]));
    }
    table(context, &rows)
}

/// Every case of a file.
fn batch(context: &Context, args: &Simulate, file: &Path) -> Result<u8> {
    let cases: Vec<FileCase> = serde_json::from_str(&read(file)?)
        .map_err(|e| Error::usage(format!("`{}` is no list of cases: {e}", file.display())))?;
    let mut worlds: HashMap<&[PathBuf], World> = HashMap::new();
    for listed in &cases {
        case(args, listed)?;
        if !worlds.contains_key(listed.traces.as_slice()) {
            let paths: Vec<PathBuf> = listed.traces.iter().map(|t| args.root.join(t)).collect();
            worlds.insert(&listed.traces, world(args, &paths)?);
        }
    }
    let mut rows = Vec::new();
    for name in &args.policies {
        let mut results = Vec::new();
        for listed in &cases {
            let result = Replay::of(&worlds[listed.traces.as_slice()], &case(args, listed)?, name)?;
            if context.printer.json {
                let mut value = result.json();
                value["id"] = listed.id.clone();
                if args.policies.len() > 1 {
                    value["policy"] = json!(name);
                }
                context.printer.json(&value)?;
            }
            results.push(result);
        }
        rows.push((name, results));
    }
    table(context, &rows)
}

/// One case of a file; what it leaves out is nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileCase {
    id: Value,
    traces: Vec<PathBuf>,
    start_tick: usize,
    duration_hours: f64,
    deadline_hours: f64,
    restart_overhead_hours: f64,
    migration_cost: f64,
}

/// A case the simulator can take, or what is wrong with it.
fn case(args: &Simulate, listed: &FileCase) -> Result<Case> {
    let above = |name: &str, value: f64, least: f64, strictly: bool| match value.is_finite()
        && (value > least || (value == least && !strictly))
    {
        true => Ok(()),
        false => Err(Error::usage(format!("{name} is {value}; it must be a number above {least}"))),
    };
    above("the duration in hours", listed.duration_hours, 0.0, true)?;
    above("the deadline in hours", listed.deadline_hours, 0.0, true)?;
    above("the restart overhead in hours", listed.restart_overhead_hours, 0.0, false)?;
    above("the migration cost", listed.migration_cost, 0.0, false)?;
    above("the checkpoint cost in hours", args.checkpoint_cost_hours, 0.0, false)?;
    above("the notice in seconds", args.notice_seconds, 0.0, false)?;
    if let Some(interval) = args.checkpoint_interval_hours {
        above("the checkpoint interval in hours", interval, 0.0, true)?;
    }
    Ok(Case {
        start_tick: listed.start_tick,
        duration_hours: listed.duration_hours,
        deadline_hours: listed.deadline_hours,
        restart_overhead_hours: listed.restart_overhead_hours,
        migration_cost: listed.migration_cost,
        checkpoints: args.checkpoint_interval_hours.map(|interval_hours| Checkpoints {
            interval_hours,
            cost_hours: args.checkpoint_cost_hours,
            notice_seconds: args.notice_seconds,
        }),
        blind: args.blind,
    })
}

fn world(args: &Simulate, files: &[PathBuf]) -> Result<World> {
    let mut traces = Vec::new();
    for file in files {
        let mut trace = Trace::parse(&read(file)?)
            .map_err(|e| Error::usage(format!("`{}`: {e}", file.display())))?;
        for (flag, price) in
            [("--on-demand-price", args.on_demand_price), ("--spot-price", args.spot_price)]
        {
            if price.is_some_and(|p| !p.is_finite() || p <= 0.0) {
                return Err(Error::usage(format!("{flag} must be a number above 0")));
            }
        }
        if let Some(price) = args.on_demand_price {
            trace.set_on_demand_price(price);
        }
        if let Some(price) = args.spot_price {
            trace.set_spot_price(price);
        }
        traces.push(trace);
    }
    World::new(traces).map_err(|e| Error::usage(e.to_string()))
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file)
        .map_err(|e| Error::usage(format!("cannot read `{}`: {e}", file.display())))
}

/// What came of one case.
#[derive(Clone, Copy)]
enum Replay {
    Policy(Outcome),
    /// The cost alone; none where the deadline cannot be met.
    Optimum(Option<f64>),
}

impl Replay {
    fn of(world: &World, case: &Case, name: &str) -> Result<Self> {
        if name == OPTIMUM {
            return Ok(Self::Optimum(optimum(world, case)));
        }
        let policy = policy::named(name).map_err(|e| Error::usage(e.to_string()))?;
        Ok(Self::Policy(simulate(world, case, policy)))
    }
    fn json(self) -> Value {
        match self {
            Self::Policy(outcome) => json!(outcome),
            Self::Optimum(cost) => json!({"cost": cost, "deadline_met": cost.is_some()}),
        }
    }
}

/// Means over the cases, a line a policy, where people read.
fn table(context: &Context, rows: &[(&String, Vec<Replay>)]) -> Result<u8> {
    if context.printer.json {
        return Ok(0);
    }
    let mut columns = Columns::new(&[
        "POLICY",
        ">CASES",
        ">MISSED",
        ">COST",
        ">SPOT H",
        ">ON-DEMAND H",
        ">OVERHEAD H",
        ">FINISHED H",
        ">PREEMPTIONS",
        ">LAUNCHES",
        ">MIGRATIONS",
    ]);
    for (name, results) in rows {
        let outcomes: Vec<Outcome> = results
            .iter()
            .filter_map(|r| if let Replay::Policy(o) = r { Some(*o) } else { None })
            .collect();
        let costs: Vec<f64> = results
            .iter()
            .filter_map(|r| match r {
                Replay::Policy(o) => Some(o.cost),
                Replay::Optimum(cost) => *cost,
            })
            .collect();
        let missed = results.iter().filter(|r| match r {
            Replay::Policy(o) => !o.deadline_met,
            Replay::Optimum(cost) => cost.is_none(),
        });
        let mean = |of: &dyn Fn(&Outcome) -> f64| match outcomes.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.2}", outcomes.iter().map(of).sum::<f64>() / outcomes.len() as f64),
        };
        columns.row([
            (*name).clone(),
            results.len().to_string(),
            missed.count().to_string(),
            format!("${:.2}", costs.iter().sum::<f64>() / costs.len().max(1) as f64),
            mean(&|o| o.spot_hours),
            mean(&|o| o.on_demand_hours),
            mean(&|o| o.overhead_hours),
            mean(&|o| o.finished_at_hours),
            mean(&|o| f64::from(o.preemptions)),
            mean(&|o| f64::from(o.launches)),
            mean(&|o| f64::from(o.migrations)),
        ]);
    }
    for line in columns.lines() {
        context.printer.data(&crate::printer::clean(&line))?;
    }
    Ok(0)
}
