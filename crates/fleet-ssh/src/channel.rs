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
    pipe: Pipe,
    current: Bytes,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    stderr: Vec<u8>,
    pub(crate) status: Option<u32>,
    /// The server said that no more output comes.
    pub(crate) clean: bool,
}

/// What a command wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// Where a command's stderr goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// Its end is kept.
    Tail,
    /// All of it goes to the reader, in order with stdout.
    Whole,
}

/// The near ends of a command's streams; dropping it hangs up on the command.
pub(crate) struct Pipe {
    pub(crate) writer: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) incoming: mpsc::UnboundedReceiver<(Piece, OwnedSemaphorePermit)>,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) _hang_up: DropGuard,
}

impl Session {
    /// Starts `command` and returns its stdin and stdout as one stream.
    ///
    /// Shutting the stream down closes the command's stdin; dropping it closes the channel.
    pub async fn open(&self, command: &str) -> Result<Channel, Error> {
        let pipe = self.pipe(command, Stderr::Tail).await?;
        Ok(Channel { pipe, current: Bytes::new() })
    }

    /// Starts `command` and a task that empties its channel.
    pub(crate) async fn pipe(&self, command: &str, stderr: Stderr) -> Result<Pipe, Error> {
        let (read, write) = self.channel(command).await?.split();
        let (queue, incoming) = mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(State::default()));
        let hang_up = CancellationToken::new();
        let writer = Box::pin(write.make_writer());
        let (told, hung_up) = (state.clone(), hang_up.clone());
        let pump = Pump { read, write, queue, stderr, state: told, hang_up: hung_up };
        tokio::spawn(pump.run());
        Ok(Pipe { writer, incoming, state, _hang_up: hang_up.drop_guard() })
    }
}

impl Channel {
    /// The last 64 KiB that the command wrote to stderr so far.
    pub fn stderr(&self) -> Vec<u8> {
        lock(&self.pipe.state).stderr.clone()
    }

    /// The exit status, once the command has ended and told it; 128 + n after signal n.
    pub fn status(&self) -> Option<u32> {
        lock(&self.pipe.state).status
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.pipe.incoming.poll_recv(cx)) {
                Some((Piece::Stdout(bytes), _room)) => self.current = bytes,
                Some((Piece::Stderr(_), _room)) => {}
                None if lock(&self.pipe.state).clean => return Poll::Ready(Ok(())),
                None => return Poll::Ready(Err(lost())),
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
        self.pipe.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.writer.as_mut().poll_shutdown(cx)
    }
}

/// Moves the channel's messages to the reader's queue.
struct Pump {
    read: ChannelReadHalf,
    write: ChannelWriteHalf<client::Msg>,
    queue: mpsc::UnboundedSender<(Piece, OwnedSemaphorePermit)>,
    stderr: Stderr,
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
                    let bytes = data.len();
                    if !self.pass(room, bytes, Piece::Stdout(data)).await {
                        return;
                    }
                }
                ChannelMsg::ExtendedData { data, .. } if self.stderr == Stderr::Whole => {
                    let bytes = data.len();
                    if !self.pass(room, bytes, Piece::Stderr(data)).await {
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

    /// Hands a piece to the reader, once there is room; false if nobody reads any more.
    async fn pass(&self, room: &Arc<Semaphore>, bytes: usize, piece: Piece) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match room.clone().acquire_many_owned(bytes).await {
            Ok(permit) => self.queue.send((piece, permit)).is_ok(),
            Err(_) => false,
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

/// The connection ended before the server said that the command did.
pub(crate) fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the SSH connection was lost")
}

pub(crate) fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
