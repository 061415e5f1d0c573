//! The ranking: every offer in, one ordered list and one reason per rejection out.

use crate::{AvoidList, Overheads, effective_price};
use fleet_types::{Availability, Market, Offer, OfferFilter, OfferQuery, Timestamp, Usd};

/// What is asked, complete.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Alternatives; an offer is matched by the first that accepts it.
    pub queries: Vec<OfferQuery>,
    /// The first alternative that can be had wins, whatever the others cost.
    pub ordered: bool,
    /// Markets in the order of preference: `[Spot, OnDemand]` tries all spot first.
    pub markets: Vec<Market>,
    pub disk_gib: u32,
}

/// A candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub offer: Offer,
    pub effective_usd_per_hour: Usd,
    pub hazard_per_hour: f64,
}

/// Not a candidate, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub offer: Offer,
    pub reason: String,
    /// The reason without the offer's own numbers: what it has in common with others.
    pub kind: String,
}

/// A reason, and what it has in common with those of other offers.
struct Why {
    reason: String,
    kind: String,
}

impl Why {
    fn new(reason: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { reason: reason.into(), kind: kind.into() }
    }
}

/// A reason without numbers of its own.
impl<T: Into<String>> From<T> for Why {
    fn from(reason: T) -> Self {
        let reason = reason.into();
        Self { kind: reason.clone(), reason }
    }
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// Best first.
    pub candidates: Vec<Ranked>,
    pub rejected: Vec<Rejected>,
}

/// Ranks `offers`: by market preference, then alternative (if ordered), then dollars per useful hour;
/// ties by hazard, then by name, so that the same offers always rank the same.
pub fn rank(
    offers: Vec<Offer>,
    ask: &Ask,
    avoid: &AvoidList,
    overheads: Overheads,
    now: Timestamp,
) -> Ranking {
    let mut out = Ranking::default();
    let mut keyed = Vec::new();
    for offer in offers {
        match judge(&offer, ask, avoid, overheads, now) {
            Err(Why { reason, kind }) => out.rejected.push(Rejected { offer, reason, kind }),
            Ok((tier, alternative, effective, hazard)) => {
                let alternative = if ask.ordered { alternative } else { 0 };
                keyed.push((
                    (tier, alternative, effective),
                    Ranked { offer, effective_usd_per_hour: effective, hazard_per_hour: hazard },
                ));
            }
        }
    }
    keyed.sort_by(|(ka, a), (kb, b)| {
        ka.cmp(kb)
            .then(a.hazard_per_hour.total_cmp(&b.hazard_per_hour))
            .then_with(|| a.offer.pool().cmp(&b.offer.pool()))
            .then_with(|| a.offer.key.cmp(&b.offer.key))
    });
    out.candidates = keyed.into_iter().map(|(_, ranked)| ranked).collect();
    out
}

type Verdict = (usize, usize, Usd, f64);

fn judge(
    offer: &Offer,
    ask: &Ask,
    avoid: &AvoidList,
    overheads: Overheads,
    now: Timestamp,
) -> Result<Verdict, Why> {
    let tier = ask
        .markets
        .iter()
        .position(|m| *m == offer.market)
        .ok_or_else(|| format!("{} was not asked for", offer.market))?;
    let mut why = Why::from("it is not what was asked for");
    let alternative = ask
        .queries
        .iter()
        .position(|q| match fits(offer, q, ask.disk_gib) {
            Ok(()) => true,
            Err(reason) => {
                why = reason;
                false
            }
        })
        .ok_or(why)?;
    if offer.available == Availability::SoldOut {
        return Err("sold out".into());
    }
    if let Some(reason) = avoid.reason(offer, now) {
        return Err(format!("avoided for now: {reason}").into());
    }
    let (effective, hazard) = effective_price(offer, ask.disk_gib, overheads)
        .ok_or_else(|| Why::from("its price is unknown"))?;
    let filter = &ask.queries[alternative].filter;
    if let Some(max) = filter.max_hazard_per_hour.filter(|max| hazard > *max) {
        let limit = format!("is above the limit {max:.3}/h");
        return Err(Why::new(format!("risk {hazard:.3}/h {limit}"), format!("its risk {limit}")));
    }
    Ok((tier, alternative, effective, hazard))
}

