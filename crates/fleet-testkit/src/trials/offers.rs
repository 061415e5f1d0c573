//! What can be had: PRV-5 to PRV-7.

use crate::Bench;
use crate::bench::query;
use anyhow::{Context as _, Result, ensure};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, Market, OfferQuery, PlacePattern,
};
use std::collections::BTreeSet;

pub(super) async fn matching(bench: &Bench) -> Result<()> {
    for market in bench.markets() {
        let offers = bench.offers(market).await?;
        ensure!(!offers.is_empty(), "no {market} offers");
        for offer in &offers {
            ensure!(offer.market == market, "{offer:?} was not asked for");
            ensure!(offer.place.provider == bench.id, "{offer:?} is of another cloud");
            ensure!(offer.accelerator == Some(Accelerator::new(crate::bench::GPU, 1)), "{offer:?}");
        }
        let seen: BTreeSet<_> = offers.iter().map(|o| (o.pool(), o.key.clone())).collect();
        ensure!(seen.len() == offers.len(), "an offer is listed twice");
    }
    for market in [Market::Spot, Market::OnDemand] {
        let lacks = !bench.markets().contains(&market);
        ensure!(!lacks || bench.offers(market).await?.is_empty(), "{market} is offered, not sold");
    }
    let region = bench.offers(bench.market()).await?[0].place.region.clone();
    let places = vec![PlacePattern::parse(&format!("{}/{region}", bench.id))?];
    let there = bench.driver.offers(&OfferQuery { places, ..query(bench.market()) }).await?;
    ensure!(!there.is_empty(), "no offers in {region}");
    ensure!(there.iter().all(|o| o.place.region == region), "offers beyond {region}");
    let both = OfferQuery { markets: Vec::new(), ..query(bench.market()) };
    let markets: BTreeSet<_> = bench.driver.offers(&both).await?.iter().map(|o| o.market).collect();
    ensure!(markets.len() == bench.markets().len(), "no markets named means all: {markets:?}");
    memory_form(bench).await
}

/// `24GB+` finds several models, and nothing smaller.
async fn memory_form(bench: &Bench) -> Result<()> {
    let wanted = AcceleratorRequest::Memory { min_gb: 24, max_gb: None, count: 1 };
    let query = OfferQuery { accelerators: vec![wanted.clone()], ..query(bench.market()) };
    let offers = bench.driver.offers(&query).await?;
    let mut names = BTreeSet::new();
    for offer in &offers {
        let gpus = offer.accelerator.as_ref().context("an offer without its GPU")?;
        ensure!(wanted.accepts(gpus, offer.gpu_memory_gb), "{gpus} is not {wanted}");
        names.insert(gpus.name.clone());
    }
    ensure!(names.len() > 1, "only {names:?} have 24 GB");
    Ok(())
}

pub(super) async fn priced(bench: &Bench) -> Result<()> {
    for market in bench.markets() {
        let offers = bench.offers(market).await?;
        let prices: Vec<_> = offers.iter().filter_map(|o| o.price_usd_per_hour).collect();
        ensure!(!prices.is_empty(), "no {market} offer has a price");
        ensure!(prices.iter().all(|p| p.micros() > 0), "a price is not positive: {prices:?}");
    }
    Ok(())
}

pub(super) async fn sold_out(bench: &Bench) -> Result<()> {
    let calm = Bench::up(bench.id, "{}").await?;
    // An offer with a key is a marketplace's ask, which is no more when it is taken.
    let pools = |offers: &[fleet_types::Offer]| -> BTreeSet<_> {
        offers.iter().filter(|o| o.key.is_empty()).map(fleet_types::Offer::pool).collect()
    };
    let everything = calm.offers(calm.market()).await?;
    ensure!(!everything.is_empty(), "nothing is on offer on a calm day");
    calm.down().await?;
    let now = bench.offers(bench.market()).await?;
    ensure!(now.iter().all(|o| o.available != Availability::Available), "sold out is on offer");
    let (everything, now) = (pools(&everything), pools(&now));
    ensure!(now == everything, "dropped: {:?}", everything.difference(&now).collect::<Vec<_>>());
    Ok(())
}
