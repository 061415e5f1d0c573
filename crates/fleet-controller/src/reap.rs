//! `fleet reap`: find in every cloud what carries a fleet's mark, and end what nobody owns.
//!
//! Needs no database. Invariant 8: only an exact match of the fleet id is touched, and of those only what
//! is past its expiry or owned by no live job.

use crate::api::{Account, ReapItem, ReapOptions, ReapReport};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::planning;
use async_trait::async_trait;
use fleet_provider::{OwnerTag, Provider, ProviderError, Termination};
use fleet_types::{Fault, FleetId, Instance, Token};

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
    run(home, account, options, &Nobody).await
}

/// Reaps what `owners` does not hold.
pub(crate) async fn run(
    home: &Home,
    account: &Account,
    options: &ReapOptions,
    owners: &dyn Owners,
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
                Ok(driver) => one(&*driver, owner, options, owners).await,
                Err(e) => Err(e),
            };
            (*id, answer)
        }
    });
    let mut out = ReapReport::default();
    let mut refused = None;
    for (id, answer) in futures_util::future::join_all(clouds).await {
        match answer {
            Ok(part) => {
                out.items.extend(part.items);
                out.gaps.extend(part.gaps);
            }
            Err(e) => {
                out.gaps.push(format!("{}: {e}", id.title()));
                if e.fault == Fault::Auth {
                    refused = Some((id, e));
                }
            }
        }
    }
    match refused {
        Some((provider, source)) if out.gaps.len() == fleet_providers::drivers().len() => {
            Err(Error::Provider { provider, source })
        }
        _ => Ok(out),
    }
}

async fn one(
    driver: &dyn Provider,
    owner: &OwnerTag,
    options: &ReapOptions,
    owners: &dyn Owners,
) -> std::result::Result<ReapReport, ProviderError> {
    let listing = driver.list(owner).await?;
    let mut out = ReapReport { items: Vec::new(), gaps: listing.gaps };
    let mut kept = false;
    for instance in listing.instances {
        if instance.state.is_gone() || instance.fleet.as_deref() != Some(owner.fleet.as_str()) {
            continue;
        }
        let item = machine(driver, &instance, options, owners).await;
        kept |= !item.action.starts_with("ended");
        out.items.push(item);
    }
    if let (Some(auxiliary), false, false) = (driver.auxiliary(), kept, options.expired) {
        for leftover in auxiliary.leftovers(owner).await? {
            let (action, failed) = if options.dry_run {
                ("would remove".to_owned(), false)
            } else {
                match auxiliary.remove(&leftover).await {
                    Ok(()) => ("removed".to_owned(), false),
                    // Bound to a machine that is still going: costs nothing, goes with the next reap.
                    Err(e) => (
                        format!("stays for now: {}", e.code),
                        leftover.price_usd_per_hour.is_some(),
                    ),
                }
            };
            out.items.push(ReapItem {
                provider: driver.id(),
                kind: leftover.kind,
                id: leftover.id,
                place: leftover.place,
                price_usd_per_hour: leftover.price_usd_per_hour,
                expires_at: None,
                job: None,
                action,
                failed,
            });
        }
    }
    Ok(out)
}

async fn machine(
    driver: &dyn Provider,
    instance: &Instance,
    options: &ReapOptions,
    owners: &dyn Owners,
) -> ReapItem {
    let expired = instance.expires_at.is_some_and(|at| at <= now());
    let owned = match &instance.token {
        Some(token) => owners.holds(token).await,
        None => None,
    };
    let (action, failed) = match owned {
        _ if options.expired && !expired => ("kept: not past its expiry".to_owned(), false),
        Some(why) if !expired => (format!("kept: {why}"), false),
        _ if options.dry_run => ("would end".to_owned(), false),
        _ => match driver.terminate(&instance.id, &instance.place).await {
            Ok(Termination::Requested | Termination::Gone | Termination::NotFound) => {
                ("ended".to_owned(), false)
            }
            Err(e) => (format!("failed: {e}"), true),
        },
    };
    ReapItem {
        provider: driver.id(),
        kind: "machine".into(),
        id: instance.id.to_string(),
        place: instance.place.clone(),
        price_usd_per_hour: instance.price_usd_per_hour,
        expires_at: instance.expires_at,
        job: instance.job.clone(),
        action,
        failed,
    }
}
