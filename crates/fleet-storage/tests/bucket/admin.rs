//! Making and removing buckets, and what is said when that does not work.

use crate::rig::{Rig, environment, fleet, id, job, open};
use crate::servers::{Server, skipped};
use fleet_storage::{Buckets, CheckpointStore, Created, Error, Refused};
use fleet_types::{BucketUri, Epoch, FleetId, Realm, TimeScale};

fn refused<T: std::fmt::Debug>(answer: fleet_storage::Result<T>) -> Refused {
    match answer {
        Err(Error::Bucket(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// The last thing that happens to a rig: its bucket goes.
pub(crate) async fn a_bucket_is_made_once_and_removed_by_its_maker(rig: &Rig) {
    let bucket = &rig.bucket;
    assert!(bucket.exists().await.unwrap());
    assert_eq!(bucket.create(&fleet()).await.unwrap(), Created::Existed);
    let stranger = FleetId::new("f".repeat(32));
    let answer = refused(bucket.remove(&stranger).await);
    assert!(matches!(answer, Refused::NotOurs(_)), "{answer}");
    assert!(bucket.exists().await.unwrap());
    bucket.remove(&fleet()).await.unwrap();
    assert!(!bucket.exists().await.unwrap());
    bucket.remove(&fleet()).await.unwrap();
    // What is not there is told, and never taken for a job that has saved nothing.
    let (job, store) = (job(1), rig.checkpoints());
    for answer in [
        refused(store.newest(&job).await),
        refused(store.raise_fence(&job, Epoch(1)).await),
        refused(store.outcome(&job, Epoch(1)).await),
        refused(bucket.list("").await),
    ] {
        let text = answer.to_string();
        assert!(matches!(answer, Refused::NoBucket(_)), "{text}");
        assert!(text.contains("there is no bucket") && text.contains("create it"), "{text}");
    }
    assert_eq!(bucket.create(&fleet()).await.unwrap(), Created::New);
    rig.publish(&job, id(1, 1), &[("state", "x")], None).await;
    assert!(store.newest(&job).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_is_told_so_and_a_strangers_bucket_is_left_alone() {
    let (server, [(all, all_secret), (none, none_secret)]) = match Server::moto(false) {
        Ok(moto) => moto,
        Err(why) => return skipped(&why),
    };
    let uri = format!("s3://bucket/runs?endpoint={}&region=eu-west-1", server.url);
    let keys = [("AWS_ACCESS_KEY_ID", all.as_str()), ("AWS_SECRET_ACCESS_KEY", &all_secret)];
    let ours = open(&uri, &keys).await.unwrap();
    assert_eq!(ours.create(&fleet()).await.unwrap(), Created::New);
    let keys = [("AWS_ACCESS_KEY_ID", none.as_str()), ("AWS_SECRET_ACCESS_KEY", &none_secret)];
    let theirs = open(&uri, &keys).await.unwrap();
    let answer = refused(theirs.create(&fleet()).await);
    assert!(matches!(answer, Refused::Taken(_)), "{answer}");
    let answer = refused(theirs.list("").await);
    assert!(matches!(answer, Refused::Denied { .. }), "{answer}");
    assert!(answer.to_string().starts_with("listing is denied in bucket `bucket`"), "{answer}");
    let answer = refused(theirs.checkpoints().raise_fence(&job(1), Epoch(1)).await);
    assert!(matches!(answer, Refused::Denied { .. }), "{answer}");
    let keys = [("AWS_ACCESS_KEY_ID", all.as_str()), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let answer = refused(open(&uri, &keys).await.unwrap().list("").await);
    assert!(answer.to_string().contains("SignatureDoesNotMatch"), "{answer}");
    drop(server);
    let answer = refused(ours.list("").await);
    assert!(matches!(answer, Refused::Unreachable { .. }), "{answer}");
}

/// gcp-storage-emulator keeps no labels and sends no ETag; what it has shows that our requests are understood.
#[tokio::test(flavor = "multi_thread")]
async fn googles_emulator_understands_what_is_asked_of_buckets() {
    let server = match Server::gcs() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let uri = format!("gs://bucket/runs?endpoint={}", server.url);
    let bucket = open(&uri, &[("GOOGLE_CLOUD_PROJECT", "p")]).await.unwrap();
    assert!(!bucket.exists().await.unwrap());
    // It is made, and cannot be marked.
    let answer = refused(bucket.create(&fleet()).await);
    assert!(answer.to_string().contains("marking the bucket failed"), "{answer}");
    assert!(bucket.exists().await.unwrap());
    assert_eq!(bucket.create(&fleet()).await.unwrap(), Created::Existed);
    let other = format!("gs://other/runs?endpoint={}", server.url);
    let answer = refused(open(&other, &[]).await.unwrap().create(&fleet()).await);
    assert!(answer.to_string().contains("set GOOGLE_CLOUD_PROJECT"), "{answer}");
}

#[tokio::test]
async fn a_realm_reaches_what_it_may_and_nothing_else() {
    let sandbox = Realm { sandbox: true, ..Realm::default() };
    let fast = Realm { time_scale: TimeScale::new(0.1).unwrap(), ..Realm::default() };
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAREAL"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let dummy = [("AWS_ACCESS_KEY_ID", "AKIASANDBOX1"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let azure = [("AZURE_STORAGE_ACCOUNT", "acc"), ("AZURE_STORAGE_KEY", "a2V5")];
    let account = [("R2_ACCOUNT_ID", "abc")];
    for (uri, realm, environment, word) in [
        (
            "s3://bucket?region=us-east-1",
            &sandbox,
            &keys[..],
            "a sandbox realm must not reach the real S3",
        ),
        (
            "s3://bucket?endpoint=https://minio.example",
            &sandbox,
            &keys,
            "run `fleet sandbox status`",
        ),
        (
            "s3://bucket?region=us-east-1",
            &fast,
            &keys,
            "a time scale of 0.1 must not drive the real S3",
        ),
        (
            "s3://bucket?region=us-east-1",
            &Realm::default(),
            &dummy,
            "holds a credential of the sandbox",
        ),
        ("s3://bucket?endpoint=http://10.0.0.1", &Realm::default(), &keys, "in clear"),
        ("gs://bucket", &sandbox, &[], "must not reach the real Google Cloud Storage"),
        ("az://bucket", &sandbox, &azure, "must not reach the real Azure Blob"),
        ("r2://bucket", &sandbox, &account, "must not reach the real R2"),
    ] {
        let uri = BucketUri::parse(uri).unwrap();
        let answer = Buckets::default().open(&uri, realm, &environment_of(environment), None).await;
        let text = refused(answer.map(|b| format!("{b:?}"))).to_string();
        assert!(text.contains(word), "{uri}: {text}");
    }
    for (uri, environment, word) in [
        ("s3://bucket?region=us-east-1", &[][..], "aws configure"),
        ("r2://bucket", &[], "R2_ACCOUNT_ID"),
        ("r2://bucket", &account, "~/.cloudflare/r2.credentials"),
        ("az://bucket", &[], "AZURE_STORAGE_ACCOUNT"),
        ("gs://bucket", &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")], "/nowhere"),
    ] {
        let text = refused(open(uri, environment).await.map(|b| format!("{b:?}"))).to_string();
        assert!(text.contains(word), "{uri}: {text}");
    }
}

fn environment_of(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    environment(pairs)
}
