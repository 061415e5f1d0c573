//! The metadata server of one machine, on the machine's own address: what a process on it can ask.
//!
//! Invariants: without the header that only programs send nothing is told; a question that waits for a change is
//! held until there is one, and answers at once if there was one since the state that it names.

use crate::clock;
use crate::host::Host;
use crate::http::{self, Call, Reply};
use crate::text::{hash, pairs};
use crate::world::Unit;
use serde_json::{Value, json};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_millis(20);
/// Longest that a question is held where it names no time.
const HELD: Duration = Duration::from_secs(3600);

/// Serves one machine's metadata until `stop`; returns host and port, as `GCE_METADATA_HOST` has them.
pub(crate) async fn serve(
    host: Arc<Host>,
    id: &str,
    address: Ipv4Addr,
    stop: CancellationToken,
) -> io::Result<String> {
    let listener = TcpListener::bind((address, 0)).await?;
    let base = listener.local_addr()?.to_string();
    let id = id.to_owned();
    http::serve(listener, stop, move |call| {
        let (host, id) = (host.clone(), id.clone());
        async move { answer(&host, &id, &call).await }
    });
    Ok(base)
}

async fn answer(host: &Arc<Host>, id: &str, call: &Call) -> Reply {
    if call.header("metadata-flavor") != "Google" || !call.header("x-forwarded-for").is_empty() {
        return Reply::text(403, "Missing Metadata-Flavor:Google header.");
    }
    if call.method != "GET" {
        return Reply::text(405, "Method Not Allowed");
    }
    let query = pairs(&call.query);
    let param = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    let now = || host.with(|w, _| w.gcp.entry(w.units.get(id)?, &call.path));
    let waits = param("wait_for_change").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let held = param("timeout_sec").and_then(|v| v.parse().ok()).map_or(HELD, Duration::from_secs);
    let first = now();
    let seen = param("last_etag").map_or_else(|| etag(first.as_deref()), str::to_owned);
    let (until, mut text) = (clock::now().plus(held), first);
    while waits && etag(text.as_deref()) == seen && clock::now() < until {
        tokio::time::sleep(LOOK).await;
        text = now();
    }
    let state = etag(text.as_deref());
    let reply = text.map_or_else(|| Reply::text(404, "Not Found"), |text| Reply::text(200, text));
    reply.with("etag", &state).with("metadata-flavor", "Google").with("server", "Metadata Server for VM")
}

/// The state of an entry.
fn etag(text: Option<&str>) -> String {
    format!("{:016x}", hash(0, &[text.unwrap_or("")]))
}

impl super::Account {
    /// One entry, or a folder's names. `None` where there is none.
    fn entry(&self, unit: &Unit, path: &str) -> Option<String> {
        let path = path.strip_prefix("/computeMetadata/v1/")?;
        let gce = self.instances.get(&unit.id)?;
        let items = gce.metadata.as_array().cloned().unwrap_or_default();
        let link = |kind: &str, name: &str| format!("projects/000000000000/{kind}/{name}");
        if let Some(key) = path.strip_prefix("instance/attributes/").filter(|k| !k.is_empty()) {
            let found = items.iter().find(|i| i["key"] == key)?;
            return found["value"].as_str().map(str::to_owned);
        }
        let place = &unit.pool.place;
        let text = match path.trim_end_matches('/') {
            "project/project-id" => super::PROJECT.to_owned(),
            "project/numeric-project-id" => "000000000000".to_owned(),
            "instance/id" => (hash(0, &["instance", &gce.key]) >> 1).to_string(),
            "instance/name" => gce.name.clone(),
            "instance/hostname" => format!("{}.{}.c.{}.internal", gce.name, gce.zone, super::PROJECT),
            "instance/zone" => link("zones", &place.zone),
            "instance/machine-type" => link("machineTypes", gce.shape.kind.name),
            "instance/cpu-platform" => "Intel Cascade Lake".to_owned(),
            "instance/preempted" => if unit.notice.is_some() { "TRUE" } else { "FALSE" }.to_owned(),
            "instance/maintenance-event" => "NONE".to_owned(),
            "instance/scheduling/preemptible" => {
                if unit.is_spot() { "TRUE" } else { "FALSE" }.to_owned()
            }
            "instance/network-interfaces/0/ip"
            | "instance/network-interfaces/0/access-configs/0/external-ip" => {
                unit.address.to_string()
            }
            // No service account is on a machine that names none.
            "instance/service-accounts" => String::new(),
            "instance/tags" => gce.tags.to_string(),
            "instance/attributes" => {
                let keys = items.iter().filter_map(|i| i["key"].as_str());
                keys.fold(String::new(), |all, key| all + key + "\n")
            }
            "instance" => Value::to_string(&json!({"id": gce.key, "zone": link("zones", &place.zone)})),
            _ => return None,
        };
        Some(text)
    }
}
