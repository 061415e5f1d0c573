//! A command with its three streams apart, for a person or a script at this end.
//!
//! stdout and stderr come whole and in the order in which the server sent them. The input is handed out
//! by itself, so that whoever types is never waited for by whoever reads: a command that echoes more than
//! the buffers hold would otherwise stop for ever.

use std::io;
use std::pin::Pin;

use tokio::io::AsyncWrite;

use crate::channel::{Pipe, Stderr, lock, lost};
use crate::{Error, Piece, Session};

/// A running command; dropping it hangs up on the command, whoever holds its input.
pub struct Streams {
    pipe: Pipe,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// The command's stdin; shutting it down is its end of file.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

impl Session {
    /// Starts `command` in the remote user's shell.
    pub async fn streams(&self, command: &str) -> Result<Streams, Error> {
        Ok(Streams { pipe: self.pipe(command, Stderr::Whole).await? })
    }
}

impl Streams {
    /// The command's stdin, once; later calls give one that swallows what is written.
    pub fn input(&mut self) -> Input {
        std::mem::replace(&mut self.pipe.writer, Box::pin(tokio::io::sink()))
    }

    /// What the command wrote next; `None` when it has ended and told all, its status too.
    ///
    /// A connection that dies before that is `ConnectionAborted`. May be dropped while waiting without
    /// losing a piece.
    pub async fn next(&mut self) -> io::Result<Option<Piece>> {
        match self.pipe.incoming.recv().await {
            Some((piece, _room)) => Ok(Some(piece)),
            None if lock(&self.pipe.state).clean => Ok(None),
            None => Err(lost()),
        }
    }

    /// The exit status, once told; 128 + n after signal n.
    pub fn status(&self) -> Option<u32> {
        lock(&self.pipe.state).status
    }
}
