//! The create: its whole body, its sameness, and what it stands on.

use super::replay::{Answer, Asked, Replay, ok};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet_provider::{Boot, Candidate, LaunchRequest, OwnerTag, Provider as _};
use fleet_provider_kit::boot;
use fleet_types::{
    Accelerator, Availability, DeathCause, Epoch, Fault, FleetId, InstanceState, JobId,
    MachineClass, Market, Offer, Place, ProviderId, Scope, Timestamp, Token, Trust, Usd,
};

const FLEET: &str = "0123456789abcdef0123456789abcdef";

/// A create of one g5.xlarge.
pub(super) fn request(market: Market) -> LaunchRequest {
    let price = Usd::from_dollars(0.4021);
    let offer = Offer {
        place: Place {
            provider: ProviderId::Aws,
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
        },
        instance_type: "g5.xlarge".into(),
        market,
        key: "g5.xlarge@us-east-1a".into(),
        accelerator: Some(Accelerator::new("A10G", 1)),
        gpu_memory_gb: Some(24.0),
        vcpus: 4.0,
        memory_gib: 16.0,
        disk_gib: None,
        price_usd_per_hour: price,
        on_demand_usd_per_hour: None,
        disk_usd_per_gib_hour: None,
        egress_usd_per_gb: None,
        available: Availability::Unknown,
        hazard_per_hour: None,
        hazard_source: None,
        reliability: None,
        verified: None,
        datacenter: None,
        cuda: None,
        inet_down_mbps: None,
        inet_up_mbps: None,
        ends_in_seconds: None,
        class: MachineClass::Vm,
        trust: Trust::Trusted,
    };
    LaunchRequest {
        token: Token::new("fedcba9876543210fedcba9876543210"),
        owner: OwnerTag { fleet: FleetId::new(FLEET) },
        job: JobId::new("j-0123456789ab"),
        epoch: Epoch(2),
        node: 0,
        market,
        candidates: vec![Candidate { offer, limit_usd_per_hour: Usd::from_dollars(0.526).unwrap() }],
        expires_at: Timestamp::from_millis(1_795_000_000_000),
        boot: Boot {
            login_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample me@laptop".into(),
            host_key: "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n"
                .to_owned()
                .into(),
            orphan_minutes: 15,
        },
        image: None,
        disk_gib: 100,
        labels: [("team".to_owned(), "vision".to_owned())].into(),
        ports: vec![8080],
        admit_from: Some("203.0.113.7/32".into()),
    }
}

/// An account with a default network, and nothing of ours in it yet.
pub(super) fn footing(asked: &Asked) -> Answer {
    let action = asked.action.as_str();
    match action {
        "DescribeSubnets" => ok(action, include_str!("../../fixtures/describe-subnets.xml")),
        "DescribeSecurityGroups" => ok(action, "<securityGroupInfo/>"),
        "CreateSecurityGroup" => ok(action, "<return>true</return><groupId>sg-1</groupId>"),
        "AuthorizeSecurityGroupIngress" => ok(action, "<return>true</return>"),
        "DescribeKeyPairs" => ok(action, "<keySet/>"),
        "ImportKeyPair" => ok(action, "<keyName>k</keyName><keyPairId>key-1</keyPairId>"),
        "RunInstances" => ok(action, include_str!("../../fixtures/run-instances.xml")),
        _ => super::replay::error(400, "InvalidAction"),
    }
}

/// The form, one field a line, without what the boot script says.
fn shown(asked: &Asked) -> String {
    let fields = asked.form.iter().filter(|(k, _)| k != "UserData");
    fields.map(|(k, v)| format!("{k}={v}\n")).collect()
}

