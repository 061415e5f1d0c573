//! What a machine needs beside itself: subnet, security group, login key and the image's root device.
//!
//! Everything is looked up by a name that follows from the request, and made when missing, so that the
//! create's body comes out the same each time. Invariants: SSH is admitted from one address only, never
//! from everywhere; a failure here proves that no machine was made, whatever it was.

use crate::client::Clients;
use crate::wire::{filter, needed, shared_tags};
use aws_sdk_ec2::error::ProvideErrorMetadata as _;
use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, ResourceType};
use aws_smithy_types::Blob;
use fleet_provider::{LaunchRequest, OwnerTag, ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::{Fault, FleetId, Scope};
use sha2::{Digest as _, Sha256};

/// Root device of every Ubuntu image, hence of both default images.
const ROOT_DEVICE: &str = "/dev/sda1";
const SSH: u16 = 22;

/// What a create refers to.
#[derive(Debug)]
pub(crate) struct Footing {
    pub(crate) subnet: String,
    pub(crate) group: String,
    pub(crate) key: String,
    pub(crate) root_device: String,
}

/// Finds or makes all that the first candidate's machine stands on.
pub(crate) async fn prepare(
    clients: &Clients,
    request: &LaunchRequest,
    region: &str,
    zone: &str,
    image: &str,
) -> Result<Footing> {
    let ready = async {
        let (subnet, vpc) = subnet(clients, region, zone).await?;
        let (group, key, root_device) = tokio::try_join!(
            group(clients, request, region, &vpc),
            key(clients, request, region),
            root_device(clients, region, image),
        )?;
        Ok(Footing { subnet, group, key, root_device })
    };
    // No RunInstances was sent: nothing that bills can have been made, and what was looked up a moment
    // ago and is missing now (or not yet seen) will be there at the next try.
    ready.await.map_err(|mut error: ProviderError| {
        if matches!(error.fault, Fault::Unknown | Fault::NotFound) {
            error.fault = Fault::Transient;
        }
        error.maybe_applied = false;
        error
    })
}

/// The zone's default subnet and its network.
async fn subnet(clients: &Clients, region: &str, zone: &str) -> Result<(String, String)> {
    let operation = "DescribeSubnets";
    let ec2 = clients.ec2(region);
    let answer = ec2
        .describe_subnets()
        .filters(filter("default-for-az", ["true"]))
        .filters(filter("availability-zone", [zone]))
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    let subnets = needed(operation, answer.subnets)?;
    let found = subnets.first().and_then(|s| Some((s.subnet_id.clone()?, s.vpc_id.clone()?)));
    match found {
        Some(found) => Ok(found),
        None => Err(no_subnet(clients, region, zone).await?),
    }
}

/// Says whether the region lacks a default network, or only this zone its subnet.
async fn no_subnet(clients: &Clients, region: &str, zone: &str) -> Result<ProviderError> {
    let operation = "DescribeVpcs";
    let ec2 = clients.ec2(region);
    let answer = match ec2.describe_vpcs().filters(filter("is-default", ["true"])).send().await {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    let refusal = |scope, code| ProviderError::new(Fault::Rejected, scope, "RunInstances", code);
    Ok(if needed(operation, answer.vpcs)?.is_empty() {
        refusal(Scope::Region, "DefaultVpcDoesNotExist").message(format!(
            "{region} has no default VPC; make one with `aws ec2 create-default-vpc --region {region}`"
        ))
    } else {
        refusal(Scope::Zone, "DefaultSubnetDoesNotExistInAZ").message(format!(
            "{zone} has no default subnet; make one with \
             `aws ec2 create-default-subnet --region {region} --availability-zone {zone}`"
        ))
    })
}

/// The name of a fleet's security group.
pub(crate) fn group_name(fleet: &FleetId) -> String {
    format!("fleet-{}", fleet.short())
}

/// The fleet's group in this network, admitting SSH and the asked ports from the request's address.
async fn group(
    clients: &Clients,
    request: &LaunchRequest,
    region: &str,
    vpc: &str,
) -> Result<String> {
    let name = group_name(&request.owner.fleet);
    let (id, open) = match find_group(clients, region, vpc, &name).await? {
        Some(found) => found,
        None => make_group(clients, &request.owner, region, vpc, &name).await?,
    };
    let Some(cidr) = request.admit_from.as_deref() else {
        tracing::warn!(
            region,
            "own address unknown: SSH is admitted only by the rules already there"
        );
        return Ok(id);
    };
    let ports = std::iter::once(SSH).chain(request.ports.iter().copied());
    let missing: Vec<_> = ports.filter(|p| !admits(&open, *p, cidr)).collect();
    authorize(clients, region, &id, &missing, cidr).await?;
    Ok(id)
}

type Group = (String, Vec<IpPermission>);

async fn find_group(
    clients: &Clients,
    region: &str,
    vpc: &str,
    name: &str,
) -> Result<Option<Group>> {
    let operation = "DescribeSecurityGroups";
    let ec2 = clients.ec2(region);
    let answer = ec2
        .describe_security_groups()
        .filters(filter("vpc-id", [vpc]))
        .filters(filter("group-name", [name]))
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    let found = needed(operation, answer.security_groups)?.into_iter().next();
    Ok(found.and_then(|g| Some((g.group_id?, g.ip_permissions.unwrap_or_default()))))
}

async fn make_group(
    clients: &Clients,
    owner: &OwnerTag,
    region: &str,
    vpc: &str,
    name: &str,
) -> Result<Group> {
    let operation = "CreateSecurityGroup";
    let ec2 = clients.ec2(region);
    let answer = ec2
        .create_security_group()
        .group_name(name)
        .description(format!("{name}:ssh"))
        .vpc_id(vpc)
        .tag_specifications(shared_tags(owner, name, ResourceType::SecurityGroup))
        .send()
        .await;
    match answer {
        Ok(made) => Ok((needed(operation, made.group_id)?, Vec::new())),
        // Another launch made it just now.
        Err(e) if e.code() == Some("InvalidGroup.Duplicate") => {
            let found = find_group(clients, region, vpc, name).await?;
            found.ok_or_else(|| ProviderError::transient(operation, "the group is not visible yet"))
        }
        Err(e) => Err(clients.failed(operation, Effect::Change, e).await),
    }
}

/// Opens `ports` of a group to one address. Rules that are there already are fine.
pub(crate) async fn authorize(
    clients: &Clients,
    region: &str,
    group: &str,
    ports: &[u16],
    cidr: &str,
) -> Result<()> {
    // One call a port: with several rules in a call, one duplicate would refuse them all.
    for port in ports {
        let ec2 = clients.ec2(region);
        let call = ec2
            .authorize_security_group_ingress()
            .group_id(group)
            .ip_permissions(rule(*port, cidr))
            .send();
        match call.await {
            Ok(_) => {}
            Err(e) if e.code() == Some("InvalidPermission.Duplicate") => {}
            Err(e) => {
                let operation = "AuthorizeSecurityGroupIngress";
                return Err(clients.failed(operation, Effect::Change, e).await);
            }
        }
    }
    Ok(())
}

/// One TCP port from one address.
pub(crate) fn rule(port: u16, cidr: &str) -> IpPermission {
    let rule = IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(i32::from(port))
        .to_port(i32::from(port));
    if cidr.contains(':') {
        rule.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build()).build()
    } else {
        rule.ip_ranges(IpRange::builder().cidr_ip(cidr).build()).build()
    }
}

fn admits(open: &[IpPermission], port: u16, cidr: &str) -> bool {
    open.iter().any(|p| {
        p.from_port() == Some(i32::from(port))
            && p.to_port() == Some(i32::from(port))
            && (p.ip_ranges().iter().any(|r| r.cidr_ip() == Some(cidr))
                || p.ipv6_ranges().iter().any(|r| r.cidr_ipv6() == Some(cidr)))
    })
}

/// The name of the key pair that holds this login key.
fn key_name(fleet: &FleetId, login_key: &str) -> String {
    let digest = hex::encode(Sha256::digest(login_key.trim()));
    format!("fleet-{}-{}", fleet.short(), &digest[..8])
}

async fn key(clients: &Clients, request: &LaunchRequest, region: &str) -> Result<String> {
    let name = key_name(&request.owner.fleet, &request.boot.login_key);
    let ec2 = clients.ec2(region);
    let operation = "DescribeKeyPairs";
    let found = ec2.describe_key_pairs().filters(filter("key-name", [name.as_str()])).send().await;
    let found = match found {
        Ok(answer) => needed(operation, answer.key_pairs)?,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    if !found.is_empty() {
        return Ok(name);
    }
    let import = ec2
        .import_key_pair()
        .key_name(&name)
        .public_key_material(Blob::new(request.boot.login_key.trim()))
        .tag_specifications(shared_tags(&request.owner, &name, ResourceType::KeyPair));
    match import.send().await {
        Ok(_) => Ok(name),
        Err(e) if e.code() == Some("InvalidKeyPair.Duplicate") => Ok(name),
        Err(e) => Err(clients.failed("ImportKeyPair", Effect::Change, e).await),
    }
}

/// Where the image has its root disk.
async fn root_device(clients: &Clients, region: &str, image: &str) -> Result<String> {
    if !image.starts_with("ami-") {
        return Ok(ROOT_DEVICE.to_owned());
    }
    let operation = "DescribeImages";
    let answer = match clients.ec2(region).describe_images().image_ids(image).send().await {
        Ok(answer) => answer,
        Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
    };
    let images = needed(operation, answer.images)?;
    let Some(found) = images.first() else {
        let code = "InvalidAMIID.NotFound";
        return Err(ProviderError::new(Fault::Rejected, Scope::Region, operation, code)
            .message(format!("{region} has no image {image}")));
    };
    Ok(found.root_device_name().unwrap_or(ROOT_DEVICE).to_owned())
}
