//! EC2 as its clients see it.

use super::{Lab, http, sandbox, spot, text_of, until};
use crate::Scenario;
use serde_json::json;

async fn launch(b: &Lab, token: &str) -> String {
    let (status, xml) = b.ec2("RunInstances", &spot(token, &[])).await;
    assert_eq!(status, 200, "{xml}");
    text_of(&xml, "instanceId").to_owned()
}

#[tokio::test]
async fn only_the_sandboxs_own_keys_are_let_in() {
    let b = sandbox(Scenario::default()).await;
    let url = format!("{}/", b.running.state.endpoints.aws);
    let body = "Action=DescribeRegions";
    for header in [None, Some("Basic x"), Some("AWS4-HMAC-SHA256 Credential=AKIASANDBOX/x")] {
        let headers: Vec<(&str, &str)> = header.map(|h| ("authorization", h)).into_iter().collect();
        let (status, xml) = http("POST", &url, &headers, body).await.unwrap();
        assert_eq!((status, text_of(&xml, "Code")), (401, "AuthFailure"), "{header:?}");
    }
    let real = b.signed("AKIAIOSFODNN7EXAMPLE", "ec2", "us-east-1", "DescribeRegions", &[]).await;
    assert_eq!(text_of(&real.unwrap().1, "Code"), "AuthFailure");
    let (status, xml) = b.ec2("DescribeRegions", &[]).await;
    assert_eq!((status, xml.matches("<regionName>").count()), (200, 10), "{xml}");
}

#[tokio::test]
async fn one_token_is_one_instance_also_after_its_death() {
    let b = sandbox(Scenario::default()).await;
    let id = launch(&b, "t1").await;
    assert_eq!(launch(&b, "t1").await, id);
    let other = b.ec2("RunInstances", &spot("t1", &[("InstanceType", "g4dn.2xlarge")])).await;
    assert_eq!((other.0, text_of(&other.1, "Code")), (400, "IdempotentParameterMismatch"));
    b.in_state(&id, "running").await;
    b.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await;
    b.in_state(&id, "terminated").await;
    let (_, again) = b.ec2("RunInstances", &spot("t1", &[])).await;
    assert_eq!(text_of(&again, "instanceId"), id);
    assert!(again.contains("<name>terminated</name>"), "{again}");
    let ledger = b.ledger().await;
    assert_eq!(ledger["instances"].as_array().unwrap().len(), 1);
    assert_eq!(ledger["instances"][0]["token"], "t1");
}

