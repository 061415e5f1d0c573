//! How likely EC2 is to take a spot machine back: the public spot advisor, and placement scores.
//!
//! The advisor gives, by region and type, the share of machines interrupted within a month, in five
//! bands. With a band's midpoint p the hazard is -ln(1 - p) / 720 an hour: the constant rate at which
//! the share p is gone after 30 days. ">20 %" counts as 25 %. It is a monthly mean of everybody's
//! machines, so it ranks types well and predicts single hours badly. The placement score (1 to 10, by
//! zone) says how likely the request is to be filled, not how long the machine lives: it goes into the
//! words only. Both may be missing; neither is ever an error.

use crate::client::Clients;
use fleet_provider_kit::{Call, Effect};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

const MONTH_HOURS: f64 = 720.0;
/// Band index of the advisor: label, midpoint.
const BANDS: [(&str, f64); 5] =
    [("<5 %", 0.025), ("5-10 %", 0.075), ("10-15 %", 0.125), ("15-20 %", 0.175), (">20 %", 0.25)];
/// Below three types EC2 answers low scores whatever the stock.
const SCORE_TYPES_LEAST: usize = 3;
const SCORE_REGIONS_MAX: usize = 10;

/// Bands by region and type.
#[derive(Debug, Default)]
pub(super) struct Advice(HashMap<(String, String), usize>);

/// A hazard and the words for it.
#[derive(Debug, PartialEq)]
pub(super) struct Hazard {
    pub(super) per_hour: Option<f64>,
    pub(super) source: String,
}

impl Advice {
    /// What is known of one type in one region, with the placement score of the zone.
    pub(super) fn hazard(&self, region: &str, kind: &str, score: Option<i32>) -> Option<Hazard> {
        let band = self.0.get(&(region.to_owned(), kind.to_owned())).and_then(|i| BANDS.get(*i));
        let words = [
            band.map(|(label, _)| format!("spot advisor {label} a month")),
            score.map(|s| format!("placement score {s}/10")),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| Hazard {
            per_hour: band.map(|(_, share)| -(1.0 - share).ln() / MONTH_HOURS),
            source: words.join(", "),
        })
    }

    fn read(document: &Value) -> Option<Self> {
        let mut bands = HashMap::new();
        for (region, systems) in document["spot_advisor"].as_object()? {
            let Some(types) = systems["Linux"].as_object() else { continue };
            for (kind, row) in types {
                if let Some(band) = row["r"].as_u64() {
                    bands.insert((region.clone(), kind.clone()), band as usize);
                }
            }
        }
        Some(Self(bands))
    }
}

/// The advisor's document; empty where it cannot be had.
pub(super) async fn advice(clients: &Clients) -> Advice {
    let call = Call::get("spot-advisor-data", "/spot-advisor-data.json");
    let read = match clients.advisor.send(call).await {
        Ok(reply) if reply.success() => reply.json().map(|document| Advice::read(&document)),
        Ok(reply) => {
            tracing::warn!(status = reply.status(), "no spot advisor data: hazards are unknown");
            return Advice::default();
        }
        Err(e) => Err(e),
    };
    match read {
        Ok(Some(advice)) => advice,
        Ok(None) => {
            tracing::warn!("spot advisor data of an unknown form: hazards are unknown");
            Advice::default()
        }
        Err(error) => {
            tracing::warn!(%error, "no spot advisor data: hazards are unknown");
            Advice::default()
        }
    }
}

/// Placement scores by zone id, where permitted.
pub(super) async fn scores(
    clients: &Clients,
    types: &BTreeSet<&str>,
    regions: &[&str],
) -> HashMap<String, i32> {
    let mut scores = HashMap::new();
    if types.len() < SCORE_TYPES_LEAST {
        return scores;
    }
    let ec2 = clients.ec2(&clients.home_region);
    for some in regions.chunks(SCORE_REGIONS_MAX) {
        let call = ec2
            .get_spot_placement_scores()
            .set_instance_types(Some(types.iter().map(|t| (*t).to_owned()).collect()))
            .set_region_names(Some(some.iter().map(|r| (*r).to_owned()).collect()))
            .target_capacity(1)
            .single_availability_zone(true)
            .max_results(1000);
        match call.send().await {
            Ok(answer) => {
                let rows = answer.spot_placement_scores.unwrap_or_default().into_iter();
                scores.extend(rows.filter_map(|s| Some((s.availability_zone_id?, s.score?))));
            }
            Err(e) => {
                let error = clients.failed("GetSpotPlacementScores", Effect::Read, e).await;
                tracing::debug!(%error, "no placement scores");
                return scores;
            }
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bands_become_rates() {
        let document = json!({"spot_advisor": {"us-east-1": {
            "Linux": {"g5.xlarge": {"s": 60, "r": 1}, "odd": {"s": 1}}, "Windows": {"g5.xlarge": {"r": 4}}}}});
        let advice = Advice::read(&document).unwrap();
        let hazard = advice.hazard("us-east-1", "g5.xlarge", Some(7)).unwrap();
        assert_eq!(hazard.source, "spot advisor 5-10 % a month, placement score 7/10");
        let gone_in_a_month = 1.0 - (-hazard.per_hour.unwrap() * MONTH_HOURS).exp();
        assert!((gone_in_a_month - 0.075).abs() < 1e-12);
        assert_eq!(advice.hazard("us-east-1", "odd", None), None);
        let alone = advice.hazard("eu-west-1", "g5.xlarge", Some(3)).unwrap();
        assert_eq!((alone.per_hour, alone.source.as_str()), (None, "placement score 3/10"));
        assert!(Advice::read(&json!([])).is_none());
    }
}
