//! `fleet-agent attach`: a pipe between an SSH channel and the daemon's socket.
//!
//! Invariant: bytes pass unread and in order; it ends when either side ends. It decides nothing: who may
//! speak is the daemon's to judge, from the first message.

use crate::base::Base;
use crate::error::{Doing, Error, Result};
use fleet_types::{Epoch, JobId};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

const PIECE: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Bridges standard input and output to the daemon of (job, epoch).
pub(crate) fn attach(job: &JobId, epoch: Epoch) -> Result<()> {
    let base = Base::of(job)?;
    let stream = connect(&base)?;
    if let Some(memory) = base.load().filter(|m| m.epoch != epoch) {
        return Err(Error::Refused(format!(
            "the agent here serves epoch {} of {job}, not {epoch}",
            memory.epoch
        )));
    }
    let input = own(std::io::stdin().as_fd())?;
    let output = own(std::io::stdout().as_fd())?;
    let up = stream.try_clone().doing(|| "copy the socket".into())?;
    // Not joined: it may sit in a read of an input that never ends.
    thread::spawn(move || {
        copy(input, &up);
        let _ = up.shutdown(Shutdown::Write);
    });
    copy(&stream, output);
    Ok(())
}

/// A descriptor of our own, free of the standard streams' buffers.
fn own(fd: std::os::fd::BorrowedFd<'_>) -> Result<File> {
    fd.try_clone_to_owned().map(File::from).doing(|| "copy a standard stream".into())
}

fn connect(base: &Base) -> Result<UnixStream> {
    let (path, since) = (base.socket(), Instant::now());
    loop {
        let reached =
            base.socket_by_handle().and_then(|(_folder, short)| UnixStream::connect(short));
        match reached {
            Ok(stream) => return Ok(stream),
            Err(_) if since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(e).doing(|| format!("reach the agent at `{}`", path.display())),
        }
    }
}

fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
