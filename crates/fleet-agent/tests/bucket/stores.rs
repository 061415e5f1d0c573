//! The client against each store in turn: what works, what is refused, and in which words.

use crate::agent::bucket::{Asker, Bucket, Lanes, StoreError};
use crate::servers::{Server, aws, open, place, python, script, skipped};
use crate::suite::{self, CONTROL, EVERYTHING, everything, read};
use fleet_agent_api::{SignedCall, StoreAccess, StoreCall, StoreKey, StorePlace};
use fleet_types::StoreKind;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every way into a store fails in the same way, and none of the texts holds a key.
fn refused(bucket: &Bucket, secrets: &[&str], is_right: &dyn Fn(&StoreError) -> bool) {
    let lanes = Lanes::default();
    let put_file = |size| bucket.put_file("refused", size, None, &read, &lanes);
    let outcomes = [
        ("put", bucket.put("refused", b"x", false)),
        ("put if absent", bucket.put("refused", b"x", true)),
        ("put a small file", put_file(10)),
        ("put a large file", put_file(20 << 20)),
        ("list", bucket.list("", None).map(drop)),
    ];
    for (what, outcome) in outcomes {
        let error = outcome.expect_err(what);
        assert!(is_right(&error), "{what}: {error:?}");
        let told = format!("{error} {error:?}");
        for secret in secrets {
            assert!(!told.contains(secret), "{what}: {told}");
        }
    }
}

fn is_denied(error: &StoreError) -> bool {
    matches!(error, StoreError::Denied(why) if why.contains("://bucket"))
}

fn elsewhere(place: StorePlace) -> StorePlace {
    StorePlace { bucket: "no-such-bucket".into(), ..place }
}

#[test]
fn s3_as_moto_speaks_it() {
    let (moto, [all, none]) = match Server::moto(false) {
        Ok(moto) => moto,
        Err(why) => return skipped(&why),
    };
    let place = place(StoreKind::S3, &moto.url);
    let bucket = open(place.clone(), aws(&all.0, &all.1));
    let moto = suite::Server { is_atomic: false, not_these: &[CONTROL], ..EVERYTHING };
    everything(&bucket, moto);
    refused(&open(place.clone(), aws(&none.0, &none.1)), &[&none.0, &none.1], &is_denied);
    refused(&open(place.clone(), aws(&all.0, "another")), &[&all.0, "another"], &is_denied);
    refused(&open(elsewhere(place), aws(&all.0, &all.1)), &[], &|e| *e == StoreError::NoBucket);
}

#[test]
fn failed_uploads_leave_no_parts() {
    let (moto, [all, _]) = match Server::moto(true) {
        Ok(moto) => moto,
        Err(why) => return skipped(&why),
    };
    let bucket = open(place(StoreKind::S3, &moto.url), aws(&all.0, &all.1));
    let broken = |from: u64, out: &mut [u8]| {
        if from == 0 { read(from, out) } else { Err(std::io::Error::other("gone")) }
    };
    bucket.put_file("a", 40 << 20, None, &broken, &Lanes::default()).unwrap_err();
    assert_eq!(python(&["uploads", &moto.url, "bucket"], "").trim(), "0");
}

/// Google Cloud Storage's parts are S3's, opened by its token.
#[test]
fn parts_of_google_go_by_its_xml_interface() {
    let (moto, _) = match Server::moto(true) {
        Ok(moto) => moto,
        Err(why) => return skipped(&why),
    };
    let place = place(StoreKind::Gcs, &moto.url);
    let bucket = open(place.clone(), StoreKey::Bearer { token: "t".into() });
    bucket.put_file("large", 40_000_000, None, &read, &Lanes::default()).unwrap();
    let s3 = open(StorePlace { kind: StoreKind::S3, ..place }, aws("a", "b"));
    let mut at = 0;
    s3.get_range("large", 0, u64::MAX, &mut |piece| {
        let mut wanted = vec![0; piece.len()];
        suite::fill(at, &mut wanted);
        assert!(piece == wanted, "{at}");
        at += piece.len() as u64;
        Ok(())
    })
    .unwrap();
    assert_eq!(at, 40_000_000);
}

