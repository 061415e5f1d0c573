//! From a task to a ranked plan: what is asked, the clouds' answers, the ranking, the sentences.
//!
//! Invariant: one slow or failing cloud never blocks the others; what did not answer is named, and
//! offers are cached only for looking, never for buying.

use crate::api::{
    Account, AccountLine, CheckView, PlanView, ProviderTrouble, RankedOffer, RejectedOffer,
};
use crate::clock::wall;
use crate::error::Result;
use crate::home::{Home, write_private};
use fleet_lifecycle::PlannedPlace;
use fleet_optimizer::{Ask, AvoidList, Overheads, Ranking, hazard_of, rank};
use fleet_provider::{Identity, Provider, ProviderError};
use fleet_spec::Task;
use fleet_types::{
    Fallback, Fault, MachineClass, Market, Offer, OfferQuery, ProviderId, Timestamp, Trust, Usd,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The least reliability of a marketplace host where the task does not say.
const DEFAULT_RELIABILITY: f64 = 0.90;
/// Disk where the task does not say, in GiB.
const DEFAULT_DISK: u32 = 50;
/// How long one cloud may take to name its offers.
const OFFERS_LIMIT: f64 = 20.0;

/// How long a job may live where the task does not say.
pub(crate) fn max_duration(task: &Task) -> Duration {
    let day = Duration::from_secs(24 * 3600);
    let work = task.work.as_ref().map(|w| w.amount * 2).unwrap_or_default();
    task.max_duration.or(task.spot.deadline).unwrap_or_else(|| day.max(work))
}

/// Disk of the machine in GiB.
pub(crate) fn disk_gib(task: &Task) -> u32 {
    task.resources.disk_gib.unwrap_or(DEFAULT_DISK)
}

/// Which market the task wants first.
pub(crate) fn market(task: &Task) -> Market {
    let spot = task.resources.alternatives.iter().any(|a| a.use_spot == Some(true));
    if spot { Market::Spot } else { Market::OnDemand }
}

/// What the task asks of the clouds.
pub(crate) fn ask(task: &Task) -> Ask {
    let markets = match (market(task), task.spot.fallback) {
        (Market::OnDemand, _) => vec![Market::OnDemand],
        (Market::Spot, Fallback::OnDemand) => vec![Market::Spot, Market::OnDemand],
        (Market::Spot, Fallback::Wait | Fallback::None) => vec![Market::Spot],
    };
    let mut filter = task.spot.filter.clone();
    filter.max_price_usd_per_hour =
        filter.max_price_usd_per_hour.or(task.spot.max_price_usd_per_hour);
    filter.min_reliability = filter.min_reliability.or(Some(DEFAULT_RELIABILITY));
    if task.secrets.values().any(|s| !s.allow_untrusted) {
        filter.min_trust = filter.min_trust.max(Some(Trust::Semi));
    }
    let queries: Vec<OfferQuery> = task
        .resources
        .alternatives
        .iter()
        .map(|a| OfferQuery {
            accelerators: a.accelerator.iter().cloned().collect(),
            markets: markets.clone(),
            places: a.places.clone(),
            instance_type: a.instance_type.clone(),
            vcpus: a.cpus,
            memory_gib: a.memory_gib,
            disk_gib: disk_gib(task),
            filter: filter.clone(),
        })
        .collect();
    let ordered = task.resources.ordered;
    let queries = if ordered { queries } else { joined(queries) };
    Ask { queries, ordered, markets, disk_gib: disk_gib(task) }
}

/// Alternatives that differ in their GPUs alone are one question to a cloud: calls are few a minute.
fn joined(queries: Vec<OfferQuery>) -> Vec<OfferQuery> {
    let mut out: Vec<OfferQuery> = Vec::new();
    for query in queries {
        let same = |q: &&mut OfferQuery| {
            let gpus = !q.accelerators.is_empty() && !query.accelerators.is_empty();
            let rest = OfferQuery { accelerators: q.accelerators.clone(), ..query.clone() };
            gpus && **q == rest
        };
        match out.iter_mut().find(same) {
            Some(earlier) => earlier.accelerators.extend(query.accelerators),
            None => out.push(query),
        }
    }
    out
}

/// What interruptions cost this task.
pub(crate) fn overheads(task: &Task) -> Overheads {
    let default = Overheads::default();
    Overheads {
        checkpoint_interval: task.checkpoint.interval.unwrap_or(default.checkpoint_interval),
        ..default
    }
}

/// What a bid carries above the least that would be taken, so that the next bidder does not win at once.
const BID_MARGIN: f64 = 1.05;

/// Marketplaces bill what was bid: from here on the price of such an offer is our bid.
fn with_bid(mut offer: Offer) -> Offer {
    if offer.market == Market::Spot && offer.class == MachineClass::Container {
        offer.price_usd_per_hour = offer.price_usd_per_hour.map(|p| p.scale(BID_MARGIN));
    }
    offer
}

/// The most that may be paid at an offer: on marketplaces the bid itself; clouds bill their own price,
/// so the cap is the on-demand price.
fn limit(offer: &Offer, max: Option<Usd>) -> Usd {
    let price = offer.price_usd_per_hour.unwrap_or_default();
    let cap = match (offer.market, offer.class) {
        (Market::Spot, MachineClass::Container) => price,
        (Market::Spot, MachineClass::Vm) => {
            offer.on_demand_usd_per_hour.unwrap_or_else(|| price.scale(2.0)).max(price.scale(1.1))
        }
        (Market::OnDemand, _) => price.scale(1.05),
    };
    max.map_or(cap, |m| cap.min(m))
}

/// The ranking as places to walk.
pub(crate) fn places(ranking: &Ranking, task: &Task) -> Vec<PlannedPlace> {
    let max = task.spot.max_price_usd_per_hour;
    ranking
        .candidates
        .iter()
        .map(|r| PlannedPlace {
            offer: r.offer.clone(),
            effective_usd_per_hour: r.effective_usd_per_hour,
            limit_usd_per_hour: limit(&r.offer, max),
        })
        .collect()
}

/// Offers of every cloud, and what did not answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pub offers: Vec<Offer>,
    pub troubles: Vec<ProviderTrouble>,
}