fn fits(offer: &Offer, query: &OfferQuery, disk_gib: u32) -> Result<(), Why> {
    let gpu = match (&offer.accelerator, query.accelerators.is_empty()) {
        (_, true) => true,
        (None, false) => false,
        (Some(have), false) => {
            query.accelerators.iter().any(|want| want.accepts(have, offer.gpu_memory_gb))
        }
    };
    if !gpu {
        return Err("another accelerator".into());
    }
    if !query.places.is_empty() && !query.places.iter().any(|p| p.matches(&offer.place)) {
        return Err("outside the places asked for".into());
    }
    if query.instance_type.as_ref().is_some_and(|t| *t != offer.instance_type) {
        return Err("another instance type".into());
    }
    if query.vcpus.is_some_and(|b| !b.accepts(offer.vcpus)) {
        return Err(Why::new(format!("{} vCPUs", offer.vcpus), "another number of vCPUs"));
    }
    if query.memory_gib.is_some_and(|b| !b.accepts(offer.memory_gib)) {
        let reason = format!("{:.0} GiB of memory", offer.memory_gib);
        return Err(Why::new(reason, "another size of memory"));
    }
    if offer.disk_gib.is_some_and(|d| d + 0.5 < f64::from(disk_gib)) {
        let reason = format!("only {:.0} GiB of disk", offer.disk_gib.unwrap_or(0.0));
        return Err(Why::new(reason, format!("less than {disk_gib} GiB of disk")));
    }
    quality(offer, &query.filter)
}

