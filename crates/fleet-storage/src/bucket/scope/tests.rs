//! Every way out of a scope that a machine could think of.

use super::*;

fn job() -> Scope {
    Scope::job("runs", &JobId::new("j-1"), Epoch(3))
}

fn call(method: &str, key: &str, query: &[(&str, &str)]) -> StoreCall {
    let query = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    StoreCall { method: method.into(), key: key.into(), query }
}

#[test]
fn what_saving_and_restoring_need_is_signed() {
    let list = [("list-type", "2"), ("max-keys", "1000"), ("encoding-type", "url")];
    let more = [("prefix", "runs/j-1/"), ("continuation-token", "a/+=")];
    let list: Vec<_> = list.iter().chain(&more).copied().collect();
    for (kind, call, key) in [
        (
            StoreKind::S3,
            call("GET", "000001/000002/files/a", &[]),
            "runs/j-1/000001/000002/files/a",
        ),
        (
            StoreKind::Azure,
            call("GET", "000001/000002/manifest.json", &[]),
            "runs/j-1/000001/000002/manifest.json",
        ),
        (StoreKind::R2, call("PUT", "000003/outcome.json", &[]), "runs/j-1/000003/outcome.json"),
        (
            StoreKind::S3,
            call("POST", "000003/000001/files/a", &[("uploads", "")]),
            "runs/j-1/000003/000001/files/a",
        ),
        (
            StoreKind::Gcs,
            call("PUT", "000003/x", &[("partNumber", "10000"), ("uploadId", "u/=")]),
            "runs/j-1/000003/x",
        ),
        (StoreKind::S3, call("POST", "000003/x", &[("uploadId", "u")]), "runs/j-1/000003/x"),
        (StoreKind::S3, call("DELETE", "000003/x", &[("uploadId", "u")]), "runs/j-1/000003/x"),
        (
            StoreKind::Azure,
            call("PUT", "000003/x", &[("comp", "block"), ("blockid", "MA==")]),
            "runs/j-1/000003/x",
        ),
        (StoreKind::Azure, call("PUT", "000003/x", &[("comp", "blocklist")]), "runs/j-1/000003/x"),
        (StoreKind::S3, call("GET", "", &list), ""),
    ] {
        assert_eq!(job().check(kind, &call).unwrap(), key, "{call:?}");
    }
}

