//! Instances as EC2 shows them: describe, status, terminate, console output.
//!
//! Invariants: a fresh instance is not found until its visibility lag is over, an ended one stays
//! listed for an hour, and `terminated` is shown only when no process of it is left.

use super::filter::{Filters, Row};
use super::groups::default_group;
use super::launch::{Tags, interface_id};
use super::network::{subnet_id, vpc_id};
use super::xml::Xml;
use super::{ACCOUNT, Answer, Refusal, Request, refuse};
use crate::clock::{gmt, iso};
use crate::facts::aws::Zone;
use crate::world::{EndCause, Stage, Unit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_types::Usd;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an ended instance stays listed.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// What EC2 knows of an instance beside the world's machine of the same id.
#[derive(Clone, Debug)]
pub(crate) struct Ec2 {
    pub(super) reservation: String,
    pub(super) region: String,
    pub(super) zone: Zone,
    pub(super) spot_request: Option<String>,
    pub(super) volume: String,
    pub(super) disk_gib: u32,
    pub(super) image: String,
    pub(super) key_name: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) client_token: String,
    pub(super) max_price: Option<Usd>,
    pub(super) arm: bool,
    /// Its spot request was cancelled while it ran.
    pub(super) cancelled: bool,
    pub(super) request_tags: Tags,
    pub(super) volume_tags: Tags,
}

/// EC2's state code and name of a machine.
pub(super) fn state(unit: &Unit) -> (u32, &'static str) {
    match unit.stage {
        Stage::Booting => (0, "pending"),
        Stage::Running => (16, "running"),
        Stage::Ending => (32, "shutting-down"),
        Stage::Ended => (48, "terminated"),
    }
}

/// StateReason's code and message, and StateTransitionReason, of a machine that ended.
fn reason(unit: &Unit) -> Option<(&'static str, String, String)> {
    let when = gmt(unit.ended_at?);
    let (code, text, who) = match unit.end_cause? {
        EndCause::Terminated | EndCause::Stopped => {
            ("Client.UserInitiatedShutdown", "User initiated shutdown", "User initiated")
        }
        EndCause::PreemptedPrice | EndCause::PreemptedCapacity => (
            "Server.SpotInstanceTermination",
            "Spot instance termination",
            "Server.SpotInstanceTermination",
        ),
        EndCause::InstanceShutdown => (
            "Client.InstanceInitiatedShutdown",
            "Instance initiated shutdown",
            "Client.InstanceInitiatedShutdown",
        ),
        EndCause::BootFailed | EndCause::SandboxDown => {
            ("Server.InternalError", "Internal error on launch", "Server.InternalError")
        }
    };
    Some((code, format!("{code}: {text}"), format!("{who} ({when})")))
}

impl Ec2 {
    /// The inside of an instance element.
    pub(super) fn xml(&self, x: Xml, unit: &Unit) -> Xml {
        let (code, name) = state(unit);
        let live = unit.is_live();
        let why = reason(unit);
        let device = |x: Xml, id: &String| {
            let ebs = Xml::default().el("volumeId", id).el("status", "attached");
            let ebs = ebs.el("attachTime", iso(unit.started_at)).el("deleteOnTermination", true);
            x.el("deviceName", "/dev/sda1").group("ebs", ebs)
        };
        let address = live.then(|| unit.address.to_string());
        let x = x
            .el("instanceId", &unit.id)
            .el("imageId", &self.image)
            .group("instanceState", Xml::default().el("code", code).el("name", name))
            .maybe("privateIpAddress", address.as_ref())
            .maybe("ipAddress", address.as_ref())
            .el("reason", why.as_ref().map_or("", |(_, _, r)| r))
            .maybe("keyName", self.key_name.as_ref())
            .el("amiLaunchIndex", 0)
            .el("instanceType", &unit.pool.instance_type)
            .el("launchTime", iso(unit.started_at))
            .group("placement", self.placement())
            .group("monitoring", Xml::default().el("state", "disabled"))
            .el("architecture", if self.arm { "arm64" } else { "x86_64" })
            .el("rootDeviceType", "ebs")
            .el("rootDeviceName", "/dev/sda1")
            .list("blockDeviceMapping", live.then_some(&self.volume), device)
            .el("virtualizationType", "hvm")
            .el("clientToken", &self.client_token)
            .tags(&unit.tags)
            .el("hypervisor", "xen")
            .el("ebsOptimized", false)
            .el("enaSupport", true)
            .list("groupSet", &self.groups, |x, g| x.el("groupId", g))
            .maybe("instanceLifecycle", self.spot_request.as_ref().map(|_| "spot"))
            .maybe("spotInstanceRequestId", self.spot_request.as_ref());
        let x = match why {
            Some((code, text, _)) => {
                x.group("stateReason", Xml::default().el("code", code).el("message", text))
            }
            None => x,
        };
        let metadata = Xml::default().el("state", "applied").el("httpTokens", "required");
        self.network(x, unit, address).group("metadataOptions", metadata)
    }

