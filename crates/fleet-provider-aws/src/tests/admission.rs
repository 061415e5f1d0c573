//! Things besides machines: found, removed, and the door moved to a new address.

use super::replay::{Replay, error, ok, regions};
use fleet_provider::{Leftover, OwnerTag, Provider as _};
use fleet_types::{Fault, FleetId, Place, ProviderId};

const GROUPS: &str = include_str!("../../fixtures/describe-security-groups.xml");

fn owner() -> OwnerTag {
    OwnerTag { fleet: FleetId::new("0123456789abcdef0123456789abcdef") }
}

fn leftover(kind: &str) -> Leftover {
    let place =
        Place { provider: ProviderId::Aws, region: "eu-west-1".into(), zone: String::new() };
    Leftover { kind: kind.into(), id: "x-1".into(), place, price_usd_per_hour: None }
}

#[tokio::test]
async fn the_door_moves_to_the_new_address_and_closes_to_the_old() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeRegions" => regions(&["us-east-1"]),
        "DescribeSecurityGroups" => ok("DescribeSecurityGroups", GROUPS),
        action => ok(action, "<return>true</return>"),
    })
    .await;
    let provider = replay.provider().await;
    provider.auxiliary().unwrap().admit(&owner(), "192.0.2.9/32").await.unwrap();
    let opened = replay.asked("AuthorizeSecurityGroupIngress");
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].get("IpPermissions.1.IpRanges.1.CidrIp"), Some("192.0.2.9/32"));
    let closed = replay.asked("RevokeSecurityGroupIngress").remove(0);
    assert!(closed.mentions("203.0.113.7/32") && closed.mentions("198.51.100.1/32"));
    assert!(!closed.mentions("192.0.2.9/32"));
    // The address that is admitted already stays.
    provider.auxiliary().unwrap().admit(&owner(), "203.0.113.7/32").await.unwrap();
    let closed = replay.asked("RevokeSecurityGroupIngress").remove(1);
    assert!(!closed.mentions("203.0.113.7/32") && closed.mentions("198.51.100.1/32"));
}

#[tokio::test]
async fn leftovers_of_every_kind_and_region_are_found_by_the_mark_alone() {
    let replay = Replay::start(|asked| {
        let answer = match asked.action.as_str() {
            "DescribeRegions" => return regions(&["us-east-1", "eu-west-1"]),
            "DescribeSecurityGroups" => GROUPS,
            "DescribeKeyPairs" => "<keySet><item><keyName>key-1</keyName></item></keySet>",
            "DescribeVolumes" if asked.get("NextToken").is_none() => {
                "<volumeSet><item><volumeId>vol-1</volumeId></item></volumeSet><nextToken>n</nextToken>"
            }
            "DescribeVolumes" => "<volumeSet><item><volumeId>vol-2</volumeId></item></volumeSet>",
            _ => "<spotInstanceRequestSet/>",
        };
        ok(&asked.action, answer)
    })
    .await;
    let provider = replay.provider().await;
    let found = provider.auxiliary().unwrap().leftovers(&owner()).await.unwrap();
    let mut kinds: Vec<_> = found
        .iter()
        .filter(|l| l.place.region == "eu-west-1")
        .map(|l| (l.kind.as_str(), l.id.as_str()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            ("key-pair", "key-1"),
            ("security-group", "sg-1"),
            ("volume", "vol-1"),
            ("volume", "vol-2")
        ]
    );
    for action in [
        "DescribeSecurityGroups",
        "DescribeKeyPairs",
        "DescribeVolumes",
        "DescribeSpotInstanceRequests",
    ] {
        for asked in replay.asked(action) {
            assert_eq!(asked.get("Filter.1.Value.1"), Some(owner().fleet.as_str()), "{action}");
        }
    }
}

#[tokio::test]
async fn removal_repeats_safely_and_says_what_is_in_use() {
    let kinds = ["security-group", "key-pair", "volume", "spot-request"];
    let actions =
        ["DeleteSecurityGroup", "DeleteKeyPair", "DeleteVolume", "CancelSpotInstanceRequests"];
    let gone = Replay::start(|_| error(400, "InvalidGroup.NotFound")).await;
    let busy = Replay::start(|_| error(400, "DependencyViolation")).await;
    let (gone_provider, busy_provider) = (gone.provider().await, busy.provider().await);
    for (kind, action) in kinds.into_iter().zip(actions) {
        gone_provider.auxiliary().unwrap().remove(&leftover(kind)).await.unwrap();
        assert_eq!(gone.asked(action).len(), 1, "{action}");
        let refused = busy_provider.auxiliary().unwrap().remove(&leftover(kind)).await.unwrap_err();
        assert_eq!(refused.fault, Fault::Rejected, "{kind}");
    }
    let unknown = busy_provider.auxiliary().unwrap().remove(&leftover("bucket")).await.unwrap_err();
    assert_eq!(unknown.code, "UnknownKind");
}
