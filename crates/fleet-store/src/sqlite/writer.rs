//! The one thread that writes, with group commit.
//!
//! A lone request commits at once. Requests that wait while another commit syncs share the next
//! transaction, each under a savepoint of its own. Invariant: an answer is given only after COMMIT has
//! returned, so what was answered is on the disk; if COMMIT fails, every request of the group is told so
//! and none has changed anything.

use super::fault::{Halt, translate};
use crate::{Error, Result};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a transaction may go on gathering requests.
const GATHER: Duration = Duration::from_millis(5);
/// The most requests of one transaction.
const GROUP: usize = 256;
/// Requests that may wait before senders wait too.
const QUEUE: usize = 1024;

/// One request, whatever it answers.
trait Request: Send {
    /// Runs it under its savepoint; `false` asks for that to be rolled back.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Why it failed, if it did.
    fn failure(&self) -> Option<&Error>;
    /// Answers, now that the transaction has ended like this.
    fn reply(self: Box<Self>, commit: Result<()>);
}

struct Pending<T, F> {
    operation: Option<F>,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    path: Arc<PathBuf>,
}

impl<T, F> Request for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> std::result::Result<T, Halt> + Send,
{
    fn run(&mut self, conn: &Connection) -> bool {
        let Some(operation) = self.operation.take() else { return false };
        let outcome = operation(conn).map_err(|halt| halt.into_error(&self.path));
        self.outcome.insert(outcome).is_ok()
    }
    fn failure(&self) -> Option<&Error> {
        self.outcome.as_ref()?.as_ref().err()
    }
    fn reply(self: Box<Self>, commit: Result<()>) {
        let Self { outcome, answer, .. } = *self;
        // The caller may have gone; the commit stands.
        let _ = answer.send(commit.and_then(|()| outcome.unwrap_or_else(|| Err(ended()))));
    }
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Request>>,
    path: Arc<PathBuf>,
}

impl Writer {
    /// Hands a connection to a new thread, which ends when the last `Writer` is gone.
    pub(super) fn start(
        conn: Connection,
        path: Arc<PathBuf>,
    ) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let place = Arc::clone(&path);
        let thread = std::thread::Builder::new()
            .name("fleet-store-writer".into())
            .spawn(move || serve(&conn, requests, &place))?;
        Ok((Self { queue, path }, thread))
    }

    /// Runs `operation` in a transaction and answers after its commit. A caller that goes away
    /// meanwhile does not undo it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> std::result::Result<T, Halt> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let path = Arc::clone(&self.path);
        let request = Pending { operation: Some(operation), outcome: None, answer, path };
        self.queue.send(Box::new(request)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

fn ended() -> Error {
    Error::Unavailable("the store is closed".into())
}

fn serve(conn: &Connection, mut requests: mpsc::Receiver<Box<dyn Request>>, path: &Path) {
    while let Some(first) = requests.blocking_recv() {
        let mut group = Vec::new();
        let outcome = transact(conn, first, &mut requests, &mut group, path);
        if !conn.is_autocommit() {
            // Only a failed transaction is still open here. Should this fail too, the next BEGIN says so.
            let _ = conn.execute_batch("ROLLBACK");
        }
        if let Err(error) = &outcome {
            tracing::warn!(%error, requests = group.len(), "nothing was committed");
        }
        for request in group {
            request.reply(outcome.clone());
        }
    }
}

fn transact(
    conn: &Connection,
    first: Box<dyn Request>,
    requests: &mut mpsc::Receiver<Box<dyn Request>>,
    group: &mut Vec<Box<dyn Request>>,
    path: &Path,
) -> Result<()> {
    let sql = |e: rusqlite::Error| translate(path, &e);
    if let Err(error) = conn.execute_batch("BEGIN IMMEDIATE") {
        // Who waited as long would meet the same lock: tell all of them now.
        group.push(first);
        while let Ok(request) = requests.try_recv() {
            group.push(request);
        }
        return Err(sql(error));
    }
    let started = Instant::now();
    let mut next = Some(first);
    while let Some(mut request) = next.take() {
        let began = conn.execute_batch("SAVEPOINT request");
        let kept = began.is_ok() && request.run(conn);
        let failure = request.failure().cloned();
        group.push(request);
        began.map_err(sql)?;
        if conn.is_autocommit() {
            // SQLite gave the whole transaction up (full disk, I/O error).
            let why = "the transaction was given up";
            return Err(failure.unwrap_or_else(|| Error::Unavailable(why.into())));
        }
        let end = if kept { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" };
        conn.execute_batch(end).map_err(sql)?;
        if group.len() < GROUP && started.elapsed() < GATHER {
            next = requests.try_recv().ok();
        }
    }
    conn.execute_batch("COMMIT").map_err(sql)
}