#[test]
fn s3_as_rclone_speaks_it() {
    let server = match Server::rclone() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let place = place(StoreKind::S3, &server.url);
    let bucket = open(place.clone(), aws("AKID", "SECRET"));
    everything(&bucket, suite::Server { is_atomic: false, ..EVERYTHING });
    refused(&open(place.clone(), aws("AKID", "WRONG")), &["AKID", "WRONG"], &is_denied);
    refused(&open(place.clone(), aws("NOBODY", "SECRET")), &["NOBODY", "SECRET"], &is_denied);
    refused(&open(elsewhere(place), aws("AKID", "SECRET")), &[], &|e| *e == StoreError::NoBucket);
}

/// Signs as a controller does, in a process with a signer that others wrote.
struct Signer {
    python: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
    questions: AtomicUsize,
    /// Every signature is spoilt while this is above zero, and it goes down with each.
    spoilt: AtomicUsize,
    silent: std::sync::atomic::AtomicBool,
}

impl Signer {
    fn new(url: &str) -> Arc<Self> {
        let words = ["sign", url, "bucket", "runs of/j-1", "AKID", "SECRET"];
        let mut child = script(&words).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Arc::new(Self {
            python: Mutex::new((child, input, BufReader::new(output))),
            questions: AtomicUsize::new(0),
            spoilt: AtomicUsize::new(0),
            silent: false.into(),
        })
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let (child, ..) = &mut *self.python.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Asker for Signer {
    fn sign(&self, calls: &[StoreCall]) -> Result<Vec<SignedCall>, String> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return Err("the controller does not answer".into());
        }
        let (_, input, output) = &mut *self.python.lock().unwrap();
        let sign = |call: &StoreCall| {
            writeln!(input, "{}", serde_json::to_string(call).unwrap()).unwrap();
            let mut url = String::new();
            output.read_line(&mut url).unwrap();
            let spoil =
                self.spoilt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            let mut url = url.trim().to_owned();
            if spoil.is_ok() {
                url.push('0');
            }
            SignedCall { call: call.clone(), url, expires_in_ms: 3_600_000 }
        };
        Ok(calls.iter().map(sign).collect())
    }
}

#[test]
fn signed_addresses_do_what_a_key_does() {
    let server = match Server::rclone() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let signer = Signer::new(&server.url);
    let access = StoreAccess {
        place: place(StoreKind::S3, &server.url),
        key: StoreKey::Asked,
        expires_in_ms: None,
    };
    let bucket = Bucket::new(access, Some(signer.clone()));
    everything(&bucket, suite::Server { is_atomic: false, many: 1_100, ..EVERYTHING });

    // Parts are signed many at a time.
    let before = signer.questions.load(Ordering::SeqCst);
    bucket.put_file("parts", 160 << 20, None, &read, &Lanes::default()).unwrap();
    let asked = signer.questions.load(Ordering::SeqCst) - before;
    assert!((2..=8).contains(&asked), "asked {asked} times for 20 parts, a beginning and an end");

    // A refused signature is asked for once more, and only once.
    bucket.put("again", b"1", false).unwrap();
    signer.spoilt.store(1, Ordering::SeqCst);
    bucket.put("spoilt", b"1", false).unwrap();
    signer.spoilt.store(usize::MAX, Ordering::SeqCst);
    let before = signer.questions.load(Ordering::SeqCst);
    let told = bucket.put("spoilt twice", b"1", false);
    assert!(matches!(&told, Err(StoreError::Denied(_))), "{told:?}");
    assert!(!format!("{told:?}").contains("Signature="), "{told:?}");
    assert_eq!(signer.questions.load(Ordering::SeqCst) - before, 2);
    signer.spoilt.store(0, Ordering::SeqCst);

    // A stock bridges silence, for small objects and for large files.
    let put = |key: &str| StoreCall { method: "PUT".into(), key: key.into(), query: Vec::new() };
    bucket.stock(&[put("outcome"), put("weights")], Duration::from_secs(600)).unwrap();
    signer.silent.store(true, Ordering::SeqCst);
    bucket.put("outcome", b"done", false).unwrap();
    bucket.put_file("weights", 20_000_000, None, &read, &Lanes::default()).unwrap();
    let told = bucket.put("not foreseen", b"x", false);
    assert!(
        matches!(&told, Err(StoreError::Passing(why)) if why.contains("does not answer")),
        "{told:?}"
    );
    let told = bucket.put_file("not foreseen", 20_000_000, None, &read, &Lanes::default());
    assert!(
        matches!(&told, Err(StoreError::Passing(why)) if why.contains("does not answer")),
        "{told:?}"
    );
    signer.silent.store(false, Ordering::SeqCst);
    assert_eq!(bucket.get("outcome", 10).unwrap(), b"done");
    assert_eq!(bucket.get_range("weights", 0, u64::MAX, &mut |_| Ok(())), Ok(20_000_000));
}

