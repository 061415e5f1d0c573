//! Every row of the fault tables through Google's client, and the answers that have no row.

use super::launch::{footing, request};
use super::replay::{Replay, config, error, failed};
use crate::provider::INSERT;
use crate::{connect, fault};
use fleet_provider::{OwnerTag, Provider as _, ProviderError};
use fleet_provider_kit::Effect;
use fleet_types::{Fault, FleetId, InstanceId, Market, Scope};
use google_cloud_gax::options::RequestOptionsBuilder as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt as _;

const FIXTURES: &str = include_str!("../../fixtures/errors.txt");
const PAGE: &str = "<html><body>502 Bad Gateway</body></html>";

/// What a create comes to when its insert is answered so.
async fn launched(status: u16, body: Value) -> ProviderError {
    let replay = Replay::start(move |asked| match asked.call.as_str() {
        "POST zones/us-central1-a/instances" => (status, body.clone()),
        _ => footing(asked),
    })
    .await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err()
}

/// What a create comes to when it was accepted and its operation ended so.
async fn accepted(ended: Value) -> ProviderError {
    let replay = Replay::start(move |asked| match asked.call.as_str() {
        "POST zones/us-central1-a/operations/operation-insert/wait" => (200, ended.clone()),
        _ => footing(asked),
    })
    .await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err()
}

/// What a read comes to when Google answers it so.
async fn described(status: u16, body: Value) -> ProviderError {
    let replay = Replay::start(move |asked| match asked.call.contains("/operations") {
        true => super::replay::operations(&[]),
        false => (status, body.clone()),
    })
    .await;
    let place = request(Market::Spot).candidates[0].offer.place.clone();
    replay.provider().await.describe(&InstanceId::new("fleet-1"), &place).await.unwrap_err()
}

#[tokio::test]
async fn every_row_is_proved_by_its_fixture() {
    let mut seen = BTreeSet::new();
    for line in FIXTURES.lines().filter(|l| !l.starts_with('#')) {
        let [when, code, status, meaning, reach] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("odd fixture: {line}");
        };
        let status = status.parse().unwrap();
        let found = match when {
            // The name is taken: what has it is looked at.
            "now" if code == "alreadyExists" => {
                seen.insert(format!("{when} {code}"));
                continue;
            }
            "now" => launched(status, error(status, code).1).await,
            _ => accepted(failed("insert", "x", code, None)).await,
        };
        let (fault, scope) = (format!("{:?}", found.fault), format!("{:?}", found.scope));
        assert_eq!((fault.as_str(), scope.as_str()), (meaning, reach), "{line}: {found}");
        assert_eq!(found.code, code);
        assert_eq!(found.text(), format!("words of the cloud for {code}"));
        assert_eq!(found.maybe_applied, found.fault == Fault::Unknown, "{line}");
        assert_eq!(found.refusal().is_none(), found.fault == Fault::Unknown, "{line}");
        seen.insert(format!("{when} {code}"));
    }
    let rows: BTreeSet<_> = fault::rows().collect();
    assert_eq!(seen, rows, "every row has a fixture, every fixture a row");
}

#[tokio::test]
async fn a_detail_of_the_answer_decides_before_its_status_word() {
    let body = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "m",
        "errors": [{"reason": "forbidden", "domain": "global"}],
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED", "domain": "googleapis.com"}]}});
    let found = launched(403, body).await;
    assert_eq!((found.fault, found.code.as_str()), (Fault::Throttled, "RATE_LIMIT_EXCEEDED"));
}

#[tokio::test]
async fn a_limit_of_all_regions_reaches_the_whole_cloud() {
    let limit = Some("GPUS-ALL-REGIONS-per-project");
    let found = accepted(failed("insert", "x", "QUOTA_EXCEEDED", limit)).await;
    assert_eq!((found.fault, found.scope), (Fault::Quota, Scope::Provider));
    let limit = Some("PREEMPTIBLE-NVIDIA-L4-GPUS-per-project-region");
    let found = accepted(failed("insert", "x", "QUOTA_EXCEEDED", limit)).await;
    assert_eq!((found.fault, found.scope), (Fault::Quota, Scope::Region));
}

