//! The simulator and the baselines against reference results on recorded traces, and the default
//! policy against its own bounds there. The recordings are no part of this repository: without them
//! the tests say so.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use fleet_optimizer::policy::named;
use fleet_optimizer::simulate::{Case, Trace, World, optimum, simulate};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

struct Reference {
    root: PathBuf,
    cases: Vec<Value>,
    expected: Value,
    worlds: HashMap<String, World>,
}

fn reference() -> Option<Reference> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    let (Some(cases), Some(expected)) = (read("cases_train.json"), read("expected_train.json"))
    else {
        eprintln!("SKIPPED: no recorded traces in {}", root.display());
        return None;
    };
    Some(Reference {
        cases: serde_json::from_str(&cases).expect("a list of cases"),
        expected: serde_json::from_str(&expected).expect("results by policy"),
        worlds: HashMap::new(),
        root,
    })
}

impl Reference {
    fn world(&mut self, listed: &Value) -> &World {
        let root = &self.root;
        self.worlds.entry(listed["traces"].to_string()).or_insert_with(|| {
            let files = listed["traces"].as_array().expect("a list of traces");
            let trace = |file: &Value| {
                let path = root.join(file.as_str().expect("a path"));
                let text = std::fs::read_to_string(&path).expect("a trace that is there");
                Trace::parse(&text).expect("a good trace")
            };
            World::new(files.iter().map(trace).collect()).expect("traces of one shape")
        })
    }
}

fn case(listed: &Value, blind: bool) -> Case {
    let hours = |name: &str| listed[name].as_f64().expect("a number");
    Case {
        start_tick: hours("start_tick") as usize,
        duration_hours: hours("duration_hours"),
        deadline_hours: hours("deadline_hours"),
        restart_overhead_hours: hours("restart_overhead_hours"),
        migration_cost: hours("migration_cost"),
        checkpoints: None,
        blind,
    }
}

#[test]
fn every_baseline_agrees_with_the_reference() {
    let Some(mut reference) = reference() else { return };
    let names =
        ["on-demand", "greedy", "time-sliced:8", "uniform-progress", "uniform-progress-plain"];
    for listed in reference.cases.clone() {
        let case = case(&listed, false);
        for name in names {
            let policy = named(name).expect("a known policy");
            let out = simulate(reference.world(&listed), &case, policy);
            let wanted = &reference.expected[name][listed["id"].to_string()];
            let cost = wanted["cost"].as_f64().expect("a cost");
            assert!((out.cost / cost - 1.0).abs() < 1e-6, "{name} {listed}: {out:?}");
            assert_eq!(Some(u64::from(out.launches)), wanted["launches"].as_u64());
            assert_eq!(Some(u64::from(out.preemptions)), wanted["preemptions"].as_u64());
            assert_eq!(Some(out.deadline_met), wanted["deadline_met"].as_bool());
        }
    }
}

#[test]
fn the_optimum_agrees_with_the_reference() {
    let Some(mut reference) = reference() else { return };
    for listed in reference.cases.clone().iter().step_by(37) {
        let cost = optimum(reference.world(listed), &case(listed, false)).expect("a feasible case");
        let wanted = reference.expected["optimum"][listed["id"].to_string()]["cost"].as_f64();
        assert!((cost / wanted.expect("a cost") - 1.0).abs() < 1e-6, "{listed}: {cost}");
    }
}

/// Sighted and blind, on every 24th case: no deadline missed, below the cost of Uniform Progress, and
/// within what blindness may cost.
#[test]
fn the_default_beats_uniform_progress_and_misses_nothing() {
    let Some(mut reference) = reference() else { return };
    let (mut ours, mut blind, mut theirs) = (0.0, 0.0, 0.0);
    for listed in reference.cases.clone().iter().step_by(24) {
        let id = listed["id"].to_string();
        let best = reference.expected["optimum"][&id]["cost"].as_f64().expect("a cost");
        theirs +=
            reference.expected["uniform-progress"][&id]["cost"].as_f64().expect("a cost") / best;
        for (unseen, sum) in [(false, &mut ours), (true, &mut blind)] {
            let policy = named("default").expect("a known policy");
            let out = simulate(reference.world(listed), &case(listed, unseen), policy);
            assert!(out.deadline_met, "{listed}: {out:?}");
            *sum += out.cost / best;
        }
    }
    assert!(ours < 0.97 * theirs, "{ours} against {theirs}");
    assert!(blind < 1.08 * ours, "{blind} blind against {ours}");
}
