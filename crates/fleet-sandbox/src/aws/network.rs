//! Key pairs, and the default network of each region: one VPC, one subnet a zone.
//!
//! Names and ids follow from the region alone, so they are the same in every run.

use super::filter::{Filters, Row};
use super::xml::Xml;
use super::{ACCOUNT, Answer, Request, refuse};
use crate::boot::public_key;
use crate::clock::iso;
use crate::facts::aws::{Zone, region};
use crate::text::{aws_id, hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleet_types::Timestamp;
use std::collections::BTreeMap;

/// A key pair.
pub(crate) struct Key {
    id: String,
    pub(super) public: String,
    created_at: Timestamp,
    tags: BTreeMap<String, String>,
}

pub(super) fn vpc_id(region: &str) -> String {
    aws_id("vpc", 0, &[region])
}

pub(super) fn subnet_id(zone: Zone) -> String {
    aws_id("subnet", 0, &[zone.id])
}

fn fingerprint(public: &str) -> String {
    let n = hash(0, &[public]).to_be_bytes();
    n.iter().chain(n.iter()).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

impl Request<'_> {
    pub(super) fn import_key_pair(&mut self) -> Answer {
        let name = self.params.need("KeyName")?.to_owned();
        let material = self.params.need("PublicKeyMaterial")?;
        let decoded = STANDARD.decode(material).ok().and_then(|raw| String::from_utf8(raw).ok());
        let public = decoded.as_deref().and_then(public_key).ok_or_else(|| {
            refuse(400, "InvalidKey.Format", "Key is not in valid OpenSSH public key format")
        })?;
        self.dry_run()?;
        let at = (self.region.clone(), name.clone());
        if self.world.aws.keys.contains_key(&at) {
            let text = format!("The keypair '{name}' already exists.");
            return Err(refuse(400, "InvalidKeyPair.Duplicate", text));
        }
        let tags = self.params.tags_for("key-pair");
        let key = Key { id: self.fresh_id("key"), public, created_at: self.now, tags };
        let answer = Xml::default()
            .el("keyName", &name)
            .el("keyFingerprint", fingerprint(&key.public))
            .el("keyPairId", &key.id)
            .tags(&key.tags);
        self.world.aws.keys.insert(at, key);
        Ok(answer)
    }

    pub(super) fn describe_key_pairs(&mut self) -> Answer {
        let asked = self.params.list("KeyName");
        let here: Vec<(&str, &Key)> = self
            .world
            .aws
            .keys
            .iter()
            .filter(|((r, name), _)| {
                *r == self.region && (asked.is_empty() || asked.contains(&name.as_str()))
            })
            .map(|((_, name), key)| (name.as_str(), key))
            .collect();
        if let Some(unknown) = asked.iter().find(|a| !here.iter().any(|(n, _)| n == *a)) {
            let text = format!("The key pair '{unknown}' does not exist");
            return Err(refuse(400, "InvalidKeyPair.NotFound", text));
        }
        let shown = Filters::of(&self.params).pass(here, |(name, key)| {
            let values = [("key-name", (*name).to_owned()), ("key-pair-id", key.id.clone())];
            Row::new(values).tagged(&key.tags)
        })?;
        let show_public = self.params.get("IncludePublicKey") == Some("true");
        Ok(Xml::default().list("keySet", shown, |x, (name, key)| {
            let kind = if key.public.starts_with("ssh-rsa") { "rsa" } else { "ed25519" };
            x.el("keyPairId", &key.id)
                .el("keyType", kind)
                .el("keyName", name)
                .el("keyFingerprint", fingerprint(&key.public))
                .maybe("publicKey", show_public.then_some(&key.public))
                .el("createTime", iso(key.created_at))
                .tags(&key.tags)
        }))
    }

    pub(super) fn delete_key_pair(&mut self) -> Answer {
        let name = self.params.get("KeyName").unwrap_or("").to_owned();
        let id = self.params.get("KeyPairId").unwrap_or("").to_owned();
        self.dry_run()?;
        let region = self.region.clone();
        // Deleting what is not there succeeds, as on EC2.
        self.world.aws.keys.retain(|(r, n), k| *r != region || (*n != name && k.id != id));
        Ok(Xml::default().el("return", true))
    }

    pub(super) fn describe_vpcs(&mut self) -> Answer {
        let id = vpc_id(&self.region);
        let shown = Filters::of(&self.params).pass(vec![id], |id| {
            Row::new([
                ("vpc-id", id.clone()),
                ("is-default", "true".into()),
                ("isDefault", "true".into()),
                ("state", "available".into()),
            ])
        })?;
        Ok(Xml::default().list("vpcSet", shown, |x, id| {
            x.el("vpcId", id)
                .el("ownerId", ACCOUNT)
                .el("state", "available")
                .el("cidrBlock", "172.31.0.0/16")
                .el("instanceTenancy", "default")
                .el("isDefault", true)
        }))
    }

    pub(super) fn describe_subnets(&mut self) -> Answer {
        let asked = self.params.list("SubnetId");
        let mut zones: Vec<Zone> =
            region(&self.region).into_iter().flat_map(|r| r.zones()).collect();
        if let Some(unknown) = asked.iter().find(|a| !zones.iter().any(|z| subnet_id(*z) == **a)) {
            let text = format!("The subnet ID '{unknown}' does not exist");
            return Err(refuse(400, "InvalidSubnetID.NotFound", text));
        }
        zones.retain(|z| asked.is_empty() || asked.contains(&subnet_id(*z).as_str()));
        let shown = Filters::of(&self.params).pass(zones, |z| {
            Row::new([
                ("subnet-id", subnet_id(*z)),
                ("availability-zone", z.name()),
                ("availability-zone-id", z.id.into()),
                ("vpc-id", vpc_id(z.region)),
                ("default-for-az", "true".into()),
                ("state", "available".into()),
            ])
        })?;
        let (page, next) = self.params.page(shown, 1000)?;
        Ok(Xml::default()
            .list("subnetSet", page, |x, z| {
                let third = 16 * (z.letter as u32 - 'a' as u32);
                x.el("subnetId", subnet_id(z))
                    .el("state", "available")
                    .el("ownerId", ACCOUNT)
                    .el("vpcId", vpc_id(z.region))
                    .el("cidrBlock", format!("172.31.{third}.0/20"))
                    .el("availableIpAddressCount", 4091)
                    .el("availabilityZone", z.name())
                    .el("availabilityZoneId", z.id)
                    .el("defaultForAz", true)
                    .el("mapPublicIpOnLaunch", true)
            })
            .maybe("nextToken", next))
    }
}
