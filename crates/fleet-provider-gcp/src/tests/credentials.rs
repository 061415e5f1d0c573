//! Credentials in each of their forms, against token servers on loopback.

use super::replay::{Answer, Asked, PROJECT, Replay, config, error};
use crate::{GcpConfig, connect};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet_provider::Provider as _;
use fleet_types::Fault;
use serde_json::{Value, json};
use std::path::Path;

/// Made for these tests, used nowhere else.
const KEY: &str = include_str!("../../fixtures/test-key.pem");
const PUBLIC: &[u8] = include_bytes!("../../fixtures/test-key.pub.der");

/// A project, a token endpoint and a metadata server that give tokens of their own.
fn google(asked: &Asked) -> Answer {
    let token = |text: &str| {
        (200, json!({"access_token": text, "expires_in": 3600, "token_type": "Bearer"}))
    };
    match asked.call.as_str() {
        "POST token" => token("ya29.from-the-token-endpoint"),
        "GET computeMetadata/v1/instance/service-accounts/default/token" => {
            match asked.headers.get("metadata-flavor").is_some_and(|v| v == "Google") {
                true => token("ya29.from-the-metadata-server"),
                false => error(403, "forbidden"),
            }
        }
        "GET " => (200, json!({"name": PROJECT, "quotas": []})),
        _ => (200, json!({"permissions": []})),
    }
}

fn at(url: &str, env: &[(&str, &str)]) -> GcpConfig {
    let environment = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    GcpConfig { environment, ..config(url) }
}

fn write(path: &Path, json: &Value) -> String {
    std::fs::write(path, json.to_string()).unwrap();
    path.display().to_string()
}

