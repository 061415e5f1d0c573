//! GPU types × data centres as offers.
//!
//! Invariants: a pool stays listed while its data centre has the type, marked sold out where RunPod says so; a
//! price that is not known is `None`; spot is offered only for types that RunPod sells as spot.

use crate::wire::{Cloud, DataCenterRow, GpuRow, SpotRow, Stock};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, MachineClass, Market, Offer, OfferQuery, Place,
    ProviderId, Trust, Usd,
};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of the world that the first part of a data centre's name may be: the country follows.
const CONTINENTS: [&str; 9] = ["EU", "EUR", "AP", "AS", "OC", "ME", "AF", "NA", "LATAM"];
/// A container's disk, dollars a GB and month of 730 h (https://docs.runpod.io/pods/pricing, 2026).
const DISK_MONTH: f64 = 0.10;

/// The place of a data centre: `EU-RO-1` is in `RO`, `US-TX-3` in `US`. Without one, nobody knows where.
pub(crate) fn place(data_center: Option<&str>) -> Place {
    let zone = data_center.unwrap_or_default();
    let mut parts = zone.split('-');
    let first = parts.next().filter(|p| !p.is_empty());
    let country = match first {
        Some(part) if CONTINENTS.contains(&part) => parts.next(),
        other => other,
    };
    let region = country.or(first).unwrap_or("ZZ").to_owned();
    Place { provider: ProviderId::Runpod, region, zone: zone.to_owned() }
}

/// `2x_NVIDIA_L4_SECURE`: how many of which type in which cloud.
pub(crate) fn instance_type(gpu: &str, count: u32, cloud: Cloud) -> String {
    format!("{count}x_{}_{}", gpu.replace(' ', "_"), cloud.word())
}

/// Undoes [`instance_type`].
pub(crate) fn parse_type(text: &str) -> Option<(String, u32, Cloud)> {
    let (count, rest) = text.split_once("x_")?;
    let (gpu, cloud) = rest.rsplit_once('_')?;
    let count = count.parse().ok().filter(|n| (1..=64).contains(n))?;
    (!gpu.is_empty()).then_some(())?;
    Some((gpu.replace('_', " "), count, Cloud::parse(cloud)?))
}

/// Numbers of GPUs that the query asks for, each one question. None for a query without GPUs.
pub(crate) fn counts(query: &OfferQuery) -> BTreeSet<u32> {
    query.accelerators.iter().map(AcceleratorRequest::count).collect()
}

/// The clouds that the query allows.
pub(crate) fn clouds(query: &OfferQuery) -> Vec<Cloud> {
    let filter = &query.filter;
    let trusted = filter.min_trust.is_some_and(|t| t > Trust::Untrusted);
    match trusted || filter.verified_only || filter.datacenter_only {
        true => vec![Cloud::Secure],
        false => vec![Cloud::Secure, Cloud::Community],
    }
}

/// Whether the query wants this market.
pub(crate) fn wants(query: &OfferQuery, market: Market) -> bool {
    query.markets.is_empty() || query.markets.contains(&market)
}

/// One question's answers, from which its offers are made.
#[derive(Debug)]
pub(crate) struct Catalogue<'a> {
    pub query: &'a OfferQuery,
    pub cloud: Cloud,
    pub count: u32,
    pub gpus: Vec<GpuRow>,
    pub data_centers: &'a [DataCenterRow],
    pub bids: Vec<SpotRow>,
}

impl Catalogue<'_> {
    /// The GPU types that were asked for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &GpuRow> {
        self.gpus.iter().filter(|row| {
            let accepts = |a: &AcceleratorRequest| a.accepts(&row.accelerator, row.memory_gb);
            let kind = instance_type(&row.id, self.count, self.cloud);
            self.query.accelerators.iter().any(accepts)
                && self.query.instance_type.as_ref().is_none_or(|t| *t == kind)
        })
    }

    /// Data centres that have one of these types and that the query allows.
    pub(crate) fn places(&self) -> BTreeSet<&str> {
        self.wanted().flat_map(|row| self.pools(row).into_keys()).flatten().collect()
    }

    /// Where a type is to be found, with its stock there; `None` is a place that RunPod picks.
    fn pools<'b>(&'b self, row: &'b GpuRow) -> BTreeMap<Option<&'b str>, Stock> {
        let mut pools = BTreeMap::new();
        if self.cloud == Cloud::Secure {
            let has = |d: &&DataCenterRow| d.gpus.contains(&row.id);
            for d in self.data_centers.iter().filter(has) {
                pools.insert(Some(d.id.as_str()), Stock::None);
            }
        }
        // Named by the catalogue: so many GPUs in one pod, now.
        let named = GpuRow::named(row);
        pools.extend(named.map(|(id, stock)| (Some(id), stock)));
        if pools.is_empty() && self.cloud == Cloud::Community {
            pools.insert(None, row.stock);
        }
        let allowed = |id: &Option<&str>| {
            let here = place(*id);
            self.query.places.is_empty() || self.query.places.iter().any(|p| p.matches(&here))
        };
        pools.into_iter().filter(|(id, _)| allowed(id)).collect()
    }

    /// Every offer of the markets asked.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        let mut found = Vec::new();
        for row in self.wanted() {
            for (id, stock) in self.pools(row) {
                let bid = self.bids.iter().find(|b| b.gpu == row.id && Some(&*b.data_center) == id);
                if wants(self.query, Market::OnDemand) {
                    found.push(self.offer(row, id, Market::OnDemand, row.price, stock, bid));
                }
                if let Some(bid) = bid.filter(|b| b.sold && wants(self.query, Market::Spot)) {
                    found.push(self.offer(row, id, Market::Spot, bid.least, bid.stock, Some(bid)));
                }
            }
        }
        found
    }

    fn offer(
        &self,
        row: &GpuRow,
        data_center: Option<&str>,
        market: Market,
        price: Option<Usd>,
        stock: Stock,
        shape: Option<&SpotRow>,
    ) -> Offer {
        let secure = self.cloud == Cloud::Secure;
        Offer {
            place: place(data_center),
            instance_type: instance_type(&row.id, self.count, self.cloud),
            market,
            key: String::new(),
            accelerator: Some(Accelerator { count: self.count, ..row.accelerator.clone() }),
            gpu_memory_gb: row.memory_gb,
            vcpus: shape.and_then(|s| s.vcpus).unwrap_or(0.0),
            memory_gib: shape.and_then(|s| s.memory_gib).unwrap_or(0.0),
            disk_gib: None,
            price_usd_per_hour: price,
            on_demand_usd_per_hour: row.price,
            disk_usd_per_gib_hour: Usd::from_dollars(DISK_MONTH / 730.0),
            egress_usd_per_gb: None,
            available: match stock {
                Stock::Some => Availability::Available,
                Stock::None => Availability::SoldOut,
                Stock::Unsaid => Availability::Unknown,
            },
            hazard_per_hour: None,
            hazard_source: None,
            reliability: None,
            verified: secure.then_some(true),
            datacenter: Some(secure),
            cuda: None,
            inet_down_mbps: None,
            inet_up_mbps: None,
            ends_in_seconds: None,
            class: MachineClass::Container,
            trust: if secure { Trust::Trusted } else { Trust::Untrusted },
        }
    }
}

impl GpuRow {
    /// The data centres that the catalogue names for it.
    fn named(&self) -> impl Iterator<Item = (&str, Stock)> {
        self.data_centers.iter().flatten().map(|(id, stock)| (id.as_str(), *stock))
    }
}

#[cfg(test)]
mod tests;
