//! Short commands: run, feed, collect, all within limits.
//!
//! Output beyond [`OUTPUT_CAP`] is read and dropped, so a chatty command neither fills our memory nor
//! stalls the connection. Reading and feeding go on at the same time, so neither side can block the other.

use std::time::Duration;

use bytes::BytesMut;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig, client};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::session::brief;
use crate::{Error, Session};

/// Bytes kept of stdout, and as many of stderr.
pub const OUTPUT_CAP: usize = 1 << 20;

/// Bytes read from a source at once.
const CHUNK: usize = 256 << 10;

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 + n after signal n, as shells count.
    pub status: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Whether more was written than [`OUTPUT_CAP`].
    pub truncated: bool,
}

impl Output {
    /// Whether the command ended with status 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

impl Session {
    /// Runs `command` in the remote user's shell, feeds it all of `stdin`, and collects its output.
    ///
    /// A status other than 0 is not an error. `TimedOut` hangs up on the command (which may ignore it);
    /// `Lost` means that nobody knows how far it came. A command that ends before it has read all of
    /// its stdin is no error either. Quote foreign arguments with [`crate::quote`].
    pub async fn exec<R>(&self, command: &str, stdin: R, limit: Duration) -> Result<Output, Error>
    where
        R: AsyncRead + Send + Unpin,
    {
        let (mut read, write) = match timeout(limit, self.channel(command)).await {
            Ok(channel) => channel?.split(),
            Err(_) => return Err(self.timed_out(command, limit)),
        };
        let talked = timeout(limit, self.talk(command, &mut read, &write, stdin)).await;
        if !matches!(talked, Ok(Ok(_))) {
            let _gone = timeout(Duration::from_secs(1), write.close()).await;
        }
        talked.unwrap_or_else(|_| Err(self.timed_out(command, limit)))
    }

    async fn talk<R>(
        &self,
        command: &str,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<client::Msg>,
        stdin: R,
    ) -> Result<Output, Error>
    where
        R: AsyncRead + Send + Unpin,
    {
        let collecting = self.collect(command, read);
        let feeding = self.feed(write, stdin);
        tokio::pin!(collecting, feeding);
        tokio::select! {
            output = &mut collecting => return output,
            fed = &mut feeding => fed?,
        }
        collecting.await
    }

    /// Sends all of `stdin`, then end of file. A command that no longer reads is not our failure.
    async fn feed<R>(
        &self,
        write: &ChannelWriteHalf<client::Msg>,
        mut stdin: R,
    ) -> Result<(), Error>
    where
        R: AsyncRead + Send + Unpin,
    {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.reserve(CHUNK);
            let length = stdin
                .read_buf(&mut buffer)
                .await
                .map_err(|source| Error::Source { endpoint: self.endpoint().to_owned(), source })?;
            if length == 0 {
                let _gone = write.eof().await;
                return Ok(());
            }
            if write.data_bytes(buffer.split().freeze()).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn collect(&self, command: &str, read: &mut ChannelReadHalf) -> Result<Output, Error> {
        let mut output =
            Output { status: 0, stdout: Vec::new(), stderr: Vec::new(), truncated: false };
        let mut status = None;
        while let Some(message) = read.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    output.truncated |= keep(&mut output.stdout, &data);
                }
                ChannelMsg::ExtendedData { data, .. } => {
                    output.truncated |= keep(&mut output.stderr, &data);
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    status = Some(signal_status(&signal_name));
                }
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        output.status = status.ok_or_else(|| self.lost(command))?;
        Ok(output)
    }

    fn timed_out(&self, command: &str, after: Duration) -> Error {
        Error::TimedOut { endpoint: self.endpoint().to_owned(), command: brief(command), after }
    }
}

/// Appends what fits under the cap; says whether something did not.
fn keep(kept: &mut Vec<u8>, data: &[u8]) -> bool {
    let room = OUTPUT_CAP.saturating_sub(kept.len()).min(data.len());
    kept.extend_from_slice(&data[..room]);
    room < data.len()
}

/// What a shell would report for a death by `signal`.
pub(crate) fn signal_status(signal: &Sig) -> u32 {
    128 + match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) => match name.as_str() {
            "TRAP" => 5,
            "BUS" => 7,
            "USR2" => 12,
            "XCPU" => 24,
            "XFSZ" => 25,
            "SYS" => 31,
            _ => 0,
        },
    }
}
