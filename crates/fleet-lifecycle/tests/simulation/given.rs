//! A job and the places it could run at, as the tests of this crate start from them.

use fleet_lifecycle::JobFacts;
use fleet_types::{
    Availability, Fallback, FleetId, JobId, MachineClass, Market, Offer, Place, ProviderId,
    RealmId, TimeScale, Timestamp, Trust, Usd,
};
use std::time::Duration;

/// When every story begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// A place in a zone of a region at a price.
pub(crate) fn offer(
    provider: ProviderId,
    region: usize,
    zone: usize,
    market: Market,
    cents: u64,
) -> Offer {
    let class = match provider {
        ProviderId::Vast => MachineClass::Container,
        _ => MachineClass::Vm,
    };
    let zone = match zone {
        0 => format!("r{region}a"),
        _ => format!("r{region}b"),
    };
    Offer {
        place: Place { provider, region: format!("r{region}"), zone },
        instance_type: "g1".into(),
        market,
        key: String::new(),
        accelerator: None,
        gpu_memory_gb: None,
        vcpus: 8.0,
        memory_gib: 32.0,
        disk_gib: None,
        price_usd_per_hour: Usd::from_dollars(cents as f64 / 100.0),
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
        class,
        trust: Trust::Trusted,
    }
}

/// A job that waits for spot for a day at most.
pub(crate) fn facts() -> JobFacts {
    JobFacts {
        id: JobId::new("j-000000000001"),
        fleet: FleetId::new("00112233445566778899aabbccddeeff"),
        realm: RealmId::new("sim"),
        name: None,
        group: None,
        workdir_hash: None,
        created_at: START,
        expires_at: START.plus(Duration::from_secs(24 * 3600)),
        budget: None,
        market: Market::Spot,
        fallback: Fallback::Wait,
        any_class: true,
        after: None,
        max_restarts: 0,
        recover_codes: Vec::new(),
        disk_gib: 0,
        grace_ms: 30_000,
        time_scale: TimeScale::default(),
        sandbox: false,
    }
}
