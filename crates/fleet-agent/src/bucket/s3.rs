//! S3 and what speaks like it: Cloudflare R2, other servers, and Google Cloud Storage by its XML interface.
//!
//! Small objects go in one request, large ones in parallel parts that are put together at the end.
//! Invariant: an upload that fails leaves no object, and its parts are thrown away. Whatever was hashed goes with its
//! digest, so that the store refuses what is not what was sent.

use super::checksum::Crc32c;
use super::lanes::{Lane, Lanes, part_size};
use super::link::{At, Call, Link, NOT_SIGNED, Tried, Trouble};
use super::protocol::{Protocol, Source, conditional};
use super::wire::{Answer, Body};
use super::{Entry, Page, StoreError, escape, fault::Said, xml};
use fleet_types::{StoreKind, Timestamp};
use sha2::{Digest as _, Sha256};
use std::sync::{Mutex, PoisonError};

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MOST_PARTS: u64 = 10_000;
const LONGEST_PUT: u64 = 5 << 30;
/// A page of a thousand keys of the greatest length, escaped.
const LONGEST_PAGE: usize = 8 << 20;
/// Parts that are signed in one question.
const AHEAD: u64 = 16;
/// The error code of servers that know no conditional put.
const NOT_IMPLEMENTED: &str = "NotImplemented";

pub(super) struct S3<'a> {
    pub(super) link: &'a Link,
}

impl Protocol for S3<'_> {
    fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Tried<()> {
        let call = Call {
            digest: self.link.signs().then(|| hex::encode(Sha256::digest(bytes))),
            ..Call::new("PUT", At::Key(key)).body(Body::Bytes(bytes))
        };
        if !if_absent {
            return self.sent(&call).map(drop);
        }
        // Some servers pass over a condition that they do not know, and a signed address of Google's
        // carries none: a look before keeps out all but a race.
        if !self.is_sure_of_conditions() && self.is_there(key)? {
            return Err(StoreError::Exists.into());
        }
        if self.link.place.kind == StoreKind::Gcs {
            return self.sent(&call).map(drop);
        }
        let guarded = call.clone().header("if-none-match", "*");
        match conditional(self, key, bytes, &|number| self.link.send(&guarded, number).map(drop)) {
            Err(trouble) if trouble.code == NOT_IMPLEMENTED => {
                if self.is_there(key)? {
                    return Err(StoreError::Exists.into());
                }
                self.sent(&call).map(drop)
            }
            outcome => outcome,
        }
    }

    fn put_file(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()> {
        if source.size <= lanes.part() {
            let mut lane = lanes.take();
            let bytes = source.whole(&mut lane)?;
            return self.put(source.key, bytes, false);
        }
        match self.put_parts(source, lanes) {
            Err(trouble) if trouble.code == NOT_SIGNED && self.has_put(source) => {
                // Nobody is awake to sign parts, but the file as a whole was signed for in time.
                let _lane = lanes.take();
                let Source { read, size: length, .. } = *source;
                let body = Body::Stretch { read, from: 0, length };
                self.link.ask(&Call::new("PUT", At::Key(source.key)).body(body)).map(drop)
            }
            outcome => outcome,
        }
    }

    fn object<'k>(&self, key: &'k str) -> Call<'k> {
        Call::new("GET", At::Key(key))
    }

    fn link(&self) -> &Link {
        self.link
    }

    fn delete(&self, key: &str) -> Tried<()> {
        self.link.ask(&Call::new("DELETE", At::Key(key))).map(drop)
    }

    fn list(&self, below: &str, after: Option<&str>) -> Tried<Page> {
        let whole = self.link.whole(below);
        let mut call = Call::new("GET", At::Bucket).query(&[
            ("list-type", "2"),
            ("max-keys", "1000"),
            ("encoding-type", "url"),
            ("prefix", &whole),
        ]);
        if let Some(after) = after {
            call = call.query(&[("continuation-token", after)]);
        }
        self.link.again(|number| {
            let mut answer = self.link.send(&call, number)?;
            let text = self.text(At::Bucket, &mut answer)?;
            page(&text, &|key| self.link.below(key).map(str::to_owned))
                .map_err(|why| self.link.odd(At::Bucket, &format!("its list is unreadable: {why}")))
        })
    }
}

