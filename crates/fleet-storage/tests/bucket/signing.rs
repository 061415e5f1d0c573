//! Signed requests, sent by a plain HTTP client.

use crate::rig::{Rig, id, job, open};
use crate::servers::{google, python, skipped};
use fleet_agent_api::{StoreAccess, StoreCall, StoreKey};
use fleet_storage::Refused;
use fleet_types::bucket::key;
use fleet_types::{Epoch, Trust};
use std::time::Duration;

const PART: usize = 5 << 20;

fn tagged<'a>(text: &'a str, tag: &str) -> &'a str {
    let rest = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("{tag}: {text}")).1;
    rest.split_once("</").unwrap().0
}

pub(crate) async fn parts_go_by_signed_urls(rig: &Rig) {
    let (job, key) = (job(30), key::file(id(1, 1), "large one"));
    let begun = rig.signed(&job, 1, "POST", &key, &[("uploads", "")]).await;
    assert!(begun.expires_in_ms <= 3_600_000);
    let text = rig.http.post(&begun.url).send().await.unwrap().text().await.unwrap();
    let upload = tagged(&text, "UploadId");
    let mut list = String::new();
    let parts = [vec![b'a'; PART], vec![b'b'; 7]];
    for (number, part) in (1..).zip(&parts) {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let signed = rig.signed(&job, 1, "PUT", &key, &query).await;
        let answer = rig.http.put(&signed.url).body(part.clone()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let tag = answer.headers()["etag"].to_str().unwrap();
        list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    let signed = rig.signed(&job, 1, "POST", &key, &[("uploadId", upload)]).await;
    let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    let answer = rig.http.post(&signed.url).body(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    assert_eq!(got(rig, &key).await, parts.concat());
    // Listing: the job's folder, in pages.
    let prefix = format!("runs of mine/{job}/");
    let query =
        [("list-type", "2"), ("max-keys", "10"), ("encoding-type", "url"), ("prefix", &prefix)];
    let signed = rig.signed(&job, 1, "GET", "", &query).await;
    let text = rig.http.get(&signed.url).send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains("000001/000001/files/large=20one") || text.contains("large%3D20one"),
        "{text}"
    );
}

async fn got(rig: &Rig, key: &str) -> Vec<u8> {
    // The next machine reads it.
    let signed = rig.signed(&job(30), 2, "GET", key, &[]).await;
    let answer = rig.http.get(&signed.url).send().await.unwrap();
    assert!(answer.status().is_success());
    answer.bytes().await.unwrap().to_vec()
}

pub(crate) async fn blocks_go_by_one_signature(rig: &Rig) {
    let (job, key) = (job(30), key::file(id(1, 1), "large one"));
    let signed = rig.signed(&job, 1, "PUT", &key, &[]).await;
    for (block, text) in [("MDAw", "first "), ("MDAx", "second")] {
        let url = format!("{}&comp=block&blockid={block}", signed.url);
        let answer = rig.http.put(url).body(text).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
    let list = "<BlockList><Latest>MDAw</Latest><Latest>MDAx</Latest></BlockList>";
    let url = format!("{}&comp=blocklist", signed.url);
    let answer = rig.http.put(url).body(list).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    assert_eq!(got(rig, &key).await, b"first second");
    // The same by a call that names its parts.
    let signed = rig.signed(&job, 1, "PUT", &key, &[("comp", "blocklist")]).await;
    let list = "<BlockList><Latest>MDAx</Latest></BlockList>";
    let answer = rig.http.put(&signed.url).body(list).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// A URL for one thing opens nothing else.
pub(crate) async fn a_url_is_good_for_nothing_else(rig: &Rig) {
    let job = job(31);
    rig.put(&job, 1, "000001/a", b"a").await;
    rig.put(&job, 1, "000001/b", b"b").await;
    let get = rig.signed(&job, 1, "GET", "000001/a", &[]).await.url;
    assert_eq!(rig.http.get(&get).send().await.unwrap().text().await.unwrap(), "a");
    let other = get.replace("000001/a", "000001/b");
    assert_ne!(other, get);
    assert_eq!(rig.http.get(&other).send().await.unwrap().status(), 403, "another key");
    let put = rig.http.put(&get).header("x-ms-blob-type", "BlockBlob").body("x");
    assert_eq!(put.send().await.unwrap().status(), 403, "another method");
    assert_eq!(rig.http.delete(&get).send().await.unwrap().status(), 403, "another method");
    let (plain, _) = get.split_once('?').unwrap();
    let status = rig.http.get(plain).send().await.unwrap().status().as_u16();
    assert!(matches!(status, 400 | 403 | 404), "{status}");
}

pub(crate) async fn a_trusted_machine_gets_the_container(rig: &Rig) {
    let (job, away) = (job(32), Duration::from_secs(12 * 3600));
    let scope = rig.bucket.job_scope(&job, Epoch(1));
    let grant = rig.bucket.grant(&scope, "m", Trust::Trusted, away).await.unwrap();
    assert!(grant.note.unwrap().contains("the whole container"));
    let StoreAccess { place, key: StoreKey::Sas { query }, expires_in_ms } = grant.access else {
        panic!()
    };
    assert!(expires_in_ms.unwrap() > 11 * 3_600_000);
    let prefix = place.prefix.replace(' ', "%20");
    let object = format!("{}/{}/{prefix}/000001/x", place.endpoint, place.bucket);
    let put =
        rig.http.put(format!("{object}?{query}")).header("x-ms-blob-type", "BlockBlob").body("x");
    assert!(put.send().await.unwrap().status().is_success());
    let list = format!("{}/{}?restype=container&comp=list&{query}", place.endpoint, place.bucket);
    let text = rig.http.get(list).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("000001/x"), "{text}");
    let gone = rig.http.delete(format!("{object}?{query}")).send().await.unwrap();
    assert_eq!(gone.status(), 403, "a job removes nothing");
    // Who is not trusted asks for each request.
    let grant = rig.bucket.grant(&scope, "m", Trust::Semi, away).await.unwrap();
    assert_eq!((grant.access.key, grant.access.expires_in_ms), (StoreKey::Asked, None));
    assert!(grant.note.unwrap().contains("signed one by one"));
}

/// A mount of one object opens that object, a mount of a folder the folder.
pub(crate) async fn a_mount_is_a_folder_or_an_object(rig: &Rig) {
    let job = job(33);
    rig.put(&job, 1, "000001/data/a b.csv", b"x").await;
    let uri = rig.bucket.uri();
    for (below, only) in [("000001/data", None), ("000001/data/a b.csv", Some("a b.csv"))] {
        let bucket = rig.open(&uri.join(job.as_str()).join(below)).await;
        let scope = bucket.mount_scope(false).await.unwrap();
        let folder = uri.join(job.as_str()).join("000001/data").prefix;
        assert_eq!((scope.only(), scope.prefix()), (only, folder.as_str()), "{below}");
    }
}

/// Google's own library signs the same URLs.
#[tokio::test]
async fn googles_library_signs_the_same() {
    let program = match google() {
        Ok(program) => program,
        Err(why) => return skipped(&why),
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key.json");
    let file = file.to_str().unwrap();
    let script = include_str!("google_sign.py");
    python(&program, script, &["key", file]);
    let bucket = open("gs://bucket/runs of mine", &[("GOOGLE_APPLICATION_CREDENTIALS", file)])
        .await
        .unwrap();
    let scope = bucket.job_scope(&job(1), Epoch(1));
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    let prefix = format!("runs of mine/{}/", job(1));
    let list = vec![pair("prefix", &prefix), pair("list-type", "2")];
    let part = vec![pair("uploadId", "a/b+c="), pair("partNumber", "7")];
    for (method, key, query) in [
        ("GET", "000001/a=20b~c", vec![]),
        ("PUT", "000001/000001/files/ü/x", vec![]),
        ("PUT", "000001/x", part),
        ("POST", "000001/x", vec![pair("uploads", "")]),
        ("GET", "", list),
    ] {
        let call = StoreCall { method: method.into(), key: key.into(), query };
        let ours = bucket.sign(&scope, std::slice::from_ref(&call)).await.unwrap().remove(0).url;
        let stamp =
            ours.split_once("X-Goog-Date=").unwrap().1.split('&').next().unwrap().to_owned();
        let whole = if key.is_empty() { String::new() } else { format!("{prefix}{key}") };
        let calls = serde_json::json!([[method, whole, call.query]]).to_string();
        let theirs = python(&program, script, &["sign", file, "bucket", &stamp, &calls]);
        assert_eq!(sorted(&ours), sorted(theirs.trim()), "{call:?}");
    }
    let untrusted = bucket.grant(&scope, "m", Trust::Untrusted, Duration::from_secs(60)).await;
    assert_eq!(untrusted.unwrap().access.key, StoreKey::Asked);
    // Without a key of its own nothing signs for a stranger's machine.
    let login = dir.path().join("login.json");
    let text =
        r#"{"type":"authorized_user","client_id":"i","client_secret":"s","refresh_token":"r"}"#;
    std::fs::write(&login, text).unwrap();
    let login = [("GOOGLE_APPLICATION_CREDENTIALS", login.to_str().unwrap())];
    let bucket = open("gs://bucket/runs", &login).await.unwrap();
    let answer = bucket.grant(&scope, "m", Trust::Semi, Duration::from_secs(60)).await.unwrap_err();
    assert!(answer.to_string().contains("only a service account's key signs them"), "{answer}");
    let get = StoreCall { method: "GET".into(), key: "000001/x".into(), query: vec![] };
    let answer = bucket.sign(&bucket.job_scope(&job(1), Epoch(1)), &[get]).await;
    assert!(
        matches!(answer, Err(fleet_storage::Error::Bucket(Refused::NoGrant { .. }))),
        "{answer:?}"
    );
}

/// Host, path and parameters, whatever order these came in.
fn sorted(url: &str) -> (String, Vec<String>) {
    let (path, query) = url.split_once('?').unwrap();
    let mut pairs: Vec<_> = query.split('&').map(str::to_owned).collect();
    pairs.sort();
    (path.to_owned(), pairs)
}
