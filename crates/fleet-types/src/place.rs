//! Where a machine can be: a place, a pattern of places, and the pool that shares one fate.

use crate::{Market, ProviderId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A zone of a region of a cloud. On marketplaces the region is the country and the zone the machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub provider: ProviderId,
    pub region: String,
    pub zone: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}/{}", self.provider, self.region, self.zone))
    }
}

/// `aws/us-east-1/us-east-1a` with `*` or nothing where anything goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlacePattern {
    pub provider: Option<ProviderId>,
    pub region: Option<String>,
    pub zone: Option<String>,
}

impl PlacePattern {
    /// Reads `cloud[/region[/zone]]`, each part possibly `*`.
    pub fn parse(text: &str) -> Result<Self, crate::id::UnknownProvider> {
        let mut parts = text.trim().splitn(3, '/').map(|p| p.trim());
        let mut part = || parts.next().filter(|p| !p.is_empty() && *p != "*").map(str::to_owned);
        let provider = part().map(|p| p.parse()).transpose()?;
        Ok(Self { provider, region: part(), zone: part() })
    }
    /// Whether `place` is one of these places.
    pub fn matches(&self, place: &Place) -> bool {
        let text = |want: &Option<String>, have: &str| {
            want.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(have))
        };
        self.provider.is_none_or(|p| p == place.provider)
            && text(&self.region, &place.region)
            && text(&self.zone, &place.zone)
    }
}

impl fmt::Display for PlacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.provider.map_or("*", ProviderId::as_str).to_owned();
        if self.region.is_some() || self.zone.is_some() {
            text += &format!("/{}", self.region.as_deref().unwrap_or("*"));
        }
        if let Some(zone) = &self.zone {
            text += &format!("/{zone}");
        }
        f.pad(&text)
    }
}

/// What is refused, interrupted and avoided together: one machine type in one market at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pool {
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {} {}", self.place, self.instance_type, self.market))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let place = Place {
            provider: ProviderId::Aws,
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
        };
        for yes in [
            "aws",
            "aws/us-east-1",
            "aws/us-east-1/us-east-1a",
            "*/us-east-1",
            "aws/*/us-east-1a",
            "AWS",
            "*",
        ] {
            assert!(PlacePattern::parse(yes).unwrap().matches(&place), "{yes}");
        }
        for no in ["vast", "aws/us-west-2", "aws/us-east-1/us-east-1b"] {
            assert!(!PlacePattern::parse(no).unwrap().matches(&place), "{no}");
        }
        assert!(PlacePattern::parse("awss/us-east-1").is_err());
    }
}
