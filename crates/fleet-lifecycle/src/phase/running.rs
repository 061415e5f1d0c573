//! Running: the task works, its setup included. What happens at a preemption starts here and goes on in
//! `recovering`.
//!
//! Invariant 16: a task that is in its setup has begun; whatever befalls it then is treated as in `run`.

use crate::{Exit, Goal, Happening, Phase, Restored, Turn, phase::recovering, phase::stopping};
use fleet_types::{EndCause, Epoch, EventBody, Outcome, Timestamp};
use std::time::Duration;

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    match happening {
        Happening::Notice { epoch, source, deadline } => {
            notice(turn, epoch, source, deadline);
            turn.recover(EndCause::Preempted, deadline, false);
        }
        Happening::Started { epoch, at, restored } => {
            tell_restored(turn, epoch, restored);
            run(turn, epoch, at);
        }
        Happening::Exited { epoch, exit } => exited(turn, epoch, exit),
        Happening::Dead { epoch, cause, at } => {
            recovering::bury(turn, epoch, cause, at);
            let cause = recovering::named(cause, EndCause::HostLost);
            turn.recover(cause, turn.now, true);
        }
        Happening::Silent { epoch, since } => {
            if let Phase::Running { silent_since: silent @ None, .. } = &mut turn.state.phase {
                *silent = Some(since);
                turn.emit(EventBody::Unreachable { epoch, since });
            }
        }
        Happening::Heard { epoch } => {
            if let Phase::Running { silent_since: silent @ Some(_), .. } = &mut turn.state.phase {
                *silent = None;
                turn.emit(EventBody::Reachable { epoch });
            }
        }
        Happening::Lost { epoch } => {
            // Only the cloud's word proves the task dead: end the machine and wait for that word.
            turn.recover(EndCause::HostLost, turn.now, false);
            recovering::give_up(turn, epoch);
        }
        _ => {}
    }
}

/// The task has begun, with its setup until `run` says otherwise.
pub(crate) fn begin(turn: &mut Turn<'_>, epoch: Epoch, at: Timestamp, restored: Option<Restored>) {
    tell_restored(turn, epoch, restored);
    if let Some(attempt) = turn.attempt_mut(epoch) {
        attempt.begun_at.get_or_insert(at);
    }
    turn.state.stillborn = 0;
    turn.state.phase = Phase::Running { in_setup: true, silent_since: None };
}

/// The task's `run` has begun; told twice, it began once.
pub(crate) fn run(turn: &mut Turn<'_>, epoch: Epoch, at: Timestamp) {
    let Phase::Running { in_setup: setup @ true, .. } = &mut turn.state.phase else { return };
    *setup = false;
    if let Some(attempt) = turn.attempt_mut(epoch) {
        attempt.running_at = Some(at);
    }
    turn.emit(EventBody::Running { epoch });
}

fn tell_restored(turn: &mut Turn<'_>, epoch: Epoch, restored: Option<Restored>) {
    if let Some(Restored { id, bytes, egress_usd }) = restored {
        if let Some(attempt) = turn.attempt_mut(epoch) {
            attempt.egress_usd += egress_usd;
        }
        let (from_epoch, number) = (id.epoch, id.number);
        turn.emit(EventBody::Restored { epoch, from_epoch, number, bytes });
    }
}

/// Records and tells a notice.
pub(crate) fn notice(turn: &mut Turn<'_>, epoch: Epoch, source: String, deadline: Timestamp) {
    if let Some(attempt) = turn.attempt_mut(epoch) {
        attempt.notice_until = Some(deadline);
    }
    let warning_seconds = deadline.since(turn.now).as_secs_f64();
    turn.emit(EventBody::Notice { epoch, source, deadline, warning_seconds });
}

fn exited(turn: &mut Turn<'_>, epoch: Epoch, exit: Exit) {
    record(turn, epoch, &exit);
    if exit.done || (exit.code == 0 && !exit.stopped) {
        return succeeded(turn, &exit);
    }
    if exit.stopped {
        // The agent acted on a notice whose word has not reached us.
        return turn.recover(EndCause::Preempted, turn.now.plus(Duration::from_secs(60)), false);
    }
    if exit.lost {
        let until = turn.now.plus(turn.facts.timing().drain());
        return turn.recover(EndCause::HostLost, until, false);
    }
    failed(turn, &exit);
}

/// Keeps what is known of a task's end.
pub(crate) fn record(turn: &mut Turn<'_>, epoch: Epoch, exit: &Exit) {
    if let Some(attempt) = turn.attempt_mut(epoch) {
        attempt.exit_code = Some(exit.code);
        attempt.work_ended_at = Some(exit.at);
    }
}

/// The task did what it was for; what it left is brought home, then everything is taken down.
pub(crate) fn succeeded(turn: &mut Turn<'_>, exit: &Exit) {
    let goal = Goal {
        outcome: Outcome::Succeeded,
        reason: None,
        exit_code: Some(exit.code),
        cause: EndCause::Done,
    };
    stopping::drain(turn, goal);
}

/// The task failed by itself.
pub(crate) fn failed(turn: &mut Turn<'_>, exit: &Exit) {
    let recoverable = turn.facts.recover_codes.contains(&exit.code);
    if recoverable || turn.state.restarts < turn.facts.max_restarts {
        if !recoverable {
            turn.state.restarts += 1;
        }
        let until = turn.now.plus(turn.facts.timing().drain());
        return turn.recover(EndCause::UserError, until, false);
    }
    let step = if exit.in_setup { "setup" } else { "the task" };
    let goal = Goal {
        outcome: Outcome::Failed,
        reason: Some(format!("{step} exited with code {}", exit.code)),
        exit_code: Some(exit.code),
        cause: EndCause::UserError,
    };
    stopping::drain(turn, goal);
}
