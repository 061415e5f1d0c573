//! Preparing: agent, files and secrets are put in place; then the older epoch's end is awaited.
//!
//! Invariant 16 lives here: `wants` asks for the task's start only when nothing is outgoing.

use crate::{Happening, Phase, Turn, phase::connecting, phase::running};

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Preparing { ready, until } = turn.state.phase else { return };
    match happening {
        Happening::Prepared { .. } => turn.state.phase = Phase::Preparing { ready: true, until },
        Happening::Begun { epoch, at, restored } => running::begin(turn, epoch, at, restored),
        Happening::Started { epoch, at, restored } => {
            running::begin(turn, epoch, at, restored);
            running::run(turn, epoch, at);
        }
        // A machine that is ready waits for the older task's end, which has its own bound.
        Happening::Tick if until <= turn.now && !ready => {
            connecting::unfit(turn, "it was not ready in time");
        }
        other => connecting::lost_before_running(turn, other),
    }
}