#[test]
fn nothing_outside_the_scope_is_signed() {
    let list = |prefix: &'static str| call("GET", "", &[("list-type", "2"), ("prefix", prefix)]);
    let s3 = [
        call("PUT", "000002/outcome.json", &[]),
        call("PUT", "000004/outcome.json", &[]),
        call("PUT", "000003", &[]),
        call("PUT", "000003/open.json", &[]),
        call("DELETE", "000003/open.json", &[]),
        call("DELETE", "000001/000001/manifest.json", &[]),
        call("PUT", "000003/../000002/outcome.json", &[]),
        call("PUT", "000003/./x", &[]),
        call("PUT", "000003//x", &[]),
        call("PUT", "/000003/x", &[]),
        call("PUT", "000003/x\0", &[]),
        call("GET", "../j-2/000001/outcome.json", &[]),
        call("GET", "", &[]),
        call("PUT", "", &[]),
        call("HEAD", "000003/x", &[]),
        call("PATCH", "000003/x", &[]),
        call("get", "000003/x", &[]),
        call("PUT", "000003/x", &[("acl", "")]),
        call("PUT", "000003/x", &[("tagging", "")]),
        call("GET", "000003/x", &[("versionId", "1")]),
        call("GET", "000003/x", &[("response-content-type", "text/html")]),
        call("POST", "000003/x", &[("delete", "")]),
        call("POST", "000003/x", &[("uploads", "x")]),
        call("POST", "000002/x", &[("uploads", "")]),
        call("POST", "000002/x", &[("uploadId", "u")]),
        call("PUT", "000003/x", &[("uploadId", "u")]),
        call("PUT", "000003/x", &[("partNumber", "0"), ("uploadId", "u")]),
        call("PUT", "000003/x", &[("partNumber", "10001"), ("uploadId", "u")]),
        call("PUT", "000003/x", &[("partNumber", "+1"), ("uploadId", "u")]),
        call("PUT", "000003/x", &[("partNumber", "1"), ("uploadId", "")]),
        call("PUT", "000003/x", &[("partNumber", "1"), ("uploadId", "a\nb")]),
        call("PUT", "000003/x", &[("comp", "block"), ("blockid", "MA==")]),
        call("GET", "", &[("uploads", "")]),
        list(""),
        list("runs/"),
        list("runs/j-1"),
        list("runs/j-10/"),
        list("j-1/"),
        call("GET", "", &[("list-type", "2")]),
        call("GET", "", &[("prefix", "runs/j-1/")]),
        call("GET", "", &[("list-type", "1"), ("prefix", "runs/j-1/")]),
        call("GET", "", &[("list-type", "2"), ("prefix", "runs/j-1/"), ("delimiter", "/")]),
        call("GET", "", &[("list-type", "2"), ("prefix", "runs/j-1/"), ("prefix", "")]),
        call("GET", "x", &[("list-type", "2"), ("prefix", "runs/j-1/")]),
    ];
    let azure = [
        call("PUT", "000003/x", &[("comp", "copy")]),
        call("PUT", "000003/x", &[("comp", "block")]),
        call("PUT", "000003/x", &[("comp", "metadata")]),
        call("PUT", "000002/x", &[("comp", "blocklist")]),
        call("GET", "", &[("restype", "container"), ("comp", "list"), ("prefix", "runs/j-1/")]),
        call("POST", "000003/x", &[("uploads", "")]),
        list("runs/j-1/"),
    ];
    for (kind, calls) in
        [(StoreKind::S3, &s3[..]), (StoreKind::Azure, &azure), (StoreKind::File, &s3)]
    {
        for call in calls {
            let answer = job().check(kind, call);
            assert!(matches!(answer, Err(Refused::Call(_))), "{kind:?} {call:?}: {answer:?}");
        }
    }
}

#[test]
fn a_mount_reads_its_folder_and_writes_only_where_it_may() {
    let put = |key| call("PUT", key, &[]);
    let list = |prefix| call("GET", "", &[("list-type", "2"), ("prefix", prefix)]);
    let reading = Scope::folder("data/in", None, false);
    assert_eq!(reading.check(StoreKind::S3, &call("GET", "a/b", &[])).unwrap(), "data/in/a/b");
    assert!(reading.check(StoreKind::S3, &put("a")).is_err());
    assert!(reading.check(StoreKind::S3, &list("data/in/")).is_ok());
    assert!(reading.check(StoreKind::S3, &list("data/inner/")).is_err());
    let writing = Scope::folder("", None, true);
    assert_eq!(writing.check(StoreKind::S3, &put("open.json")).unwrap(), "open.json");
    assert!(writing.check(StoreKind::S3, &list("")).is_ok(), "the whole bucket was mounted");
    let one = Scope::folder("data", Some("a.csv"), true);
    assert_eq!(one.check(StoreKind::S3, &put("a.csv")).unwrap(), "data/a.csv");
    assert!(one.check(StoreKind::S3, &put("b.csv")).is_err());
    assert!(one.check(StoreKind::S3, &call("GET", "b.csv", &[])).is_err());
    assert!(one.check(StoreKind::S3, &list("data/a.csv")).is_ok());
    assert!(one.check(StoreKind::S3, &list("data/")).is_err());
    assert_eq!((one.readable(), one.writable()), ("data/a.csv".into(), Some("data/a.csv".into())));
    assert_eq!(job().writable().unwrap(), "runs/j-1/000003/");
    assert_eq!(Scope::job("", &JobId::new("j-1"), Epoch(1)).readable(), "j-1/");
    assert_eq!(Scope::job("/mnt/x", &JobId::new("j-1"), Epoch(1)).prefix(), "/mnt/x/j-1");
}