/// The bearer of the last call to Compute Engine.
fn bearer(replay: &Replay) -> String {
    let asked = replay.asked("GET ").into_iter().rfind(|a| a.call == "GET ").unwrap();
    let header = asked.headers["authorization"].to_str().unwrap().to_owned();
    header.strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn a_key_file_signs_its_own_token() {
    let replay = Replay::start(google).await;
    let folder = tempfile::tempdir().unwrap();
    let key = json!({"type": "service_account", "project_id": PROJECT, "private_key_id": "kid-1",
        "private_key": KEY, "client_email": "fleet@my-project.iam.gserviceaccount.com",
        "token_uri": format!("{}/token", replay.url), "universe_domain": "googleapis.com"});
    let path = write(&folder.path().join("key.json"), &key);
    let provider =
        connect(at(&replay.url, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)])).await.unwrap();
    let who = provider.verify().await.unwrap();
    assert_eq!(who.principal, "fleet@my-project.iam.gserviceaccount.com");
    assert_eq!(who.source, "GOOGLE_APPLICATION_CREDENTIALS");
    let jwt = bearer(&replay);
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = ring::signature::UnparsedPublicKey::new(
        &ring::signature::RSA_PKCS1_2048_8192_SHA256,
        PUBLIC,
    );
    public.verify(signed.as_bytes(), &signature).expect("the key's own signature");
    let part = |n: usize| -> Value {
        let part = signed.split('.').nth(n).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!((part(0)["alg"].as_str(), part(0)["kid"].as_str()), (Some("RS256"), Some("kid-1")));
    assert_eq!(part(1)["iss"], "fleet@my-project.iam.gserviceaccount.com");
    assert_eq!(part(1)["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert!(replay.asked("POST token").is_empty(), "nobody had to be asked");
    assert!(!format!("{provider:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn what_gcloud_left_is_found_and_refreshed() {
    let replay = Replay::start(google).await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&folder).unwrap();
    let login = json!({"type": "authorized_user", "client_id": "id", "client_secret": "s3cret",
        "refresh_token": "1//refresh", "quota_project_id": PROJECT,
        "token_uri": format!("{}/token", replay.url)});
    write(&folder.join("application_default_credentials.json"), &login);
    let path = home.path().display().to_string();
    let provider = connect(at(&replay.url, &[("HOME", &path)])).await.unwrap();
    let who = provider.verify().await.unwrap();
    assert_eq!(who.source, "~/.config/gcloud/application_default_credentials.json");
    assert_eq!(bearer(&replay), "ya29.from-the-token-endpoint");
    let refresh = replay.asked("POST token").remove(0);
    assert_eq!(
        (&refresh.body["grant_type"], &refresh.body["refresh_token"]),
        (&json!("refresh_token"), &json!("1//refresh"))
    );
    let asked = replay.asked("GET ").into_iter().rfind(|a| a.call == "GET ").unwrap();
    assert_eq!(asked.headers["x-goog-user-project"], PROJECT, "calls are counted against it");
    let asked = replay.asked("POST v1/projects").remove(0);
    assert_eq!(asked.headers["x-goog-user-project"], PROJECT);
}

#[tokio::test]
async fn a_login_that_ended_is_auth_and_the_next_one_heals() {
    let ended = Replay::start(|asked| match asked.call.as_str() {
        "POST token" => (400, json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."})),
        _ => google(asked),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adc.json");
    let login = |uri: String| {
        json!({"type": "authorized_user", "client_id": "id", "client_secret": "s3cret",
            "refresh_token": "1//refresh", "token_uri": uri})
    };
    write(&path, &login(format!("{}/token", ended.url)));
    let named = path.display().to_string();
    let env =
        [("GOOGLE_APPLICATION_CREDENTIALS", named.as_str()), ("GOOGLE_CLOUD_PROJECT", PROJECT)];
    let provider = connect(at(&ended.url, &env)).await.unwrap();
    let found = provider.verify().await.unwrap_err();
    assert_eq!((found.fault, found.maybe_applied), (Fault::Auth, false), "{found}");
    assert!(found.text().contains("gcloud auth application-default login"), "{found}");
    let shown = format!("{found:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("1//refresh"), "{shown}");
    let works = Replay::start(google).await;
    write(&path, &login(format!("{}/token", works.url)));
    assert!(provider.verify().await.is_ok(), "the file is read again");
}

#[tokio::test]
async fn the_metadata_server_gives_a_token_where_there_is_one() {
    let replay = Replay::start(google).await;
    let host = replay.url.strip_prefix("http://").unwrap();
    let env = [("GCE_METADATA_HOST", host), ("GOOGLE_CLOUD_PROJECT", PROJECT)];
    let provider = connect(at(&replay.url, &env)).await.unwrap();
    let who = provider.verify().await.unwrap();
    assert_eq!(who.source, "the metadata server");
    assert_eq!(bearer(&replay), "ya29.from-the-metadata-server");
}

#[tokio::test]
async fn what_is_no_credential_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.json");
    let named = path.display().to_string();
    let env =
        [("GOOGLE_APPLICATION_CREDENTIALS", named.as_str()), ("GOOGLE_CLOUD_PROJECT", PROJECT)];
    for (text, word) in [
        (r#"{"type": "service_acc"#, "line 1"),
        (r#"{"type": "gdch_service_account"}"#, "gdch_service_account"),
        (r#"{"type": "authorized_user", "token_uri": "http://10.0.0.1/token"}"#, "token_uri"),
        ("", "cannot be read"),
    ] {
        std::fs::write(&path, text).unwrap();
        let found = connect(at("http://127.0.0.1:9", &env)).await.unwrap_err();
        assert_eq!((found.fault, found.is_unconfigured()), (Fault::Auth, false), "{found}");
        assert!(found.text().contains(word), "{found}");
    }
    std::fs::remove_file(&path).unwrap();
    let found = connect(at("http://127.0.0.1:9", &env)).await.unwrap_err();
    assert!(found.text().contains("cannot be read"), "{found}");
    let found = connect(at("http://127.0.0.1:9", &[("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.x")])).await;
    let found = found.unwrap_err();
    assert!(found.text().contains("GOOGLE_CLOUD_PROJECT") && !found.is_unconfigured(), "{found}");
}

#[tokio::test]
async fn nothing_configured_is_told_apart_from_a_refusal() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().display().to_string();
    let found = connect(at("http://127.0.0.1:9", &[("HOME", &path)])).await;
    // On a machine of Google's own there is a metadata server, and only the project is missing.
    let found = found.unwrap_err();
    let product = std::fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
    assert_eq!(found.is_unconfigured(), !product.starts_with("Google"), "{found}");
    assert_eq!(found.fault, Fault::Auth);
}
