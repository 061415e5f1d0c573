//! A job's stream on disk: its events and log lines in one order, one JSON object a line.
//!
//! The database is the authority for events, the agent's spool for lines; this file is where both are
//! read from. Invariant: each event (by its number) and each line (by epoch and spool offset) is in it
//! once, in order, also after kill -9 at any write: a torn last line is cut off when it is opened.

use crate::error::{Error, Result};
use crate::home::{Home, append_private};
use fleet_store::{SeqEvent, Store};
use fleet_types::{Epoch, Event, EventBody, JobId};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};

/// The stream of one job.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    inner: Arc<Mutex<Inner>>,
    catching_up: Arc<tokio::sync::Mutex<()>>,
    grown: watch::Sender<u64>,
    path: PathBuf,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Number of the last event written.
    last_seq: i64,
    /// Spool offset behind the last line written, by epoch.
    offsets: HashMap<Epoch, u64>,
}

impl Inner {
    /// Appends whole or not at all: a torn write is taken back, so that it can be tried again.
    fn append(&mut self, text: &[u8]) -> Result<()> {
        let before = self.file.metadata().map_err(fail)?.len();
        self.file.write_all(text).map_err(|e| {
            if let Err(e) = self.file.set_len(before) {
                tracing::error!("a torn line stays in the stream: {e}");
            }
            fail(e)
        })
    }
}

/// Where the stream of a job lies.
pub(crate) fn path(home: &Home, job: &JobId) -> PathBuf {
    home.job_dir(job).join("stream.jsonl")
}

impl Journal {
    /// Opens the stream and brings it level with the database.
    pub(crate) async fn open(home: &Home, job: &JobId, store: &dyn Store) -> Result<Self> {
        let path = path(home, job);
        let (file, last_seq, offsets) = scan(&path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        let inner = Arc::new(Mutex::new(Inner { file, last_seq, offsets }));
        let journal =
            Self { inner, catching_up: Arc::default(), grown: watch::Sender::new(length), path };
        journal.catch_up(job, store).await?;
        Ok(journal)
    }

    /// Writes the events that the database has and the stream has not.
    pub(crate) async fn catch_up(&self, job: &JobId, store: &dyn Store) -> Result<()> {
        // One at a time: two that read the same numbers would write them twice.
        let _one = self.catching_up.lock().await;
        loop {
            let after = self.lock().last_seq;
            let events = store.events(job, after, 500).await?;
            let Some(last) = events.last().map(|e| e.seq) else { return Ok(()) };
            let mut text = Vec::new();
            for SeqEvent { seq, event } in &events {
                let mut value = serde_json::to_value(event).map_err(fail)?;
                if let Value::Object(map) = &mut value {
                    map.insert("seq".into(), (*seq).into());
                }
                serde_json::to_writer(&mut text, &value).map_err(fail)?;
                text.push(b'\n');
            }
            let mut inner = self.lock();
            inner.append(&text)?;
            inner.last_seq = last;
            drop(inner);
            self.note(text.len());
        }
    }

    /// Writes log lines; those that are there already are left out.
    pub(crate) fn write_lines(&self, events: &[Event]) -> Result<()> {
        let mut text = Vec::new();
        let mut inner = self.lock();
        let mut offsets = inner.offsets.clone();
        for event in events {
            let EventBody::Log(line) = &event.body else { continue };
            let seen = offsets.entry(line.epoch).or_default();
            if line.offset <= *seen {
                continue;
            }
            *seen = line.offset;
            serde_json::to_writer(&mut text, event).map_err(fail)?;
            text.push(b'\n');
        }
        inner.append(&text)?;
        inner.offsets = offsets;
        drop(inner);
        self.note(text.len());
        Ok(())
    }

    /// Makes what was written survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        let file = self.lock().file.try_clone().map_err(fail)?;
        file.sync_data().map_err(fail)
    }

    /// Spool offset behind the last line of an epoch.
    pub(crate) fn log_offset(&self, epoch: Epoch) -> u64 {
        self.lock().offsets.get(&epoch).copied().unwrap_or(0)
    }

    /// Streams the lines from the start; with `follow` until `job.finished`.
    pub(crate) fn read(&self, follow: bool) -> mpsc::Receiver<String> {
        read_file(self.path.clone(), follow.then(|| self.grown.subscribe()))
    }