#[tokio::test]
async fn each_refusal_has_its_code_and_status_and_makes_nothing() {
    let b = sandbox(Scenario::default()).await;
    let big = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        vec![b'x'; 16 * 1024 + 1],
    );
    let max = "InstanceMarketOptions.SpotOptions.MaxPrice";
    type Change<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Change<'_>, u16, &str); 9] = [
        (&[("Placement.AvailabilityZone", "us-east-1e")], 400, "Unsupported"),
        (&[("Placement.AvailabilityZone", "us-west-2a")], 400, "InvalidParameterValue"),
        (&[(max, "0.01")], 400, "SpotMaxPriceTooLow"),
        (&[("InstanceType", "t4.nonsense")], 400, "InvalidParameterValue"),
        (&[("KeyName", "none")], 400, "InvalidKeyPair.NotFound"),
        (&[("SecurityGroupId.1", "sg-00000000000000001")], 400, "InvalidGroup.NotFound"),
        (&[("UserData", &big)], 400, "InvalidParameterValue"),
        (&[("ImageId", "ubuntu")], 400, "InvalidAMIID.Malformed"),
        (&[("DryRun", "true")], 412, "DryRunOperation"),
    ];
    for (i, (change, status, code)) in cases.into_iter().enumerate() {
        let token = format!("t{i}");
        let (got, xml) = b.ec2("RunInstances", &spot(&token, change)).await;
        assert_eq!((got, text_of(&xml, "Code")), (status, code), "{change:?}: {xml}");
    }
    let (status, xml) = b.ec2("NoSuchAction", &[]).await;
    assert_eq!((status, text_of(&xml, "Code")), (400, "InvalidAction"));
    let (_, xml) = b.ec2("DescribeInstances", &[("Filter.1.Name", "tagg:x")]).await;
    assert_eq!(text_of(&xml, "Code"), "", "without rows no filter can be judged");
    assert!(b.ledger().await["instances"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn capacity_is_a_500_and_quotas_are_400() {
    let b = super::named("sold-out").await;
    let (status, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    assert_eq!((status, text_of(&xml, "Code")), (500, "InsufficientInstanceCapacity"));
    let mut on_demand = spot("t2", &[]);
    on_demand.retain(|(k, _)| !k.starts_with("InstanceMarket"));
    assert_eq!(b.ec2("RunInstances", &on_demand).await.0, 200, "on-demand is there");

    let b = super::named("quota").await;
    let (status, xml) = b.ec2("RunInstances", &spot("t", &[])).await;
    assert_eq!((status, text_of(&xml, "Code")), (400, "MaxSpotInstanceCountExceeded"));
    let limit = br#"{"places":[{"match":{"provider":"aws","market":"on-demand"},"quota":3}]}"#;
    let b = sandbox(Scenario::from_json("q", limit).unwrap()).await;
    let (status, xml) = b.ec2("RunInstances", &on_demand).await;
    assert_eq!((status, text_of(&xml, "Code")), (400, "VcpuLimitExceeded"));
}

#[tokio::test]
async fn a_preemption_is_announced_on_the_machine_and_outside_then_kills() {
    let b = sandbox(Scenario::default()).await;
    let id = launch(&b, "t").await;
    b.in_state(&id, "running").await;
    let base = {
        let specs = b.recorder.specs.lock().unwrap();
        let env = &specs[0].env;
        env.iter().find(|(k, _)| k == "AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap().1.clone()
    };
    let action = format!("{base}/latest/meta-data/spot/instance-action");
    assert_eq!(http("GET", &action, &[], "").await.unwrap().0, 401, "no token, no answer");
    let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
    let url = format!("{base}/latest/api/token");
    let (_, token) = http("PUT", &url, &ttl, "").await.unwrap();
    let with = [("x-aws-ec2-metadata-token", token.as_str())];
    assert_eq!(http("GET", &action, &with, "").await.unwrap().0, 404, "no notice yet");

    let asked = json!({"instance": id, "warning_ms": 1500});
    let (status, answer) = b.control("POST", "/preempt", asked).await;
    assert_eq!((status, &answer["preempted"][0]["notice"]), (200, &json!(true)), "{answer}");
    let (status, text) = http("GET", &action, &with, "").await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &document["action"]), (200, &json!("terminate")));
    let rebalance = format!("{base}/latest/meta-data/events/recommendations/rebalance");
    assert_eq!(http("GET", &rebalance, &with, "").await.unwrap().0, 200);
    let (_, xml) = b.ec2("DescribeSpotInstanceRequests", &[]).await;
    assert_eq!(text_of(&xml, "code"), "marked-for-termination");
    b.in_state(&id, "running").await;

    let xml = b.in_state(&id, "terminated").await;
    assert!(xml.contains("<code>Server.SpotInstanceTermination</code>"), "{xml}");
    let reason = text_of(&xml, "reason");
    assert!(reason.starts_with("Server.SpotInstanceTermination (20") && reason.ends_with(" GMT)"));
    let (_, xml) = b.ec2("DescribeSpotInstanceRequests", &[]).await;
    assert_eq!(text_of(&xml, "code"), "instance-terminated-no-capacity");
    let again = b.ec2("RunInstances", &spot("t2", &[])).await;
    assert_eq!(text_of(&again.1, "Code"), "InsufficientInstanceCapacity", "the pool ran dry");
    assert!(http("GET", &action, &with, "").await.is_err(), "its metadata died with it");
    let ledger = b.ledger().await;
    assert_eq!(ledger["instances"][0]["end_cause"], "preempted-capacity");
}

#[tokio::test]
async fn it_bills_by_the_reported_start_until_terminate_was_accepted() {
    let b = sandbox(Scenario::default()).await;
    let id = launch(&b, "t").await;
    let xml = b.in_state(&id, "running").await;
    let volumes = b.ec2("DescribeVolumes", &[]).await.1;
    assert!(volumes.contains(&id), "{volumes}");
    let started = crate::clock::parse(text_of(&xml, "launchTime")).unwrap();
    b.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await;
    let xml = b.in_state(&id, "terminated").await;
    assert!(xml.contains("Client.UserInitiatedShutdown"), "{xml}");
    let ledger = b.ledger().await;
    let row = &ledger["instances"][0];
    let at = |v: &serde_json::Value| crate::clock::parse(v.as_str().unwrap()).unwrap();
    assert_eq!(at(&row["started_at"]), started);
    let hours = at(&row["ended_at"]).since(started).as_secs_f64() / 3600.0;
    let cost = row["price_usd_per_hour"].as_f64().unwrap() * hours;
    assert!((row["cost_usd"].as_f64().unwrap() - cost).abs() < 2e-6, "{row}");
    assert_eq!(ledger["resources"][0]["ended_at"], row["ended_at"], "the disk ends with it");
    assert!(!b.ec2("DescribeVolumes", &[]).await.1.contains("<volumeId>"));
}

#[tokio::test]
async fn lists_filter_and_page() {
    let b = sandbox(Scenario::default()).await;
    let mut ids = Vec::new();
    for token in ["a", "b", "c"] {
        ids.push(launch(&b, token).await);
    }
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let mut params = vec![
            ("MaxResults", "2"),
            ("Filter.1.Name", "tag:fleet"),
            ("Filter.1.Value.1", "f*"),
            ("Filter.2.Name", "instance-state-name"),
            ("Filter.2.Value.1", "pending"),
            ("Filter.2.Value.2", "running"),
        ];
        if !next.is_empty() {
            params.push(("NextToken", &next));
        }
        let (_, xml) = b.ec2("DescribeInstances", &params).await;
        seen.extend(xml.split("<instanceId>").skip(1).map(|s| s[..19].to_owned()));
        next = text_of(&xml, "nextToken").to_owned();
        if next.is_empty() {
            break;
        }
    }
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids);
    let none = [("Filter.1.Name", "tag:fleet"), ("Filter.1.Value.1", "g")];
    assert!(!b.ec2("DescribeInstances", &none).await.1.contains("<instanceId>"));
    let odd = [("Filter.1.Name", "no-such"), ("Filter.1.Value.1", "g")];
    let (status, xml) = b.ec2("DescribeInstances", &odd).await;
    assert_eq!((status, text_of(&xml, "Code")), (400, "InvalidParameterValue"));
    let elsewhere = b.try_ec2("us-west-2", "DescribeInstances", &[]).await.unwrap().1;
    assert!(!elsewhere.contains("<instanceId>"), "regions are apart");
}

