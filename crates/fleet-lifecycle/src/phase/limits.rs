//! What ends a job in any phase: its last moment, its budget, epochs without progress.

use crate::{Goal, Phase, Turn, phase::stopping};
use fleet_types::{EndCause, Outcome, Usd};

/// Epochs that ran and left no checkpoint before the job is stopped (invariant 22).
const BARREN: u32 = 3;
/// Machines in a row that never ran the task before the job is stopped (invariant 11).
const STILLBORN: u32 = 6;
/// How long before the budget is used up, besides its grace, the task is told to save.
const BUDGET_MARGIN_MILLIS: i64 = 90_000;

fn may_end(phase: &Phase) -> bool {
    !matches!(phase, Phase::Stopping { .. } | Phase::Finished { .. })
}

/// Looks at the clock and at the money.
pub(crate) fn tick(turn: &mut Turn<'_>) {
    if !may_end(&turn.state.phase) {
        return;
    }
    if turn.now >= turn.facts.expires_at {
        return stop(turn, "deadline: max_duration is over".into(), EndCause::Deadline);
    }
    let Some(budget) = turn.facts.budget else { return };
    let rate: Usd = turn
        .state
        .attempts
        .iter()
        .filter(|a| a.ended_at.is_none())
        .map(|a| a.price_usd_per_hour + a.disk_usd_per_hour)
        .sum();
    let margin = BUDGET_MARGIN_MILLIS + turn.facts.grace_ms as i64;
    if rate > Usd::ZERO && turn.accrued + rate.for_millis(margin) >= budget {
        let reason = format!("budget: {} of {budget} are spent", turn.accrued);
        stop(turn, reason, EndCause::Budget);
    }
}

/// Looks at progress, after every step.
pub(crate) fn after(turn: &mut Turn<'_>) {
    if !may_end(&turn.state.phase) {
        return;
    }
    if turn.state.barren >= BARREN {
        let reason = format!("no-progress: {BARREN} attempts in a row ran and left no checkpoint");
        stop(turn, reason, EndCause::Preempted);
    } else if turn.state.stillborn >= STILLBORN {
        let reason = format!("no-progress: {STILLBORN} machines in a row never ran the task");
        stop(turn, reason, EndCause::LaunchFailed);
    }
}

fn stop(turn: &mut Turn<'_>, reason: String, cause: EndCause) {
    let goal = Goal { outcome: Outcome::Stopped, reason: Some(reason), exit_code: None, cause };
    stopping::enter(turn, goal);
}