    fn note(&self, bytes: usize) {
        self.grown.send_modify(|n| *n += bytes as u64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Streams a file's whole lines; with `grown` on and on, until a `job.finished`.
pub(crate) fn read_file(
    path: PathBuf,
    grown: Option<watch::Receiver<u64>>,
) -> mpsc::Receiver<String> {
    let (tx, rx) = mpsc::channel(256);
    tokio::task::spawn_blocking(move || {
        let Ok(file) = File::open(&path) else { return };
        let mut reader = BufReader::new(file);
        let mut grown = grown;
        let mut line = String::new();
        loop {
            match reader.read_line(&mut line) {
                Ok(n) if n > 0 && line.ends_with('\n') => {
                    let text = line.trim_end().to_owned();
                    line.clear();
                    let last = text.contains("\"event\":\"job.finished\"");
                    if tx.blocking_send(text).is_err() || last {
                        return;
                    }
                }
                Ok(_) => {
                    // At the end, perhaps in the middle of a line: wait for more.
                    let Some(grown) = &mut grown else { return };
                    let waited = tokio::runtime::Handle::current().block_on(async {
                        tokio::select! {
                            changed = grown.changed() => changed.is_ok(),
                            () = tx.closed() => false,
                        }
                    });
                    if !waited {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    rx
}

type Scanned = (File, i64, HashMap<Epoch, u64>);

/// Reads what is there: last event number, last offsets; cuts a torn last line off.
fn scan(path: &std::path::Path) -> std::io::Result<Scanned> {
    let file = append_private(path)?;
    let (mut last_seq, mut offsets, mut whole) = (0, HashMap::new(), 0_u64);
    let mut reader = BufReader::new(file.try_clone()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = reader.read_until(b'\n', &mut line)?;
        if n == 0 || line.last() != Some(&b'\n') {
            break;
        }
        whole += n as u64;
        let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
        if let Some(seq) = value.get("seq").and_then(Value::as_i64) {
            last_seq = last_seq.max(seq);
        } else if let Ok(Event { body: EventBody::Log(l), .. }) = serde_json::from_value(value) {
            let seen: &mut u64 = offsets.entry(l.epoch).or_default();
            *seen = (*seen).max(l.offset);
        }
    }
    if file.metadata()?.len() != whole {
        file.set_len(whole)?;
    }
    Ok((file, last_seq, offsets))
}

fn fail(e: impl std::fmt::Display) -> Error {
    Error::internal("the stream of a job", e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_store::conformance::model::ModelStore;
    use fleet_types::{LogLine, LogStream, Timestamp};

    fn line(job: &JobId, offset: u64) -> Event {
        Event {
            at: Timestamp::from_millis(1),
            job_id: job.clone(),
            body: EventBody::Log(LogLine {
                epoch: Epoch(1),
                stream: LogStream::Stdout,
                node: 0,
                line: format!("line {offset}"),
                offset,
            }),
        }
    }

    async fn lines(journal: &Journal) -> Vec<String> {
        let (mut rx, mut out) = (journal.read(false), Vec::new());
        while let Some(text) = rx.recv().await {
            out.push(text);
        }
        out
    }

    #[tokio::test]
    async fn every_line_is_there_once_and_a_torn_one_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let (job, store) = (JobId::from_bits(7), ModelStore::default());
        let journal = Journal::open(&home, &job, &store).await.unwrap();
        journal.write_lines(&[line(&job, 10), line(&job, 20)]).unwrap();
        // The agent sends again what was not acknowledged.
        journal.write_lines(&[line(&job, 20), line(&job, 30)]).unwrap();
        assert_eq!(lines(&journal).await.len(), 3);
        drop(journal);
        let mut file = append_private(&path(&home, &job)).unwrap();
        file.write_all(b"{\"at\":\"2026-01-01T00:00:00Z\",\"event\":\"log\",\"li").unwrap();
        let journal = Journal::open(&home, &job, &store).await.unwrap();
        assert_eq!(journal.log_offset(Epoch(1)), 30);
        journal.write_lines(&[line(&job, 30), line(&job, 40)]).unwrap();
        let all = lines(&journal).await;
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all[3].contains("line 40"));
    }
}
