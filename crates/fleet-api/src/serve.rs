//! The listening side: binds the socket, accepts, and leaves cleanly.
//!
//! Its own accept loop instead of a ready-made one, because a connection needs limits that HTTP
//! frameworks leave open: time for the header, size of the header, number of connections.

use crate::Error;
use crate::routes::{Door, router};
use axum::Router;
use fleet_controller::Controller;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// The longest a request's header may take.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The largest header, all lines together.
const HEADER_BYTES: usize = 64 << 10;

/// How long open requests may still run once the server was told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Longest path of a unix socket on Linux, its closing NUL counted off. macOS takes four less.
const PATH_LIMIT: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// When the door was last used: what tells an idle server that it may leave.
#[derive(Clone, Debug)]
pub struct Activity {
    last: Arc<watch::Sender<(usize, Instant)>>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { last: Arc::new(watch::Sender::new((0, Instant::now()))) }
    }
}

impl Activity {
    /// How long no connection has been open; zero while one is.
    pub fn idle_for(&self) -> Duration {
        let (open, at) = *self.last.borrow();
        if open > 0 { Duration::ZERO } else { at.elapsed() }
    }
    fn opened(&self) -> Visit {
        self.last.send_modify(|(open, at)| (*open, *at) = (*open + 1, Instant::now()));
        Visit(self.clone())
    }
}

/// One open connection.
struct Visit(Activity);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.last.send_modify(|(open, at)| (*open, *at) = (*open - 1, Instant::now()));
    }
}

/// Makes the socket at `path`, 0600, replacing what a dead server left there.
///
/// The caller holds the home's lock, so nobody else can be listening.
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    if path.as_os_str().len() > PATH_LIMIT {
        return Err(Error::PathTooLong { path: path.to_owned(), most: PATH_LIMIT });
    }
    let failed = |source| Error::Listen { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers until `stop` is cancelled (by the caller, or by `POST /v1/server/stop`).
///
/// Does not shut the controller down: that is the caller's next step.
pub async fn serve(
    listener: UnixListener,
    controller: Controller,
    stop: CancellationToken,
    activity: Activity,
) {
    let router = router(Door { controller, stop: stop.clone() });
    let (seats, open) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    while let Some(stream) = next(&listener, &stop).await {
        let Ok(seat) = seats.clone().acquire_owned().await else { break };
        let (visit, router, stop) = (activity.opened(), router.clone(), stop.clone());
        open.spawn(async move {
            converse(stream, router, stop).await;
            drop((visit, seat));
        });
    }
    open.close();
    if tokio::time::timeout(LAST_WORDS, open.wait()).await.is_err() {
        tracing::warn!(left = open.len(), "connections were still open when the server left");
    }
}

async fn next(listener: &UnixListener, stop: &CancellationToken) -> Option<UnixStream> {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(e) => {
                // Out of descriptors is the usual cause: wait until a connection has closed.
                tracing::warn!("accept failed: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("a connection ended early: {e}");
    }
}
