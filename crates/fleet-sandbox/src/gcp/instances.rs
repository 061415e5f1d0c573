//! Instances and their disks as Compute Engine shows them: get, list, delete, stop, a preemption to order.
//!
//! Invariants: an instance that was deleted, or taken with the order to delete it, is gone when no process of it is
//! left; one that stopped in another way stays, and its disk bills, until it is deleted.

use super::operations::{self, Done};
use super::pages::Kind;
use super::{Answer, HOME, Refusal, Request, invalid, no_such, stamp};
use crate::facts::gcp::Shape;
use crate::text::hash;
use crate::world::{EndCause, Stage, Unit, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_types::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const INSTANCES: Kind = Kind { one: "instance", many: "instances" };
const DISKS: Kind = Kind { one: "disk", many: "disks" };

/// What Compute Engine knows of an instance beside the world's machine.
#[derive(Clone)]
pub(crate) struct Gce {
    /// Id of the world's machine.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) shape: Shape,
    pub(super) labels: Value,
    pub(super) tags: Value,
    pub(super) metadata: Value,
    pub(super) scheduling: Value,
    pub(super) disk_gib: u32,
    pub(super) disk_labels: Value,
    pub(super) disk_bills: bool,
    /// A preemption deletes it.
    pub(super) deletes: bool,
    pub(super) max_run: Option<Duration>,
    /// Somebody asked for its deletion.
    pub(super) deleted: bool,
    pub(super) created_at: Timestamp,
}

/// Something short that changes with `parts`, in the form of fingerprints.
fn fingerprint(parts: &[&str]) -> String {
    STANDARD.encode(hash(0, parts).to_be_bytes())
}

impl Gce {
    /// Whether nothing of it stays when its machine has ended.
    pub(super) fn vanishes(&self, unit: &Unit) -> bool {
        let taken =
            matches!(unit.end_cause, Some(EndCause::PreemptedCapacity | EndCause::PreemptedPrice));
        self.deleted || (taken && self.deletes)
    }

    /// Whether calls find it.
    fn is_there(&self, unit: &Unit, now: Timestamp) -> bool {
        unit.visible_at <= now && !(unit.stage == Stage::Ended && self.vanishes(unit))
    }

    fn status(unit: &Unit) -> &'static str {
        match unit.stage {
            Stage::Booting => "STAGING",
            Stage::Running => "RUNNING",
            Stage::Ending => "STOPPING",
            Stage::Ended => "TERMINATED",
        }
    }

    fn json(&self, unit: &Unit) -> Value {
        let (zone, name) = (&self.zone, &self.name);
        let link = format!("{HOME}/zones/{zone}");
        let mut shown = json!({
            "kind": "compute#instance", "id": (hash(0, &["instance", &self.key]) >> 1).to_string(),
            "name": name, "creationTimestamp": stamp(self.created_at), "status": Self::status(unit),
            "zone": link, "machineType": format!("{link}/machineTypes/{}", self.shape.kind.name),
            "cpuPlatform": "Intel Cascade Lake", "labels": self.labels,
            "labelFingerprint": fingerprint(&["labels", &self.labels.to_string()]),
            "tags": {"items": self.tags, "fingerprint": fingerprint(&["tags", &self.tags.to_string()])},
            "metadata": {"kind": "compute#metadata", "items": self.metadata,
                "fingerprint": fingerprint(&["metadata", &self.metadata.to_string()])},
            "scheduling": self.scheduling, "disks": [self.attached()],
            "networkInterfaces": [self.interface(unit)], "canIpForward": false,
            "deletionProtection": false, "startRestricted": false,
            "fingerprint": fingerprint(&["instance", &self.key]), "selfLink": format!("{link}/instances/{name}"),
            "lastStartTimestamp": stamp(unit.started_at),
        });
        if let Some((gpu, count)) = self.shape.gpu {
            let kind = format!("{link}/acceleratorTypes/{}", gpu.kind);
            shown["guestAccelerators"] = json!([{"acceleratorType": kind, "acceleratorCount": count}]);
        }
        if let Some(at) = unit.ended_at {
            shown["lastStopTimestamp"] = json!(stamp(at));
        }
        shown
    }

    fn interface(&self, unit: &Unit) -> Value {
        let region = &unit.pool.place.region;
        let mut access = json!({"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT",
            "name": "External NAT", "networkTier": "PREMIUM"});
        if unit.is_live() {
            access["natIP"] = json!(unit.address.to_string());
        }
        json!({"kind": "compute#networkInterface", "name": "nic0", "stackType": "IPV4_ONLY",
            "network": format!("{HOME}/global/networks/default"),
            "subnetwork": format!("{HOME}/regions/{region}/subnetworks/default"),
            "networkIP": unit.address.to_string(), "fingerprint": fingerprint(&["nic", &self.key]),
            "accessConfigs": [access]})
    }

    fn attached(&self) -> Value {
        json!({"kind": "compute#attachedDisk", "type": "PERSISTENT", "mode": "READ_WRITE", "boot": true,
            "autoDelete": true, "index": 0, "deviceName": "persistent-disk-0", "interface": "SCSI",
            "diskSizeGb": self.disk_gib.to_string(),
            "source": format!("{HOME}/zones/{}/disks/{}", self.zone, self.name)})
    }

    fn disk_json(&self, users: bool) -> Value {
        let link = format!("{HOME}/zones/{}", self.zone);
        let mut disk = json!({"kind": "compute#disk", "id": (hash(0, &["disk", &self.key]) >> 1).to_string(),
            "name": self.name, "zone": link, "status": "READY", "sizeGb": self.disk_gib.to_string(),
            "type": format!("{link}/diskTypes/pd-balanced"), "labels": self.disk_labels,
            "labelFingerprint": fingerprint(&["disk-labels", &self.disk_labels.to_string()]),
            "creationTimestamp": stamp(self.created_at), "physicalBlockSizeBytes": "4096",
            "selfLink": format!("{link}/disks/{}", self.name)});
        if users {
            disk["users"] = json!([format!("{link}/instances/{}", self.name)]);
        }
        disk
    }
}

