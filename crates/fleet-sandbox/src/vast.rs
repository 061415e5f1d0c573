//! Vast.ai on the wire: search, rent, list, stop, destroy, rebid, SSH keys, with its rate gates.
//!
//! A marketplace without idempotency tokens: an offer vanishes when it is taken, a bid that is too
//! low leaves a stopped contract behind, a create without a bid rents on demand, and a machine that
//! is outbid stops without a word while its disk bills on. All of that is kept.
//!
//! Invariant: a contract's disk bills from its creation until it is destroyed, whatever else happens.

mod account;
mod contract;
mod create;
mod gate;
mod offers;
mod predicate;

use crate::config::DUMMY_CREDENTIALS;
use crate::facts::vast::{Machine, machines};
use crate::host::Host;
use crate::http::{Call, Reply};
use crate::scenario::Site;
use crate::world::{Fate, World};
use fleet_types::{Market, ProviderId, Timestamp, Usd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What Vast knows beside the world's machines.
pub(crate) struct Account {
    machines: Vec<Machine>,
    contracts: BTreeMap<u64, contract::Contract>,
    keys: Vec<account::SshKey>,
    next_contract: u64,
    gates: gate::Gates,
}

impl Account {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            machines: machines(seed),
            contracts: BTreeMap::new(),
            keys: Vec::new(),
            next_contract: 10_000_000 + crate::text::hash(seed, &["contracts"]) % 10_000_000,
            gates: gate::Gates::default(),
        }
    }
}

/// One call with all that it depends on.
struct Request<'a> {
    world: &'a mut World,
    now: Timestamp,
    ssh_port: u16,
    body: Value,
    query: BTreeMap<String, String>,
}

fn failure(status: u16, error: &str, msg: impl Into<String>) -> Reply {
    Reply::json(status, &json!({"success": false, "error": error, "msg": msg.into()}))
}

fn no_such_instance(id: u64) -> Reply {
    failure(404, "no_such_instance", format!("Instance {id} does not exist."))
}

/// Answers one HTTP call.
pub(crate) fn answer(host: &Arc<Host>, call: &Call) -> Reply {
    // The vendor's client leaves the slash away here and nowhere else.
    if !call.path.ends_with('/') && call.path != "/api/v0/users/current" {
        return Reply::text(404, "404 page not found");
    }
    let segments = call.segments();
    let name = call_name(&call.method, &segments);
    host.with(|world, now| {
        let (fate, latency) = world.fate(ProviderId::Vast, &name);
        let request = Request {
            now,
            ssh_port: host.ssh_port(),
            body: call.json(),
            query: crate::text::pairs(&call.query).into_iter().collect(),
            world,
        };
        let mut reply = with_fate(fate, &name, call, &segments, request);
        reply.delay = Duration::from_millis(latency);
        reply
    })
}

/// `PUT /api/v0/asks/{id}/` whatever the id.
fn call_name(method: &str, segments: &[&str]) -> String {
    let numeric = |s: &&str| s.bytes().all(|b| b.is_ascii_digit());
    let path: String = segments
        .iter()
        .map(|s| if numeric(s) { "{id}/".to_owned() } else { format!("{s}/") })
        .collect();
    format!("{method} /{path}")
}

fn with_fate(
    fate: Fate,
    name: &str,
    call: &Call,
    segments: &[&str],
    mut request: Request<'_>,
) -> Reply {
    if !is_authorized(call) {
        let text = "Invalid user key";
        // The search endpoint words it as a 404, as the vendor's does.
        let status = if name.ends_with("/bundles/") { 404 } else { 401 };
        return failure(status, "auth_error", text);
    }
    let scale = request.world.scale;
    let refused = request.world.vast.gates.pass(name, request.now, scale);
    if let Some(threshold) = refused {
        return too_frequent(threshold);
    }
    let internal = || failure(500, "server_error", "Internal server error");
    match fate {
        Fate::Throttled => return too_frequent(gate::threshold(name)),
        Fate::FailsBefore => return internal(),
        Fate::Works | Fate::FailsAfter | Fate::Lost => {}
    }
    let reply = dispatch(&call.method, segments, &mut request);
    if call.method != "GET" && !name.ends_with("/bundles/") {
        request.note(name, segments, &reply);
    }
    match fate {
        Fate::FailsAfter => internal(),
        Fate::Lost => Reply { lost: true, ..reply },
        _ => reply,
    }
}

fn too_frequent(threshold: f64) -> Reply {
    Reply::text(429, format!("API requests too frequent endpoint threshold={threshold:.1}"))
}

