//! Broken lines, full stores, keys that end: what the client makes of them.

use crate::agent::bucket::{Bucket, Lanes, StoreError};
use crate::played::{Played, Reply, Seen, fault, reply, silence};
use crate::servers::{aws, open, place};
use crate::suite::{fill, read};
use fleet_agent_api::{StoreAccess, StoreKey};
use fleet_types::StoreKind;
use std::io;
use std::process::Command;
use std::sync::{Arc, OnceLock};

fn s3(played: &Played) -> Bucket {
    open(place(StoreKind::S3, &played.url), aws("AKID", "SECRET"))
}

/// One that promises conditional puts, so that no look comes before them.
fn r2(played: &Played) -> Bucket {
    open(place(StoreKind::R2, &played.url), aws("AKID", "SECRET"))
}

fn google(played: &Played) -> Bucket {
    open(place(StoreKind::Gcs, &played.url), StoreKey::Bearer { token: "TOKEN".into() })
}

const OBJECT: &str = "/bucket/runs%20of/j-1/a";

#[test]
fn what_passes_is_tried_again() {
    for first in [503, 500, 502, 429, 408] {
        let played = Played::new(
            move |_, number| if number == 0 { reply(first, "") } else { reply(200, "") },
        );
        s3(&played).put("a", b"x", false).unwrap();
        assert_eq!(played.lines(), [format!("PUT {OBJECT}"), format!("PUT {OBJECT}")]);
    }
    let played = Played::new(|_, number| if number == 0 { silence() } else { reply(200, "") });
    s3(&played).put("a", b"x", false).unwrap();
    assert_eq!(played.seen()[1].body, b"x");
}

#[test]
fn nothing_is_tried_for_ever() {
    let played = Played::new(|_, _| fault(503, "SlowDown"));
    let told = s3(&played).put("a", b"x", false);
    let Err(StoreError::Passing(why)) = &told else { panic!("{told:?}") };
    assert_eq!(why, "`s3://bucket/runs of/j-1/a`: the store answers 503 SlowDown: So it is");
    assert_eq!(played.seen().len(), 6);
}

#[test]
fn what_does_not_pass_is_told_at_once() {
    let told = |e: &StoreError| match e {
        StoreError::Full(why) => ("full", why.clone()),
        StoreError::Denied(why) => ("denied", why.clone()),
        StoreError::Expired(why) => ("expired", why.clone()),
        StoreError::Odd(why) => ("odd", why.clone()),
        other => panic!("{other:?}"),
    };
    let table = [
        (507, "XMinioStorageFull", "full"),
        (403, "QuotaExceeded", "full"),
        (403, "AccessDenied", "denied"),
        (400, "ExpiredToken", "expired"),
        (400, "InvalidToken", "denied"),
        (400, "EntityTooLarge", "odd"),
    ];
    for (status, code, wanted) in table {
        let played = Played::new(move |_, _| fault(status, code));
        let (kind, why) = told(&s3(&played).put("a", b"x", false).unwrap_err());
        assert!(kind == wanted && why.contains(code), "{kind}: {why}");
        assert_eq!(played.seen().len(), 1, "{code}");
    }
}

#[test]
fn another_region_is_named_and_no_key_goes_there() {
    let elsewhere = Played::new(|_, _| reply(200, ""));
    let to = elsewhere.url.clone();
    let played = Played::new(move |_, _| {
        fault(301, "PermanentRedirect")
            .header("x-amz-bucket-region", "eu-west-1")
            .header("location", &to)
    });
    let told = s3(&played).put("a", b"x", false);
    assert_eq!(told, Err(StoreError::WrongRegion { is: Some("eu-west-1".into()) }));
    assert!(elsewhere.seen().is_empty(), "a redirect was followed with a key in hand");
}

