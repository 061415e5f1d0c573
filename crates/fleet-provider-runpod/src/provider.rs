//! The trait on RunPod: verify, offers, launch, describe, list, terminate.
//!
//! Invariants: a create looks for its own name first and adopts what it finds, because RunPod knows no token; if
//! it cannot look, its outcome is unknown; a pod that is not what was asked is terminated before the refusal is
//! told, or the outcome is unknown; a listing with a row that cannot be read is incomplete; what happens to the
//! spot API touches spot alone.

mod request;

use crate::client::{RestClient, checked};
use crate::config::{RunpodConfig, api_key};
use crate::fault::{self, call, is_unsupported};
use crate::graphql::{Asked, GraphqlClient, Myself};
use crate::instance::{USER, instance};
use crate::offers::{self, Catalogue, clouds, counts, wants};
use crate::wire::{Cloud, DataCenterRow, GpuRow, PodRow, SpotRow, Stock};
use async_trait::async_trait;
use fleet_provider::{
    Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, OwnerTag, Provider,
    ProviderError, Result, Termination,
};
use fleet_provider_kit::Effect;
use fleet_provider_kit::mark::Mark;
use fleet_types::realm::is_loopback_url;
use fleet_types::{
    Fault, Instance, InstanceId, InstanceState, MachineClass, Market, Offer, OfferQuery, Place,
    ProviderId, Scope, Usd,
};
use request::Order;
use std::collections::BTreeSet;
use std::time::Duration;

/// RunPod.
#[derive(Debug)]
pub struct RunpodProvider {
    rest: RestClient,
    graphql: GraphqlClient,
    /// Where the key was found.
    source: String,
    /// The API is on this machine, so its machines may be too.
    loopback: bool,
}

/// A pod that a create made, as its answer tells of it.
struct Made {
    id: String,
    price: Option<Usd>,
    data_center: Option<String>,
}

impl RunpodProvider {
    /// Finds the key and prepares the clients. Sends nothing.
    ///
    /// Errors: Auth where no key is found, Rejected where an endpoint is no HTTP(S) URL.
    pub fn new(config: &RunpodConfig) -> Result<Self> {
        let found = api_key(&config.environment)?;
        Ok(Self {
            rest: RestClient::new(config.rest(), &found.secret)?,
            graphql: GraphqlClient::new(config.graphql(), &found.secret)?,
            source: found.source,
            loopback: is_loopback_url(&config.rest()),
        })
    }

