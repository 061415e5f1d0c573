//! A job's stream on disk: its events and log lines in one order, one JSON object a line.
//!
//! The database is the authority for events, the agent's spool for lines; this file is where both are
//! read from. Invariant: each event (by its number) and each line (by epoch and spool offset) is in it
//! once, in order, also after kill -9 at any write: a torn last line is cut off when it is opened.
//!
//! A disk may take its time. So the file is touched on threads that may wait for it, by one writer after
//! the other in the order in which they asked; who runs the controller's sessions never waits for a disk.

use crate::error::{Error, Result};
use crate::home::{Home, append_private};
use fleet_store::{SeqEvent, Store};
use fleet_types::{Epoch, Event, EventBody, JobId, Timestamp};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

/// The stream of one job.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    /// Locked for whole writes, and handed to the thread that does them: a caller that is gone in between
    /// leaves nothing half done.
    inner: Arc<tokio::sync::Mutex<Inner>>,
    catching_up: Arc<tokio::sync::Mutex<()>>,
    grown: watch::Sender<u64>,
    path: PathBuf,
}

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    grown: watch::Sender<u64>,
    /// Number of the last event written.
    last_seq: i64,
    /// Time of the newest event written.
    newest: Option<Timestamp>,
    /// Spool offset behind the last line written, by epoch.
    offsets: HashMap<Epoch, u64>,
}

impl Inner {
    /// Appends whole or not at all: a torn write is taken back, so that it can be tried again.
    fn append(&mut self, text: &[u8]) -> Result<()> {
        let before = self.file.metadata().map_err(fail)?.len();
        (&*self.file).write_all(text).map_err(|e| {
            if let Err(e) = self.file.set_len(before) {
                tracing::error!("a torn line stays in the stream: {e}");
            }
            fail(e)
        })?;
        self.grown.send_modify(|n| *n += text.len() as u64);
        Ok(())
    }

    fn append_events(&mut self, events: &[SeqEvent]) -> Result<()> {
        let mut text = Vec::new();
        for SeqEvent { seq, event } in events {
            let mut value = serde_json::to_value(event).map_err(fail)?;
            if let Value::Object(map) = &mut value {
                map.insert("seq".into(), (*seq).into());
            }
            serde_json::to_writer(&mut text, &value).map_err(fail)?;
            text.push(b'\n');
        }
        self.append(&text)?;
        self.last_seq = events.last().map_or(self.last_seq, |e| e.seq);
        self.newest = self.newest.max(events.iter().map(|e| e.event.at).max());
        Ok(())
    }

    fn append_lines(&mut self, events: &[Event]) -> Result<()> {
        let mut text = Vec::new();
        let mut offsets = self.offsets.clone();
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
        self.append(&text)?;
        self.offsets = offsets;
        Ok(())
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
        let found = path.clone();
        let inner = spawn_blocking(move || scan(&found)).await.map_err(fail)?.map_err(fail)?;
        let grown = inner.grown.clone();
        let inner = Arc::new(tokio::sync::Mutex::new(inner));
        let journal = Self { inner, catching_up: Arc::default(), grown, path };
        journal.catch_up(job, store).await?;
        Ok(journal)
    }

    /// Writes the events that the database has and the stream has not.
    pub(crate) async fn catch_up(&self, job: &JobId, store: &dyn Store) -> Result<()> {
        // One at a time: two that read the same numbers would write them twice.
        let _one = self.catching_up.lock().await;
        loop {
            let after = self.inner.lock().await.last_seq;
            let events = store.events(job, after, 500).await?;
            if events.is_empty() {
                return Ok(());
            }
            self.write(move |inner| inner.append_events(&events)).await?;
        }
    }

    /// Writes log lines; those that are there already are left out.
    pub(crate) async fn write_lines(&self, events: Vec<Event>) -> Result<()> {
        self.write(move |inner| inner.append_lines(&events)).await
    }

    /// Makes what was written before it was asked for survive a power loss. Writers go on meanwhile, and the
    /// file system syncs what many jobs ask for at once together.
    pub(crate) async fn sync(&self) -> Result<()> {
        let file = self.inner.lock().await.file.clone();
        spawn_blocking(move || file.sync_data()).await.map_err(fail)?.map_err(fail)
    }

    /// Spool offset behind the last line of an epoch.
    pub(crate) async fn log_offset(&self, epoch: Epoch) -> u64 {
        self.inner.lock().await.offsets.get(&epoch).copied().unwrap_or(0)
    }

    /// Time of the newest event in it.
    pub(crate) async fn newest(&self) -> Option<Timestamp> {
        self.inner.lock().await.newest
    }

