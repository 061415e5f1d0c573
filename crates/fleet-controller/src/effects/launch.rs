//! Sends one create, whose intent row is committed, and reports what came of it.
//!
//! Invariant: never aborted once it runs; a create whose answer is lost is reported as unresolved.

use crate::keys::JobKeys;
use crate::scene::Scene;
use fleet_lifecycle::{Happening, InFlight};
use fleet_provider::{Boot, Candidate, LaunchRequest, OwnerTag, Provider, ProviderError};
use fleet_types::{
    Epoch, Fault, Instance, MachineClass, Market, OfferQuery, PlacePattern, Scope, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Minutes after which a machine that nobody contacted ends itself.
const ORPHAN_MINUTES: u32 = 15;

/// Sends the create of `flight`.
pub(crate) async fn run(
    scene: Scene,
    epoch: Epoch,
    flight: InFlight,
    withdrawn: CancellationToken,
) {
    let offer = flight.offer;
    let happening = match create(&scene, epoch, &flight, &withdrawn).await {
        Ok(instance) => Happening::Accepted { epoch, offer, instance: Box::new(instance) },
        Err(e) => match e.refusal() {
            Some(refusal) => Happening::Refused { epoch, offer, refusal },
            None => {
                tracing::warn!(job = %scene.doc.facts.id, %epoch, "a create has no answer: {e}");
                Happening::Unresolved { epoch, offer }
            }
        },
    };
    scene.tell(happening).await;
}

async fn create(
    scene: &Scene,
    epoch: Epoch,
    flight: &InFlight,
    withdrawn: &CancellationToken,
) -> Result<Instance, ProviderError> {
    let facts = &scene.doc.facts;
    let id = flight.place.offer.place.provider;
    let provider = scene.inner.clouds.get(&facts.realm, id).await?;
    let request = request(scene, epoch, flight).await?;
    if withdrawn.is_cancelled() {
        // Refused by ourselves, before it left.
        return Err(ProviderError::new(Fault::Transient, Scope::Request, "launch", "withdrawn"));
    }
    // Drivers bound their calls; this bound is for a driver that does not.
    let limit = Duration::from_secs(180);
    let answer = match tokio::time::timeout(limit, provider.launch(&request)).await {
        Ok(answer) => answer,
        Err(_) => Err(ProviderError::unknown("launch", "no answer within 180 s")),
    };
    match answer {
        Ok(mut instance) => {
            if instance.price_usd_per_hour.is_none() {
                instance.price_usd_per_hour = price_in_force(&provider, flight).await;
            }
            Ok(instance)
        }
        Err(e) => {
            scene.inner.clouds.note(&facts.realm, id, &e).await;
            Err(e)
        }
    }
}

/// The price that the cloud charges at this very place now: the plan's may be minutes old.
async fn price_in_force(
    provider: &Arc<dyn Provider>,
    flight: &InFlight,
) -> Option<fleet_types::Usd> {
    let wanted = &flight.place.offer;
    if wanted.market == Market::OnDemand || wanted.class == MachineClass::Container {
        return None;
    }
    let query = OfferQuery {
        accelerators: wanted
            .accelerator
            .iter()
            .map(|a| fleet_types::AcceleratorRequest::Named(a.clone()))
            .collect(),
        markets: vec![wanted.market],
        places: vec![PlacePattern {
            provider: Some(wanted.place.provider),
            region: Some(wanted.place.region.clone()),
            zone: Some(wanted.place.zone.clone()),
        }],
        instance_type: Some(wanted.instance_type.clone()),
        ..OfferQuery::default()
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), provider.offers(&query)).await;
    let offers = asked.ok()?.ok()?;
    offers.into_iter().find(|o| o.pool() == wanted.pool()).and_then(|o| o.price_usd_per_hour)
}

/// The request, a pure function of the row, the keys on disk and the realm.
async fn request(
    scene: &Scene,
    epoch: Epoch,
    flight: &InFlight,
) -> Result<LaunchRequest, ProviderError> {
    let facts = &scene.doc.facts;
    let local = |e: crate::Error| {
        ProviderError::new(Fault::Transient, Scope::Request, "launch", "local")
            .message(e.to_string())
    };
    let keys = JobKeys::of(&scene.inner.home, &facts.id);
    let login = keys.login().map_err(local)?;
    let host = keys.first_host(&flight.token).map_err(local)?;
    // Made before the machine exists, so that a restart finds the same pins.
    keys.rotated_host(&flight.token).map_err(local)?;
    let account = scene.inner.account(&facts.realm).await.map_err(local)?;
    let expires_at = Timestamp::from_millis(facts.expires_at.millis() / 1000 * 1000);
    Ok(LaunchRequest {
        token: flight.token.clone(),
        owner: OwnerTag { fleet: facts.fleet.clone() },
        job: facts.id.clone(),
        epoch,
        node: 0,
        market: flight.place.offer.market,
        candidates: vec![Candidate {
            offer: flight.place.offer.clone(),
            limit_usd_per_hour: flight.place.limit_usd_per_hour,
        }],
        expires_at,
        boot: Boot {
            login_key: login.public_line,
            host_key: host.private_pem,
            orphan_minutes: ORPHAN_MINUTES,
        },
        image: None,
        disk_gib: facts.disk_gib,
        labels: scene.doc.task.resources.labels.clone(),
        ports: scene.doc.task.resources.ports.clone(),
        admit_from: crate::address::admit_from(&account.realm).await,
    })
}
