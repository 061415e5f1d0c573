//! Volumes and tags: what hangs on instances and what can be labelled.
//!
//! Invariant: a volume is listed exactly as long as it bills.

use super::filter::{Filters, Row};
use super::instances::Ec2;
use super::xml::Xml;
use super::{Answer, Request, refuse};
use crate::clock::iso;
use crate::world::Unit;

impl Request<'_> {
    pub(super) fn describe_volumes(&mut self) -> Answer {
        let asked = self.params.list("VolumeId");
        let mut volumes: Vec<(&Ec2, &Unit)> =
            self.shown().into_iter().filter(|(_, u)| u.is_live()).collect();
        if let Some(unknown) = asked.iter().find(|a| !volumes.iter().any(|(e, _)| e.volume == **a))
        {
            let text = format!("The volume '{unknown}' does not exist.");
            return Err(refuse(400, "InvalidVolume.NotFound", text));
        }
        volumes.retain(|(e, _)| asked.is_empty() || asked.contains(&e.volume.as_str()));
        let shown = Filters::of(&self.params).pass(volumes, |(e, u)| {
            Row::new([
                ("volume-id", e.volume.clone()),
                ("status", "in-use".into()),
                ("attachment.instance-id", u.id.clone()),
                ("availability-zone", e.zone.name()),
            ])
            .tagged(&e.volume_tags)
        })?;
        let (page, next) = self.params.page(shown, 1000)?;
        Ok(Xml::default()
            .list("volumeSet", page, |x, (e, u)| {
                x.el("volumeId", &e.volume)
                    .el("size", e.disk_gib)
                    .el("snapshotId", "")
                    .el("availabilityZone", e.zone.name())
                    .el("status", "in-use")
                    .el("createTime", iso(u.started_at))
                    .list("attachmentSet", [&u.id], |x, id| {
                        x.el("volumeId", &e.volume)
                            .el("instanceId", id)
                            .el("device", "/dev/sda1")
                            .el("status", "attached")
                            .el("attachTime", iso(u.started_at))
                            .el("deleteOnTermination", true)
                    })
                    .tags(&e.volume_tags)
                    .el("volumeType", "gp3")
                    .el("encrypted", false)
            })
            .maybe("nextToken", next))
    }

    /// Tags instances, volumes, spot requests and security groups; other ids are refused.
    pub(super) fn create_tags(&mut self) -> Answer {
        let tags = self.params.tags("Tag");
        let ids: Vec<String> = self.params.list("ResourceId").into_iter().map(Into::into).collect();
        for id in ids {
            let world = &mut *self.world;
            let ec2 = world
                .aws
                .instances
                .values_mut()
                .find(|e| e.volume == id || e.spot_request.as_ref() == Some(&id));
            let target = match ec2 {
                Some(e) if e.volume == id => Some(&mut e.volume_tags),
                Some(e) => Some(&mut e.request_tags),
                None if id.starts_with("sg-") => world.aws.groups.get_mut(&id).map(|g| &mut g.tags),
                None => world.units.get_mut(&id).map(|u| &mut u.tags),
            };
            let Some(target) = target else {
                return Err(refuse(400, "InvalidID", format!("The ID '{id}' is not valid")));
            };
            target.extend(tags.clone());
        }
        Ok(Xml::default().el("return", true))
    }
}