    /// Every pod of the account, and what could not be read.
    async fn rows(&self) -> Result<(Vec<PodRow>, Vec<String>)> {
        let (mut rows, mut gaps, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
        for item in &self.rest.pods().await? {
            match PodRow::read(item) {
                Ok(row) if ids.insert(row.id.clone()) => rows.push(row),
                Ok(row) => gaps.push(format!("two rows with the id {}", row.id)),
                Err(odd) => gaps.push(format!("a row was unreadable: {odd}")),
            }
        }
        Ok((rows, gaps))
    }

    /// The machine that this create made before, if it did.
    async fn adopted(&self, mark: &Mark) -> Result<Option<Instance>> {
        let blind = |why: String| ProviderError::unknown(call::CREATE, why);
        let (rows, gaps) = self.rows().await.map_err(|e| match e.fault {
            Fault::Auth | Fault::Throttled => e,
            _ => blind(format!("looking for an earlier create: {e}")),
        })?;
        let found = rows.iter().map(|row| instance(row, self.loopback));
        match found.into_iter().find(|i| i.token.as_ref() == Some(&mark.token)) {
            Some(same) => Ok(Some(same)),
            None if gaps.is_empty() => Ok(None),
            None => Err(blind(gaps.join("; "))),
        }
    }

    /// The offers of one cloud for one number of GPUs.
    async fn question(
        &self,
        query: &OfferQuery,
        cloud: Cloud,
        count: u32,
        data_centers: &[DataCenterRow],
    ) -> Result<Vec<Offer>> {
        let rows = self.rest.gpus(count, cloud.word(), request::MIN_CUDA).await?;
        let read =
            |row| GpuRow::read(row, count, cloud).map_err(|odd| tracing::warn!(%odd, "a GPU type"));
        let gpus = rows.iter().filter_map(|row| read(row).ok().flatten()).collect();
        let bids = Vec::new();
        let mut catalogue = Catalogue { query, cloud, count, gpus, data_centers, bids };
        // Numbers of processors and memory are told with the bids alone.
        let bounded = query.vcpus.is_some() || query.memory_gib.is_some();
        if cloud == Cloud::Secure && (bounded || wants(query, Market::Spot)) {
            catalogue.bids = match self.bids(&catalogue).await {
                Ok(bids) => bids,
                Err(error) if is_unsupported(&error) => {
                    tracing::debug!(%error, "RunPod offers no spot");
                    Vec::new()
                }
                Err(error) if wants(query, Market::OnDemand) => {
                    tracing::warn!(%error, "RunPod did not tell its bids; on-demand is offered");
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
        }
        Ok(catalogue.offers())
    }

    /// Bids for all that the catalogue has of what was asked.
    async fn bids(&self, catalogue: &Catalogue<'_>) -> Result<Vec<SpotRow>> {
        let gpus: Vec<&str> = catalogue.wanted().map(|row| row.id.as_str()).collect();
        let data_centers: Vec<&str> = catalogue.places().into_iter().collect();
        if gpus.is_empty() || data_centers.is_empty() {
            return Ok(Vec::new());
        }
        let secure = catalogue.cloud == Cloud::Secure;
        let asked = Asked { gpus, count: catalogue.count, secure, data_centers };
        Ok(self.graphql.bids(&asked).await?.rows)
    }

    /// Whether the bid can still win: money, minimum and stock, read just before it is sent.
    async fn biddable(&self, order: &Order<'_>) -> Result<()> {
        let asked = Asked {
            gpus: vec![&order.gpu],
            count: order.count,
            secure: order.cloud == Cloud::Secure,
            data_centers: vec![&order.offer().place.zone],
        };
        let now = self.graphql.bids(&asked).await?;
        let limit = order.candidate.limit_usd_per_hour;
        let refuse = |fault, scope, code: &str, why: String| {
            Err(ProviderError::new(fault, scope, call::RENT, code).message(why))
        };
        if now.under_balance == Some(true) {
            let why =
                "the account's balance is used up; see https://console.runpod.io/user/billing";
            return refuse(Fault::Quota, Scope::Provider, "under-balance", why.into());
        }
        let row = now.rows.iter().find(|row| row.gpu == order.gpu);
        match row.map(|row| (row.least, row.stock)) {
            Some((Some(least), _)) if least > limit => {
                let why = format!("the least bid is {least} an hour by now, and the limit {limit}");
                refuse(Fault::Price, Scope::Offer, "outbid", why)
            }
            Some((Some(_), Stock::Some | Stock::Unsaid)) => Ok(()),
            Some(_) | None => {
                let why = format!("no spot {} is left in {}", order.gpu, order.offer().place.zone);
                refuse(Fault::Capacity, Scope::Zone, "no-stock", why)
            }
        }
    }

    /// Sends the create.
    async fn create(&self, order: &Order<'_>) -> Result<Made> {
        if order.offer().market == Market::Spot {
            let rented = self.graphql.rent(order.spot()?).await?;
            return Ok(Made {
                id: rented.id,
                price: rented.price,
                data_center: rented.data_center,
            });
        }
        let reply = self.rest.create(order.on_demand()).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        let pod = PodRow::read(&reply.json()?).map_err(|odd| reply.unreadable(odd.to_string()))?;
        Ok(Made { id: pod.id, price: pod.price, data_center: pod.data_center })
    }

    /// Why a pod that was made is not the one that was asked for.
    fn flaw(order: &Order<'_>, made: &Made) -> Option<ProviderError> {
        let (zone, limit) = (&order.offer().place.zone, order.candidate.limit_usd_per_hour);
        if let Some(price) = made.price.filter(|price| *price > limit) {
            let why = format!("the pod costs {price} an hour, and the limit is {limit}");
            let error = ProviderError::new(Fault::Price, Scope::Offer, call::CREATE, "over-limit");
            return Some(error.message(why));
        }
        let elsewhere = made.data_center.as_ref().filter(|dc| *dc != zone && !zone.is_empty())?;
        let why = format!("RunPod placed the pod in {elsewhere} instead of {zone}");
        let error = ProviderError::new(Fault::Capacity, Scope::Zone, call::CREATE, "elsewhere");
        Some(error.message(why))
    }

    /// Tells a refusal, after the pod that it is about is terminated.
    async fn returned(&self, id: &str, refusal: ProviderError) -> ProviderError {
        match self.rest.delete(id).await {
            Ok(()) => refusal,
            Err(e) if e.fault == Fault::NotFound => refusal,
            Err(e) => {
                let why = format!("refused ({refusal}), but pod {id} was left: {e}");
                ProviderError::unknown(call::CREATE, why)
            }
        }
    }

    /// The identity where GraphQL does not tell it, with what that means for spot.
    async fn nameless(&self, error: &ProviderError) -> Result<Identity> {
        self.rest.knock().await?;
        let note = match is_unsupported(error) {
            true => format!("spot cannot be rented: {}", error.text()),
            false => "this key may not use GraphQL, so spot cannot be rented: give it \
                      `GraphQL: read and write` at https://console.runpod.io/user/settings"
                .to_owned(),
        };
        Ok(Identity {
            account: "the one of this key (REST does not name it)".into(),
            principal: String::new(),
            source: self.source.clone(),
            expires_at: None,
            notes: vec![note],
            quota: Some("RunPod's REST API does not tell the balance; its console does".into()),
        })
    }

    fn named(&self, me: Myself) -> Identity {
        let spent = me.balance.filter(|b| *b <= 0.0);
        let spent = spent.map(|b| {
            format!("the balance is ${b:.2}; add some at https://console.runpod.io/user/billing")
        });
        let balance = me
            .balance
            .map(|b| format!("a balance of ${b:.2}; RunPod stops pods when it is used up"));
        let limit = me.spend_limit.map(|l| format!("all pods together at most ${l:.2} an hour"));
        let quota: Vec<String> = balance.into_iter().chain(limit).collect();
        Identity {
            account: me.id,
            principal: me.email.unwrap_or_default(),
            source: self.source.clone(),
            expires_at: None,
            notes: spent.into_iter().collect(),
            quota: Some(match quota.is_empty() {
                true => "the account's balance, which RunPod's answer does not name".into(),
                false => quota.join("; "),
            }),
        }
    }
}

#[async_trait]
impl Provider for RunpodProvider {
    fn id(&self) -> ProviderId {
        ProviderId::Runpod
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Container,
            spot: true,
            on_demand: true,
            notice: NoticeSource::None,
            warning: Duration::ZERO,
            idempotency: Idempotency::UniqueName,
            visibility: Duration::from_secs(300),
            tags: false,
            ends_itself: false,
            // Of spot pods alone, and a promise must hold for every machine.
            native_timer: false,
            expiry_note: "RunPod ends spot pods at their expiry by itself; on-demand pods have no timer: \
                          `fleet reap --expired` ends what is overdue",
        }
    }

    async fn verify(&self) -> Result<Identity> {
        match self.graphql.myself().await {
            Ok(me) => Ok(self.named(me)),
            Err(e) if e.scope == Scope::RegionMarket => self.nameless(&e).await,
            Err(e) => Err(e),
        }
    }

    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        let counts = counts(query);
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let data_centers = match self.rest.data_centers().await {
            Ok(rows) => rows.iter().filter_map(|row| DataCenterRow::read(row).ok()).collect(),
            Err(error) if error.fault == Fault::Auth => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "RunPod did not name its data centres; those with stock are known");
                Vec::new()
            }
        };
        let (mut offers, mut answered, mut failure) = (Vec::new(), false, None);
        for cloud in clouds(query) {
            for count in &counts {
                match self.question(query, cloud, *count, &data_centers).await {
                    Ok(found) => {
                        answered = true;
                        offers.extend(found);
                    }
                    Err(error) => {
                        tracing::warn!(%error, cloud = cloud.word(), count, "a part of RunPod's offers");
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        match failure {
            Some(error) if !answered || offers.is_empty() => Err(error),
            _ => Ok(offers),
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        let order = request::order(request)?;
        if let Some(same) = self.adopted(&order.mark).await? {
            return Ok(same);
        }
        if request.market == Market::Spot {
            self.biddable(&order).await?;
        }
        let made = self.create(&order).await?;
        let id = checked(&made.id, call::CREATE);
        let id = id.map_err(|e| Effect::Create.unreadable(call::CREATE, e.text()))?;
        if let Some(refusal) = Self::flaw(&order, &made) {
            return Err(self.returned(id, refusal).await);
        }
        let offer = order.offer();
        let place = match made.data_center.as_deref() {
            Some(dc) => offers::place(Some(dc)),
            None => offer.place.clone(),
        };
        Ok(Instance {
            id: InstanceId::new(id),
            place,
            instance_type: offer.instance_type.clone(),
            market: request.market,
            state: InstanceState::Pending,
            address: None,
            user: USER.to_owned(),
            token: Some(order.mark.token.clone()),
            fleet: Some(order.mark.fleet.to_string()),
            job: None,
            expires_at: Some(order.mark.expires_at),
            price_usd_per_hour: made.price,
            launched_at: None,
            ended_at: None,
        })
    }

    async fn describe(&self, id: &InstanceId, _place: &Place) -> Result<Instance> {
        let body = self.rest.pod(checked(id.as_str(), call::SHOW)?).await?;
        let row = PodRow::read(&body).map_err(|o| o.into_error(call::SHOW, Effect::Read))?;
        if row.id == id.as_str() {
            return Ok(instance(&row, self.loopback));
        }
        Err(Effect::Read.unreadable(call::SHOW, "the answer is about another pod"))
    }

    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        let (rows, gaps) = self.rows().await?;
        let ours = rows.iter().map(|row| instance(row, self.loopback));
        let ours = ours.filter(|i| i.fleet.as_deref() == Some(owner.fleet.as_str()));
        Ok(Listing { instances: ours.collect(), complete: gaps.is_empty(), gaps })
    }

    async fn terminate(&self, id: &InstanceId, _place: &Place) -> Result<Termination> {
        match self.rest.delete(checked(id.as_str(), call::DELETE)?).await {
            Ok(()) => Ok(Termination::Requested),
            Err(e) if e.fault == Fault::NotFound => Ok(Termination::NotFound),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
