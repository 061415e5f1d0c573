//! A task's setup: people see it as preparing, every rule treats it as a task that has begun.

use super::telling::{Story, exit};
use fleet_lifecycle::{
    Happening, JobState, Phase, Restored, SessionGoal, StopKind, Want, view, wants,
};
use fleet_types::{
    CheckpointId, DeathCause, EndCause, Epoch, EventBody, Outcome, PhaseName, RowState, Usd,
};

const E1: Epoch = Epoch(1);
const E2: Epoch = Epoch(2);

fn in_setup() -> Story {
    let mut s = Story::launched(E1);
    s.ready(E1);
    s.begin(E1);
    s
}

fn shown(s: &Story) -> (PhaseName, Option<String>) {
    let view = view(&s.facts, &s.state, s.now);
    (view.phase, view.reason)
}

fn runs(s: &Story, epoch: Epoch) -> bool {
    wants(None, &s.state).contains(&Want::Session { epoch, goal: SessionGoal::Run })
}

fn notice(s: &Story) -> Happening {
    Happening::Notice { epoch: E1, source: "m".into(), deadline: s.now }
}

#[test]
fn running_begins_when_run_begins() {
    let mut s = Story::launched(E1);
    s.ready(E1);
    let from = CheckpointId { epoch: E1, number: 7 };
    let egress_usd = Usd::from_micros(7);
    let (began, restored) = (s.now, Some(Restored { id: from, bytes: 12, egress_usd }));
    let told = s.told(Happening::Begun { epoch: E1, at: began, restored });
    assert!(matches!(told[..], [EventBody::Restored { number: 7, .. }]), "{told:?}");
    assert_eq!(shown(&s), (PhaseName::Preparing, Some("its setup runs".into())));
    assert!(runs(&s, E1), "its session goes on");
    s.pass(600);
    let ran = s.now;
    let started = Happening::Started { epoch: E1, at: ran, restored: None };
    let told = s.told(started.clone());
    assert!(matches!(told[..], [EventBody::Running { .. }]), "{told:?}");
    assert_eq!(shown(&s), (PhaseName::Running, None));
    let attempt = &s.state.attempts[0];
    assert_eq!((attempt.begun_at, attempt.running_at), (Some(began), Some(ran)));
    // A new connection tells it again.
    s.pass(5);
    assert!(s.told(started).is_empty());
    assert!(s.told(Happening::Begun { epoch: E1, at: s.now, restored: None }).is_empty());
    assert_eq!(s.state.attempts[0].running_at, Some(ran));
    // What its traffic cost is counted once.
    assert_eq!(view(&s.facts, &s.state, s.now).cost_parts.egress_estimated, egress_usd);
}

#[test]
fn a_task_whose_setup_nobody_heard_of_runs() {
    let mut s = Story::launched(E1);
    s.ready(E1);
    s.start(E1);
    assert_eq!(shown(&s).0, PhaseName::Running);
    let attempt = &s.state.attempts[0];
    assert_eq!((attempt.begun_at, attempt.running_at), (Some(s.now), Some(s.now)));
}

#[test]
fn only_the_end_of_the_jobs_time_ends_a_long_setup() {
    let mut s = in_setup();
    s.pass(23 * 3600);
    s.take(Happening::Tick);
    assert_eq!(shown(&s).0, PhaseName::Preparing);
    s.pass(3600);
    s.take(Happening::Tick);
    let Phase::Stopping { goal, .. } = &s.state.phase else { panic!("{:?}", s.state.phase) };
    assert_eq!(goal.cause, EndCause::Deadline);
}

#[test]
fn a_setup_that_fails_fails_the_job_and_its_lines_come_home() {
    let mut s = in_setup();
    let mut failed = exit(9, false, false);
    failed.in_setup = true;
    s.take(Happening::Exited { epoch: E1, exit: failed });
    let Phase::Stopping { goal, .. } = &s.state.phase else { panic!("{:?}", s.state.phase) };
    assert_eq!(goal.reason.as_deref(), Some("setup exited with code 9"));
    assert_eq!((goal.outcome, goal.cause), (Outcome::Failed, EndCause::UserError));
    assert!(runs(&s, E1), "its output is still on its way");
    s.take(Happening::Settled { epoch: E1 });
    s.take(Happening::Released { epoch: E1, at: s.now });
    assert!(s.state.is_finished());
    let attempt = &s.state.attempts[0];
    assert_eq!((attempt.end_cause, attempt.running_at), (Some(EndCause::UserError), None));
    assert_eq!(attempt.lost_work_seconds(s.now), 0.0);
}

