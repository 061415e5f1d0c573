//! Compute Engine on the wire, with what belongs to it: token endpoint, price catalogue, permissions.
//!
//! One port speaks for all of them. A create is accepted first; a want of capacity or quota shows seconds later,
//! inside its operation, as in life. A machine that was taken is deleted where its create said so, and leaves
//! nothing but an operation. Signatures of tokens are not checked, and only the sandbox's accounts are let in.
//!
//! Invariant: `STOPPING` ends, and a machine leaves the lists, only when no process of it is left.

mod advice;
mod auth;
mod catalogue;
mod filter;
mod instances;
mod launch;
pub(crate) mod metadata;
mod network;
mod operations;
mod pages;
mod pattern;
mod places;

use crate::clock;
use crate::host::Host;
use crate::http::{Call, Reply};
use crate::text::pairs;
use crate::world::{EndCause, Fate, World};
use fleet_types::{ProviderId, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The project of every sandbox.
pub(crate) const PROJECT: &str = "fleet-sandbox";
/// Where things say that they are.
const HOME: &str = "https://www.googleapis.com/compute/v1/projects/fleet-sandbox";
/// Longest that a call may be held.
const HELD: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// What Compute Engine knows beside the world's machines.
#[derive(Default)]
pub(crate) struct Account {
    /// By the id of the world's machine.
    instances: BTreeMap<String, instances::Gce>,
    operations: Vec<operations::Operation>,
    /// Operations by the request that they came from.
    requests: HashMap<String, String>,
    firewalls: BTreeMap<String, Value>,
}

/// A refusal: HTTP status, reason and message.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    reason: &'static str,
    message: String,
}

fn refuse(status: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, reason, message: message.into() }
}

fn invalid(message: impl Into<String>) -> Refusal {
    refuse(400, "invalid", message)
}

fn no_such(what: &str) -> Refusal {
    refuse(404, "notFound", format!("The resource '{what}' was not found"))
}

impl Refusal {
    fn reply(&self) -> Reply {
        let word = match self.status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ALREADY_EXISTS",
            500.. => "UNAVAILABLE",
            _ => "INVALID_ARGUMENT",
        };
        let row = json!({"message": self.message, "domain": "global", "reason": self.reason});
        let mut error = json!({"code": self.status, "message": self.message, "errors": [row]});
        // Compute Engine adds its status word to the newer errors only.
        if matches!(self.status, 401 | 403) && self.reason != "rateLimitExceeded" {
            error["status"] = json!(word);
        }
        Reply::json(self.status, &json!({"error": error}))
    }
}

type Answer = Result<Value, Refusal>;

/// One call with all that it depends on.
struct Request<'a> {
    world: &'a mut World,
    now: Timestamp,
    query: Vec<(String, String)>,
    body: Value,
}

/// Answers one HTTP call; one that waits for an operation is held.
pub(crate) async fn answer(host: Arc<Host>, call: Call) -> Reply {
    let segments: Vec<String> = call.segments().into_iter().map(crate::text::percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if segments == ["token"] {
        return host.with(|w, now| auth::token(w, &call, now));
    }
    let reply = host.with(|world, now| once(world, now, &call, &segments));
    let ["compute", "v1", "projects", _, place @ .., "operations", name, "wait"] = &segments[..] else {
        return reply;
    };
    let until = clock::now().plus(HELD);
    let mut reply = reply;
    while reply.status == 200 && !reply.lost && clock::now() < until {
        if serde_json::from_slice::<Value>(&reply.body).is_ok_and(|o| o["status"] == "DONE") {
            break;
        }
        tokio::time::sleep(LOOK).await;
        let zone = place.last().filter(|_| place.len() == 2).copied();
        let again = host.with(|w, now| Request::look(w, now).operation(zone, name));
        reply = again.map_or_else(|r| r.reply(), |o| Reply { delay: reply.delay, ..Reply::json(200, &o) });
    }
    reply
}

fn once(world: &mut World, now: Timestamp, call: &Call, segments: &[&str]) -> Reply {
    let Some(route) = route(&call.method, segments) else {
        return no_such(&call.path).reply();
    };
    let (fate, latency) = world.fate(ProviderId::Gcp, &route.name);
    if let Err(refusal) = auth::check(call, now) {
        return refusal.reply();
    }
    let mut request = Request { world, now, query: pairs(&call.query), body: call.json() };
    let mut reply = with_fate(fate, &route, &mut request);
    reply.delay = Duration::from_millis(latency);
    reply
}

/// A method of the API, as its documents name it (`instances.insert`), and the names in its path.
struct Route<'a> {
    name: String,
    /// Zone or region, where the path has one.
    place: Option<&'a str>,
    /// The thing, where the path has one.
    item: Option<&'a str>,
}

