//! Every row of the fault table through the real SDK, and the answers that have no row.

use super::launch::request;
use super::replay::{REQUEST_ID, Replay, config, error, ok};
use crate::{connect, fault};
use fleet_provider::{OwnerTag, Provider as _, ProviderError};
use fleet_types::{Fault, FleetId, InstanceId, Market, Place, ProviderId, Scope};
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt as _;

const FIXTURES: &str = include_str!("../../fixtures/errors.txt");

fn place() -> Place {
    Place { provider: ProviderId::Aws, region: "us-east-1".into(), zone: "us-east-1a".into() }
}

/// What a create comes to when EC2 answers it so.
async fn launched(status: u16, body: String) -> ProviderError {
    let replay = Replay::start(move |asked| match asked.action.as_str() {
        "RunInstances" => (status, body.clone()),
        _ => super::launch::footing(asked),
    })
    .await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err()
}

/// What a read comes to when EC2 answers it so.
async fn described(status: u16, body: String) -> ProviderError {
    let replay = Replay::start(move |_| (status, body.clone())).await;
    let id = InstanceId::new("i-1");
    replay.provider().await.describe(&id, &place()).await.unwrap_err()
}

#[tokio::test]
async fn every_row_is_proved_by_its_fixture() {
    let mut seen = BTreeSet::new();
    for line in FIXTURES.lines().filter(|l| !l.starts_with('#')) {
        let [code, status, meaning, reach] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("odd fixture: {line}");
        };
        let status = status.parse().unwrap();
        let found = launched(status, error(status, code).1).await;
        let (fault, scope) = (format!("{:?}", found.fault), format!("{:?}", found.scope));
        // What a create stands on may be invisible for a moment: worth another try, and not created.
        let meaning = if meaning == "NotFound" { "Transient" } else { meaning };
        assert_eq!((fault.as_str(), scope.as_str()), (meaning, reach), "{code}");
        assert_eq!(found.code, code);
        assert_eq!(found.text(), format!("words of the cloud for {code}"));
        assert_eq!(found.request_id.as_deref(), Some(REQUEST_ID));
        assert_eq!(found.maybe_applied, found.fault == Fault::Unknown, "{code}");
        assert_eq!(found.refusal().is_none(), found.fault == Fault::Unknown, "{code}");
        seen.insert(code.to_owned());
    }
    let rows: BTreeSet<_> = fault::codes().map(str::to_owned).collect();
    assert_eq!(seen, rows, "every row has a fixture, every fixture a row");
}

#[tokio::test]
async fn reads_of_the_same_codes_change_nothing() {
    for (status, code, expected) in [
        (500, "InternalError", Fault::Transient),
        (503, "Unavailable", Fault::Transient),
        (503, "RequestLimitExceeded", Fault::Throttled),
        (401, "AuthFailure", Fault::Auth),
        (400, "InvalidInstanceID.NotFound", Fault::NotFound),
        (400, "Client.InvalidInstanceID.NotFound", Fault::NotFound),
        (400, "SomethingNew", Fault::Rejected),
        (403, "SomethingNew", Fault::Auth),
        (429, "SomethingNew", Fault::Throttled),
        (502, "SomethingNew", Fault::Transient),
    ] {
        let found = described(status, error(status, code).1).await;
        assert_eq!((found.fault, found.maybe_applied), (expected, false), "{code}");
    }
}

#[tokio::test]
async fn a_create_without_a_row_is_of_unknown_outcome() {
    let page = "<html><body>502 Bad Gateway</body></html>";
    for (status, body) in [
        (400, error(400, "SomethingNew").1),
        (403, page.into()),
        (429, String::new()),
        (500, String::new()),
        (502, page.into()),
        (200, page.into()),
        (200, String::new()),
        (200, ok("RunInstances", "").1),
        (200, ok("RunInstances", "<instancesSet><item><instanceId>i-").1),
    ] {
        let found = launched(status, body.clone()).await;
        assert_eq!(found.fault, Fault::Unknown, "{status} {body}: {found}");
        assert!(found.maybe_applied && found.refusal().is_none(), "{status} {body}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_never_an_empty_one() {
    for body in [
        "<html>welcome to the hotel</html>".to_owned(),
        String::new(),
        ok("DescribeInstances", "").1,
        ok("DescribeRegions", "").1,
    ] {
        let found = described(200, body.clone()).await;
        assert_eq!((found.fault, found.maybe_applied), (Fault::Transient, false), "{body}");
        let replay = Replay::start(move |_| (200, body.clone())).await;
        let owner = OwnerTag { fleet: FleetId::new("0".repeat(32)) };
        assert!(replay.provider().await.list(&owner).await.is_err());
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
    let owner = OwnerTag { fleet: FleetId::new("0".repeat(32)) };
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let found = connect(config(&nobody)).await.unwrap().list(&owner).await.unwrap_err();
    assert_eq!((found.fault, found.code.as_str()), (Fault::Transient, "unreachable"), "{found}");

    // The create itself goes to a server that hangs up; what it stands on answers before that.
    let mute = hangs_up().await;
    let provider = connect(config(&mute)).await.unwrap();
    let call = provider.clients.ec2("us-east-1").run_instances().send().await.unwrap_err();
    let found = fault::classify("RunInstances", fleet_provider_kit::Effect::Create, &call);
    assert_eq!((found.fault, found.maybe_applied), (Fault::Unknown, true), "{found}");
    let provider = connect(config(&nobody)).await.unwrap();
    let call = provider.clients.ec2("us-east-1").run_instances().send().await.unwrap_err();
    let found = fault::classify("RunInstances", fleet_provider_kit::Effect::Create, &call);
    assert_eq!((found.fault, found.maybe_applied), (Fault::Transient, false), "{found}");
}

#[tokio::test]
async fn missing_credentials_say_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/config"), "[default]\nregion = us-east-1\n").unwrap();
    let mut config = config("http://127.0.0.1:9");
    config.environment = [("HOME".to_owned(), home.path().display().to_string())].into();
    let found = connect(config.clone()).await.unwrap().verify().await.unwrap_err();
    assert_eq!((found.fault, found.scope), (Fault::Auth, Scope::Provider), "{found}");
    assert!(!found.maybe_applied && found.text().contains("aws sso login"), "{found}");
    // A profile is there: whose it is, and what runs under it, is not known.
    assert!(!found.is_unconfigured(), "{found}");
    config.environment.clear();
    let found = connect(config).await.unwrap_err();
    assert_eq!((found.fault, found.is_unconfigured()), (Fault::Auth, true), "{found}");
}