#[test]
fn a_key_that_has_ended_by_our_clock_is_told_as_such() {
    let played = Played::new(|_, _| fault(403, "AccessDenied"));
    let access = |expires_in_ms| StoreAccess {
        place: place(StoreKind::S3, &played.url),
        key: aws("AKID", "SECRET"),
        expires_in_ms,
    };
    let told = Bucket::new(access(Some(0)), None).put("a", b"x", false);
    assert!(matches!(told, Err(StoreError::Expired(_))), "{told:?}");
    let told = Bucket::new(access(Some(3_600_000)), None).put("a", b"x", false);
    assert!(matches!(told, Err(StoreError::Denied(_))), "{told:?}");
}

#[test]
fn a_renewed_key_serves_what_is_under_way() {
    let bucket = Arc::new(OnceLock::<Bucket>::new());
    let (held, url) = (bucket.clone(), Arc::new(OnceLock::<String>::new()));
    let at = url.clone();
    let played = Played::new(move |seen, _| {
        if seen.header("authorization").contains("Credential=OLD/") {
            let renewed = StoreAccess {
                place: place(StoreKind::S3, at.get().unwrap()),
                key: aws("NEW", "SECRET"),
                expires_in_ms: None,
            };
            held.get().unwrap().renew(renewed);
            return fault(403, "AccessDenied");
        }
        reply(200, "")
    });
    url.set(played.url.clone()).unwrap();
    let _ = bucket.set(open(place(StoreKind::S3, &played.url), aws("OLD", "SECRET")));
    bucket.get().unwrap().put("a", b"x", false).unwrap();
    assert!(played.seen()[1].header("authorization").contains("Credential=NEW/"));
}

#[test]
fn a_clock_that_is_off_is_set_by_the_store() {
    let played = Played::new(|seen, _| {
        if seen.header("x-amz-date").starts_with("20400101T1200") {
            return reply(200, "");
        }
        fault(403, "RequestTimeTooSkewed").header("date", "Sun, 01 Jan 2040 12:00:00 GMT")
    });
    let bucket = s3(&played);
    bucket.put("a", b"x", false).unwrap();
    bucket.put("b", b"x", false).unwrap();
    assert_eq!(played.seen().len(), 3, "the second put knows the time");
}

#[test]
fn a_conditional_put_whose_answer_was_lost_is_no_defeat() {
    for (there, wanted) in [("mine", Ok(())), ("them", Err(StoreError::Exists))] {
        let played = Played::new(move |seen, number| match (seen.method.as_str(), number) {
            ("GET", _) => reply(200, there),
            (_, 0) => silence(),
            _ => fault(412, "PreconditionFailed"),
        });
        assert_eq!(r2(&played).put("a", b"mine", true), wanted);
        assert_eq!(played.seen()[0].header("if-none-match"), "*");
    }
    // Without a lost answer it is one, whatever is there.
    let played = Played::new(|_, _| fault(412, "PreconditionFailed"));
    assert_eq!(r2(&played).put("a", b"mine", true), Err(StoreError::Exists));
    assert_eq!(played.seen().len(), 1);
}

#[test]
fn a_server_without_conditional_puts_is_looked_at_before() {
    let script = |there: bool| {
        move |seen: &Seen, _: usize| match seen.method.as_str() {
            "GET" if there => reply(206, "x").header("content-range", "bytes 0-0/1"),
            "GET" => fault(404, "NoSuchKey"),
            _ if seen.headers.contains_key("if-none-match") => fault(501, "NotImplemented"),
            _ => reply(200, ""),
        }
    };
    let played = Played::new(script(false));
    s3(&played).put("a", b"x", true).unwrap();
    let played = Played::new(script(true));
    assert_eq!(s3(&played).put("a", b"x", true), Err(StoreError::Exists));
    assert_eq!(played.lines(), [format!("GET {OBJECT}")]);
}