fn quality(offer: &Offer, filter: &OfferFilter) -> Result<(), Why> {
    let below = |have: Option<f64>, min: Option<f64>, what: &str| match (have, min) {
        (Some(have), Some(min)) if have + 1e-9 < min => {
            Err(Why::new(format!("{what} {have} is below {min}"), format!("{what} is below {min}")))
        }
        (None, Some(min)) => Err(format!("{what} is unknown, {min} was asked for").into()),
        _ => Ok(()),
    };
    if let (Some(price), Some(max)) = (offer.price_usd_per_hour, filter.max_price_usd_per_hour)
        && price > max
    {
        let limit = format!("is above the limit {max}/h");
        return Err(Why::new(format!("{price}/h {limit}"), format!("its price {limit}")));
    }
    // Whole clouds do not publish these; a marketplace that does not say is not trusted to be good.
    if offer.trust < fleet_types::Trust::Trusted {
        below(offer.reliability, filter.min_reliability, "reliability")?;
        below(offer.ends_in_seconds, filter.min_duration_seconds, "remaining time (s)")?;
        below(offer.inet_down_mbps, filter.min_inet_down_mbps, "download (Mb/s)")?;
        below(offer.cuda, filter.min_cuda, "CUDA")?;
        if filter.verified_only && offer.verified != Some(true) {
            return Err("not verified".into());
        }
        if filter.datacenter_only && offer.datacenter != Some(true) {
            return Err("not in a data centre".into());
        }
    }
    if filter.min_trust.is_some_and(|min| offer.trust < min) {
        return Err("a host that is not trusted with this task's secrets".into());
    }
    if filter.class.is_some_and(|class| class != offer.class) {
        return Err("another kind of machine than the job started on (say `machine: any`)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{
        Accelerator, AcceleratorRequest, MachineClass, Place, PlacePattern, Pool, ProviderId,
        Scope, Trust,
    };
    use std::time::Duration;

    fn offer(zone: &str, price: Option<f64>, hazard: Option<f64>) -> Offer {
        Offer {
            place: Place {
                provider: ProviderId::Aws,
                region: "us-east-1".into(),
                zone: zone.into(),
            },
            instance_type: "g4dn.xlarge".into(),
            market: Market::Spot,
            key: format!("g4dn.xlarge@{zone}"),
            accelerator: Some(Accelerator::new("T4", 1)),
            gpu_memory_gb: Some(16.0),
            vcpus: 4.0,
            memory_gib: 16.0,
            disk_gib: None,
            price_usd_per_hour: price.and_then(Usd::price),
            on_demand_usd_per_hour: None,
            disk_usd_per_gib_hour: None,
            egress_usd_per_gb: None,
            available: Availability::Unknown,
            hazard_per_hour: hazard,
            hazard_source: None,
            reliability: None,
            verified: None,
            datacenter: None,
            cuda: None,
            inet_down_mbps: None,
            inet_up_mbps: None,
            ends_in_seconds: None,
            class: MachineClass::Vm,
            trust: Trust::Trusted,
        }
    }

    fn ask() -> Ask {
        Ask {
            queries: vec![OfferQuery {
                accelerators: vec![AcceleratorRequest::Named(Accelerator::new("T4", 1))],
                ..OfferQuery::default()
            }],
            ordered: false,
            markets: vec![Market::Spot, Market::OnDemand],
            disk_gib: 50,
        }
    }

    fn zones(ranking: &Ranking) -> Vec<&str> {
        ranking.candidates.iter().map(|c| c.offer.place.zone.as_str()).collect()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn risk_can_outweigh_price_and_unknown_price_never_ranks() {
        let offers = vec![
            offer("a", Some(0.20), Some(1.5)),
            offer("b", Some(0.22), Some(0.01)),
            offer("c", None, Some(0.01)),
            offer("d", Some(0.0), None),
        ];
        let r = rank(offers, &ask(), &AvoidList::default(), Overheads::default(), NOW);
        assert_eq!(zones(&r), ["b", "a"]);
        assert_eq!(r.rejected.len(), 2);
        assert!(r.rejected.iter().all(|r| r.reason.contains("unknown")));
    }

    #[test]
    fn all_spot_stands_before_any_on_demand() {
        let mut dear = offer("a", Some(9.0), None);
        let mut cheap = offer("b", Some(0.1), None);
        cheap.market = Market::OnDemand;
        dear.market = Market::Spot;
        let r = rank(vec![cheap, dear], &ask(), &AvoidList::default(), Overheads::default(), NOW);
        assert_eq!(zones(&r), ["a", "b"]);
    }

    #[test]
    fn an_avoided_scope_is_left_alone_until_it_ends() {
        let mut avoid = AvoidList::default();
        let a = offer("a", Some(0.2), None);
        avoid.add(Avoid {
            pool: Pool { instance_type: "g4dn.xlarge".into(), ..a.pool() },
            scope: Scope::Region,
            key: String::new(),
            until: NOW.plus(Duration::from_secs(60)),
            reason: "quota (VcpuLimitExceeded)".into(),
        });
        let offers = vec![a, offer("b", Some(0.3), None)];
        let r = rank(offers.clone(), &ask(), &avoid, Overheads::default(), NOW);
        assert!(r.candidates.is_empty() && r.rejected[0].reason.contains("quota"));
        let later = NOW.plus(Duration::from_secs(61));
        let r = rank(offers, &ask(), &avoid, Overheads::default(), later);
        assert_eq!(zones(&r), ["a", "b"]);
    }

    #[test]
    fn every_limit_names_itself() {
        let mut ask = ask();
        ask.queries[0].filter.max_price_usd_per_hour = Usd::from_dollars(0.25);
        ask.queries[0].places = vec![PlacePattern::parse("aws/us-east-1").unwrap()];
        let mut elsewhere = offer("z", Some(0.1), None);
        elsewhere.place.region = "eu-west-1".into();
        let mut sold = offer("s", Some(0.1), None);
        sold.available = Availability::SoldOut;
        let r = rank(
            vec![offer("a", Some(0.3), None), elsewhere, sold],
            &ask,
            &AvoidList::default(),
            Overheads::default(),
            NOW,
        );
        let reasons: Vec<_> = r.rejected.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(
            reasons,
            ["$0.300/h is above the limit $0.250/h", "outside the places asked for", "sold out"]
        );
        let kinds: Vec<_> = r.rejected.iter().map(|r| r.kind.as_str()).collect();
        assert_eq!(kinds[0], "its price is above the limit $0.250/h");
        assert_eq!(kinds[1..], reasons[1..], "no numbers of their own");
    }

    use crate::Avoid;
}
