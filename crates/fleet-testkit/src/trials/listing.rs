//! Listings, the leak detector: PRV-24 to PRV-26.

use crate::Bench;
use crate::bench::until;
use anyhow::{Result, ensure};
use fleet_provider::{LaunchRequest, OwnerTag};
use fleet_types::{Availability, Fault, FleetId, Offer, Place};
use std::collections::BTreeSet;

/// Machines in several regions, all of one owner. Fails if fewer than two could be made.
async fn several(bench: &Bench) -> Result<(OwnerTag, BTreeSet<String>)> {
    let first = bench.request(bench.market()).await?;
    let mut places: Vec<Offer> = Vec::new();
    for offer in bench.offers(bench.market()).await? {
        let fresh = |p: &Place| places.iter().all(|o| o.place.region != p.region);
        let sold_out = offer.available == Availability::SoldOut;
        if offer.price_usd_per_hour.is_some() && !sold_out && fresh(&offer.place) {
            places.push(offer);
        }
    }
    let mut ids = BTreeSet::new();
    for offer in places.into_iter().take(5) {
        let mut request: LaunchRequest = bench.request(bench.market()).await?;
        request.owner = first.owner.clone();
        let limit = offer.price_usd_per_hour.unwrap_or_default().scale(2.0);
        request.candidates[0].limit_usd_per_hour = limit;
        request.candidates[0].offer = offer;
        // A pool may be sold out; the others do.
        if let Ok(made) = bench.driver.launch(&request).await {
            ids.insert(made.id.to_string());
        }
        if ids.len() == 3 {
            break;
        }
    }
    ensure!(ids.len() >= 2, "only {} machines could be made", ids.len());
    Ok((first.owner, ids))
}

pub(super) async fn exact(bench: &Bench) -> Result<()> {
    let (owner, ids) = several(bench).await?;
    let stranger = bench.request(bench.market()).await?;
    let foreign = bench.driver.launch(&stranger).await?;
    let listing = bench.driver.list(&owner).await?;
    let found: BTreeSet<String> = listing.instances.iter().map(|i| i.id.to_string()).collect();
    ensure!(listing.complete && listing.gaps.is_empty(), "incomplete: {:?}", listing.gaps);
    ensure!(found == ids, "made {ids:?}, listed {found:?}");
    ensure!(!found.contains(foreign.id.as_str()), "a stranger's machine is listed");
    let nobody = OwnerTag { fleet: FleetId::new("f".repeat(32)) };
    let nothing = bench.driver.list(&nobody).await?;
    ensure!(nothing.complete && nothing.instances.is_empty(), "{nothing:?}");
    Ok(())
}

/// The first call of a listing fails, and no other.
pub(super) async fn broken(bench: &Bench) -> Result<()> {
    let owner = bench.request(bench.market()).await?.owner;
    match bench.driver.list(&owner).await {
        Err(error) => ensure!(error.fault == Fault::Transient, "{error} is {:?}", error.fault),
        Ok(listing) => {
            ensure!(!listing.complete, "a call failed, and the listing is complete");
            ensure!(!listing.gaps.is_empty(), "incomplete without a reason");
        }
    }
    let listing = bench.driver.list(&owner).await?;
    ensure!(listing.complete && listing.gaps.is_empty(), "only the first call was to fail");
    Ok(())
}

pub(super) async fn lagging(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let made = bench.driver.launch(&request).await?;
    let window = bench.realm.time_scale.span(bench.driver.capabilities().visibility);
    let start = std::time::Instant::now();
    until("the machine is listed", async || {
        let listing = bench.driver.list(&request.owner).await?;
        Ok(listing.instances.iter().any(|i| i.id == made.id).then_some(()))
    })
    .await?;
    let took = start.elapsed();
    ensure!(took < window + std::time::Duration::from_secs(3), "listed after {took:?}");
    Ok(())
}
