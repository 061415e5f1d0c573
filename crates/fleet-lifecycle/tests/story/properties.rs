//! Properties of the step for any story, however unlikely: it can always be ended, and a report that comes
//! twice changes nothing the second time.
//!
//! Left out of the second: a refusal (one create is tried several times under one number) and a cancel
//! (the second one means: do not wait for the save).

use super::telling::{Story, exit, refusal};
use fleet_lifecycle::{Happening, Phase, Saved, SessionGoal, Want, invariant, wants};
use fleet_types::{DeathCause, Epoch, Fault, RowState, Usd};
use proptest::prelude::*;

const KINDS: usize = 24;

fn runs(epoch: Epoch) -> Want {
    Want::Session { epoch, goal: SessionGoal::Run }
}

/// A report that the edges could make now, of the newest or an older epoch.
fn report(s: &Story, kind: usize, n: u8) -> Happening {
    let back = u32::from(n.is_multiple_of(4));
    let epoch = Epoch(s.state.epoch.0.saturating_sub(back).max(1));
    let offer = match &s.state.phase {
        Phase::Launching { current, .. } => current.offer,
        Phase::Stopping { in_flight: Some(f), .. } => f.offer,
        _ => 0,
    };
    let (at, reason) = (s.now, "r".to_owned());
    let code = i32::from(n % 3);
    match kind {
        0 => {
            let Phase::Planning { round, .. } = s.state.phase else { return Happening::Tick };
            let places = if n.is_multiple_of(5) { Vec::new() } else { Story::places() };
            Happening::Planned { round, places, rejected: 0, reasons: Vec::new() }
        }
        1 => Happening::PlanFailed {
            round: u32::from(n % 2),
            reason,
            credentials: n.is_multiple_of(7),
        },
        2..=4 => Happening::Accepted { epoch, offer, instance: Box::new(s.machine(epoch)) },
        5 => {
            let fault = Fault::ALL[usize::from(n) % Fault::ALL.len()];
            Happening::Refused { epoch, offer, refusal: refusal(fault) }
        }
        6 => Happening::Unresolved { epoch, offer },
        7 => Happening::Absent { epoch, offer },
        8 | 9 => Happening::Connected { epoch, host: "h".into() },
        10 | 11 => Happening::Prepared { epoch },
        // A task starts only where its start was wanted.
        12 | 13 if wants(None, &s.state).contains(&runs(epoch)) => {
            Happening::Started { epoch, at, restored: None }
        }
        22 | 23 if wants(None, &s.state).contains(&runs(epoch)) => {
            Happening::Begun { epoch, at, restored: None }
        }
        14 => Happening::Notice { epoch, source: "m".into(), deadline: at },
        15 => {
            let (number, egress_usd) = (u32::from(n), Usd::ZERO);
            let saved = Saved { number, taken_at: at, bytes: 1, files: 1, egress_usd };
            Happening::Saved { epoch, saved }
        }
        16 => {
            Happening::Exited { epoch, exit: exit(code, n.is_multiple_of(2), n.is_multiple_of(11)) }
        }
        17 => Happening::Settled { epoch },
        18 => Happening::Lost { epoch },
        19 => Happening::Dead { epoch, cause: DeathCause::Preempted, at },
        20 => match s.rows.values().find(|r| matches!(r.state, RowState::Ending { .. })) {
            Some(row) => Happening::Released { epoch: row.epoch, at },
            None => Happening::Tick,
        },
        _ if n < 8 => Happening::Cancel { reason },
        _ => Happening::Tick,
    }
}

fn tell(steps: &[(usize, u8, u64)], check: impl Fn(&mut Story, Happening)) -> Story {
    let mut s = Story::new();
    s.facts.max_restarts = 1;
    for (kind, n, wait) in steps {
        s.pass(*wait);
        let happening = report(&s, *kind, *n);
        check(&mut s, happening);
        let violated = invariant::violations(&s.state, &s.rows());
        assert!(violated.is_empty(), "{violated:?} in {:?}", s.state);
    }
    s
}

fn steps() -> impl Strategy<Value = Vec<(usize, u8, u64)>> {
    prop::collection::vec((0..KINDS, any::<u8>(), 0_u64..400), 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_story_can_be_ended(steps in steps()) {
        let mut s = tell(&steps, Story::take);
        s.take(Happening::Cancel { reason: "enough".into() });
        for offer in 0..64 {
            s.take(Happening::Absent { epoch: s.state.epoch, offer });
        }
        s.pass(7200);
        s.take(Happening::Tick);
        let epochs: Vec<_> = s.state.attempts.iter().map(|a| a.epoch).collect();
        for epoch in epochs {
            s.take(Happening::Released { epoch, at: s.now });
        }
        prop_assert!(s.state.is_finished(), "{:?}", s.state.phase);
        prop_assert!(wants(None, &s.state).is_empty());
        let ended = s.state.clone();
        s.take(Happening::Tick);
        s.take(Happening::Cancel { reason: "again".into() });
        prop_assert_eq!(&s.state, &ended);
    }

    #[test]
    fn a_report_that_comes_twice_changes_nothing_the_second_time(steps in steps()) {
        tell(&steps, |s, happening| {
            s.take(happening.clone());
            if matches!(happening, Happening::Refused { .. } | Happening::Cancel { .. }) {
                return;
            }
            let (state, rows) = (s.state.clone(), s.rows());
            let shown = format!("{happening:?}");
            let events = s.told(happening);
            assert_eq!(s.state, state, "{shown}");
            assert_eq!(s.rows(), rows, "{shown}");
            assert!(events.is_empty(), "{shown}: {events:?}");
        });
    }
}
