//! The task's output on disk, until the controller has it.
//!
//! One JSON record a line; a record's offset is the file position behind it, so a reader can begin at any
//! offset it was told before. Invariant: lossless and in order, whoever is in contact; only when a
//! gibibyte waits unacknowledged are lines dropped, and then the log says how many. Room below
//! acknowledged offsets is given back by punching holes, which leaves every offset valid. Where the job's
//! store gets the output too, room is given back when both have it, and when either has it once it runs
//! short.

use crate::bell::Bell;
use crate::clock;
use crate::error::{Doing, Result};
use fleet_agent_api::LogRecord;
use fleet_types::{LogStream, Timestamp};
use nix::fcntl::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Unacknowledged output beyond this many bytes is dropped.
const CAP: u64 = 1 << 30;
/// So many bytes of it, and room is given back where either the controller or the store has them.
const SHORT: u64 = CAP / 4 * 3;
/// Acknowledged output is given back to the disk in steps of this many bytes.
const FORGET: u64 = 64 << 20;
/// A frame of records ends at this many bytes or records.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_RECORDS: usize = 256;
/// The longest record: a piece whose every byte is escaped, and its head.
const LONGEST_RECORD: usize = 6 * crate::lines::LONGEST + 256;

#[derive(Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    stream: LogStream,
    line: String,
}

/// The spool's writing end.
pub(crate) struct Spool {
    path: PathBuf,
    bell: Arc<Bell>,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    end: u64,
    /// The controller has everything before it.
    acked: u64,
    /// The store has everything before it, where it gets the output.
    shipped: Option<u64>,
    forgotten: u64,
    dropped: u64,
    text: Vec<u8>,
}

impl Spool {
    /// Opens or makes the spool; a record that a crash cut in two is removed.
    pub(crate) fn open(path: &Path, bell: Arc<Bell>) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .doing(|| format!("open `{}`", path.display()))?;
        let end = whole_records(&file).doing(|| format!("read `{}`", path.display()))?;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .doing(|| format!("repair `{}`", path.display()))?;
        let inner = Inner {
            file,
            end,
            acked: 0,
            shipped: None,
            forgotten: 0,
            dropped: 0,
            text: Vec::new(),
        };
        Ok(Self { path: path.to_owned(), bell, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds lines, all of this moment.
    pub(crate) fn append(&self, stream: LogStream, lines: &mut Vec<String>) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let (at, mut inner) = (clock::now(), self.lock());
        inner.text.clear();
        for line in lines.drain(..) {
            inner.add(at, stream, line);
        }
        let written = inner.flush();
        drop(inner);
        self.bell.ring();
        written.doing(|| format!("write `{}`", self.path.display()))
    }

    /// End of the spool in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end
    }

    /// The controller has everything up to `offset`.
    pub(crate) fn ack(&self, offset: u64) {
        let mut inner = self.lock();
        inner.acked = inner.acked.max(offset.min(inner.end));
        inner.forget();
    }

    /// From now on the store gets the output too; it has everything up to `offset`.
    pub(crate) fn keep_for_store(&self, offset: u64) {
        let mut inner = self.lock();
        inner.shipped = Some(offset.min(inner.end));
    }

    /// The store has everything up to `offset`.
    pub(crate) fn ship(&self, offset: u64) {
        let mut inner = self.lock();
        let offset = offset.min(inner.end);
        inner.shipped = inner.shipped.map(|shipped| shipped.max(offset));
        inner.forget();
    }

    /// A reader that begins at `from`.
    pub(crate) fn reader(self: &Arc<Self>, from: u64) -> Result<Reader> {
        let file = File::open(&self.path).doing(|| format!("open `{}`", self.path.display()))?;
        let (end, forgotten) = {
            let inner = self.lock();
            (inner.end, inner.forgotten)
        };
        let cursor = from.clamp(forgotten, end);
        Ok(Reader { spool: Arc::clone(self), file, cursor, buffer: vec![0; LONGEST_RECORD] })
    }
}

