//! Launching: one create at a time, its intent committed before it leaves.
//!
//! Invariant: while the outcome of a create is open, no other create leaves (invariant 5).

use crate::phase::{planning, recovering};
use crate::{Attempt, Happening, InFlight, Phase, Reaction, RefusedPlace, RowChange, Turn, react};
use fleet_types::{
    EndCause, EventBody, Instance, InstanceState, MachineClass, Refusal, Token, Usd,
};
use std::time::Duration;

pub(crate) fn step(turn: &mut Turn<'_>, happening: Happening) {
    let Phase::Launching { current, .. } = &turn.state.phase else { return };
    let expected = current.offer;
    match happening {
        Happening::Accepted { offer, instance, .. } if offer == expected => {
            accepted(turn, &instance);
        }
        Happening::Refused { offer, refusal, .. } if offer == expected => refused(turn, &refusal),
        Happening::Unresolved { offer, .. } if offer == expected => unresolved(turn),
        Happening::Absent { offer, .. } if offer == expected => absent(turn),
        Happening::SentBefore { offer, .. } if offer == expected => sent_before(turn),
        other => stray(turn, &other),
    }
}

/// A create that nobody waits for any more was accepted: it must not bill on.
pub(crate) fn stray(turn: &mut Turn<'_>, happening: &Happening) {
    if let Happening::Accepted { epoch, offer, instance } = happening {
        if turn.state.attempts.iter().any(|a| a.instance == instance.id) {
            return;
        }
        let token = Token::derive(&turn.facts.fleet, &turn.facts.id, *epoch, 0, *offer);
        turn.rows.push(RowChange::Live { token: token.clone(), instance: instance.clone() });
        turn.rows.push(RowChange::End(token));
    }
}

/// Records the accepted create as an attempt.
pub(crate) fn record(turn: &mut Turn<'_>, flight: &InFlight, instance: &Instance) {
    let offer = &flight.place.offer;
    let epoch = turn.state.epoch;
    turn.rows.push(RowChange::Live {
        token: flight.token.clone(),
        instance: Box::new(instance.clone()),
    });
    turn.state.attempts.push(Attempt {
        epoch,
        token: flight.token.clone(),
        place: offer.place.clone(),
        instance_type: offer.instance_type.clone(),
        market: offer.market,
        class: offer.class,
        trust: offer.trust,
        price_usd_per_hour: instance
            .price_usd_per_hour
            .or(offer.price_usd_per_hour)
            .unwrap_or(flight.place.limit_usd_per_hour),
        on_demand_usd_per_hour: offer.on_demand_usd_per_hour,
        disk_usd_per_hour: offer
            .disk_usd_per_gib_hour
            .unwrap_or_default()
            .scale(f64::from(turn.facts.disk_gib)),
        instance: instance.id.clone(),
        address: instance.address.clone(),
        user: instance.user.clone(),
        launched_at: instance.launched_at.unwrap_or(turn.now),
        begun_at: None,
        running_at: None,
        ended_at: None,
        end_cause: None,
        exit_code: None,
        checkpoint: None,
        saved_until: None,
        work_ended_at: None,
        notice_until: None,
        egress_usd: Usd::ZERO,
    });
    turn.emit(EventBody::Launched { epoch, instance_id: instance.id.to_string() });
}

fn accepted(turn: &mut Turn<'_>, instance: &Instance) {
    let Phase::Launching { current, .. } = turn.state.phase.clone() else { return };
    record(turn, &current, instance);
    let too_dear =
        instance.price_usd_per_hour.is_some_and(|p| p > current.place.limit_usd_per_hour);
    if instance.state.task_is_dead() || too_dear {
        bury_stillborn(turn, instance);
        return turn.recover(EndCause::LaunchFailed, turn.now, true);
    }
    let container = current.place.offer.class == MachineClass::Container;
    let until = turn.now.plus(turn.facts.timing().connect(container));
    turn.state.phase = Phase::Connecting { until };
}

/// A machine that was found dead has billed until its death, not until it was found.
pub(crate) fn bury_stillborn(turn: &mut Turn<'_>, instance: &Instance) {
    if let InstanceState::Stopped { cause } | InstanceState::Terminated { cause } = instance.state {
        let (epoch, at) = (turn.state.epoch, instance.ended_at.unwrap_or(turn.now));
        turn.name_cause(epoch, EndCause::LaunchFailed);
        recovering::bury(turn, epoch, cause, at);
    }
}