fn is_authorized(call: &Call) -> bool {
    call.header("authorization").strip_prefix("Bearer ").map(str::trim)
        == Some(DUMMY_CREDENTIALS[2])
}

fn dispatch(method: &str, segments: &[&str], r: &mut Request<'_>) -> Reply {
    let id = segments.iter().find_map(|s| s.parse::<u64>().ok());
    match (method, segments, id) {
        ("POST", ["api", "v0", "bundles"], _) => r.search(),
        ("PUT", ["api", "v0", "asks", _], Some(id)) => r.rent(id),
        ("GET", ["api", "v1", "instances"], _) => r.list_pages(),
        ("GET", ["api", "v0", "instances"], _) => r.list_all(),
        ("GET", ["api", "v0", "instances", _], Some(id)) => r.show(id),
        ("DELETE", ["api", "v0", "instances", _], Some(id)) => r.destroy(id),
        ("PUT", ["api", "v0", "instances", "bid_price", _], Some(id)) => r.rebid(id),
        ("PUT", ["api", "v0", "instances", _], Some(id)) => r.manage(id),
        ("POST", ["api", "v0", "instances", _, "ssh"], Some(id)) => r.attach_key(id),
        ("GET", ["api", "v0", "instances", _, "ssh"], Some(id)) => r.instance_keys(id),
        ("GET", ["api", "v0", "ssh"], _) => r.list_keys(),
        ("POST", ["api", "v0", "ssh"], _) => r.add_key(),
        ("DELETE", ["api", "v0", "ssh", _], Some(id)) => r.delete_key(id),
        ("GET", ["api", "v0", "users", "current"], _) => account::user(),
        _ => Reply::text(404, "404 page not found"),
    }
}

impl Request<'_> {
    fn note(&mut self, name: &str, segments: &[&str], reply: &Reply) {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let contract = body["new_contract"].as_u64();
        let named = segments.iter().find_map(|s| s.parse::<u64>().ok());
        let subject = contract.or(named).map(|id| id.to_string()).unwrap_or_default();
        let token = match self.body["label"].as_str() {
            Some(label) => create::token_of(label),
            None => self.world.units.get(&subject).map(|u| u.token.clone()).unwrap_or_default(),
        };
        let result = match (reply.status, contract) {
            (200, Some(id)) => format!("ok {id}"),
            (200, None) => "ok".to_owned(),
            (_, Some(id)) => format!("{} leaves {id}", body["error"].as_str().unwrap_or("error")),
            (status, None) => body["error"].as_str().map_or(status.to_string(), str::to_owned),
        };
        self.world.mutation(self.now, ProviderId::Vast, name, &token, &result);
    }
}

/// The pool of a machine as rules see it: on a marketplace each machine is a zone.
fn with_site<R>(m: &Machine, market: Market, f: impl FnOnce(Site<'_>) -> R) -> R {
    f(Site {
        provider: ProviderId::Vast,
        region: m.country,
        zone: &m.machine_id.to_string(),
        instance_type: &instance_type(m),
        gpu: m.gpu.name,
        market,
    })
}

/// `1x Tesla T4`.
fn instance_type(m: &Machine) -> String {
    format!("{}x {}", m.num_gpus, m.gpu.wire)
}

/// What the machine costs an hour without storage: the lowest bid, or the on-demand price.
fn price(w: &World, m: &Machine, market: Market, now: Timestamp) -> Usd {
    with_site(m, market, |site| w.price(site, level(m, market), now))
}

fn calm_price(w: &World, m: &Machine, market: Market, now: Timestamp) -> Usd {
    with_site(m, market, |site| w.calm_price(site, level(m, market), now))
}

fn level(m: &Machine, market: Market) -> Usd {
    match market {
        Market::Spot => m.min_bid,
        Market::OnDemand => m.on_demand,
    }
}

/// What storage costs an hour.
fn storage(m: &Machine, gb: f64) -> Usd {
    Usd::from_dollars(m.storage_cost * gb / 730.0).unwrap_or_default()
}

/// Whether someone, us included, holds the machine.
fn is_rented(w: &World, m: &Machine) -> bool {
    let zone = m.machine_id.to_string();
    w.units.values().any(|u| {
        u.pool.place.provider == ProviderId::Vast
            && u.pool.place.zone == zone
            && u.gone_at.is_none()
    })
}

/// Whether it can be rented in that market now.
fn is_rentable(w: &World, m: &Machine, market: Market, now: Timestamp) -> bool {
    !is_rented(w, m)
        && w.elapsed(now) < m.ends_after
        && with_site(m, market, |site| w.stock(site, m.anchor, now)) > 0
}
