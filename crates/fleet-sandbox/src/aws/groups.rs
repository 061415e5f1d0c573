//! Security groups and their rules.
//!
//! Invariants: a group that an instance still uses cannot be deleted, and one rule is never there twice.

use super::filter::{Filters, Row};
use super::network::vpc_id;
use super::query::Params;
use super::xml::Xml;
use super::{ACCOUNT, Answer, Refusal, Request, bad_value, refuse};
use crate::text::aws_id;
use std::collections::{BTreeMap, BTreeSet};

/// A security group.
pub(crate) struct Group {
    region: String,
    name: String,
    description: String,
    rules: BTreeSet<Rule>,
    pub(super) tags: BTreeMap<String, String>,
}

/// One address range let in to a range of ports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    protocol: String,
    from: i32,
    to: i32,
    cidr: String,
    description: String,
}

impl Rule {
    /// EC2 tells rules apart without their description.
    fn same(&self, other: &Self) -> bool {
        (&self.protocol, self.from, self.to, &self.cidr)
            == (&other.protocol, other.from, other.to, &other.cidr)
    }
}

pub(super) fn default_group(region: &str) -> String {
    aws_id("sg", 0, &[region, "default"])
}

impl Request<'_> {
    pub(super) fn create_security_group(&mut self) -> Answer {
        let name = self.params.need("GroupName")?.to_owned();
        let description = self.params.need("GroupDescription")?.to_owned();
        self.dry_run()?;
        let taken = |g: &Group| g.region == self.region && g.name == name;
        if name == "default" || self.world.aws.groups.values().any(taken) {
            let text = format!("The security group '{name}' already exists for VPC");
            return Err(refuse(400, "InvalidGroup.Duplicate", text));
        }
        let id = self.fresh_id("sg");
        let tags = self.params.tags_for("security-group");
        let answer = Xml::default().el("return", true).el("groupId", &id).tags(&tags);
        let region = self.region.clone();
        let group = Group { region, name, description, rules: BTreeSet::new(), tags };
        self.world.aws.groups.insert(id, group);
        Ok(answer)
    }

    /// The group of that id in this region; `None` for the default group, which is nowhere stored.
    pub(super) fn group(&self, id: &str) -> Result<Option<&Group>, Refusal> {
        if id == default_group(&self.region) {
            return Ok(None);
        }
        let found = self.world.aws.groups.get(id).filter(|g| g.region == self.region);
        found.map(Some).ok_or_else(|| {
            let text = format!("The security group '{id}' does not exist");
            refuse(400, "InvalidGroup.NotFound", text)
        })
    }

    fn group_id(&self) -> Result<String, Refusal> {
        let id = match (self.params.get("GroupId"), self.params.get("GroupName")) {
            (Some(id), _) => id.to_owned(),
            (None, Some(name)) => self
                .world
                .aws
                .groups
                .iter()
                .find(|(_, g)| g.region == self.region && g.name == name)
                .map(|(id, _)| id.clone())
                .unwrap_or_else(|| name.to_owned()),
            (None, None) => return Err(super::missing("GroupId")),
        };
        self.group(&id)?;
        Ok(id)
    }

    pub(super) fn authorize_ingress(&mut self) -> Answer {
        let (id, rules) = (self.group_id()?, rules(&self.params)?);
        self.dry_run()?;
        let Some(group) = self.world.aws.groups.get_mut(&id) else {
            return Err(refuse(400, "CannotDelete", "the default group stays as it is"));
        };
        if let Some(twice) = rules.iter().find(|r| group.rules.iter().any(|g| g.same(r))) {
            let text = format!(
                "the specified rule \"peer: {}, {}, from port: {}, to port: {}, ALLOW\" already exists",
                twice.cidr, twice.protocol, twice.from, twice.to
            );
            return Err(refuse(400, "InvalidPermission.Duplicate", text));
        }
        group.rules.extend(rules.iter().cloned());
        Ok(Xml::default().el("return", true).list("securityGroupRuleSet", &rules, |x, r| {
            x.el("securityGroupRuleId", aws_id("sgr", 0, &[&id, &r.cidr, &r.from.to_string()]))
                .el("groupId", &id)
                .el("groupOwnerId", ACCOUNT)
                .el("isEgress", false)
                .el("ipProtocol", &r.protocol)
                .el("fromPort", r.from)
                .el("toPort", r.to)
                .el(if r.cidr.contains(':') { "cidrIpv6" } else { "cidrIpv4" }, &r.cidr)
        }))
    }

    pub(super) fn revoke_ingress(&mut self) -> Answer {
        let (id, rules) = (self.group_id()?, rules(&self.params)?);
        self.dry_run()?;
        let absent = || {
            let text = "The specified rule does not exist in this security group.";
            refuse(400, "InvalidPermission.NotFound", text)
        };
        let group = self.world.aws.groups.get_mut(&id).ok_or_else(absent)?;
        if !rules.iter().all(|r| group.rules.iter().any(|g| g.same(r))) {
            return Err(absent());
        }
        group.rules.retain(|g| !rules.iter().any(|r| g.same(r)));
        Ok(Xml::default().el("return", true))
    }

    pub(super) fn describe_security_groups(&mut self) -> Answer {
        let ids = self.params.list("GroupId");
        let names = self.params.list("GroupName");
        for id in &ids {
            self.group(id)?;
        }
        let default = Group {
            region: self.region.clone(),
            name: "default".into(),
            description: "default VPC security group".into(),
            rules: BTreeSet::new(),
            tags: BTreeMap::new(),
        };
        let mut all: Vec<(String, &Group)> = vec![(default_group(&self.region), &default)];
        let here = self.world.aws.groups.iter().filter(|(_, g)| g.region == self.region);
        all.extend(here.map(|(id, g)| (id.clone(), g)));
        all.retain(|(id, g)| {
            (ids.is_empty() || ids.contains(&id.as_str()))
                && (names.is_empty() || names.contains(&g.name.as_str()))
        });
        if let Some(unknown) = names.iter().find(|n| !all.iter().any(|(_, g)| g.name == **n)) {
            let text = format!("The security group '{unknown}' does not exist");
            return Err(refuse(400, "InvalidGroup.NotFound", text));
        }
        let shown = Filters::of(&self.params).pass(all, |(id, g)| {
            Row::new([
                ("group-id", id.clone()),
                ("group-name", g.name.clone()),
                ("description", g.description.clone()),
                ("vpc-id", vpc_id(&self.region)),
            ])
            .tagged(&g.tags)
        })?;
        let (page, next) = self.params.page(shown, 1000)?;
        Ok(Xml::default()
            .list("securityGroupInfo", page, |x, (id, g)| group_xml(x, &id, g))
            .maybe("nextToken", next))
    }

    pub(super) fn delete_security_group(&mut self) -> Answer {
        let id = self.group_id()?;
        self.dry_run()?;
        // An interface goes only with its machine's last process, not with the accepted terminate.
        let used = self.world.aws.instances.iter().any(|(i, e)| {
            let there = self.world.units.get(i).is_some_and(|u| u.gone_at.is_none());
            there && e.groups.contains(&id)
        });
        if used {
            let text = format!("resource {id} has a dependent object");
            return Err(refuse(400, "DependencyViolation", text));
        }
        self.world.aws.groups.remove(&id);
        Ok(Xml::default().el("return", true).el("groupId", id))
    }
}

