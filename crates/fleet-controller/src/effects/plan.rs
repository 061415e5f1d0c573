//! Asks the clouds anew, ranks, reports.

use crate::planning;
use crate::scene::Scene;
use fleet_lifecycle::{Happening, JobState};
use fleet_optimizer::{Rejected, rank};
use std::collections::BTreeMap;

/// Plans `round` with what the job has learned.
pub(crate) async fn run(scene: Scene, round: u32, state: JobState) {
    let facts = &scene.doc.facts;
    let task = &scene.doc.task;
    let ask = planning::ask(task);
    let gathered = planning::gather(&ask, |id| {
        let (inner, realm) = (scene.inner.clone(), facts.realm.clone());
        async move { inner.clouds.get(&realm, id).await }
    })
    .await;
    if gathered.offers.is_empty() && !gathered.troubles.is_empty() {
        let reason: Vec<_> = gathered
            .troubles
            .iter()
            .map(|t| format!("{}: {}", t.provider.title(), t.message))
            .collect();
        let credentials = gathered.troubles.iter().all(|t| t.credentials);
        return scene
            .tell(Happening::PlanFailed { round, reason: reason.join("; "), credentials })
            .await;
    }
    for trouble in gathered.troubles.iter().filter(|t| t.credentials) {
        // Read anew next time: the user may log in meanwhile.
        scene.inner.clouds.forget(&facts.realm, trouble.provider).await;
    }
    let ranking = rank(gathered.offers, &ask, &state.avoid, planning::overheads(task), scene.now());
    let mut reasons = grouped(&ranking.rejected);
    reasons
        .extend(gathered.troubles.iter().map(|t| format!("{}: {}", t.provider.title(), t.message)));
    let places = planning::places(&ranking, task);
    if places.is_empty() && gathered.troubles.iter().any(|t| !t.credentials) {
        // A cloud that did not answer may have what the others have not: that is no lack of capacity.
        let reason = reasons.join("; ");
        return scene.tell(Happening::PlanFailed { round, reason, credentials: false }).await;
    }
    let rejected = ranking.rejected.len();
    scene.tell(Happening::Planned { round, places, rejected, reasons }).await;
}

/// The most places that one reason names.
const NAMED: usize = 40;

/// The rejections by reason, each with the places it holds for.
fn grouped(rejected: &[Rejected]) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for r in rejected {
        let place = format!("{} {} {}", r.offer.place, r.offer.instance_type, r.offer.market);
        by_reason.entry(&r.kind).or_default().push(place);
    }
    by_reason
        .into_iter()
        .map(|(reason, places)| {
            let more = places.len().saturating_sub(NAMED);
            let mut text = format!("{reason}: {}", places[..places.len() - more].join(", "));
            if more > 0 {
                text += &format!(" and {more} more");
            }
            text
        })
        .collect()
}
