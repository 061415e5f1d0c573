//! Operations: what Compute Engine did and why, kept for weeks after the machine itself is gone.
//!
//! Invariant: an operation speaks of a machine only if its target has that machine's name; names follow from
//! tokens, so no two machines ever share one. Only an operation that has ended proves anything.

use crate::client::Clients;
use crate::fault;
use crate::wire::{is_done, last, time};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::{DeathCause, Timestamp};
use google_cloud_compute_v1::model::Operation;
use google_cloud_gax::options::RequestOptionsBuilder as _;

pub(crate) const LIST: &str = "zoneOperations.list";
pub(crate) const WAIT: &str = "zoneOperations.wait";

/// How a machine ended, by the operations on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) cause: DeathCause,
    pub(crate) at: Option<Timestamp>,
}

/// The operations on one machine, newest first.
pub(crate) async fn of(clients: &Clients, zone: &str, name: &str) -> Result<Vec<Operation>> {
    let answer = clients
        .operations
        .list()
        .set_project(clients.project())
        .set_zone(zone)
        .set_filter(format!("targetLink eq \".*/instances/{name}\""))
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(LIST, Effect::Read, e).await),
    };
    if answer.kind.as_deref() != Some("compute#operationList") {
        return Err(Effect::Read.unreadable(LIST, "the answer is of another kind"));
    }
    let mut found: Vec<Operation> = answer.items;
    found.retain(|o| o.target_link.as_deref().map(last) == Some(name));
    found.sort_by_key(|o| std::cmp::Reverse(time(o.insert_time.as_ref())));
    Ok(found)
}

/// The end that these operations tell of, the strongest word first: a machine that was taken is deleted
/// afterwards, and was taken all the same.
pub(crate) fn end(operations: &[Operation]) -> Option<End> {
    let told = |wanted: &[&str], failed: bool| {
        let one = operations.iter().find(|o| {
            let kind = o.operation_type.as_deref().unwrap_or_default();
            wanted.contains(&kind) && is_done(o) && (fault::late(o).is_some() == failed)
        })?;
        Some(time(one.end_time.as_ref()).or_else(|| time(one.insert_time.as_ref())))
    };
    let system = ["compute.instances.hostError", "compute.instances.terminateOnHostMaintenance"];
    let words: [(&[&str], bool, DeathCause); 6] = [
        (&["compute.instances.preempted"], false, DeathCause::Preempted),
        (&system, false, DeathCause::HostFailure),
        (&["insert"], true, DeathCause::NeverStarted),
        (&["compute.instances.guestTerminate"], false, DeathCause::Itself),
        (&["delete"], false, DeathCause::ByUser),
        (&["stop"], false, DeathCause::ByUser),
    ];
    words
        .into_iter()
        .find_map(|(kinds, failed, cause)| told(kinds, failed).map(|at| End { cause, at }))
}

/// The verdict on a create that was accepted: nothing wrong so far, or why nothing was made.
///
/// Google itself waits, up to two minutes; we wait less long, and what is not known by then is no refusal.
pub(crate) async fn verdict(
    clients: &Clients,
    zone: &str,
    accepted: Operation,
) -> std::result::Result<(), ProviderError> {
    let name = accepted.name.clone().unwrap_or_default();
    if is_done(&accepted) || name.is_empty() {
        return fault::late(&accepted).map_or(Ok(()), Err);
    }
    let waited = clients
        .operations
        .wait()
        .set_project(clients.project())
        .set_zone(zone)
        .set_operation(name.as_str())
        .with_attempt_timeout(clients.patience())
        .send()
        .await;
    match waited {
        Ok(operation) if is_done(&operation) => fault::late(&operation).map_or(Ok(()), Err),
        Ok(_) => Ok(()),
        Err(e) => {
            let error = clients.failed(WAIT, Effect::Read, e).await;
            tracing::debug!(zone, operation = name, %error, "the verdict on a create is not known");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation(kind: &str, status: &str, error: Option<&str>) -> Operation {
        let mut o = json!({"operationType": kind, "status": status, "name": "o",
            "insertTime": "2026-01-01T00:00:00.000-08:00", "endTime": "2026-01-01T00:00:30.000-08:00"});
        if let Some(code) = error {
            o["error"] = json!({"errors": [{"code": code, "message": "words"}]});
        }
        serde_json::from_value(o).expect("an operation")
    }

    #[test]
    fn the_strongest_word_says_how_it_ended() {
        let cause = |all: &[Operation]| end(all).map(|e| e.cause);
        let preempted = operation("compute.instances.preempted", "DONE", None);
        let deleted = operation("delete", "DONE", None);
        let made = operation("insert", "DONE", None);
        assert_eq!(cause(&[deleted.clone(), preempted, made.clone()]), Some(DeathCause::Preempted));
        assert_eq!(cause(&[deleted, made.clone()]), Some(DeathCause::ByUser));
        assert_eq!(cause(&[made]), None);
        assert_eq!(cause(&[operation("delete", "RUNNING", None)]), None);
        assert_eq!(cause(&[operation("delete", "DONE", Some("RESOURCE_IN_USE"))]), None);
        let never = operation("insert", "DONE", Some("ZONE_RESOURCE_POOL_EXHAUSTED"));
        assert_eq!(cause(&[never]), Some(DeathCause::NeverStarted));
        let host = operation("compute.instances.hostError", "DONE", None);
        let end = end(&[host]).expect("an end");
        assert_eq!(end.cause, DeathCause::HostFailure);
        assert_eq!(end.at, Timestamp::parse("2026-01-01T08:00:30Z"));
    }
}
