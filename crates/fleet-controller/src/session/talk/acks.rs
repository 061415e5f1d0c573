//! Which of an agent's lines are written, durable, and acknowledged.
//!
//! Invariant 26: a line is acknowledged only when a sync that began after it was written has ended well. One
//! sync runs at a time, and the conversation goes on meanwhile: more lines are written, and synced together
//! by the next.

use crate::error::{Error, Result};
use tokio::task::JoinHandle;

/// A sync for every few lines is enough.
const EVERY: u64 = 64 << 10;

/// A sync on its way.
pub(super) type Sync = JoinHandle<Result<()>>;

/// How far one connection's lines are.
#[derive(Default)]
pub(super) struct Acks {
    written: u64,
    acked: u64,
    /// What is durable when it has ended.
    syncing: Option<(u64, Sync)>,
}

impl Acks {
    /// Everything up to this spool offset is written; begins a sync where one is due.
    pub(super) fn wrote(&mut self, offset: u64, sync: impl FnOnce() -> Sync) {
        self.written = self.written.max(offset);
        self.go_on(sync);
    }

    /// Begins a sync where one is due and none runs. The first lines of a connection are not kept waiting.
    pub(super) fn go_on(&mut self, sync: impl FnOnce() -> Sync) {
        let due = self.written >= self.acked + EVERY || (self.acked == 0 && self.written > 0);
        if self.syncing.is_none() && due {
            self.syncing = Some((self.written, sync()));
        }
    }

    /// Waits for the sync that runs: everything up to there is durable. For ever where none runs. May be
    /// dropped and asked again.
    pub(super) async fn durable(&mut self) -> Result<u64> {
        let Some((offset, syncing)) = &mut self.syncing else {
            return std::future::pending().await;
        };
        let ended = syncing.await.unwrap_or_else(|e| Err(Error::internal("syncing lines", e)));
        let offset = *offset;
        self.syncing = None;
        ended?;
        self.acked = offset;
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    /// A disk that syncs when it is told to.
    fn disk() -> (oneshot::Sender<Result<()>>, Sync) {
        let (ends, ended) = oneshot::channel();
        (ends, tokio::spawn(async move { ended.await.unwrap() }))
    }

    fn none() -> Sync {
        panic!("no sync is due")
    }

    #[tokio::test]
    async fn a_line_is_acknowledged_when_the_disk_has_it_and_not_before() {
        let mut acks = Acks::default();
        assert!(acks.durable().now_or_never().is_none());
        let (first, sync) = disk();
        acks.wrote(10, || sync);
        assert!(acks.durable().now_or_never().is_none(), "the disk is not done");
        // Written while the first sync runs: that one says nothing about it.
        acks.wrote(EVERY * 3, none);
        first.send(Ok(())).ok().unwrap();
        assert_eq!(acks.durable().await.ok(), Some(10));
        let (second, sync) = disk();
        acks.go_on(|| sync);
        second.send(Ok(())).ok().unwrap();
        assert_eq!(acks.durable().await.ok(), Some(EVERY * 3));
        // A few lines more are not worth a sync.
        acks.wrote(EVERY * 4 - 1, none);
        assert!(acks.durable().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_sync_that_fails_acknowledges_nothing() {
        let mut acks = Acks::default();
        let (first, sync) = disk();
        acks.wrote(10, || sync);
        first.send(Err(crate::Error::internal("a disk", "full"))).ok().unwrap();
        assert!(acks.durable().await.is_err());
        assert!(acks.durable().now_or_never().is_none());
    }
}
