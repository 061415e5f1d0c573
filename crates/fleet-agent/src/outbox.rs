//! What goes to the controller, and the thread that writes it.
//!
//! Messages first, then a batch of log records, then a piece of a blob, round and round, so that neither a
//! flood of output nor a large checkpoint delays a state. Invariant: a blocked peer blocks this thread
//! alone, and what waits for it is bounded: logs and blobs are read from disk when there is room.

use crate::bell::Bell;
use crate::core::{Event, Wire};
use crate::error::{Doing, Error, Result};
use crate::parcel::{self, Hash, PIECE, Seal};
use crate::spool::{Reader, Spool};
use bytes::Bytes;
use fleet_agent_api::{FromAgent, Source, encode_blob, encode_message};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Messages that wait at most; a peer that lets more pile up is gone.
const LONGEST_QUEUE: usize = 4096;
/// Few records wait this long for company.
const COMPANY: Duration = Duration::from_millis(20);
const MANY_BYTES: u64 = 64 << 10;

/// One session's queue.
pub(crate) struct Outbox {
    pub(crate) number: u64,
    bell: Arc<Bell>,
    inner: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    blobs: VecDeque<BlobOrder>,
    logs_from: Option<u64>,
    /// Nothing more will come: write what is there and hang up.
    is_ending: bool,
    is_closed: bool,
}

/// A blob to send.
pub(crate) struct BlobOrder {
    pub(crate) source: Source,
    pub(crate) hash: Hash,
    pub(crate) path: PathBuf,
    pub(crate) seal: Seal,
    pub(crate) from: u64,
}

impl Outbox {
    pub(crate) fn new(number: u64, bell: Arc<Bell>) -> Self {
        Self { number, bell, inner: Mutex::default() }
    }
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Queues a message.
    pub(crate) fn say(&self, message: &FromAgent) {
        match encode_message(message) {
            Ok(frame) => {
                let mut queue = self.lock();
                queue.messages.push_back(frame);
                if queue.messages.len() > LONGEST_QUEUE {
                    queue.is_closed = true;
                }
            }
            // A state too long for a frame: an end is better than half a truth.
            Err(e) => {
                crate::note(&format!("a message could not be written: {e}"));
                self.lock().is_closed = true;
            }
        }
        self.bell.ring();
    }
    /// Queues a sign of life, unless the peer does not even take what is there.
    pub(crate) fn beat(&self, message: &FromAgent) {
        if self.lock().messages.len() < 64 {
            self.say(message);
        }
    }
    pub(crate) fn send_logs(&self, from: u64) {
        self.lock().logs_from = Some(from);
        self.bell.ring();
    }
    /// Queues blobs in place of what was asked of the same source before.
    pub(crate) fn send_blobs(&self, source: &Source, orders: Vec<BlobOrder>) {
        let mut queue = self.lock();
        queue.blobs.retain(|o| o.source != *source);
        queue.blobs.extend(orders);
        drop(queue);
        self.bell.ring();
    }
    pub(crate) fn forget_blobs(&self, source: &Source) {
        self.lock().blobs.retain(|o| o.source != *source);
    }
    /// Writes what is queued, then hangs up.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.bell.ring();
    }
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.bell.ring();
    }
}

/// Writes a session's queue to its socket until either ends.
pub(crate) fn write(outbox: &Outbox, stream: &UnixStream, spool: &Arc<Spool>, wire: &Wire) {
    let mut writer = Writer { outbox, stream, wire, logs: None, sending: None, last_log: None };
    if let Err(e) = writer.run(spool) {
        crate::note(&format!("session {}: {e}", outbox.number));
    }
    outbox.close();
    // The reader of this session sits in a read: this ends it.
    let _ = stream.shutdown(Shutdown::Both);
}

struct Writer<'a> {
    outbox: &'a Outbox,
    stream: &'a UnixStream,
    wire: &'a Wire,
    logs: Option<Reader>,
    sending: Option<Sending>,
    last_log: Option<Instant>,
}

struct Sending {
    order: BlobOrder,
    file: File,
}

impl Writer<'_> {
    fn run(&mut self, spool: &Arc<Spool>) -> Result<()> {
        loop {
            let seen = self.outbox.bell.count();
            let (messages, logs_from, is_ending) = {
                let mut queue = self.outbox.lock();
                if queue.is_closed {
                    return Ok(());
                }
                let messages = std::mem::take(&mut queue.messages);
                (messages, queue.logs_from.take(), queue.is_ending)
            };
            for message in &messages {
                self.put(message)?;
            }
            if is_ending {
                return Ok(());
            }
            if let Some(from) = logs_from {
                self.logs = Some(spool.reader(from)?);
            }
            let wait = self.logs()?;
            let is_busy = wait.is_zero() || self.piece()?;
            if !is_busy {
                self.outbox.bell.wait(seen, wait);
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).doing(|| "write to the controller".into())
    }

    /// Sends a batch if one is due. Zero: there may be more; else how long to wait at most.
    fn logs(&mut self) -> Result<Duration> {
        const LONG: Duration = Duration::from_secs(60);
        let Some(reader) = &mut self.logs else { return Ok(LONG) };
        let behind = reader.behind();
        if behind == 0 {
            return Ok(LONG);
        }
        let since = self.last_log.map_or(COMPANY, |at| at.elapsed());
        if behind < MANY_BYTES && since < COMPANY {
            // Not zero, which would mean that there is work at once.
            return Ok((COMPANY - since).max(Duration::from_millis(1)));
        }
        let records = reader.batch()?;
        if !records.is_empty() {
            self.put(&encode_message(&FromAgent::Log { records })?)?;
        }
        self.last_log = Some(Instant::now());
        // One piece of a blob goes between two batches.
        self.piece()?;
        Ok(Duration::ZERO)
    }

    /// Sends one piece of a blob; whether there was one.
    fn piece(&mut self) -> Result<bool> {
        if self.sending.is_none() {
            let Some(order) = self.outbox.lock().blobs.pop_front() else { return Ok(false) };
            match parcel::open_sealed(&order.path, &order.seal) {
                Ok(file) => self.sending = Some(Sending { order, file }),
                Err(e) => {
                    self.lost(&order.source, &e);
                    return Ok(true);
                }
            }
        }
        let Some(mut sending) = self.sending.take() else { return Ok(false) };
        match sending.next() {
            Ok(frame) => {
                self.put(&frame)?;
                let BlobOrder { from, seal, .. } = &sending.order;
                if *from < seal.size {
                    self.sending = Some(sending);
                }
            }
            Err(e) => self.lost(&sending.order.source, &e),
        }
        Ok(true)
    }

    /// The bytes are no longer what was offered.
    fn lost(&mut self, source: &Source, error: &Error) {
        self.outbox.forget_blobs(source);
        // The daemon is leaving when nobody listens.
        let _ = self.wire.send(Event::Lost(source.clone(), error.to_string()));
    }
}

impl Sending {
    fn next(&mut self) -> Result<Bytes> {
        let BlobOrder { hash, path, seal, from, .. } = &mut self.order;
        let length = seal.size.saturating_sub(*from).min(PIECE as u64) as usize;
        let mut buffer = vec![0; length];
        self.file
            .read_exact_at(&mut buffer, *from)
            .doing(|| format!("read `{}`", path.display()))?;
        parcel::check_seal(&self.file, path, seal)?;
        let frame = encode_blob(hash, *from, seal.size, &buffer);
        *from += length as u64;
        Ok(frame)
    }
}
