//! Finds out what came of a create that had no answer: by its token, until it cannot be missed.
//!
//! Invariant 5 and 7: only complete listings count, at least three of them, and only after the window in
//! which a new machine may be missing from lists.

use crate::scene::Scene;
use fleet_lifecycle::{Happening, InFlight};
use fleet_provider::OwnerTag;
use fleet_types::Epoch;
use std::time::Instant;

/// Complete listings that must omit the token.
const LISTINGS: u32 = 3;

/// Looks for the machine of `flight`.
pub(crate) async fn run(scene: Scene, epoch: Epoch, flight: InFlight) {
    let facts = &scene.doc.facts;
    let id = flight.place.offer.place.provider;
    let owner = OwnerTag { fleet: facts.fleet.clone() };
    let offer = flight.offer;
    let started = Instant::now();
    let mut omitted = 0;
    loop {
        match scene.inner.clouds.get(&facts.realm, id).await {
            Ok(provider) => {
                let window = facts.time_scale.span(provider.capabilities().visibility);
                match provider.list(&owner).await {
                    Ok(listing) => {
                        let found = listing
                            .instances
                            .into_iter()
                            .find(|i| i.token.as_ref() == Some(&flight.token));
                        if let Some(instance) = found {
                            let instance = Box::new(instance);
                            return scene
                                .tell(Happening::Accepted { epoch, offer, instance })
                                .await;
                        }
                        // Only what is listed after the window says anything about absence.
                        if listing.complete && started.elapsed() > window {
                            omitted += 1;
                        }
                    }
                    Err(e) => scene.inner.clouds.note(&facts.realm, id, &e).await,
                }
                if omitted >= LISTINGS {
                    return scene.tell(Happening::Absent { epoch, offer }).await;
                }
            }
            Err(e) => tracing::debug!("a create cannot be looked for yet: {e}"),
        }
        tokio::time::sleep(scene.secs(10.0)).await;
    }
}