fn refused(turn: &mut Turn<'_>, refusal: &Refusal) {
    let Phase::Launching { current, .. } = &mut turn.state.phase else { return };
    match react(refusal.fault, refusal.scope) {
        Reaction::Settle => unresolved(turn),
        Reaction::Again { wait, tries, .. } if current.retries + 1 < tries => {
            current.retries += 1;
            let asked = Duration::from_millis(refusal.retry_after_ms.unwrap_or(0));
            let wait = turn.facts.time_scale.span(wait * current.retries).max(asked);
            current.not_before = Some(turn.now.plus(wait));
        }
        Reaction::Again { .. } | Reaction::Next { .. } if current.sent_before => unresolved(turn),
        Reaction::Again { scope, avoid, .. } | Reaction::Next { scope, avoid } => {
            let flight = current.clone();
            let reason = format!("{} ({})", refusal.fault.label(), refusal.code);
            turn.avoid(&flight.place, scope, avoid, reason);
            let place = &flight.place.offer;
            turn.emit(EventBody::Refused {
                epoch: turn.state.epoch,
                place: place.place.clone(),
                instance_type: place.instance_type.clone(),
                market: place.market,
                fault: refusal.fault,
                code: refusal.code.clone(),
                message: refusal.message.clone(),
            });
            turn.rows.push(RowChange::Refuse(flight.token.clone()));
            next(
                turn,
                RefusedPlace {
                    place: place.place.clone(),
                    instance_type: place.instance_type.clone(),
                    market: place.market,
                    fault: refusal.fault,
                    reason: refusal.code.clone(),
                },
            );
        }
    }
}

fn unresolved(turn: &mut Turn<'_>) {
    let Phase::Launching { current, .. } = &mut turn.state.phase else { return };
    if !current.unresolved {
        current.unresolved = true;
        let token = current.token.clone();
        turn.rows.push(RowChange::Lose(token));
    }
}

fn sent_before(turn: &mut Turn<'_>) {
    if let Phase::Launching { current, .. } = &mut turn.state.phase {
        current.sent_before = true;
    }
}

fn absent(turn: &mut Turn<'_>) {
    let Phase::Launching { current, .. } = &turn.state.phase else { return };
    let flight = current.clone();
    let offer = &flight.place.offer;
    turn.rows.push(RowChange::Refuse(flight.token.clone()));
    next(
        turn,
        RefusedPlace {
            place: offer.place.clone(),
            instance_type: offer.instance_type.clone(),
            market: offer.market,
            fault: fleet_types::Fault::Unknown,
            reason: "the create had no answer and made nothing".into(),
        },
    );
}

/// On to the next candidate that is not avoided by now.
fn next(turn: &mut Turn<'_>, refusal: RefusedPlace) {
    let Phase::Launching { current, rest, refused } = &mut turn.state.phase else { return };
    let offer = current.offer + 1;
    let mut rest = std::mem::take(rest);
    let mut refused = std::mem::take(refused);
    refused.push(refusal);
    while !rest.is_empty() {
        let place = rest.remove(0);
        match turn.state.avoid.reason(&place.offer, turn.now) {
            None => return relaunch(turn, offer, place, rest, refused),
            Some(reason) => refused.push(RefusedPlace {
                reason: reason.to_owned(),
                place: place.offer.place.clone(),
                instance_type: place.offer.instance_type.clone(),
                market: place.offer.market,
                fault: refused.last().map_or(fleet_types::Fault::Capacity, |r| r.fault),
            }),
        }
    }
    // The epoch's number was spent on creates that made nothing; the next plan may use it again only with
    // higher offer numbers, so it takes a fresh epoch.
    planning::exhausted(turn, &refused);
}

fn relaunch(
    turn: &mut Turn<'_>,
    offer: u32,
    place: crate::PlannedPlace,
    rest: Vec<crate::PlannedPlace>,
    refused: Vec<RefusedPlace>,
) {
    let price = place.offer.price_usd_per_hour.unwrap_or(place.limit_usd_per_hour);
    if turn.facts.budget.is_some_and(|b| turn.accrued + price > b) {
        return planning::exhausted(turn, &refused);
    }
    let why =
        planning::falls_back(turn, &place, refused.last()).then(|| planning::counted(&refused));
    turn.launch(offer, place, rest, refused);
    if let Some(why) = why {
        planning::say_fallback(turn, why);
    }
}
