//! Launching: every rule of the request checked, then quota, then capacity, then the machine.

use super::instances::Instance;
use super::types::{cents, has_capacity, site};
use super::{Request, data, failure, invalid, no_such};
use crate::facts::lambda::{find, find_region};
use crate::http::Reply;
use crate::world::{Boot, Stage, Unit};
use fleet_types::{Market, Place, Pool, ProviderId, Usd};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MAX_USER_DATA: usize = 1 << 20;
/// What a launch may say; anything else is a mistake.
const FIELDS: &[&str] = &[
    "region_name",
    "instance_type_name",
    "ssh_key_names",
    "file_system_names",
    "file_system_mounts",
    "hostname",
    "name",
    "image",
    "user_data",
    "tags",
    "firewall_rulesets",
];

/// The token in the tags of fleet's launch; of any other, its name.
pub(super) fn token_of(body: &Value) -> String {
    let tags = tags(body);
    let token = tags.iter().find(|(key, _)| key == "fleet-token").map(|(_, v)| v.clone());
    token.or_else(|| body["name"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn tags(body: &Value) -> Vec<(String, String)> {
    let one = |t: &Value| Some((t["key"].as_str()?.to_owned(), t["value"].as_str()?.to_owned()));
    body["tags"].as_array().into_iter().flatten().filter_map(one).collect()
}

/// `^[a-z][a-z0-9-:]+$`, at most 55 characters.
fn is_tag_key(key: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b':');
    (2..=55).contains(&key.len())
        && key.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && key.bytes().all(inner)
}

/// `^[a-z0-9][0-9a-z-]{0,62}$`
fn is_hostname(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(inner)
}

/// What is wrong with the form of a launch, if anything is.
fn flaw(body: &Value) -> Option<String> {
    let Some(fields) = body.as_object() else { return Some("the body must be an object".into()) };
    if let Some(unknown) = fields.keys().find(|k| !FIELDS.contains(&k.as_str())) {
        return Some(format!("unknown field `{unknown}`"));
    }
    let text = |field: &str| body[field].as_str();
    if text("region_name").is_none() || text("instance_type_name").is_none() {
        return Some("region_name and instance_type_name are required".into());
    }
    if body["ssh_key_names"].as_array().map(Vec::len) != Some(1) {
        return Some("exactly one SSH key must be named".into());
    }
    if text("name").is_some_and(|n| n.len() > 64) {
        return Some("name has more than 64 characters".into());
    }
    if text("hostname").is_some_and(|h| !is_hostname(h)) {
        return Some("hostname has another form".into());
    }
    if text("user_data").is_some_and(|u| u.len() > MAX_USER_DATA) {
        return Some("user_data is larger than 1 MB".into());
    }
    let given = body["tags"].as_array().map_or(0, Vec::len);
    let tags = tags(body);
    if tags.len() != given || tags.iter().any(|(k, v)| !is_tag_key(k) || v.len() > 128) {
        return Some("a tag has another form".into());
    }
    None
}

impl Request<'_> {
    pub(super) fn launch(&mut self) -> Reply {
        if let Some(flaw) = flaw(&self.body) {
            return invalid(&flaw);
        }
        let text = |field: &str| self.body[field].as_str().unwrap_or("");
        let Some(kind) = find(text("instance_type_name")) else { return no_such("instance type") };
        let Some(region) = find_region(text("region_name")) else { return no_such("region") };
        let key = self.body["ssh_key_names"][0].as_str().unwrap_or("").to_owned();
        let Some(public) =
            self.world.lambda.keys.iter().find(|k| k.name == key).map(|k| k.public.clone())
        else {
            return no_such("SSH key");
        };
        let quota = self.world.quota(site(kind, region.name), self.now);
        let ours = |u: &&Unit| u.pool.place.provider == ProviderId::Lambda && u.is_live();
        let live = self.world.units.values().filter(ours).count();
        if quota.is_some_and(|q| live >= q as usize) {
            return failure(400, "global/quota-exceeded", "Quota exceeded.");
        }
        if !has_capacity(self.world, kind, region.name, self.now) {
            let code = "instance-operations/launch/insufficient-capacity";
            return failure(400, code, "Not enough capacity to fulfill launch request.");
        }
        let cents = cents(self.world, kind, self.now);
        let mut instance = Instance::new(kind, region, cents, &key);
        instance.name = self.body["name"].as_str().map(str::to_owned);
        instance.hostname = self.body["hostname"].as_str().map(str::to_owned);
        instance.tags = tags(&self.body);
        let id = self.fresh_id();
        let unit = self.unit(&id, &instance, public);
        self.world.lambda.instances.insert(id.clone(), instance);
        self.world.admit(unit);
        data(json!({"instance_ids": [id]}))
    }

    fn unit(&mut self, id: &str, instance: &Instance, public: String) -> Unit {
        let region = instance.region.name.to_owned();
        let price = Usd::from_dollars(f64::from(instance.cents) / 100.0).unwrap_or_default();
        let place = Place { provider: ProviderId::Lambda, zone: region.clone(), region };
        Unit {
            id: id.to_owned(),
            pool: Pool {
                place,
                instance_type: instance.kind.name.to_owned(),
                market: Market::OnDemand,
            },
            gpu: instance.kind.gpu.to_owned(),
            gpus: instance.kind.gpus,
            vcpus: instance.kind.vcpus,
            price,
            calm_price: price,
            limit: None,
            tags: instance.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            token: token_of(&self.body),
            stage: Stage::Booting,
            started_at: self.now,
            visible_at: self.now.plus(self.world.visibility_lag(ProviderId::Lambda)),
            running_at: None,
            reported_at: None,
            notice: None,
            ended_at: None,
            end_cause: None,
            gone_at: None,
            accrued: Usd::ZERO,
            billed_from: self.now,
            address: self.world.addresses.take(),
            boot: Boot {
                authorized_keys: vec![public],
                user_data: self.body["user_data"].as_str().map(str::to_owned),
                env: Vec::new(),
                metadata: false,
            },
        }
    }
}
