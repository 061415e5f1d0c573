//! Firewall rules and the network `default`. Rules are kept and shown; no packet is filtered.

use super::operations::Done;
use super::pages::Kind;
use super::{Answer, HOME, Request, invalid, launch, no_such, refuse, stamp};
use crate::text::hash;
use serde_json::{Value, json};

const FIREWALLS: Kind = Kind { one: "firewall", many: "firewalls" };
const NETWORKS: Kind = Kind { one: "network", many: "networks" };
/// What a rule may say; anything else is a mistake.
const FIELDS: &[&str] = &[
    "name", "description", "network", "direction", "priority", "allowed", "denied", "sourceRanges",
    "destinationRanges", "sourceTags", "targetTags", "disabled", "logConfig", "kind", "id", "selfLink",
    "creationTimestamp", "sourceServiceAccounts", "targetServiceAccounts", "enableLogging", "params",
];

impl Request<'_> {
    fn checked_rule(&self) -> Result<(), super::Refusal> {
        let fields = self.body.as_object().ok_or_else(|| invalid("The body must be an object."))?;
        if let Some(unknown) = fields.keys().find(|k| !FIELDS.contains(&k.as_str())) {
            return Err(invalid(format!("Invalid JSON payload received. Unknown name \"{unknown}\"")));
        }
        let ports = self.body["allowed"].as_array().into_iter().flatten();
        match ports.filter(|a| a["IPProtocol"].as_str().is_none()).count() {
            0 => Ok(()),
            _ => Err(invalid("Invalid value for field 'resource.allowed[0].IPProtocol': ''.")),
        }
    }

    pub(super) fn insert_firewall(&mut self) -> Answer {
        self.checked_rule()?;
        let name = self.body["name"].as_str().unwrap_or("").to_owned();
        if !launch::is_name(&name) {
            return Err(invalid(format!("Invalid value for field 'resource.name': '{name}'.")));
        }
        if self.world.gcp.firewalls.contains_key(&name) {
            let text = format!("The resource 'projects/fleet-sandbox/global/firewalls/{name}' already exists");
            return Err(refuse(409, "alreadyExists", text));
        }
        let mut rule = self.body.clone();
        rule["kind"] = json!("compute#firewall");
        rule["id"] = json!((hash(self.world.seed, &["firewall", &name]) >> 1).to_string());
        rule["creationTimestamp"] = json!(stamp(self.now));
        rule["selfLink"] = json!(format!("{HOME}/global/firewalls/{name}"));
        rule["network"] = json!(format!("{HOME}/global/networks/default"));
        for (field, usual) in
            [("priority", json!(1000)), ("direction", json!("INGRESS")), ("disabled", json!(false))]
        {
            if rule[field].is_null() {
                rule[field] = usual;
            }
        }
        self.world.gcp.firewalls.insert(name.clone(), rule);
        Ok(self.done_at_once("insert", &format!("global/firewalls/{name}")))
    }

    pub(super) fn firewalls(&self) -> Answer {
        let rows = self.world.gcp.firewalls.values().cloned().collect();
        self.listed(&FIREWALLS, "global", rows)
    }

    pub(super) fn firewall(&self, name: &str) -> Answer {
        let found = self.world.gcp.firewalls.get(name).cloned();
        found.ok_or_else(|| no_such(&format!("projects/fleet-sandbox/global/firewalls/{name}")))
    }

    pub(super) fn patch_firewall(&mut self, name: &str) -> Answer {
        self.checked_rule()?;
        self.firewall(name)?;
        let changes = self.body.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(rule)) = self.world.gcp.firewalls.get_mut(name) {
            rule.extend(changes);
        }
        Ok(self.done_at_once("patch", &format!("global/firewalls/{name}")))
    }

    pub(super) fn delete_firewall(&mut self, name: &str) -> Answer {
        self.firewall(name)?;
        self.world.gcp.firewalls.remove(name);
        Ok(self.done_at_once("delete", &format!("global/firewalls/{name}")))
    }

    fn done_at_once(&mut self, kind: &'static str, target: &str) -> Value {
        let done = Done::At(self.now);
        self.operate(kind, None, target, done)
    }

    fn default_network(&self) -> Value {
        json!({"kind": "compute#network", "id": "1", "name": "default", "autoCreateSubnetworks": true,
            "description": "Default network for the project", "routingConfig": {"routingMode": "REGIONAL"},
            "creationTimestamp": stamp(self.world.started_at),
            "selfLink": format!("{HOME}/global/networks/default")})
    }

    pub(super) fn networks(&self) -> Answer {
        self.listed(&NETWORKS, "global", vec![self.default_network()])
    }

    pub(super) fn network(&self, name: &str) -> Answer {
        match name {
            "default" => Ok(self.default_network()),
            _ => Err(no_such(&format!("projects/fleet-sandbox/global/networks/{name}"))),
        }
    }
}