#[tokio::test]
async fn the_body_of_a_spot_create_is_complete() {
    let replay = Replay::start(footing).await;
    let made = replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    let run = replay.asked("RunInstances").remove(0);
    assert_eq!(shown(&run), include_str!("../../fixtures/run-instances.spot.golden"));
    let user_data = STANDARD.decode(run.get("UserData").unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(user_data).unwrap(),
        boot::cloud_config(&request(Market::Spot).boot, "ubuntu")
    );
    assert_eq!((made.id.as_str(), made.state), ("i-0abc1234567890def", InstanceState::Pending));
    assert_eq!(made.place, request(Market::Spot).candidates[0].offer.place);
    assert_eq!(made.token.as_ref(), Some(&request(Market::Spot).token));
    assert_eq!((made.market, made.fleet.as_deref()), (Market::Spot, Some(FLEET)));
    assert_eq!(made.launched_at, Timestamp::parse("2026-01-02T03:04:05Z"));
}

#[tokio::test]
async fn on_demand_says_nothing_of_a_market_and_is_never_dearer() {
    let replay = Replay::start(footing).await;
    let provider = replay.provider().await;
    provider.launch(&request(Market::OnDemand)).await.unwrap();
    let run = replay.asked("RunInstances").remove(0);
    assert!(
        !run.form
            .iter()
            .any(|(k, v)| k.starts_with("InstanceMarket") || v == "spot-instances-request")
    );
    let mut dear = request(Market::OnDemand);
    dear.candidates[0].limit_usd_per_hour = Usd::from_dollars(0.4).unwrap();
    let refused = provider.launch(&dear).await.unwrap_err();
    assert_eq!((refused.fault, refused.maybe_applied), (Fault::Price, false));
    assert_eq!(replay.asked("RunInstances").len(), 1);
}

#[tokio::test]
async fn the_same_request_has_the_same_body_whatever_was_made_before() {
    let replay = Replay::start(footing).await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    // The second time, from another process, group and key are there already.
    let later = Replay::start(|asked| match asked.action.as_str() {
        "DescribeSecurityGroups" => ok(
            "DescribeSecurityGroups",
            include_str!("../../fixtures/describe-security-groups.xml"),
        ),
        "DescribeKeyPairs" => {
            ok("DescribeKeyPairs", "<keySet><item><keyPairId>key-1</keyPairId></item></keySet>")
        }
        _ => footing(asked),
    })
    .await;
    later.provider().await.launch(&request(Market::Spot)).await.unwrap();
    assert_eq!(replay.asked("RunInstances")[0].body, later.asked("RunInstances")[0].body);
    assert!(
        later.asked("CreateSecurityGroup").is_empty() && later.asked("ImportKeyPair").is_empty()
    );
    // SSH was open to this address, the user's port was not.
    let opened = later.asked("AuthorizeSecurityGroupIngress");
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].get("IpPermissions.1.FromPort"), Some("8080"));
}

#[tokio::test]
async fn group_and_key_are_made_once_and_admit_one_address() {
    let replay = Replay::start(footing).await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    let group = replay.asked("CreateSecurityGroup").remove(0);
    assert_eq!(
        (group.get("GroupName"), group.get("VpcId")),
        (Some("fleet-01234567"), Some("vpc-1"))
    );
    assert!(group.mentions("security-group") && group.mentions(FLEET));
    let opened = replay.asked("AuthorizeSecurityGroupIngress");
    let ports: Vec<_> = opened.iter().filter_map(|a| a.get("IpPermissions.1.FromPort")).collect();
    assert_eq!(ports, ["22", "8080"]);
    assert!(
        opened.iter().all(|a| a.get("IpPermissions.1.IpRanges.1.CidrIp") == Some("203.0.113.7/32"))
    );
    let key = replay.asked("ImportKeyPair").remove(0);
    let material = STANDARD.decode(key.get("PublicKeyMaterial").unwrap()).unwrap();
    assert_eq!(String::from_utf8(material).unwrap(), request(Market::Spot).boot.login_key);
    assert!(key.mentions(FLEET) && key.get("KeyName").unwrap().starts_with("fleet-01234567-"));
}

#[tokio::test]
async fn an_unknown_own_address_opens_nothing() {
    let replay = Replay::start(footing).await;
    let mut request = request(Market::Spot);
    request.admit_from = None;
    replay.provider().await.launch(&request).await.unwrap();
    assert!(replay.asked("AuthorizeSecurityGroupIngress").is_empty());
    assert_eq!(replay.asked("RunInstances").len(), 1);
}

