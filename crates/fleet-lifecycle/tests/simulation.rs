//! Seeded simulation of the pure core: virtual time, fake clouds, a fake store, a controller that crashes.
//!
//! `FLEET_SIM_SEEDS=100000` plays more seeds; `FLEET_SIM_SEED=42 cargo test -p fleet-lifecycle --test
//! simulation one_seed -- --nocapture` replays one with its trace. The invariants are those of
//! `fleet_lifecycle::invariant` and of `simulation/check.rs`. Deliberately absent: SSH, wires, SQL: the
//! tests of those crates hold them.

mod simulation {
    pub(crate) mod bug;
    pub(crate) mod check;
    pub(crate) mod clocks;
    pub(crate) mod cloud;
    pub(crate) mod controller;
    pub(crate) mod dice;
    pub(crate) mod given;
    pub(crate) mod keeper;
    pub(crate) mod machine;
    pub(crate) mod play;
    pub(crate) mod session;
    pub(crate) mod sim;
    pub(crate) mod store;
    pub(crate) mod work;
}

use fleet_types::Epoch;
use simulation::bug::Bug;
use simulation::dice::{Edge, Kind, Moment};
use simulation::play;
use simulation::sim::{PlannedCrash, Sim, When};

const SEEDS: u64 = 2_500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The trace of a run that violated something, and how to see it again.
fn show(sim: &Sim, what: &str) -> String {
    let trace = sim.trace();
    let tail = trace.len().saturating_sub(120);
    format!("{}\n{what}\n{}", trace[tail..].join("\n"), sim.violations.join("\n"))
}

fn again(seed: u64) -> String {
    let sim = play::swarm(seed, None, true);
    let repeat = format!(
        "FLEET_SIM_SEED={seed} cargo test -p fleet-lifecycle --test simulation one_seed -- --nocapture"
    );
    show(&sim, &repeat)
}

#[test]
fn invariants_hold_whatever_goes_wrong() {
    let total = play::play(0..number("FLEET_SIM_SEEDS").unwrap_or(SEEDS), None, 20);
    if let Some(seed) = total.failed.keys().next() {
        panic!("{}\n{:#?}", again(*seed), total.failed);
    }
    let counts = &total.counts;
    let silent: Vec<_> = Kind::ALL.iter().filter(|k| counts.kinds[**k as usize] == 0).collect();
    assert!(silent.is_empty(), "faults that never fired: {silent:?}");
    for edge in Edge::ALL {
        for moment in Moment::ALL {
            assert!(
                counts.crashes[edge as usize][moment as usize] > 0,
                "no crash at {edge:?} {moment:?}"
            );
        }
    }
    for phase in ["launching", "connecting", "preparing", "setup", "running", "stopping"] {
        assert!(counts.preempted_in.contains_key(phase), "no preemption while {phase}");
    }
    for outcome in ["Succeeded", "Failed", "Cancelled", "Stopped"] {
        assert!(counts.outcomes.contains_key(outcome), "no job ended {outcome}");
    }
}

#[test]
fn one_seed() {
    let Some(seed) = number("FLEET_SIM_SEED") else { return };
    let sim = play::swarm(seed, None, true);
    assert!(sim.violations.is_empty(), "{}", show(&sim, "violated"));
}

/// Every edge, before the call, after it and after its commit; at the first attempt, at a recovery, with a
/// cancel in flight; with tokens and without.
#[test]
fn a_crash_at_every_edge_changes_nothing_in_the_end() {
    for token in [true, false] {
        for when in [When::Fresh, When::Recovery, When::CancelInFlight] {
            for edge in Edge::ALL {
                for moment in Moment::ALL {
                    let crash = PlannedCrash { edge, moment, when };
                    let recovers = when == When::Recovery;
                    let lost = Epoch(if recovers { 2 } else { 1 });
                    let lose = (edge == Edge::Settle).then_some(lost);
                    let sim = play::planned(token, &[crash], lose, recovers);
                    let what = format!("token {token}, {crash:?}");
                    assert!(sim.violations.is_empty(), "{}", show(&sim, &what));
                    assert!(sim.planned.is_empty(), "{what}: it never came\n{}", show(&sim, ""));
                    let outcomes = &sim.dice.counts.outcomes;
                    let succeeds = when != When::CancelInFlight;
                    // A job that is past its task's end when the cancel comes keeps its outcome.
                    let ended = edge == Edge::Terminate;
                    let fine = outcomes.contains_key("Succeeded") && (succeeds || ended)
                        || outcomes.contains_key("Cancelled") && !succeeds;
                    assert!(fine, "{what}: {outcomes:?}\n{}", show(&sim, ""));
                    let least = if recovers { 2 } else { 1 };
                    let made = sim.machines.len();
                    assert!(made <= least + 1, "{what}: {made} machines\n{}", show(&sim, ""));
                }
            }
        }
    }
}

/// A second crash at every edge while the first one is being recovered from.
#[test]
fn two_crashes_at_every_pair_of_edges_change_nothing_in_the_end() {
    let points = || {
        let when = When::Fresh;
        Edge::ALL.into_iter().flat_map(move |edge| {
            Moment::ALL.into_iter().map(move |moment| PlannedCrash { edge, moment, when })
        })
    };
    for token in [true, false] {
        for first in points() {
            for second in points() {
                let sim = play::planned(token, &[first, second], Some(Epoch(1)), true);
                let what = format!("token {token}, {first:?}, {second:?}");
                assert!(sim.violations.is_empty(), "{}", show(&sim, &what));
                let outcomes = &sim.dice.counts.outcomes;
                assert!(outcomes.contains_key("Succeeded"), "{what}: {outcomes:?}");
            }
        }
    }
}

/// Teeth: each planted bug is found, or the checks are worth nothing.
#[test]
fn planted_bugs_are_caught() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let total = play::play(0..number("FLEET_SIM_TEETH").unwrap_or(10_000), Some(bug), 1);
        match total.failed.iter().next() {
            Some((seed, violated)) => {
                println!("{bug:?}: seed {seed} of {}: {violated}", total.runs)
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
