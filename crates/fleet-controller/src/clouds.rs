//! Drivers by realm, made once and kept until their credentials are refused.
//!
//! Invariant: a driver is only ever used in the realm it was made for; after an auth failure it is made
//! anew from the credentials as they are then, so a re-login heals without a restart.

use crate::api::Account;
use crate::error::{Error, Result};
use crate::vault::Vault;
use fleet_provider::{Provider, ProviderError};
use fleet_store::Store;
use fleet_types::{Fault, ProviderId, RealmId, Scope};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a cloud may take to say who we are when a job is accepted.
const VERIFY_LIMIT: Duration = Duration::from_secs(10);

/// Under which name a realm keeps who pays at a cloud.
fn payer(provider: ProviderId) -> String {
    format!("fleet.account.{provider}")
}

type Cache = HashMap<(RealmId, ProviderId), Arc<dyn Provider>>;

/// The drivers in use.
pub(crate) struct Clouds {
    store: Arc<dyn Store>,
    vault: Vault,
    seed: u64,
    cache: Mutex<Cache>,
}

impl Clouds {
    pub(crate) fn new(store: Arc<dyn Store>, vault: Vault, seed: u64) -> Self {
        Self { store, vault, seed, cache: Mutex::new(HashMap::new()) }
    }

    /// Remembers an account under its realm: credentials sealed, drivers made anew.
    ///
    /// Who pays is part of the realm: the same variables with another account's keys are another realm, so
    /// that they neither replace a job's credentials nor make its machines seem gone (invariant 7).
    pub(crate) async fn remember(&self, account: &Account) -> Result<RealmId> {
        let mut account = account.clone();
        let mut environment = account.realm.accounts.clone();
        environment.extend(account.environment.clone());
        let drivers = fleet_providers::drivers().iter().map(|id| {
            let (realm, environment) = (&account.realm, &environment);
            async move {
                let driver =
                    fleet_providers::connect(*id, realm, environment, self.seed).await.ok()?;
                let asked = tokio::time::timeout(VERIFY_LIMIT, driver.verify()).await;
                Some((payer(*id), asked.ok()?.ok()?.account))
            }
        });
        let payers = futures_util::future::join_all(drivers).await;
        account.realm.accounts.extend(payers.into_iter().flatten());
        let id = self.store.put_realm(&account.realm).await?;
        self.vault.seal(&format!("realm-{id}"), &account.environment)?;
        self.cache.lock().await.retain(|(realm, _), _| *realm != id);
        Ok(id)
    }

    /// The account of a realm, with its sealed credentials.
    pub(crate) async fn account(&self, realm: &RealmId) -> Result<Account> {
        let found = self.store.realm(realm).await?;
        let realm_doc = found
            .ok_or_else(|| Error::internal("the realm of a job", format!("{realm} is unknown")))?;
        let mut environment = realm_doc.accounts.clone();
        environment.extend(self.vault.unseal(&format!("realm-{realm}"))?);
        Ok(Account { realm: realm_doc, environment })
    }

    /// The driver of a cloud in a realm.
    pub(crate) async fn get(
        &self,
        realm: &RealmId,
        provider: ProviderId,
    ) -> std::result::Result<Arc<dyn Provider>, ProviderError> {
        let key = (realm.clone(), provider);
        if let Some(driver) = self.cache.lock().await.get(&key) {
            return Ok(driver.clone());
        }
        let account = self
            .account(realm)
            .await
            .map_err(|e| ProviderError::transient("connect", e.to_string()))?;
        let driver =
            fleet_providers::connect(provider, &account.realm, &account.environment, self.seed)
                .await?;
        if let Some(expected) = account.realm.accounts.get(&payer(provider)) {
            let found = driver.verify().await?.account;
            if found != *expected {
                return Err(ProviderError::new(Fault::Auth, Scope::Provider, "connect", "other-account")
                    .message(format!(
                        "the credentials are account {found}'s now, the job's machines are account {expected}'s"
                    )));
            }
        }
        self.cache.lock().await.insert(key, driver.clone());
        Ok(driver)
    }

    /// Looks at a failed call: refused credentials are read anew next time.
    pub(crate) async fn note(&self, realm: &RealmId, provider: ProviderId, error: &ProviderError) {
        if error.fault == Fault::Auth {
            self.forget(realm, provider).await;
        }
    }

    /// The next use makes the driver anew, from the credentials as they are then.
    pub(crate) async fn forget(&self, realm: &RealmId, provider: ProviderId) {
        self.cache.lock().await.remove(&(realm.clone(), provider));
    }
}
