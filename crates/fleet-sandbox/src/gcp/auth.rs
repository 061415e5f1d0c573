//! Who calls: access tokens, tokens that service accounts sign for themselves, and the token endpoint.
//!
//! Invariant: only accounts of the sandbox are let in, so that a real credential that strays here shows at once.
//! Signatures are not checked.

use super::{PROJECT, Refusal, refuse};
use crate::config::{DUMMY_BEGINNING, GCP_TOKEN_PREFIX};
use crate::http::{Call, Reply};
use crate::text::pairs;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet_types::{ProviderId, Timestamp};
use serde_json::{Value, json};

/// How long a token lives.
const LIFE_SECONDS: i64 = 3600;

/// Whether the caller is one of the sandbox's accounts.
pub(super) fn check(call: &Call, now: Timestamp) -> Result<(), Refusal> {
    let bearer = call.header("authorization").strip_prefix("Bearer ").unwrap_or("").trim();
    if bearer.starts_with(GCP_TOKEN_PREFIX) || is_signed(bearer, now) {
        return Ok(());
    }
    let text = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
    Err(refuse(401, "authError", text))
}

/// Whether the text is a token that a service account of the sandbox's project signed, and still good.
fn is_signed(token: &str, now: Timestamp) -> bool {
    let claims = || {
        let mut parts = token.split('.');
        let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    };
    claims().is_some_and(|c| {
        let issuer = c["iss"].as_str().unwrap_or("");
        let ours = issuer.ends_with(&format!("@{PROJECT}.iam.gserviceaccount.com"));
        ours && c["exp"].as_i64().is_some_and(|end| end * 1000 > now.millis())
    })
}

/// `POST /token`: a refresh token or a signed assertion for an access token.
pub(super) fn token(world: &mut World, call: &Call, now: Timestamp) -> Reply {
    world.fate(ProviderId::Gcp, "token");
    let form = pairs(&String::from_utf8_lossy(&call.body));
    let json = call.json();
    let field = |name: &str| {
        let form = form.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        json[name].as_str().map(str::to_owned).or(form).unwrap_or_default()
    };
    let good = match field("grant_type").as_str() {
        "refresh_token" => field("refresh_token").starts_with(DUMMY_BEGINNING),
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => is_signed(&field("assertion"), now),
        _ => false,
    };
    if !good {
        let text = "Token has been expired or revoked.";
        return Reply::json(400, &json!({"error": "invalid_grant", "error_description": text}));
    }
    let token = format!("{GCP_TOKEN_PREFIX}{:016x}", world.draw());
    let body = json!({"access_token": token, "expires_in": LIFE_SECONDS, "token_type": "Bearer",
        "scope": "https://www.googleapis.com/auth/cloud-platform"});
    Reply::json(200, &body)
}
