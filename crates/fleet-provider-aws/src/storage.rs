//! Keys for S3: the chain's own, and sessions narrowed to one job's prefix.
//!
//! An IAM user's key makes a federated session by itself (up to 36 h); anybody may name a role to take with a
//! session policy (`FLEET_S3_ROLE`, up to 12 h, an hour where roles are chained). Invariant: a session may do
//! what its scope says and nothing else; where none can be made, the answer is `None`, never a wider key.

use crate::provider::AwsProvider;
use async_trait::async_trait;
use aws_sdk_sts::types::Credentials;
use fleet_provider::{KeyScope, ProviderError, Result, StorageKey, StorageKeys};
use fleet_provider_kit::Effect;
use fleet_types::{Fault, Scope, Timestamp};
use secrecy::SecretString;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shortest session that STS makes, and the longest of each kind.
const SHORTEST: Duration = Duration::from_secs(900);
const FEDERATED: Duration = Duration::from_secs(36 * 3600);
const ROLE: Duration = Duration::from_secs(12 * 3600);
const CHAINED: Duration = Duration::from_secs(3600);
/// Characters of a session's name.
const NAME: usize = 32;
/// Characters that STS takes of a session policy.
const POLICY: usize = 2048;

#[async_trait]
impl StorageKeys for AwsProvider {
    async fn own_key(&self) -> Result<StorageKey> {
        let key = self.current().await?;
        Ok(StorageKey {
            access_key_id: key.access_key_id().to_owned(),
            secret_access_key: SecretString::from(key.secret_access_key().to_owned()),
            session_token: key.session_token().map(|t| SecretString::from(t.to_owned())),
            expires_at: key.expiry().and_then(moment),
        })
    }

    async fn narrow(&self, scope: &KeyScope, life: Duration) -> Result<Option<StorageKey>> {
        let policy = policy(scope);
        if policy.len() > POLICY {
            return Err(rejected(format!(
                "the prefix `{}` is too long for a session policy of AWS",
                scope.read.escape_debug()
            )));
        }
        let name: String = scope.name.chars().filter(|c| is_plain(*c)).take(NAME).collect();
        if let Some(role) = self.clients.storage_role() {
            return self.take_role(&role, &name, &policy, life).await.map(Some);
        }
        if self.current().await?.session_token().is_some() {
            // A session makes no federated session.
            return Ok(None);
        }
        self.federate(&name, &policy, life).await.map(Some)
    }
}

impl AwsProvider {
    async fn current(&self) -> Result<aws_credential_types::Credentials> {
        self.clients.chain.current().await.map_err(|e| {
            let error =
                ProviderError::new(Fault::Auth, Scope::Provider, "storage", "NoCredentials");
            error.message(format!(
                "no AWS credentials for S3: {e}; run `aws configure` or `aws sso login`"
            ))
        })
    }

    async fn federate(&self, name: &str, policy: &str, life: Duration) -> Result<StorageKey> {
        let asked = self
            .clients
            .sts()
            .get_federation_token()
            .name(name)
            .policy(policy)
            .duration_seconds(seconds(life, FEDERATED))
            .send()
            .await;
        match asked {
            Ok(answer) => key_of("GetFederationToken", answer.credentials),
            Err(e) => Err(self.clients.failed("GetFederationToken", Effect::Read, e).await),
        }
    }

    async fn take_role(
        &self,
        role: &str,
        name: &str,
        policy: &str,
        life: Duration,
    ) -> Result<StorageKey> {
        let mut last = None;
        // A role has a limit of its own, and a chained one an hour.
        for longest in [ROLE, CHAINED] {
            let asked = self
                .clients
                .sts()
                .assume_role()
                .role_arn(role)
                .role_session_name(name)
                .policy(policy)
                .duration_seconds(seconds(life, longest))
                .send()
                .await;
            match asked {
                Ok(answer) => return key_of("AssumeRole", answer.credentials),
                Err(e) => {
                    let error = self.clients.failed("AssumeRole", Effect::Read, e).await;
                    if error.code != "ValidationError" || life <= CHAINED {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| rejected("no role could be taken".to_owned())))
    }
}

fn rejected(why: String) -> ProviderError {
    ProviderError::new(Fault::Rejected, Scope::Provider, "storage", "policy").message(why)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "=,.@-_".contains(c)
}

fn seconds(life: Duration, longest: Duration) -> i32 {
    i32::try_from(life.clamp(SHORTEST, longest).as_secs()).unwrap_or(i32::MAX)
}

fn moment(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(since.as_millis() as i64))
}

fn key_of(call: &'static str, credentials: Option<Credentials>) -> Result<StorageKey> {
    let key = crate::wire::needed(call, credentials)?;
    Ok(StorageKey {
        expires_at: moment(SystemTime::try_from(key.expiration).unwrap_or(UNIX_EPOCH)),
        access_key_id: key.access_key_id,
        secret_access_key: SecretString::from(key.secret_access_key),
        session_token: Some(SecretString::from(key.session_token)),
    })
}

/// What the scope allows, as S3 understands it.
fn policy(scope: &KeyScope) -> String {
    let bucket = format!("arn:aws:s3:::{}", scope.bucket);
    let below = |prefix: &str| format!("{bucket}/{}*", literal(prefix));
    let mut statements = vec![
        json!({
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
            "Condition": { "StringLike": { "s3:prefix": format!("{}*", literal(&scope.read)) } },
        }),
        json!({ "Effect": "Allow", "Action": "s3:GetObject", "Resource": below(&scope.read) }),
    ];
    if !scope.write.is_empty() {
        statements.push(json!({
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": below(&scope.write),
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// A prefix in which no character stands for others.
fn literal(prefix: &str) -> String {
    prefix.replace('$', "${$}").replace('*', "${*}").replace('?', "${?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_the_scope_and_nothing_else() {
        let scope = KeyScope {
            bucket: "b".into(),
            read: "runs/j-1/".into(),
            write: "runs/j-1/000002/".into(),
            name: "j-1-2".into(),
        };
        let text = policy(&scope);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let statements = read["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 3);
        assert_eq!(statements[0]["Condition"]["StringLike"]["s3:prefix"], "runs/j-1/*");
        assert_eq!(statements[1]["Resource"], "arn:aws:s3:::b/runs/j-1/*");
        assert_eq!(statements[2]["Resource"], "arn:aws:s3:::b/runs/j-1/000002/*");
        let reader = KeyScope { write: String::new(), ..scope };
        assert!(!policy(&reader).contains("PutObject"));
        assert_eq!(literal("a*b?c$"), "a${*}b${?}c${$}");
    }

    #[test]
    fn lives_stay_within_what_sts_makes() {
        assert_eq!(seconds(Duration::from_secs(1), ROLE), 900);
        assert_eq!(seconds(Duration::from_secs(40 * 3600), FEDERATED), 129_600);
        assert_eq!(seconds(Duration::from_secs(40 * 3600), ROLE), 43_200);
    }
}
