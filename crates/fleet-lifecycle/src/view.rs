//! The job as scripts see it, derived from facts and state alone.

use crate::{JobFacts, JobState, Phase};
use fleet_types::{AttemptView, CostParts, JobView, PhaseName, Timestamp, Usd};

/// Derives the outside view at `now`.
pub fn view(facts: &JobFacts, state: &JobState, now: Timestamp) -> JobView {
    let attempts: Vec<AttemptView> = state
        .attempts
        .iter()
        .map(|a| AttemptView {
            epoch: a.epoch,
            provider: a.place.provider,
            region: a.place.region.clone(),
            zone: a.place.zone.clone(),
            instance_type: a.instance_type.clone(),
            market: a.market,
            price_usd_per_hour: a.price_usd_per_hour,
            instance_id: a.instance.to_string(),
            host: a.address.as_ref().map(|a| a.host.clone()),
            launched_at: Some(a.launched_at),
            running_at: a.running_at,
            ended_at: a.ended_at,
            end_cause: a.end_cause.filter(|_| a.ended_at.is_some() || state.epoch != a.epoch),
            cost_usd: a.compute_cost(now) + a.disk_cost(now) + a.egress_usd,
            lost_work_seconds: a.ended_at.map(|_| a.lost_work_seconds(now)),
            checkpoint: a.checkpoint,
        })
        .collect();
    let parts = CostParts {
        compute: state.attempts.iter().map(|a| a.compute_cost(now)).sum(),
        disk: state.attempts.iter().map(|a| a.disk_cost(now)).sum(),
        egress_estimated: state.attempts.iter().map(|a| a.egress_usd).sum(),
        ..CostParts::default()
    };
    let (outcome, reason, exit_code, finished_at) = ending(state);
    JobView {
        id: facts.id.clone(),
        name: facts.name.clone(),
        phase: phase_name(state),
        outcome,
        reason: reason.or_else(|| waiting_reason(state)),
        exit_code,
        created_at: facts.created_at,
        finished_at,
        cost_usd: parts.total(),
        cost_parts: parts,
        on_demand_usd: on_demand(state, now),
        workdir_hash: facts.workdir_hash.clone(),
        group: facts.group.clone(),
        attempts,
        expires_at: Some(facts.expires_at),
        alarms: Vec::new(),
        checkpoint_dir: None,
        output_dir: None,
        sandbox: facts.sandbox,
    }
}

/// What the time spent running would have cost on demand at the first place that says.
fn on_demand(state: &JobState, now: Timestamp) -> Option<Usd> {
    let rate = state.attempts.iter().find_map(|a| a.on_demand_usd_per_hour)?;
    let millis = state
        .attempts
        .iter()
        .filter_map(|a| {
            let start = a.running_at?;
            Some(a.work_ended_at.or(a.ended_at).unwrap_or(now).since(start).as_millis() as i64)
        })
        .sum();
    Some(rate.for_millis(millis))
}

type Ending = (Option<fleet_types::Outcome>, Option<String>, Option<i32>, Option<Timestamp>);

fn ending(state: &JobState) -> Ending {
    match &state.phase {
        Phase::Finished { goal, at } => {
            (Some(goal.outcome), goal.reason.clone(), goal.exit_code, Some(*at))
        }
        Phase::Stopping { goal, .. } => (None, goal.reason.clone(), goal.exit_code, None),
        Phase::Queued
        | Phase::Planning { .. }
        | Phase::Launching { .. }
        | Phase::Connecting { .. }
        | Phase::Preparing { .. }
        | Phase::Running { .. } => (None, None, None, None),
    }
}

fn waiting_reason(state: &JobState) -> Option<String> {
    match &state.phase {
        Phase::Planning { waiting: Some(w), .. } => Some(w.reason.clone()),
        Phase::Queued => Some("waits for the job before it".into()),
        Phase::Launching { current, .. } if current.unresolved => {
            Some("a create had no answer; it is looked for by its token".into())
        }
        Phase::Running { silent_since: Some(since), .. } => {
            Some(format!("unreachable since {since}"))
        }
        Phase::Running { in_setup: true, .. } => Some("its setup runs".into()),
        Phase::Preparing { ready: true, .. } if state.outgoing.is_some() => {
            Some("ready; the older attempt's task is still ending".into())
        }
        Phase::Planning { .. }
        | Phase::Launching { .. }
        | Phase::Connecting { .. }
        | Phase::Preparing { .. }
        | Phase::Running { .. }
        | Phase::Stopping { .. }
        | Phase::Finished { .. } => None,
    }
}

fn has_machine(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Connecting { .. } | Phase::Preparing { .. } | Phase::Running { in_setup: true, .. }
    )
}

fn phase_name(state: &JobState) -> PhaseName {
    // In the phases that have a machine, the last attempt is the one that is being made ready.
    let again = state.attempts.len() > usize::from(has_machine(&state.phase));
    match &state.phase {
        Phase::Queued => PhaseName::Queued,
        Phase::Planning { waiting: Some(_), .. } => PhaseName::Planning,
        Phase::Planning { .. } if again => PhaseName::Recovering,
        Phase::Planning { .. } => PhaseName::Planning,
        Phase::Launching { .. } if again => PhaseName::Recovering,
        Phase::Launching { .. } => PhaseName::Launching,
        Phase::Connecting { .. } if again => PhaseName::Recovering,
        Phase::Connecting { .. } => PhaseName::Connecting,
        Phase::Preparing { .. } | Phase::Running { in_setup: true, .. } if again => {
            PhaseName::Recovering
        }
        Phase::Preparing { .. } | Phase::Running { in_setup: true, .. } => PhaseName::Preparing,
        Phase::Running { in_setup: false, .. } => PhaseName::Running,
        Phase::Stopping { .. } => PhaseName::Stopping,
        Phase::Finished { .. } => PhaseName::Finished,
    }
}
