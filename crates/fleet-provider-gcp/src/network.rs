//! The door: one firewall rule a fleet, for SSH and the asked ports, from our own address.
//!
//! Invariants: the rule names the fleet's machines by network tag and nobody else's; where our own address is
//! not known nothing is opened. Rules of the project itself (`default-allow-ssh`) are not ours and stay.

use crate::client::Clients;
use crate::wire::fleet_name;
use fleet_provider::{LaunchRequest, OwnerTag, Result};
use fleet_provider_kit::Effect;
use fleet_types::Fault;
use google_cloud_compute_v1::model::Firewall;
use google_cloud_compute_v1::model::firewall::{Allowed, Direction};
use std::collections::BTreeSet;

/// Where all machines are: the network that every project has unless somebody removed it.
pub(crate) const NETWORK: &str = "global/networks/default";
const SSH: u16 = 22;

pub(crate) const GET: &str = "firewalls.get";
pub(crate) const INSERT: &str = "firewalls.insert";
pub(crate) const PATCH: &str = "firewalls.patch";
pub(crate) const DELETE: &str = "firewalls.delete";

/// Opens SSH and the asked ports to the request's address. Where the account may not touch firewalls, the
/// network's own rules have to do.
pub(crate) async fn prepare(clients: &Clients, request: &LaunchRequest) -> Result<()> {
    let Some(cidr) = request.admit_from.as_deref() else {
        tracing::warn!("own address unknown: SSH is admitted only by the rules already there");
        return Ok(());
    };
    let ports = std::iter::once(SSH).chain(request.ports.iter().copied()).collect();
    match open(clients, &request.owner, &ports, cidr).await {
        Err(error) if error.fault == Fault::Auth && error.code != "UNAUTHENTICATED" => {
            tracing::warn!(%error, "no firewall rule made: SSH is admitted only by the network's own");
            Ok(())
        }
        result => result,
    }
}

/// Makes the rule, or widens the one that is there. Nothing is closed.
async fn open(
    clients: &Clients,
    owner: &OwnerTag,
    ports: &BTreeSet<u16>,
    cidr: &str,
) -> Result<()> {
    let Some(there) = find(clients, owner).await? else {
        return insert(clients, owner, ports, cidr).await;
    };
    let mut wanted = open_ports(&there);
    wanted.extend(ports);
    let mut ranges: BTreeSet<String> = there.source_ranges.iter().cloned().collect();
    if wanted == open_ports(&there) && ranges.contains(cidr) {
        return Ok(());
    }
    ranges.insert(cidr.to_owned());
    patch(clients, owner, &wanted, ranges).await
}

/// Opens every port that is open now to `cidr`, and to no other address any more.
pub(crate) async fn admit(clients: &Clients, owner: &OwnerTag, cidr: &str) -> Result<()> {
    let Some(there) = find(clients, owner).await? else { return Ok(()) };
    if there.source_ranges.len() == 1 && there.source_ranges[0] == cidr {
        return Ok(());
    }
    patch(clients, owner, &open_ports(&there), [cidr.to_owned()]).await
}

/// The fleet's rule, if it is there.
pub(crate) async fn find(clients: &Clients, owner: &OwnerTag) -> Result<Option<Firewall>> {
    let name = fleet_name(&owner.fleet);
    let call = clients.firewalls.get().set_project(clients.project()).set_firewall(name.as_str());
    match call.send().await {
        Ok(found) if found.name.as_deref() == Some(name.as_str()) => Ok(Some(found)),
        Ok(_) => Err(Effect::Read.unreadable(GET, "the answer is about another rule")),
        Err(e) => match clients.failed(GET, Effect::Read, e).await {
            error if error.fault == Fault::NotFound => Ok(None),
            error => Err(error),
        },
    }
}

async fn insert(
    clients: &Clients,
    owner: &OwnerTag,
    ports: &BTreeSet<u16>,
    cidr: &str,
) -> Result<()> {
    let name = fleet_name(&owner.fleet);
    let rule = Firewall::new()
        .set_name(name.as_str())
        .set_description(format!("{name}: SSH from where fleet runs"))
        .set_network(NETWORK)
        .set_direction(Direction::Ingress)
        .set_allowed([allowed(ports)])
        .set_source_ranges([cidr])
        .set_target_tags([name.as_str()]);
    let call = clients.firewalls.insert().set_project(clients.project()).set_body(rule);
    match call.send().await {
        Ok(_) => Ok(()),
        Err(e) => match clients.failed(INSERT, Effect::Change, e).await {
            // Another launch makes it just now.
            error if error.fault == Fault::Conflict => Ok(()),
            error => Err(error),
        },
    }
}

async fn patch(
    clients: &Clients,
    owner: &OwnerTag,
    ports: &BTreeSet<u16>,
    ranges: impl IntoIterator<Item = String>,
) -> Result<()> {
    let name = fleet_name(&owner.fleet);
    let change = Firewall::new().set_allowed([allowed(ports)]).set_source_ranges(ranges);
    let call = clients.firewalls.patch().set_project(clients.project()).set_firewall(name);
    match call.set_body(change).send().await {
        Ok(_) => Ok(()),
        Err(e) => Err(clients.failed(PATCH, Effect::Change, e).await),
    }
}

fn allowed(ports: &BTreeSet<u16>) -> Allowed {
    Allowed::new().set_ip_protocol("tcp").set_ports(ports.iter().map(u16::to_string))
}

fn open_ports(rule: &Firewall) -> BTreeSet<u16> {
    let ports = rule.allowed.iter().flat_map(|a| &a.ports);
    ports.filter_map(|p| p.parse().ok()).collect()
}
