//! The control endpoint, and the end of a sandbox.

use super::{Lab, sandbox, spot, text_of};
use crate::{Error, Scenario, Target};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn unknown_machines_and_calls_are_refused_with_the_reason() {
    let b = sandbox(Scenario::default()).await;
    for (path, body) in [
        ("/preempt", json!({"instance": "i-1"})),
        ("/running", json!({"instance": "i-1"})),
        ("/machines/i-1/end", json!({})),
    ] {
        let (status, answer) = b.control("POST", path, body).await;
        assert_eq!(status, 404, "{path}");
        assert!(answer["error"].as_str().unwrap().contains("i-1"), "{answer}");
    }
    assert_eq!(b.control("POST", "/preempt", json!({})).await.0, 400);
    assert_eq!(b.control("GET", "/nonsense", json!({})).await.0, 404);
    let state = &b.running.state;
    let refused = crate::preempt(state, &Target::Instance("i-1".into()), None).await.unwrap_err();
    assert!(refused.to_string().contains("no machine `i-1`"), "{refused}");
}

#[tokio::test]
async fn a_machine_that_ended_cannot_be_preempted_again() {
    let b = sandbox(Scenario::default()).await;
    let (_, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    let id = text_of(&xml, "instanceId").to_owned();
    let target = Target::Instance(id.clone());
    let taken = crate::preempt(&b.running.state, &target, Some(Duration::ZERO)).await.unwrap();
    assert!(!taken[0].notice);
    let late = crate::preempt(&b.running.state, &target, None).await.unwrap_err();
    assert!(late.to_string().contains("ended at"), "{late}");
    assert_eq!(crate::preempt(&b.running.state, &Target::All, None).await.unwrap(), []);
}

#[tokio::test]
async fn down_ends_every_machine_and_leaves_the_ledger() {
    let Lab { running, recorder: _recorder, dir, life } = {
        let b = sandbox(Scenario::default()).await;
        for token in ["a", "b"] {
            assert_eq!(b.ec2("RunInstances", &spot(token, &[])).await.0, 200);
        }
        b
    };
    let home = dir.path().join("sandbox");
    assert_eq!(crate::state(&home).as_ref(), Some(&running.state));
    let config = crate::Config {
        dir: home.clone(),
        seed: 1,
        scenario: Scenario::default(),
        time_scale: fleet_types::TimeScale::default(),
        program: "unused".into(),
        one_shot: false,
    };
    let second = super::serve::start(&config, std::sync::Arc::new(super::Recorder::default()));
    assert!(matches!(second.await, Err(Error::AlreadyRunning { .. })));

    let stop = tokio::spawn(async move {
        life.await.unwrap();
        running.finish().await;
    });
    crate::down(&home).await.unwrap();
    stop.await.unwrap();
    assert_eq!(crate::state(&home), None);
    let ledger = crate::ledger(&home).await.unwrap();
    let rows = ledger["instances"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|r| r["end_cause"] == "sandbox-down"), "{ledger}");
    assert!(ledger["resources"].as_array().unwrap().iter().all(|r| !r["ended_at"].is_null()));
    assert!(matches!(crate::down(&home).await, Err(Error::NotRunning(_))));
}

#[tokio::test]
async fn the_ledger_of_a_crashed_sandbox_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(crate::ledger(dir.path()).await, Err(Error::NoLedger(_))));
    let left = json!({
        "written_at": "2026-01-01T00:00:00.000Z",
        "instances": [{"id": "i-1", "ended_at": null, "end_cause": null}],
        "resources": [{"id": "vol-1", "ended_at": null}],
    });
    std::fs::write(crate::ledger_path(dir.path()), left.to_string()).unwrap();
    let ledger = crate::ledger(dir.path()).await.unwrap();
    assert_eq!(ledger["instances"][0]["end_cause"], "sandbox-lost");
    assert_eq!(ledger["resources"][0]["ended_at"], left["written_at"]);
}
