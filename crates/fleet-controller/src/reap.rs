//! `fleet reap`: find in every cloud what carries a fleet's mark, and end what nobody owns.
//!
//! Needs no database. Invariant 8: only an exact match of the fleet id is touched, and of those only what
//! is past its expiry or owned by no live job.

use crate::api::{Account, GapReason, ReapGap, ReapItem, ReapOptions, ReapReport, ReapVerdict};
use crate::clock;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::planning;
use async_trait::async_trait;
use fleet_provider::{Auxiliary, Leftover, OwnerTag, Provider, ProviderError, Termination};
use fleet_types::{
    Fault, FleetId, Instance, Offer, OfferQuery, PlacePattern, ProviderId, Timestamp, Token,
};
use std::time::Duration;

/// How long a cloud may take to say what machines cost.
const PRICES_LIMIT: Duration = Duration::from_secs(20);

/// Who may own a machine. Asked after the listing, so that a machine made in between has its owner.
#[async_trait]
pub(crate) trait Owners: Sync {
    /// Why the machine of this token is kept; `None` ends it.
    async fn holds(&self, token: &Token) -> Option<String>;
}

/// No database: nobody owns anything.
struct Nobody;

#[async_trait]
impl Owners for Nobody {
    async fn holds(&self, _: &Token) -> Option<String> {
        None
    }
}

/// Reaps with nothing but credentials: no job owns anything here.
pub async fn reap(home: &Home, account: &Account, options: &ReapOptions) -> Result<ReapReport> {
    let now = clock::of_command(home, &account.realm).await;
    run(home, account, options, &Nobody, now).await
}

/// Reaps what `owners` does not hold; what is past its expiry is so by `now`.
pub(crate) async fn run(
    home: &Home,
    account: &Account,
    options: &ReapOptions,
    owners: &dyn Owners,
    now: Timestamp,
) -> Result<ReapReport> {
    let fleet = match &options.fleet {
        None => home.fleet_id().clone(),
        Some(id) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            FleetId::new(id.to_ascii_lowercase())
        }
        Some(id) => {
            return Err(Error::Invalid(format!(
                "`{}` is no fleet id: it is the 32 hex digits of `fleet_id` in config.yaml",
                id.escape_debug()
            )));
        }
    };
    let owner = OwnerTag { fleet };
    let clouds = fleet_providers::drivers().iter().map(|id| {
        let owner = &owner;
        async move {
            let answer = match planning::driver(account, *id).await {
                Ok(driver) => one(&*driver, owner, options, owners, now).await,
                Err(e) => Err(e),
            };
            (*id, answer)
        }
    });
    report(futures_util::future::join_all(clouds).await)
}

/// What the clouds' answers say together; an error if not one of them knows us.
fn report(
    answers: Vec<(ProviderId, std::result::Result<ReapReport, ProviderError>)>,
) -> Result<ReapReport> {
    let mut out = ReapReport::default();
    let (clouds, mut refused) = (answers.len(), Vec::new());
    for (provider, answer) in answers {
        match answer {
            Ok(part) => {
                out.items.extend(part.items);
                out.gaps.extend(part.gaps);
            }
            Err(e) => {
                out.gaps.push(gap(provider, &e));
                if e.fault == Fault::Auth {
                    refused.push((provider, e));
                }
            }
        }
    }
    if refused.len() == clouds
        && let Some((provider, source)) = refused.pop()
    {
        return Err(Error::Provider { provider, source });
    }
    Ok(out)
}

fn gap(provider: ProviderId, error: &ProviderError) -> ReapGap {
    let reason = match error.fault {
        Fault::Auth if error.is_unconfigured() => GapReason::NoAccount,
        Fault::Auth => GapReason::Credentials,
        Fault::Capacity
        | Fault::Quota
        | Fault::Price
        | Fault::Throttled
        | Fault::Transient
        | Fault::Rejected
        | Fault::Conflict
        | Fault::NotFound
        | Fault::Unknown => GapReason::Unanswered,
    };
    ReapGap { provider, reason, message: error.to_string() }
}

async fn one(
    driver: &dyn Provider,
    owner: &OwnerTag,
    options: &ReapOptions,
    owners: &dyn Owners,
    now: Timestamp,
) -> std::result::Result<ReapReport, ProviderError> {
    let (listing, provider) = (driver.list(owner).await?, driver.id());
    let unanswered = |message| ReapGap { provider, reason: GapReason::Unanswered, message };
    let mut out =
        ReapReport { items: Vec::new(), gaps: listing.gaps.into_iter().map(unanswered).collect() };
    let mut kept = false;
    for instance in listing.instances {
        if instance.state.is_gone() || instance.fleet.as_deref() != Some(owner.fleet.as_str()) {
            continue;
        }
        let item = machine(driver, &instance, options, owners, now).await;
        kept |= matches!(item.verdict, ReapVerdict::Kept | ReapVerdict::Failed);
        out.items.push(item);
    }
    if options.dry_run {
        price(driver, &mut out.items).await;
    }
    if let (Some(auxiliary), false, false) = (driver.auxiliary(), kept, options.expired) {
        match auxiliary.leftovers(owner).await {
            Err(e) => out.gaps.push(gap(provider, &e)),
            Ok(leftovers) => {
                for leftover in leftovers {
                    out.items.push(remains(provider, auxiliary, leftover, options.dry_run).await);
                }
            }
        }
    }
    Ok(out)
}

