//! The task's output on its way into the store, in compressed pieces.
//!
//! A piece is named by the offset at which it begins and ends at a record's end, so the pieces of an epoch in
//! the order of their names are its output. Invariant: without gap and without repeat, over restarts and
//! lost answers too: where a piece is there already, the next one begins at the end of what is in it.
//! Where records were given back before they came here, one record says so in their place.

use crate::bucket::{Bucket, StoreError};
use crate::clock;
use crate::core::{Event, Wire};
use crate::error::{Doing, Error, Result};
use crate::publish::{Publisher, Told};
use crate::spool::Spool;
use crate::store::{Failure, Pace, Store};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use fleet_agent_api::{LogRecord, Source, StoreCall};
use fleet_types::bucket::key;
use fleet_types::{Epoch, LogStream};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A piece ends with the batch that brings it to this many bytes of text.
const PIECE: u64 = 1 << 20;
/// Where there is a signature for a single piece and nobody who gives another, it may become so long.
const LONGEST_PIECE: u64 = 8 << 20;
/// No piece that an agent wrote is longer, packed or unpacked.
const READ_LIMIT: usize = 32 << 20;
/// How often it is looked whether there is a piece's worth.
const LOOK: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(30);
/// Signatures are asked for ahead this often, and so that they last.
const STOCK_EVERY: Duration = Duration::from_secs(600);
const STOCK_LIFE: Duration = Duration::from_secs(3000);
/// After an error of this machine's own disk.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
/// What passes is told when it has not passed after so many tries.
const TOLD_AFTER: u32 = 5;
const LONG: Duration = Duration::from_secs(3600);
/// The last lines, for readers of an outcome record: so many, and so many bytes of them.
const TAIL_RECORDS: usize = 100;
const TAIL_BYTES: usize = 64 << 10;

/// How the core reaches the thread.
pub(crate) struct Journal {
    store: Arc<Store>,
    /// The task is gone: what is there is all.
    is_last: Arc<AtomicBool>,
}

impl Journal {
    /// Starts carrying what lies behind `from`. `every`: time between two pieces, if not the usual.
    pub(crate) fn start(
        epoch: Epoch,
        spool: &Arc<Spool>,
        (store, publisher): (&Arc<Store>, &Publisher),
        wire: Wire,
        from: u64,
        every: Option<Duration>,
    ) -> Self {
        let from = from.min(spool.end());
        spool.keep_for_store(from);
        let is_last = Arc::new(AtomicBool::new(false));
        let mut carrier = Carrier {
            epoch,
            spool: Arc::clone(spool),
            store: Arc::clone(store),
            publisher: publisher.clone(),
            wire,
            is_last: Arc::clone(&is_last),
            every: every.unwrap_or(EVERY),
            from,
            stocked: None,
        };
        thread::spawn(move || carrier.run());
        Self { store: Arc::clone(store), is_last }
    }

    /// The task is gone: carry the rest, and say when it is there.
    pub(crate) fn finish(&self) {
        self.is_last.store(true, Ordering::SeqCst);
        self.store.bell.ring();
    }
}

/// The last lines of a spool.
pub(crate) fn tail(spool: &Arc<Spool>) -> Result<Vec<LogRecord>> {
    let mut reader = spool.reader(spool.end().saturating_sub(4 * TAIL_BYTES as u64))?;
    let mut records = Vec::new();
    while reader.behind() > 0 {
        let before = reader.at();
        records.extend(reader.batch()?);
        if reader.at() == before {
            break;
        }
    }
    let mut bytes = 0;
    let fits = |record: &&LogRecord| {
        bytes += record.line.len();
        bytes <= TAIL_BYTES
    };
    let count = records.iter().rev().take(TAIL_RECORDS).take_while(fits).count();
    Ok(records.split_off(records.len() - count))
}

struct Carrier {
    epoch: Epoch,
    spool: Arc<Spool>,
    store: Arc<Store>,
    publisher: Publisher,
    wire: Wire,
    is_last: Arc<AtomicBool>,
    every: Duration,
    /// Up to here all is in the store.
    from: u64,
    stocked: Option<Instant>,
}

