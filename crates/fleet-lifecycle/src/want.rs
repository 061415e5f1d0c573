//! The work that a state asks for. Derived, never stored: a restart asks for the same again.
//!
//! Invariant 16 and 5 in code: `SessionGoal::Run` is wanted only when nothing is outgoing; a create is
//! wanted only while no other one's outcome is open, and never while stopping.

use crate::{JobState, Phase};
use fleet_types::{EndCause, Epoch, JobId, Timestamp};

/// One piece of work for an edge. Idempotent; its answers carry the epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Tell when this job has ended.
    Await { job: JobId },
    /// Nothing stands before the job.
    Begin,
    /// Ask the clouds and rank.
    Plan { round: u32 },
    /// Send the create of the intent row, not before the time given.
    Launch { epoch: Epoch, offer: u32, not_before: Option<Timestamp> },
    /// Find out what came of a create.
    Settle { epoch: Epoch, offer: u32 },
    /// Look at the machine from outside until its death.
    Watch { epoch: Epoch },
    /// Hold the connection to its agent and pursue a goal there.
    Session { epoch: Epoch, goal: SessionGoal },
}

/// What is pursued on a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionGoal {
    /// Connect, bring agent and files, hold.
    Prepare,
    /// Restore the newest checkpoint, start the task, follow it to its end, bring home what it leaves.
    Run,
    /// Tell the task to save and end; bring home what it leaves.
    Stop { kind: StopKind, until: Timestamp },
}

/// Why a task is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopKind {
    Notice,
    Cancel,
    Limit,
}

/// The work that `state` asks for.
pub fn wants(after: Option<&JobId>, state: &JobState) -> Vec<Want> {
    let mut out = Vec::new();
    let epoch = state.epoch;
    let session = |epoch, goal| Want::Session { epoch, goal };
    match &state.phase {
        Phase::Queued => out.push(match after {
            Some(job) => Want::Await { job: job.clone() },
            None => Want::Begin,
        }),
        Phase::Planning { round, waiting: None } => out.push(Want::Plan { round: *round }),
        Phase::Planning { waiting: Some(_), .. } => {}
        Phase::Launching { current, .. } => out.push(if current.unresolved {
            Want::Settle { epoch, offer: current.offer }
        } else {
            Want::Launch { epoch, offer: current.offer, not_before: current.not_before }
        }),
        Phase::Connecting { .. } => {
            out.push(Want::Watch { epoch });
            out.push(session(epoch, SessionGoal::Prepare));
        }
        Phase::Preparing { ready, .. } => {
            out.push(Want::Watch { epoch });
            let may_start = *ready && state.outgoing.is_none();
            out.push(session(
                epoch,
                if may_start { SessionGoal::Run } else { SessionGoal::Prepare },
            ));
        }
        Phase::Running { .. } => {
            out.push(Want::Watch { epoch });
            out.push(session(epoch, SessionGoal::Run));
        }
        Phase::Stopping { .. } => stopping(state, &mut out),
        Phase::Finished { .. } => {}
    }
    if let (Some(outgoing), false) =
        (&state.outgoing, matches!(state.phase, Phase::Stopping { .. }))
    {
        out.push(Want::Watch { epoch: outgoing.epoch });
        if !outgoing.ending {
            let goal = match outgoing.cause {
                EndCause::UserError => SessionGoal::Run,
                _ => SessionGoal::Stop { kind: StopKind::Notice, until: outgoing.until },
            };
            out.push(session(outgoing.epoch, goal));
        }
    }
    out
}

fn stopping(state: &JobState, out: &mut Vec<Want>) {
    let Phase::Stopping { goal, in_flight, until } = &state.phase else { return };
    if let Some(flight) = in_flight {
        out.push(Want::Settle { epoch: state.epoch, offer: flight.offer });
    }
    let Some(saving) = state.saving_epoch() else { return };
    out.push(Want::Watch { epoch: saving });
    let goal = match goal.cause {
        EndCause::Done | EndCause::UserError => SessionGoal::Run,
        EndCause::Cancelled => SessionGoal::Stop { kind: StopKind::Cancel, until: *until },
        EndCause::Budget
        | EndCause::Deadline
        | EndCause::Preempted
        | EndCause::HostLost
        | EndCause::LaunchFailed => SessionGoal::Stop { kind: StopKind::Limit, until: *until },
    };
    out.push(Want::Session { epoch: saving, goal });
}
