//! How a job's end becomes an exit code (CLI.md, "Exit codes").

use crate::error::code;
use fleet_types::{EndCause, JobView, Outcome};

/// The exit code of a command that followed `job` to its end.
pub(crate) fn of_job(job: &JobView) -> u8 {
    match job.outcome {
        Some(Outcome::Succeeded) => 0,
        Some(Outcome::Cancelled | Outcome::Stopped) => code::STOPPED,
        Some(Outcome::Failed) => of_failure(job),
        None => code::INTERNAL,
    }
}

/// The task itself, or nothing to run it on; and in that case, whether a login would have helped.
fn of_failure(job: &JobView) -> u8 {
    let ran_out = job.attempts.last().and_then(|a| a.end_cause) == Some(EndCause::UserError);
    if job.exit_code.is_some_and(|c| c != 0) || ran_out {
        return code::TASK;
    }
    let reason = job.reason.as_deref().unwrap_or_default();
    if reason.starts_with("credentials") { code::CREDENTIALS } else { code::CAPACITY }
}

/// The exit code for several jobs: the first that is not 0.
pub(crate) fn of_jobs<'a>(jobs: impl IntoIterator<Item = &'a JobView>) -> u8 {
    jobs.into_iter().map(of_job).find(|c| *c != 0).unwrap_or(0)
}