impl Carrier {
    fn run(&mut self) {
        let mut carried = Instant::now();
        loop {
            let seen = self.store.bell.count();
            let is_last = self.is_last.load(Ordering::SeqCst);
            let behind = self.spool.end().saturating_sub(self.from);
            let is_due = is_last || behind >= PIECE || carried.elapsed() >= self.every;
            if is_due {
                carried = Instant::now();
            }
            if is_due && behind > 0 {
                self.carry();
                self.tell(Told::Logs(self.from));
                self.stocked = None;
            } else if is_last {
                return self.tell(Told::Logs(self.from));
            } else {
                self.stock();
                let left = self.every.saturating_sub(carried.elapsed());
                self.store.bell.wait(seen, left.clamp(Duration::from_millis(10), LOOK));
            }
        }
    }

    fn tell(&self, told: Told) {
        // The daemon is leaving when nobody listens.
        let _ = self.wire.send(Event::Told(told));
    }

    /// Puts one piece, trying until it is there.
    fn carry(&mut self) {
        let (mut pace, mut limit, mut tries, mut is_told) = (Pace::new(), PIECE, 0, false);
        loop {
            let (seen, was_last) = (self.store.renewals(), self.is_last.load(Ordering::SeqCst));
            let wait = match self.store.bucket().map(|bucket| self.piece(&bucket, limit)) {
                Some(Ok(end)) => {
                    self.from = end;
                    return self.spool.ship(end);
                }
                Some(Err(failure)) => {
                    tries += 1;
                    let text = failure.to_string();
                    let (wait, is_due) = match failure {
                        Failure::Store { error, .. } => {
                            if error.is_passing() {
                                limit = (limit * 2).min(LONGEST_PIECE);
                            }
                            let is_due = !error.is_passing() || tries >= TOLD_AFTER;
                            (pace.after(&error, self.publisher.is_in_a_hurry()), is_due)
                        }
                        Failure::Local(_) | Failure::Outdated => (LOCAL_PAUSE, true),
                    };
                    if is_due && !std::mem::replace(&mut is_told, true) {
                        crate::note(&text);
                        // While the task runs, its checkpoints tell what is wrong with the store.
                        if was_last {
                            self.tell(Told::Trouble(Source::Output, text));
                        }
                    }
                    wait
                }
                // The controller knows that it has not named the store.
                None => LONG,
            };
            let is_over = || self.is_last.load(Ordering::SeqCst) && !was_last;
            self.store.rest(wait, seen, &is_over);
            is_told &= was_last || !is_over();
        }
    }

    /// Puts a piece of what is there; where it ends.
    fn piece(&self, bucket: &Bucket, limit: u64) -> std::result::Result<u64, Failure> {
        let (bytes, end) = pack(&self.spool, self.from, limit).map_err(Failure::Local)?;
        let name = key::log(self.epoch, self.from);
        let write = || Failure::of("write", &name);
        match bucket.put(&name, &bytes, true) {
            Ok(()) => return Ok(end),
            Err(StoreError::Exists) => {}
            Err(error) => return Err(write()(error)),
        }
        let there = bucket.get(&name, READ_LIMIT).map_err(Failure::of("read", &name))?;
        match end_of(&there) {
            // Put by a try whose answer was lost, or before the agent was started again.
            Some(end) if end > self.from && end <= self.spool.end() => Ok(end),
            _ => bucket.put(&name, &bytes, false).map(|()| end).map_err(write()),
        }
    }

    /// Has the requests of the next while signed, where this machine has no key.
    fn stock(&mut self) {
        if self.stocked.is_some_and(|at| at.elapsed() < STOCK_EVERY) {
            return;
        }
        self.stocked = Some(Instant::now());
        if let Some(bucket) = self.store.bucket() {
            let mut calls = self.publisher.calls_ahead();
            let key = key::log(self.epoch, self.from);
            calls.push(StoreCall { method: "PUT".into(), key, query: Vec::new() });
            // Without contact there is none; the next try may have some.
            let _ = bucket.stock(&calls, STOCK_LIFE);
        }
    }
}