impl S3<'_> {
    /// Amazon and Cloudflare promise conditional puts.
    fn is_sure_of_conditions(&self) -> bool {
        let place = &self.link.place;
        let host = place.endpoint.split("://").nth(1).unwrap_or_default();
        let host = host.split(['/', ':']).next().unwrap_or_default();
        match place.kind {
            StoreKind::R2 => true,
            StoreKind::S3 => {
                host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
            }
            StoreKind::Gcs | StoreKind::Azure | StoreKind::File => false,
        }
    }

    fn is_there(&self, key: &str) -> Tried<bool> {
        // An empty object has no first byte: 416.
        let call = Call { fine: &[416], ..self.object(key).header("range", "bytes=0-0") };
        match self.link.ask(&call) {
            Ok(_) => Ok(true),
            Err(Trouble { error: StoreError::Missing, .. }) => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    fn has_put(&self, source: &Source<'_>) -> bool {
        let call = self.link.store_call(&Call::new("PUT", At::Key(source.key)));
        source.size <= LONGEST_PUT && self.link.stock.has(&call)
    }

    /// In parallel parts.
    pub(super) fn put_parts(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()> {
        let begun =
            self.begin(source.key).map_err(|trouble| Trouble { at_start: true, ..trouble })?;
        let parts = Parts::new(source, &begun, lanes);
        let tags = Mutex::new(vec![String::new(); usize::try_from(parts.count).unwrap_or(0)]);
        let outcome = lanes
            .each(parts.count, &|index, lane: &mut Lane<'_>| {
                let tag = self.put_part(&parts, index, lane)?;
                let mut tags = tags.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = tags.get_mut(usize::try_from(index).unwrap_or(usize::MAX)) {
                    *place = tag;
                }
                Ok(())
            })
            .and_then(|()| {
                let tags = tags.into_inner().unwrap_or_else(PoisonError::into_inner);
                self.finish(source, &begun, &tags)
            });
        if outcome.is_err() {
            // Its parts cost money until they are thrown away. Who cannot do it now leaves it to the
            // bucket's own rules; the failure that is told is the first one.
            let call = Call::new("DELETE", At::Key(source.key)).query(&[("uploadId", &begun)]);
            let _ = self.link.send(&call, 0);
        }
        outcome
    }

    fn begin(&self, key: &str) -> Tried<String> {
        let call = Call::new("POST", At::Key(key)).query(&[("uploads", "")]).body(Body::Bytes(&[]));
        self.link.again(|number| {
            let mut answer = self.link.send(&call, number)?;
            let text = self.text(call.at, &mut answer)?;
            let mut id = None;
            let read = xml::leaves(&text, &mut |path, text| {
                // The element around it has another name on some servers.
                if path.ends_with("/UploadId") {
                    id = Some(text.to_owned());
                }
            });
            match (read, id) {
                (Ok(()), Some(id)) if !id.is_empty() => Ok(id),
                _ => Err(self.link.odd(call.at, "the store began an upload without a name")),
            }
        })
    }

    /// Sends one part; its tag.
    fn put_part(&self, parts: &Parts<'_>, index: u64, lane: &mut Lane<'_>) -> Tried<String> {
        let (from, length) = parts.stretch(index);
        let at = At::Key(parts.source.key);
        let short = usize::try_from(length).ok().and_then(|length| lane.get_mut(..length));
        let (body, digest) = match short {
            Some(buffer) => {
                parts.source.fill(from, buffer)?;
                let digest = self.link.signs().then(|| hex::encode(Sha256::digest(&*buffer)));
                (Body::Bytes(buffer), digest)
            }
            None => (Body::Stretch { read: parts.source.read, from, length }, None),
        };
        let ahead = (index + 1..parts.count.min(index + AHEAD)).map(|index| parts.query(index));
        let call =
            Call { digest, ..Call::new("PUT", at).query(&pairs(&parts.query(index))).body(body) };
        let ahead = ahead
            .map(|query| self.link.store_call(&Call { query, ..Call::new("PUT", at) }))
            .collect();
        let answer = self.sent(&Call { ahead, ..call })?;
        match answer.header("etag") {
            Some(tag) if !tag.is_empty() => Ok(tag.to_owned()),
            _ => Err(self.link.odd(at, "the store took a part and gave no tag for it")),
        }
    }

    /// Sends bytes of an object. Google tells the sum of what arrived: what differs is sent again.
    fn sent(&self, call: &Call<'_>) -> Tried<Answer> {
        let sum = match call.body {
            Body::Bytes(bytes) if self.link.place.kind == StoreKind::Gcs => {
                Some(Crc32c::of(bytes).text())
            }
            Body::None | Body::Bytes(_) | Body::Stretch { .. } => None,
        };
        self.link.again(|number| {
            let answer = self.link.send(call, number)?;
            let theirs = answer
                .headers("x-goog-hash")
                .flat_map(|line| line.split(','))
                .find_map(|sum| sum.trim().strip_prefix("crc32c="));
            let differs = sum.as_deref().zip(theirs).is_some_and(|(ours, theirs)| ours != theirs);
            if differs {
                return Err(self.link.passing(call.at, "what arrived is not what was sent"));
            }
            Ok(answer)
        })
    }

    /// Puts the parts together.
    fn finish(&self, source: &Source<'_>, upload: &str, tags: &[String]) -> Tried<()> {
        let part = |(index, tag): (usize, &String)| {
            let (number, tag) = (index + 1, xml::escape(tag));
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let parts: String = tags.iter().enumerate().map(part).collect();
        let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let at = At::Key(source.key);
        let call = Call {
            digest: Some(hex::encode(Sha256::digest(&document))),
            thinks: true,
            ..Call::new("POST", at)
                .query(&[("uploadId", upload)])
                .body(Body::Bytes(document.as_bytes()))
        };
        let mut unheard = false;
        self.link.again(|number| {
            let outcome = self.link.send(&call, number).and_then(|mut answer| {
                let text = self.text(at, &mut answer)?;
                // It may begin with 200 and fail while it works: then the document says so.
                let said = Said::read(200, &text);
                if said.code.is_empty() { Ok(()) } else { Err(self.link.said(at, said)) }
            });
            match outcome {
                // The try before was heard after all.
                Err(trouble) if unheard && trouble.code == "NoSuchUpload" => {
                    if self.has_size(source)? { Ok(()) } else { Err(trouble) }
                }
                outcome => {
                    unheard = true;
                    outcome
                }
            }
        })
    }

    fn has_size(&self, source: &Source<'_>) -> Tried<bool> {
        let call = self.object(source.key).header("range", "bytes=0-0");
        let answer = self.link.send(&call, 0)?;
        let whole = answer.header("content-range").and_then(|range| range.rsplit('/').next());
        Ok(whole.and_then(|text| text.parse().ok()) == Some(source.size))
    }

    fn text(&self, at: At<'_>, answer: &mut Answer) -> Tried<String> {
        match answer.bytes(LONGEST_PAGE) {
            Ok(Some(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(None) => Err(self.link.odd(at, "its answer is too long")),
            Err(e) => Err(self.link.passing(at, &e.to_string())),
        }
    }
}

/// A file cut into parts.
struct Parts<'a> {
    source: &'a Source<'a>,
    upload: &'a str,
    part: u64,
    count: u64,
}

impl<'a> Parts<'a> {
    fn new(source: &'a Source<'a>, upload: &'a str, lanes: &Lanes) -> Self {
        let part = part_size(source.size, lanes.part(), MOST_PARTS);
        Self { source, upload, part, count: source.size.div_ceil(part) }
    }
    fn stretch(&self, index: u64) -> (u64, u64) {
        let from = index * self.part;
        (from, self.part.min(self.source.size - from))
    }
    fn query(&self, index: u64) -> Vec<(String, String)> {
        let number = (index + 1).to_string();
        vec![("partNumber".into(), number), ("uploadId".into(), self.upload.into())]
    }
}

fn pairs(query: &[(String, String)]) -> Vec<(&str, &str)> {
    query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Reads a page of a listing. `below` makes a key relative, or says that it is none of ours.
fn page(text: &str, below: &dyn Fn(&str) -> Option<String>) -> Result<Page, String> {
    let (mut found, mut page) = (Vec::new(), Page::default());
    let (mut entry, mut more, mut encoded, mut is_list) = (Entry::default(), false, false, false);
    xml::leaves(text, &mut |path, text| match path.strip_prefix("ListBucketResult") {
        Some("/Contents/Key") => entry.key = text.to_owned(),
        Some("/Contents/Size") => entry.size = text.trim().parse().unwrap_or_default(),
        Some("/Contents/LastModified") => entry.modified = Timestamp::parse(text.trim()),
        Some("/Contents/ETag") => entry.etag = Some(text.trim_matches('"').to_owned()),
        Some("/Contents") => found.push(std::mem::take(&mut entry)),
        Some("/IsTruncated") => more = text.trim() == "true",
        Some("/NextContinuationToken") => page.next = Some(text.to_owned()),
        Some("/EncodingType") => encoded = text.trim() == "url",
        Some("") => is_list = true,
        _ => {}
    })?;
    if !is_list {
        return Err("it is none".into());
    }
    if !more {
        page.next = None;
    } else if page.next.is_none() {
        return Err("there is more, and no way to it".into());
    }
    for mut entry in found {
        if encoded {
            entry.key = escape::unescape(&entry.key, true).ok_or("a key is no text")?;
        }
        if let Some(key) = below(&entry.key) {
            page.entries.push(Entry { key, ..entry });
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inner: &str) -> Result<Page, String> {
        let text = format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             {inner}</ListBucketResult>"
        );
        page(&text, &|key| key.strip_prefix("p/").map(str::to_owned))
    }

    #[test]
    fn pages_are_read_with_odd_keys() {
        let one = "<Contents><Key>p/a%2Bb+c%C3%BC%00</Key><Size>7</Size><ETag>&quot;e-2&quot;</ETag>\
                   <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>";
        let page =
            read(&format!("<EncodingType>url</EncodingType>{one}<IsTruncated>false</IsTruncated>"));
        let page = page.unwrap();
        assert_eq!(page.next, None);
        assert_eq!(page.entries[0].key, "a+b cü\0");
        assert_eq!((page.entries[0].size, page.entries[0].etag.as_deref()), (7, Some("e-2")));
        assert!(page.entries[0].modified.is_some());
        let page =
            read("<Contents><Key>p/a%2Bb</Key></Contents><Contents><Key>q/x</Key></Contents>")
                .unwrap();
        let keys: Vec<_> = page.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["a%2Bb"], "not escaped unless it says so, and nothing from outside");
    }

    #[test]
    fn a_list_that_breaks_off_is_no_list() {
        let more = "<IsTruncated>true</IsTruncated>";
        assert!(read(more).is_err());
        let token = "<NextContinuationToken>a=</NextContinuationToken>";
        assert_eq!(read(&format!("{more}{token}")).unwrap().next.as_deref(), Some("a="));
        assert!(page("<html></html>", &|_| None).is_err());
    }
}
