//! Lambda's on-demand cloud on the wire: types with their capacity, launch, list, terminate, SSH keys.
//!
//! No spot, no idempotency token, no timer; prices in whole cents, the same everywhere; exactly one SSH key a
//! launch; one call a second and one launch in twelve, both scaled. Fields that the API does not know are
//! refused, so that a client's mistake shows.
//!
//! Invariant: an instance that ended by itself or was taken stays in the list until it is terminated; one that
//! was terminated leaves the list when no process of it is left.

mod gate;
mod instances;
mod keys;
mod launch;
mod types;

use crate::config::DUMMY_CREDENTIALS;
use crate::host::Host;
use crate::http::{Call, Reply};
use crate::world::{Fate, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_types::{ProviderId, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What Lambda knows beside the world's machines.
#[derive(Default)]
pub(crate) struct Account {
    instances: BTreeMap<String, instances::Instance>,
    keys: Vec<keys::SshKey>,
    gates: gate::Gates,
}

/// One call with all that it depends on.
struct Request<'a> {
    world: &'a mut World,
    now: Timestamp,
    body: Value,
}

fn data(value: Value) -> Reply {
    Reply::json(200, &json!({"data": value}))
}

fn failure(status: u16, code: &str, message: &str) -> Reply {
    advised(status, code, message, "This is a sandbox: its scenario or its tables decide.")
}

/// Most refusals must come with a suggestion, and all may.
fn advised(status: u16, code: &str, message: &str, suggestion: &str) -> Reply {
    let error = json!({"code": code, "message": message, "suggestion": suggestion});
    Reply::json(status, &json!({"error": error}))
}

fn invalid(why: &str) -> Reply {
    advised(400, "global/invalid-parameters", "Invalid request data.", why)
}

fn no_such(what: &str) -> Reply {
    failure(404, "global/object-does-not-exist", &format!("Specified {what} does not exist."))
}

/// Answers one HTTP call.
pub(crate) fn answer(host: &Arc<Host>, call: &Call) -> Reply {
    let segments = call.segments();
    let name = call_name(&call.method, &segments);
    host.with(|world, now| {
        let (fate, latency) = world.fate(ProviderId::Lambda, &name);
        let request = Request { now, body: call.json(), world };
        let mut reply = with_fate(fate, &name, call, &segments, request);
        reply.delay = Duration::from_millis(latency);
        reply
    })
}

/// `GET /api/v1/instances/{id}` whatever the id.
fn call_name(method: &str, segments: &[&str]) -> String {
    let mut path = String::new();
    for (i, segment) in segments.iter().enumerate() {
        let named = i > 0 && matches!(segments[i - 1], "instances" | "ssh-keys");
        path += if named { "/{id}" } else { "/" };
        path += if named { "" } else { segment };
    }
    format!("{method} {path}")
}

fn with_fate(
    fate: Fate,
    name: &str,
    call: &Call,
    segments: &[&str],
    mut request: Request<'_>,
) -> Reply {
    if !is_authorized(call) {
        let text = "API key was invalid, expired, or deleted.";
        return failure(401, "global/invalid-api-key", text);
    }
    let frequent = || failure(429, "global/too-many-requests", "Too many requests.");
    let scale = request.world.scale;
    if !request.world.lambda.gates.pass(name, request.now, scale) {
        return frequent();
    }
    let internal = || {
        let text = "An internal server error occurred.";
        failure(500, "global/internal-error", text)
    };
    match fate {
        Fate::Throttled => return frequent(),
        Fate::FailsBefore => return internal(),
        Fate::Works | Fate::FailsAfter | Fate::Lost => {}
    }
    let reply = dispatch(&call.method, segments, &mut request);
    if call.method != "GET" {
        request.note(name, segments, &reply);
    }
    match fate {
        Fate::FailsAfter => internal(),
        Fate::Lost => Reply { lost: true, ..reply },
        Fate::Works | Fate::Throttled | Fate::FailsBefore => reply,
    }
}

/// The key as a bearer, or as the user of HTTP's basic scheme.
fn is_authorized(call: &Call) -> bool {
    let header = call.header("authorization");
    let basic = header.strip_prefix("Basic ").and_then(|b| STANDARD.decode(b.trim()).ok());
    let basic = basic.and_then(|b| String::from_utf8(b).ok());
    let user = basic.as_deref().and_then(|b| b.split(':').next());
    let bearer = header.strip_prefix("Bearer ").map(str::trim);
    bearer.or(user) == Some(DUMMY_CREDENTIALS[3])
}

fn dispatch(method: &str, segments: &[&str], r: &mut Request<'_>) -> Reply {
    let ["api", "v1", rest @ ..] = segments else {
        return failure(404, "global/not-found", "The requested resource was not found.");
    };
    match (method, rest) {
        ("GET", ["instance-types"]) => r.list_types(),
        ("GET", ["regions"]) => types::regions(),
        ("GET", ["instances"]) => r.list(),
        ("GET", ["instances", id]) => r.show(id),
        ("POST", ["instances", id]) => r.rename(id),
        ("POST", ["instance-operations", "launch"]) => r.launch(),
        ("POST", ["instance-operations", "terminate"]) => r.terminate(),
        ("GET", ["ssh-keys"]) => r.list_keys(),
        ("POST", ["ssh-keys"]) => r.add_key(),
        ("DELETE", ["ssh-keys", id]) => r.delete_key(id),
        _ => failure(404, "global/not-found", "The requested resource was not found."),
    }
}

impl Request<'_> {
    /// Puts a mutating call on the books, under the token of the machine that it is about.
    fn note(&mut self, name: &str, segments: &[&str], reply: &Reply) {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let made = body["data"]["instance_ids"][0].as_str().map(str::to_owned);
        let ended = self.body["instance_ids"][0].as_str().map(str::to_owned);
        let subject = made.clone().or(ended).or(segments.last().map(|s| (*s).to_owned()));
        let unit = subject.and_then(|id| self.world.units.get(&id));
        let token = unit.map(|u| u.token.clone()).unwrap_or_else(|| launch::token_of(&self.body));
        let result = match (reply.status, made) {
            (200, Some(id)) => format!("ok {id}"),
            (200, None) => "ok".to_owned(),
            (status, _) => body["error"]["code"].as_str().map_or(status.to_string(), str::to_owned),
        };
        self.world.mutation(self.now, ProviderId::Lambda, name, &token, &result);
    }
}
