//! One command of one SSH channel.
//!
//! It runs in its own process group. When the client closes the channel or vanishes, the command's
//! stdin ends and its group gets SIGHUP; whatever left the group (`setsid`) lives on until the machine
//! dies, as on a real server. As with sshd, the channel stays open until nobody holds stdout or stderr.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::reaper::Reaper;
use super::{Isolation, MachineSpec};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes that may wait for a command that does not read its stdin. Past that the whole connection waits.
const STDIN_BUFFER: usize = 256 << 20;

/// Bytes a pipe holds; what an unprivileged process may ask for.
const PIPE: i32 = 1 << 20;

const CHUNK: usize = 256 << 10;

/// How long the output of a command that was hung up on is still read.
const GRACE: Duration = Duration::from_secs(5);

/// SSH's number for stderr.
const STDERR: u32 = 1;

/// What every command of a machine shares.
#[derive(Debug)]
pub(super) struct Host {
    spec: MachineSpec,
    isolation: Isolation,
    reaper: Reaper,
    user: String,
}

impl Host {
    pub(super) fn new(spec: MachineSpec, isolation: Isolation, reaper: Reaper) -> Host {
        let user = User::from_uid(geteuid())
            .ok()
            .flatten()
            .map_or_else(|| "user".to_owned(), |user| user.name);
        Host { spec, isolation, reaper, user }
    }

    pub(super) fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub(super) fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    /// Gives a command the machine's environment, home and a process group of its own.
    pub(super) fn dress(&self, command: &mut Command) {
        let dir = &self.spec.dir;
        let mut path = OsString::from(dir.join("bin"));
        path.push(":");
        path.push(PATH);
        let tmp = match self.isolation {
            Isolation::ProcessTree => dir.join("tmp"),
            Isolation::Namespaces | Isolation::PrivateRoot => "/tmp".into(),
        };
        command
            .env_clear()
            .env("HOME", dir.join("home"))
            .env("PATH", path)
            .env("USER", &self.user)
            .env("LOGNAME", &self.user)
            .env("SHELL", "/bin/sh")
            .env("TMPDIR", tmp)
            .env("FLEET_SSHD_DIR", dir.join("ssh"))
            .envs(self.spec.env.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.join("home"))
            .process_group(0);
    }
}

/// Runs `command`, or a shell that reads commands from stdin, until it and its output end.
pub(super) async fn run(channel: Channel<Msg>, command: Option<Vec<u8>>, host: Arc<Host>) {
    let (read, write) = channel.split();
    let mut shell = Command::new("/bin/sh");
    match command {
        Some(command) => shell.arg("-c").arg(OsString::from_vec(command)),
        None => shell.arg("-i"),
    };
    host.dress(&mut shell);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let status = match host.reaper.spawn(&mut shell) {
        Ok((child, status)) => converse(read, &write, child, status).await,
        Err(error) => {
            let words = format!("cannot start /bin/sh: {error}\n");
            let _gone = write.extended_data_bytes(STDERR, words).await;
            let _gone = write.exit_status(127).await;
            Ok(())
        }
    };
    if let Err(error) = status {
        let _gone = write.extended_data_bytes(STDERR, format!("{error}\n")).await;
    }
    let _gone = write.eof().await;
    let _gone = write.close().await;
}

/// Moves bytes both ways until the command's output ends or the client goes.
async fn converse(
    read: ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    mut child: Child,
    status: tokio::sync::oneshot::Receiver<u32>,
) -> io::Result<()> {
    let group = Pid::from_raw(child.id().cast_signed());
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the command has no pipes"));
    };
    let stdin = pipe::Sender::from_owned_fd(widened(stdin.into()))?;
    let mut stdout = pipe::Receiver::from_owned_fd(widened(stdout.into()))?;
    let mut stderr = pipe::Receiver::from_owned_fd(stderr.into())?;
    let hang_up = CancellationToken::new();
    let (queue, queued) = mpsc::unbounded_channel();
    let feeding = tokio::spawn(feed(stdin, queued));
    let listening = tokio::spawn(listen(read, group, queue, hang_up.clone()));
    let output = async {
        tokio::join!(
            forward(&mut stdout, write, None),
            forward(&mut stderr, write, Some(STDERR)),
            async {
                if let Ok(status) = status.await {
                    let _gone = write.exit_status(status).await;
                }
            }
        )
    };
    let hung_up = tokio::select! {
        _ended = output => false,
        () = hang_up.cancelled() => true,
    };
    feeding.abort();
    listening.abort();
    if hung_up {
        let _already_dead = killpg(group, Signal::SIGHUP);
        // A handler of the signal that says something must not die of it.
        let (mut nowhere, mut nowhere_else) = (sink(), sink());
        let last_words = async {
            tokio::join!(copy(&mut stdout, &mut nowhere), copy(&mut stderr, &mut nowhere_else))
        };
        let _late = timeout(GRACE, last_words).await;
    }
    Ok(())
}

/// Takes the client's messages as they come; stdin is queued for the command.
async fn listen(
    mut read: ChannelReadHalf,
    group: Pid,
    queue: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    hang_up: CancellationToken,
) {
    let _told_on_every_path = hang_up.drop_guard();
    let room = Arc::new(Semaphore::new(STDIN_BUFFER));
    let mut queue = Some(queue);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let Ok(permit) = room.clone().acquire_many_owned(bytes).await else { return };
                if queue.as_ref().is_none_or(|queue| queue.send((data, permit)).is_err()) {
                    // The command no longer reads; what comes is dropped, as sshd does.
                    queue = None;
                }
            }
            ChannelMsg::Eof => queue = None,
            ChannelMsg::Signal { signal } => {
                if let Some(signal) = number(&signal) {
                    let _already_dead = killpg(group, signal);
                }
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Writes the queue to the command's stdin, then ends it.
async fn feed(
    mut stdin: pipe::Sender,
    mut queued: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
) {
    while let Some((bytes, _room)) = queued.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Sends all of a pipe to the client.
async fn forward(pipe: &mut pipe::Receiver, write: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match pipe.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        let sent = match kind {
            None => write.data_bytes(bytes).await,
            Some(kind) => write.extended_data_bytes(kind, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Asks for a larger pipe; the usual size will do too.
fn widened(pipe: OwnedFd) -> OwnedFd {
    let _kept = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE));
    pipe
}

fn number(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::HUP => Signal::SIGHUP,
        Sig::INT => Signal::SIGINT,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::KILL => Signal::SIGKILL,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::ALRM => Signal::SIGALRM,
        Sig::ABRT => Signal::SIGABRT,
        Sig::ILL | Sig::FPE | Sig::SEGV | Sig::Custom(_) => return None,
    })
}
