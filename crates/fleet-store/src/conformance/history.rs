//! Random histories: the same steps on two stores, every answer compared.
//!
//! Numbers of events may have gaps in one store and not in the other, so events are compared by order and
//! content; errors are compared by kind.

use super::samples::{event, job, job_id, machine};
use crate::{Commit, Error, Result, SeqEvent, Store};
use fleet_types::{DeathCause, RowState, Timestamp};
use serde_json::json;
use std::fmt::Debug;

/// One step of a history; jobs and keys come from small ranges so that they meet.
#[derive(Clone, Debug)]
pub enum Step {
    Accept { key: u8, jobs: Vec<u8> },
    Commit { job: u8, behind: u8, finished: bool, row: Option<(u8, u8)>, stray_event: bool },
    PutRow { job: u8, epoch: u8, state: u8 },
    Append { jobs: Vec<u8> },
    Fact { name: u8, value: u8 },
}

/// The state that a number stands for.
pub fn row_state(n: u8) -> RowState {
    let at = Timestamp::from_millis(1_764_000_000_000 + i64::from(n));
    match n % 6 {
        0 => RowState::Intent,
        1 => RowState::Unknown { since: at },
        2 => RowState::Live,
        3 => RowState::Ending { since: at, accepted_at: None },
        4 => RowState::Refused,
        _ => RowState::Gone { at, cause: DeathCause::Preempted },
    }
}

/// Takes `step` on both stores and compares the answers.
///
/// # Errors
/// What differs, in words.
pub async fn step_both(
    a: &dyn Store,
    b: &dyn Store,
    step: &Step,
) -> std::result::Result<(), String> {
    let (left, right) = (take(a, step).await, take(b, step).await);
    if left == right { Ok(()) } else { Err(format!("{step:?}: {left} against {right}")) }
}

/// Compares everything that both stores can tell.
///
/// # Errors
/// What differs, in words.
pub async fn compare(a: &dyn Store, b: &dyn Store, jobs: u8) -> std::result::Result<(), String> {
    let (left, right) = (everything(a, jobs).await, everything(b, jobs).await);
    match left.iter().zip(&right).find(|(l, r)| l != r) {
        Some((l, r)) => Err(format!("{l}\nagainst\n{r}")),
        None => Ok(()),
    }
}

async fn take(store: &dyn Store, step: &Step) -> String {
    match step {
        Step::Accept { key, jobs } => {
            let jobs = jobs.iter().map(|n| job(u64::from(*n))).collect();
            show(store.accept(&format!("key {key}"), jobs).await)
        }
        Step::Commit { job, behind, finished, row, stray_event } => {
            let n = u64::from(*job);
            let version = store.job(&job_id(n)).await.ok().flatten().map_or(0, |j| j.version);
            let stray = if *stray_event { 10_000 } else { n };
            let commit = Commit {
                job: job_id(n),
                from_version: version.saturating_sub(u64::from(*behind)),
                state: json!({ "after": version }),
                finished: *finished,
                events: vec![event(n, "step"), event(stray, "maybe of nobody")],
                rows: row
                    .iter()
                    .map(|(epoch, state)| machine(n, u32::from(*epoch), 0, row_state(*state)))
                    .collect(),
            };
            show(store.commit(commit).await)
        }
        Step::PutRow { job, epoch, state } => {
            let row = machine(u64::from(*job), u32::from(*epoch), 0, row_state(*state));
            show(store.put_row(row).await)
        }
        Step::Append { jobs } => {
            show(store.append(jobs.iter().map(|n| event(u64::from(*n), "append")).collect()).await)
        }
        Step::Fact { name, value } => {
            show(store.set_fact(&format!("fact {name}"), &format!("{value}")).await)
        }
    }
}

async fn everything(store: &dyn Store, jobs: u8) -> Vec<String> {
    let mut all = vec![
        show(store.jobs(false).await),
        show(store.jobs(true).await),
        show(store.live_rows().await),
    ];
    for n in 0..jobs {
        let id = job_id(u64::from(n));
        all.push(show(store.job(&id).await));
        all.push(show(store.rows(&id).await));
        let events = store.events(&id, 0, usize::MAX).await;
        let rising = |e: &Vec<SeqEvent>| e.windows(2).all(|w| w[0].seq < w[1].seq);
        let events =
            events.map(|e| (rising(&e), e.into_iter().map(|e| e.event).collect::<Vec<_>>()));
        all.push(show(events));
        all.push(show(store.fact(&format!("fact {n}")).await));
    }
    all
}

fn show<T: Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        // A text of a body of the store is its own affair.
        Err(Error::Unavailable(_)) => "unavailable".into(),
        Err(error) => error.to_string(),
    }
}
