//! Advice: how likely a spot machine is to be had and to stay, by Google's own estimate.
//!
//! Google is asked about the cheapest places only, because each question is about one type in one region. The
//! estimated uptime is the time that most machines live, so a machine is taken at ln 2 over it an hour. The
//! preemption rate counts the machines that were taken among those that ended, which is no rate in time: it is
//! shown and not reckoned with. Invariant: an offer without advice is an offer all the same.

use crate::client::Clients;
use crate::offers::shape::parts;
use fleet_provider_kit::Effect;
use fleet_types::{Market, Offer};
use futures_util::{StreamExt as _, stream};
use google_cloud_compute_v1::model::{
    AcceleratorConfig, CapacityAdviceRequest, CapacityAdviceRequestInstanceFlexibilityPolicy,
    CapacityAdviceRequestInstanceFlexibilityPolicyInstanceSelection,
    CapacityAdviceRequestInstanceProperties, CapacityAdviceRequestInstancePropertiesScheduling,
    CapacityAdviceResponse, CapacityHistoryRequest, CapacityHistoryRequestInstanceProperties,
    CapacityHistoryRequestInstancePropertiesScheduling, CapacityHistoryRequestLocationPolicy,
    CapacityHistoryResponse, capacity_advice_request_instance_properties_scheduling as advised,
    capacity_history_request, capacity_history_request_instance_properties_scheduling as past,
};
use std::collections::{BTreeMap, BTreeSet};

/// Questions that are asked at most, and at once.
const QUESTIONS: usize = 16;
const CONCURRENT: usize = 8;

type Topic = (String, String);

/// What Google says about one type in one region.
#[derive(Clone, Debug, Default, PartialEq)]
struct Word {
    hazard_per_hour: Option<f64>,
    source: Vec<String>,
}

/// Adds what Google says to the cheapest spot offers.
pub(super) async fn add(clients: &Clients, offers: &mut [Offer]) {
    let mut cheapest: Vec<&Offer> = offers
        .iter()
        .filter(|o| o.market == Market::Spot && o.price_usd_per_hour.is_some())
        .collect();
    cheapest.sort_by_key(|o| o.price_usd_per_hour);
    let mut topics: Vec<Topic> = Vec::new();
    let mut seen = BTreeSet::new();
    for offer in cheapest {
        let topic = (offer.place.region.clone(), offer.instance_type.clone());
        if seen.insert(topic.clone()) {
            topics.push(topic);
        }
    }
    topics.truncate(QUESTIONS);
    let questions = topics.into_iter().map(|topic| async { (word(clients, &topic).await, topic) });
    let answers: Vec<_> = stream::iter(questions).buffer_unordered(CONCURRENT).collect().await;
    let words: BTreeMap<Topic, Word> =
        answers.into_iter().filter_map(|(word, topic)| Some((topic, word?))).collect();
    for offer in offers.iter_mut().filter(|o| o.market == Market::Spot) {
        let topic = (offer.place.region.clone(), offer.instance_type.clone());
        let Some(word) = words.get(&topic).filter(|w| !w.source.is_empty()) else { continue };
        offer.hazard_per_hour = word.hazard_per_hour;
        offer.hazard_source = Some(word.source.join(", "));
    }
}

async fn word(clients: &Clients, (region, kind): &Topic) -> Option<Word> {
    let (now, past) = tokio::join!(capacity(clients, region, kind), history(clients, region, kind));
    let mut word = Word::default();
    if let Some((uptime, obtainability)) = now {
        word.hazard_per_hour = uptime.map(|hours| std::f64::consts::LN_2 / hours);
        word.source.extend(uptime.map(|hours| format!("estimated uptime {hours:.1} h")));
        word.source.extend(obtainability.map(|o| format!("obtainability {o:.2}")));
    }
    word.source.extend(
        past.map(|rate| format!("{:.0} % of ended spot machines were taken", rate * 100.0)),
    );
    (!word.source.is_empty()).then_some(word)
}

fn attached(kind: &str) -> Option<AcceleratorConfig> {
    let (count, gpu) = parts(kind).gpus?;
    let count = i32::try_from(count).ok()?;
    Some(AcceleratorConfig::new().set_accelerator_count(count).set_accelerator_type(gpu))
}

