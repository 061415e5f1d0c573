//! Looks at a machine from outside: address, notice, and proof of its death.
//!
//! The liveness table of reliability.md C2, provider column. Invariant: only the cloud's explicit word, or
//! rule (b) of "proof of death", makes a machine dead; an error, an odd state or one 404 changes nothing.

use crate::contact::Contact;
use crate::death::Absence;
use crate::journal::Journal;
use crate::outcome;
use crate::scene::Scene;
use fleet_lifecycle::{Attempt, Happening};
use fleet_provider::OwnerTag;
use fleet_types::{DeathCause, Fault, InstanceState};
use std::sync::Arc;
use std::time::Duration;

/// A word of the agent this recent outweighs a not-found.
const SPOKEN: Duration = Duration::from_secs(30);

/// Watches the machine of `attempt` until its death. `contact` asks for a look at once.
pub(crate) async fn run(scene: Scene, attempt: Attempt, contact: Arc<Contact>, journal: Journal) {
    let facts = &scene.doc.facts;
    let epoch = attempt.epoch;
    let id = attempt.place.provider;
    let mut address = attempt.address.clone();
    let mut launched_at = Some(attempt.launched_at);
    let mut noticed = attempt.notice_until.is_some();
    let mut absence = Absence::new(attempt.launched_at);
    loop {
        let answer = match scene.inner.clouds.get(&facts.realm, id).await {
            Ok(provider) => provider.describe(&attempt.instance, &attempt.place).await,
            Err(e) => Err(e),
        };
        match answer {
            Ok(instance) => {
                absence.seen();
                scene.inner.calm(&facts.id, "credentials");
                let moved = instance.address.is_some() && instance.address != address;
                let billed = instance.launched_at.is_some() && instance.launched_at != launched_at;
                if moved || billed {
                    address = instance.address.clone().or(address);
                    launched_at = instance.launched_at.or(launched_at);
                    let (address, user) = (address.clone(), instance.user.clone());
                    scene.tell(Happening::Addressed { epoch, address, user, launched_at }).await;
                }
                match instance.state {
                    InstanceState::Stopped { cause } | InstanceState::Terminated { cause } => {
                        let at = instance.ended_at.unwrap_or_else(|| scene.now());
                        outcome::tell(&scene, epoch, &journal).await;
                        return scene.tell(Happening::Dead { epoch, cause, at }).await;
                    }
                    InstanceState::Marked { at } if !noticed => {
                        noticed = true;
                        let deadline =
                            at.unwrap_or_else(|| scene.now().plus(Duration::from_secs(120)));
                        let source = format!("{} (seen from outside)", id.title());
                        scene.tell(Happening::Notice { epoch, source, deadline }).await;
                    }
                    InstanceState::Marked { .. } | InstanceState::Running => contact.runs(),
                    InstanceState::Pending
                    | InstanceState::Stopping
                    | InstanceState::Unknown(_) => {}
                }
            }
            // Its agent speaks: the cloud is wrong, or we ask another account than it lives in.
            Err(e) if e.fault == Fault::NotFound && contact.heard_within(SPOKEN) => {
                absence.seen();
                let text = format!(
                    "{} does not know machine {}, yet its agent answers; nothing is done about it",
                    id.title(),
                    attempt.instance
                );
                if scene.inner.raise(&facts.id, &text) {
                    tracing::warn!("{text}");
                }
            }
            Err(e) if e.fault == Fault::NotFound => {
                let owner = OwnerTag { fleet: facts.fleet.clone() };
                if let Ok(provider) = scene.inner.clouds.get(&facts.realm, id).await
                    && absence
                        .proven(
                            &*provider,
                            &owner,
                            &attempt.instance,
                            facts.time_scale,
                            scene.now(),
                        )
                        .await
                {
                    let at = absence.since().unwrap_or_else(|| scene.now());
                    let cause = DeathCause::Unsaid;
                    outcome::tell(&scene, epoch, &journal).await;
                    return scene.tell(Happening::Dead { epoch, cause, at }).await;
                }
            }
            Err(e) => {
                scene.inner.clouds.note(&facts.realm, id, &e).await;
                if e.fault == Fault::Auth {
                    let text = format!(
                        "credentials: {} refuses them while machine {} runs ({}); log in again, no restart is needed",
                        id.title(),
                        attempt.instance,
                        e.code
                    );
                    if scene.inner.raise(&facts.id, &text) {
                        tracing::warn!("{text}");
                    }
                }
            }
        }
        let pause = scene.secs(if address.is_none() { 2.0 } else { 10.0 });
        let pause = pause.max(Duration::from_millis(250));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = contact.nudged() => {}
        }
    }
}