#[tokio::test]
async fn duplicates_made_by_another_launch_are_adopted() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "CreateSecurityGroup" => super::replay::error(400, "InvalidGroup.Duplicate"),
        "ImportKeyPair" => super::replay::error(400, "InvalidKeyPair.Duplicate"),
        "AuthorizeSecurityGroupIngress" => super::replay::error(400, "InvalidPermission.Duplicate"),
        "DescribeSecurityGroups" => ok("DescribeSecurityGroups", "<securityGroupInfo/>"),
        _ => footing(asked),
    })
    .await;
    // The group exists but is not visible yet: another try, and nothing was made.
    let error = replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
    assert_eq!((error.fault, error.maybe_applied), (Fault::Transient, false));
    assert!(replay.asked("RunInstances").is_empty());
}

#[tokio::test]
async fn a_missing_network_is_explained_and_nothing_is_made() {
    for (vpcs, scope, hint) in [
        ("<vpcSet/>", Scope::Region, "create-default-vpc --region us-east-1"),
        (
            "<vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet>",
            Scope::Zone,
            "--availability-zone us-east-1a",
        ),
    ] {
        let replay = Replay::start(move |asked| match asked.action.as_str() {
            "DescribeSubnets" => ok("DescribeSubnets", "<subnetSet/>"),
            "DescribeVpcs" => ok("DescribeVpcs", vpcs),
            _ => footing(asked),
        })
        .await;
        let error = replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
        assert_eq!(
            (error.fault, error.scope, error.maybe_applied),
            (Fault::Rejected, scope, false)
        );
        assert!(error.text().contains(hint), "{error}");
        assert!(replay.asked("RunInstances").is_empty());
    }
}

#[tokio::test]
async fn trouble_before_the_create_proves_that_nothing_was_made() {
    for broken in
        ["DescribeSubnets", "DescribeSecurityGroups", "CreateSecurityGroup", "ImportKeyPair"]
    {
        let replay = Replay::start(move |asked| {
            if asked.action == broken {
                super::replay::error(500, "InternalError")
            } else {
                footing(asked)
            }
        })
        .await;
        let error = replay.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
        assert_eq!(
            (error.fault, error.maybe_applied),
            (Fault::Transient, false),
            "{broken}: {error}"
        );
        assert!(replay.asked("RunInstances").is_empty(), "{broken}");
    }
}

#[tokio::test]
async fn a_token_whose_machine_has_died_brings_the_dead_machine() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "RunInstances" => {
            let dead = include_str!("../../fixtures/run-instances.xml")
                .replace("<name>pending</name>", "<name>terminated</name>");
            ok("RunInstances", &dead)
        }
        _ => footing(asked),
    })
    .await;
    let made = replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    assert_eq!(made.state, InstanceState::Terminated { cause: DeathCause::Unsaid });
}

#[tokio::test]
async fn an_image_of_the_users_own_decides_the_root_device() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeImages" => ok(
            "DescribeImages",
            "<imagesSet><item><imageId>ami-1</imageId><rootDeviceName>/dev/xvda</rootDeviceName></item></imagesSet>",
        ),
        _ => footing(asked),
    })
    .await;
    let mut own = request(Market::Spot);
    own.image = Some("ami-1".into());
    replay.provider().await.launch(&own).await.unwrap();
    let run = replay.asked("RunInstances").remove(0);
    assert_eq!(run.get("ImageId"), Some("ami-1"));
    assert_eq!(run.get("BlockDeviceMapping.1.DeviceName"), Some("/dev/xvda"));
    let mut plain = request(Market::Spot);
    plain.candidates[0].offer.accelerator = None;
    replay.provider().await.launch(&plain).await.unwrap();
    assert!(replay.asked("RunInstances")[1].get("ImageId").unwrap().contains("/canonical/ubuntu/"));
}
