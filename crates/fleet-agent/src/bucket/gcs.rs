//! Google Cloud Storage by its JSON interface, opened by a bearer token.
//!
//! Small objects go in one request. Large ones go in parallel parts by the XML interface, which is S3's own;
//! where the token may not do that, in one upload that is taken up where it broke. Invariant: what arrived
//! is compared with what was sent by the sum that Google tells; an object that differs is removed.

use super::checksum::Crc32c;
use super::lanes::{Lane, Lanes};
use super::link::{At, Call, Link, RETRIES, Tried, Trouble, pause};
use super::protocol::{Protocol, Source, conditional};
use super::s3::S3;
use super::wire::{Answer, Body};
use super::{Entry, Page, StoreError};
use fleet_types::Timestamp;
use serde::Deserialize;

/// Chunks of an upload are multiples of this, but for the last.
const GRAIN: usize = 256 << 10;
const LONGEST_PAGE: usize = 8 << 20;

pub(super) struct Gcs<'a> {
    pub(super) link: &'a Link,
}

/// An object as Google describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    name: String,
    /// A decimal number in a string.
    size: String,
    updated: String,
    etag: Option<String>,
    crc32c: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    #[serde(default)]
    items: Vec<Resource>,
    next_page_token: Option<String>,
}

/// How far an upload has come.
enum Progress {
    /// So many bytes are there.
    Until(u64),
    Whole(Resource),
}

impl Protocol for Gcs<'_> {
    fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Tried<()> {
        let whole = self.link.whole(key);
        let mut call = Call::new("POST", At::Upload(key))
            .query(&[("uploadType", "media"), ("name", &whole)])
            .header("content-type", "application/octet-stream")
            .body(Body::Bytes(bytes));
        if if_absent {
            call = call.query(&[("ifGenerationMatch", "0")]);
        }
        let sum = Crc32c::of(bytes);
        let attempt = |number| {
            let mut answer = self.link.send(&call, number).map_err(absent_bucket)?;
            let resource = self.resource(key, &mut answer)?;
            self.compare(key, &resource, &sum)
        };
        if if_absent { conditional(self, key, bytes, &attempt) } else { self.link.again(attempt) }
    }

    fn put_file(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()> {
        if source.size <= lanes.part() {
            let mut lane = lanes.take();
            let bytes = source.whole(&mut lane)?;
            return self.put(source.key, bytes, false);
        }
        match (S3 { link: self.link }).put_parts(source, lanes) {
            // A narrow token, or a server, may know this interface alone.
            Err(trouble) if trouble.at_start && !trouble.error.is_passing() => {
                self.put_in_turn(source, lanes)
            }
            outcome => outcome,
        }
    }

    fn object<'k>(&self, key: &'k str) -> Call<'k> {
        Call::new("GET", At::Object(key)).query(&[("alt", "media")])
    }

    fn delete(&self, key: &str) -> Tried<()> {
        self.link.ask(&Call::new("DELETE", At::Object(key))).map(drop)
    }

    fn list(&self, below: &str, after: Option<&str>) -> Tried<Page> {
        let whole = self.link.whole(below);
        let fields = "items(name,size,updated,etag),nextPageToken";
        let mut call = Call::new("GET", At::Objects).query(&[
            ("prefix", &whole),
            ("maxResults", "1000"),
            ("fields", fields),
        ]);
        if let Some(after) = after {
            call = call.query(&[("pageToken", after)]);
        }
        self.link.again(|number| {
            let mut answer = self.link.send(&call, number)?;
            let bytes = match answer.bytes(LONGEST_PAGE) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Err(self.link.odd(At::Bucket, "its list is too long")),
                Err(e) => return Err(self.link.passing(At::Bucket, &e.to_string())),
            };
            page(&bytes, &|key| self.link.below(key).map(str::to_owned))
                .map_err(|why| self.link.odd(At::Bucket, &format!("its list is unreadable: {why}")))
        })
    }

    fn link(&self) -> &Link {
        self.link
    }
}

