//! Who we are: Application Default Credentials, read from the realm's variables and files.
//!
//! Order: an access token in a variable, `GOOGLE_APPLICATION_CREDENTIALS`, what `gcloud auth application-default
//! login` wrote, the metadata server where this computer is a machine of Google's. Invariants: files are read
//! again after a refusal, so that a new login heals a running controller; no secret prints; a token is asked
//! for only over TLS or loopback.

use crate::config::GcpConfig;
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::check_url;
use fleet_types::{Fault, Scope};
use google_cloud_auth::credentials::service_account::AccessSpecifier;
use google_cloud_auth::credentials::{
    self as google, CacheableResource, Credentials, CredentialsProvider, EntityTag,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::retry_policy::NeverRetry;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_VARIABLES: [&str; 2] = ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"];
/// What the firmware of Google's machines calls them.
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";

/// Where credentials come from.
#[derive(Clone)]
enum Source {
    /// An access token, as it is.
    Token { variable: &'static str, token: SecretString },
    /// A credential file of Google's.
    File { path: PathBuf, shown: String },
    /// The metadata server of the machine that fleet runs on.
    Metadata { host: Option<String> },
}

/// The credentials of one provider, found and shared by all its clients.
#[derive(Clone)]
pub(crate) struct Account {
    source: Source,
    /// The project that pays.
    pub(crate) project: String,
    /// The user or service account, where the source names it.
    pub(crate) principal: String,
    /// The project that calls are counted against, for user credentials.
    quota: Option<String>,
    held: Arc<Mutex<Option<Credentials>>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("source", &self.described())
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Decides where credentials come from, without any call. `Unconfigured` where there are none.
    pub(crate) fn find(config: &GcpConfig) -> Result<Self> {
        let source = source(config).ok_or_else(|| {
            ProviderError::unconfigured(
                "connect",
                "no Google credentials found; run `gcloud auth application-default login`, or set \
                 GOOGLE_APPLICATION_CREDENTIALS to a key file",
            )
        })?;
        let file = match &source {
            Source::File { path, shown } => Some(document(config, path, shown)?),
            Source::Token { .. } | Source::Metadata { .. } => None,
        };
        let project = config.project(file.as_ref()).ok_or_else(|| {
            refused("no-project").message(
                "there are Google credentials, and no project: set GOOGLE_CLOUD_PROJECT, or run \
                 `gcloud config set project PROJECT`",
            )
        })?;
        let text = |field: &str| Some(file.as_ref()?.get(field)?.as_str()?.to_owned());
        Ok(Self {
            project,
            principal: text("client_email").unwrap_or_else(|| principal(&source).to_owned()),
            quota: text("quota_project_id"),
            source,
            held: Arc::default(),
        })
    }

    /// Where they were found, in words a user knows.
    pub(crate) fn described(&self) -> String {
        match &self.source {
            Source::Token { variable, .. } => (*variable).to_owned(),
            Source::File { shown, .. } => shown.clone(),
            Source::Metadata { .. } => "the metadata server".to_owned(),
        }
    }

    /// Drops what is held: Google refused it, or it cannot be renewed.
    pub(crate) async fn forget(&self) {
        *self.held.lock().await = None;
    }

    /// Headers that authenticate a call, for the services that have no client of their own.
    pub(crate) async fn headers(&self) -> Result<HeaderMap> {
        match CredentialsProvider::headers(self, http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
            Err(error) => {
                self.forget().await;
                Err(unauthenticated("authenticate", &error))
            }
        }
    }

    /// Strikes a token that was given in a variable out of a text, in case it was echoed.
    pub(crate) fn redact(&self, error: ProviderError) -> ProviderError {
        match &self.source {
            Source::Token { token, .. } => error.redact(token.expose_secret()),
            Source::File { .. } | Source::Metadata { .. } => error,
        }
    }

    async fn current(&self) -> std::result::Result<Credentials, CredentialsError> {
        let mut held = self.held.lock().await;
        if let Some(credentials) = held.as_ref() {
            return Ok(credentials.clone());
        }
        let fresh = build(&self.source).map_err(|why| CredentialsError::from_msg(false, why))?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }
}

impl CredentialsProvider for Account {
    async fn headers(
        &self,
        extensions: http::Extensions,
    ) -> std::result::Result<CacheableResource<HeaderMap>, CredentialsError> {
        if let Source::Token { token, .. } = &self.source {
            let bearer = format!("Bearer {}", token.expose_secret());
            let mut value = HeaderValue::from_str(&bearer)
                .map_err(|_| CredentialsError::from_msg(false, "the access token is no header"))?;
            value.set_sensitive(true);
            let mut data = HeaderMap::new();
            data.insert(AUTHORIZATION, value);
            if let Some(quota) = self.quota.as_ref().and_then(|q| HeaderValue::from_str(q).ok()) {
                data.insert("x-goog-user-project", quota);
            }
            return Ok(CacheableResource::New { entity_tag: EntityTag::new(), data });
        }
        self.current().await?.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        match self.source {
            Source::Token { .. } | Source::Metadata { .. } => None,
            Source::File { .. } => self.current().await.ok()?.universe_domain().await,
        }
    }
}

fn principal(source: &Source) -> &'static str {
    match source {
        Source::Token { .. } => "the owner of the access token",
        Source::File { .. } => "the account of the last `gcloud auth application-default login`",
        Source::Metadata { .. } => "the service account of this machine",
    }
}

fn refused(code: &str) -> ProviderError {
    ProviderError::new(Fault::Auth, Scope::Provider, "connect", code)
}

/// No token could be had: of a passing kind, or for good.
pub(crate) fn unauthenticated(operation: &'static str, error: &CredentialsError) -> ProviderError {
    if error.is_transient() {
        return ProviderError::transient(operation, format!("no access token: {error}"));
    }
    ProviderError::new(Fault::Auth, Scope::Provider, operation, "no-token").message(format!(
        "{error}; run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    ))
}

fn source(config: &GcpConfig) -> Option<Source> {
    let look = config.look();
    for variable in TOKEN_VARIABLES {
        if let Some(found) = look.secret_var(variable) {
            return Some(Source::Token { variable, token: found.secret });
        }
    }
    if let Some(path) = look.var("GOOGLE_APPLICATION_CREDENTIALS") {
        let shown = "GOOGLE_APPLICATION_CREDENTIALS".to_owned();
        return Some(Source::File { path: PathBuf::from(path.trim()), shown });
    }
    let usual = config.gcloud().map(|g| g.join("application_default_credentials.json"));
    if let Some(path) = usual.filter(|p| p.is_file()) {
        let shown = look.secret_file(&path).map_or(path.display().to_string(), |f| f.source);
        return Some(Source::File { path, shown });
    }
    if let Some(host) = look.var("GCE_METADATA_HOST") {
        return Some(Source::Metadata { host: Some(host.trim().to_owned()) });
    }
    // Asking the network would stall every command elsewhere.
    let product = std::fs::read_to_string(PRODUCT_NAME).unwrap_or_default();
    product.trim().starts_with("Google").then_some(Source::Metadata { host: None })
}

/// Reads a credential file, as the kit reads secrets: an ordinary file of modest size.
fn document(config: &GcpConfig, path: &Path, shown: &str) -> Result<Value> {
    let found = config.look().secret_file(path).ok_or_else(|| {
        refused("unreadable-file").message(format!("{shown}: `{}` cannot be read", path.display()))
    })?;
    let odd = |why: String| {
        let path = path.display();
        refused("odd-file")
            .message(format!("{shown}: `{path}` is no credential of Google's: {why}"))
    };
    let json: Value = serde_json::from_str(found.secret.expose_secret())
        .map_err(|e| odd(format!("line {}, column {}", e.line(), e.column())))?;
    if let Some(uri) = json.get("token_uri").and_then(Value::as_str) {
        check_url(uri, true).map_err(|why| odd(format!("`token_uri`: {why}")))?;
    }
    match json.get("type").and_then(Value::as_str) {
        Some(
            "service_account"
            | "authorized_user"
            | "external_account"
            | "impersonated_service_account",
        ) => Ok(json),
        other => Err(odd(format!("fleet does not know the type `{}`", other.unwrap_or("")))),
    }
}

/// Credentials of Google's library. They start to ask for a token at once.
fn build(source: &Source) -> std::result::Result<Credentials, String> {
    let (path, shown) = match source {
        Source::File { path, shown } => (path, shown),
        Source::Metadata { host } => {
            let builder = google::mds::Builder::default().with_retry_policy(NeverRetry);
            let built = match host {
                Some(host) => builder.with_endpoint(format!("http://{host}")).build(),
                None => builder.build(),
            };
            return built.map_err(|e| e.to_string());
        }
        Source::Token { .. } => return Err("a token needs no library".to_owned()),
    };
    let config = GcpConfig::default();
    let json = document(&config, path, shown).map_err(|e| e.text().to_owned())?;
    let kind = json.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let built = match kind.as_str() {
        "service_account" => google::service_account::Builder::new(json)
            .with_access_specifier(AccessSpecifier::from_scopes([SCOPE]))
            .build(),
        "authorized_user" => {
            google::user_account::Builder::new(json).with_retry_policy(NeverRetry).build()
        }
        "external_account" => google::external_account::Builder::new(json)
            .with_scopes([SCOPE])
            .with_retry_policy(NeverRetry)
            .build(),
        _ => google::impersonated::Builder::new(json)
            .with_scopes([SCOPE])
            .with_retry_policy(NeverRetry)
            .build(),
    };
    built.map_err(|e| format!("{shown}: {e}"))
}