#[test]
fn a_refusal_before_the_body_is_read_is_heard() {
    let played = Played::new(|seen, number| {
        let expects = seen.header("expect") == "100-continue";
        assert_eq!(expects, number > 0, "a first try is not held up");
        if number == 0 { silence() } else { fault(403, "AccessDenied") }
    });
    let told = s3(&played).put("a", &[7; 100_000], false);
    assert!(matches!(told, Err(StoreError::Denied(_))), "{told:?}");
}

/// A store of one large object in three parts; `finish` plays what the last request meets.
fn parts(finish: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Played {
    Played::new(move |seen, number| match (seen.method.as_str(), seen.target.as_str()) {
        ("POST", target) if target.ends_with("?uploads=") => reply(
            200,
            "<InitiateMultipartUploadResult><UploadId>u&amp;1</UploadId></InitiateMultipartUploadResult>",
        ),
        ("PUT", _) => reply(200, "").header("etag", "\"tag\""),
        _ => finish(seen, number),
    })
}

const LARGE: u64 = 20 << 20;

fn put_large(bucket: &Bucket) -> Result<(), StoreError> {
    bucket.put_file("a", LARGE, None, &read, &Lanes::default())
}

#[test]
fn an_end_that_fails_halfway_is_tried_again() {
    let played = parts(|_, number| {
        let first = number == 4;
        if first {
            fault(200, "InternalError")
        } else {
            reply(200, "<CompleteMultipartUploadResult/>")
        }
    });
    put_large(&s3(&played)).unwrap();
    let seen = played.seen();
    assert_eq!(seen.len(), 6);
    let document = String::from_utf8(seen[5].body.clone()).unwrap();
    let part =
        |number| format!("<Part><PartNumber>{number}</PartNumber><ETag>\"tag\"</ETag></Part>");
    let wanted: String = (1..=3).map(part).collect();
    assert_eq!(document, format!("<CompleteMultipartUpload>{wanted}</CompleteMultipartUpload>"));
    assert_eq!(seen[5].line(), format!("POST {OBJECT}?uploadId=u%261"));
    let mut lengths: Vec<_> = seen
        .iter()
        .filter(|s| s.method == "PUT")
        .map(|s| (s.target.clone(), s.header("content-length").to_owned()))
        .collect();
    lengths.sort();
    assert_eq!(
        lengths[2],
        (format!("{OBJECT}?partNumber=3&uploadId=u%261"), (4 << 20).to_string())
    );
}

#[test]
fn an_end_whose_answer_was_lost_is_looked_for() {
    for (size, is_whole) in [(LARGE, true), (LARGE - 1, false)] {
        let played = parts(move |seen, number| match (seen.method.as_str(), number) {
            ("GET", _) => reply(206, "x").header("content-range", format!("bytes 0-0/{size}")),
            ("POST", 4) => silence(),
            ("POST", _) => fault(404, "NoSuchUpload"),
            _ => reply(204, ""),
        });
        assert_eq!(put_large(&s3(&played)).is_ok(), is_whole);
    }
}

#[test]
fn an_upload_that_fails_is_thrown_away() {
    let played = Played::new(|seen, _| match seen.method.as_str() {
        "POST" => reply(200, "<R><UploadId>u</UploadId></R>"),
        "PUT" => fault(507, "XMinioStorageFull"),
        _ => reply(204, ""),
    });
    let told = put_large(&s3(&played));
    assert!(matches!(told, Err(StoreError::Full(_))), "{told:?}");
    assert_eq!(played.lines().last().unwrap(), &format!("DELETE {OBJECT}?uploadId=u"));
}

/// An object of a megabyte and a half that is cut off at `cut` bytes of every answer.
fn cut(cut: usize, tag: impl Fn(usize) -> String + Send + Sync + 'static) -> Played {
    Played::new(move |seen, number| {
        let range = seen.header("range").strip_prefix("bytes=").unwrap();
        let (from, last) = range.split_once('-').unwrap();
        let (from, last): (usize, usize) = (from.parse().unwrap(), last.parse().unwrap());
        let mut body = vec![0; last + 1 - from];
        fill(from as u64, &mut body);
        let until = cut.min(body.len());
        let said = reply(206, body).header("content-range", format!("bytes {from}-{last}/9999999"));
        said.header("etag", tag(number)).breaks_after(until)
    })
}

#[test]
fn a_broken_line_is_taken_up_where_it_broke() {
    let played = cut(400_000, |_| "\"one\"".into());
    let mut at = 1000;
    let had = s3(&played).get_range("a", 1000, 1_500_000, &mut |piece| {
        let mut wanted = vec![0; piece.len()];
        fill(at, &mut wanted);
        assert!(piece == wanted, "{at}");
        at += piece.len() as u64;
        Ok(())
    });
    assert_eq!(had, Ok(1_500_000));
    let ranges: Vec<_> = played.seen().iter().map(|s| s.header("range").to_owned()).collect();
    assert_eq!(ranges[..2], ["bytes=1000-1500999", "bytes=401000-1500999"]);
    assert_eq!(ranges.len(), 4);
}

#[test]
fn two_objects_are_not_read_as_one() {
    let played = cut(400_000, |number| format!("\"{number}\""));
    let told = s3(&played).get_range("a", 0, 1_500_000, &mut |_| Ok(()));
    assert!(matches!(&told, Err(StoreError::Odd(why)) if why.contains("written anew")), "{told:?}");
}

#[test]
fn a_server_without_ranges_is_read_from_its_beginning() {
    let played = Played::new(|_, _| reply(200, "0123456789"));
    let mut got = Vec::new();
    let mut out = |piece: &[u8]| {
        got.extend_from_slice(piece);
        Ok(())
    };
    assert_eq!(s3(&played).get_range("a", 3, 4, &mut out), Ok(4));
    assert_eq!(got, b"3456");
    let played = Played::new(|_, _| reply(206, "0123").header("content-range", "bytes 0-3/10"));
    let told = s3(&played).get_range("a", 3, 4, &mut |_| Ok(()));
    assert!(matches!(told, Err(StoreError::Odd(_))), "{told:?}");
}

/// Files above eighty gigabytes need it; here the lanes are as small as can be.
#[test]
fn parts_that_outgrow_the_buffer_are_streamed() {
    let played = parts(|_, _| reply(200, "<R/>"));
    let lanes = Lanes::new(2, 256 << 10);
    let size = (1 << 20) * 2_501;
    let zeros = |_: u64, out: &mut [u8]| -> io::Result<()> {
        out.fill(0);
        Ok(())
    };
    s3(&played).put_file("a", size, None, &zeros, &lanes).unwrap();
    let seen = played.seen();
    let puts: Vec<_> = seen.iter().filter(|s| s.method == "PUT").collect();
    let length = |s: &Seen| s.header("content-length").parse::<u64>().unwrap();
    assert_eq!(puts.iter().map(|s| length(s)).sum::<u64>(), size);
    for put in puts {
        // What fits into the buffer is hashed all the same: it is the last one.
        let is_streamed = put.header("x-amz-content-sha256") == "UNSIGNED-PAYLOAD";
        assert_eq!((is_streamed, length(put) == 1 << 20), (true, true), "{}", put.target);
    }
}

#[test]
fn listings_are_asked_for_in_an_escaped_form() {
    let played = Played::new(|_, _| {
        reply(
            200,
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>a+/=</NextContinuationToken>\
             <Contents><Key>runs+of/j-1/%01</Key></Contents></ListBucketResult>",
        )
    });
    let page = s3(&played).list("x y/", None).unwrap();
    assert_eq!(page.entries[0].key, "\u{1}");
    s3(&played).list("", page.next.as_deref()).unwrap();
    let lines = played.lines();
    let all = "encoding-type=url&list-type=2&max-keys=1000&prefix=runs%20of%2Fj-1%2F";
    assert_eq!(lines[0], format!("GET /bucket?{all}x%20y%2F"));
    assert_eq!(lines[1], format!("GET /bucket?continuation-token=a%2B%2F%3D&{all}"));
}

#[test]
fn azure_gets_a_sum_with_everything() {
    for knows in [true, false] {
        let played = Played::new(move |seen, _| {
            let has_sum = seen.headers.contains_key("x-ms-content-crc64");
            if has_sum && !knows { fault(500, "FeatureNotSupported") } else { reply(201, "") }
        });
        let sas = StoreKey::Sas { query: "sig=x".into() };
        let bucket = open(place(StoreKind::Azure, &played.url), sas);
        bucket.put("a", b"123456789", true).unwrap();
        bucket.put("b", b"123456789", false).unwrap();
        let sums: Vec<_> =
            played.seen().iter().map(|s| s.header("x-ms-content-crc64").to_owned()).collect();
        // The catalogue's sum of these nine bytes; an emulator is asked once whether it knows them.
        let sum = "iJh5CoYUi64=";
        assert_eq!(sums, if knows { vec![sum, sum] } else { vec![sum, "", ""] });
    }
}

#[test]
fn google_is_asked_for_conditions_and_pages() {
    let played = Played::new(|seen, number| match (seen.method.as_str(), number) {
        ("POST", 0) => reply(200, r#"{"name":"a","crc32c":"qTxfkw=="}"#),
        ("POST", _) => {
            reply(412, r#"{"error":{"code":412,"errors":[{"reason":"conditionNotMet"}]}}"#)
        }
        _ if seen.target.contains("pageToken=t%3D") => reply(200, r#"{"items":[]}"#),
        _ => reply(200, r#"{"items":[{"name":"runs of/j-1/a","size":"1"}],"nextPageToken":"t="}"#),
    });
    let bucket = google(&played);
    bucket.put("a", b"x", true).unwrap();
    assert_eq!(bucket.put("a", b"x", true), Err(StoreError::Exists));
    let page = bucket.list("", None).unwrap();
    assert_eq!((page.entries[0].key.as_str(), page.next.as_deref()), ("a", Some("t=")));
    assert_eq!(bucket.list("", page.next.as_deref()).unwrap().next, None);
    let seen = played.seen();
    assert_eq!(seen[0].header("authorization"), "Bearer TOKEN");
    let wanted = "/upload/storage/v1/b/bucket/o?ifGenerationMatch=0&name=runs%20of%2Fj-1%2Fa&uploadType=media";
    assert_eq!(seen[0].target, wanted);
}

#[test]
fn what_google_received_is_compared() {
    let sum = |text: &str| format!(r#"{{"name":"a","crc32c":"{text}"}}"#);
    // The sum of `123456789`, as the catalogue of such sums has it.
    let (right, wrong) = (sum("4waSgw=="), sum("AAAAAA=="));
    let played = Played::new(move |seen, number| match (seen.method.as_str(), number) {
        ("POST", 0) => reply(200, wrong.clone()),
        ("POST", _) => reply(200, right.clone()),
        _ => reply(204, ""),
    });
    google(&played).put("a", b"123456789", false).unwrap();
    let methods: Vec<_> = played.seen().into_iter().map(|s| s.method).collect();
    assert_eq!(
        methods,
        ["POST", "DELETE", "POST"],
        "what differs is removed before it is sent again"
    );
}

#[test]
fn parts_that_google_received_are_compared() {
    let played = Played::new(|seen, number| match (seen.method.as_str(), number) {
        ("POST", 0) => reply(200, "<R><UploadId>u</UploadId></R>"),
        ("PUT", 1) => {
            reply(200, "").header("etag", "\"bad\"").header("x-goog-hash", "md5=x,crc32c=AAAAAA==")
        }
        ("PUT", _) => reply(200, "").header("etag", "\"good\""),
        _ => reply(200, "<R/>"),
    });
    put_large(&google(&played)).unwrap();
    let seen = played.seen();
    assert_eq!(seen.iter().filter(|s| s.method == "PUT").count(), 4, "one of three was sent again");
    assert!(!String::from_utf8_lossy(&seen.last().unwrap().body).contains("bad"));
}

#[test]
fn an_upload_of_google_is_taken_up_where_it_broke() {
    let url = Arc::new(OnceLock::<String>::new());
    let at = url.clone();
    let played = Played::new(move |seen, number| {
        let range = seen.header("content-range");
        match (seen.method.as_str(), number, range) {
            // The token is too narrow for parts in parallel.
            ("POST", 0, _) => fault(403, "AccessDenied"),
            ("POST", _, _) => {
                reply(200, "").header("location", format!("{}/session?id=1", at.get().unwrap()))
            }
            ("PUT", 2, _) => silence(),
            ("PUT", _, "bytes */20971520") => reply(308, "").header("range", "bytes=0-262143"),
            ("PUT", _, range) if range.ends_with("-20971519/20971520") => reply(200, "{}"),
            ("PUT", _, range) => {
                let last = range.trim_start_matches("bytes ").split(['-', '/']).nth(1).unwrap();
                reply(308, "").header("range", format!("bytes=0-{last}"))
            }
            _ => reply(500, ""),
        }
    });
    url.set(played.url.clone()).unwrap();
    put_large(&google(&played)).unwrap();
    let seen = played.seen();
    let ranges: Vec<_> = seen
        .iter()
        .filter(|s| s.method == "PUT")
        .map(|s| s.header("content-range").to_owned())
        .collect();
    assert_eq!(
        ranges,
        [
            "bytes 0-8388607/20971520",
            "bytes */20971520",
            "bytes 262144-8650751/20971520",
            "bytes 8650752-17039359/20971520",
            "bytes 17039360-20971519/20971520",
        ]
    );
    for put in seen.iter().filter(|s| !s.body.is_empty()) {
        let from =
            put.header("content-range").trim_start_matches("bytes ").split('-').next().unwrap();
        let mut wanted = vec![0; put.body.len()];
        fill(from.parse().unwrap(), &mut wanted);
        assert!(put.body == wanted, "{from}");
        assert_eq!(put.header("authorization"), "", "the address is key enough");
    }
}

#[test]
fn an_upload_of_google_that_stands_still_is_given_up() {
    let url = Arc::new(OnceLock::<String>::new());
    let at = url.clone();
    let played = Played::new(move |seen, number| match (seen.method.as_str(), number) {
        ("POST", 0) => fault(403, "AccessDenied"),
        ("POST", _) => reply(200, "").header("location", at.get().unwrap()),
        _ => reply(308, ""),
    });
    url.set(played.url.clone()).unwrap();
    let told = put_large(&google(&played));
    assert!(
        matches!(&told, Err(StoreError::Passing(why)) if why.contains("does not come forward")),
        "{told:?}"
    );
    assert_eq!(played.seen().len(), 2 + 6, "so many chunks that led nowhere");
}

const PROXIED: &str = "FLEET_TEST_STORE";

/// Run by the test below, in a process with a proxy in its environment.
#[test]
#[ignore = "it is a part of `no_proxy_sees_a_key`"]
fn a_put_beside_a_proxy() {
    let url = std::env::var(PROXIED).unwrap();
    open(place(StoreKind::S3, &url), aws("AKID", "SECRET")).put("a", b"x", false).unwrap();
}

#[test]
fn no_proxy_sees_a_key() {
    let (proxy, store) = (Played::new(|_, _| reply(200, "")), Played::new(|_, _| reply(200, "")));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "troubles::a_put_beside_a_proxy", "--ignored"])
        .env(PROXIED, &store.url);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        command.env(name, &proxy.url);
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!((proxy.seen().len(), store.seen().len()), (0, 1));
}
