//! The control endpoint: how fleet itself, never a cloud's client, talks to a running sandbox.
//!
//! JSON over loopback HTTP. Every refusal is an object with `error`. The contract is
//! docs/specs/sandbox.md; `client` holds the other side.

pub(crate) mod client;

use crate::host::Host;
use crate::http::{Call, Reply};
use crate::world::{EndCause, Notice, Unit, World};
use fleet_types::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Answers one call of the control endpoint.
pub(crate) fn answer(host: &Arc<Host>, call: &Call) -> Reply {
    let body = call.json();
    match (call.method.as_str(), call.segments().as_slice()) {
        ("GET", ["status"]) => host.with(|w, _| {
            let mut said = status(w, host.ssh_port());
            said["ending"] = host.stop.is_cancelled().into();
            Reply::json(200, &said)
        }),
        ("GET", ["ledger"]) => host.with(|w, now| Reply::json(200, &w.ledger_json(now))),
        ("POST", ["preempt"]) => host.with(|w, now| preempt(w, &body, now)),
        ("POST", ["running"]) => {
            let id = text_of(&body["instance"]);
            match host.with(|w, now| w.reported(&id, now)) {
                true => Reply::json(200, &json!({"instance": id})),
                false => unknown(&id),
            }
        }
        // The machine's own last call: its address in the path lets a user without JSON make it.
        ("POST", ["machines", id, "end"]) => host.with(|w, now| end(w, id, now)),
        ("POST", ["down"]) => {
            host.stop.cancel();
            Reply::json(200, &json!({"stopping": true}))
        }
        (method, _) => refused(404, &format!("no such call: {method} {}", call.path)),
    }
}

fn refused(status: u16, reason: &str) -> Reply {
    Reply::json(status, &json!({"error": reason}))
}

fn unknown(id: &str) -> Reply {
    refused(404, &format!("no machine `{id}` in this sandbox"))
}

/// An id, which a Vast client may well send as a number.
fn text_of(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn status(world: &World, ssh_port: u16) -> Value {
    let live: Vec<Value> = world
        .units
        .values()
        .filter(|u| u.is_live())
        .map(|u| {
            json!({
                "provider": u.pool.place.provider, "id": u.id, "zone": u.pool.place.zone,
                "instance_type": u.pool.instance_type, "market": u.pool.market,
                "address": u.address.to_string(), "running": u.running_at.is_some(),
                "notice": u.notice.map(|n| n.deadline),
            })
        })
        .collect();
    json!({
        "pid": std::process::id(), "seed": world.seed, "scenario": world.scenario_name(),
        "ssh_port": ssh_port, "instances": live.len(), "machines": live,
    })
}

fn preempt(world: &mut World, body: &Value, now: Timestamp) -> Reply {
    let warning = match &body["warning_ms"] {
        Value::Null => None,
        given => match given.as_u64() {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => return refused(400, "warning_ms must be a number of milliseconds"),
        },
    };
    let ids: Vec<String> = if body["all"] == json!(true) {
        world.units.values().filter(|u| u.is_live()).map(|u| u.id.clone()).collect()
    } else if body["instance"].is_null() {
        return refused(400, "name an `instance`, or say `all`");
    } else {
        let id = text_of(&body["instance"]);
        match world.units.get(&id) {
            None => return unknown(&id),
            Some(u) if !u.is_live() => {
                let when = u.ended_at.unwrap_or(now);
                return refused(409, &format!("machine `{id}` ended at {when}"));
            }
            Some(_) => vec![id],
        }
    };
    let taken: Vec<Value> = ids
        .iter()
        .filter_map(|id| {
            let deadline = world.preempt(id, warning, EndCause::PreemptedCapacity, now)?;
            let notice = world.units.get(id).and_then(|u: &Unit| u.notice);
            let warned = notice.is_some_and(|n: Notice| n.deadline == deadline);
            Some(json!({"instance": id, "deadline": deadline, "notice": warned}))
        })
        .collect();
    Reply::json(200, &json!({"preempted": taken}))
}

fn end(world: &mut World, id: &str, now: Timestamp) -> Reply {
    if !world.units.contains_key(id) {
        return unknown(id);
    }
    let ended = world.end(id, EndCause::InstanceShutdown, now);
    Reply::json(200, &json!({"instance": id, "ended": ended}))
}