fn group_xml(x: Xml, id: &str, g: &Group) -> Xml {
    let all = [Rule {
        protocol: "-1".into(),
        from: -1,
        to: -1,
        cidr: "0.0.0.0/0".into(),
        description: String::new(),
    }];
    x.el("ownerId", ACCOUNT)
        .el("groupId", id)
        .el("groupName", &g.name)
        .el("groupDescription", &g.description)
        .el("vpcId", vpc_id(&g.region))
        .list("ipPermissions", &g.rules, permission)
        .list("ipPermissionsEgress", &all, permission)
        .tags(&g.tags)
}

fn permission(x: Xml, r: &Rule) -> Xml {
    let (v6, v4): (Vec<&Rule>, Vec<&Rule>) = [r].into_iter().partition(|r| r.cidr.contains(':'));
    let text = |r: &Rule| Some(r.description.clone()).filter(|d| !d.is_empty());
    x.el("ipProtocol", &r.protocol)
        .el("fromPort", r.from)
        .el("toPort", r.to)
        .list("ipRanges", v4, |x, r| x.el("cidrIp", &r.cidr).maybe("description", text(r)))
        .list("ipv6Ranges", v6, |x, r| x.el("cidrIpv6", &r.cidr).maybe("description", text(r)))
}

/// The rules of `IpPermissions.N` or of the short form.
fn rules(p: &Params) -> Result<Vec<Rule>, Refusal> {
    let mut found = Vec::new();
    let port = |name: String| -> Result<i32, Refusal> {
        let value = p.get(&name).unwrap_or("-1");
        value.parse().map_err(|_| bad_value(&name, value))
    };
    for g in p.groups("IpPermissions") {
        let protocol = p.need(&format!("{g}.IpProtocol"))?.to_owned();
        let (from, to) = (port(format!("{g}.FromPort"))?, port(format!("{g}.ToPort"))?);
        for (list, field) in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")] {
            for r in p.groups(&format!("{g}.{list}")) {
                found.push(Rule {
                    protocol: protocol.clone(),
                    from,
                    to,
                    cidr: cidr(p.need(&format!("{r}.{field}"))?)?,
                    description: p.get(&format!("{r}.Description")).unwrap_or("").to_owned(),
                });
            }
        }
    }
    if let Some(range) = p.get("CidrIp") {
        found.push(Rule {
            protocol: p.need("IpProtocol")?.to_owned(),
            from: port("FromPort".into())?,
            to: port("ToPort".into())?,
            cidr: cidr(range)?,
            description: String::new(),
        });
    }
    if found.is_empty() {
        return Err(super::missing("ipPermissions"));
    }
    Ok(found)
}

fn cidr(text: &str) -> Result<String, Refusal> {
    let good = text.split_once('/').is_some_and(|(ip, bits)| {
        match (ip.parse::<std::net::IpAddr>(), bits.parse::<u8>()) {
            (Ok(ip), Ok(bits)) => bits <= if ip.is_ipv4() { 32 } else { 128 },
            _ => false,
        }
    });
    if good { Ok(text.to_owned()) } else { Err(bad_value("cidrIp", text)) }
}