#[test]
fn azure_as_azurite_speaks_it() {
    let server = match Server::azurite() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let said = python(&["azure", &server.url], "");
    let mut keys = said.lines().map(|line| StoreKey::Sas { query: line.to_owned() });
    let mut key = || keys.next().unwrap();
    let (all, reads, over, nowhere) = (key(), key(), key(), key());
    let place = StorePlace {
        endpoint: format!("{}/devstoreaccount1", server.url),
        ..place(StoreKind::Azure, "")
    };
    let bucket = open(place.clone(), all.clone());
    everything(&bucket, suite::Server { not_these: &[CONTROL], ..EVERYTHING });

    bucket.put("shared", b"x", false).unwrap();
    let reader = open(place.clone(), reads);
    assert_eq!(reader.get("shared", 10).unwrap(), b"x");
    let signatures: Vec<_> = said.lines().filter_map(|line| line.split("sig=").nth(1)).collect();
    refused(&reader, &signatures, &is_denied);
    refused(
        &open(place.clone(), over),
        &signatures,
        &|e| matches!(e, StoreError::Expired(why) if why.contains("://bucket")),
    );
    let nowhere = open(StorePlace { bucket: "nowhere".into(), ..place.clone() }, nowhere);
    refused(&nowhere, &signatures, &|e| *e == StoreError::NoBucket);

    // Somebody else signs blobs one by one: with Azure that is the blob's address and a signature.
    struct Container(StorePlace, String);
    impl Asker for Container {
        fn sign(&self, calls: &[StoreCall]) -> Result<Vec<SignedCall>, String> {
            let Self(StorePlace { endpoint, bucket, prefix, .. }, sas) = self;
            let sign = |call: &StoreCall| {
                assert!(call.query.is_empty(), "{call:?}");
                let key = call.key.replace(' ', "%20");
                let url = format!("{endpoint}/{bucket}/{}/{key}?{sas}", prefix.replace(' ', "%20"));
                SignedCall { call: call.clone(), url, expires_in_ms: 3_600_000 }
            };
            Ok(calls.iter().map(sign).collect())
        }
    }
    let StoreKey::Sas { query } = all else { panic!() };
    let access = StoreAccess { place: place.clone(), key: StoreKey::Asked, expires_in_ms: None };
    let asked = Bucket::new(access, Some(Arc::new(Container(place, query))));
    asked.put("one by one", b"x", true).unwrap();
    assert_eq!(asked.put("one by one", b"y", true), Err(StoreError::Exists));
    asked.put_file("blocks", 20_000_000, None, &read, &Lanes::default()).unwrap();
    assert_eq!(bucket.get_range("blocks", 0, u64::MAX, &mut |_| Ok(())), Ok(20_000_000));
}

#[test]
fn google_as_its_emulator_speaks_it() {
    let server = match Server::gcs() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let place = place(StoreKind::Gcs, &server.url);
    let key = StoreKey::Bearer { token: "token".into() };
    let bucket = open(place.clone(), key.clone());
    // Conditions and pages of Google are played by a script.
    let emulator =
        suite::Server { keeps_empty: false, has_conditions: false, has_pages: false, ..EVERYTHING };
    everything(&bucket, emulator);
    refused(&open(elsewhere(place), key), &["token"], &|e| *e == StoreError::NoBucket);
}

#[test]
fn a_folder_is_a_store() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let prefix = folder.path().join("runs of").join("j-1");
    let place = StorePlace {
        endpoint: String::new(),
        bucket: String::new(),
        prefix: prefix.display().to_string(),
        ..place(StoreKind::File, "")
    };
    let bucket = open(place, StoreKey::Folder);
    // A share that is not mounted is not made up.
    refused(&bucket, &[], &|e| *e == StoreError::NoBucket);
    assert_eq!(bucket.get("a", 10), Err(StoreError::NoBucket));
    assert!(!prefix.exists());

    std::fs::create_dir_all(&prefix).unwrap();
    everything(&bucket, EVERYTHING);
    // Nothing half written is left, and nothing half written is listed.
    let left =
        std::process::Command::new("find").arg(&prefix).args(["-name", ".*"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    std::fs::write(prefix.join(".fleet-unfinished-x"), "half").unwrap();
    assert!(bucket.list(".fleet", None).unwrap().entries.is_empty());
}
