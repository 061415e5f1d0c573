//! Instances as Lambda shows them: list, show, rename, terminate.
//!
//! Invariant: `terminated` is shown only when no process of the machine is left.

use super::types::{region_json, type_json};
use super::{Request, data, invalid, no_such};
use crate::facts::lambda::{Region, Type};
use crate::http::Reply;
use crate::world::{EndCause, Stage, Unit};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a terminated instance can still be asked for, by its id.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What Lambda knows of an instance beside the world's machine of the same id.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(super) kind: &'static Type,
    pub(super) region: &'static Region,
    pub(super) cents: u32,
    pub(super) key: String,
    pub(super) name: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) tags: Vec<(String, String)>,
    /// It was taken or ended by itself, and its owner has terminated it since.
    cleared: bool,
}

impl Instance {
    pub(super) fn new(kind: &'static Type, region: &'static Region, cents: u32, key: &str) -> Self {
        let key = key.to_owned();
        let (name, hostname, tags) = (None, None, Vec::new());
        Self { kind, region, cents, key, name, hostname, tags, cleared: false }
    }
}

/// The status word of a machine.
fn status(unit: &Unit) -> &'static str {
    use EndCause::{PreemptedCapacity, PreemptedPrice};
    match (unit.stage, unit.end_cause) {
        (Stage::Booting, _) => "booting",
        (Stage::Running, _) => "active",
        (Stage::Ending, _) => "terminating",
        (Stage::Ended, Some(PreemptedCapacity | PreemptedPrice)) => "preempted",
        (Stage::Ended, _) => "terminated",
    }
}

impl Request<'_> {
    pub(super) fn json(&self, id: &str, i: &Instance) -> Value {
        let unit = self.world.units.get(id);
        let word = unit.map_or("terminated", status);
        let up = word == "active";
        let possible = |yes: bool| match yes {
            true => json!({"available": true}),
            false => json!({"available": false, "reason_code": "vm-is-terminating",
                "reason_description": "The instance is not running."}),
        };
        let mut shown = json!({
            "id": id, "status": word, "ssh_key_names": [i.key], "file_system_names": [],
            "region": region_json(i.region), "instance_type": type_json(i.kind, i.cents),
            "actions": {
                "migrate": possible(false), "rebuild": possible(false), "restart": possible(up),
                "cold_reboot": possible(up), "terminate": possible(word != "terminating"),
            },
            "tags": i.tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect::<Vec<_>>(),
        });
        // Absent where there is none, never null.
        for (field, text) in [("name", &i.name), ("hostname", &i.hostname)] {
            if let Some(text) = text {
                shown[field] = json!(text);
            }
        }
        if let Some(unit) = unit.filter(|_| up) {
            shown["ip"] = json!(unit.address.to_string());
            shown["private_ip"] = json!(unit.address.to_string());
        }
        shown
    }

    /// Whether lists show it: visible by now, and not over and cleared.
    fn is_listed(&self, id: &str, i: &Instance) -> bool {
        self.world.units.get(id).is_some_and(|u| {
            let over = u.stage == Stage::Ended;
            let kept = !i.cleared && u.end_cause != Some(EndCause::Terminated);
            u.visible_at <= self.now && (!over || kept)
        })
    }

    /// Whether its id is still known.
    fn is_known(&self, id: &str, i: &Instance) -> bool {
        let remembered = |u: &Unit| {
            let until = u.gone_at.map(|gone| gone.plus(self.world.scale.span(REMEMBERED)));
            u.visible_at <= self.now && until.is_none_or(|until| self.now < until)
        };
        self.is_listed(id, i) || self.world.units.get(id).is_some_and(remembered)
    }

    fn known(&self, id: &str) -> Option<&Instance> {
        self.world.lambda.instances.get(id).filter(|i| self.is_known(id, i))
    }

    pub(super) fn list(&mut self) -> Reply {
        let all = self.world.lambda.instances.iter();
        data(all.filter(|(id, i)| self.is_listed(id, i)).map(|(id, i)| self.json(id, i)).collect())
    }

    pub(super) fn show(&mut self, id: &str) -> Reply {
        match self.known(id) {
            Some(instance) => data(self.json(id, instance)),
            None => no_such("instance"),
        }
    }

    pub(super) fn rename(&mut self, id: &str) -> Reply {
        let Some(name) = self.body["name"].as_str().filter(|n| n.len() <= 64).map(str::to_owned)
        else {
            return invalid("name must have at most 64 characters");
        };
        if self.known(id).is_none() {
            return no_such("instance");
        }
        if let Some(instance) = self.world.lambda.instances.get_mut(id) {
            instance.name = Some(name);
        }
        self.show(id)
    }

    /// All of the instances named, or none of them.
    pub(super) fn terminate(&mut self) -> Reply {
        let Some(ids) = self.body["instance_ids"].as_array() else {
            return invalid("instance_ids must be a list");
        };
        let ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        // A fresh one can be ended before lists show it.
        if ids.is_empty() || !ids.iter().all(|id| self.is_endable(id)) {
            return no_such("instance");
        }
        for id in &ids {
            self.world.end(id, EndCause::Terminated, self.now);
            if let Some(instance) = self.world.lambda.instances.get_mut(id) {
                instance.cleared = true;
            }
        }
        let ended: Vec<Value> = ids
            .iter()
            .filter_map(|id| Some(self.json(id, self.world.lambda.instances.get(id)?)))
            .collect();
        data(json!({"terminated_instances": ended}))
    }

    fn is_endable(&self, id: &str) -> bool {
        let fresh = self.world.units.get(id).is_some_and(|u| self.now < u.visible_at);
        self.world.lambda.instances.get(id).is_some_and(|i| fresh || self.is_known(id, i))
    }
}