#[tokio::test]
async fn spot_prices_name_both_zone_words_and_t4_is_cheap_in_three_places() {
    let b = sandbox(Scenario::default()).await;
    let now = crate::clock::iso(crate::clock::now());
    let params = [("InstanceType.1", "g4dn.xlarge"), ("StartTime", now.as_str())];
    let (_, xml) = b.ec2("DescribeSpotPriceHistory", &params).await;
    let rows: Vec<&str> = xml.split("<item>").skip(1).collect();
    assert_eq!(rows.len(), 5, "one price in force a zone: {xml}");
    for row in rows {
        let price: f64 = text_of(row, "spotPrice").parse().unwrap();
        assert!((0.10..0.25).contains(&price), "{row}");
        assert!(text_of(row, "availabilityZoneId").starts_with("use1-az"));
    }
    let scores = [
        ("TargetCapacity", "1"),
        ("InstanceType.1", "g4dn.xlarge"),
        ("SingleAvailabilityZone", "true"),
    ];
    let (_, xml) = b.ec2("GetSpotPlacementScores", &scores).await;
    let good = xml.split("<score>").skip(1).filter(|s| !s.starts_with("1<")).count();
    assert!(good >= 3, "{xml}");
}

#[tokio::test]
async fn keys_and_groups_have_their_refusals() {
    let b = sandbox(Scenario::default()).await;
    let line = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me",
    );
    let key = [("KeyName", "k"), ("PublicKeyMaterial", line.as_str())];
    assert_eq!(b.ec2("ImportKeyPair", &key).await.0, 200);
    assert_eq!(text_of(&b.ec2("ImportKeyPair", &key).await.1, "Code"), "InvalidKeyPair.Duplicate");
    let named = [("GroupName", "fleet"), ("GroupDescription", "d")];
    let (_, xml) = b.ec2("CreateSecurityGroup", &named).await;
    let group = text_of(&xml, "groupId").to_owned();
    let code = |xml: String| text_of(&xml, "Code").to_owned();
    assert_eq!(code(b.ec2("CreateSecurityGroup", &named).await.1), "InvalidGroup.Duplicate");
    let rule = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "22"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.1/32"),
    ];
    assert_eq!(b.ec2("AuthorizeSecurityGroupIngress", &rule).await.0, 200);
    let twice = b.ec2("AuthorizeSecurityGroupIngress", &rule).await.1;
    assert_eq!(code(twice), "InvalidPermission.Duplicate");
    assert_eq!(b.ec2("RevokeSecurityGroupIngress", &rule).await.0, 200);
    let gone = b.ec2("RevokeSecurityGroupIngress", &rule).await.1;
    assert_eq!(code(gone), "InvalidPermission.NotFound");

    let with = [("KeyName", "k"), ("NetworkInterface.1.SecurityGroupId.1", group.as_str())];
    let (_, xml) = b.ec2("RunInstances", &spot("t", &with)).await;
    let id = text_of(&xml, "instanceId").to_owned();
    b.in_state(&id, "running").await;
    let keys = b.recorder.specs.lock().unwrap()[0].authorized_keys.clone();
    assert_eq!(keys, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ"]);
    let used = b.ec2("DeleteSecurityGroup", &[("GroupId", &group)]).await.1;
    assert_eq!(code(used), "DependencyViolation");
    b.ec2("TerminateInstances", &[("InstanceId.1", &id)]).await;
    until("the group is free", || async {
        let (status, _) = b.ec2("DeleteSecurityGroup", &[("GroupId", &group)]).await;
        (status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_exits_or_ends_itself_says_so() {
    let b = sandbox(Scenario::default()).await;
    let (one, two) = (launch(&b, "a").await, launch(&b, "b").await);
    b.in_state(&one, "running").await;
    b.in_state(&two, "running").await;
    b.recorder.dead.lock().unwrap().insert(one.clone());
    let (status, _) = b.control("POST", &format!("/machines/{two}/end"), json!({})).await;
    assert_eq!(status, 200);
    for id in [one, two] {
        let xml = b.in_state(&id, "terminated").await;
        assert!(xml.contains("<code>Client.InstanceInitiatedShutdown</code>"), "{xml}");
    }
}
