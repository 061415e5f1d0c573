//! Stopping: teardown derived from what exists, whichever way it was decided.
//!
//! Invariant: no create leaves from here; the job is finished when every machine's terminate was accepted
//! (or its death proven) and no create's outcome is open. Proof of death goes on, on the row.

use crate::{
    Goal, Happening, JobFacts, Phase, RowChange, Turn, phase::launching, phase::recovering, view,
};
use fleet_types::{EndCause, EventBody, Outcome};
use std::time::Duration;

/// Cancel wins in every phase; on an ended job it changes nothing.
pub(crate) fn cancel(turn: &mut Turn<'_>, reason: &str) {
    let goal = Goal {
        outcome: Outcome::Cancelled,
        reason: Some(reason.to_owned()),
        exit_code: None,
        cause: EndCause::Cancelled,
    };
    match &mut turn.state.phase {
        Phase::Finished { .. } => {}
        // Said before: the answer is the same, and a task that saves keeps its time.
        Phase::Stopping { goal: decided, .. } if decided.cause == EndCause::Cancelled => {}
        Phase::Stopping { goal: decided, until, .. } => {
            // A task that has ended keeps its outcome; only the wait for its files is cut short.
            let most = match decided.exit_code {
                Some(_) => turn.now,
                None => {
                    *decided = goal;
                    turn.now.plus(cancel_grace(turn.facts))
                }
            };
            *until = (*until).min(most);
            if *until <= turn.now {
                take_down(turn);
            }
        }
        Phase::Queued
        | Phase::Planning { .. }
        | Phase::Launching { .. }
        | Phase::Connecting { .. }
        | Phase::Preparing { .. }
        | Phase::Running { .. } => {
            turn.emit(EventBody::Cancelling { reason: reason.to_owned() });
            enter(turn, goal);
        }
    }
}

/// Ends the job: a running task may save for its grace, everything else goes at once.
pub(crate) fn enter(turn: &mut Turn<'_>, goal: Goal) {
    let grace = turn.facts.grace();
    let running =
        matches!(turn.state.phase, Phase::Running { .. }) || turn.state.outgoing.is_some();
    let until = match (running, goal.cause) {
        (false, _) => turn.now,
        (true, EndCause::Cancelled) => turn.now.plus(cancel_grace(turn.facts)),
        (true, _) => turn.now.plus(grace + Duration::from_secs(30)),
    };
    begin(turn, goal, until);
}

/// How long a cancelled task may save.
fn cancel_grace(facts: &JobFacts) -> Duration {
    facts.timing().cancel_grace(facts.grace())
}

/// Ends the job after its task ended by itself: checkpoints and outputs come home first.
pub(crate) fn drain(turn: &mut Turn<'_>, goal: Goal) {
    let until = turn.now.plus(turn.facts.timing().drain());
    begin(turn, goal, until);
}

fn begin(turn: &mut Turn<'_>, goal: Goal, until: fleet_types::Timestamp) {
    let in_flight = match &turn.state.phase {
        Phase::Launching { current, .. } => Some(current.clone()),
        Phase::Stopping { in_flight, .. } => in_flight.clone(),
        _ => None,
    };
    // The machine whose task is saving or has ended: the outgoing one's where there is one.
    let saving = turn.state.saving_epoch();
    if let Some(flight) = &in_flight {
        turn.rows.push(RowChange::End(flight.token.clone()));
    }
    turn.state.phase = Phase::Stopping { goal: goal.clone(), in_flight, until };
    let open: Vec<_> =
        turn.state.attempts.iter().filter(|a| a.ended_at.is_none()).map(|a| a.epoch).collect();
    for epoch in open {
        if Some(epoch) == saving {
            turn.name_cause(epoch, goal.cause);
        } else {
            turn.name_cause(epoch, EndCause::Cancelled);
            turn.end_machine(epoch);
        }
    }
    if until <= turn.now {
        take_down(turn);
    }
    advance(turn);
}

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Stopping { in_flight, until, .. } = &mut turn.state.phase else { return };
    let expected = in_flight.as_ref().map(|f| f.offer);
    match happening {
        Happening::Accepted { offer, instance, epoch } if Some(offer) == expected => {
            let flight = in_flight.take();
            if let Some(flight) = flight {
                launching::record(turn, &flight, &instance);
                turn.name_cause(epoch, EndCause::Cancelled);
                launching::bury_stillborn(turn, &instance);
                turn.end_machine(epoch);
            }
        }
        Happening::Refused { offer, refusal, .. } if Some(offer) == expected => {
            let sent_before = in_flight.as_ref().is_some_and(|f| f.sent_before);
            match crate::react(refusal.fault, refusal.scope) {
                crate::Reaction::Settle => lose(turn),
                crate::Reaction::Next { .. } | crate::Reaction::Again { .. } if sent_before => {
                    lose(turn);
                }
                crate::Reaction::Next { .. } | crate::Reaction::Again { .. } => drop_flight(turn),
            }
        }
        Happening::Absent { offer, .. } if Some(offer) == expected => drop_flight(turn),
        Happening::Unresolved { offer, .. } if Some(offer) == expected => lose(turn),
        Happening::Settled { epoch } => turn.end_machine(epoch),
        Happening::Exited { epoch, exit } => crate::phase::running::record(turn, epoch, &exit),
        Happening::Dead { epoch, cause, at } => recovering::bury(turn, epoch, cause, at),
        Happening::Lost { epoch } => turn.end_machine(epoch),
        Happening::Tick if *until <= turn.now => take_down(turn),
        other => launching::stray(turn, &other),
    }
    advance(turn);
}

fn lose(turn: &mut Turn<'_>) {
    let Phase::Stopping { in_flight: Some(flight), .. } = &mut turn.state.phase else { return };
    flight.unresolved = true;
    let token = flight.token.clone();
    turn.rows.push(RowChange::Lose(token));
}

fn drop_flight(turn: &mut Turn<'_>) {
    let Phase::Stopping { in_flight, .. } = &mut turn.state.phase else { return };
    if let Some(flight) = in_flight.take() {
        turn.rows.push(RowChange::Refuse(flight.token));
    }
}

/// Ends every machine that is left.
fn take_down(turn: &mut Turn<'_>) {
    let open: Vec<_> =
        turn.state.attempts.iter().filter(|a| a.ended_at.is_none()).map(|a| a.epoch).collect();
    for epoch in open {
        turn.end_machine(epoch);
    }
}

/// Finishes the job when nothing is left to wait for.
pub(crate) fn advance(turn: &mut Turn<'_>) {
    let Phase::Stopping { goal, in_flight: None, .. } = &turn.state.phase else { return };
    if turn.state.attempts.iter().any(|a| a.ended_at.is_none()) {
        return;
    }
    turn.state.phase = Phase::Finished { goal: goal.clone(), at: turn.now };
    turn.state.outgoing = None;
    let job = Box::new(view(turn.facts, &turn.state, turn.now));
    turn.emit(EventBody::Finished { job });
}