    async fn write(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut inner = self.inner.clone().lock_owned().await;
        spawn_blocking(move || work(&mut inner)).await.map_err(fail)?
    }

    /// Streams the lines from the start; with `follow` until `job.finished`.
    pub(crate) fn read(&self, follow: bool) -> mpsc::Receiver<String> {
        read_file(self.path.clone(), follow.then(|| self.grown.subscribe()))
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

/// Reads what is there: last event, last offsets; cuts a torn last line off.
fn scan(path: &std::path::Path) -> std::io::Result<Inner> {
    let file = append_private(path)?;
    let (mut last_seq, mut offsets, mut whole) = (0, HashMap::new(), 0_u64);
    let mut newest = None;
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
            let at = value.get("at").and_then(Value::as_str).and_then(Timestamp::parse);
            newest = newest.max(at);
        } else if let Ok(Event { body: EventBody::Log(l), .. }) = serde_json::from_value(value) {
            let seen: &mut u64 = offsets.entry(l.epoch).or_default();
            *seen = (*seen).max(l.offset);
        }
    }
    if file.metadata()?.len() != whole {
        file.set_len(whole)?;
    }
    let grown = watch::Sender::new(whole);
    Ok(Inner { file: Arc::new(file), grown, last_seq, newest, offsets })
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
        journal.write_lines(vec![line(&job, 10), line(&job, 20)]).await.unwrap();
        // The agent sends again what was not acknowledged.
        journal.write_lines(vec![line(&job, 20), line(&job, 30)]).await.unwrap();
        assert_eq!(lines(&journal).await.len(), 3);
        drop(journal);
        let mut file = append_private(&path(&home, &job)).unwrap();
        file.write_all(b"{\"at\":\"2026-01-01T00:00:00Z\",\"event\":\"log\",\"li").unwrap();
        let journal = Journal::open(&home, &job, &store).await.unwrap();
        assert_eq!(journal.log_offset(Epoch(1)).await, 30);
        journal.write_lines(vec![line(&job, 30), line(&job, 40)]).await.unwrap();
        let all = lines(&journal).await;
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all[3].contains("line 40"));
    }

    /// Many writers at once: each one's lines in its order, none lost, none torn.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writers_do_not_tear_each_others_lines() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let (job, store) = (JobId::from_bits(7), ModelStore::default());
        let journal = Journal::open(&home, &job, &store).await.unwrap();
        let writers = (1..=8).map(|epoch| {
            let (journal, job) = (journal.clone(), job.clone());
            tokio::spawn(async move {
                for offset in 1..=50 {
                    let mut event = line(&job, offset);
                    if let EventBody::Log(line) = &mut event.body {
                        line.epoch = Epoch(epoch);
                    }
                    journal.write_lines(vec![event]).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        journal.sync().await.unwrap();
        let mut seen: HashMap<Epoch, u64> = HashMap::new();
        for text in lines(&journal).await {
            let event: Event = serde_json::from_str(&text).unwrap();
            let EventBody::Log(line) = event.body else { panic!("{text}") };
            let before = seen.insert(line.epoch, line.offset).unwrap_or(0);
            assert_eq!(line.offset, before + 1, "epoch {}", line.epoch);
        }
        assert_eq!(seen.values().copied().collect::<Vec<_>>(), [50; 8]);
    }

    /// The file is a pipe that nobody reads until the runtime's only thread says so: had that thread been
    /// the one that writes, it never could.
    #[test]
    fn a_disk_that_takes_its_time_holds_nobody_else_up() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut reader, writer) = std::io::pipe().unwrap();
            let file = Arc::new(File::from(std::os::fd::OwnedFd::from(writer)));
            let (grown, offsets) = (watch::Sender::new(0), HashMap::new());
            let inner = Inner { file, grown: grown.clone(), last_seq: 0, newest: None, offsets };
            let (inner, path) = (Arc::new(tokio::sync::Mutex::new(inner)), PathBuf::new());
            let journal = Journal { inner, catching_up: Arc::default(), grown, path };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                // More than a pipe holds.
                let job = JobId::from_bits(7);
                let lines: Vec<_> = (1..=4096).map(|offset| line(&job, offset)).collect();
                let reading = async {
                    tokio::task::yield_now().await;
                    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
                };
                let (written, ()) = tokio::join!(journal.write_lines(lines), reading);
                written.unwrap();
                assert_eq!(journal.log_offset(Epoch(1)).await, 4096);
            });
            done.send(()).unwrap();
        });
        is_done.recv_timeout(std::time::Duration::from_secs(30)).expect("the runtime stood still");
    }
}
