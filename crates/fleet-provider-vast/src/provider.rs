//! The trait on the marketplace: verify, offers, launch, describe, list, terminate.
//!
//! Invariants: a create looks for its own label first and adopts what it finds, because Vast knows no token;
//! if it cannot look, its outcome is unknown; a contract left by a refused create is destroyed before the
//! refusal is told, or the outcome is unknown; a listing that lost a page, a row or its way is incomplete.

mod request;

use crate::client::{VastClient, number};
use crate::config::{VastConfig, api_key};
use crate::fault::{self, call};
use crate::instance::{USER, instance};
use crate::offers::searches;
use crate::wire::InstanceRow;
use async_trait::async_trait;
use fleet_provider::{
    Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, OwnerTag, Provider,
    ProviderError, Result, Termination,
};
use fleet_provider_kit::mark::Mark;
use fleet_provider_kit::{Effect, wire};
use fleet_types::realm::is_loopback_url;
use fleet_types::{
    Fault, Instance, InstanceId, InstanceState, MachineClass, Offer, OfferQuery, Place, ProviderId,
    Scope,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pages that a listing may have before it has lost its way.
const PAGES: usize = 400;

/// Vast.ai.
#[derive(Debug)]
pub struct VastProvider {
    client: VastClient,
    /// Where the key was found.
    source: String,
    /// The API is on this machine, so its machines may be too.
    loopback: bool,
}

impl VastProvider {
    /// Finds the key and prepares the client. Sends nothing.
    ///
    /// Errors: Auth where no key is found, Rejected where the endpoint is no HTTP(S) URL.
    pub fn new(config: VastConfig) -> Result<Self> {
        let found = api_key(&config.environment)?;
        Ok(Self {
            client: VastClient::new(&config.endpoint, &found.secret, config.time_scale)?,
            source: found.source,
            loopback: is_loopback_url(&config.endpoint),
        })
    }

    /// Every contract of the account that fits the filter. An error if not even a page came.
    async fn contracts(&self, filter: Option<&Value>) -> Result<Contracts> {
        let mut all = Contracts::default();
        let mut after: Option<String> = None;
        for page in 0..PAGES {
            let body = match self.client.page(filter, after.as_deref()).await {
                Ok(body) => body,
                Err(error) if page == 0 => return Err(error),
                Err(error) => return Ok(all.with_gap(format!("page {}: {error}", page + 1))),
            };
            let rows = match wire::list(&body, "instances") {
                Ok(rows) => rows,
                Err(odd) if page == 0 => return Err(odd.into_error(call::LIST, Effect::Read)),
                Err(odd) => return Ok(all.with_gap(format!("page {}: {odd}", page + 1))),
            };
            all.take(rows);
            match wire::text(&body, "next_token") {
                None => return Ok(all),
                Some(next) if Some(&next) == after.as_ref() => {
                    return Ok(all.with_gap("the page token repeats".into()));
                }
                next => after = next,
            }
        }
        Ok(all.with_gap(format!("more than {PAGES} pages")))
    }

    /// The machine that this create made before, if it did.
    async fn adopted(&self, mark: &Mark) -> Result<Option<Instance>> {
        let label = mark.label();
        let filter = json!({"label": {"eq": label}});
        let found = self.contracts(Some(&filter)).await.map_err(|e| match e.fault {
            Fault::Auth | Fault::Throttled => e,
            _ => ProviderError::unknown(call::TAKE, format!("looking for an earlier create: {e}")),
        })?;
        let same = found.rows.iter().find(|r| {
            r.label.as_deref().and_then(Mark::parse).is_some_and(|m| m.token == mark.token)
        });
        match same {
            Some(row) => Ok(Some(instance(row, self.loopback))),
            None if found.gaps.is_empty() => Ok(None),
            None => Err(ProviderError::unknown(call::TAKE, found.gaps.join("; "))),
        }
    }

    /// Tells a refused create, after its leftover is destroyed.
    async fn refused(&self, refusal: ProviderError, leftover: Option<u64>) -> ProviderError {
        let Some(contract) = leftover else { return refusal };
        match self.client.destroy(contract).await {
            Ok(()) => {}
            Err(e) if e.fault == Fault::NotFound => {}
            Err(e) => {
                let why = format!("refused ({refusal}), but contract {contract} was left: {e}");
                return ProviderError::unknown(call::TAKE, why);
            }
        }
        // An answer outside the table is no longer unknown once its contract is destroyed.
        if refusal.maybe_applied {
            return ProviderError::new(Fault::Rejected, Scope::Offer, call::TAKE, &refusal.code)
                .message(refusal.text());
        }
        refusal
    }
}

/// Contracts read from pages, and what was missing.
#[derive(Debug, Default)]
struct Contracts {
    rows: Vec<InstanceRow>,
    ids: BTreeSet<String>,
    gaps: Vec<String>,
}

impl Contracts {
    fn take(&mut self, rows: &[Value]) {
        for row in rows {
            match InstanceRow::read(row) {
                Ok(row) if self.ids.insert(row.id.clone()) => self.rows.push(row),
                Ok(row) => self.gaps.push(format!("two rows with the id {}", row.id)),
                Err(odd) => self.gaps.push(format!("a row was unreadable: {odd}")),
            }
        }
    }
    fn with_gap(mut self, gap: String) -> Self {
        self.gaps.push(gap);
        self
    }
}

#[async_trait]
impl Provider for VastProvider {
    fn id(&self) -> ProviderId {
        ProviderId::Vast
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
            native_timer: false,
            expiry_note: "Vast has no timer of its own: `fleet reap --expired` ends what is overdue",
        }
    }

    async fn verify(&self) -> Result<Identity> {
        let user = self.client.user().await?;
        let account = wire::needed_text(&user, "id")
            .map_err(|odd| odd.into_error(call::USER, Effect::Read))?;
        let principal = ["username", "email", "key_id"].iter().find_map(|f| wire::text(&user, f));
        let credit = wire::number(&user, "credit").or_else(|| wire::number(&user, "balance"));
        let notes = credit.filter(|c| *c <= 0.0).map(|c| {
            format!("the account's credit is ${c:.2}; add some at https://cloud.vast.ai/billing/")
        });
        Ok(Identity {
            account,
            principal: principal.unwrap_or_default(),
            source: self.source.clone(),
            expires_at: None,
            notes: notes.into_iter().collect(),
            quota: Some(match credit {
                Some(credit) => {
                    format!("a credit of ${credit:.2}; Vast stops machines when it is used up")
                }
                None => "the account's credit, which Vast's answer does not name".into(),
            }),
        })
    }

    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        let mut seen = BTreeSet::new();
        let (mut offers, mut answered, mut failure) = (Vec::new(), false, None);
        for search in searches(query) {
            let rows = self.client.search(search.body.clone()).await.and_then(|body| {
                let rows = wire::list(&body, "offers").map(<[Value]>::to_vec);
                rows.map_err(|odd| odd.into_error(call::SEARCH, Effect::Read))
            });
            match rows {
                Ok(rows) => {
                    answered = true;
                    let (found, odd) = search.offers(query, &rows);
                    if odd > 0 {
                        tracing::warn!(odd, "offers of Vast were unreadable and left out");
                    }
                    let fresh = |o: &Offer| seen.insert((o.key.clone(), o.market));
                    offers.extend(found.into_iter().filter(fresh));
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            Some(error) => {
                tracing::warn!(%error, "a search of Vast failed; the others answered");
                Ok(offers)
            }
            None => Ok(offers),
        }
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        let order = request::order(request)?;
        let mark = Mark::of(request);
        if let Some(instance) = self.adopted(&mark).await? {
            return Ok(instance);
        }
        let reply = self.client.take(order.ask, order.body).await?;
        let answer = reply.parsed().unwrap_or(Value::Null);
        let contract = wire::count(&answer, "new_contract");
        if !reply.success() || wire::flag(&answer, "success") == Some(false) {
            return Err(self.refused(fault::classify(&reply), contract).await);
        }
        let Some(contract) = contract else {
            return Err(reply.unreadable(format!("no `new_contract` in: {}", reply.excerpt())));
        };
        let offer = &order.candidate.offer;
        Ok(Instance {
            id: InstanceId::new(contract.to_string()),
            place: offer.place.clone(),
            instance_type: offer.instance_type.clone(),
            market: request.market,
            state: InstanceState::Pending,
            address: None,
            user: USER.to_owned(),
            token: Some(mark.token),
            fleet: Some(mark.fleet.to_string()),
            job: None,
            expires_at: Some(mark.expires_at),
            price_usd_per_hour: None,
            launched_at: None,
            ended_at: None,
        })
    }

    async fn describe(&self, id: &InstanceId, _place: &Place) -> Result<Instance> {
        let wanted = number(id.as_str(), call::SHOW)?;
        let body = self.client.show(wanted).await?;
        let row = body.get("instances").filter(|row| !row.is_null());
        if let Some(row) = row {
            let row = InstanceRow::read(row).map_err(|o| o.into_error(call::SHOW, Effect::Read))?;
            if row.id == id.as_str() {
                return Ok(instance(&row, self.loopback));
            }
            return Err(Effect::Read.unreadable(call::SHOW, "the answer is about another instance"));
        }
        // `null` is how Vast answers for an id it does not know, and also how a broken answer looks.
        let filter = json!({"id": {"eq": wanted}});
        let found = self.contracts(Some(&filter)).await?;
        match found.rows.iter().find(|row| row.id == id.as_str()) {
            Some(row) => Ok(instance(row, self.loopback)),
            None if found.gaps.is_empty() => Err(ProviderError::new(
                Fault::NotFound,
                Scope::Request,
                call::SHOW,
                "no_such_instance",
            )),
            None => Err(Effect::Read.unreadable(call::SHOW, found.gaps.join("; "))),
        }
    }

    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        let all = self.contracts(None).await?;
        let ours = all.rows.iter().map(|row| instance(row, self.loopback));
        let ours = ours.filter(|i| i.fleet.as_deref() == Some(owner.fleet.as_str()));
        Ok(Listing { instances: ours.collect(), complete: all.gaps.is_empty(), gaps: all.gaps })
    }

    async fn terminate(&self, id: &InstanceId, _place: &Place) -> Result<Termination> {
        match self.client.destroy(number(id.as_str(), call::DESTROY)?).await {
            Ok(()) => Ok(Termination::Requested),
            Err(e) if e.fault == Fault::NotFound => Ok(Termination::NotFound),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
