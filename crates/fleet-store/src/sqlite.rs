//! The store on SQLite: one file in the home of fleet, one controller.
//!
//! Settings: write-ahead log, `synchronous=FULL`, foreign keys, immediate transactions, a busy timeout.
//! Invariant: an answer to a write is given only after its COMMIT has returned; reads see every answered
//! write. Deliberately absent: the lock that keeps a second controller away (its owner's), retries.

mod backup;
mod change;
mod disk;
mod fault;
mod query;
mod reader;
mod schema;
mod writer;

use crate::{Commit, Error, JobRecord, NewJob, Result, SeqEvent, Store};
use async_trait::async_trait;
use fleet_types::{Event, JobId, MachineRow, Realm, RealmId, Token};
use reader::Readers;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use writer::Writer;

/// Connections that read.
const READERS: usize = 2;

/// What [`SqliteStore::open`] sets and tests shorten.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How old the backup beside the database may become.
    pub backup_every: Duration,
    /// How long to wait for another process that holds the lock.
    pub busy_timeout: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { backup_every: Duration::from_secs(3600), busy_timeout: Duration::from_secs(5) }
    }
}

/// The durable store on SQLite. Dropping it waits for its threads, so the file is closed afterwards.
#[derive(Debug)]
pub struct SqliteStore {
    path: Arc<PathBuf>,
    tuning: Tuning,
    /// `None` only while it is dropped.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    writer: Writer,
    writer_thread: JoinHandle<()>,
    readers: Readers,
    stop_backups: mpsc::Sender<()>,
    /// Those that only read.
    threads: Vec<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the database at `path`, made if there is none (mode 0600), migrated if it is older.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Damaged`], [`Error::NetworkDisk`], or [`Error::Unavailable`] when the
    /// disk refuses. Nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_tuned(path, Tuning::default()).await
    }

    /// As [`Self::open`], with other waits.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_tuned(path: &Path, tuning: Tuning) -> Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::start(path, tuning))
            .await
            .map_err(|e| Error::Unavailable(e.to_string()))?
    }

    fn start(path: PathBuf, tuning: Tuning) -> Result<Self> {
        let conn = schema::open_writer(&path, &tuning)?;
        let conns = (0..READERS)
            .map(|_| schema::open_reader(&path, &tuning))
            .collect::<Result<Vec<_>>>()?;
        let path = Arc::new(path);
        let no_thread = |e: std::io::Error| Error::Unavailable(format!("no thread: {e}"));
        let (writer, writer_thread) = Writer::start(conn, Arc::clone(&path)).map_err(no_thread)?;
        let (readers, mut threads) = Readers::start(conns, Arc::clone(&path)).map_err(no_thread)?;
        let (stop_backups, stop) = mpsc::channel();
        let (place, settings) = (Arc::clone(&path), tuning.clone());
        let backups = std::thread::Builder::new()
            .name("fleet-store-backup".into())
            .spawn(move || backup::keep_fresh(&place, &settings, &stop))
            .map_err(no_thread)?;
        threads.push(backups);
        let running = Some(Running { writer, writer_thread, readers, stop_backups, threads });
        Ok(Self { path, tuning, running })
    }

    /// Copies the database to `<path>.backup` now; answers where that is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the copy cannot be written; the older copy stays then.
    pub async fn back_up(&self) -> Result<PathBuf> {
        let (path, tuning) = (Arc::clone(&self.path), self.tuning.clone());
        tokio::task::spawn_blocking(move || backup::copy(&path, &tuning))
            .await
            .map_err(|e| Error::Unavailable(e.to_string()))?
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("invariant: only drop takes it")
    }
    fn writer(&self) -> &Writer {
        &self.running().writer
    }
    fn readers(&self) -> &Readers {
        &self.running().readers
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        drop((running.readers, running.stop_backups));
        for thread in running.threads {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
        // Last, because only a connection that may write folds the log into the file when it closes.
        drop(running.writer);
        let _ = running.writer_thread.join();
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, client_key: &str, jobs: Vec<NewJob>) -> Result<Vec<JobRecord>> {
        let key = client_key.to_owned();
        self.writer().run(move |conn| change::accept(conn, &key, &jobs)).await
    }
    async fn job(&self, id: &JobId) -> Result<Option<JobRecord>> {
        let id = id.clone();
        self.readers().ask(move |conn| query::job(conn, &id)).await
    }
    async fn jobs(&self, live_only: bool) -> Result<Vec<JobRecord>> {
        self.readers().ask(move |conn| query::jobs(conn, live_only)).await
    }
    async fn commit(&self, commit: Commit) -> Result<u64> {
        self.writer().run(move |conn| change::commit(conn, &commit)).await
    }
    async fn put_row(&self, row: MachineRow) -> Result<bool> {
        self.writer().run(move |conn| change::put_row(conn, &row)).await
    }
    async fn live_rows(&self) -> Result<Vec<MachineRow>> {
        self.readers().ask(query::live_rows).await
    }
    async fn rows(&self, job: &JobId) -> Result<Vec<MachineRow>> {
        let job = job.clone();
        self.readers().ask(move |conn| query::rows(conn, &job)).await
    }
    async fn row(&self, token: &Token) -> Result<Option<MachineRow>> {
        let token = token.clone();
        self.readers().ask(move |conn| query::row(conn, &token)).await
    }
    async fn append(&self, events: Vec<Event>) -> Result<()> {
        self.writer().run(move |conn| change::append(conn, &events)).await
    }
    async fn events(&self, job: &JobId, after: i64, limit: usize) -> Result<Vec<SeqEvent>> {
        let job = job.clone();
        self.readers().ask(move |conn| query::events(conn, &job, after, limit)).await
    }
    async fn put_realm(&self, realm: &Realm) -> Result<RealmId> {
        let realm = realm.clone();
        self.writer().run(move |conn| change::put_realm(conn, &realm)).await
    }
    async fn realm(&self, id: &RealmId) -> Result<Option<Realm>> {
        let id = id.clone();
        self.readers().ask(move |conn| query::realm(conn, &id)).await
    }
    async fn realms(&self) -> Result<Vec<Realm>> {
        self.readers().ask(query::realms).await
    }
    async fn fact(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.readers().ask(move |conn| query::fact(conn, &name)).await
    }
    async fn set_fact(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer().run(move |conn| change::set_fact(conn, &name, &value)).await
    }
}
