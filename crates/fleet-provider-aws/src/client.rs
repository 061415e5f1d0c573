//! The SDK's clients: one for each region, all on one HTTP client and one credential chain.
//!
//! Invariants: the SDK never retries (layers do, and they know what may be repeated); with an endpoint
//! override every region goes to that URL, and the region still signs. A refusal of who we are drops
//! the credentials in hand, so that a new login is seen at the next call.

use crate::config::AwsConfig;
use crate::credentials::{Chain, profile_region};
use crate::fault;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{
    BehaviorVersion, IdentityCache, Region, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::{Client, ClientSettings, Effect};
use fleet_types::Fault;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Every client of one realm.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) chain: Chain,
    pub(crate) home_region: String,
    pub(crate) advisor: Client,
    config: AwsConfig,
    http: SharedHttpClient,
    ec2: Mutex<BTreeMap<String, aws_sdk_ec2::Client>>,
}

/// The settings that every service's builder takes by the same names.
macro_rules! service {
    ($sdk:ident, $clients:expr, $region:expr, $url:expr) => {{
        let clients: &Clients = $clients;
        let mut builder = $sdk::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new($region))
            .credentials_provider(SharedCredentialsProvider::new(clients.chain.clone()))
            .identity_cache(IdentityCache::no_cache())
            .http_client(clients.http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(clients.timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        builder.set_endpoint_url($url);
        $sdk::Client::from_conf(builder.build())
    }};
}

impl Clients {
    /// Prepares everything; makes no call.
    pub(crate) async fn new(config: AwsConfig) -> Result<Self> {
        config.check()?;
        let http = if config.plain() {
            Builder::new().build_http()
        } else {
            let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
            Builder::new().tls_provider(ring).build_https()
        };
        let home_region = match config.named_region() {
            Some(region) => region,
            None => profile_region(&config).await.unwrap_or_else(AwsConfig::default_region),
        };
        let chain = Chain::find(&config, home_region.clone(), http.clone()).ok_or_else(|| {
            ProviderError::unconfigured(
                "connect",
                "no AWS credentials found; run `aws configure` or `aws sso login`, or set \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        })?;
        let advisor = Client::new(ClientSettings {
            base_url: config.advisor_url(),
            auth: None,
            secrets: Vec::new(),
            total: config.time_scale.timeout_secs(20.0),
        })?;
        Ok(Self { chain, home_region, advisor, config, http, ec2: Mutex::default() })
    }

    /// EC2 in one region.
    pub(crate) fn ec2(&self, region: &str) -> aws_sdk_ec2::Client {
        let mut clients = self.ec2.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || service!(aws_sdk_ec2, self, region.to_owned(), self.config.ec2_url());
        clients.entry(region.to_owned()).or_insert_with(new).clone()
    }

    /// STS, in the home region.
    pub(crate) fn sts(&self) -> aws_sdk_sts::Client {
        let region = self.home_region.clone();
        service!(aws_sdk_sts, self, region, self.config.service_url("sts"))
    }

    /// The role that narrow keys for S3 are taken from, where one is named.
    pub(crate) fn storage_role(&self) -> Option<String> {
        self.config.look().var("FLEET_S3_ROLE").map(str::to_owned)
    }

    /// The price list, which lives in two regions only and speaks for all.
    pub(crate) fn pricing(&self) -> aws_sdk_pricing::Client {
        let region = "us-east-1".to_owned();
        service!(aws_sdk_pricing, self, region, self.config.service_url("pricing"))
    }

    /// Turns a failed call into what it means. Every call of this crate ends here.
    pub(crate) async fn failed<E>(
        &self,
        operation: &'static str,
        effect: Effect,
        error: SdkError<E, HttpResponse>,
    ) -> ProviderError
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + 'static,
    {
        let error = fault::classify(operation, effect, &error);
        if error.fault == Fault::Auth {
            self.chain.forget().await;
        }
        error
    }

    fn timeouts(&self) -> TimeoutConfig {
        let seconds = |s: f64| -> Duration { self.config.time_scale.timeout_secs(s) };
        TimeoutConfig::builder()
            .connect_timeout(seconds(10.0))
            .read_timeout(seconds(60.0))
            .operation_timeout(seconds(90.0))
            .build()
    }
}
