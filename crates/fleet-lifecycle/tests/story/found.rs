//! What the simulation has found, one test each, so that a failure names itself.

use super::telling::{Story, exit, refusal};
use fleet_lifecycle::{Happening, JobState, Phase, RowChange, SessionGoal, Want, resumed, wants};
use fleet_types::{DeathCause, EndCause, Epoch, Fault, InstanceState, Outcome, RowState};

const E1: Epoch = Epoch(1);
const E2: Epoch = Epoch(2);

fn runs(state: &JobState, epoch: Epoch) -> bool {
    wants(None, state).contains(&Want::Session { epoch, goal: SessionGoal::Run })
}

/// The start had been ordered; its word comes after the notice's.
#[test]
fn a_task_that_may_have_started_is_waited_for() {
    for blow in [
        Happening::Notice { epoch: E1, source: "m".into(), deadline: crate::given::START },
        Happening::Unfit { epoch: E1, reason: "host key".into() },
        Happening::Lost { epoch: E1 },
    ] {
        let mut s = Story::launched(E1);
        s.ready(E1);
        s.take(blow);
        s.plan();
        s.accept(E2, 0);
        s.ready(E2);
        assert!(!runs(&s.state, E2), "{:?}", s.state.phase);
        s.take(Happening::Released { epoch: E1, at: s.now });
        assert!(!runs(&s.state, E2), "an accepted terminate is no proof");
        s.take(Happening::Dead { epoch: E1, cause: DeathCause::ByUser, at: s.now });
        assert!(runs(&s.state, E2));
    }
}

/// A reconnected agent tells its task's end again while the next create's outcome is open.
#[test]
fn an_end_told_twice_forgets_no_create() {
    let mut s = Story::running(E1);
    s.take(Happening::Notice { epoch: E1, source: "m".into(), deadline: s.now });
    s.plan();
    let done = exit(0, true, true);
    for _ in 0..2 {
        s.take(Happening::Exited { epoch: E1, exit: done.clone() });
    }
    s.take(Happening::Settled { epoch: E1 });
    s.take(Happening::Released { epoch: E1, at: s.now });
    assert!(!s.state.is_finished(), "the create's outcome is open");
    s.take(Happening::Absent { epoch: E2, offer: 0 });
    assert!(s.state.is_finished());
}

/// After a cancel the old task's success does not bring the drain's half hour back.
#[test]
fn a_cancelled_job_stays_cancelled_when_its_old_task_ends() {
    let mut s = Story::running(E1);
    s.take(Happening::Notice { epoch: E1, source: "m".into(), deadline: s.now });
    s.take(Happening::Cancel { reason: "user".into() });
    s.take(Happening::Exited { epoch: E1, exit: exit(0, false, false) });
    let Phase::Stopping { goal, .. } = &s.state.phase else { panic!("{:?}", s.state.phase) };
    assert_eq!(goal.outcome, Outcome::Cancelled);
}

/// Whoever cancels twice gets the same answer, and the task the time that it was promised.
#[test]
fn a_second_cancel_does_not_cut_the_time_to_save() {
    let cancel = || Happening::Cancel { reason: "user".into() };
    let mut s = Story::running(E1);
    s.take(cancel());
    let saving = s.state.clone();
    s.pass(1);
    for _ in 0..2 {
        let said = s.told(cancel());
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(s.state, saving, "the second cancel changed something");
    }
    let ending = |s: &Story| s.rows().iter().any(|r| matches!(r.state, RowState::Ending { .. }));
    assert!(!ending(&s), "its machine was ended while it saves");
    s.pass(3600);
    s.take(Happening::Tick);
    assert!(ending(&s), "its time is over");
}

/// A job stopped by its budget is cancelled: it saves no longer than a cancelled one, and no shorter.
#[test]
fn a_cancel_of_a_job_that_saves_for_another_reason_leaves_the_grace_of_a_cancel() {
    let mut s = Story::running(E1);
    s.now = s.facts.expires_at;
    s.take(Happening::Tick);
    let until = |s: &Story| match &s.state.phase {
        Phase::Stopping { goal, until, .. } => (goal.cause, until.since(s.now)),
        other => panic!("{other:?}"),
    };
    let (cause, limit) = until(&s);
    assert_eq!(cause, EndCause::Deadline);
    s.take(Happening::Cancel { reason: "user".into() });
    let grace = s.facts.timing().cancel_grace(s.facts.grace());
    assert!(std::time::Duration::ZERO < grace && grace < limit, "{grace:?} of {limit:?}");
    assert_eq!(until(&s), (EndCause::Cancelled, grace));
}