#[test]
fn a_machine_taken_or_lost_in_setup_is_waited_for_like_one_that_runs() {
    for blow in [notice, |_: &Story| Happening::Lost { epoch: E1 }] {
        let mut s = in_setup();
        s.take(blow(&s));
        s.plan();
        s.accept(E2, 0);
        s.ready(E2);
        assert!(!runs(&s, E2), "the old setup may still run: {:?}", s.state);
        s.take(Happening::Dead { epoch: E1, cause: DeathCause::ByUser, at: s.now });
        assert!(runs(&s, E2));
        s.begin(E2);
        assert_eq!(shown(&s).0, PhaseName::Recovering);
        s.start(E2);
        assert_eq!(shown(&s).0, PhaseName::Running);
    }
}

#[test]
fn a_death_in_setup_is_named_as_one_in_run() {
    for (cause, named) in [
        (DeathCause::Preempted, EndCause::Preempted),
        (DeathCause::HostFailure, EndCause::HostLost),
        (DeathCause::Unsaid, EndCause::HostLost),
    ] {
        let mut s = in_setup();
        s.take(Happening::Dead { epoch: E1, cause, at: s.now });
        assert_eq!(s.state.attempts[0].end_cause, Some(named), "{cause:?}");
        assert!(matches!(s.state.phase, Phase::Planning { .. }) && s.state.outgoing.is_none());
    }
}

#[test]
fn three_setups_that_were_cut_short_are_no_progress() {
    let mut s = Story::launched(E1);
    for epoch in (1..=3).map(Epoch) {
        s.ready(epoch);
        s.begin(epoch);
        s.take(Happening::Dead { epoch, cause: DeathCause::Preempted, at: s.now });
        if epoch < Epoch(3) {
            s.plan();
            s.accept(epoch.next(), 0);
        }
    }
    let reason = shown(&s).1.unwrap_or_default();
    assert!(s.state.is_finished() || matches!(s.state.phase, Phase::Stopping { .. }));
    assert!(reason.starts_with("no-progress: 3 attempts"), "{reason}");
}

#[test]
fn silence_in_setup_is_shown_and_forgotten() {
    let mut s = in_setup();
    let since = s.now;
    s.take(Happening::Silent { epoch: E1, since });
    assert_eq!(shown(&s), (PhaseName::Preparing, Some(format!("unreachable since {since}"))));
    s.take(Happening::Heard { epoch: E1 });
    assert_eq!(shown(&s).1.as_deref(), Some("its setup runs"));
    s.take(Happening::Silent { epoch: E1, since });
    s.start(E1);
    assert_eq!(shown(&s).1, Some(format!("unreachable since {since}")));
}

#[test]
fn a_cancelled_setup_is_told_to_stop_before_its_machine_ends() {
    let mut s = in_setup();
    s.take(Happening::Cancel { reason: "user".into() });
    let asked = wants(None, &s.state);
    let stop = asked.iter().any(|w| {
        matches!(w, Want::Session { goal: SessionGoal::Stop { kind: StopKind::Cancel, .. }, .. })
    });
    assert!(stop, "{asked:?}");
    assert_eq!(s.rows()[0].state, RowState::Live);
    s.pass(60);
    s.take(Happening::Tick);
    assert!(matches!(s.rows()[0].state, RowState::Ending { .. }));
}

#[test]
fn what_an_older_fleet_stored_is_read() {
    let mut s = Story::running(E1);
    s.state.attempts[0].begun_at = None;
    let mut stored = serde_json::to_value(&s.state).expect("a state is JSON");
    stored["phase"].as_object_mut().expect("a phase").remove("in_setup");
    stored["attempts"][0].as_object_mut().expect("an attempt").remove("begun_at");
    let read: JobState = serde_json::from_value(stored).expect("an older state");
    assert_eq!(read, s.state);
    assert!(read.attempts[0].has_begun());
}
