//! The sandbox's own books: what ran, what it cost, which calls changed something.
//!
//! Invariant: every figure comes from what the sandbox did. The JSON is the contract of CLI.md.

use super::World;
use fleet_types::{ProviderId, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// A call that changed something or tried to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mutation {
    pub(crate) at: Timestamp,
    pub(crate) provider: ProviderId,
    pub(crate) call: String,
    pub(crate) token: String,
    pub(crate) result: String,
}

/// Counters and the log of mutations; machines and resources are the world's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) calls: u64,
    pub(crate) mutations: Vec<Mutation>,
}

impl World {
    /// The ledger as `fleet sandbox ledger --json` prints it, costs up to `now`.
    pub(crate) fn ledger_json(&self, now: Timestamp) -> Value {
        let mut units: Vec<_> = self.units.values().collect();
        units.sort_by_key(|u| (u.started_at, &u.id));
        let instances: Vec<Value> = units
            .into_iter()
            .map(|u| {
                let place = &u.pool.place;
                json!({
                    "provider": place.provider, "id": u.id, "region": place.region,
                    "zone": place.zone, "instance_type": u.pool.instance_type,
                    "market": u.pool.market, "price_usd_per_hour": u.price, "tags": u.tags,
                    "token": u.token, "started_at": u.started_at, "ended_at": u.ended_at,
                    "end_cause": u.end_cause, "cost_usd": u.cost(now),
                })
            })
            .collect();
        let resources: Vec<Value> = self
            .resources
            .iter()
            .map(|r| {
                let end = r.ended_at.unwrap_or(now);
                let cost = r.price.for_millis(end.millis() - r.started_at.millis());
                json!({
                    "provider": r.provider, "kind": r.kind, "id": r.id, "instance": r.owner,
                    "started_at": r.started_at, "ended_at": r.ended_at, "cost_usd": cost,
                })
            })
            .collect();
        json!({
            "seed": self.seed, "scenario": self.scenario_name(), "written_at": now,
            "instances": instances, "resources": resources,
            "calls": self.ledger.calls, "mutations": self.ledger.mutations,
        })
    }
}

/// Closes what a ledger file left open: its sandbox is gone, and every machine with it.
pub(crate) fn close(mut ledger: Value) -> Value {
    let at = ledger["written_at"].clone();
    for rows in ["instances", "resources"] {
        for row in ledger[rows].as_array_mut().into_iter().flatten() {
            if row["ended_at"].is_null() {
                row["ended_at"] = at.clone();
                if rows == "instances" {
                    row["end_cause"] = "sandbox-lost".into();
                }
            }
        }
    }
    ledger
}