/// A task that saves only at the notice makes progress in every epoch.
#[test]
fn what_is_saved_at_the_notice_is_progress() {
    let mut s = Story::running(E1);
    for epoch in (1..=5).map(Epoch) {
        s.take(Happening::Notice { epoch, source: "m".into(), deadline: s.now });
        s.save(epoch, 1);
        s.take(Happening::Exited { epoch, exit: exit(0, true, false) });
        s.take(Happening::Settled { epoch });
        s.plan();
        s.accept(epoch.next(), 0);
        s.ready(epoch.next());
        s.start(epoch.next());
    }
    assert!(matches!(s.state.phase, Phase::Running { .. }), "{:?}", s.state.phase);
}

/// An earlier life's create may be on its way yet: a refusal of the repeated one says nothing about it.
#[test]
fn a_refused_repetition_is_looked_for() {
    for fault in [Fault::Capacity, Fault::Quota, Fault::Auth] {
        let mut s = Story::new();
        s.plan();
        let told = resumed(&s.state, &s.rows(), true);
        assert_eq!(told, [Happening::SentBefore { epoch: E1, offer: 0 }]);
        told.into_iter().for_each(|h| s.take(h));
        s.take(Happening::Refused { epoch: E1, offer: 0, refusal: refusal(fault) });
        assert!(wants(None, &s.state).contains(&Want::Settle { epoch: E1, offer: 0 }), "{fault:?}");
        s.take(Happening::Cancel { reason: "user".into() });
        s.take(Happening::Refused { epoch: E1, offer: 0, refusal: refusal(fault) });
        assert!(!s.state.is_finished(), "{fault:?}");
    }
}

/// Without a token a create that may have been sent is never sent again.
#[test]
fn a_create_without_token_is_looked_for_after_a_restart() {
    let mut s = Story::new();
    s.plan();
    let told = resumed(&s.state, &s.rows(), false);
    assert_eq!(told, [Happening::Unresolved { epoch: E1, offer: 0 }]);
}

/// The row was booked, the job's step was not: after a restart nobody else would tell.
#[test]
fn what_a_row_knows_is_told_after_a_restart() {
    let mut s = Story::launched(E1);
    s.take(Happening::Cancel { reason: "user".into() });
    let mut rows = s.rows();
    let at = s.now;
    rows[0].state = RowState::Gone { at, cause: DeathCause::ByUser };
    rows[0].ended_at = Some(at);
    let told = resumed(&s.state, &rows, true);
    assert_eq!(told, [Happening::Released { epoch: E1, at }]);
    told.into_iter().for_each(|h| s.take(h));
    assert!(s.state.is_finished());
}

/// A machine that was found dead has billed until its death.
#[test]
fn a_stillborn_machine_bills_until_its_death() {
    let mut s = Story::new();
    s.plan();
    let died = s.now.plus(std::time::Duration::from_secs(10));
    let mut machine = s.machine(E1);
    machine.state = InstanceState::Stopped { cause: DeathCause::Preempted };
    machine.ended_at = Some(died);
    s.pass(3600);
    s.take(Happening::Accepted { epoch: E1, offer: 0, instance: Box::new(machine) });
    assert_eq!(s.state.attempts[0].ended_at, Some(died));
}

/// What watched over the old task was killed: that is no failure of the task.
#[test]
fn a_killed_old_task_does_not_fail_the_job() {
    let mut s = Story::running(E1);
    s.take(Happening::Notice { epoch: E1, source: "m".into(), deadline: s.now });
    let mut killed = exit(137, false, false);
    killed.lost = true;
    s.take(Happening::Exited { epoch: E1, exit: killed });
    assert!(matches!(s.state.phase, Phase::Planning { .. }), "{:?}", s.state.phase);
    assert_eq!(s.state.attempts[0].end_cause, Some(EndCause::Preempted));
}

/// Invariant 6: what was accepted is never forgotten.
#[test]
fn a_live_row_cannot_be_refused() {
    let s = Story::launched(E1);
    let row = s.rows().remove(0);
    assert_eq!(row.state, RowState::Live);
    assert_eq!(RowChange::Refuse(row.token.clone()).apply(Some(row), s.now), None);
}

/// The answer of a round that waits already changes nothing.
#[test]
fn a_plan_that_comes_twice_waits_once() {
    let mut s = Story::new();
    let failed = Happening::PlanFailed { round: 0, reason: "down".into(), credentials: false };
    s.take(failed.clone());
    let before = s.state.clone();
    s.pass(5);
    s.take(failed);
    assert_eq!(s.state, before);
}
