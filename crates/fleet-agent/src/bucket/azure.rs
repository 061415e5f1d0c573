//! Azure Blob Storage, opened by a shared access signature.
//!
//! Small objects are put as one blob, large ones in parallel blocks and a list of them. Invariant: a blob exists once
//! its list is committed; blocks without a list are no blob, and Azure throws them away after a week.

use super::checksum::Crc64;
use super::escape::http_date;
use super::lanes::{Lane, Lanes, part_size};
use super::link::{At, Call, Link, Tried};
use super::protocol::{Protocol, Source, conditional};
use super::wire::Body;
use super::{Entry, Page, xml};
use std::sync::atomic::Ordering;

/// <https://learn.microsoft.com/azure/storage/blobs/scalability-targets>
const MOST_BLOCKS: u64 = 50_000;
const LONGEST_PAGE: usize = 8 << 20;
/// Azure refuses what has another sum.
const SUM: &str = "x-ms-content-crc64";
/// What Azurite says to a header that it does not know.
const NO_SUCH_FEATURE: &str = "FeatureNotSupported";

pub(super) struct Azure<'a> {
    pub(super) link: &'a Link,
}

impl Protocol for Azure<'_> {
    fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Tried<()> {
        let call = Call::new("PUT", At::Key(key))
            .header("x-ms-blob-type", "BlockBlob")
            .body(Body::Bytes(bytes));
        if !if_absent {
            return self.with_sum(&call, bytes, &|call| self.link.ask(call).map(drop));
        }
        let guarded = call.header("if-none-match", "*");
        self.with_sum(&guarded, bytes, &|call| {
            conditional(self, key, bytes, &|number| self.link.send(call, number).map(drop))
        })
    }

    fn put_file(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()> {
        if source.size <= lanes.part() {
            let mut lane = lanes.take();
            let bytes = source.whole(&mut lane)?;
            return self.put(source.key, bytes, false);
        }
        let block = part_size(source.size, lanes.part(), MOST_BLOCKS);
        let count = source.size.div_ceil(block);
        lanes.each(count, &|index, lane: &mut Lane<'_>| {
            let from = index * block;
            self.put_block(source, index, from, block.min(source.size - from), lane)
        })?;
        let list: String =
            (0..count).map(|index| format!("<Latest>{}</Latest>", id(index))).collect();
        let list =
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>");
        let call = Call {
            thinks: true,
            ..Call::new("PUT", At::Key(source.key))
                .query(&[("comp", "blocklist")])
                .body(Body::Bytes(list.as_bytes()))
        };
        self.link.ask(&call).map(drop)
    }

    fn object<'k>(&self, key: &'k str) -> Call<'k> {
        Call::new("GET", At::Key(key))
    }

    fn delete(&self, key: &str) -> Tried<()> {
        self.link.ask(&Call::new("DELETE", At::Key(key))).map(drop)
    }

    fn list(&self, below: &str, after: Option<&str>) -> Tried<Page> {
        let whole = self.link.whole(below);
        let mut call = Call::new("GET", At::Bucket).query(&[
            ("restype", "container"),
            ("comp", "list"),
            ("maxresults", "1000"),
            ("prefix", &whole),
        ]);
        if let Some(after) = after {
            call = call.query(&[("marker", after)]);
        }
        self.link.again(|number| {
            let mut answer = self.link.send(&call, number)?;
            let bytes = match answer.bytes(LONGEST_PAGE) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Err(self.link.odd(At::Bucket, "its list is too long")),
                Err(e) => return Err(self.link.passing(At::Bucket, &e.to_string())),
            };
            page(&String::from_utf8_lossy(&bytes), &|key| self.link.below(key).map(str::to_owned))
                .map_err(|why| self.link.odd(At::Bucket, &format!("its list is unreadable: {why}")))
        })
    }

    fn link(&self) -> &Link {
        self.link
    }
}

