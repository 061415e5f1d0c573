//! What reap says of clouds that know us, refuse us, or do not answer, and what it ends.

use super::*;
use fleet_provider::{
    Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, Result as Answer,
};
use fleet_types::{
    Availability, InstanceId, InstanceState, MachineClass, Market, Place, Scope, Timestamp, Trust,
    Usd,
};
use std::sync::Mutex;

const OURS: &str = "0123456789abcdef0123456789abcdef";

/// A cloud that says what it was given to say.
#[derive(Debug, Default)]
struct Cloud {
    instances: Vec<Instance>,
    gaps: Vec<String>,
    offers: Vec<Offer>,
    asked: Mutex<Vec<OfferQuery>>,
    ended: Mutex<Vec<String>>,
}

#[async_trait]
impl Provider for Cloud {
    fn id(&self) -> ProviderId {
        ProviderId::Aws
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: true,
            on_demand: true,
            notice: NoticeSource::None,
            warning: Duration::ZERO,
            idempotency: Idempotency::Token,
            visibility: Duration::ZERO,
            tags: true,
            ends_itself: false,
            native_timer: false,
            expiry_note: "",
        }
    }
    async fn verify(&self) -> Answer<Identity> {
        Err(ProviderError::transient("verify", "not asked here"))
    }
    async fn offers(&self, query: &OfferQuery) -> Answer<Vec<Offer>> {
        self.asked.lock().unwrap().push(query.clone());
        Ok(self.offers.clone())
    }
    async fn launch(&self, _: &LaunchRequest) -> Answer<Instance> {
        Err(ProviderError::transient("launch", "not asked here"))
    }
    async fn describe(&self, _: &InstanceId, _: &Place) -> Answer<Instance> {
        Err(ProviderError::transient("describe", "not asked here"))
    }
    async fn list(&self, _: &OwnerTag) -> Answer<Listing> {
        let (instances, gaps) = (self.instances.clone(), self.gaps.clone());
        Ok(Listing { instances, complete: gaps.is_empty(), gaps })
    }
    async fn terminate(&self, id: &InstanceId, _: &Place) -> Answer<Termination> {
        self.ended.lock().unwrap().push(id.to_string());
        Ok(Termination::Requested)
    }
}

fn place(zone: &str) -> Place {
    Place { provider: ProviderId::Aws, region: "us-east-1".into(), zone: zone.into() }
}

fn machine_of(fleet: &str, id: &str, zone: &str) -> Instance {
    Instance {
        id: InstanceId::new(id),
        place: place(zone),
        instance_type: "g4dn.xlarge".into(),
        market: Market::Spot,
        state: InstanceState::Running,
        address: None,
        user: "ubuntu".into(),
        token: None,
        fleet: Some(fleet.into()),
        job: None,
        expires_at: None,
        price_usd_per_hour: None,
        launched_at: Some(Timestamp::from_millis(1_000)),
        ended_at: None,
    }
}

fn offer(zone: &str, market: Market, dollars: f64) -> Offer {
    Offer {
        place: place(zone),
        instance_type: "g4dn.xlarge".into(),
        market,
        key: String::new(),
        accelerator: None,
        gpu_memory_gb: None,
        vcpus: 4.0,
        memory_gib: 16.0,
        disk_gib: None,
        price_usd_per_hour: Usd::price(dollars),
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
    }
}

async fn look(cloud: &Cloud, dry_run: bool) -> ReapReport {
    let owner = OwnerTag { fleet: FleetId::new(OURS) };
    let options = ReapOptions { dry_run, ..ReapOptions::default() };
    one(cloud, &owner, &options, &Nobody, Timestamp::from_millis(2_000)).await.unwrap()
}

