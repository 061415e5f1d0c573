//! Preparing: agent, files and secrets are put in place; then the older epoch's end is awaited.
//!
//! Invariant 16 lives here: `wants` asks for the task's start only when nothing is outgoing.

use crate::{Happening, Phase, Turn, phase::connecting};
use fleet_types::EventBody;

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Preparing { ready, until } = turn.state.phase else { return };
    match happening {
        Happening::Prepared { .. } => turn.state.phase = Phase::Preparing { ready: true, until },
        Happening::Started { epoch, at, restored } => {
            if let Some((id, bytes)) = restored {
                turn.emit(EventBody::Restored {
                    epoch,
                    from_epoch: id.epoch,
                    number: id.number,
                    bytes,
                });
            }
            if let Some(attempt) = turn.attempt_mut(epoch) {
                attempt.running_at = Some(at);
            }
            turn.state.stillborn = 0;
            turn.state.phase = Phase::Running { silent_since: None };
            turn.emit(EventBody::Running { epoch });
        }
        // A machine that is ready waits for the older task's end, which has its own bound.
        Happening::Tick if until <= turn.now && !ready => {
            connecting::unfit(turn, "it was not ready in time");
        }
        other => connecting::lost_before_running(turn, other),
    }
}