impl Azure<'_> {
    /// Sends with the sum of the bytes; without, where the server is an emulator that knows none.
    fn with_sum(
        &self,
        call: &Call<'_>,
        bytes: &[u8],
        send: &dyn Fn(&Call<'_>) -> Tried<()>,
    ) -> Tried<()> {
        if self.link.knows_sums.load(Ordering::Relaxed) {
            match send(&call.clone().header(SUM, Crc64::of(bytes).text())) {
                Err(trouble) if trouble.code == NO_SUCH_FEATURE => {
                    self.link.knows_sums.store(false, Ordering::Relaxed);
                }
                outcome => return outcome,
            }
        }
        send(call)
    }

    fn put_block(
        &self,
        source: &Source<'_>,
        index: u64,
        from: u64,
        length: u64,
        lane: &mut Lane<'_>,
    ) -> Tried<()> {
        let query = [("comp", "block"), ("blockid", &id(index))];
        let call = Call::new("PUT", At::Key(source.key)).query(&query);
        let short = usize::try_from(length).ok().and_then(|length| lane.get_mut(..length));
        let call = match short {
            Some(buffer) => {
                source.fill(from, buffer)?;
                let call = call.body(Body::Bytes(buffer));
                return self.with_sum(&call, buffer, &|call| self.link.ask(call).map(drop));
            }
            None => call.body(Body::Stretch { read: source.read, from, length }),
        };
        self.link.ask(&call).map(drop)
    }
}

/// The name of a block: base64, and of one length within a blob. Twelve digits are both.
fn id(index: u64) -> String {
    format!("{index:012}")
}

/// Reads a page of a listing. `below` makes a key relative, or says that it is none of ours.
fn page(text: &str, below: &dyn Fn(&str) -> Option<String>) -> Result<Page, String> {
    let (mut page, mut entry, mut is_list) = (Page::default(), Entry::default(), false);
    xml::leaves(text, &mut |path, text| match path.strip_prefix("EnumerationResults") {
        Some("/Blobs/Blob/Name") => entry.key = text.to_owned(),
        Some("/Blobs/Blob/Properties/Content-Length") => {
            entry.size = text.trim().parse().unwrap_or_default();
        }
        Some("/Blobs/Blob/Properties/Last-Modified") => entry.modified = http_date(text.trim()),
        Some("/Blobs/Blob/Properties/Etag") => entry.etag = Some(text.trim_matches('"').to_owned()),
        Some("/Blobs/Blob") => {
            let entry = std::mem::take(&mut entry);
            page.entries.extend(below(&entry.key).map(|key| Entry { key, ..entry }));
        }
        Some("/NextMarker") => page.next = Some(text.to_owned()).filter(|text| !text.is_empty()),
        Some("") => is_list = true,
        _ => {}
    })?;
    if is_list { Ok(page) } else { Err("it is none".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_with_odd_names() {
        let text = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>p/</Prefix>\
            <Blobs><Blob><Name>p/a &amp; b+ü</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 GMT\
            </Last-Modified><Etag>0x8D</Etag><Content-Length>9</Content-Length></Properties></Blob>\
            <Blob><Name Encoded=\"true\">p/x%EF%BF%BE</Name><Properties/></Blob></Blobs>\
            <NextMarker>2!8</NextMarker></EnumerationResults>";
        let page = page(text, &|key| key.strip_prefix("p/").map(str::to_owned)).unwrap();
        assert_eq!(page.entries[0].key, "a & b+ü");
        assert_eq!((page.entries[0].size, page.entries[0].etag.as_deref()), (9, Some("0x8D")));
        assert!(page.entries[0].modified.is_some());
        assert_eq!(page.entries[1].key, "x\u{fffe}");
        assert_eq!(page.next.as_deref(), Some("2!8"));
        let last = text.replace("<NextMarker>2!8</NextMarker>", "<NextMarker/>");
        assert_eq!(super::page(&last, &|_| None).unwrap().next, None);
        assert!(super::page("<html/>", &|_| None).is_err());
    }

    #[test]
    fn blocks_have_names_of_one_length() {
        assert_eq!(id(7), "000000000007");
        assert_eq!(id(49_999).len() % 4, 0);
    }
}
