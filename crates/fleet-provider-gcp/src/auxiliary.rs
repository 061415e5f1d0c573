//! What the driver makes besides machines: finding it, removing it, and moving the door to a new address.
//!
//! Invariants: only what carries the owner's label, or the name that follows from the fleet's id, is ever named
//! or touched; a rule that machines still need is not removed, though Google would do it.

use crate::network;
use crate::provider::GcpProvider;
use crate::wire::{every_scope, fleet_name, last, owned, place};
use async_trait::async_trait;
use fleet_provider::{Auxiliary, Leftover, OwnerTag, Provider as _, ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::{Fault, FleetId, Place, ProviderId, Scope};
use google_cloud_compute_v1::model::{Disk, DisksScopedList};

const FIREWALL: &str = "firewall";
const DISK: &str = "disk";
const REMOVE_DISK: &str = "disks.delete";

#[async_trait]
impl Auxiliary for GcpProvider {
    async fn leftovers(&self, owner: &OwnerTag) -> Result<Vec<Leftover>> {
        let (rule, disks) =
            tokio::try_join!(network::find(&self.clients, owner), self.disks(owner))?;
        let leftover = |kind: &str, id: String, place: Place| Leftover {
            kind: kind.to_owned(),
            id,
            place,
            price_usd_per_hour: None,
        };
        let rule = rule.and_then(|r| r.name).map(|name| leftover(FIREWALL, name, everywhere()));
        let disks = disks.into_iter().map(|(name, zone)| leftover(DISK, name, place(&zone)));
        Ok(rule.into_iter().chain(disks).collect())
    }

    async fn remove(&self, leftover: &Leftover) -> Result<()> {
        let result = match leftover.kind.as_str() {
            FIREWALL => self.remove_rule(&leftover.id).await,
            DISK => self.remove_disk(&leftover.id, &leftover.place.zone).await,
            kind => Err(rejected("UnknownKind", format!("GCP has no leftover of kind `{kind}`"))),
        };
        match result {
            // What is not there is removed.
            Err(error) if error.fault == Fault::NotFound => Ok(()),
            result => result,
        }
    }

    async fn admit(&self, owner: &OwnerTag, cidr: &str) -> Result<()> {
        network::admit(&self.clients, owner, cidr).await
    }
}

/// Rules are of the whole project.
fn everywhere() -> Place {
    Place { provider: ProviderId::Gcp, region: "global".to_owned(), zone: String::new() }
}

fn rejected(code: &str, why: String) -> ProviderError {
    ProviderError::new(Fault::Rejected, Scope::Request, "remove", code).message(why)
}

impl GcpProvider {
    /// Disks that no machine holds: the others end with their machine. By name and zone.
    async fn disks(&self, owner: &OwnerTag) -> Result<Vec<(String, String)>> {
        let (mut found, mut gaps) = (Vec::new(), Vec::new());
        let call = || {
            let list = self.clients.disks.aggregated_list().set_project(self.clients.project());
            list.set_filter(owned(owner))
        };
        let loose = |disk: &Disk| disk.users.is_empty();
        let take = |scope: &str, rows: DisksScopedList| {
            let names = rows.disks.into_iter().filter(|d| loose(d)).filter_map(|d| d.name);
            found.extend(names.map(|name| (name, last(scope).to_owned())));
        };
        let kind = "compute#diskAggregatedList";
        every_scope!(&self.clients, "disks.aggregatedList", call(), kind, &mut gaps, take);
        match gaps.first() {
            Some(gap) => Err(ProviderError::transient("disks.aggregatedList", gap.clone())),
            None => Ok(found),
        }
    }

    /// Google would remove a rule under the machines that need it, and they could not be reached any more.
    async fn remove_rule(&self, name: &str) -> Result<()> {
        let fleet = name.strip_prefix("fleet-").map(FleetId::new);
        let Some(owner) =
            fleet.map(|fleet| OwnerTag { fleet }).filter(|o| fleet_name(&o.fleet) == name)
        else {
            return Err(rejected("NotOurs", format!("`{name}` is no rule of a fleet")));
        };
        let listing = self.list(&owner).await?;
        if !listing.complete || !listing.instances.is_empty() {
            let count = listing.instances.len();
            let why = format!(
                "{count} machines of the fleet, or places that were not reached, may need it"
            );
            return Err(rejected("InUse", why));
        }
        let call = self.clients.firewalls.delete().set_project(self.clients.project());
        match call.set_firewall(name).send().await {
            Ok(_) => Ok(()),
            Err(e) => Err(self.clients.failed(network::DELETE, Effect::Change, e).await),
        }
    }

    async fn remove_disk(&self, name: &str, zone: &str) -> Result<()> {
        let call = self.clients.disks.delete().set_project(self.clients.project());
        match call.set_zone(zone).set_disk(name).send().await {
            Ok(_) => Ok(()),
            Err(e) => Err(self.clients.failed(REMOVE_DISK, Effect::Change, e).await),
        }
    }
}
