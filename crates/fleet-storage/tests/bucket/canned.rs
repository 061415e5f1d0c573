//! What no server that others wrote shows: regions, narrow tokens, lent keys. Canned answers stand in.

use crate::rig::{environment, job, open};
use crate::servers::Canned;
use async_trait::async_trait;
use fleet_agent_api::{StoreCall, StoreKey};
use fleet_provider::{KeyScope, StorageKey, StorageKeys};
use fleet_storage::{Buckets, Error, Refused};
use fleet_types::{BucketUri, Endpoint, Epoch, ProviderId, Realm, Timestamp, Trust};
use secrecy::SecretString;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: Duration = Duration::from_secs(3600);
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];

fn now() -> Timestamp {
    Timestamp::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// Keys of a driver, and what was asked of it.
struct Keys {
    id: &'static str,
    life: Option<Duration>,
    narrow: bool,
    asked: Mutex<Vec<(KeyScope, Duration)>>,
}

impl Keys {
    fn new(narrow: bool) -> Arc<Self> {
        Arc::new(Self { id: "AKIAOWN", life: None, narrow, asked: Mutex::default() })
    }
    fn key(&self, id: &str, life: Option<Duration>) -> StorageKey {
        StorageKey {
            access_key_id: id.to_owned(),
            secret_access_key: SecretString::from("secret"),
            session_token: life.map(|_| SecretString::from("token")),
            expires_at: life.map(|l| now().plus(l)),
        }
    }
}

#[async_trait]
impl StorageKeys for Keys {
    async fn own_key(&self) -> fleet_provider::Result<StorageKey> {
        Ok(self.key(self.id, self.life))
    }
    async fn narrow(
        &self,
        scope: &KeyScope,
        life: Duration,
    ) -> fleet_provider::Result<Option<StorageKey>> {
        self.asked.lock().unwrap().push((scope.clone(), life));
        Ok(self.narrow.then(|| self.key("ASIANARROW", Some(life.min(HOUR)))))
    }
}

fn realm(provider: ProviderId, services: &[(&str, &str)]) -> Realm {
    let services = services.iter().map(|(n, u)| ((*n).to_owned(), (*u).to_owned())).collect();
    let endpoint = Endpoint { api: None, services };
    Realm { endpoints: [(provider, endpoint)].into(), ..Realm::default() }
}

async fn s3(uri: &str, realm: &Realm, keys: Arc<Keys>) -> fleet_storage::Bucket {
    let uri = BucketUri::parse(uri).unwrap();
    Buckets::default().open(&uri, realm, &environment(&[]), Some(keys)).await.unwrap()
}

#[tokio::test]
async fn a_buckets_region_is_asked_for_once() {
    let server = Canned::start(|heard| match heard.line.as_str() {
        line if line.starts_with("HEAD") => {
            ("301 Moved\r\nx-amz-bucket-region: eu-west-1".into(), String::new())
        }
        _ => ("200 OK".into(), "<ListBucketResult></ListBucketResult>".into()),
    });
    let uri = BucketUri::parse(&format!("s3://bucket/a?endpoint={}", server.url)).unwrap();
    let (buckets, realm) = (Buckets::default(), Realm::default());
    for _ in 0..3 {
        let bucket = buckets.open(&uri, &realm, &environment(&KEYS), None).await.unwrap();
        bucket.list("").await.unwrap();
    }
    let heard = server.heard();
    assert_eq!(heard.iter().filter(|h| h.line == "HEAD /bucket").count(), 1);
    let signed: Vec<_> = heard.iter().filter(|h| h.line.starts_with("GET")).collect();
    assert_eq!(signed.len(), 3);
    assert!(signed.iter().all(|h| h.headers.contains("/eu-west-1/s3/aws4_request")), "{signed:?}");
}

#[tokio::test]
async fn a_wrong_region_and_an_ended_key_are_told() {
    for (answer, words) in [
        (
            ("301 Moved", "<Error><Code>PermanentRedirect</Code></Error>"),
            "bucket `bucket` is not in region us-east-1; correct `?region=`",
        ),
        (
            (
                "400 Bad",
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>ap-south-1</Region></Error>",
            ),
            "is not in region us-east-1, it is in ap-south-1",
        ),
        (("400 Bad", "<Error><Code>ExpiredToken</Code></Error>"), "sign in again"),
    ] {
        let server = Canned::start(move |_| (answer.0.into(), answer.1.into()));
        let uri = format!("s3://bucket/a?endpoint={}&region=us-east-1", server.url);
        let bucket = open(&uri, &KEYS).await.unwrap();
        let text = bucket.list("").await.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
        let text = bucket.checkpoints().outcome(&job(1), Epoch(1)).await.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn a_trusted_machine_gets_a_key_for_its_job_alone() {
    let server = Canned::start(|_| ("404 None".into(), String::new()));
    let url = server.url.as_str();
    let both = realm(ProviderId::Aws, &[("s3", url), ("sts", url)]);
    let uri = "s3://bucket/runs?region=us-east-1";
    let keys = Keys::new(true);
    let bucket = s3(uri, &both, keys.clone()).await;
    let scope = bucket.job_scope(&job(1), Epoch(7));
    let grant = bucket.grant(&scope, "m-7", Trust::Trusted, 12 * HOUR).await.unwrap();
    let (asked, life) = keys.asked.lock().unwrap().remove(0);
    let base = format!("runs/{}/", job(1));
    assert_eq!((asked.read, asked.write), (base.clone(), format!("{base}000007/")));
    assert_eq!((asked.bucket.as_str(), asked.name.as_str(), life), ("bucket", "m-7", 12 * HOUR));
    let StoreKey::Aws { access_key_id, session_token, .. } = &grant.access.key else { panic!() };
    assert_eq!((access_key_id.as_str(), session_token.as_deref()), ("ASIANARROW", Some("token")));
    assert_eq!(grant.access.place.prefix, format!("runs/{}", job(1)));
    assert!(grant.access.place.path_style && grant.access.place.endpoint == url);
    let note = grant.note.unwrap();
    assert!(note.contains("ends after") && note.contains("while the server is awake"), "{note}");
    // A mount that is read only writes nothing.
    let reading = bucket.mount_scope(false).await.unwrap();
    bucket.grant(&reading, "m", Trust::Trusted, HOUR).await.unwrap();
    let (asked, _) = keys.asked.lock().unwrap().remove(0);
    assert_eq!((asked.read.as_str(), asked.write.as_str()), ("runs/", ""));
    // No machine that is not trusted, no account that cannot, no server of somebody else's.
    for (bucket, trust, word) in [
        (s3(uri, &both, Keys::new(true)).await, Trust::Semi, "not trusted"),
        (s3(uri, &both, Keys::new(false)).await, Trust::Trusted, "FLEET_S3_ROLE"),
        (
            s3(uri, &realm(ProviderId::Aws, &[("s3", url)]), Keys::new(true)).await,
            Trust::Trusted,
            "this server makes no narrower key",
        ),
        (
            s3(&format!("{uri}&endpoint={url}"), &both, Keys::new(true)).await,
            Trust::Trusted,
            "this server makes no narrower key",
        ),
    ] {
        let grant = bucket.grant(&scope, "m", trust, HOUR).await.unwrap();
        assert_eq!(grant.access.key, StoreKey::Asked);
        assert!(grant.note.unwrap().contains(word), "{word}");
    }
}

#[tokio::test]
async fn a_signature_ends_with_the_key_that_made_it_and_a_dummy_signs_for_nobody() {
    let get = StoreCall { method: "GET".into(), key: "000001/x".into(), query: vec![] };
    let uri = "s3://bucket/runs?region=us-east-1";
    let short = Arc::new(Keys { life: Some(Duration::from_secs(600)), ..keys() });
    let bucket = s3(uri, &Realm::default(), short).await;
    let scope = bucket.job_scope(&job(1), Epoch(1));
    let signed = bucket.sign(&scope, std::slice::from_ref(&get)).await.unwrap().remove(0);
    assert!((500_000..=600_000).contains(&signed.expires_in_ms), "{}", signed.expires_in_ms);
    assert!(
        signed.url.starts_with("https://bucket.s3.us-east-1.amazonaws.com/runs/"),
        "{}",
        signed.url
    );
    assert!(signed.url.contains("X-Amz-Security-Token=token"));
    assert!(!format!("{signed:?}").contains("Signature"), "a URL is a key");
    let dotted =
        s3("s3://my.bucket/runs?region=us-east-1", &Realm::default(), Keys::new(true)).await;
    let signed =
        dotted.sign(&dotted.job_scope(&job(1), Epoch(1)), std::slice::from_ref(&get)).await;
    let url = signed.unwrap().remove(0).url;
    assert!(url.starts_with("https://s3.us-east-1.amazonaws.com/my.bucket/runs/"), "{url}");
    let dummy = Arc::new(Keys { id: "AKIASANDBOX1", ..keys() });
    let bucket = s3(uri, &Realm::default(), dummy).await;
    let text = bucket.sign(&scope, &[get]).await.unwrap_err().to_string();
    assert!(text.contains("one of the sandbox, but the endpoint is the real S3"), "{text}");
    let text = bucket.list("").await.unwrap_err().to_string();
    assert!(text.contains("one of the sandbox"), "and nothing was sent: {text}");
}

fn keys() -> Keys {
    Keys { id: "AKIAOWN", life: None, narrow: true, asked: Mutex::default() }
}

#[tokio::test]
async fn r2_is_found_where_skypilot_keeps_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".cloudflare");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("accountid"), "abc123\n").unwrap();
    let text = "[r2]\naws_access_key_id = R2KEY\naws_secret_access_key = s\n";
    std::fs::write(folder.join("r2.credentials"), text).unwrap();
    let home = [("HOME", home.path().to_str().unwrap())];
    let bucket = open("r2://bucket/runs", &home).await.unwrap();
    let scope = bucket.job_scope(&job(1), Epoch(1));
    let grant = bucket.grant(&scope, "m", Trust::Trusted, HOUR).await.unwrap();
    assert_eq!(grant.access.key, StoreKey::Asked);
    assert!(grant.note.unwrap().contains("R2 makes no narrower key"));
    assert_eq!(grant.access.place.endpoint, "https://abc123.r2.cloudflarestorage.com");
    let put = StoreCall { method: "PUT".into(), key: "000001/x".into(), query: vec![] };
    let url = bucket.sign(&scope, &[put]).await.unwrap().remove(0).url;
    assert!(url.starts_with("https://abc123.r2.cloudflarestorage.com/bucket/runs/j-"), "{url}");
    assert!(url.contains("R2KEY%2F") && url.contains("%2Fauto%2Fs3%2Faws4_request"), "{url}");
}