#[tokio::test]
async fn reads_of_the_same_reasons_change_nothing() {
    for (status, reason, expected) in [
        (500, "internalError", Fault::Transient),
        (503, "backendError", Fault::Transient),
        (403, "rateLimitExceeded", Fault::Throttled),
        (401, "authError", Fault::Auth),
        (404, "notFound", Fault::NotFound),
        (412, "conditionNotMet", Fault::Transient),
        (400, "somethingNew", Fault::Rejected),
        (401, "somethingNew", Fault::Auth),
        (403, "somethingNew", Fault::Auth),
        (404, "somethingNew", Fault::NotFound),
        (429, "somethingNew", Fault::Throttled),
        (302, "somethingNew", Fault::Transient),
        (502, "somethingNew", Fault::Transient),
    ] {
        let found = described(status, error(status, reason).1).await;
        assert_eq!((found.fault, found.maybe_applied), (expected, false), "{status} {reason}");
    }
}

#[tokio::test]
async fn a_create_without_a_row_is_of_unknown_outcome() {
    for (status, body) in [
        (400, error(400, "somethingNew").1),
        (403, json!(PAGE)),
        (429, Value::Null),
        (500, Value::Null),
        (502, json!(PAGE)),
        (200, json!(PAGE)),
        (200, Value::Null),
        (200, json!({})),
        (200, json!({"kind": "compute#operation", "name": null})),
    ] {
        let found = launched(status, body.clone()).await;
        assert_eq!(found.fault, Fault::Unknown, "{status} {body}: {found}");
        assert!(found.maybe_applied && found.refusal().is_none(), "{status} {body}");
    }
    let found = accepted(failed("insert", "x", "SOMETHING_NEW", None)).await;
    assert_eq!((found.fault, found.maybe_applied), (Fault::Unknown, true));
    // Who we are is looked at before anything is done.
    assert_eq!(launched(401, Value::Null).await.fault, Fault::Auth);
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_never_an_empty_one() {
    for body in [json!(PAGE), Value::Null, json!({}), json!({"items": null}), json!([])] {
        let found = described(200, body.clone()).await;
        assert_eq!((found.fault, found.maybe_applied), (Fault::Transient, false), "{body}");
        let replay = Replay::start(move |_| (200, body.clone())).await;
        let owner = OwnerTag { fleet: FleetId::new("0".repeat(32)) };
        let found = replay.provider().await.list(&owner).await.unwrap_err();
        assert_eq!(found.fault, Fault::Transient);
    }
}

/// Accepts connections, reads what comes, and hangs up without a word.
async fn hangs_up() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut some = [0; 64];
                let _ = socket.read(&mut some).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn only_a_failed_connect_proves_that_nothing_was_sent() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let mute = hangs_up().await;
    for (url, fault, maybe) in [(nobody, Fault::Transient, false), (mute, Fault::Unknown, true)] {
        let clients = connect(config(&url)).await.unwrap().clients;
        let call = clients.instances.insert().set_project("p").set_zone("z").send().await;
        let found = clients.failed(INSERT, Effect::Create, call.unwrap_err()).await;
        assert_eq!((found.fault, found.maybe_applied), (fault, maybe), "{found}");
    }
}

#[tokio::test]
async fn a_call_that_is_cut_short_is_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let clients = connect(config(&url)).await.unwrap().clients;
    let limit = std::time::Duration::from_millis(50);
    let call = clients.instances.insert().set_project("p").set_zone("z");
    let cut = call.with_attempt_timeout(limit).send().await.unwrap_err();
    let found = clients.failed(INSERT, Effect::Create, cut).await;
    assert_eq!((found.fault, found.maybe_applied), (Fault::Unknown, true), "{found}");
}

#[tokio::test]
async fn nothing_is_sent_twice_and_no_error_shows_the_token() {
    let replay = Replay::start(|asked| match asked.call.starts_with("POST zones") {
        true => (
            503,
            json!({"error": {"code": 503, "message": format!("echo {}", super::replay::TOKEN)}}),
        ),
        false => footing(asked),
    })
    .await;
    let provider = replay.provider().await;
    let found = provider.launch(&request(Market::Spot)).await.unwrap_err();
    assert_eq!(replay.asked("POST zones/us-central1-a/instances").len(), 1);
    let shown = format!("{found} {found:?} {provider:?}");
    assert!(shown.contains("echo") && !shown.contains(super::replay::TOKEN), "{shown}");
    let replay = Replay::start(|_| (503, Value::Null)).await;
    let owner = OwnerTag { fleet: FleetId::new("0".repeat(32)) };
    replay.provider().await.list(&owner).await.unwrap_err();
    assert_eq!(replay.asked("GET").len(), 1);
}
