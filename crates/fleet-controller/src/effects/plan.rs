//! Asks the clouds anew, ranks, reports.

use crate::clock::now;
use crate::planning;
use crate::scene::Scene;
use fleet_lifecycle::{Happening, JobState};
use fleet_optimizer::rank;
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
    let ranking = rank(gathered.offers, &ask, &state.avoid, planning::overheads(task), now());
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for r in &ranking.rejected {
        *counted.entry(&r.reason).or_default() += 1;
    }
    let mut reasons: Vec<String> = ranking
        .rejected
        .iter()
        .take(60)
        .map(|r| {
            format!("{} {} {}: {}", r.offer.place, r.offer.instance_type, r.offer.market, r.reason)
        })
        .collect();
    if ranking.rejected.len() > 60 {
        reasons.extend(counted.into_iter().map(|(why, n)| format!("{n} × {why}")));
    }
    reasons
        .extend(gathered.troubles.iter().map(|t| format!("{}: {}", t.provider.title(), t.message)));
    let places = planning::places(&ranking, task);
    let rejected = ranking.rejected.len();
    scene.tell(Happening::Planned { round, places, rejected, reasons }).await;
}
