//! Operations: what was asked and how it went, and what the cloud did by itself.
//!
//! Invariant: what the cloud does by itself is read from the machine's own life, so that no preemption, whoever
//! ordered it, is without its operation.

use super::pages::Kind;
use super::{Answer, HOME, Request, no_such, stamp};
use crate::world::{EndCause, Unit, World};
use fleet_types::Timestamp;
use serde_json::{Value, json};

const OPERATIONS: Kind = Kind { one: "operation", many: "operations" };
const USER: &str = "fleet@fleet-sandbox.iam.gserviceaccount.com";

/// When an operation has run its course.
#[derive(Clone, Debug)]
pub(super) enum Done {
    At(Timestamp),
    /// When this machine runs, or has ended.
    Running(String),
    /// When nothing of this machine is left.
    Gone(String),
}

/// Why an operation failed, told when it is done.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) status: u16,
    /// Metric and limit, where a quota was exceeded.
    pub(super) quota: Option<(String, String, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    name: String,
    id: u64,
    kind: &'static str,
    zone: Option<String>,
    /// Below the project: `zones/z/instances/x`.
    target: String,
    user: &'static str,
    at: Timestamp,
    done: Done,
    late: Option<Late>,
}

impl Operation {
    /// When it was done; `None`: not yet.
    fn end(&self, world: &World, now: Timestamp) -> Option<Timestamp> {
        match &self.done {
            Done::At(at) => (*at <= now).then_some(*at),
            Done::Running(id) => {
                let unit = world.units.get(id)?;
                unit.running_at.or(unit.ended_at).map(|at| at.max(self.at))
            }
            Done::Gone(id) => world.units.get(id)?.gone_at.map(|at| at.max(self.at)),
        }
    }

    fn json(&self, world: &World, now: Timestamp) -> Value {
        let end = self.end(world, now);
        let place = self.zone.as_ref().map_or("global".to_owned(), |z| format!("zones/{z}"));
        let mut shown = json!({
            "kind": "compute#operation", "id": self.id.to_string(), "name": self.name,
            "operationType": self.kind, "user": self.user, "status": if end.is_some() { "DONE" } else { "RUNNING" },
            "progress": if end.is_some() { 100 } else { 0 },
            "insertTime": stamp(self.at), "startTime": stamp(self.at),
            "targetLink": format!("{HOME}/{}", self.target),
            "targetId": (crate::text::hash(0, &[&self.target]) >> 1).to_string(),
            "selfLink": format!("{HOME}/{place}/operations/{}", self.name),
        });
        if let Some(zone) = &self.zone {
            shown["zone"] = json!(format!("{HOME}/zones/{zone}"));
        }
        if let Some(end) = end {
            shown["endTime"] = json!(stamp(end));
        }
        if let Some(late) = self.late.as_ref().filter(|_| end.is_some()) {
            shown["error"] = json!({"errors": [late.json()]});
            shown["httpErrorStatusCode"] = json!(late.status);
            shown["httpErrorMessage"] = json!("SERVICE UNAVAILABLE");
        }
        shown
    }
}

impl Late {
    fn json(&self) -> Value {
        let mut row = json!({"code": self.code, "message": self.message});
        if let Some((metric, limit_name, limit)) = &self.quota {
            let info = json!({"metricName": metric, "limitName": limit_name, "limit": f64::from(*limit)});
            row["errorDetails"] = json!([{"quotaInfo": info}]);
        }
        row
    }
}

/// What the cloud did to a machine by itself.
fn by_the_cloud(unit: &Unit, zone: &str, name: &str) -> Option<Operation> {
    let kind = match unit.end_cause? {
        EndCause::PreemptedCapacity | EndCause::PreemptedPrice => "compute.instances.preempted",
        EndCause::InstanceShutdown => "compute.instances.guestTerminate",
        EndCause::BootFailed => "compute.instances.hostError",
        EndCause::Terminated | EndCause::Stopped | EndCause::SandboxDown => return None,
    };
    let ended = unit.ended_at?;
    let id = crate::text::hash(0, &["systemevent", &unit.id]) >> 1;
    Some(Operation {
        name: format!("systemevent-{id:016x}"),
        id,
        kind,
        zone: Some(zone.to_owned()),
        target: format!("zones/{zone}/instances/{name}"),
        user: "system",
        at: ended,
        done: Done::At(ended),
        late: None,
    })
}

impl Request<'_> {
    /// Notes an operation and shows it.
    pub(super) fn operate(
        &mut self,
        kind: &'static str,
        zone: Option<&str>,
        target: &str,
        done: Done,
    ) -> Value {
        self.operate_late(kind, zone, target, done, None)
    }

    /// The same for one that will fail.
    pub(super) fn operate_late(
        &mut self,
        kind: &'static str,
        zone: Option<&str>,
        target: &str,
        done: Done,
        late: Option<Late>,
    ) -> Value {
        operate(self.world, (kind, USER), zone, target, done, late, self.now)
    }

    /// The code with which an operation fails or will fail.
    pub(super) fn late_code(&self, name: &str) -> Option<&'static str> {
        let found = self.world.gcp.operations.iter().find(|o| o.name == name)?;
        found.late.as_ref().map(|l| l.code)
    }

    /// Every operation of a zone, or of the project, the newest first.
    fn known(&self, zone: Option<&str>) -> Vec<Operation> {
        let here = |z: Option<&str>| zone == z;
        let asked = self.world.gcp.operations.iter().filter(|o| here(o.zone.as_deref())).cloned();
        let own = self.world.gcp.instances.values().filter(|g| here(Some(&g.zone)));
        let own = own.filter_map(|g| by_the_cloud(self.world.units.get(&g.key)?, &g.zone, &g.name));
        let mut all: Vec<Operation> = asked.chain(own).collect();
        all.sort_by_key(|o| (std::cmp::Reverse(o.at), o.id));
        all
    }

    pub(super) fn list_operations(&self, zone: Option<&str>) -> Answer {
        let rows = self.known(zone).iter().map(|o| o.json(self.world, self.now)).collect();
        let path = zone.map_or("global".to_owned(), |z| format!("zones/{z}"));
        self.listed(&OPERATIONS, &path, rows)
    }

    pub(super) fn all_operations(&self) -> Answer {
        let rows = crate::facts::gcp::zones().flat_map(|(_, zone)| {
            let here = self.known(Some(&zone));
            let here = here.iter().map(|o| (zone.clone(), o.json(self.world, self.now)));
            here.collect::<Vec<_>>()
        });
        self.aggregated(&OPERATIONS, rows.collect())
    }

    pub(super) fn operation(&self, zone: Option<&str>, name: &str) -> Answer {
        let found = self.known(zone).into_iter().find(|o| o.name == name);
        let found = found.ok_or_else(|| no_such(&format!("operations/{name}")))?;
        Ok(found.json(self.world, self.now))
    }
}

/// Notes an operation of somebody's.
pub(super) fn operate(
    world: &mut World,
    (kind, user): (&'static str, &'static str),
    zone: Option<&str>,
    target: &str,
    done: Done,
    late: Option<Late>,
    now: Timestamp,
) -> Value {
    let id = world.draw() >> 1;
    let operation = Operation {
        name: format!("operation-{}-{id:016x}", now.millis()),
        id,
        kind,
        zone: zone.map(str::to_owned),
        target: target.to_owned(),
        user,
        at: now,
        done,
        late,
    };
    let shown = operation.json(world, now);
    world.gcp.operations.push(operation);
    shown
}