/// Marks an instance as deleted, by somebody; its machine has ended already. What is left bills no more.
pub(super) fn delete_by(world: &mut World, key: &str, user: &'static str, now: Timestamp) {
    let Some(gce) = world.gcp.instances.get_mut(key) else { return };
    gce.deleted = true;
    let (zone, target) = (gce.zone.clone(), format!("zones/{}/instances/{}", gce.zone, gce.name));
    let done = Done::Gone(key.to_owned());
    operations::operate(world, ("delete", user), Some(&zone), &target, done, None, now);
}

/// The id under which a machine's disk bills.
pub(super) fn disk_id(key: &str) -> String {
    format!("{key}-disk")
}

/// Ends the bill of a machine's disk, at the time when the machine ended.
pub(super) fn end_disk(world: &mut World, key: &str, at: Timestamp) {
    if let Some(gce) = world.gcp.instances.get_mut(key) {
        gce.disk_bills = false;
    }
    world.end_resource(&disk_id(key), at);
}

impl Request<'_> {
    /// The newest instance of that name, whatever became of it.
    pub(super) fn newest(&self, zone: &str, name: &str) -> Option<&Gce> {
        let same = self.world.gcp.instances.values().filter(|g| g.zone == zone && g.name == name);
        same.max_by_key(|g| g.created_at)
    }

    /// The instance of that name that is there, visible or not yet.
    pub(super) fn present(&self, zone: &str, name: &str) -> Option<(&Gce, &Unit)> {
        let gce = self.newest(zone, name)?;
        let unit = self.world.units.get(&gce.key)?;
        (gce.is_there(unit, self.now) || self.now < unit.visible_at).then_some((gce, unit))
    }

    fn found(&self, zone: &str, name: &str) -> Result<(&Gce, &Unit), Refusal> {
        let seen = self.present(zone, name).filter(|(g, u)| g.is_there(u, self.now));
        seen.ok_or_else(|| no_such(&format!("projects/fleet-sandbox/zones/{zone}/instances/{name}")))
    }

    fn shown(&self) -> impl Iterator<Item = (&Gce, &Unit)> {
        let with = |g| Some((g, self.world.units.get(&Gce::clone(g).key)?));
        self.world.gcp.instances.values().filter_map(with).filter(|(g, u)| g.is_there(u, self.now))
    }

    pub(super) fn all_instances(&self) -> Answer {
        let rows = self.shown().map(|(g, u)| (g.zone.clone(), g.json(u))).collect();
        self.aggregated(&INSTANCES, rows)
    }

    pub(super) fn instances(&self, zone: &str) -> Answer {
        let rows = self.shown().filter(|(g, _)| g.zone == zone).map(|(g, u)| g.json(u)).collect();
        self.listed(&INSTANCES, &format!("zones/{zone}"), rows)
    }

    pub(super) fn instance(&self, zone: &str, name: &str) -> Answer {
        self.found(zone, name).map(|(g, u)| g.json(u))
    }

    /// A fresh one can be deleted before it can be seen.
    pub(super) fn delete(&mut self, zone: &str, name: &str) -> Answer {
        let Some((gce, _)) = self.present(zone, name) else {
            return Err(no_such(&format!("projects/fleet-sandbox/zones/{zone}/instances/{name}")));
        };
        let key = gce.key.clone();
        self.world.end(&key, EndCause::Terminated, self.now);
        if let Some(gce) = self.world.gcp.instances.get_mut(&key) {
            gce.deleted = true;
        }
        end_disk(self.world, &key, self.now);
        let target = format!("zones/{zone}/instances/{name}");
        Ok(self.operate("delete", Some(zone), &target, Done::Gone(key)))
    }

    pub(super) fn stop(&mut self, zone: &str, name: &str) -> Answer {
        let key = self.found(zone, name)?.0.key.clone();
        self.world.end(&key, EndCause::Stopped, self.now);
        let target = format!("zones/{zone}/instances/{name}");
        Ok(self.operate("stop", Some(zone), &target, Done::Gone(key)))
    }

    /// How a user rehearses a preemption.
    pub(super) fn simulate_maintenance(&mut self, zone: &str, name: &str) -> Answer {
        let (key, spot) = self.found(zone, name).map(|(g, u)| (g.key.clone(), u.is_spot()))?;
        if !spot {
            return Err(invalid("The sandbox simulates maintenance of spot machines only."));
        }
        self.world.preempt(&key, None, EndCause::PreemptedCapacity, self.now);
        let target = format!("zones/{zone}/instances/{name}");
        let done = Done::At(self.now);
        Ok(self.operate("simulateMaintenanceEvent", Some(zone), &target, done))
    }

    /// Disks that bill, with their zone, and whether a machine holds them.
    fn kept(&self) -> impl Iterator<Item = (&Gce, bool)> {
        let bills = self.world.gcp.instances.values().filter(|g| g.disk_bills);
        bills.map(|g| {
            let there = |u: &Unit| g.is_there(u, self.now) || u.is_live();
            (g, self.world.units.get(&g.key).is_some_and(there))
        })
    }

    pub(super) fn all_disks(&self) -> Answer {
        let rows = self.kept().map(|(g, used)| (g.zone.clone(), g.disk_json(used))).collect();
        self.aggregated(&DISKS, rows)
    }

    pub(super) fn disks(&self, zone: &str) -> Answer {
        let here = self.kept().filter(|(g, _)| g.zone == zone);
        let rows = here.map(|(g, used)| g.disk_json(used)).collect();
        self.listed(&DISKS, &format!("zones/{zone}"), rows)
    }

    pub(super) fn disk(&self, zone: &str, name: &str) -> Answer {
        let found = self.kept().find(|(g, _)| g.zone == zone && g.name == name);
        let found = found.map(|(g, used)| g.disk_json(used));
        found.ok_or_else(|| no_such(&format!("projects/fleet-sandbox/zones/{zone}/disks/{name}")))
    }

    pub(super) fn delete_disk(&mut self, zone: &str, name: &str) -> Answer {
        let disk = self.disk(zone, name)?;
        if !disk["users"].is_null() {
            let text = format!("The disk resource '{name}' is already being used by an instance");
            return Err(super::refuse(400, "resourceInUseByAnotherResource", text));
        }
        let key = self.newest(zone, name).map(|g| g.key.clone()).unwrap_or_default();
        end_disk(self.world, &key, self.now);
        let done = Done::At(self.now);
        Ok(self.operate("delete", Some(zone), &format!("zones/{zone}/disks/{name}"), done))
    }
}
