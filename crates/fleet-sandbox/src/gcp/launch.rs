//! The create: the form is checked at once; quota and capacity show later, inside the operation.
//!
//! Invariant: one request id is one operation for ever, and one name in a zone one machine at a time.

use super::instances::{Gce, disk_id};
use super::operations::{Done, Late};
use super::places::{price, with_site};
use super::{Answer, Refusal, Request, invalid, refuse};
use crate::boot::public_key;
use crate::facts::gcp::{Region, Shape, disk_hour, find, region_of};
use crate::world::{Boot, Resource, Stage, Unit};
use fleet_types::{Market, Place, Pool, ProviderId, Usd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// When a want of capacity or quota shows after a create was accepted.
const LATE_SECONDS: f64 = 10.0;
const METADATA_MAX: usize = 512 * 1024;
/// What a create may say here; anything else is a mistake of the client, or beyond the sandbox.
const FIELDS: &[&str] = &[
    "name", "description", "machineType", "guestAccelerators", "disks", "networkInterfaces", "tags",
    "labels", "metadata", "scheduling", "serviceAccounts", "deletionProtection", "canIpForward",
    "shieldedInstanceConfig", "confidentialInstanceConfig", "displayDevice", "reservationAffinity",
    "hostname", "keyRevocationActionType", "minCpuPlatform", "resourcePolicies", "zone", "params",
];
const SCHEDULING: &[&str] = &[
    "provisioningModel", "instanceTerminationAction", "automaticRestart", "onHostMaintenance",
    "preemptible", "maxRunDuration", "terminationTime", "onInstanceStopAction",
];

/// A name of Compute Engine.
pub(super) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && !text.ends_with('-')
        && text.bytes().all(inner)
}

/// The token in the labels of fleet's create; of any other, its name.
pub(super) fn token_of(body: &Value) -> String {
    let label = body["labels"]["fleet-token"].as_str();
    label.or_else(|| body["name"].as_str()).unwrap_or_default().to_owned()
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    text.chars().count() <= 63 && text.chars().all(inner)
}

/// What a create asks for, checked.
struct Wish {
    name: String,
    shape: Shape,
    market: Market,
    disk_gib: u32,
    deletes: bool,
    max_run: Option<Duration>,
}

fn field(name: &str, value: &Value, why: &str) -> Refusal {
    invalid(format!("Invalid value for field 'resource.{name}': '{value}'. {why}"))
}

fn unknown_field(object: &Value, known: &[&str]) -> Result<(), Refusal> {
    let mut keys = object.as_object().into_iter().flatten().map(|(k, _)| k);
    match keys.find(|k| !known.contains(&k.as_str())) {
        Some(k) => Err(invalid(format!("Invalid JSON payload received. Unknown name \"{k}\""))),
        None => Ok(()),
    }
}

