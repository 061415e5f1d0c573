//! Spot requests: the rows through which EC2 tells from outside that a machine will be taken.
//!
//! Invariant: a request's state and status follow from its machine alone, so the two never disagree.

use super::filter::{Filters, Row};
use super::instances::Ec2;
use super::xml::Xml;
use super::{Answer, Request, refuse};
use crate::clock::iso;
use crate::world::{EndCause, Unit};
use fleet_types::Timestamp;

/// State, status code, and since when.
fn status(ec2: &Ec2, unit: &Unit) -> (&'static str, &'static str, Timestamp) {
    match (unit.ended_at, unit.end_cause, unit.notice) {
        (Some(at), Some(cause), _) => {
            let code = match cause {
                EndCause::PreemptedPrice => "instance-terminated-by-price",
                EndCause::PreemptedCapacity => "instance-terminated-no-capacity",
                EndCause::BootFailed | EndCause::SandboxDown => "instance-terminated-by-service",
                EndCause::Terminated | EndCause::Stopped | EndCause::InstanceShutdown => {
                    "instance-terminated-by-user"
                }
            };
            (if ec2.cancelled { "cancelled" } else { "closed" }, code, at)
        }
        (_, _, Some(notice)) => ("active", "marked-for-termination", notice.at),
        _ if ec2.cancelled => {
            ("cancelled", "request-canceled-and-instance-running", unit.started_at)
        }
        _ => ("active", "fulfilled", unit.started_at),
    }
}

fn message(code: &str) -> &'static str {
    match code {
        "fulfilled" => "Your spot request is fulfilled.",
        "marked-for-termination" => "Your spot instance is marked for termination.",
        "instance-terminated-by-price" => {
            "Your instance was terminated because your price was too low."
        }
        "instance-terminated-no-capacity" => {
            "Your instance was terminated because there is no capacity available."
        }
        "instance-terminated-by-user" => "Your instance was terminated by you.",
        "request-canceled-and-instance-running" => {
            "Your spot request is canceled, but your instance is still running."
        }
        _ => "Your instance was terminated by the service.",
    }
}

impl Request<'_> {
    pub(super) fn describe_spot_requests(&mut self) -> Answer {
        let asked = self.params.list("SpotInstanceRequestId");
        let requests: Vec<(&Ec2, &Unit)> =
            self.shown().into_iter().filter(|(e, _)| e.spot_request.is_some()).collect();
        let id_of = |e: &Ec2| e.spot_request.clone().unwrap_or_default();
        if let Some(unknown) = asked.iter().find(|a| !requests.iter().any(|(e, _)| id_of(e) == **a))
        {
            let text = format!("The spot instance request ID '{unknown}' does not exist");
            return Err(refuse(400, "InvalidSpotInstanceRequestID.NotFound", text));
        }
        let mut shown = Filters::of(&self.params).pass(requests, |(e, u)| {
            let (state, code, _) = status(e, u);
            Row::new([
                ("instance-id", u.id.clone()),
                ("spot-instance-request-id", id_of(e)),
                ("state", state.into()),
                ("status-code", code.into()),
                ("launched-availability-zone", e.zone.name()),
                ("launch.instance-type", u.pool.instance_type.clone()),
            ])
            .tagged(&e.request_tags)
        })?;
        shown.retain(|(e, _)| asked.is_empty() || asked.contains(&id_of(e).as_str()));
        let (page, next) = self.params.page(shown, 1000)?;
        Ok(Xml::default()
            .list("spotInstanceRequestSet", page, |x, (e, u)| request_xml(x, e, u))
            .maybe("nextToken", next))
    }

    pub(super) fn cancel_spot_requests(&mut self) -> Answer {
        let asked: Vec<String> =
            self.params.list("SpotInstanceRequestId").into_iter().map(Into::into).collect();
        let mut done = Vec::new();
        for id in asked {
            let found = self
                .world
                .aws
                .instances
                .values_mut()
                .find(|e| e.region == self.region && e.spot_request.as_ref() == Some(&id));
            let Some(ec2) = found else {
                let text = format!("The spot instance request ID '{id}' does not exist");
                return Err(refuse(400, "InvalidSpotInstanceRequestID.NotFound", text));
            };
            ec2.cancelled = true;
            done.push(id);
        }
        Ok(Xml::default().list("spotInstanceRequestSet", done, |x, id| {
            x.el("spotInstanceRequestId", id).el("state", "cancelled")
        }))
    }
}

fn request_xml(x: Xml, ec2: &Ec2, unit: &Unit) -> Xml {
    let (state, code, since) = status(ec2, unit);
    let limit = ec2.max_price.or(unit.limit).unwrap_or_default();
    let spec = Xml::default()
        .el("imageId", &ec2.image)
        .maybe("keyName", ec2.key_name.as_ref())
        .list("groupSet", &ec2.groups, |x, g| x.el("groupId", g))
        .el("instanceType", &unit.pool.instance_type)
        .group("placement", Xml::default().el("availabilityZone", ec2.zone.name()));
    let status =
        Xml::default().el("code", code).el("updateTime", iso(since)).el("message", message(code));
    x.maybe("spotInstanceRequestId", ec2.spot_request.as_ref())
        .el("spotPrice", format!("{:.6}", limit.dollars()))
        .el("type", "one-time")
        .el("state", state)
        .group("status", status)
        .group("launchSpecification", spec)
        .el("instanceId", &unit.id)
        .el("createTime", iso(unit.started_at))
        .el("productDescription", "Linux/UNIX")
        .el("launchedAvailabilityZone", ec2.zone.name())
        .el("instanceInterruptionBehavior", "terminate")
        .tags(&ec2.request_tags)
}
