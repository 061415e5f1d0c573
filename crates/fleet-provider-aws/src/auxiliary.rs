//! What the driver makes besides machines: finding it, removing it, and moving the door to a new address.
//!
//! Invariants: only what carries the owner's tag is ever named or touched; SSH is open to one address,
//! and the older ones are closed. A region that fails is reported, and the others are still done.

use crate::network::{authorize, group_name};
use crate::provider::AwsProvider;
use crate::wire::{filter, needed, owned};
use async_trait::async_trait;
use aws_sdk_ec2::types::{IpPermission, SecurityGroup};
use fleet_provider::{Auxiliary, Leftover, OwnerTag, ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::{Fault, Place, ProviderId, Scope};
use futures_util::future::join_all;
use std::collections::BTreeSet;

const GROUP: &str = "security-group";
const KEY: &str = "key-pair";
const VOLUME: &str = "volume";
const SPOT_REQUEST: &str = "spot-request";

/// Pages through one list of EC2 that is filtered by tag, and names the ids in it.
macro_rules! all_pages {
    ($self:ident, $region:expr, $name:literal, $call:ident, $filters:expr, $set:ident, $id:ident) => {{
        let (mut ids, mut next) = (Vec::new(), None);
        loop {
            let call = $self.clients.ec2($region).$call();
            let page = call.set_filters(Some($filters)).set_next_token(next).send().await;
            let page = match page {
                Ok(page) => page,
                Err(e) => return Err($self.clients.failed($name, Effect::Read, e).await),
            };
            let rows = needed($name, page.$set)?;
            ids.extend(rows.into_iter().filter_map(|row| row.$id));
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                break ids;
            }
        }
    }};
}

#[async_trait]
impl Auxiliary for AwsProvider {
    async fn leftovers(&self, owner: &OwnerTag) -> Result<Vec<Leftover>> {
        let regions = self.regions().await?;
        let answers = join_all(regions.iter().map(|r| self.leftovers_in(owner, r))).await;
        let mut found = Vec::new();
        for (region, answer) in regions.iter().zip(answers) {
            let ids = answer?;
            found.extend(ids.into_iter().map(|(kind, id)| Leftover {
                kind: kind.to_owned(),
                id,
                place: place(region),
                price_usd_per_hour: None,
            }));
        }
        Ok(found)
    }

    async fn remove(&self, leftover: &Leftover) -> Result<()> {
        let ec2 = self.clients.ec2(&leftover.place.region);
        let (id, change) = (leftover.id.as_str(), Effect::Change);
        let error = match leftover.kind.as_str() {
            GROUP => match ec2.delete_security_group().group_id(id).send().await {
                Ok(_) => return Ok(()),
                Err(e) => self.clients.failed("DeleteSecurityGroup", change, e).await,
            },
            KEY => match ec2.delete_key_pair().key_name(id).send().await {
                Ok(_) => return Ok(()),
                Err(e) => self.clients.failed("DeleteKeyPair", change, e).await,
            },
            VOLUME => match ec2.delete_volume().volume_id(id).send().await {
                Ok(_) => return Ok(()),
                Err(e) => self.clients.failed("DeleteVolume", change, e).await,
            },
            SPOT_REQUEST => {
                match ec2.cancel_spot_instance_requests().spot_instance_request_ids(id).send().await
                {
                    Ok(_) => return Ok(()),
                    Err(e) => self.clients.failed("CancelSpotInstanceRequests", change, e).await,
                }
            }
            kind => ProviderError::new(Fault::Rejected, Scope::Request, "remove", "UnknownKind")
                .message(format!("AWS has no leftover of kind `{kind}`")),
        };
        // What is not there is removed.
        if error.fault == Fault::NotFound { Ok(()) } else { Err(error) }
    }

