//! Google's clients: one for each kind of thing, all on one account; and two services called by hand.
//!
//! Invariants: the clients never retry (layers do, and they know what may be repeated); every call has a time
//! limit; a refusal of who we are drops the credentials in hand, so that a new login is seen at the next call.

use crate::config::GcpConfig;
use crate::credentials::Account;
use crate::fault;
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::install_crypto;
use fleet_provider_kit::{Call, Client, ClientSettings, Effect, Reply};
use fleet_types::{Fault, Scope, TimeScale};
use google_cloud_compute_v1::client::{
    AcceleratorTypes, Advice, Disks, Firewalls, Instances, MachineTypes, Projects, ZoneOperations,
};
use google_cloud_gax::retry_policy::NeverRetry;
use std::time::Duration;

/// Every client of one realm.
pub(crate) struct Clients {
    pub(crate) account: Account,
    pub(crate) accelerator_types: AcceleratorTypes,
    pub(crate) advice: Advice,
    pub(crate) disks: Disks,
    pub(crate) firewalls: Firewalls,
    pub(crate) instances: Instances,
    pub(crate) machine_types: MachineTypes,
    pub(crate) operations: ZoneOperations,
    pub(crate) projects: Projects,
    /// Compute Engine is on this machine, so its machines may be too.
    pub(crate) loopback: bool,
    billing: Client,
    resource_manager: Client,
    scale: TimeScale,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("account", &self.account).finish_non_exhaustive()
    }
}

/// The settings that every client's builder takes by the same names.
macro_rules! client {
    ($client:ident, $config:expr, $account:expr) => {
        $client::builder()
            .with_endpoint($config.compute_url())
            .with_credentials($account.clone())
            .with_retry_policy(NeverRetry)
            .with_attempt_timeout($config.time_scale.timeout_secs(60.0))
            .build()
            .await
            .map_err(|e| {
                ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "no-client")
                    .message(e.to_string())
            })?
    };
}

impl Clients {
    /// Prepares everything; makes no call.
    pub(crate) async fn new(config: &GcpConfig) -> Result<Self> {
        config.check()?;
        // Google's libraries take the process's crypto provider, and have none of their own here.
        install_crypto();
        let account = Account::find(config)?;
        let plain = |base_url: String| {
            let total = config.time_scale.timeout_secs(60.0);
            Client::new(ClientSettings { base_url, auth: None, secrets: Vec::new(), total })
        };
        Ok(Self {
            accelerator_types: client!(AcceleratorTypes, config, account),
            advice: client!(Advice, config, account),
            disks: client!(Disks, config, account),
            firewalls: client!(Firewalls, config, account),
            instances: client!(Instances, config, account),
            machine_types: client!(MachineTypes, config, account),
            operations: client!(ZoneOperations, config, account),
            projects: client!(Projects, config, account),
            loopback: config.is_loopback(),
            billing: plain(config.billing_url())?,
            resource_manager: plain(config.resource_manager_url())?,
            scale: config.time_scale,
            account,
        })
    }

    /// The project that pays.
    pub(crate) fn project(&self) -> &str {
        &self.account.project
    }

    /// Longest wait for the verdict on a create. A want of capacity shows within half a minute.
    pub(crate) fn patience(&self) -> Duration {
        self.scale.timeout_secs(60.0)
    }

    /// Turns a failed call into what it means. Every call of Google's clients ends here.
    pub(crate) async fn failed(
        &self,
        operation: &'static str,
        effect: Effect,
        error: google_cloud_gax::error::Error,
    ) -> ProviderError {
        let error = fault::classify(operation, effect, &error);
        if error.fault == Fault::Auth {
            self.account.forget().await;
        }
        self.account.redact(error)
    }

    /// One call of the price list's service.
    pub(crate) async fn billing(&self, call: Call) -> Result<Reply> {
        self.by_hand(&self.billing, call).await
    }

    /// One call of the service that knows permissions.
    pub(crate) async fn resource_manager(&self, call: Call) -> Result<Reply> {
        self.by_hand(&self.resource_manager, call).await
    }

    async fn by_hand(&self, client: &Client, call: Call) -> Result<Reply> {
        let reply = client.send_as(call, self.account.headers().await?).await?;
        if reply.success() {
            return Ok(reply);
        }
        let error = fault::by_hand(&reply);
        if error.fault == Fault::Auth && reply.status() == 401 {
            self.account.forget().await;
        }
        Err(self.account.redact(error))
    }
}