/// Asks one driver, within the time limit.
async fn ask_driver(
    driver: &dyn Provider,
    ask: &Ask,
) -> std::result::Result<Vec<Offer>, ProviderError> {
    let mut all: Vec<Offer> = Vec::new();
    for query in &ask.queries {
        let answer =
            tokio::time::timeout(Duration::from_secs_f64(OFFERS_LIMIT), driver.offers(query));
        let offers = answer
            .await
            .unwrap_or_else(|_| Err(ProviderError::transient("offers", "no answer within 20 s")))?;
        for offer in offers {
            if !all.iter().any(|o| o.key == offer.key && o.pool() == offer.pool()) {
                all.push(offer);
            }
        }
    }
    Ok(all)
}

/// Whether any alternative lets this cloud play.
fn wanted(ask: &Ask, provider: ProviderId) -> bool {
    ask.queries.iter().any(|q| {
        q.places.is_empty() || q.places.iter().any(|p| p.provider.is_none_or(|x| x == provider))
    })
}

/// Words for a cloud that could not be asked.
pub(crate) fn trouble(provider: ProviderId, error: &ProviderError) -> ProviderTrouble {
    let credentials = error.fault == Fault::Auth;
    ProviderTrouble {
        provider,
        message: error.to_string(),
        hint: credentials.then(|| format!("`fleet check {provider}` says what is missing")),
        credentials,
    }
}

/// Asks every driver that `connect` yields, all at once.
pub(crate) async fn gather<F, Fut>(ask: &Ask, connect: F) -> Gathered
where
    F: Fn(ProviderId) -> Fut,
    Fut: Future<Output = std::result::Result<Arc<dyn Provider>, ProviderError>>,
{
    let asked = fleet_providers::drivers().iter().copied().filter(|p| wanted(ask, *p)).map(|id| {
        let driver = connect(id);
        async move {
            let answer = match driver.await {
                Ok(driver) => ask_driver(&*driver, ask).await,
                Err(e) => Err(e),
            };
            (id, answer)
        }
    });
    let mut out = Gathered::default();
    for (id, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(offers) => out.offers.extend(offers.into_iter().map(with_bid)),
            Err(e) => out.troubles.push(trouble(id, &e)),
        }
    }
    out
}

#[derive(Serialize, Deserialize)]
struct Cached {
    at: Timestamp,
    offers: Vec<Offer>,
}

