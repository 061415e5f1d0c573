//! What every store on the network can do, and what they do alike.
//!
//! Invariant: bytes are handed out in order, each once, however often the line breaks.

use super::lanes::{Lane, Lanes};
use super::link::{At, Call, Link, Tried, Trouble};
use super::wire::{Answer, ReadAt};
use super::{Page, StoreError};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _};

/// A gain that makes a broken line worth all its tries again.
const GAIN: u64 = 1 << 20;
const PIECE: usize = 64 << 10;

/// A store's protocol.
pub(super) trait Protocol {
    fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Tried<()>;
    fn put_file(&self, source: &Source<'_>, lanes: &Lanes) -> Tried<()>;
    /// The call for an object's bytes.
    fn object<'k>(&self, key: &'k str) -> Call<'k>;
    fn delete(&self, key: &str) -> Tried<()>;
    fn list(&self, below: &str, after: Option<&str>) -> Tried<Page>;
    fn link(&self) -> &Link;
}

/// A local file to be sent.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) key: &'a str,
    pub(super) size: u64,
    pub(super) sha256: Option<&'a [u8; 32]>,
    pub(super) read: ReadAt<'a>,
}

impl Source<'_> {
    /// Reads the file from an offset until the buffer is full.
    pub(super) fn fill(&self, from: u64, buffer: &mut [u8]) -> Tried<()> {
        (self.read)(from, buffer)
            .map_err(|e| StoreError::Changed(format!("`{}`: {e}", self.key.escape_debug())).into())
    }

    /// The whole file in a lane's buffer; it is no longer than that.
    pub(super) fn whole<'l>(&self, lane: &'l mut Lane<'_>) -> Tried<&'l [u8]> {
        let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(lane.len());
        self.fill(0, &mut lane[..length])?;
        let bytes = &lane[..length];
        if self.sha256.is_some_and(|wanted| Sha256::digest(bytes)[..] != wanted[..]) {
            return Err(self.other_digest().into());
        }
        Ok(bytes)
    }

    pub(super) fn other_digest(&self) -> StoreError {
        StoreError::Changed(format!("`{}` has another digest now", self.key.escape_debug()))
    }
}

/// Puts under a condition. A try whose answer was lost may have succeeded: what is there then is ours if it
/// is what we sent.
pub(super) fn conditional(
    protocol: &dyn Protocol,
    key: &str,
    bytes: &[u8],
    attempt: &dyn Fn(u32) -> Tried<()>,
) -> Tried<()> {
    let mut unheard = false;
    let outcome = protocol.link().again(|number| {
        let outcome = attempt(number);
        if outcome.as_ref().is_err_and(|trouble| trouble.error.is_passing()) {
            unheard = true;
        }
        outcome
    });
    match outcome {
        Err(Trouble { error: StoreError::Exists, .. }) if unheard => {
            match get(protocol, key, bytes.len()) {
                Ok(there) if there == bytes => Ok(()),
                _ => Err(StoreError::Exists.into()),
            }
        }
        outcome => outcome,
    }
}

/// A whole object, no longer than `limit`.
pub(super) fn get(protocol: &dyn Protocol, key: &str, limit: usize) -> Tried<Vec<u8>> {
    let link = protocol.link();
    let call = Call { expected: limit as u64, ..protocol.object(key) };
    link.again(|number| {
        let mut answer = link.send(&call, number)?;
        match answer.bytes(limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(link.odd(call.at, &format!("it is longer than {limit} bytes"))),
            Err(e) => Err(link.passing(call.at, &e.to_string())),
        }
    })
}

/// A stretch of an object, piece by piece; how much there was. A broken line is taken up where it broke.
pub(super) fn get_range(
    protocol: &dyn Protocol,
    key: &str,
    from: u64,
    length: u64,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Tried<u64> {
    let mut stretch =
        Stretch { protocol, key, at: from, end: from.saturating_add(length), tag: None };
    loop {
        let before = stretch.at;
        let outcome = protocol.link().again(|number| stretch.go_on(number, out));
        match outcome {
            Ok(()) => return Ok(stretch.at - from),
            Err(trouble) if trouble.error.is_passing() && stretch.at - before >= GAIN => {}
            Err(trouble) => return Err(trouble),
        }
    }
}

/// A stretch on its way.
struct Stretch<'a> {
    protocol: &'a dyn Protocol,
    key: &'a str,
    at: u64,
    end: u64,
    /// Of the object whose beginning was handed out.
    tag: Option<String>,
}

impl Stretch<'_> {
    fn go_on(&mut self, number: u32, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Tried<()> {
        if self.at >= self.end {
            return Ok(());
        }
        let link = self.protocol.link();
        // Numbers above this are none to many servers: then it goes to the object's end.
        let last = self.end - 1;
        let last = if last < u64::from(u32::MAX) << 20 { last.to_string() } else { String::new() };
        let range = format!("bytes={}-{last}", self.at);
        let call = self.protocol.object(self.key).header("range", range);
        let expected = self.end - self.at;
        let mut answer = link.send(&Call { expected, fine: &[416], ..call }, number)?;
        if answer.status == 416 {
            // It ends before.
            return Ok(());
        }
        let mut over = self.skip(&answer)?;
        let mut buffer = vec![0; PIECE];
        let mut reader = answer.reader();
        while self.at < self.end {
            let length = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(link.passing(At::Key(self.key), &e.to_string())),
            };
            let skipped = over.min(length as u64);
            over -= skipped;
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let piece = &buffer[usize::try_from(skipped).unwrap_or(length)..length];
            let piece = &piece[..piece.len().min(left)];
            out(piece).map_err(|e| {
                link.odd(At::Key(self.key), &format!("what was read cannot be kept: {e}"))
            })?;
            self.at += piece.len() as u64;
        }
        Ok(())
    }

    /// How many bytes of an answer come before the stretch.
    fn skip(&mut self, answer: &Answer) -> Tried<u64> {
        let odd = |why: &str| self.protocol.link().odd(At::Key(self.key), why);
        let tag = answer.header("etag").map(str::to_owned);
        if self.tag.is_some() && self.tag != tag {
            return Err(odd("it was written anew while it was read"));
        }
        let starts = answer
            .header("content-range")
            .and_then(|text| text.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        // The range that it tells counts, not the status: some say 200 with one.
        let over = match (answer.status, starts) {
            (_, Some(starts)) if starts == self.at => 0,
            (206, None) | (_, Some(_)) => {
                return Err(odd("the store answers with another stretch of it"));
            }
            // A server that knows no ranges sends the whole.
            (_, None) => self.at,
        };
        self.tag = tag;
        Ok(over)
    }
}
