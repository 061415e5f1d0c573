//! What it costs to move a gigabyte between a machine and a store.
//!
//! List prices of the first terabytes to the internet and between regions, rounded; volume and private
//! contracts are cheaper. Invariant: what is not known is `None`, never free.
//! Sources: the clouds' price pages for data transfer, read in 2026.

use fleet_types::{Place, ProviderId, StoreKind, Usd};

/// Bytes of a gigabyte, as transfers are billed.
const GB: f64 = 1e9;

/// Where bytes leave or arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// A machine; the offer's own price for what it sends, where it has one.
    Machine { place: &'a Place, egress_usd_per_gb: Option<Usd> },
    /// A store, and its region where that is known.
    Store { kind: StoreKind, region: Option<&'a str> },
}

impl End<'_> {
    /// Whose network it is in.
    fn cloud(self) -> Option<ProviderId> {
        match self {
            Self::Machine { place, .. } => Some(place.provider),
            Self::Store { kind, .. } => match kind {
                StoreKind::S3 => Some(ProviderId::Aws),
                StoreKind::Gcs => Some(ProviderId::Gcp),
                StoreKind::Azure => Some(ProviderId::Azure),
                StoreKind::R2 | StoreKind::File => None,
            },
        }
    }
    fn region(self) -> Option<String> {
        match self {
            Self::Machine { place, .. } => Some(place.region.clone()),
            Self::Store { region, .. } => region.map(str::to_owned),
        }
    }
}

/// Dollars for a gigabyte from one end to the other; the sender's side pays. `None`: not known.
pub fn usd_per_gb(from: End<'_>, to: End<'_>) -> Option<Usd> {
    if let (Some(a), Some(b)) = (from.cloud(), to.cloud())
        && a == b
    {
        return match (from.region(), to.region()) {
            (Some(x), Some(y)) if x == y => Some(Usd::ZERO),
            (Some(_), Some(_)) => between_regions(a),
            _ => None,
        };
    }
    match from {
        End::Machine { egress_usd_per_gb: Some(own), .. } => Some(own),
        End::Machine { place, .. } => to_internet(place.provider),
        End::Store { kind: StoreKind::R2, .. } => Some(Usd::ZERO),
        End::Store { kind: StoreKind::File, .. } => None,
        End::Store { .. } => from.cloud().and_then(to_internet),
    }
}

/// Dollars for so many bytes.
pub fn cost(bytes: u64, usd_per_gb: Usd) -> Usd {
    usd_per_gb.scale(bytes as f64 / GB)
}

fn to_internet(cloud: ProviderId) -> Option<Usd> {
    match cloud {
        ProviderId::Aws => Some(Usd::from_micros(90000)),
        ProviderId::Gcp => Some(Usd::from_micros(120000)),
        ProviderId::Azure => Some(Usd::from_micros(87000)),
        ProviderId::Runpod | ProviderId::Lambda => Some(Usd::ZERO),
        // Every host has its own; the offer says it.
        ProviderId::Vast => None,
    }
}

fn between_regions(cloud: ProviderId) -> Option<Usd> {
    match cloud {
        ProviderId::Aws | ProviderId::Gcp | ProviderId::Azure => Some(Usd::from_micros(20000)),
        ProviderId::Runpod | ProviderId::Lambda => Some(Usd::ZERO),
        ProviderId::Vast => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(provider: ProviderId, region: &str) -> Place {
        Place { provider, region: region.into(), zone: "z".into() }
    }

    fn machine(place: &Place) -> End<'_> {
        End::Machine { place, egress_usd_per_gb: None }
    }

    #[test]
    fn bytes_are_free_at_home_and_dear_across_clouds() {
        let usd = |x: f64| Usd::from_dollars(x);
        let east = place(ProviderId::Aws, "us-east-1");
        let west = place(ProviderId::Aws, "us-west-2");
        let vast = place(ProviderId::Vast, "US");
        let s3 = End::Store { kind: StoreKind::S3, region: Some("us-east-1") };
        let nowhere = End::Store { kind: StoreKind::S3, region: None };
        let r2 = End::Store { kind: StoreKind::R2, region: None };
        assert_eq!(usd_per_gb(s3, machine(&east)), Some(Usd::ZERO));
        assert_eq!(usd_per_gb(s3, machine(&west)), usd(0.02));
        assert_eq!(usd_per_gb(nowhere, machine(&west)), None, "an unknown region is not free");
        assert_eq!(usd_per_gb(s3, machine(&vast)), usd(0.09));
        assert_eq!(usd_per_gb(r2, machine(&vast)), Some(Usd::ZERO));
        assert_eq!(usd_per_gb(machine(&east), r2), usd(0.09));
        assert_eq!(usd_per_gb(machine(&vast), s3), None, "the host's price is not known");
        let told = End::Machine { place: &vast, egress_usd_per_gb: usd(0.01) };
        assert_eq!(usd_per_gb(told, s3), usd(0.01));
        assert_eq!(cost(2_500_000_000, Usd::from_micros(20000)), Usd::from_micros(50000));
    }
}
