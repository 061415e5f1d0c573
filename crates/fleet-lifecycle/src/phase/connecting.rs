//! Connecting: the machine exists and bills; SSH and agent are awaited, for a bounded time.

use crate::{Happening, Phase, Turn, phase::recovering};
use fleet_types::{EndCause, EventBody};

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Connecting { until } = turn.state.phase else { return };
    match happening {
        Happening::Connected { epoch, host } => {
            turn.emit(EventBody::Connected { epoch, host });
            let until = turn.now.plus(turn.facts.timing().prepare());
            turn.state.phase = Phase::Preparing { ready: false, until };
        }
        Happening::Tick if until <= turn.now => unfit(turn, "it could not be reached in time"),
        other => lost_before_running(turn, other),
    }
}

/// What can befall a machine that does not run the task yet.
pub(crate) fn lost_before_running(turn: &mut Turn<'_>, happening: Happening) {
    match happening {
        Happening::Notice { epoch, source, deadline } => {
            super::running::notice(turn, epoch, source, deadline);
            turn.recover(EndCause::Preempted, deadline, false);
        }
        Happening::Dead { cause, at, epoch } => {
            recovering::bury(turn, epoch, cause, at);
            let cause = recovering::named(cause, EndCause::LaunchFailed);
            turn.recover(cause, turn.now, true);
        }
        Happening::Unfit { reason, .. } => unfit(turn, &reason),
        Happening::Lost { .. } => unfit(turn, "it does not answer"),
        _ => {}
    }
}

/// The machine is given up: it is ended and the next place tried.
pub(crate) fn unfit(turn: &mut Turn<'_>, reason: &str) {
    let place = turn.state.current().map(|a| a.place.to_string()).unwrap_or_default();
    turn.emit(EventBody::Alarm {
        message: format!("the machine at {place} is given up: {reason}"),
    });
    // Where the task may run already, only the machine's proven death lets the next one start.
    let may_run = turn.may_run();
    let epoch = turn.state.epoch;
    turn.recover(EndCause::LaunchFailed, turn.now, !may_run);
    if may_run {
        recovering::give_up(turn, epoch);
    }
}
