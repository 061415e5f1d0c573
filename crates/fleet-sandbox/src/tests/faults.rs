//! The built-in scenarios do to callers what they say.

use super::{Lab, named, sandbox, spot, text_of, until};
use crate::{CallRule, PreemptRule, Scenario, Since};
use serde_json::json;

async fn machines(b: &Lab) -> usize {
    b.ledger().await["instances"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_lost_answer_has_happened() {
    let b = named("lost-answer").await;
    let lost = b.try_ec2("us-east-1", "RunInstances", &spot("t", &[])).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(machines(&b).await, 1);
    let found = until("found by its token", || async {
        let filter = [("Filter.1.Name", "client-token"), ("Filter.1.Value.1", "t")];
        let (_, xml) = b.ec2("DescribeInstances", &filter).await;
        Some(text_of(&xml, "instanceId").to_owned()).filter(|id| !id.is_empty())
    })
    .await;
    let again = until("an answer gets through", || async {
        b.try_ec2("us-east-1", "RunInstances", &spot("t", &[])).await.ok()
    })
    .await;
    assert_eq!(text_of(&again.1, "instanceId"), found, "the token finds the same machine");
}

#[tokio::test]
async fn a_5xx_after_the_effect_has_happened() {
    let b = named("effect-5xx").await;
    let (status, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    assert_eq!((status, text_of(&xml, "Code")), (500, "InternalError"));
    assert_eq!(machines(&b).await, 1);
    let mutations = b.ledger().await["mutations"].clone();
    assert!(mutations[0]["result"].as_str().unwrap().starts_with("ok i-"), "{mutations}");
}

#[tokio::test]
async fn throttling_is_503_without_effect() {
    let rule = CallRule { throttle: 1.0, first: Some(1), ..CallRule::default() };
    let b = sandbox(Scenario { calls: vec![rule], ..Scenario::default() }).await;
    let (status, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    assert_eq!((status, text_of(&xml, "Code")), (503, "RequestLimitExceeded"));
    assert_eq!(machines(&b).await, 0);
    assert_eq!(b.ec2("RunInstances", &spot("t", &[])).await.0, 200);
}

#[tokio::test]
async fn a_fresh_machine_is_not_found_while_it_lags() {
    let mut scenario = crate::builtin("lag").unwrap();
    scenario.calls.clear();
    // 8 s at a scale of 0.05 are 400 ms.
    let b = super::scaled(scenario, 0.05).await;
    let (_, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    let id = text_of(&xml, "instanceId").to_owned();
    let (status, xml) = b.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!((status, text_of(&xml, "Code")), (400, "InvalidInstanceID.NotFound"));
    assert!(!b.ec2("DescribeInstances", &[]).await.1.contains(&id));
    b.in_state(&id, "running").await;
}

#[tokio::test]
async fn the_demo_takes_the_first_reported_spot_machine_once() {
    let mut scenario = crate::builtin("demo").unwrap();
    assert_eq!(scenario.preemptions[0].after_seconds, 15.0);
    scenario.preemptions[0].after_seconds = 0.1;
    let b = sandbox(scenario).await;
    let mut ids = Vec::new();
    for token in ["a", "b"] {
        let (_, xml) = b.ec2("RunInstances", &spot(token, &[])).await;
        let id = text_of(&xml, "instanceId").to_owned();
        b.in_state(&id, "running").await;
        ids.push(id);
    }
    let report = |id: String| b.control("POST", "/running", json!({"instance": id}));
    assert_eq!(report(ids[1].clone()).await.0, 200);
    let marked = |id: String| {
        let b = &b;
        async move {
            let filter = [("Filter.1.Name", "instance-id"), ("Filter.1.Value.1", id.as_str())];
            let (_, xml) = b.ec2("DescribeSpotInstanceRequests", &filter).await;
            (text_of(&xml, "code") == "marked-for-termination").then_some(())
        }
    };
    until("a notice", || marked(ids[1].clone())).await;
    let status = b.control("GET", "/status", serde_json::Value::Null).await.1;
    let notice = status["machines"].as_array().unwrap().iter().find_map(|m| m["notice"].as_str());
    let left = crate::clock::parse(notice.unwrap()).unwrap().since(crate::clock::now());
    assert!((110..=120).contains(&left.as_secs()), "AWS's own warning: {left:?}");
    report(ids[0].clone()).await;
    b.control("POST", "/preempt", json!({"instance": ids[1], "warning_ms": 0})).await;
    b.in_state(&ids[1], "terminated").await;
    assert!(marked(ids[0].clone()).await.is_none(), "only once");
}

#[tokio::test]
async fn a_rule_with_its_own_warning_and_a_trace_take_machines() {
    let rule = PreemptRule {
        pattern: crate::scenario::Pattern::default(),
        after_seconds: 0.0,
        since: Since::Running,
        warning_seconds: Some(0.2),
        times: None,
    };
    let b = sandbox(Scenario { preemptions: vec![rule], ..Scenario::default() }).await;
    let (_, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    b.in_state(text_of(&xml, "instanceId"), "terminated").await;

    let dir = tempfile::tempdir().unwrap();
    let trace = json!({"gap_seconds": 1.0, "ticks": 2, "available": "10"});
    std::fs::write(dir.path().join("t.json"), trace.to_string()).unwrap();
    let text = json!({"places": [{"match": {"zone": "us-east-1a"}, "trace": "t.json"}]});
    let file = dir.path().join("s.json");
    std::fs::write(&file, text.to_string()).unwrap();
    let b = sandbox(Scenario::load(file.to_str().unwrap()).unwrap()).await;
    let (_, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    assert!(!text_of(&xml, "instanceId").is_empty(), "{xml}");
    until("the trace ends it", || async {
        let (_, xml) = b.ec2("DescribeSpotInstanceRequests", &[]).await;
        (text_of(&xml, "code") == "marked-for-termination").then_some(())
    })
    .await;
}