/// Packs records behind `from`; where they end.
fn pack(spool: &Arc<Spool>, from: u64, limit: u64) -> Result<(Vec<u8>, u64)> {
    let what = || "pack the log".to_owned();
    let mut reader = spool.reader(from)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let mut put = |record: &LogRecord| {
        let mut line = serde_json::to_vec(record).map_err(|e| Error::Refused(e.to_string()))?;
        line.push(b'\n');
        packed.write_all(&line).doing(what)?;
        Ok::<u64, Error>(line.len() as u64)
    };
    let mut length = 0;
    if reader.at() > from {
        length += put(&gap(from, reader.at()))?;
    }
    while length < limit && reader.behind() > 0 {
        let before = reader.at();
        for record in reader.batch()? {
            length += put(&record)?;
        }
        if reader.at() == before {
            break;
        }
    }
    Ok((packed.finish().doing(what)?, reader.at()))
}

/// Stands for records that were given back.
fn gap(from: u64, to: u64) -> LogRecord {
    LogRecord {
        offset: to,
        at: clock::now(),
        stream: LogStream::Stderr,
        line: format!(
            "[fleet: {} bytes of output are missing here: the store was not reached while the \
             spool was full; the controller has them]",
            to - from
        ),
    }
}

/// The end of the last record in a piece; nothing where it is no piece.
fn end_of(packed: &[u8]) -> Option<u64> {
    let mut last = None;
    for line in BufReader::new(GzDecoder::new(packed).take(READ_LIMIT as u64)).lines() {
        last = Some(serde_json::from_str::<LogRecord>(&line.ok()?).ok()?.offset);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> Vec<LogRecord> {
        let lines = BufReader::new(GzDecoder::new(packed)).lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    fn spool(dir: &tempfile::TempDir) -> Arc<Spool> {
        Arc::new(Spool::open(&dir.path().join("spool"), Arc::default()).unwrap())
    }

    #[test]
    fn pieces_join_and_end_near_their_limit() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir);
        for i in 0..5000 {
            spool.append(LogStream::Stdout, &mut vec![format!("line {i}"); 8]).unwrap();
        }
        let (mut from, mut all, mut pieces) = (0, Vec::new(), 0);
        while from < spool.end() {
            let (packed, end) = pack(&spool, from, PIECE).unwrap();
            assert_eq!(end_of(&packed), Some(end), "a later agent finds where it ends");
            let records = unpack(&packed);
            let text: usize =
                records.iter().map(|r| serde_json::to_vec(r).unwrap().len() + 1).sum();
            assert!(text < PIECE as usize * 3 / 2, "{text}");
            (from, pieces) = (end, pieces + 1);
            all.extend(records);
        }
        assert_eq!((all.len(), pieces), (40_000, 4));
        assert!(all.windows(2).all(|w| w[0].offset < w[1].offset));
        assert_eq!(tail(&spool).unwrap(), all[all.len() - TAIL_RECORDS..]);
        assert_eq!(end_of(b"no piece"), None);
    }

    #[test]
    fn what_was_given_back_before_it_came_here_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir);
        let long = "x".repeat(crate::lines::LONGEST);
        while spool.end() < 80 << 20 {
            spool.append(LogStream::Stdout, &mut vec![long.clone(); 16]).unwrap();
        }
        let given_back = spool.end();
        spool.ack(given_back);
        spool.append(LogStream::Stdout, &mut vec!["last".to_owned()]).unwrap();
        let (packed, end) = pack(&spool, 0, PIECE).unwrap();
        let records = unpack(&packed);
        assert_eq!(end, spool.end());
        assert_eq!((records.len(), records[0].offset), (2, given_back));
        assert!(records[0].line.contains(&format!("{given_back} bytes")), "{}", records[0].line);
        assert_eq!(records[1].line, "last");
    }
}