impl Request<'_> {
    pub(super) fn insert(&mut self, zone: &str) -> Answer {
        let id = self.param("requestId").map(str::to_owned);
        if id.as_ref().is_some_and(|id| !is_request_id(id)) {
            return Err(invalid("Invalid value for field 'requestId'."));
        }
        if let Some(earlier) = id.as_ref().and_then(|id| self.world.gcp.requests.get(id)).cloned() {
            return self.operation(Some(zone), &earlier);
        }
        let wish = self.wish(zone)?;
        let target = format!("zones/{zone}/instances/{}", wish.name);
        if self.present(zone, &wish.name).is_some() {
            let text = format!("The resource 'projects/fleet-sandbox/{target}' already exists");
            return Err(refuse(409, "alreadyExists", text));
        }
        let (done, late) = match self.refusal(&wish, zone) {
            Some(late) => {
                let at = self.now.plus(self.world.scale.secs(LATE_SECONDS));
                (Done::At(at), Some(late))
            }
            None => (Done::Running(self.create(zone, &wish)), None),
        };
        let operation = self.operate_late("insert", Some(zone), &target, done, late);
        if let (Some(id), Some(name)) = (id, operation["name"].as_str()) {
            self.world.gcp.requests.insert(id, name.to_owned());
        }
        Ok(operation)
    }

    /// Reads and checks the body; touches nothing.
    fn wish(&self, zone: &str) -> Result<Wish, Refusal> {
        let body = &self.body;
        if !body.is_object() {
            return Err(invalid("Required field 'resource' not specified"));
        }
        unknown_field(body, FIELDS)?;
        let scheduling = &body["scheduling"];
        unknown_field(scheduling, SCHEDULING)?;
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(field("name", &body["name"], "Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"));
        }
        let shape = self.shape(zone)?;
        let market = market(scheduling, &shape)?;
        let max_run = match &scheduling["maxRunDuration"] {
            Value::Null => None,
            duration => Some(seconds(duration)?),
        };
        let action = scheduling["instanceTerminationAction"].as_str();
        if action.is_some() && market == Market::OnDemand && max_run.is_none() {
            return Err(invalid("You cannot specify a termination action for a VM instance that has the standard provisioning model (default)."));
        }
        self.parts()?;
        Ok(Wish {
            name,
            shape,
            market,
            disk_gib: self.disk_gib()?,
            deletes: action == Some("DELETE"),
            max_run,
        })
    }

    fn shape(&self, zone: &str) -> Result<Shape, Refusal> {
        let named = self.body["machineType"].as_str().unwrap_or_default();
        let missing = || field("machineType", &self.body["machineType"], "The referenced resource does not exist.");
        let kind = named.rsplit('/').next().and_then(find).filter(|t| t.is_sold_in(zone));
        let kind = kind.ok_or_else(missing)?;
        let Some(config) = self.body["guestAccelerators"].as_array().and_then(|a| a.first()) else {
            return Ok(kind.bare());
        };
        let wanted = config["acceleratorType"].as_str().unwrap_or_default();
        let wanted = wanted.rsplit('/').next().unwrap_or_default();
        let count = config["acceleratorCount"].as_u64().unwrap_or(1);
        let same = |s: &Shape| s.gpu.is_some_and(|(g, n)| g.kind == wanted && u64::from(n) == count);
        let shapes = kind.attached().into_iter().chain([kind.bare()]);
        shapes.filter(|s| s.is_sold_in(zone)).find(same).ok_or_else(|| {
            field("guestAccelerators", config, "The accelerator cannot be had so with this machine in this zone.")
        })
    }

    /// Networks, labels and metadata.
    fn parts(&self) -> Result<(), Refusal> {
        let body = &self.body;
        if body["networkInterfaces"].as_array().is_none_or(Vec::is_empty) {
            return Err(field("networkInterfaces", &body["networkInterfaces"], "At least one network interface is required."));
        }
        let labels = body["labels"].as_object();
        let odd = labels.into_iter().flatten().find(|(k, v)| {
            let starts = k.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
            !starts || !is_label(k) || !v.as_str().is_some_and(is_label)
        });
        if let Some((key, value)) = odd {
            return Err(field(&format!("labels.{key}"), value, "Labels are lowercase letters, digits, '-' and '_', at most 63."));
        }
        match body["metadata"]["items"].to_string().len() > METADATA_MAX {
            true => Err(field("metadata", &json!("…"), "Metadata is limited to 512 KB.")),
            false => Ok(()),
        }
    }

    fn disk_gib(&self) -> Result<u32, Refusal> {
        let disk = &self.body["disks"][0];
        let made = &disk["initializeParams"];
        if disk["boot"] != true || made["sourceImage"].as_str().is_none_or(str::is_empty) {
            return Err(field("disks[0]", disk, "A boot disk with an image is needed."));
        }
        let size = match &made["diskSizeGb"] {
            Value::Null => Some(10),
            Value::String(text) => text.parse().ok(),
            number => number.as_u64().and_then(|n| u32::try_from(n).ok()),
        };
        size.filter(|gib| (10..=65_536).contains(gib)).ok_or_else(|| {
            field("disks[0].initializeParams.diskSizeGb", &made["diskSizeGb"], "The disk is smaller than its image, or too large.")
        })
    }

    /// Why nothing will be made, though the create is accepted.
    fn refusal(&self, wish: &Wish, zone: &str) -> Option<Late> {
        let (used, limit) = self.gpu_quota(&wish.shape, zone, wish.market);
        let (model, gpus) = wish.shape.gpu.map_or(("CPUS", 1), |(g, n)| (g.name, n));
        if let Some(limit) = limit.filter(|limit| used + gpus > *limit) {
            let prefix = if wish.market == Market::Spot { "PREEMPTIBLE-" } else { "" };
            let name = format!("{prefix}NVIDIA-{model}-GPUS-per-project-region");
            let metric = name.trim_end_matches("-per-project-region").replace('-', "_");
            return Some(Late {
                code: "QUOTA_EXCEEDED",
                message: format!("Quota '{metric}' exceeded.  Limit: {limit}.0 in region {}.", region(zone)),
                status: 403,
                quota: Some((format!("compute.googleapis.com/{}", metric.to_lowercase()), name, limit)),
            });
        }
        // The newest machines go to reservations, or as spot.
        let reserved = wish.market == Market::OnDemand && is_reserved(wish.shape.kind.name);
        let anchor = wish.market == Market::OnDemand || wish.shape.is_anchor(zone);
        let stock = with_site(&wish.shape, zone, wish.market, |s| self.world.stock(s, anchor, self.now));
        (reserved || stock == 0).then(|| Late {
            code: "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
            message: format!(
                "The zone 'projects/fleet-sandbox/zones/{zone}' does not have enough resources available to \
                 fulfill the request.  '(resource type:compute)'."
            ),
            status: 503,
            quota: None,
        })
    }

    /// Puts the machine and its disk into the world.
    fn create(&mut self, zone: &str, wish: &Wish) -> String {
        let key = self.fresh_key(&wish.name);
        let region: &'static Region = match region_of(zone) {
            Some(region) => region,
            None => return key,
        };
        let price = price(self.world, &wish.shape, region, wish.market, self.now);
        let unit = self.unit(&key, wish, region.name, zone, price);
        let body = &self.body;
        let or_empty = |v: &Value, empty: Value| if v.is_null() { empty } else { v.clone() };
        let gce = Gce {
            key: key.clone(),
            name: wish.name.clone(),
            zone: zone.to_owned(),
            shape: wish.shape,
            labels: or_empty(&body["labels"], json!({})),
            tags: or_empty(&body["tags"]["items"], json!([])),
            metadata: or_empty(&body["metadata"]["items"], json!([])),
            scheduling: scheduling_shown(&body["scheduling"], wish.market),
            disk_gib: wish.disk_gib,
            disk_labels: or_empty(&body["disks"][0]["initializeParams"]["labels"], json!({})),
            disk_bills: true,
            deletes: wish.deletes,
            max_run: wish.max_run,
            deleted: false,
            created_at: self.now,
        };
        self.world.bill(Resource {
            provider: ProviderId::Gcp,
            kind: "disk",
            id: disk_id(&key),
            owner: key.clone(),
            ends_with_owner: false,
            price: disk_hour(wish.disk_gib),
            started_at: self.now,
            ended_at: None,
        });
        self.world.gcp.instances.insert(key.clone(), gce);
        self.world.admit(unit);
        key
    }

    /// The name, or with a number behind it where a machine of that name was there before.
    fn fresh_key(&self, name: &str) -> String {
        let taken = |key: &String| self.world.units.contains_key(key);
        let numbered = (2..).map(|n: u32| format!("{name}~{n}"));
        let mut keys = std::iter::once(name.to_owned()).chain(numbered);
        keys.find(|key| !taken(key)).unwrap_or_default()
    }

    fn unit(&mut self, key: &str, wish: &Wish, region: &str, zone: &str, price: Usd) -> Unit {
        let labels = self.body["labels"].as_object().into_iter().flatten();
        let tags: BTreeMap<String, String> =
            labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
        let (gpu, gpus) = wish.shape.gpu.map_or((String::new(), 0), |(g, n)| (g.name.to_owned(), n));
        let place =
            Place { provider: ProviderId::Gcp, region: region.to_owned(), zone: zone.to_owned() };
        Unit {
            id: key.to_owned(),
            pool: Pool { place, instance_type: wish.shape.name(), market: wish.market },
            gpu,
            gpus,
            vcpus: wish.shape.kind.vcpus,
            price,
            calm_price: price,
            // GCP takes no bid, and takes no machine for its price.
            limit: None,
            tags,
            token: token_of(&self.body),
            stage: Stage::Booting,
            started_at: self.now,
            visible_at: self.now.plus(self.world.visibility_lag(ProviderId::Gcp)),
            running_at: None,
            reported_at: None,
            notice: None,
            ended_at: None,
            end_cause: None,
            gone_at: None,
            accrued: Usd::ZERO,
            billed_from: self.now,
            address: self.world.addresses.take(),
            boot: self.boot(),
        }
    }

    /// What the metadata asks of the first boot. OS Login ignores keys in metadata.
    fn boot(&self) -> Boot {
        let items = self.body["metadata"]["items"].as_array().cloned().unwrap_or_default();
        let item = |key: &str| {
            let found = items.iter().find(|i| i["key"] == key)?;
            found["value"].as_str().map(str::to_owned)
        };
        let os_login = item("enable-oslogin").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let keys = item("ssh-keys").filter(|_| !os_login).unwrap_or_default();
        Boot {
            authorized_keys: keys.lines().filter_map(public_key).collect(),
            user_data: item("user-data").or_else(|| item("startup-script")),
            env: Vec::new(),
            metadata: true,
        }
    }
}