/// Finds the method of a path.
fn route<'a>(method: &str, segments: &[&'a str]) -> Option<Route<'a>> {
    let found = |name: String, place: Option<&'a str>, item: Option<&'a str>| {
        Some(Route { name, place, item })
    };
    let verb = |item: bool| match (method, item) {
        ("GET", true) => Some("get"),
        ("GET", false) => Some("list"),
        ("POST", false) => Some("insert"),
        ("PATCH", true) => Some("patch"),
        ("DELETE", true) => Some("delete"),
        _ => None,
    };
    let rest = match segments {
        ["compute", "v1", "projects", project, "global", "images", "family", family] => {
            return found("images.getFromFamily".into(), Some(project), Some(family));
        }
        ["compute", "v1", "projects", PROJECT, rest @ ..] => rest,
        ["v1", "services", "6F81-5844-456A", "skus"] if method == "GET" => {
            return found("services.skus.list".into(), None, None);
        }
        ["v1", "projects", call] if method == "POST" => {
            let own = call.strip_suffix(":testIamPermissions") == Some(PROJECT);
            return if own { found("projects.testIamPermissions".into(), None, None) } else { None };
        }
        _ => return None,
    };
    match rest {
        [] if method == "GET" => found("projects.get".into(), None, None),
        ["aggregated", "operations"] => found("globalOperations.aggregatedList".into(), None, None),
        ["aggregated", kind] if method == "GET" => found(format!("{kind}.aggregatedList"), None, None),
        ["zones" | "regions", place, "operations", item, "wait"] if method == "POST" => {
            found("zoneOperations.wait".into(), Some(place), Some(item))
        }
        ["global", "operations", item, "wait"] if method == "POST" => {
            found("globalOperations.wait".into(), None, Some(item))
        }
        ["zones", zone, "operations", item @ ..] if item.len() < 2 => {
            found(format!("zoneOperations.{}", verb(!item.is_empty())?), Some(zone), item.first().copied())
        }
        ["global", "operations", item @ ..] if item.len() < 2 => {
            found(format!("globalOperations.{}", verb(!item.is_empty())?), None, item.first().copied())
        }
        ["regions", region, "advice", kind] if method == "POST" => {
            found(format!("advice.{kind}"), Some(region), None)
        }
        [kind @ ("zones" | "regions"), item @ ..] if item.len() < 2 => {
            found(format!("{kind}.{}", verb(!item.is_empty())?), None, item.first().copied())
        }
        ["global", kind, item @ ..] if item.len() < 2 => {
            found(format!("{kind}.{}", verb(!item.is_empty())?), None, item.first().copied())
        }
        ["zones", zone, kind, item @ ..] if item.len() < 2 => {
            found(format!("{kind}.{}", verb(!item.is_empty())?), Some(zone), item.first().copied())
        }
        ["zones", zone, kind, item, action] if method == "POST" => {
            found(format!("{kind}.{action}"), Some(zone), Some(item))
        }
        _ => None,
    }
}

fn with_fate(fate: Fate, route: &Route<'_>, request: &mut Request<'_>) -> Reply {
    let backend = refuse(503, "backendError", "Internal error. Please try again.");
    match fate {
        Fate::Throttled => {
            let text = "Rate Limit Exceeded";
            return refuse(403, "rateLimitExceeded", text).reply();
        }
        Fate::FailsBefore => return backend.reply(),
        Fate::Works | Fate::FailsAfter | Fate::Lost => {}
    }
    let answer = request.dispatch(route);
    let mutates = ["insert", "delete", "patch", "stop", "simulateMaintenanceEvent"];
    if mutates.iter().any(|verb| route.name.ends_with(&format!(".{verb}"))) {
        request.note(route, &answer);
    }
    let reply = answer.map_or_else(|r| r.reply(), |body| Reply::json(200, &body));
    match fate {
        Fate::FailsAfter => backend.reply(),
        Fate::Lost => Reply { lost: true, ..reply },
        Fate::Works | Fate::Throttled | Fate::FailsBefore => reply,
    }
}

impl<'a> Request<'a> {
    /// A look at the world without a call.
    fn look(world: &'a mut World, now: Timestamp) -> Self {
        Self { world, now, query: Vec::new(), body: Value::Null }
    }