/// Offers for looking: from the cache where it is young enough.
async fn gather_cached(home: &Home, account: &Account, ask: &Ask, refresh: bool) -> Gathered {
    let key = serde_json::to_vec(&(&ask.queries, account.realm.id())).unwrap_or_default();
    let digest = hex::encode(&Sha256::digest(key)[..8]);
    let path = home.cache_dir().join(format!("offers-{digest}.json"));
    let lifetime = account.realm.time_scale.secs(300.0).min(Duration::from_secs(300));
    if !refresh {
        let cached =
            std::fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Cached>(&b).ok());
        if let Some(cached) = cached.filter(|c| wall().since(c.at) < lifetime && c.at <= wall()) {
            return Gathered { offers: cached.offers, troubles: Vec::new() };
        }
    }
    let out = gather(ask, |id| connect(account.clone(), id)).await;
    if out.troubles.is_empty() {
        let doc = Cached { at: wall(), offers: out.offers.clone() };
        let written = serde_json::to_vec(&doc).map_err(std::io::Error::other);
        if let Err(e) = written.and_then(|bytes| write_private(&path, &bytes)) {
            tracing::debug!("offers are not cached: {e}");
        }
    }
    out
}

async fn connect(
    account: Account,
    id: ProviderId,
) -> std::result::Result<Arc<dyn Provider>, ProviderError> {
    let mut environment = account.realm.accounts.clone();
    environment.extend(account.environment);
    fleet_providers::connect(id, &account.realm, &environment, 0).await
}

/// A driver for an account, outside a server.
pub(crate) async fn driver(
    account: &Account,
    id: ProviderId,
) -> std::result::Result<Arc<dyn Provider>, ProviderError> {
    connect(account.clone(), id).await
}

/// Every offer that matches or is rejected, ranked.
pub async fn offers(
    home: &Home,
    account: &Account,
    task: &Task,
    refresh: bool,
) -> Result<PlanView> {
    let ask = ask(task);
    let gathered = gather_cached(home, account, &ask, refresh).await;
    Ok(view(task, &ask, gathered))
}

/// The plan of a task: ranked places, who pays, and what a person should know before saying yes.
pub async fn plan(home: &Home, account: &Account, task: &Task, refresh: bool) -> Result<PlanView> {
    let mut out = offers(home, account, task, refresh).await?;
    let mut providers: Vec<_> = out.candidates.iter().map(|c| c.offer.place.provider).collect();
    providers.sort();
    providers.dedup();
    for id in providers {
        if let Ok(line) = identity_cached(home, account, id, refresh).await {
            let end = wall().plus(max_duration(task));
            if let Some(at) = line.expires_at.filter(|at| *at < end) {
                out.notes.insert(0, format!(
                    "{}'s credentials expire at {at}, before the task may end: from then on nothing can be recovered or ended there until you log in again",
                    id.title()
                ));
            }
            out.accounts.push(line);
        }
    }
    Ok(out)
}

/// Who pays at a cloud; remembered for an hour, for looking.
async fn identity_cached(
    home: &Home,
    account: &Account,
    id: ProviderId,
    refresh: bool,
) -> std::result::Result<AccountLine, ProviderError> {
    let path = home.cache_dir().join(format!("identity-{}-{id}.json", account.realm.id()));
    if !refresh {
        let cached = std::fs::read(&path).ok();
        let read = cached.and_then(|b| serde_json::from_slice::<(Timestamp, AccountLine)>(&b).ok());
        if let Some((at, line)) = read
            && wall().since(at) < Duration::from_secs(3600)
            && at <= wall()
        {
            return Ok(line);
        }
    }
    let line = account_line(id, &driver(account, id).await?.verify().await?);
    if let Ok(bytes) = serde_json::to_vec(&(wall(), &line))
        && let Err(e) = write_private(&path, &bytes)
    {
        tracing::debug!("who pays is not cached: {e}");
    }
    Ok(line)
}

fn account_line(provider: ProviderId, identity: &Identity) -> AccountLine {
    AccountLine {
        provider,
        account: identity.account.clone(),
        principal: identity.principal.clone(),
        source: identity.source.clone(),
        expires_at: identity.expires_at,
    }
}

