//! Who we are: the credential chain that AWS users have, read from the realm's variables and files.
//!
//! Order: access key variables, web identity variables, then the profile (static keys, `credential_process`,
//! `sso_session`, `source_profile` + `role_arn`). Instance metadata is never asked: fleet runs on people's
//! computers, and a hung metadata address would stall every command. Profile files are read again when
//! what they gave is old or was refused, so that `aws sso login` heals a running controller.

use crate::config::AwsConfig;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sts::config::{Region, SharedHttpClient};
use fleet_provider_kit::Credentials as Look;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// Credentials without an expiry are read again after this.
const STATIC_LIFE: Duration = Duration::from_secs(30);
/// Credentials are replaced this long before they end.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);

/// Where credentials come from.
#[derive(Clone, Debug)]
enum Source {
    /// Access key variables.
    Variables { id: String, secret: SecretString, token: Option<SecretString> },
    /// Web identity variables: a token file and the role that it may take.
    WebIdentity { file: PathBuf, role: String, session: String },
    /// A profile of the shared files.
    Profile { name: String, config: Option<PathBuf>, credentials: Option<PathBuf> },
}

/// The chain, shared by all clients of one provider.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    source: Source,
    region: String,
    http: SharedHttpClient,
    held: Arc<Mutex<Option<(Credentials, SystemTime)>>>,
}

impl Chain {
    /// Decides where credentials come from, without any call. `None`: there are none to be found.
    pub(crate) fn find(config: &AwsConfig, region: String, http: SharedHttpClient) -> Option<Self> {
        let source = source(&config.look())?;
        Some(Self { source, region, http, held: Arc::default() })
    }

    /// Where they were found, in words a user knows.
    pub(crate) fn described(&self) -> String {
        match &self.source {
            Source::Variables { .. } => "AWS_ACCESS_KEY_ID".into(),
            Source::WebIdentity { .. } => "AWS_WEB_IDENTITY_TOKEN_FILE".into(),
            Source::Profile { name, .. } => format!("profile `{name}`"),
        }
    }

    /// The credentials in force.
    pub(crate) async fn current(&self) -> Result {
        let mut held = self.held.lock().await;
        let now = SystemTime::now();
        if let Some((credentials, until)) = held.as_ref()
            && now < *until
        {
            return Ok(credentials.clone());
        }
        let fresh = self.load().await?;
        let until = match fresh.expiry() {
            Some(end) => end.checked_sub(EXPIRY_MARGIN).unwrap_or(now),
            None => now + STATIC_LIFE,
        };
        *held = Some((fresh.clone(), until));
        Ok(fresh)
    }

    /// Drops what is held: the cloud refused it.
    pub(crate) async fn forget(&self) {
        *self.held.lock().await = None;
    }

    async fn load(&self) -> Result {
        match &self.source {
            Source::Variables { id, secret, token } => Ok(Credentials::new(
                id,
                secret.expose_secret(),
                token.as_ref().map(|t| t.expose_secret().to_owned()),
                None,
                "environment",
            )),
            Source::WebIdentity { file, role, session } => {
                WebIdentityTokenCredentialsProvider::builder()
                    .static_configuration(StaticConfiguration {
                        web_identity_token_file: file.clone(),
                        role_arn: role.clone(),
                        session_name: session.clone(),
                    })
                    .configure(&self.provider_config())
                    .build()
                    .provide_credentials()
                    .await
            }
            Source::Profile { name, config, credentials } => {
                ProfileFileCredentialsProvider::builder()
                    .configure(&self.provider_config())
                    .profile_name(name)
                    .profile_files(files(config.as_ref(), credentials.as_ref()))
                    .with_custom_provider("Ec2InstanceMetadata", Nowhere)
                    .with_custom_provider("EcsContainer", Nowhere)
                    .with_custom_provider("Environment", Nowhere)
                    .build()
                    .provide_credentials()
                    .await
            }
        }
    }

    fn provider_config(&self) -> ProviderConfig {
        ProviderConfig::without_region()
            .with_region(Some(Region::new(self.region.clone())))
            .with_http_client(self.http.clone())
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

/// Stands for the sources that fleet never asks.
#[derive(Debug)]
struct Nowhere;

impl ProvideCredentials for Nowhere {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(
            "fleet does not use `credential_source`; name a `source_profile`",
        )))
    }
}

/// The region that the profile names, where the variables name none.
pub(crate) async fn profile_region(config: &AwsConfig) -> Option<String> {
    use aws_config::meta::region::ProvideRegion as _;
    let Source::Profile { name, config, credentials } = profile(&config.look())? else {
        return None;
    };
    let region = ProfileFileRegionProvider::builder()
        .profile_name(name)
        .profile_files(files(config.as_ref(), credentials.as_ref()))
        .build()
        .region()
        .await;
    region.map(|r| r.to_string())
}

fn source(look: &Look) -> Option<Source> {
    let text = |name: &str| look.var(name).map(|v| v.trim().to_owned());
    let named_profile = text("AWS_PROFILE").is_some();
    if let (Some(id), Some(secret)) = (text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY")) {
        let token = text("AWS_SESSION_TOKEN").map(SecretString::from);
        return Some(Source::Variables { id, secret: secret.into(), token });
    }
    if let (Some(file), Some(role), false) =
        (text("AWS_WEB_IDENTITY_TOKEN_FILE"), text("AWS_ROLE_ARN"), named_profile)
    {
        let session = text("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "fleet".into());
        return Some(Source::WebIdentity { file: file.into(), role, session });
    }
    profile(look)
}

/// The shared files, if one of them is there.
fn profile(look: &Look) -> Option<Source> {
    let home = look.home();
    let path = |variable: &str, name: &str| {
        let named = look.var(variable).map(|v| expand(v.trim(), home.as_deref()));
        named.or_else(|| home.as_ref().map(|h| h.join(".aws").join(name))).filter(|p| p.is_file())
    };
    let config = path("AWS_CONFIG_FILE", "config");
    let credentials = path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    if config.is_none() && credentials.is_none() {
        return None;
    }
    let name = look.var("AWS_PROFILE").unwrap_or("default").trim().to_owned();
    Some(Source::Profile { name, config, credentials })
}

fn expand(path: &str, home: Option<&std::path::Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

/// Just these files; never the defaults of the process's own home.
fn files(config: Option<&PathBuf>, credentials: Option<&PathBuf>) -> EnvConfigFiles {
    let mut builder = EnvConfigFiles::builder();
    // The builder takes no empty set; an empty text stands for a file that is not there.
    builder = match config {
        Some(path) => builder.with_file(EnvConfigFileKind::Config, path),
        None => builder.with_contents(EnvConfigFileKind::Config, ""),
    };
    if let Some(path) = credentials {
        builder = builder.with_file(EnvConfigFileKind::Credentials, path);
    }
    builder.build()
}

#[cfg(test)]
mod tests;
