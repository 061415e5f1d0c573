//! A service account with its own key: it signs URLs, and claims that Google gives a token for.
//!
//! Invariant: the key is never printed and leaves this process in no request.

use super::Gcs;
use crate::bucket::http::request;
use crate::bucket::refused::{Refused, of_reply};
use crate::clock::now;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A service account.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    /// Where its claims become tokens.
    token_uri: String,
    key: RsaKeyPair,
}

#[derive(Deserialize)]
struct Document {
    client_email: String,
    private_key: String,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) access_token: String,
    /// Seconds.
    pub(super) expires_in: Option<u64>,
}

impl ServiceAccount {
    /// Reads the file that Google's console hands out. `oauth`: another server for tokens.
    pub(super) fn read(text: &str, oauth: Option<&String>) -> Result<Self, Refused> {
        let bad = |why: &str| Refused::Setting(format!("the service account's key: {why}"));
        let document: Document = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
        let lines = document.private_key.lines().map(str::trim);
        let body: String = lines.filter(|l| !l.starts_with("-----")).collect();
        let der = BASE64_STANDARD.decode(body).map_err(|_| bad("it is no PEM"))?;
        let key = RsaKeyPair::from_pkcs8(&der).map_err(|e| bad(&e.to_string()))?;
        let usual = document.token_uri.as_deref().unwrap_or("https://oauth2.googleapis.com/token");
        let token_uri = match oauth {
            Some(base) => format!("{}/token", base.trim_end_matches('/')),
            None => usual.to_owned(),
        };
        Ok(Self { email: document.client_email, token_uri, key })
    }

    /// Signs with RSA and SHA-256.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
            .map_err(|_| "the service account's key does not sign".to_owned())?;
        Ok(signature)
    }

    /// An access token; source: "Using OAuth 2.0 for Server to Server Applications".
    pub(super) async fn token(&self, gcs: &Gcs) -> Result<String, Refused> {
        let at = now().millis() / 1000;
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": at, "exp": at + 3600,
        });
        let part = |v: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
        let text = format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
        let signature = self.sign(text.as_bytes()).map_err(Refused::Setting)?;
        let claim = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        let token =
            gcs.exchange(&self.token_uri, &[("grant_type", GRANT), ("assertion", &claim)]).await?;
        Ok(token.access_token)
    }
}

impl Gcs {
    /// Posts a form and reads the token in the answer.
    pub(super) async fn exchange(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Token, Refused> {
        use crate::bucket::v4::escape;
        let pairs = form.iter().map(|(n, v)| format!("{n}={}", escape(v, false)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let reply = self.http.send(&self.bucket, request(Method::POST, url, &kind, body)?).await?;
        let token = serde_json::from_slice(&reply.body).ok().filter(|_| reply.status.is_success());
        token.ok_or_else(|| {
            let what = "making a key for machines";
            of_reply(&self.bucket, "", what, reply.status.as_u16(), &reply.body)
        })
    }
}
