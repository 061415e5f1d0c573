//! As much of Google Cloud Storage as `object_store` speaks with it: its XML interface for objects, its JSON
//! interface for buckets. The emulator from PyPI sends no ETag, so `object_store` takes no answer of its.

use crate::servers::{Canned, Heard};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Default)]
struct Store {
    /// The bucket's document, once it was made.
    bucket: Option<String>,
    objects: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn start() -> Canned {
    let store = Mutex::new(Store::default());
    Canned::start_bytes(move |heard| store.lock().unwrap().answer(heard))
}

type Answer = (String, Vec<u8>);

fn said(status: &str, text: &str) -> Answer {
    (status.to_owned(), text.as_bytes().to_vec())
}

impl Store {
    fn answer(&mut self, heard: &Heard) -> Answer {
        let (method, rest) = heard.line.split_once(' ').unwrap();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        match (method, path) {
            (_, "/storage/v1/b/bucket") | (_, "/storage/v1/b") => self.admin(method, heard),
            _ if self.bucket.is_none() => {
                said("404 None", "<Error><Code>NoSuchBucket</Code></Error>")
            }
            ("GET", "/bucket") => said("200 OK", &self.list(query)),
            _ => self.object(method, &unescape(path.strip_prefix("/bucket/").unwrap()), heard),
        }
    }

    fn admin(&mut self, method: &str, heard: &Heard) -> Answer {
        match (method, &self.bucket) {
            ("POST", None) => {
                assert!(heard.line.ends_with("?project=p"), "{heard:?}");
                assert!(heard.body.contains(r#""uniformBucketLevelAccess":{"enabled":true}"#));
                self.bucket = Some(heard.body.clone());
                said("200 OK", &heard.body)
            }
            ("POST", Some(_)) => said("409 Taken", "{}"),
            (_, None) => said("404 None", "{}"),
            ("GET", Some(document)) => said("200 OK", document),
            ("DELETE", Some(_)) if !self.objects.is_empty() => said("409 Not empty", "{}"),
            _ => {
                self.bucket = None;
                said("204 Gone", "")
            }
        }
    }

    fn object(&mut self, method: &str, key: &str, heard: &Heard) -> Answer {
        let is_new = heard.headers.to_ascii_lowercase().contains("x-goog-if-generation-match: 0");
        let headers = "\r\nETag: \"e\"\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT";
        match (method, self.objects.get(key)) {
            ("PUT", Some(_)) if is_new => said("412 There", ""),
            ("PUT", _) => {
                self.objects.insert(key.to_owned(), heard.bytes.clone());
                said(&format!("200 OK{headers}"), "")
            }
            ("GET" | "HEAD", Some(bytes)) => (format!("200 OK{headers}"), bytes.clone()),
            ("DELETE", Some(_)) => {
                self.objects.remove(key);
                said("204 Gone", "")
            }
            _ => said("404 None", "<Error><Code>NoSuchKey</Code></Error>"),
        }
    }

    fn list(&self, query: &str) -> String {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(n, _)| *n == name).map(|(_, v)| unescape(v)).unwrap_or_default()
        };
        let (prefix, delimiter) = (value("prefix"), value("delimiter"));
        let (mut out, mut last) = (String::new(), String::new());
        for (key, bytes) in self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let below = &key[prefix.len()..];
            match below.split_once(&delimiter).filter(|_| !delimiter.is_empty()) {
                Some((folder, _)) if *folder == last => {}
                Some((folder, _)) => {
                    last = folder.to_owned();
                    out += &format!(
                        "<CommonPrefixes><Prefix>{prefix}{folder}/</Prefix></CommonPrefixes>"
                    );
                }
                None => {
                    out += &format!(
                        "<Contents><Key>{key}</Key><Size>{}</Size><ETag>e</ETag>\
                         <LastModified>2026-01-01T00:00:00Z</LastModified></Contents>",
                        bytes.len()
                    );
                }
            }
        }
        format!("<ListBucketResult>{out}</ListBucketResult>")
    }
}

fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}