fn view(task: &Task, ask: &Ask, gathered: Gathered) -> PlanView {
    let overheads = overheads(task);
    let ranking = rank(gathered.offers, ask, &AvoidList::default(), overheads, wall());
    let hours = task.work.as_ref().map(|w| w.amount.as_secs_f64() / 3600.0);
    let first = ranking.candidates.first().map(|c| c.effective_usd_per_hour);
    let candidates = ranking
        .candidates
        .into_iter()
        .map(|r| {
            let (_, source) = hazard_of(&r.offer);
            RankedOffer {
                why: source,
                effective_usd_per_hour: r.effective_usd_per_hour,
                hazard_used_per_hour: r.hazard_per_hour,
                offer: r.offer,
            }
        })
        .collect::<Vec<_>>();
    let notes = notes(task, &candidates);
    PlanView {
        expected_cost_usd: first.zip(hours).map(|(price, hours)| price.scale(hours)),
        expected_hours: hours,
        rejected: ranking
            .rejected
            .into_iter()
            .map(|r| RejectedOffer { offer: r.offer, reason: r.reason, kind: r.kind })
            .collect(),
        candidates,
        accounts: Vec::new(),
        troubles: gathered.troubles,
        notes,
        expires_in_seconds: max_duration(task).as_secs_f64(),
    }
}

/// Plain sentences to read before saying yes.
fn notes(task: &Task, candidates: &[RankedOffer]) -> Vec<String> {
    let mut out = Vec::new();
    if market(task) == Market::Spot {
        out.push(match task.spot.fallback {
            Fallback::OnDemand => {
                "when no spot is left: on-demand, within the price limit and budget".into()
            }
            Fallback::Wait => "when no spot is left: the job waits".to_owned(),
            Fallback::None => "when no spot is left: the job ends".to_owned(),
        });
    }
    let life = fleet_types::show_duration(max_duration(task));
    out.push(format!("the task ends at the latest {life} after it was accepted (max_duration)"));
    out.push("checkpoints travel over this machine's own line (up to 2 GiB each)".into());
    if task.spot.filter.min_reliability.is_none() {
        out.push(format!(
            "marketplace hosts below {:.0} % reliability are left out",
            DEFAULT_RELIABILITY * 100.0
        ));
    }
    if candidates.iter().any(|c| c.offer.trust < Trust::Trusted) {
        out.push("on marketplaces the host's owner can read what runs there; nothing there ends a machine at its expiry, `fleet reap --expired` does".into());
    }
    out
}

/// `fleet check`: every cloud at once, none blocks another.
pub async fn check(account: &Account, providers: &[ProviderId]) -> Vec<CheckView> {
    let asked = providers.iter().map(|id| async move {
        let limit = Duration::from_secs(10);
        let answer =
            tokio::time::timeout(limit, async { driver(account, *id).await?.verify().await });
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(ProviderError::transient("verify", "no answer within 10 s")));
        match answer {
            Ok(identity) => CheckView {
                provider: *id,
                usable: true,
                notes: identity.notes.clone(),
                quota: identity.quota.clone(),
                identity: Some(account_line(*id, &identity)),
                error: None,
                hint: None,
            },
            Err(e) => CheckView {
                provider: *id,
                usable: false,
                identity: None,
                notes: Vec::new(),
                quota: None,
                hint: (e.fault == Fault::Auth).then(|| credentials_hint(*id)),
                error: Some(e.to_string()),
            },
        }
    });
    futures_util::future::join_all(asked).await
}

fn credentials_hint(id: ProviderId) -> String {
    format!(
        "log in with {}'s own tool, or set its API key in the environment; `crates/fleet-provider-{id}/README.md` lists where credentials are looked for",
        id.title()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Accelerator, AcceleratorRequest};

    fn query(gpu: Option<&str>, kind: Option<&str>) -> OfferQuery {
        let named = |name| AcceleratorRequest::Named(Accelerator::new(name, 1));
        OfferQuery {
            accelerators: gpu.map(named).into_iter().collect(),
            instance_type: kind.map(str::to_owned),
            ..OfferQuery::default()
        }
    }

    #[test]
    fn alternatives_that_differ_in_their_gpus_alone_are_one_question() {
        let any = [query(Some("T4"), None), query(Some("L4"), None), query(Some("A10"), None)];
        let one = joined(any.to_vec());
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].accelerators.len(), 3);
        let apart = vec![
            query(Some("T4"), None),
            query(Some("T4"), Some("g4dn.xlarge")),
            query(None, None),
            OfferQuery { disk_gib: 9, ..query(Some("L4"), None) },
        ];
        assert_eq!(joined(apart.clone()), apart, "they ask for different things");
    }
}
