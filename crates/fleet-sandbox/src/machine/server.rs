//! The machine's SSH server: public keys only, one shell per channel.
//!
//! The host key is read anew for each connection, because fleet replaces it at the first login. The
//! socket is emptied all the time into a queue that the protocol's windows bound, so that two russh
//! peers that send bulk to each other cannot both wait for the other to read.
//!
//! Not here: passwords, forwarding, subsystems, several keys.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use russh::keys::PublicKey;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Preferred, kex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::command::{self, Host};
use super::files;

/// Bytes in flight per channel.
const WINDOW: u32 = 8 << 20;
const PACKET: u32 = 65_535;

/// Accepts connections for ever.
pub(super) async fn run(listener: TcpListener, host: Arc<Host>) -> io::Result<()> {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => {
                // The next accept would fail at once again.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(_) => continue,
        };
        let host = host.clone();
        tokio::spawn(async move {
            // A connection that fails is the client's news.
            let _ended = connection(stream, host).await;
        });
    }
}

const EMFILE: i32 = nix::errno::Errno::EMFILE as i32;
const ENFILE: i32 = nix::errno::Errno::ENFILE as i32;

async fn connection(stream: TcpStream, host: Arc<Host>) -> Result<(), russh::Error> {
    stream.set_nodelay(true)?;
    let config = Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(50),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![files::read_host_key(&host.spec().dir)?],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: 256,
        event_buffer_size: 64,
        // No stranger records loopback traffic to break it later: the quick exchange alone.
        preferred: Preferred {
            kex: (&[
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ][..])
                .into(),
            ..Preferred::default()
        },
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        nodelay: true,
        ..Config::default()
    };
    let login = Login { host, channels: HashMap::new() };
    russh::server::run_stream(Arc::new(config), Eager::new(stream), login).await?.await
}

/// One client.
struct Login {
    host: Arc<Host>,
    /// Channels that run nothing yet.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Login {
    fn judge(&self, key: &PublicKey) -> Auth {
        let known = self.host.spec().authorized_keys.iter().any(|line| {
            PublicKey::from_openssh(line.trim())
                .is_ok_and(|known| known.key_data() == key.key_data())
        });
        if known { Auth::Accept } else { Auth::reject() }
    }

    fn start(
        &mut self,
        id: ChannelId,
        command: Option<&[u8]>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.channels.remove(&id) {
            Some(channel) => {
                session.channel_success(id)?;
                tokio::spawn(command::run(channel, command.map(<[u8]>::to_vec), self.host.clone()));
                Ok(())
            }
            None => session.channel_failure(id),
        }
    }
}

impl Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Some(data), session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, None, session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // As sshd without AcceptEnv.
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // The client then keeps its own line editing, which a shell on pipes needs.
        session.channel_failure(id)
    }
}

/// A socket that a task empties into memory as fast as it fills.
struct Eager {
    incoming: mpsc::UnboundedReceiver<io::Result<Bytes>>,
    current: Bytes,
    write: OwnedWriteHalf,
}

impl Eager {
    fn new(stream: TcpStream) -> Eager {
        let (read, write) = stream.into_split();
        let (queue, incoming) = mpsc::unbounded_channel();
        tokio::spawn(drain(read, queue));
        Eager { incoming, current: Bytes::new(), write }
    }
}

async fn drain(mut read: OwnedReadHalf, queue: mpsc::UnboundedSender<io::Result<Bytes>>) {
    const CHUNK: usize = 256 << 10;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let next = tokio::select! {
            next = read.read_buf(&mut buffer) => next,
            () = queue.closed() => return,
        };
        let message = match next {
            Ok(0) => return,
            Ok(_) => Ok(buffer.split().freeze()),
            Err(error) => Err(error),
        };
        let last = message.is_err();
        if queue.send(message).is_err() || last {
            return;
        }
    }
}

impl AsyncRead for Eager {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.incoming.poll_recv(cx)) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = buf.remaining().min(self.current.len());
        buf.put_slice(&self.current[..length]);
        self.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Eager {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}
