//! Queued: accepted, durable, and waiting for the job before it where there is one.

use crate::{Goal, Happening, Turn, phase::stopping};
use fleet_types::{EndCause, Outcome};

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    match happening {
        Happening::Begin => turn.plan(0),
        Happening::PredecessorEnded { outcome } => {
            let reason = format!("the job before it in the pipeline {outcome}");
            stopping::enter(
                turn,
                Goal {
                    outcome: Outcome::Cancelled,
                    reason: Some(reason),
                    exit_code: None,
                    cause: EndCause::Cancelled,
                },
            );
        }
        _ => {}
    }
}
