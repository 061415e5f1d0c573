//! A command's stdin and stdout as one duplex byte stream, for the agent protocol.
//!
//! A pump task empties the SSH channel all the time, so that a reader that pauses does not hold up the
//! connection's other channels or its keepalive; up to [`BUFFER`] bytes wait here, then the pause is
//! passed on to the server. End of file is clean only if the server said so: a connection that dies
//! reads as `ConnectionAborted`, never as a short stream.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Error, Session};

/// Bytes of stdout that may wait for the reader.
const BUFFER: usize = 64 << 20;

/// How much of stderr's end is kept.
const STDERR_TAIL: usize = 64 << 10;

/// A running command; dropping it hangs up on the command.
pub struct Channel {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    incoming: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
    current: Bytes,
    state: Arc<Mutex<State>>,
    _hang_up: DropGuard,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    stderr: Vec<u8>,
    status: Option<u32>,
    /// The server said that no more output comes.
    clean: bool,
}

impl Session {
    /// Starts `command` and returns its stdin and stdout as one stream.
    ///
    /// Shutting the stream down closes the command's stdin; dropping it closes the channel.
    pub async fn open(&self, command: &str) -> Result<Channel, Error> {
        let (read, write) = self.channel(command).await?.split();
        let (queue, incoming) = mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(State::default()));
        let hang_up = CancellationToken::new();
        let writer = Box::pin(write.make_writer());
        let pump = Pump { read, write, queue, state: state.clone(), hang_up: hang_up.clone() };
        tokio::spawn(pump.run());
        Ok(Channel {
            writer,
            incoming,
            current: Bytes::new(),
            state,
            _hang_up: hang_up.drop_guard(),
        })
    }
}

impl Channel {
    /// The last 64 KiB that the command wrote to stderr so far.
    pub fn stderr(&self) -> Vec<u8> {
        lock(&self.state).stderr.clone()
    }

    /// The exit status, once the command has ended and told it; 128 + n after signal n.
    pub fn status(&self) -> Option<u32> {
        lock(&self.state).status
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.incoming.poll_recv(cx)) {
                Some((bytes, _room)) => self.current = bytes,
                None if lock(&self.state).clean => return Poll::Ready(Ok(())),
                None => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the SSH connection was lost",
                    )));
                }
            }
        }
        let length = buf.remaining().min(self.current.len());
        buf.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}

/// Moves the channel's messages to the reader's queue.
struct Pump {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<client::Msg>,
    queue: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    state: Arc<Mutex<State>>,
    hang_up: CancellationToken,
}

impl Pump {
    async fn run(mut self) {
        let room = Arc::new(Semaphore::new(BUFFER));
        let hang_up = self.hang_up.clone();
        tokio::select! {
            () = hang_up.cancelled() => {}
            () = self.pump(&room) => {}
        }
        let _gone = self.write.close().await;
    }

    async fn pump(&mut self, room: &Arc<Semaphore>) {
        while let Some(message) = self.read.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    let Ok(permit) = room.clone().acquire_many_owned(bytes).await else { return };
                    if self.queue.send((data, permit)).is_err() {
                        return;
                    }
                }
                ChannelMsg::ExtendedData { data, .. } => lock(&self.state).keep_stderr(&data),
                ChannelMsg::ExitStatus { exit_status } => {
                    lock(&self.state).status = Some(exit_status);
                }
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    lock(&self.state).status = Some(crate::exec::signal_status(&signal_name));
                }
                // Exit status and stderr may still come after the end of stdout.
                ChannelMsg::Eof => lock(&self.state).clean = true,
                ChannelMsg::Close => {
                    lock(&self.state).clean = true;
                    return;
                }
                _ => {}
            }
        }
    }
}

impl State {
    fn keep_stderr(&mut self, bytes: &[u8]) {
        self.stderr.extend_from_slice(bytes);
        let excess = self.stderr.len().saturating_sub(STDERR_TAIL);
        self.stderr.drain(..excess);
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