fn region(zone: &str) -> &'static str {
    region_of(zone).map_or("", |r| r.name)
}

fn is_reserved(kind: &str) -> bool {
    ["a3-ultragpu-", "a4-", "a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"]
        .iter()
        .any(|prefix| kind.starts_with(prefix))
}

/// A UUID that is not nil.
fn is_request_id(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|id| !id.is_nil())
}

fn market(scheduling: &Value, shape: &Shape) -> Result<Market, Refusal> {
    let market = match scheduling["provisioningModel"].as_str() {
        Some("SPOT") => Market::Spot,
        Some("STANDARD") | None if scheduling["preemptible"] == true => Market::Spot,
        Some("STANDARD") | None => Market::OnDemand,
        Some(_) => {
            let model = &scheduling["provisioningModel"];
            return Err(field("scheduling.provisioningModel", model, "Unknown here."));
        }
    };
    let ends = scheduling["onHostMaintenance"] == "TERMINATE";
    if shape.gpu.is_some() && !ends {
        return Err(invalid("Instances with guest accelerators do not support live migration."));
    }
    if market == Market::Spot && scheduling["automaticRestart"] == true {
        return Err(invalid("Scheduling must have automaticRestart be false when provisioning model is SPOT."));
    }
    Ok(market)
}

/// `{"seconds": "3600"}`, within what Compute Engine takes.
fn seconds(duration: &Value) -> Result<Duration, Refusal> {
    let given = match &duration["seconds"] {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    };
    let day: u64 = 24 * 3600;
    given.filter(|s| (30..=120 * day).contains(s)).map(Duration::from_secs).ok_or_else(|| {
        field("scheduling.maxRunDuration", duration, "It must lie between 30 seconds and 120 days.")
    })
}

/// The scheduling as it is shown, with what was left out.
fn scheduling_shown(given: &Value, market: Market) -> Value {
    let spot = market == Market::Spot;
    let mut shown = json!({
        "provisioningModel": if spot { "SPOT" } else { "STANDARD" }, "preemptible": spot,
        "automaticRestart": !spot, "onHostMaintenance": if spot { "TERMINATE" } else { "MIGRATE" },
    });
    for (key, value) in given.as_object().into_iter().flatten() {
        shown[key] = value.clone();
    }
    shown["preemptible"] = json!(spot);
    shown
}
