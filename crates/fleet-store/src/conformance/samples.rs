//! Small valid documents that trials and histories are made of.

use crate::NewJob;
use fleet_types::{
    Epoch, Event, EventBody, FleetId, JobId, MachineRow, Market, Place, ProviderId, RealmId,
    RowState, Timestamp, Token, Usd,
};
use serde_json::json;

/// The `n`-th job id of a trial.
pub fn job_id(n: u64) -> JobId {
    JobId::from_bits(n)
}

/// A job created at millisecond `n`, with one event.
pub fn job(n: u64) -> NewJob {
    NewJob {
        id: job_id(n),
        created_at: Timestamp::from_millis(n as i64),
        realm: RealmId::new("realm"),
        spec: json!({ "run": format!("echo {n} ; -- '\" \u{1f680}") }),
        state: json!({ "phase": "queued" }),
        events: vec![event(n, "accepted")],
    }
}

/// An event of the `n`-th job.
pub fn event(n: u64, reason: &str) -> Event {
    Event {
        at: Timestamp::from_millis(1_764_000_000_000 + n as i64),
        job_id: job_id(n),
        body: EventBody::Waiting { reason: reason.into() },
    }
}

/// The row of one create of the `n`-th job.
pub fn machine(n: u64, epoch: u32, offer: u32, state: RowState) -> MachineRow {
    let job = job_id(n);
    MachineRow {
        token: Token::derive(&FleetId::new("fleet"), &job, Epoch(epoch), 0, offer),
        job,
        epoch: Epoch(epoch),
        node: 0,
        offer,
        realm: RealmId::new("realm"),
        place: Place {
            provider: ProviderId::Aws,
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
        },
        instance_type: "g5.xlarge".into(),
        market: Market::Spot,
        price_usd_per_hour: Usd::from_micros(420_000),
        disk_gib: 50,
        disk_usd_per_gib_hour: None,
        expires_at: Timestamp::from_millis(2_000_000_000_000),
        created_at: Timestamp::from_millis(1_764_000_000_000),
        instance: None,
        launched_at: None,
        ended_at: None,
        state,
    }
}
