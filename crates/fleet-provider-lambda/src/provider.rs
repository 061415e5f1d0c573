//! The trait on Lambda: verify, offers, launch, describe, list, terminate, and its one key.
//!
//! Invariants: a create looks for its own tags first and adopts what it finds, because Lambda knows no token;
//! if it cannot look, its outcome is unknown; price and capacity are read again before it leaves; a listing
//! with a row that cannot be read is incomplete.

mod auxiliary;
mod request;

use crate::client::{LambdaClient, checked};
use crate::config::{LambdaConfig, api_key};
use crate::fault::{self, call};
use crate::instance::instance;
use crate::offers::{answerable, offers};
use crate::wire::{InstanceRow, TypeRow};
use async_trait::async_trait;
use fleet_provider::{
    Auxiliary, Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, OwnerTag,
    Provider, ProviderError, Result, Termination,
};
use fleet_provider_kit::{Effect, wire};
use fleet_types::realm::is_loopback_url;
use fleet_types::{
    Fault, Instance, InstanceId, InstanceState, MachineClass, Offer, OfferQuery, Place, ProviderId,
    Scope, Timestamp,
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// Lambda's on-demand cloud.
#[derive(Debug)]
pub struct LambdaProvider {
    client: LambdaClient,
    /// Where the key was found.
    source: String,
    /// The part of the key that its owner gave it as a name; never the secret.
    key_name: String,
    /// The API is on this machine, so its machines may be too.
    loopback: bool,
}

impl LambdaProvider {
    /// Finds the key and prepares the client. Sends nothing.
    ///
    /// Errors: Auth where no key is found, Rejected where the endpoint is no HTTP(S) URL.
    pub fn new(config: LambdaConfig) -> Result<Self> {
        let found = api_key(&config.environment)?;
        Ok(Self {
            client: LambdaClient::new(&config.endpoint, &found.secret, config.time_scale)?,
            source: found.source,
            key_name: key_name(found.secret.expose_secret()),
            loopback: is_loopback_url(&config.endpoint),
        })
    }

    /// Every instance of the account, and what could not be read.
    async fn rows(&self) -> Result<(Vec<InstanceRow>, Vec<String>)> {
        let data = self.client.instances().await?;
        let Value::Array(items) = data else {
            return Err(Effect::Read.unreadable(call::LIST, "`data` is no list"));
        };
        let (mut rows, mut gaps, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
        for item in &items {
            match InstanceRow::read(item) {
                Ok(row) if ids.insert(row.id.clone()) => rows.push(row),
                Ok(row) => gaps.push(format!("two rows with the id {}", row.id)),
                Err(odd) => gaps.push(format!("a row was unreadable: {odd}")),
            }
        }
        Ok((rows, gaps))
    }

    /// The machine that this create made before, if it did.
    async fn adopted(&self, request: &LaunchRequest) -> Result<Option<Instance>> {
        let (rows, gaps) = self.rows().await.map_err(|e| match e.fault {
            Fault::Auth | Fault::Throttled => e,
            _ => {
                ProviderError::unknown(call::LAUNCH, format!("looking for an earlier create: {e}"))
            }
        })?;
        let same = rows
            .iter()
            .map(|row| instance(row, self.loopback))
            .find(|i| i.token.as_ref() == Some(&request.token));
        match same {
            Some(made) => Ok(Some(made)),
            None if gaps.is_empty() => Ok(None),
            None => Err(ProviderError::unknown(call::LAUNCH, gaps.join("; "))),
        }
    }

    /// The type as it is sold now, or why it cannot be bought.
    async fn fresh(&self, offer: &Offer, limit: fleet_types::Usd) -> Result<TypeRow> {
        let refuse = |fault, scope, code: &str, why: String| {
            Err(ProviderError::new(fault, scope, call::LAUNCH, code).message(why))
        };
        let (name, region) = (&offer.instance_type, &offer.place.region);
        let types = self.client.instance_types().await?;
        let Some(entry) = types.get(name) else {
            let why = format!("Lambda sells no `{name}`");
            return refuse(Fault::Rejected, Scope::Offer, "no-such-type", why);
        };
        let row = TypeRow::read(name, entry);
        if row.price.is_none_or(|p| p > limit) {
            let price = row.price.map_or("unknown".to_owned(), |p| p.to_string());
            let why = format!("{name} is {price} an hour, and the limit is {limit}");
            return refuse(Fault::Price, Scope::Offer, "over-limit", why);
        }
        if row.regions.as_ref().is_some_and(|r| !r.contains(region)) {
            let why = format!("Lambda names no capacity for {name} in {region}");
            return refuse(Fault::Capacity, Scope::Zone, "no-capacity-named", why);
        }
        Ok(row)
    }
}

/// `secret_NAME_hex.random` is how Lambda writes its keys.
fn key_name(key: &str) -> String {
    let named = key.strip_prefix("secret_").and_then(|rest| rest.rsplit_once('_'));
    named.map_or_else(String::new, |(name, _)| name.to_owned())
}

/// Now, in milliseconds since 1970.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[async_trait]
impl Provider for LambdaProvider {
    fn id(&self) -> ProviderId {
        ProviderId::Lambda
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: false,
            on_demand: true,
            notice: NoticeSource::None,
            warning: Duration::ZERO,
            idempotency: Idempotency::UniqueName,
            visibility: Duration::from_secs(300),
            tags: true,
            ends_itself: false,
            native_timer: false,
            expiry_note: "Lambda has no timer, and a machine that shuts itself down bills on: \
                          `fleet reap --expired` ends what is overdue",
        }
    }

    async fn verify(&self) -> Result<Identity> {
        self.client.ssh_keys().await?;
        Ok(Identity {
            account: "the one of this key (Lambda does not name it)".into(),
            principal: self.key_name.clone(),
            source: self.source.clone(),
            expires_at: None,
            notes: Vec::new(),
            quota: Some(
                "Lambda's API does not tell it; a launch beyond it is refused, and support raises it"
                    .into(),
            ),
        })
    }

    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        if !answerable(query) {
            return Ok(Vec::new());
        }
        let types = self.client.instance_types().await?;
        if !types.is_object() {
            return Err(Effect::Read.unreadable(call::TYPES, "`data` is no object of types"));
        }
        let regions = match self.client.regions().await {
            Ok(data) => data.as_array().cloned().unwrap_or_default(),
            // Without them the regions that have capacity are still known.
            Err(error) if error.fault != Fault::Auth => {
                tracing::warn!(%error, "Lambda did not name its regions");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let regions: Vec<String> = regions.iter().filter_map(|r| wire::text(r, "name")).collect();
        Ok(offers(query, &types, &regions))
    }

    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        let candidate = request::candidate(request)?;
        if let Some(made) = self.adopted(request).await? {
            return Ok(made);
        }
        let offer = &candidate.offer;
        let row = self.fresh(offer, candidate.limit_usd_per_hour).await?;
        let key = self.ensure_key(&request.owner).await?;
        let sent = now();
        let reply = self.client.launch(request::body(request, offer, &key, sent)?).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        let answer = reply.json()?;
        let ids = answer.get("data").map(|d| wire::list(d, "instance_ids"));
        let Some(Ok([Value::String(id)])) = ids else {
            return Err(reply.unreadable(format!("not one instance id in: {}", reply.excerpt())));
        };
        Ok(Instance {
            id: InstanceId::new(checked(id, call::LAUNCH).map_err(|e| reply.unreadable(e.text()))?),
            place: offer.place.clone(),
            instance_type: offer.instance_type.clone(),
            market: request.market,
            state: InstanceState::Pending,
            address: None,
            user: crate::instance::USER.to_owned(),
            token: Some(request.token.clone()),
            fleet: Some(request.owner.fleet.to_string()),
            job: Some(request.job.to_string()),
            expires_at: Some(request.expires_at),
            price_usd_per_hour: row.price,
            launched_at: Some(sent),
            ended_at: None,
        })
    }

    async fn describe(&self, id: &InstanceId, _place: &Place) -> Result<Instance> {
        let data = self.client.instance(checked(id.as_str(), call::SHOW)?).await?;
        let row = InstanceRow::read(&data).map_err(|o| o.into_error(call::SHOW, Effect::Read))?;
        if row.id == id.as_str() {
            return Ok(instance(&row, self.loopback));
        }
        Err(Effect::Read.unreadable(call::SHOW, "the answer is about another instance"))
    }

    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        let (rows, gaps) = self.rows().await?;
        let ours = rows.iter().map(|row| instance(row, self.loopback));
        let ours = ours.filter(|i| i.fleet.as_deref() == Some(owner.fleet.as_str()));
        Ok(Listing { instances: ours.collect(), complete: gaps.is_empty(), gaps })
    }

    async fn terminate(&self, id: &InstanceId, _place: &Place) -> Result<Termination> {
        let data = match self.client.terminate(checked(id.as_str(), call::TERMINATE)?).await {
            Ok(data) => data,
            Err(e) if e.fault == Fault::NotFound => return Ok(Termination::NotFound),
            Err(e) => return Err(e),
        };
        let odd = |why: &str| Effect::Change.unreadable(call::TERMINATE, why);
        let ended = wire::list(&data, "terminated_instances").map_err(|o| odd(&o.to_string()))?;
        let same = ended.iter().find(|i| wire::text(i, "id").as_deref() == Some(id.as_str()));
        match same.and_then(|i| wire::text(i, "status")).as_deref() {
            Some("terminated") => Ok(Termination::Gone),
            Some(_) => Ok(Termination::Requested),
            None => Err(odd("the answer does not speak of this instance")),
        }
    }

    fn auxiliary(&self) -> Option<&dyn Auxiliary> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