/// One thing besides machines.
async fn remains(
    provider: ProviderId,
    auxiliary: &dyn Auxiliary,
    leftover: Leftover,
    dry_run: bool,
) -> ReapItem {
    let (verdict, action) = if dry_run {
        (ReapVerdict::WouldEnd, "would remove".to_owned())
    } else {
        match (auxiliary.remove(&leftover).await, leftover.price_usd_per_hour) {
            (Ok(()), _) => (ReapVerdict::Ended, "removed".to_owned()),
            (Err(e), Some(_)) => (ReapVerdict::Failed, format!("stays for now: {}", e.code)),
            // Bound to a machine that is still going: costs nothing, goes with the next reap.
            (Err(e), None) => (ReapVerdict::Kept, format!("stays for now: {}", e.code)),
        }
    };
    ReapItem {
        provider,
        kind: leftover.kind,
        id: leftover.id,
        place: leftover.place,
        instance_type: None,
        market: None,
        price_usd_per_hour: leftover.price_usd_per_hour,
        since: None,
        expires_at: None,
        job: None,
        verdict,
        action,
        failed: verdict == ReapVerdict::Failed,
    }
}

/// Asks what machines cost whose cloud does not say it with the machine. A price that cannot be learned
/// stays unknown: it is for people, and holds nothing up.
async fn price(driver: &dyn Provider, items: &mut [ReapItem]) {
    let unknown = |i: &ReapItem| {
        let kind = i.instance_type.clone().filter(|_| i.price_usd_per_hour.is_none())?;
        Some((kind, i.market?))
    };
    let mut kinds: Vec<_> = items.iter().filter_map(unknown).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for (kind, market) in kinds {
        let wanted = (kind, market);
        let places = items.iter().filter(|i| unknown(i).as_ref() == Some(&wanted)).map(|i| {
            let (region, zone) = (i.place.region.clone(), i.place.zone.clone());
            PlacePattern { provider: Some(i.provider), region: Some(region), zone: Some(zone) }
        });
        let query = OfferQuery {
            markets: vec![market],
            places: places.collect(),
            instance_type: Some(wanted.0.clone()),
            ..OfferQuery::default()
        };
        let offers = match tokio::time::timeout(PRICES_LIMIT, driver.offers(&query)).await {
            Ok(Ok(offers)) => offers,
            Ok(Err(_)) | Err(_) => continue,
        };
        for item in items.iter_mut().filter(|i| unknown(i).as_ref() == Some(&wanted)) {
            let same = |o: &&Offer| {
                o.place == item.place && o.instance_type == wanted.0 && o.market == market
            };
            item.price_usd_per_hour = offers.iter().find(same).and_then(|o| o.price_usd_per_hour);
        }
    }
}

async fn machine(
    driver: &dyn Provider,
    instance: &Instance,
    options: &ReapOptions,
    owners: &dyn Owners,
    now: Timestamp,
) -> ReapItem {
    let expired = instance.expires_at.is_some_and(|at| at <= now);
    let owned = match &instance.token {
        Some(token) => owners.holds(token).await,
        None => None,
    };
    let (verdict, action) = match owned {
        _ if options.expired && !expired => {
            (ReapVerdict::Kept, "kept: not past its expiry".to_owned())
        }
        Some(why) if !expired => (ReapVerdict::Kept, format!("kept: {why}")),
        _ if options.dry_run => (ReapVerdict::WouldEnd, "would end".to_owned()),
        _ => match driver.terminate(&instance.id, &instance.place).await {
            Ok(Termination::Requested | Termination::Gone | Termination::NotFound) => {
                (ReapVerdict::Ended, "ended".to_owned())
            }
            Err(e) => (ReapVerdict::Failed, format!("failed: {e}")),
        },
    };
    ReapItem {
        provider: driver.id(),
        kind: "machine".into(),
        id: instance.id.to_string(),
        place: instance.place.clone(),
        instance_type: Some(instance.instance_type.clone()),
        market: Some(instance.market),
        price_usd_per_hour: instance.price_usd_per_hour,
        since: instance.launched_at,
        expires_at: instance.expires_at,
        job: instance.job.clone(),
        verdict,
        action,
        failed: verdict == ReapVerdict::Failed,
    }
}

#[cfg(test)]
mod tests;
