//! What a controller that has just started tells a job, from what was committed.
//!
//! A crash can fall between a row's commit and the job's step that would have booked it, and between a
//! create's intent and its answer. Neither leaves a trace but the rows. Invariant: after these reports, a
//! job waits for nothing that has happened already.

use crate::{Happening, JobState, Phase};
use fleet_types::{MachineRow, RowState};

/// Reports to take in, in this order, before any work is started. `repeatable`: the cloud of the create in
/// flight knows tokens, so that the same create may be sent again.
pub fn resumed(state: &JobState, rows: &[MachineRow], repeatable: bool) -> Vec<Happening> {
    let mut out = Vec::new();
    if let Phase::Launching { current, .. } = &state.phase {
        let (epoch, offer) = (state.epoch, current.offer);
        // An earlier life may have sent it. Without a token it must be looked for, never sent again.
        if !current.unresolved {
            out.push(match repeatable {
                true => Happening::SentBefore { epoch, offer },
                false => Happening::Unresolved { epoch, offer },
            });
        }
    }
    for row in rows {
        let Some(attempt) = state.attempts.iter().find(|a| a.token == row.token) else { continue };
        let epoch = attempt.epoch;
        if let (Some(at), None) = (row.ended_at, attempt.ended_at) {
            out.push(Happening::Released { epoch, at });
        }
        let awaited = state.outgoing.as_ref().is_some_and(|o| o.epoch == epoch);
        if let (RowState::Gone { at, cause }, true) = (&row.state, awaited) {
            out.push(Happening::Dead { epoch, cause: *cause, at: *at });
        }
    }
    out
}