#[tokio::test]
async fn one_refused_call_refuses_them_all() {
    let bucket = s3("s3://bucket/runs?region=us-east-1", &Realm::default(), Keys::new(true)).await;
    let scope = bucket.job_scope(&job(1), Epoch(1));
    let call = |key: &str| StoreCall { method: "PUT".into(), key: key.into(), query: vec![] };
    let answer = bucket.sign(&scope, &[call("000001/x"), call("000002/x")]).await;
    assert!(matches!(answer, Err(Error::Bucket(Refused::Call(_)))), "{answer:?}");
    assert!(bucket.sign(&scope, &vec![call("000001/x"); 5000]).await.is_err());
}

#[tokio::test]
async fn googles_token_is_made_narrow() {
    use crate::servers::{google, python, skipped};
    let program = match google() {
        Ok(program) => program,
        Err(why) => return skipped(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json");
    let file = file.to_str().unwrap();
    python(&program, include_str!("google_sign.py"), &["key", file]);
    let server = Canned::start(|heard| match heard.line.as_str() {
        "POST /oauth/token" => {
            ("200 OK".into(), r#"{"access_token":"own","expires_in":3599}"#.into())
        }
        "POST /v1/token" if heard.body.contains("subject_token=own&") => {
            ("200 OK".into(), r#"{"access_token":"narrow","expires_in":1800}"#.into())
        }
        _ => ("400 Bad".into(), r#"{"error":"invalid_grant"}"#.into()),
    });
    let oauth = format!("{}/oauth", server.url);
    let services = [("storage", server.url.as_str()), ("sts", &server.url), ("oauth2", &oauth)];
    let realm = Realm { sandbox: true, ..realm(ProviderId::Gcp, &services) };
    let uri = BucketUri::parse("gs://bucket/runs").unwrap();
    let environment = environment(&[("GOOGLE_APPLICATION_CREDENTIALS", file)]);
    let bucket = Buckets::default().open(&uri, &realm, &environment, None).await.unwrap();
    let scope = bucket.job_scope(&job(1), Epoch(2));
    let grant = bucket.grant(&scope, "m", Trust::Trusted, 12 * HOUR).await.unwrap();
    assert_eq!(grant.access.key, StoreKey::Bearer { token: "narrow".into() });
    let left = grant.access.expires_in_ms.unwrap();
    assert!((1_700_000..=1_800_000).contains(&left), "{left}");
    assert!(grant.note.unwrap().contains("while the server is awake"));
    let heard = server.heard();
    assert!(heard[0].body.starts_with(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
    ));
    let boundary = &heard[1].body;
    assert!(boundary.contains("objectViewer") && boundary.contains("objectAdmin"), "{boundary}");
    assert!(boundary.contains(&format!("runs%2F{}%2F000002%2F", job(1))), "{boundary}");
}

#[tokio::test]
async fn azure_lends_a_key_to_who_holds_a_token() {
    let lent = "<UserDelegationKey><SignedOid>oid</SignedOid><SignedTid>tid</SignedTid>\
        <SignedStart>2030-01-01T00:00:00Z</SignedStart><SignedExpiry>2030-01-02T00:00:00Z</SignedExpiry>\
        <SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion><Value>a2V5</Value>\
        </UserDelegationKey>";
    let server = Canned::start(move |heard| match heard.line.contains("comp=userdelegationkey") {
        true => ("200 OK".into(), lent.into()),
        false => ("403 No".into(), String::new()),
    });
    let token = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_TOKEN", "bearer")];
    let bucket = open(&format!("az://box/runs?endpoint={}", server.url), &token).await.unwrap();
    let scope = bucket.job_scope(&job(1), Epoch(1));
    for _ in 0..2 {
        let grant = bucket.grant(&scope, "m", Trust::Trusted, HOUR).await.unwrap();
        let StoreKey::Sas { query } = grant.access.key else { panic!() };
        assert!(query.starts_with("sv=2023-11-03&sr=c&sp=rcwl&se="), "{query}");
        assert!(
            query.contains("&skoid=oid&sktid=tid&skt=2030-01-01T00%3A00%3A00Z&ske="),
            "{query}"
        );
    }
    let heard = server.heard();
    assert_eq!(heard.len(), 1, "it is lent once");
    assert_eq!(heard[0].line, "POST /acc/?restype=service&comp=userdelegationkey");
    assert!(heard[0].headers.to_lowercase().contains("authorization: bearer bearer"));
    // What the user was given opens the container and makes nothing narrower.
    let sas = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=x")];
    let bucket = open(&format!("az://box/runs?endpoint={}", server.url), &sas).await.unwrap();
    for trust in [Trust::Trusted, Trust::Untrusted] {
        let answer = bucket.grant(&scope, "m", trust, HOUR).await.unwrap_err().to_string();
        assert!(
            answer.contains("AZURE_STORAGE_SAS_TOKEN") && answer.contains("az login"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_store_on_loopback_leads_nowhere_else() {
    // A person's login is exchanged at Google's own server: not from here.
    let dir = tempfile::tempdir().unwrap();
    let login = dir.path().join("login.json");
    let text =
        r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
    std::fs::write(&login, text).unwrap();
    let server = Canned::start(|_| ("404 None".into(), String::new()));
    let services = [("storage", server.url.as_str()), ("oauth2", server.url.as_str())];
    let realm = realm(ProviderId::Gcp, &services);
    let environment = environment(&[("GOOGLE_APPLICATION_CREDENTIALS", login.to_str().unwrap())]);
    let uri = BucketUri::parse("gs://bucket/runs").unwrap();
    let bucket = Buckets::default().open(&uri, &realm, &environment, None).await.unwrap();
    let text = bucket.list("").await.unwrap_err().to_string();
    assert!(text.contains("a store on loopback must not lead to accounts.google.com"), "{text}");
}
