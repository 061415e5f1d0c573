//! Keys for a cloud's object store: our own, and narrow ones for machines.
//!
//! Invariant: what goes to a machine comes from [`StorageKeys::narrow`] and opens one job's prefix for a
//! time; our own key never leaves this process.

use crate::Result;
use async_trait::async_trait;
use fleet_types::Timestamp;
use secrecy::SecretString;
use std::time::Duration;

/// A key for an object store, as its cloud signs with it.
#[derive(Clone, Debug)]
pub struct StorageKey {
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub session_token: Option<SecretString>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// What a narrow key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyScope {
    pub bucket: String,
    /// May be read and listed: every key that begins so.
    pub read: String,
    /// May be written, and read back: every key that begins so. Empty: nothing.
    pub write: String,
    /// Of the machine that will hold it, for the cloud's own audit log.
    pub name: String,
}

/// Drivers whose cloud has an object store.
#[async_trait]
pub trait StorageKeys: Send + Sync {
    /// Our own key. May return Auth.
    async fn own_key(&self) -> Result<StorageKey>;

    /// A key limited to `scope`, living `life` or as long as the cloud allows, whichever is less.
    ///
    /// `None`: this account cannot make one (its credentials are a session's, and no role is named), and
    /// requests have to be signed one by one. May return Auth, Throttled, Transient.
    async fn narrow(&self, scope: &KeyScope, life: Duration) -> Result<Option<StorageKey>>;
}
