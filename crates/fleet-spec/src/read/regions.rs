//! Region names of each cloud, as far as they are known: for messages, never for a decision.
//!
//! A region that only another cloud has is an error, a likely misspelling too; a name that nobody here
//! knows may be a new region, so it is used as written with a warning. Marketplaces have countries
//! (Vast) or countries and data centres (RunPod).

use fleet_types::ProviderId;
use fleet_types::accelerator::distance;

const AWS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];
const AZURE: &[&str] = &[
    "australiacentral",
    "australiacentral2",
    "australiaeast",
    "australiasoutheast",
    "austriaeast",
    "belgiumcentral",
    "brazilsouth",
    "brazilsoutheast",
    "canadacentral",
    "canadaeast",
    "centralindia",
    "centralus",
    "chilecentral",
    "denmarkeast",
    "eastasia",
    "eastus",
    "eastus2",
    "francecentral",
    "francesouth",
    "germanynorth",
    "germanywestcentral",
    "indonesiacentral",
    "israelcentral",
    "italynorth",
    "japaneast",
    "japanwest",
    "jioindiacentral",
    "jioindiawest",
    "koreacentral",
    "koreasouth",
    "malaysiawest",
    "mexicocentral",
    "newzealandnorth",
    "northcentralus",
    "northeurope",
    "norwayeast",
    "norwaywest",
    "polandcentral",
    "qatarcentral",
    "southafricanorth",
    "southafricawest",
    "southcentralus",
    "southeastasia",
    "southindia",
    "spaincentral",
    "swedencentral",
    "switzerlandnorth",
    "switzerlandwest",
    "uaecentral",
    "uaenorth",
    "uksouth",
    "ukwest",
    "westcentralus",
    "westeurope",
    "westindia",
    "westus",
    "westus2",
    "westus3",
];
const GCP: &[&str] = &[
    "africa-south1",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "asia-southeast3",
    "australia-southeast1",
    "australia-southeast2",
    "europe-central2",
    "europe-north1",
    "europe-north2",
    "europe-southwest1",
    "europe-west1",
    "europe-west10",
    "europe-west12",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "northamerica-south1",
    "southamerica-east1",
    "southamerica-west1",
    "us-central1",
    "us-central2",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
];
const LAMBDA: &[&str] = &[
    "asia-northeast-1",
    "asia-northeast-2",
    "asia-south-1",
    "australia-east-1",
    "europe-central-1",
    "europe-south-1",
    "me-west-1",
    "us-east-1",
    "us-east-2",
    "us-east-3",
    "us-midwest-1",
    "us-south-1",
    "us-south-2",
    "us-south-3",
    "us-west-1",
    "us-west-2",
    "us-west-3",
];
const RUNPOD: &[&str] = &[
    "AE", "AP", "AU", "BG", "CA", "CZ", "EU", "FR", "IN", "IS", "JP", "NL", "NO", "OC", "RO", "SE",
    "SK", "US",
];

/// What is known about a region of a cloud.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It has it.
    Yes,
    /// Another cloud has it.
    OfAnother(ProviderId),
    /// It has one that is written much like it.
    Misspelt(&'static str),
    /// Nobody known here has it.
    No,
}

/// The regions of a cloud; empty where any country code is one.
pub(super) fn of(provider: ProviderId) -> &'static [&'static str] {
    match provider {
        ProviderId::Aws => AWS,
        ProviderId::Azure => AZURE,
        ProviderId::Gcp => GCP,
        ProviderId::Lambda => LAMBDA,
        ProviderId::Runpod => RUNPOD,
        ProviderId::Vast => &[],
    }
}

/// How a cloud's regions are written.
pub(super) fn form(provider: ProviderId) -> &'static str {
    match provider {
        ProviderId::Aws => "us-east-1",
        ProviderId::Azure => "eastus",
        ProviderId::Gcp => "us-central1",
        ProviderId::Lambda => "us-west-1",
        ProviderId::Runpod => "US, or a data centre such as EU-RO-1",
        ProviderId::Vast => "US, the code of a country",
    }
}

/// Whether `provider` has `region`.
pub(super) fn known(provider: ProviderId, region: &str) -> Known {
    if has(provider, region) {
        return Known::Yes;
    }
    if let Some(other) = owner(region) {
        return Known::OfAnother(other);
    }
    let lower = region.to_ascii_lowercase();
    let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let nearest = of(provider).iter().map(|name| (distance(&lower, name), *name)).min();
    match nearest {
        // `us-east-7` differs from `us-east-1` by its number alone: more likely new than misspelt.
        Some((d, name)) if d <= 2 && stem(name) != stem(&lower) => Known::Misspelt(name),
        _ => Known::No,
    }
}

/// A cloud that has `region`, if one is known.
pub(super) fn owner(region: &str) -> Option<ProviderId> {
    // Countries are shared by the marketplaces, so they belong to nobody in particular.
    [ProviderId::Aws, ProviderId::Gcp, ProviderId::Azure, ProviderId::Lambda]
        .into_iter()
        .find(|provider| has(*provider, region))
}

fn has(provider: ProviderId, region: &str) -> bool {
    let country = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
    match provider {
        ProviderId::Vast => country(region),
        ProviderId::Runpod => {
            // `EU-RO-1` and `US-TX-3` are data centres of a region.
            let head = region.split('-').next().unwrap_or_default();
            of(provider).iter().any(|name| name.eq_ignore_ascii_case(head))
                && (region.len() == head.len()
                    || region.bytes().filter(|b| *b == b'-').count() == 2)
                && owner(region).is_none()
        }
        _ => of(provider).iter().any(|name| name.eq_ignore_ascii_case(region)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_apart() {
        use ProviderId::{Aws, Gcp, Runpod, Vast};
        assert_eq!(known(Aws, "us-east-1"), Known::Yes);
        assert_eq!(known(Aws, "US-EAST-1"), Known::Yes);
        assert_eq!(known(Aws, "us-central1"), Known::OfAnother(Gcp));
        assert_eq!(known(Gcp, "us-east-2"), Known::OfAnother(Aws));
        assert_eq!(known(Aws, "us-esat-1"), Known::Misspelt("us-east-1"));
        assert_eq!(known(Aws, "us-east-7"), Known::No);
        assert_eq!(known(Vast, "DE"), Known::Yes);
        assert_eq!(known(Vast, "us-east-1"), Known::OfAnother(Aws));
        assert_eq!(known(Runpod, "EU-RO-1"), Known::Yes);
        assert_eq!(known(Runpod, "us-east-1"), Known::OfAnother(Aws));
    }
}