    fn dispatch(&mut self, route: &Route<'_>) -> Answer {
        let (place, item) = (route.place, route.item);
        let zone = match place {
            Some(zone) if route.name != "images.getFromFamily" && !route.name.starts_with("advice.") => {
                crate::facts::gcp::region_of(zone).ok_or_else(|| no_such(&format!("zones/{zone}")))?;
                zone
            }
            place => place.unwrap_or_default(),
        };
        let item = item.unwrap_or_default();
        match route.name.as_str() {
            "projects.get" => Ok(self.project()),
            "projects.testIamPermissions" => Ok(json!({"permissions": self.body["permissions"]})),
            "services.skus.list" => self.skus(),
            "regions.list" => self.regions(),
            "regions.get" => self.region(item),
            "zones.list" => self.zones(),
            "zones.get" => self.zone(item),
            "machineTypes.aggregatedList" => self.all_machine_types(),
            "machineTypes.list" => self.machine_types(zone),
            "machineTypes.get" => self.machine_type(zone, item),
            "acceleratorTypes.aggregatedList" => self.all_accelerator_types(),
            "acceleratorTypes.list" => self.accelerator_types(zone),
            "acceleratorTypes.get" => self.accelerator_type(zone, item),
            "images.getFromFamily" | "images.get" => Ok(places::image(zone, item)),
            "advice.capacity" => self.capacity(zone),
            "advice.capacityHistory" => self.capacity_history(zone),
            "instances.insert" => self.insert(zone),
            "instances.aggregatedList" => self.all_instances(),
            "instances.list" => self.instances(zone),
            "instances.get" => self.instance(zone, item),
            "instances.delete" => self.delete(zone, item),
            "instances.stop" => self.stop(zone, item),
            "instances.simulateMaintenanceEvent" => self.simulate_maintenance(zone, item),
            "disks.aggregatedList" => self.all_disks(),
            "disks.list" => self.disks(zone),
            "disks.get" => self.disk(zone, item),
            "disks.delete" => self.delete_disk(zone, item),
            "zoneOperations.list" => self.list_operations(Some(zone)),
            "globalOperations.list" => self.list_operations(None),
            "globalOperations.aggregatedList" => self.all_operations(),
            "zoneOperations.get" | "zoneOperations.wait" => self.operation(Some(zone), item),
            "globalOperations.get" | "globalOperations.wait" => self.operation(None, item),
            "firewalls.insert" => self.insert_firewall(),
            "firewalls.list" => self.firewalls(),
            "firewalls.get" => self.firewall(item),
            "firewalls.patch" => self.patch_firewall(item),
            "firewalls.delete" => self.delete_firewall(item),
            "networks.list" => self.networks(),
            "networks.get" => self.network(item),
            other => Err(no_such(other)),
        }
    }

    /// A parameter of the query.
    fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// Puts a mutating call on the books, under the token of the machine that it is about.
    fn note(&mut self, route: &Route<'_>, answer: &Answer) {
        let named = route.item.map(str::to_owned).or(self.body["name"].as_str().map(str::to_owned));
        let named = named.unwrap_or_default();
        let zone = route.place.unwrap_or_default();
        let machine = self.newest(zone, &named).and_then(|g| self.world.units.get(&g.key));
        let token = machine.map_or_else(|| launch::token_of(&self.body), |u| u.token.clone());
        let made = machine.map(|u| u.id.clone());
        let result = match answer {
            Ok(operation) => match operation["name"].as_str().and_then(|n| self.late_code(n)) {
                Some(code) => code.to_owned(),
                None => made.map_or("ok".to_owned(), |id| format!("ok {id}")),
            },
            Err(refusal) => refusal.reason.to_owned(),
        };
        self.world.mutation(self.now, ProviderId::Gcp, &route.name, &token, &result);
    }
}

/// What time alone brings about: machines at the end of their run, and disks of machines that are deleted.
pub(crate) fn tick(world: &mut World, now: Timestamp) {
    let ripe: Vec<String> = world
        .gcp
        .instances
        .values()
        .filter(|g| {
            let since = world.units.get(&g.key).filter(|u| u.is_live()).and_then(|u| u.running_at);
            since.zip(g.max_run).is_some_and(|(since, life)| since.plus(life) <= now)
        })
        .map(|g| g.key.clone())
        .collect();
    for key in ripe {
        world.end(&key, EndCause::Terminated, now);
        instances::delete_by(world, &key, "system", now);
    }
    let ended: Vec<(String, Timestamp)> = world
        .gcp
        .instances
        .values()
        .filter(|g| g.disk_bills)
        .filter_map(|g| {
            let unit = world.units.get(&g.key).filter(|u| !u.is_live())?;
            g.vanishes(unit).then(|| (g.key.clone(), unit.ended_at.unwrap_or(now)))
        })
        .collect();
    for (key, at) in ended {
        instances::end_disk(world, &key, at);
    }
}

/// A time as Compute Engine writes it: with the offset of its home.
fn stamp(at: Timestamp) -> String {
    let home = Duration::from_secs(8 * 3600);
    clock::iso(at.minus(home)).replace('Z', "-08:00")
}
