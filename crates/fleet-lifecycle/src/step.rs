//! The router: what holds in every phase, then the phase's own file.

use crate::phase::{
    connecting, finished, launching, limits, planning, preparing, queued, recovering, running,
    stopping,
};
use crate::{Happening, JobFacts, JobState, Phase, Saved, Turn};
use fleet_types::{CheckpointId, EndCause, EventBody, Timestamp, Usd};
use std::time::Duration;

/// Takes one step. `accrued` is what the job has cost up to `now`.
pub fn step<'a>(
    facts: &'a JobFacts,
    state: JobState,
    happening: Happening,
    now: Timestamp,
    accrued: Usd,
) -> Turn<'a> {
    let mut turn = Turn::new(facts, state, now, accrued);
    route(&mut turn, happening);
    limits::after(&mut turn);
    turn
}

fn route(turn: &mut Turn<'_>, happening: Happening) {
    match &happening {
        Happening::Cancel { reason } => return stopping::cancel(turn, reason),
        Happening::Released { epoch, at } => {
            turn.release(*epoch, *at);
            recovering::released(turn, *epoch);
            return stopping::advance(turn);
        }
        Happening::Saved { .. } => return saved(turn, &happening),
        Happening::Addressed { epoch, address, user, launched_at } => {
            if let Some(attempt) = turn.attempt_mut(*epoch) {
                attempt.address = address.clone().or(attempt.address.take());
                attempt.user.clone_from(user);
                attempt.launched_at = launched_at.unwrap_or(attempt.launched_at);
            }
            return;
        }
        Happening::Woke { slept_ms } => return woke(turn, Duration::from_millis(*slept_ms)),
        Happening::Tick => {
            limits::tick(turn);
            recovering::tick(turn);
        }
        _ => {}
    }
    if let Some(epoch) = happening.epoch() {
        // While stopping, what is left of an older epoch is taken down with everything else.
        if turn.is_outgoing(epoch) && !matches!(turn.state.phase, Phase::Stopping { .. }) {
            return recovering::step(turn, happening);
        }
        if !turn.is_current(epoch) && !turn.is_outgoing(epoch) {
            return launching::stray(turn, &happening);
        }
    }
    match &turn.state.phase {
        Phase::Queued => queued::step(turn, happening),
        Phase::Planning { .. } => planning::step(turn, happening),
        Phase::Launching { .. } => launching::step(turn, happening),
        Phase::Connecting { .. } => connecting::step(turn, happening),
        Phase::Preparing { .. } => preparing::step(turn, happening),
        Phase::Running { .. } => running::step(turn, happening),
        Phase::Stopping { .. } => stopping::step(turn, happening),
        Phase::Finished { .. } => finished::step(turn, happening),
    }
}

/// Bounds that wait for a transfer or a machine stand still while we sleep; deadlines of the cloud do not.
fn woke(turn: &mut Turn<'_>, slept: Duration) {
    match &mut turn.state.phase {
        Phase::Connecting { until }
        | Phase::Preparing { until, .. }
        | Phase::Stopping { until, .. } => {
            *until = until.plus(slept);
        }
        Phase::Queued
        | Phase::Planning { .. }
        | Phase::Launching { .. }
        | Phase::Running { .. }
        | Phase::Finished { .. } => {}
    }
    if let Some(outgoing) = turn.state.outgoing.as_mut().filter(|o| o.cause == EndCause::UserError)
    {
        outgoing.until = outgoing.until.plus(slept);
    }
}

/// A published checkpoint counts in every phase, for whichever attempt made it.
fn saved(turn: &mut Turn<'_>, happening: &Happening) {
    let Happening::Saved { epoch, saved } = happening else { return };
    let Saved { number, taken_at, bytes, files, egress_usd } = *saved;
    let Some(attempt) = turn.attempt_mut(*epoch) else { return };
    if attempt.checkpoint.is_some_and(|have| have >= number) {
        return;
    }
    attempt.checkpoint = Some(number);
    attempt.saved_until = Some(taken_at);
    attempt.egress_usd += egress_usd;
    let id = CheckpointId { epoch: *epoch, number };
    turn.state.checkpoint = turn.state.checkpoint.max(Some(id));
    turn.emit(EventBody::Saved { epoch: *epoch, number, bytes, files });
}
