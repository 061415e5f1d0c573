//! Planning: offers are ranked; the best is launched, or the job waits with a named reason, or ends.

use crate::{Goal, Happening, Phase, PlannedPlace, RefusedPlace, Turn, Waiting, phase::stopping};
use fleet_types::{
    EndCause, EventBody, Fallback, Fault, Market, Outcome, ProviderId, RankedPlace, Usd,
};
use std::collections::BTreeMap;

/// The most places of one cloud and market that are walked before planning anew.
const WALKED: usize = 64;

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Planning { round, waiting } = &turn.state.phase else { return };
    let current = *round;
    // Who waits has this round's answer already.
    let asked = waiting.is_none();
    match happening {
        Happening::Planned { round, places, rejected, reasons } if round == current && asked => {
            planned(turn, places, rejected, &reasons);
        }
        Happening::PlanFailed { round, reason, credentials } if round == current && asked => {
            if credentials && turn.state.attempts.is_empty() {
                end(turn, format!("credentials: {reason}"));
            } else {
                wait(turn, reason);
            }
        }
        Happening::Tick if waiting.as_ref().is_some_and(|w| w.until <= turn.now) => {
            turn.plan(current + 1);
        }
        _ => {}
    }
}

fn planned(turn: &mut Turn<'_>, places: Vec<PlannedPlace>, rejected: usize, reasons: &[String]) {
    let bound = turn.bound_class();
    let mut places: Vec<_> =
        places.into_iter().filter(|p| bound.is_none_or(|class| class == p.offer.class)).collect();
    turn.emit(EventBody::Ranked {
        epoch: turn.state.epoch.next(),
        candidates: places.iter().take(8).map(ranked).collect(),
        rejected,
    });
    if let Some(budget) = turn.facts.budget {
        let accrued = turn.accrued;
        let had = places.len();
        // The first hour of a machine is committed when it is created (invariant 10).
        places.retain(|p| accrued + price(p) <= budget);
        if places.is_empty() && had > 0 {
            return stopping::enter(
                turn,
                Goal {
                    outcome: Outcome::Stopped,
                    reason: Some(format!(
                        "budget: {accrued} of {budget} are spent and the cheapest place would commit more than is left"
                    )),
                    exit_code: None,
                    cause: EndCause::Budget,
                },
            );
        }
    }
    let mut places = walked(places);
    if places.is_empty() {
        return nothing(turn, reasons.join("; "));
    }
    let first = places.remove(0);
    let fell_back = falls_back(turn, &first, None);
    turn.launch(0, first, places, Vec::new());
    if fell_back {
        say_fallback(turn, reasons.join("; "));
    }
}

/// The places of a plan that are tried: of each cloud and market the best, so that one cloud with many
/// places hides neither another cloud nor what to fall back on.
fn walked(mut places: Vec<PlannedPlace>) -> Vec<PlannedPlace> {
    let mut taken: BTreeMap<(ProviderId, Market), usize> = BTreeMap::new();
    places.retain(|p| {
        let n = taken.entry((p.offer.place.provider, p.offer.market)).or_default();
        *n += 1;
        *n <= WALKED
    });
    places
}

/// Whether a job that asked for spot goes on-demand with this place; `before` is the place tried last.
pub(crate) fn falls_back(
    turn: &Turn<'_>,
    place: &PlannedPlace,
    before: Option<&RefusedPlace>,
) -> bool {
    turn.facts.market == Market::Spot
        && place.offer.market == Market::OnDemand
        && before.is_none_or(|b| b.market == Market::Spot)
}

/// Says why on-demand is bought.
pub(crate) fn say_fallback(turn: &mut Turn<'_>, why: String) {
    let why = if why.is_empty() { "no spot place matches the task".to_owned() } else { why };
    let reason = format!("no spot is to be had: {why}");
    turn.emit(EventBody::FellBack { epoch: turn.state.epoch, reason });
}

/// How many places said no, by what they said.
pub(crate) fn counted(refused: &[RefusedPlace]) -> String {
    let mut by_reason: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for r in refused {
        *by_reason.entry((r.fault.label(), &r.reason)).or_default() += 1;
    }
    let text = by_reason.into_iter().map(|((fault, code), n)| {
        let places = if n == 1 { "place" } else { "places" };
        format!("{fault} ({code}) in {n} {places}")
    });
    text.collect::<Vec<_>>().join("; ")
}

fn price(place: &PlannedPlace) -> Usd {
    place.offer.price_usd_per_hour.unwrap_or(place.limit_usd_per_hour)
}

fn ranked(place: &PlannedPlace) -> RankedPlace {
    RankedPlace {
        place: place.offer.place.clone(),
        instance_type: place.offer.instance_type.clone(),
        market: place.offer.market,
        price_usd_per_hour: price(place),
        effective_usd_per_hour: place.effective_usd_per_hour,
    }
}

/// Every place of the plan said no: say which and why, then wait or end.
pub(crate) fn exhausted(turn: &mut Turn<'_>, refused: &[RefusedPlace]) {
    let round = if let Phase::Planning { round, .. } = turn.state.phase { round } else { 0 };
    turn.plan(round);
    let mut by_reason: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for r in refused {
        by_reason
            .entry((r.fault.label(), &r.reason))
            .or_default()
            .push(format!("{} {} {}", r.place, r.instance_type, r.market));
    }
    let text: Vec<_> = by_reason
        .into_iter()
        .map(|((fault, code), places)| format!("{fault} ({code}): {}", places.join(", ")))
        .collect();
    let only_credentials = !refused.is_empty() && refused.iter().all(|r| r.fault == Fault::Auth);
    if only_credentials && turn.state.attempts.is_empty() {
        return end(turn, format!("credentials: {}", text.join("; ")));
    }
    nothing(turn, text.join("; "));
}

/// Nothing can be had within the limits now.
fn nothing(turn: &mut Turn<'_>, why: String) {
    let why = if why.is_empty() { "no place matches the task".to_owned() } else { why };
    let first = turn.state.attempts.is_empty();
    match turn.facts.fallback {
        Fallback::None | Fallback::OnDemand if first => end(turn, format!("no capacity: {why}")),
        // A job that has work behind it is not thrown away for a bad quarter of an hour.
        Fallback::None | Fallback::OnDemand | Fallback::Wait => {
            wait(turn, format!("waiting for capacity: {why}"));
        }
    }
}

fn wait(turn: &mut Turn<'_>, reason: String) {
    let Phase::Planning { round, .. } = turn.state.phase else { return };
    let until = turn.now.plus(turn.facts.timing().replan(round));
    turn.state.phase =
        Phase::Planning { round, waiting: Some(Waiting { reason: reason.clone(), until }) };
    turn.emit(EventBody::Waiting { reason });
}

fn end(turn: &mut Turn<'_>, reason: String) {
    let goal = Goal {
        outcome: Outcome::Failed,
        reason: Some(reason),
        exit_code: None,
        cause: EndCause::LaunchFailed,
    };
    stopping::enter(turn, goal);
}