impl Gcs<'_> {
    /// Piece after piece, in one lane.
    fn put_in_turn(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()> {
        let mut lane = lanes.take();
        let session = self.begin(source)?;
        let chunk = lane.len() / GRAIN * GRAIN;
        let (mut at, mut summed, mut idle) = (0, 0, 0);
        let mut sum = Crc32c::default();
        loop {
            let length = usize::try_from(source.size - at).unwrap_or(chunk).min(chunk);
            source.fill(at, &mut lane[..length])?;
            let end = at + length as u64;
            if end > summed {
                sum.update(&lane[usize::try_from(summed.saturating_sub(at)).unwrap_or(0)..length]);
                summed = end;
            }
            match self.put_chunk(source, &session, at, &lane, length, idle)? {
                Progress::Whole(resource) => return self.compare(source.key, &resource, &sum),
                Progress::Until(there) if there > end => {
                    return Err(self
                        .link
                        .odd(At::Key(source.key), "the store has more than was sent"));
                }
                Progress::Until(there) => {
                    idle = if there > at { 0 } else { idle + 1 };
                    at = there;
                }
            }
            if idle > RETRIES {
                return Err(self
                    .link
                    .passing(At::Key(source.key), "the upload does not come forward"));
            }
        }
    }

    /// Begins an upload; its address, which is its key as well.
    fn begin(&self, source: &Source<'_>) -> Tried<String> {
        let whole = self.link.whole(source.key);
        let call = Call::new("POST", At::Upload(source.key))
            .query(&[("uploadType", "resumable"), ("name", &whole)])
            .header("x-upload-content-type", "application/octet-stream")
            .header("x-upload-content-length", source.size.to_string())
            .body(Body::Bytes(&[]));
        let answer = self.link.ask(&call).map_err(absent_bucket)?;
        let address = answer.header("location").filter(|url| url.starts_with("http"));
        address.map(str::to_owned).ok_or_else(|| {
            self.link.odd(At::Key(source.key), "the store began an upload without an address")
        })
    }

    fn put_chunk(
        &self,
        source: &Source<'_>,
        session: &str,
        at: u64,
        lane: &Lane<'_>,
        length: usize,
        idle: u32,
    ) -> Tried<Progress> {
        let end = at + length as u64;
        let call = |range: String, body| Call {
            fine: &[308],
            ..Call::new("PUT", At::Given { url: session, key: source.key })
                .header("content-range", range)
                .body(body)
        };
        let range = format!("bytes {at}-{}/{}", end - 1, source.size);
        let outcome = self.link.send(&call(range, Body::Bytes(&lane[..length])), idle);
        let mut answer = match outcome {
            Err(trouble) if trouble.error.is_passing() => {
                std::thread::sleep(pause(idle, trouble.wait));
                // How much of it arrived?
                self.link
                    .ask(&call(format!("bytes */{}", source.size), Body::Bytes(&[])))
                    .map_err(|trouble| self.lost(source, trouble))?
            }
            outcome => outcome.map_err(|trouble| self.lost(source, trouble))?,
        };
        if answer.status == 308 {
            let last =
                answer.header("range").and_then(|text| text.rsplit('-').next()?.parse().ok());
            return Ok(Progress::Until(last.map_or(0, |last: u64| last + 1)));
        }
        self.resource(source.key, &mut answer).map(Progress::Whole)
    }

    /// An upload that Google has forgotten has to be begun anew.
    fn lost(&self, source: &Source<'_>, trouble: Trouble) -> Trouble {
        match trouble.error {
            StoreError::Missing => self.link.passing(At::Key(source.key), "the upload has ended"),
            _ => trouble,
        }
    }

    fn resource(&self, key: &str, answer: &mut Answer) -> Tried<Resource> {
        let at = At::Key(key);
        let bytes = match answer.bytes(LONGEST_PAGE) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(e) => return Err(self.link.passing(at, &e.to_string())),
        };
        serde_json::from_slice(&bytes)
            .map_err(|e| self.link.odd(at, &format!("the store's receipt is unreadable: {e}")))
    }

    fn compare(&self, key: &str, resource: &Resource, sum: &Crc32c) -> Tried<()> {
        match &resource.crc32c {
            Some(theirs) if *theirs != sum.text() => {
                // Nobody shall find it; who cannot remove it says at least that it is not there.
                let _ = self.delete(key);
                Err(self.link.passing(At::Key(key), "what arrived is not what was sent"))
            }
            _ => Ok(()),
        }
    }
}

/// In answer to a put, what is missing is the bucket.
fn absent_bucket(trouble: Trouble) -> Trouble {
    match trouble.error {
        StoreError::Missing => Trouble { error: StoreError::NoBucket, ..trouble },
        _ => trouble,
    }
}

/// Reads a page of a listing. `below` makes a key relative, or says that it is none of ours.
fn page(bytes: &[u8], below: &dyn Fn(&str) -> Option<String>) -> Result<Page, String> {
    let listing: Listing = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let entry = |resource: Resource| {
        Some(Entry {
            key: below(&resource.name)?,
            size: resource.size.parse().unwrap_or_default(),
            modified: Timestamp::parse(&resource.updated),
            etag: resource.etag,
        })
    };
    let entries = listing.items.into_iter().filter_map(entry).collect();
    Ok(Page { entries, next: listing.next_page_token.filter(|token| !token.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read() {
        let text = r#"{"kind":"storage#objects","nextPageToken":"t=","items":[
            {"name":"p/a b","size":"9","updated":"2026-01-01T00:00:00.123Z","etag":"CJ="},
            {"name":"q/x","size":"1"}]}"#;
        let below = |key: &str| key.strip_prefix("p/").map(str::to_owned);
        let found = page(text.as_bytes(), &below).unwrap();
        assert_eq!(found.next.as_deref(), Some("t="));
        assert_eq!(found.entries.len(), 1);
        assert_eq!((found.entries[0].key.as_str(), found.entries[0].size), ("a b", 9));
        assert!(found.entries[0].modified.is_some());
        assert_eq!(page(b"{\"kind\":\"storage#objects\"}", &below).unwrap(), Page::default());
        assert!(page(b"<html>", &below).is_err());
    }
}