impl Inner {
    /// What of the spool is needed here: nothing before this.
    fn needed(&self) -> u64 {
        let shipped = self.shipped.unwrap_or(self.acked);
        let both = self.acked.min(shipped);
        if self.end - both < SHORT { both } else { self.acked.max(shipped) }
    }
    fn forget(&mut self) {
        let needed = self.needed();
        if needed.saturating_sub(self.forgotten) >= FORGET {
            let (from, length) = (self.forgotten, needed - self.forgotten);
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // A file system without holes keeps the bytes; offsets are the same either way.
            let _ = fallocate(&self.file, flags, from as i64, length as i64);
            self.forgotten = needed;
        }
    }
    fn add(&mut self, at: Timestamp, stream: LogStream, line: String) {
        if self.end + self.text.len() as u64 - self.needed() > CAP {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            let lost = std::mem::take(&mut self.dropped);
            let line = format!("[fleet: {lost} lines are missing here: the spool was full]");
            self.put(&Line { at, stream: LogStream::Stderr, line });
        }
        self.put(&Line { at, stream, line });
    }
    fn put(&mut self, line: &Line) {
        // Writing to memory does not fail, and the record has no map that could.
        if serde_json::to_writer(&mut self.text, line).is_ok() {
            self.text.push(b'\n');
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        if let Err(e) = self.file.write_all(&self.text) {
            // The disk is full: what was half written goes, so that offsets stay those of records.
            self.file.set_len(self.end)?;
            self.file.seek(SeekFrom::Start(self.end))?;
            self.dropped += self.text.iter().filter(|b| **b == b'\n').count() as u64;
            return Err(e);
        }
        self.end += self.text.len() as u64;
        if self.text.capacity() > 1 << 20 {
            self.text = Vec::new();
        }
        Ok(())
    }
}

/// Length of the file up to its last whole record.
fn whole_records(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    while end > 0 {
        let from = end.saturating_sub(buffer.len() as u64);
        let piece = &mut buffer[..(end - from) as usize];
        file.read_exact_at(piece, from)?;
        if let Some(at) = piece.iter().rposition(|b| *b == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// One session's place in the spool.
pub(crate) struct Reader {
    spool: Arc<Spool>,
    file: File,
    cursor: u64,
    buffer: Vec<u8>,
}

impl Reader {
    /// Bytes that wait to be read.
    pub(crate) fn behind(&self) -> u64 {
        self.spool.end().saturating_sub(self.cursor)
    }

    /// Where the next record begins.
    pub(crate) fn at(&self) -> u64 {
        self.cursor
    }

    /// The next records, at most a frame of them. Nothing: none are there.
    pub(crate) fn batch(&mut self) -> Result<Vec<LogRecord>> {
        // What was given back meanwhile is a hole, and what follows it a border.
        self.cursor = self.cursor.max(self.spool.lock().forgotten);
        let wanted = self.behind().min(self.buffer.len() as u64) as usize;
        let piece = &mut self.buffer[..wanted];
        self.file
            .read_exact_at(piece, self.cursor)
            .doing(|| format!("read `{}`", self.spool.path.display()))?;
        let (mut records, mut used) = (Vec::new(), 0);
        while records.len() < BATCH_RECORDS && used < BATCH_BYTES {
            let Some(length) = piece[used..].iter().position(|b| *b == b'\n') else { break };
            let text = &piece[used..used + length];
            used += length + 1;
            // An offset that was never a border lands inside a record, or in a hole: go on behind it.
            if let Ok(line) = serde_json::from_slice::<Line>(text) {
                let offset = self.cursor + used as u64;
                records.push(LogRecord {
                    offset,
                    at: line.at,
                    stream: line.stream,
                    line: line.line,
                });
            }
        }
        if used == 0 && wanted == self.buffer.len() {
            used = wanted;
        }
        self.cursor += used as u64;
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("line {i}")).collect()
    }

    fn read_all(reader: &mut Reader) -> Vec<LogRecord> {
        let mut all = Vec::new();
        while reader.behind() > 0 {
            all.extend(reader.batch().unwrap());
        }
        all
    }

    #[test]
    fn records_come_back_from_any_offset_and_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let spool = Arc::new(Spool::open(&path, Arc::default()).unwrap());
        spool.append(LogStream::Stdout, &mut lines(1000)).unwrap();
        let all = read_all(&mut spool.reader(0).unwrap());
        assert_eq!(all.len(), 1000);
        assert_eq!(all[999].offset, spool.end());
        let rest = read_all(&mut spool.reader(all[499].offset).unwrap());
        assert_eq!(rest[..], all[500..]);
        drop(spool);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":\"20").unwrap();
        let spool = Arc::new(Spool::open(&path, Arc::default()).unwrap());
        assert_eq!(spool.end(), all[999].offset);
        spool.append(LogStream::Stderr, &mut lines(1)).unwrap();
        let rest = read_all(&mut spool.reader(all[999].offset).unwrap());
        assert_eq!((rest.len(), rest[0].stream), (1, LogStream::Stderr));
    }

    #[test]
    fn the_longest_line_passes_and_acknowledged_room_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::open(&dir.path().join("spool"), Arc::default()).unwrap());
        let long = "\u{1}".repeat(crate::lines::LONGEST);
        let mut reader = spool.reader(0).unwrap();
        let mut last = 0;
        while last < 2 * FORGET {
            spool.append(LogStream::Stdout, &mut vec![long.clone(); 4]).unwrap();
            let records = read_all(&mut reader);
            assert!(records.iter().all(|r| r.line == long), "a line was changed");
            last = records.last().unwrap().offset;
            spool.ack(last);
        }
        assert_eq!(last, spool.end());
        assert!(spool.lock().forgotten >= FORGET);
        spool.append(LogStream::Stdout, &mut lines(2)).unwrap();
        assert_eq!(read_all(&mut spool.reader(0).unwrap()).len(), 2, "a hole is passed over");
    }

    #[test]
    fn with_a_store_room_waits_for_both_until_it_runs_short() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::open(&dir.path().join("spool"), Arc::default()).unwrap());
        spool.keep_for_store(0);
        // Ends and offsets alone matter here: a gibibyte need not be written.
        let fill = |end: u64| {
            let mut inner = spool.lock();
            inner.file.set_len(end).unwrap();
            inner.end = end;
        };
        fill(200 << 20);
        spool.ack(200 << 20);
        assert_eq!(spool.lock().forgotten, 0, "the store has nothing yet");
        spool.ship(120 << 20);
        assert_eq!(spool.lock().forgotten, 120 << 20);
        fill(800 << 20);
        spool.ship(800 << 20);
        assert_eq!(spool.lock().forgotten, 200 << 20, "the controller lacks the rest");
        fill((200 << 20) + SHORT);
        spool.ship(900 << 20);
        assert_eq!(spool.lock().forgotten, 900 << 20, "in the store, and room is short");
        assert_eq!(
            spool.reader(300 << 20).unwrap().at(),
            900 << 20,
            "a gap for whoever reads here"
        );
    }
}
