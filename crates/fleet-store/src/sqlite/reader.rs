//! The threads that read, each with a connection of its own.
//!
//! Invariant: a read starts its snapshot when it runs, so whatever was answered before it was asked is in
//! it; a slow commit never delays it. Reading never writes.

use super::fault::Halt;
use crate::{Error, Result};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait at one thread.
const QUEUE: usize = 256;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the threads.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    queues: Arc<[mpsc::Sender<Question>]>,
    turn: Arc<AtomicUsize>,
    path: Arc<PathBuf>,
}

impl Readers {
    /// One thread for each connection; they end when the last `Readers` is gone.
    pub(super) fn start(
        conns: Vec<Connection>,
        path: Arc<PathBuf>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for conn in conns {
            let (queue, mut questions) = mpsc::channel::<Question>(QUEUE);
            queues.push(queue);
            let serve = move || {
                while let Some(question) = questions.blocking_recv() {
                    question(&conn);
                }
            };
            threads
                .push(std::thread::Builder::new().name("fleet-store-reader".into()).spawn(serve)?);
        }
        Ok((Self { queues: queues.into(), turn: Arc::default(), path }, threads))
    }

    /// Runs `question` against one snapshot of the database.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> std::result::Result<T, Halt> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let path = Arc::clone(&self.path);
        let question: Question = Box::new(move |conn| {
            // The caller may have gone.
            let _ = answer.send(question(conn).map_err(|halt| halt.into_error(&path)));
        });
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        self.queues[turn].send(question).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
