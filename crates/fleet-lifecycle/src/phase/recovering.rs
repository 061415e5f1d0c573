//! Recovering: the older epoch's task winds down while the newer one's machine is made ready.
//!
//! Invariant 16: the older epoch is let go only when its agent has confirmed that no process of the task
//! is left and its last checkpoint is published (`Settled`), or when its death is proven (`Dead`).

use crate::{Exit, Happening, Phase, RowChange, Turn, phase::running};
use fleet_types::{DeathCause, EndCause, Epoch, Timestamp};

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    match happening {
        Happening::Exited { epoch, exit } => exited(turn, epoch, &exit),
        // It had been told to start when the machine was given up; the word comes late.
        Happening::Begun { epoch, at, .. } => {
            if let Some(attempt) = turn.attempt_mut(epoch) {
                attempt.begun_at.get_or_insert(at);
            }
        }
        Happening::Started { epoch, at, .. } => {
            if let Some(attempt) = turn.attempt_mut(epoch) {
                attempt.begun_at.get_or_insert(at);
                attempt.running_at.get_or_insert(at);
            }
        }
        Happening::Settled { epoch } => {
            turn.end_machine(epoch);
            let_go(turn, epoch);
        }
        Happening::Dead { epoch, cause, at } => {
            bury(turn, epoch, cause, at);
            let_go(turn, epoch);
        }
        Happening::Notice { epoch, source, deadline } => {
            let told = turn.state.attempt(epoch).is_some_and(|a| a.notice_until.is_some());
            if !told {
                running::notice(turn, epoch, source, deadline);
            }
        }
        Happening::Lost { epoch } => give_up(turn, epoch),
        _ => {}
    }
}

/// Nothing of the older task is left.
fn let_go(turn: &mut Turn<'_>, epoch: Epoch) {
    turn.state.outgoing = None;
    turn.count_progress(epoch);
}

/// The older task may have ended by itself before the signal reached it: then the job is over.
fn exited(turn: &mut Turn<'_>, epoch: Epoch, exit: &Exit) {
    running::record(turn, epoch, exit);
    if let Phase::Stopping { .. } = turn.state.phase {
        // How the job ends is decided; a reconnected agent tells its task's end again.
        return;
    }
    let by_itself = exit.code == 0 && !exit.stopped;
    let already_failed =
        turn.state.outgoing.as_ref().is_some_and(|o| o.cause == EndCause::UserError);
    if already_failed {
        return;
    }
    if exit.done || by_itself {
        if let Some(attempt) = turn.attempt_mut(epoch) {
            attempt.end_cause = Some(EndCause::Done);
        }
        running::succeeded(turn, exit);
    } else if !exit.stopped && !exit.lost {
        if let Some(attempt) = turn.attempt_mut(epoch) {
            attempt.end_cause = Some(EndCause::UserError);
        }
        if turn.facts.max_restarts == 0 && !turn.facts.recover_codes.contains(&exit.code) {
            running::failed(turn, exit);
        }
    }
}

/// Its time to save is over: the machine is ended, its death awaited.
pub(crate) fn tick(turn: &mut Turn<'_>) {
    let Some(outgoing) = &turn.state.outgoing else { return };
    if outgoing.until <= turn.now && !outgoing.ending {
        give_up(turn, outgoing.epoch);
    }
}

/// Ends the machine of an outgoing epoch; only proof of death lets the epoch go.
pub(crate) fn give_up(turn: &mut Turn<'_>, epoch: Epoch) {
    if let Some(outgoing) = turn.state.outgoing.as_mut().filter(|o| o.epoch == epoch) {
        outgoing.ending = true;
        turn.end_machine(epoch);
    }
}

/// A terminate was accepted; that alone is no proof that the task is dead.
pub(crate) fn released(turn: &mut Turn<'_>, epoch: Epoch) {
    if let Some(outgoing) = turn.state.outgoing.as_mut().filter(|o| o.epoch == epoch) {
        outgoing.ending = true;
    }
}

/// What an attempt's end is called that a death brought: taken away, or `otherwise`.
pub(crate) fn named(cause: DeathCause, otherwise: EndCause) -> EndCause {
    match cause {
        DeathCause::Preempted => EndCause::Preempted,
        DeathCause::ByUser
        | DeathCause::Itself
        | DeathCause::HostFailure
        | DeathCause::NeverStarted
        | DeathCause::Unsaid => otherwise,
    }
}

/// Books a proven death.
pub(crate) fn bury(turn: &mut Turn<'_>, epoch: Epoch, cause: DeathCause, at: Timestamp) {
    let Some(attempt) = turn.attempt_mut(epoch) else { return };
    attempt.work_ended_at.get_or_insert(at);
    let token = attempt.token.clone();
    turn.rows.push(RowChange::Dead { token, at, cause });
    let named = match turn.state.phase {
        Phase::Running { .. } if turn.is_current(epoch) => named(cause, EndCause::HostLost),
        _ if cause == DeathCause::Preempted => EndCause::Preempted,
        Phase::Connecting { .. } | Phase::Preparing { .. } => EndCause::LaunchFailed,
        _ => EndCause::HostLost,
    };
    turn.name_cause(epoch, named);
    turn.release(epoch, at);
}
