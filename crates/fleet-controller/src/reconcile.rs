//! Beside the jobs: what the clouds bill against what the rows say, in both directions.
//!
//! Invariants 2, 7, 8: a machine of this fleet that no live row owns is ended after a grace age; only
//! complete listings count, and only what carries exactly our fleet id is touched.

use crate::api::Account;
use crate::inner::Inner;
use crate::keeper;
use fleet_provider::{Listing, OwnerTag, Provider};
use fleet_store::Store;
use fleet_types::{
    DeathCause, Instance, MachineRow, Realm, RealmId, RowState, TimeScale, Timestamp,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two tries where not even the realm could be read.
const RETRY: Duration = Duration::from_secs(5);

/// Starts the reconciler of a realm, once.
pub(crate) fn start(inner: &Arc<Inner>, realm: &RealmId) {
    if !inner.take_reconciler(realm) {
        return;
    }
    let (inner, realm) = (inner.clone(), realm.clone());
    tokio::spawn(async move {
        loop {
            let Ok(account) = inner.account(&realm).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let scale = account.realm.time_scale;
            tokio::time::sleep(scale.secs(60.0).max(Duration::from_secs(2))).await;
            if inner.live_jobs() + inner.kept_rows() > 0 {
                round(&inner, &realm, scale).await;
            }
        }
    });
}

/// One look at every cloud of a realm.
async fn round(inner: &Arc<Inner>, realm: &RealmId, scale: TimeScale) {
    let owner = OwnerTag { fleet: inner.home.fleet_id().clone() };
    for id in fleet_providers::drivers() {
        let Ok(provider) = inner.clouds.get(realm, *id).await else { continue };
        // The cloud first, then the store: a row made in between is not mistaken for a leak.
        let Ok(listing) = provider.list(&owner).await else { continue };
        for instance in &listing.instances {
            look(inner, realm, &*provider, instance, scale).await;
        }
        report_gaps(&listing);
    }
}

fn report_gaps(listing: &Listing) {
    if !listing.complete {
        tracing::warn!("a listing is incomplete: {}", listing.gaps.join("; "));
    }
}

/// One machine of ours: is it owned?
async fn look(
    inner: &Arc<Inner>,
    realm: &RealmId,
    provider: &dyn Provider,
    instance: &Instance,
    scale: TimeScale,
) {
    if instance.state.is_gone() || instance.fleet.as_deref() != Some(inner.home.fleet_id().as_str())
    {
        return;
    }
    let Some(token) = &instance.token else { return };
    let Ok(row) = inner.store.row(token).await else { return };
    let now = inner.clock.now();
    let age = now.since(instance.launched_at.unwrap_or(now));
    let old = age > scale.span(provider.capabilities().visibility);
    let orphan = match &row {
        // No row: another machine's home may hold it; only age tells that nobody is about to.
        None => old,
        Some(row) => row.realm == *realm && row.state.is_final(),
    };
    if orphan {
        tracing::warn!("machine {} of this fleet has no live row; it is ended", instance.id);
        if let Err(e) = provider.terminate(&instance.id, &instance.place).await {
            tracing::warn!("machine {} could not be ended: {e}", instance.id);
        }
    }
}

/// Takes up the rows that an earlier life left behind.
pub(crate) async fn resume(inner: &Arc<Inner>) -> crate::error::Result<()> {
    for mut row in inner.store.live_rows().await? {
        let record = inner.store.job(&row.job).await?;
        let ended = record.is_none_or(|r| r.finished);
        if ended && row.state == RowState::Live {
            row.state = RowState::Ending { since: inner.clock.now(), accepted_at: None };
            inner.store.put_row(row.clone()).await?;
        }
        if ended && matches!(row.state, RowState::Intent | RowState::Unknown { .. }) {
            adopt_or_drop(inner, row);
            continue;
        }
        keeper::keep(inner, &row);
    }
    Ok(())
}

/// An unresolved create of a job that has ended: found and ended, or proven absent. Never given up.
fn adopt_or_drop(inner: &Arc<Inner>, row: MachineRow) {
    if !inner.take_keeper(&row.token) {
        return;
    }
    let inner = inner.clone();
    tokio::spawn(async move {
        let started = Instant::now();
        let mut omitted = 0;
        let row = loop {
            match look_for(&inner, &row, started, &mut omitted).await {
                Ok(Some(row)) => break row,
                Ok(None) => {}
                Err(e) => tracing::debug!("a create is still looked for: {e}"),
            }
            let scale = inner.account(&row.realm).await.map(|a| a.realm.time_scale);
            tokio::time::sleep(scale.map_or(RETRY, |s| s.secs(10.0))).await;
        };
        inner.drop_keeper(&row.token);
        keeper::keep(&inner, &row);
    });
}

/// One look; answers the row once it is settled and saved.
async fn look_for(
    inner: &Inner,
    row: &MachineRow,
    started: Instant,
    omitted: &mut u32,
) -> crate::error::Result<Option<MachineRow>> {
    let owner = OwnerTag { fleet: inner.home.fleet_id().clone() };
    let scale = inner.account(&row.realm).await?.realm.time_scale;
    let failed = |source| crate::Error::Provider { provider: row.provider(), source };
    let provider = inner.clouds.get(&row.realm, row.provider()).await.map_err(failed)?;
    let listing = provider.list(&owner).await.map_err(failed)?;
    let mut row = row.clone();
    match listing.instances.iter().find(|i| i.token.as_ref() == Some(&row.token)) {
        Some(instance) => {
            row.instance = Some(instance.id.clone());
            let now = inner.clock.now();
            row.launched_at = instance.launched_at.or(Some(now));
            row.state = RowState::Ending { since: now, accepted_at: None };
        }
        None => {
            let window = scale.span(provider.capabilities().visibility);
            *omitted += u32::from(listing.complete && started.elapsed() > window);
            if *omitted < 3 {
                return Ok(None);
            }
            row.state = RowState::Refused;
        }
    }
    inner.store.put_row(row.clone()).await?;
    Ok(Some(row))
}

/// After a job's end: a one-shot sandbox is taken down, which proves all its machines dead.
pub(crate) async fn after_job(inner: &Arc<Inner>, account: &Account) {
    let realm = account.realm.id();
    if !account.realm.one_shot || others_live(&*inner.store, &realm).await {
        return;
    }
    if crate::sandbox::finished(&account.realm).await {
        bury_realm(&*inner.store, &account.realm, inner.clock.now()).await;
    }
}

async fn others_live(store: &dyn Store, realm: &RealmId) -> bool {
    store.jobs(true).await.is_ok_and(|jobs| jobs.iter().any(|j| j.realm == *realm && !j.finished))
}

async fn bury_realm(store: &dyn Store, realm: &Realm, now: Timestamp) {
    let id = realm.id();
    let Ok(rows) = store.live_rows().await else { return };
    for mut row in rows.into_iter().filter(|r| r.realm == id) {
        row.ended_at = row.ended_at.or(Some(now));
        row.state = RowState::Gone { at: now, cause: DeathCause::ByUser };
        if let Err(e) = store.put_row(row).await {
            tracing::warn!("a row of an ended sandbox: {e}");
        }
    }
}