/// Hours of uptime and the chance to get one.
async fn capacity(
    clients: &Clients,
    region: &str,
    kind: &str,
) -> Option<(Option<f64>, Option<f64>)> {
    let selection = CapacityAdviceRequestInstanceFlexibilityPolicyInstanceSelection::new()
        .set_machine_types([parts(kind).machine])
        .set_guest_accelerators(attached(kind));
    let spot = CapacityAdviceRequestInstancePropertiesScheduling::new()
        .set_provisioning_model(advised::ProvisioningModel::Spot);
    let body = CapacityAdviceRequest::new()
        .set_size(1)
        .set_instance_properties(
            CapacityAdviceRequestInstanceProperties::new().set_scheduling(spot),
        )
        .set_instance_flexibility_policy(
            CapacityAdviceRequestInstanceFlexibilityPolicy::new()
                .set_instance_selections([("fleet", selection)]),
        );
    let call = clients.advice.capacity().set_project(clients.project()).set_region(region);
    match call.set_body(body).send().await {
        Ok(answer) => Some(scores(&answer)),
        Err(e) => {
            let error = clients.failed("advice.capacity", Effect::Read, e).await;
            tracing::debug!(region, kind, %error, "no advice on capacity");
            None
        }
    }
}

fn scores(answer: &CapacityAdviceResponse) -> (Option<f64>, Option<f64>) {
    let scores = answer.recommendations.first().and_then(|r| r.scores.as_ref());
    let uptime =
        scores.and_then(|s| s.estimated_uptime.as_ref()).map(|d| d.seconds() as f64 / 3600.0);
    let chance = scores.and_then(|s| s.obtainability);
    (uptime.filter(|h| *h > 0.0), chance.filter(|c| (0.0..=1.0).contains(c)))
}

/// The share of ended spot machines that were taken, in the newest interval that is told.
async fn history(clients: &Clients, region: &str, kind: &str) -> Option<f64> {
    let spot = CapacityHistoryRequestInstancePropertiesScheduling::new()
        .set_provisioning_model(past::ProvisioningModel::Spot);
    let machine = CapacityHistoryRequestInstanceProperties::new()
        .set_machine_type(parts(kind).machine)
        .set_guest_accelerators(attached(kind))
        .set_scheduling(spot);
    let place =
        CapacityHistoryRequestLocationPolicy::new().set_location(format!("regions/{region}"));
    let body = CapacityHistoryRequest::new()
        .set_types([capacity_history_request::Types::Preemption])
        .set_instance_properties(machine)
        .set_location_policy(place);
    let call = clients.advice.capacity_history().set_project(clients.project()).set_region(region);
    match call.set_body(body).send().await {
        Ok(answer) => newest(&answer),
        Err(e) => {
            let error = clients.failed("advice.capacityHistory", Effect::Read, e).await;
            tracing::debug!(region, kind, %error, "no history of capacity");
            None
        }
    }
}

fn newest(answer: &CapacityHistoryResponse) -> Option<f64> {
    let end = |i: &google_cloud_compute_v1::model::Interval| {
        i.end_time.as_ref().map(|t| (t.seconds(), t.nanos()))
    };
    let records = answer.preemption_history.iter();
    let newest = records.max_by_key(|r| r.interval.as_ref().and_then(end))?;
    newest.preemption_rate.filter(|r| (0.0..=1.0).contains(r))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scores_and_history_are_read_and_nonsense_is_unknown() {
        let answer = |uptime: &str, chance: f64| {
            let scores = json!({"estimatedUptime": uptime, "obtainability": chance});
            serde_json::from_value(json!({"recommendations": [{"scores": scores}]}))
                .expect("advice")
        };
        assert_eq!(scores(&answer("7200s", 0.75)), (Some(2.0), Some(0.75)));
        assert_eq!(scores(&answer("0s", 7.0)), (None, None));
        assert_eq!(scores(&CapacityAdviceResponse::new()), (None, None));
        let record = |end: &str, rate: f64| json!({"interval": {"startTime": "2026-01-01T00:00:00Z", "endTime": end}, "preemptionRate": rate});
        let records = [record("2026-01-03T00:00:00Z", 0.4), record("2026-01-02T00:00:00Z", 0.9)];
        let past = serde_json::from_value(json!({"preemptionHistory": records})).expect("history");
        assert_eq!(newest(&past), Some(0.4));
    }
}
