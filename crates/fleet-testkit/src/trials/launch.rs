//! Making a machine: PRV-8 to PRV-12, and PRV-31.

use crate::Bench;
use crate::bench::{calls, failure, until};
use anyhow::{Context as _, Result, ensure};
use fleet_provider::{Idempotency, LaunchRequest};
use fleet_types::{Fault, Instance, Market};
use serde_json::json;

pub(super) async fn spot(bench: &Bench) -> Result<()> {
    buys(bench, Market::Spot).await
}

pub(super) async fn on_demand(bench: &Bench) -> Result<()> {
    buys(bench, Market::OnDemand).await
}

async fn buys(bench: &Bench, market: Market) -> Result<()> {
    let request = bench.request(market).await?;
    let made = bench.driver.launch(&request).await?;
    let offer = &request.candidates[0].offer;
    ensure!(made.place == offer.place, "asked {}, got {}", offer.place, made.place);
    ensure!((made.market, &made.instance_type) == (market, &offer.instance_type), "{made:?}");
    let machines = bench.machines().await?;
    ensure!(machines.len() == 1, "{} machines were made", machines.len());
    let real = &machines[0];
    ensure!(real["market"] == json!(market), "the cloud sold {}", real["market"]);
    ensure!(real["zone"] == json!(offer.place.zone), "the cloud sold it in {}", real["zone"]);
    ensure!(real["id"].as_str() == Some(made.id.as_str()), "the id is another");
    let price = real["price_usd_per_hour"].as_f64().context("no price in the books")?;
    let limit = request.candidates[0].limit_usd_per_hour.dollars();
    ensure!(price <= limit + 1e-6, "${price} is above the limit of ${limit}");
    Ok(())
}

pub(super) async fn marked(bench: &Bench) -> Result<()> {
    let (request, running) = bench.running(bench.market()).await?;
    carries(&request, &running)?;
    let listing = bench.driver.list(&request.owner).await?;
    let listed = listing.instances.iter().find(|i| i.id == running.id);
    carries(&request, listed.context("it is not in the listing")?)?;
    let token = bench.machines().await?[0]["token"].clone();
    ensure!(token == json!(request.token), "the books say token {token}");
    Ok(())
}

fn carries(request: &LaunchRequest, machine: &Instance) -> Result<()> {
    ensure!(machine.token.as_ref() == Some(&request.token), "token {:?}", machine.token);
    ensure!(machine.fleet.as_deref() == Some(request.owner.fleet.as_str()), "{:?}", machine.fleet);
    ensure!(machine.expires_at == Some(request.expires_at), "expiry {:?}", machine.expires_at);
    Ok(())
}

pub(super) async fn twice(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let first = bench.driver.launch(&request).await?;
    let second = bench.driver.launch(&request).await?;
    ensure!(first.id == second.id, "{} and then {}", first.id, second.id);
    let machines = bench.machines().await?;
    ensure!(machines.len() == 1, "{} machines were made", machines.len());
    let mut other = bench.request(bench.market()).await?;
    other.owner = request.owner.clone();
    other.candidates[0] = request.candidates[0].clone();
    let third = bench.driver.launch(&other).await;
    // The pool may hold only one; what matters is that another token never gets the same machine.
    ensure!(third.map_or(true, |m| m.id != first.id), "two tokens share a machine");
    Ok(())
}

/// The machine was made, and the driver cannot know it.
pub(super) async fn lost(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let error = failure("launch", bench.driver.launch(&request).await)?;
    ensure!(error.fault == Fault::Unknown && error.maybe_applied, "{error} is no unknown outcome");
    ensure!(error.refusal().is_none(), "an unknown outcome became a refusal");
    ensure!(bench.machines().await?.len() == 1, "the trial needs a machine that was made");
    let found = until("the listing shows the machine", async || {
        let listing = bench.driver.list(&request.owner).await?;
        Ok(listing.instances.into_iter().find(|i| i.token.as_ref() == Some(&request.token)))
    })
    .await?;
    let adopted = bench.driver.launch(&request).await?;
    ensure!(adopted.id == found.id, "{} was made instead of adopting {}", adopted.id, found.id);
    ensure!(bench.machines().await?.len() == 1, "a second machine was made");
    Ok(())
}

/// The machine was not made, and the driver cannot know that either.
pub(super) async fn not_made(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let error = failure("launch", bench.driver.launch(&request).await)?;
    ensure!(error.fault == Fault::Unknown && error.maybe_applied, "{error} is no unknown outcome");
    ensure!(bench.machines().await?.is_empty(), "the trial needs that nothing was made");
    let listing = bench.driver.list(&request.owner).await?;
    ensure!(listing.complete && listing.instances.is_empty(), "{listing:?}");
    Ok(())
}

pub(super) async fn layered(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let outer = bench.layered().await?;
    let result = outer.launch(&request).await;
    match bench.driver.capabilities().idempotency {
        Idempotency::Token => {
            let made = result.context("the same token again finds the machine")?;
            ensure!(made.token.as_ref() == Some(&request.token), "{made:?}");
        }
        Idempotency::UniqueName => {
            let error = failure("launch", result)?;
            ensure!(error.fault == Fault::Unknown, "{error} is no unknown outcome");
            let sent = bench.mutations(calls(bench.id).create).await?;
            ensure!(sent == 1, "{sent} creates were sent");
        }
    }
    let machines = bench.machines().await?;
    ensure!(machines.len() == 1, "{} machines were made", machines.len());
    Ok(())
}