    fn placement(&self) -> Xml {
        Xml::default()
            .el("availabilityZone", self.zone.name())
            .el("availabilityZoneId", self.zone.id)
            .el("tenancy", "default")
    }

    fn network(&self, x: Xml, unit: &Unit, address: Option<String>) -> Xml {
        if !unit.is_live() {
            return x;
        }
        x.el("subnetId", subnet_id(self.zone)).el("vpcId", vpc_id(&self.region)).list(
            "networkInterfaceSet",
            address,
            |x, ip| {
                let public = Xml::default().el("publicIp", &ip).el("ipOwnerId", "amazon");
                x.el("networkInterfaceId", interface_id(&unit.id))
                    .el("subnetId", subnet_id(self.zone))
                    .el("vpcId", vpc_id(&self.region))
                    .el("ownerId", ACCOUNT)
                    .el("status", "in-use")
                    .el("privateIpAddress", &ip)
                    .list("groupSet", &self.groups, |x, g| x.el("groupId", g))
                    .group("association", public)
            },
        )
    }
}

impl Request<'_> {
    /// The instance of that id with its machine, whatever its age.
    pub(super) fn instance(&self, id: &str) -> Option<(&Ec2, &Unit)> {
        Some((self.world.aws.instances.get(id)?, self.world.units.get(id)?))
    }

    /// Whether lists of this region show it now.
    fn is_shown(&self, ec2: &Ec2, unit: &Unit) -> bool {
        ec2.region == self.region
            && unit.visible_at <= self.now
            && unit.gone_at.is_none_or(|at| self.now.since(at) < REMEMBERED)
    }

    /// Every instance of this region that lists show now.
    pub(super) fn shown(&self) -> Vec<(&Ec2, &Unit)> {
        self.world
            .aws
            .instances
            .keys()
            .filter_map(|id| self.instance(id))
            .filter(|(e, u)| self.is_shown(e, u))
            .collect()
    }

    /// The instances asked for by `InstanceId.N`, or all.
    fn asked(&self) -> Result<Vec<(&Ec2, &Unit)>, Refusal> {
        let ids = self.params.list("InstanceId");
        if ids.is_empty() {
            return Ok(self.shown());
        }
        ids.into_iter().map(|id| self.found(id)).collect()
    }

    fn found(&self, id: &str) -> Result<(&Ec2, &Unit), Refusal> {
        let hex = |h: &str| h.len() >= 8 && h.bytes().all(|b| b.is_ascii_hexdigit());
        if !id.strip_prefix("i-").is_some_and(hex) {
            return Err(refuse(
                400,
                "InvalidInstanceID.Malformed",
                format!("Invalid id: \"{id}\""),
            ));
        }
        self.instance(id).filter(|(e, u)| self.is_shown(e, u)).ok_or_else(|| {
            let text = format!("The instance ID '{id}' does not exist");
            refuse(400, "InvalidInstanceID.NotFound", text)
        })
    }

    pub(super) fn describe_instances(&mut self) -> Answer {
        let shown = Filters::of(&self.params).pass(self.asked()?, |(e, u)| row(e, u))?;
        let (page, next) = self.params.page(shown, 1000)?;
        let mut reservations: BTreeMap<&str, Vec<(&Ec2, &Unit)>> = BTreeMap::new();
        for (ec2, unit) in page {
            reservations.entry(&ec2.reservation).or_default().push((ec2, unit));
        }
        Ok(Xml::default()
            .list("reservationSet", reservations, |x, (id, instances)| {
                x.el("reservationId", id)
                    .el("ownerId", ACCOUNT)
                    .list("groupSet", None::<&str>, Xml::el_item)
                    .list("instancesSet", instances, |x, (e, u)| e.xml(x, u))
            })
            .maybe("nextToken", next))
    }

    pub(super) fn describe_instance_status(&mut self) -> Answer {
        let all = self.params.get("IncludeAllInstances") == Some("true");
        let mut asked = self.asked()?;
        asked.retain(|(_, u)| all || u.stage == Stage::Running);
        let shown = Filters::of(&self.params).pass(asked, |(e, u)| row(e, u))?;
        let (page, next) = self.params.page(shown, 1000)?;
        Ok(Xml::default()
            .list("instanceStatusSet", page, |x, (e, u)| {
                let (code, name) = state(u);
                let health = if u.stage == Stage::Running { "ok" } else { "not-applicable" };
                let summary = || Xml::default().el("status", health);
                x.el("instanceId", &u.id)
                    .el("availabilityZone", e.zone.name())
                    .group("instanceState", Xml::default().el("code", code).el("name", name))
                    .group("systemStatus", summary())
                    .group("instanceStatus", summary())
            })
            .maybe("nextToken", next))
    }

    pub(super) fn terminate_instances(&mut self) -> Answer {
        let ids: Vec<String> = self.params.list("InstanceId").into_iter().map(Into::into).collect();
        if ids.is_empty() {
            return Err(super::missing("InstanceId"));
        }
        for id in &ids {
            self.found(id)?;
        }
        self.dry_run()?;
        let mut changes = Vec::new();
        for id in ids {
            let before = self.world.units.get(&id).map_or((48, "terminated"), state);
            self.world.end(&id, EndCause::Terminated, self.now);
            let after = self.world.units.get(&id).map_or((48, "terminated"), state);
            changes.push((id, before, after));
        }
        let shown = |(code, name)| Xml::default().el("code", code).el("name", name);
        Ok(Xml::default().list("instancesSet", changes, |x, (id, before, after)| {
            x.el("instanceId", id)
                .group("currentState", shown(after))
                .group("previousState", shown(before))
        }))
    }

    pub(super) fn console_output(&mut self) -> Answer {
        let (_, unit) = self.found(self.params.need("InstanceId")?)?;
        let up = unit.running_at.map_or("booting", |_| "ssh server listens");
        let text = format!("sandbox machine {}: {up}\n", unit.id);
        Ok(Xml::default()
            .el("instanceId", &unit.id)
            .el("timestamp", iso(self.now))
            .el("output", STANDARD.encode(text)))
    }
}

/// What filters see of an instance.
fn row(ec2: &Ec2, unit: &Unit) -> Row {
    let lifecycle = if unit.is_spot() { "spot" } else { "on-demand" };
    let group = ec2.groups.first().cloned().unwrap_or_else(|| default_group(&ec2.region));
    Row::new([
        ("instance-id", unit.id.clone()),
        ("instance-state-name", state(unit).1.into()),
        ("instance-state-code", state(unit).0.to_string()),
        ("instance-type", unit.pool.instance_type.clone()),
        ("instance-lifecycle", lifecycle.into()),
        ("availability-zone", ec2.zone.name()),
        ("client-token", ec2.client_token.clone()),
        ("key-name", ec2.key_name.clone().unwrap_or_default()),
        ("reservation-id", ec2.reservation.clone()),
        ("spot-instance-request-id", ec2.spot_request.clone().unwrap_or_default()),
        ("instance.group-id", group),
        ("vpc-id", vpc_id(&ec2.region)),
        ("ip-address", unit.address.to_string()),
    ])
    .tagged(&unit.tags)
}
