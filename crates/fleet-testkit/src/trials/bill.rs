//! What must not be bought: PRV-13 to PRV-18.

use crate::Bench;
use crate::bench::{calls, failure, query};
use anyhow::{Context as _, Result, ensure};
use fleet_provider::{LaunchRequest, ProviderError};
use fleet_types::{Fault, Market, ProviderId, Usd};

/// A refusal of one of `faults`, after which there is nothing.
async fn refused(bench: &Bench, error: &ProviderError, faults: &[Fault]) -> Result<()> {
    ensure!(faults.contains(&error.fault), "{error} is {:?}", error.fault);
    ensure!(error.refusal().is_some(), "{error} is no refusal");
    let alive: Vec<_> =
        bench.machines().await?.into_iter().filter(|m| m["ended_at"].is_null()).collect();
    ensure!(alive.is_empty(), "left behind: {alive:?}");
    let ledger = bench.ledger().await?;
    let rows = ledger["resources"].as_array().cloned().unwrap_or_default();
    let billing = |r: &&serde_json::Value| {
        r["ended_at"].is_null() && r["kind"] != "key-pair" && r["kind"] != "security-group"
    };
    ensure!(!rows.iter().any(|r| billing(&r)), "left behind: {rows:?}");
    Ok(())
}

/// A request that was planned on a calm day, for a bench where the day is not calm.
async fn planned(bench: &Bench, market: Market) -> Result<LaunchRequest> {
    let calm = Bench::up(bench.id, "{}").await?;
    let request = calm.request(market).await?;
    calm.down().await?;
    Ok(request)
}

pub(super) async fn capacity(bench: &Bench) -> Result<()> {
    let request = planned(bench, bench.market()).await?;
    let error = failure("launch", bench.driver.launch(&request).await)?;
    refused(bench, &error, &[Fault::Capacity]).await
}

pub(super) async fn quota(bench: &Bench) -> Result<()> {
    for market in bench.markets() {
        let request = planned(bench, market).await?;
        let error = failure("launch", bench.driver.launch(&request).await)?;
        refused(bench, &error, &[Fault::Quota]).await?;
    }
    Ok(())
}

pub(super) async fn price(bench: &Bench) -> Result<()> {
    let mut request = bench.request(bench.market()).await?;
    let candidate = &mut request.candidates[0];
    candidate.limit_usd_per_hour =
        candidate.offer.price_usd_per_hour.map(|p| p.scale(0.5)).context("no price")?;
    let error = failure("launch", bench.driver.launch(&request).await)?;
    refused(bench, &error, &[Fault::Price, Fault::Capacity]).await?;
    let mut request = bench.request(Market::OnDemand).await?;
    request.candidates[0].limit_usd_per_hour = Usd::from_micros(1);
    let error = failure("launch", bench.driver.launch(&request).await)?;
    refused(bench, &error, &[Fault::Price]).await
}

pub(super) async fn throttled(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    let error = failure("launch", bench.driver.launch(&request).await)?;
    refused(bench, &error, &[Fault::Throttled]).await
}

pub(super) async fn once(bench: &Bench) -> Result<()> {
    let request = bench.request(bench.market()).await?;
    failure("launch", bench.driver.launch(&request).await)?;
    let sent = bench.mutations(calls(bench.id).create).await?;
    ensure!(sent == 1, "{sent} creates were sent");
    Ok(())
}

pub(super) async fn senseless(bench: &Bench) -> Result<()> {
    let good = bench.request(bench.market()).await?;
    let before = bench.ledger().await?["calls"].clone();
    let empty = LaunchRequest { candidates: Vec::new(), ..good.clone() };
    let mut other_cloud = good.clone();
    let other = ProviderId::ALL.into_iter().find(|id| *id != bench.id);
    other_cloud.candidates[0].offer.place.provider = other.context("one cloud is all")?;
    let mut requests = vec![empty, other_cloud];
    for market in [Market::Spot, Market::OnDemand] {
        if !bench.markets().contains(&market) {
            let mut lacking = LaunchRequest { market, ..good.clone() };
            lacking.candidates[0].offer.market = market;
            requests.push(lacking);
        }
    }
    for request in requests {
        let error = failure("launch", bench.driver.launch(&request).await)?;
        ensure!(error.refusal().is_some(), "{error} is no refusal");
    }
    let after = bench.ledger().await?["calls"].clone();
    ensure!(before == after, "calls were made: {before} and then {after}");
    // The same driver still works.
    bench.driver.offers(&query(bench.market())).await?;
    Ok(())
}