    async fn admit(&self, owner: &OwnerTag, cidr: &str) -> Result<()> {
        let regions = self.regions().await?;
        let answers = join_all(regions.iter().map(|r| self.admit_in(owner, r, cidr))).await;
        answers.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

fn place(region: &str) -> Place {
    Place { provider: ProviderId::Aws, region: region.to_owned(), zone: String::new() }
}

impl AwsProvider {
    async fn leftovers_in(
        &self,
        owner: &OwnerTag,
        region: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let (groups, keys, volumes, requests) = tokio::try_join!(
            async { Ok(self.groups(owner, region).await?.into_iter().filter_map(|g| g.group_id)) },
            self.keys(owner, region),
            self.volumes(owner, region),
            self.spot_requests(owner, region),
        )?;
        let kinds = groups.map(|id| (GROUP, id));
        let kinds = kinds.chain(keys.into_iter().map(|id| (KEY, id)));
        let kinds = kinds.chain(volumes.into_iter().map(|id| (VOLUME, id)));
        Ok(kinds.chain(requests.into_iter().map(|id| (SPOT_REQUEST, id))).collect())
    }

    async fn groups(&self, owner: &OwnerTag, region: &str) -> Result<Vec<SecurityGroup>> {
        let operation = "DescribeSecurityGroups";
        let call = self.clients.ec2(region).describe_security_groups();
        let answer = call
            .filters(owned(owner))
            .filters(filter("group-name", [group_name(&owner.fleet)]))
            .send()
            .await;
        match answer {
            Ok(answer) => needed(operation, answer.security_groups),
            Err(e) => Err(self.clients.failed(operation, Effect::Read, e).await),
        }
    }

    async fn keys(&self, owner: &OwnerTag, region: &str) -> Result<Vec<String>> {
        let operation = "DescribeKeyPairs";
        match self.clients.ec2(region).describe_key_pairs().filters(owned(owner)).send().await {
            Ok(answer) => {
                let keys = needed(operation, answer.key_pairs)?;
                Ok(keys.into_iter().filter_map(|k| k.key_name).collect())
            }
            Err(e) => Err(self.clients.failed(operation, Effect::Read, e).await),
        }
    }

    /// Only volumes that no machine holds: the others end with their machine.
    async fn volumes(&self, owner: &OwnerTag, region: &str) -> Result<Vec<String>> {
        let filters = || vec![owned(owner), filter("status", ["available"])];
        Ok(all_pages!(
            self,
            region,
            "DescribeVolumes",
            describe_volumes,
            filters(),
            volumes,
            volume_id
        ))
    }

    /// Only requests that may still bring a machine.
    async fn spot_requests(&self, owner: &OwnerTag, region: &str) -> Result<Vec<String>> {
        let filters = || vec![owned(owner), filter("state", ["open"])];
        Ok(all_pages!(
            self,
            region,
            "DescribeSpotInstanceRequests",
            describe_spot_instance_requests,
            filters(),
            spot_instance_requests,
            spot_instance_request_id
        ))
    }

    /// Opens every port that is open now to `cidr`, then closes it to all other addresses.
    async fn admit_in(&self, owner: &OwnerTag, region: &str, cidr: &str) -> Result<()> {
        for group in self.groups(owner, region).await? {
            let Some(id) = group.group_id() else { continue };
            let ports: BTreeSet<u16> =
                std::iter::once(22).chain(group.ip_permissions().iter().filter_map(port)).collect();
            let ports: Vec<_> = ports.into_iter().collect();
            // Opening first: a failure in between leaves us with one address too many, not with none.
            authorize(&self.clients, region, id, &ports, cidr).await?;
            let old: Vec<_> =
                group.ip_permissions().iter().filter_map(|p| older(p, cidr)).collect();
            if old.is_empty() {
                continue;
            }
            let ec2 = self.clients.ec2(region);
            let call = ec2.revoke_security_group_ingress().group_id(id);
            if let Err(e) = call.set_ip_permissions(Some(old)).send().await {
                let operation = "RevokeSecurityGroupIngress";
                let error = self.clients.failed(operation, Effect::Change, e).await;
                if error.fault != Fault::NotFound {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn port(rule: &IpPermission) -> Option<u16> {
    u16::try_from(rule.from_port()?).ok().filter(|_| rule.from_port() == rule.to_port())
}

/// The part of a rule that admits other addresses than `cidr`.
fn older(rule: &IpPermission, cidr: &str) -> Option<IpPermission> {
    let v4 = rule.ip_ranges().iter().filter(|r| r.cidr_ip() != Some(cidr)).cloned();
    let v6 = rule.ipv6_ranges().iter().filter(|r| r.cidr_ipv6() != Some(cidr)).cloned();
    let (v4, v6): (Vec<_>, Vec<_>) = (v4.collect(), v6.collect());
    if v4.is_empty() && v6.is_empty() {
        return None;
    }
    let rest = IpPermission::builder()
        .set_ip_protocol(rule.ip_protocol.clone())
        .set_from_port(rule.from_port)
        .set_to_port(rule.to_port)
        .set_ip_ranges((!v4.is_empty()).then_some(v4))
        .set_ipv6_ranges((!v6.is_empty()).then_some(v6));
    Some(rest.build())
}
