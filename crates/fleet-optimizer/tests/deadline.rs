//! No deadline that on-demand could meet is missed, whatever the trace and the policy; and the optimum
//! is never beaten.

use fleet_optimizer::policy::{Decider, Policy, View, Wish, named};
use fleet_optimizer::simulate::{Case, Checkpoints, Trace, World, optimum, simulate};
use proptest::prelude::*;

const NAMES: [&str; 6] = [
    "default",
    "greedy",
    "uniform-progress",
    "uniform-progress-plain",
    "time-sliced:3",
    "on-demand",
];

/// A policy that wishes anything at all, places that do not exist among it.
#[derive(Debug)]
struct Reckless(u64);

impl Policy for Reckless {
    fn wish(&mut self, view: &View<'_>) -> Wish {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let dice = (self.0 >> 33) as usize;
        match dice % 4 {
            0 => Wish::Idle,
            1 => Wish::OnDemand,
            _ => Wish::Spot(dice / 4 % view.places.len()),
        }
    }
    fn leaves_spot(&self) -> bool {
        true
    }
}

/// Spells of spot, as ticks; very short ones are the adversary's.
fn spells() -> impl Strategy<Value = Vec<bool>> {
    let spell = prop_oneof![3 => 1usize..4, 1 => 1usize..60];
    (proptest::collection::vec(spell, 1..60), any::<bool>()).prop_map(|(lengths, first)| {
        let spell = |(i, n): (usize, usize)| std::iter::repeat_n((i % 2 == 0) == first, n);
        lengths.into_iter().enumerate().flat_map(spell).chain([false]).take(400).collect()
    })
}

prop_compose! {
    fn worlds()(
        spells in proptest::collection::vec(spells(), 1..4),
        gap in prop_oneof![Just(60.0), Just(195.0), Just(600.0), Just(1800.0)],
        price in 0.2f64..2.9,
    ) -> World {
        let ticks = spells.iter().map(Vec::len).max().unwrap_or(1);
        let trace = |(z, mut up): (usize, Vec<bool>)| {
            up.resize(ticks, false);
            Trace::made(&format!("z{z}"), gap, (3.0, price + z as f64 * 0.1), up)
        };
        World::new(spells.into_iter().enumerate().map(trace).collect()).expect("one shape")
    }
}

prop_compose! {
    /// Feasible: from no slack at all to plenty.
    fn cases()(
        work in 0.3f64..12.0,
        overhead in prop_oneof![Just(0.0), 0.01f64..1.2],
        spare in prop_oneof![Just(0.0), 0.0f64..0.5, 0.0f64..8.0],
        migration_cost in prop_oneof![Just(0.0), Just(0.3)],
        blind in any::<bool>(),
    ) -> Case {
        Case {
            start_tick: 0,
            duration_hours: work,
            deadline_hours: work + overhead + spare,
            restart_overhead_hours: overhead,
            migration_cost,
            checkpoints: None,
            blind,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_policy_misses_a_feasible_deadline(world in worlds(), case in cases()) {
        for name in NAMES {
            let out = simulate(&world, &case, named(name).expect("a known policy"));
            prop_assert!(out.deadline_met, "{name} {case:?} {out:?}");
        }
    }

    #[test]
    fn no_wish_can_override_the_guard(world in worlds(), case in cases(), seed in any::<u64>()) {
        let out = simulate(&world, &case, Box::new(Reckless(seed)));
        prop_assert!(out.deadline_met, "{case:?} {out:?}");
    }

    #[test]
    fn lost_work_is_in_the_guards_margin(
        world in worlds(), case in cases(), seed in any::<u64>(),
        interval in 0.1f64..2.0, cost in 0.0f64..0.2, notice in prop_oneof![Just(0.0), Just(900.0)],
    ) {
        let checkpoints =
            Checkpoints { interval_hours: interval, cost_hours: cost, notice_seconds: notice };
        let more = case.duration_hours / checkpoints.rate() - case.duration_hours;
        let deadline_hours = case.deadline_hours + more;
        let case = Case { checkpoints: Some(checkpoints), deadline_hours, ..case };
        for policy in [named("default").expect("known"), Box::new(Reckless(seed))] {
            let out = simulate(&world, &case, policy);
            prop_assert!(out.deadline_met, "{case:?} {out:?}");
        }
    }

    #[test]
    fn nobody_beats_the_optimum(world in worlds(), case in cases()) {
        let case = Case { blind: false, ..case };
        // Units of about 15 s round work and overhead up: the optimum may be dearer by some.
        let slackened = Case { deadline_hours: case.deadline_hours + 0.1, ..case.clone() };
        let best = optimum(&world, &slackened).expect("feasible with on-demand");
        for name in NAMES {
            let out = simulate(&world, &case, named(name).expect("a known policy"));
            let units = 0.02 * f64::from(out.launches + 1);
            prop_assert!(best <= out.cost + units, "{name}: {best} against {out:?}");
        }
    }

    #[test]
    fn the_same_replay_ends_the_same(world in worlds(), case in cases()) {
        let once = simulate(&world, &case, named("default").expect("known"));
        prop_assert_eq!(once, simulate(&world, &case, named("default").expect("known")));
    }
}

#[test]
fn the_decider_is_shared_by_whoever_asks() {
    fn sendable<T: Send>(_: &T) {}
    let decider = Decider::new(named("default").expect("a known policy"));
    sendable(&decider);
    assert!(named("time-sliced:0").is_err() && named("nonsense").is_err());
}