#[tokio::test]
async fn what_is_past_its_expiry_is_so_by_the_given_time() {
    let expires_at = Timestamp::from_millis(5_000);
    let owner = OwnerTag { fleet: FleetId::new(OURS) };
    let options = ReapOptions { expired: true, ..ReapOptions::default() };
    for (now, verdict) in [(4_999, ReapVerdict::Kept), (5_000, ReapVerdict::Ended)] {
        let machine = machine_of(OURS, "i-1", "a");
        let instances = vec![Instance { expires_at: Some(expires_at), ..machine }];
        let cloud = Cloud { instances, ..Cloud::default() };
        let now = Timestamp::from_millis(now);
        let found = one(&cloud, &owner, &options, &Nobody, now).await.unwrap();
        assert_eq!(found.items[0].verdict, verdict, "{now}");
        let ended = cloud.ended.lock().unwrap().len();
        assert_eq!(ended, usize::from(verdict == ReapVerdict::Ended));
    }
}

#[tokio::test]
async fn a_look_names_type_age_and_price_and_ends_nothing() {
    let cloud = Cloud {
        instances: vec![machine_of(OURS, "i-1", "a"), machine_of(OURS, "i-2", "b")],
        offers: vec![
            offer("a", Market::OnDemand, 0.5),
            offer("a", Market::Spot, 0.2),
            offer("c", Market::Spot, 0.1),
        ],
        ..Cloud::default()
    };
    let found = look(&cloud, true).await;
    let first = &found.items[0];
    assert_eq!(first.instance_type.as_deref(), Some("g4dn.xlarge"));
    assert_eq!(first.since, Some(Timestamp::from_millis(1_000)));
    assert_eq!(first.verdict, ReapVerdict::WouldEnd);
    assert_eq!(first.price_usd_per_hour, Usd::price(0.2), "of its own zone and market");
    assert_eq!(found.items[1].price_usd_per_hour, None, "another zone's price is not its");
    let asked = cloud.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].places.len()), (1, 2), "one question for both");
    assert!(cloud.ended.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_what_carries_exactly_the_fleet_id_is_ended() {
    let other = "f".repeat(32);
    let cloud = Cloud {
        instances: vec![machine_of(OURS, "i-1", "a"), machine_of(&other, "i-2", "a")],
        ..Cloud::default()
    };
    let done = look(&cloud, false).await;
    assert_eq!(*cloud.ended.lock().unwrap(), ["i-1"]);
    assert_eq!(done.items.len(), 1);
    assert_eq!((done.items[0].verdict, done.items[0].failed), (ReapVerdict::Ended, false));
    assert!(cloud.asked.lock().unwrap().is_empty(), "ending waits for no price");
}

#[tokio::test]
async fn why_a_place_was_not_seen_is_told_by_kind() {
    let partial =
        look(&Cloud { gaps: vec!["eu-west-1: silent".into()], ..Cloud::default() }, true).await;
    let refused = ProviderError::new(Fault::Auth, Scope::Provider, "list", "no-credentials");
    let out = report(vec![
        (ProviderId::Aws, Ok(partial)),
        (ProviderId::Vast, Err(ProviderError::unconfigured("connect", "set VAST_API_KEY"))),
        (ProviderId::Gcp, Err(refused)),
        (ProviderId::Azure, Err(ProviderError::transient("list", "reset"))),
    ])
    .unwrap();
    let told: Vec<_> = out.gaps.iter().map(|g| (g.provider, g.reason)).collect();
    assert_eq!(
        told,
        [
            (ProviderId::Aws, GapReason::Unanswered),
            (ProviderId::Vast, GapReason::NoAccount),
            (ProviderId::Gcp, GapReason::Credentials),
            (ProviderId::Azure, GapReason::Unanswered),
        ]
    );
}

#[test]
fn nobody_who_knows_us_is_an_error_of_credentials() {
    let none = || ProviderError::unconfigured("connect", "log in");
    let clouds = |second| vec![(ProviderId::Aws, Err(none())), (ProviderId::Vast, second)];
    assert_eq!(report(clouds(Err(none()))).unwrap_err().exit_code(), 4);
    // Two gaps of one cloud do not stand for two clouds.
    let gaps = vec![gap(ProviderId::Vast, &ProviderError::transient("list", "page 2")); 2];
    let part = ReapReport { items: Vec::new(), gaps };
    assert_eq!(report(clouds(Ok(part))).unwrap().gaps.len(), 3);
}
