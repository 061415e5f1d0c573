//! One authenticated SSH connection.
//!
//! A [`Session`] is cheap to clone; the connection ends when the last clone and the last channel are
//! gone, when [`Session::close`] is called, or when it dies. Death is noticed within
//! `keepalive.interval × (keepalive.misses + 1)`, also while a copy is running.
//!
//! The host key is checked before authentication begins: a mismatch ends the connection with nothing
//! sent but the key exchange.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, AuthResult, DisconnectReason};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred, cipher};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::key::parse_private;
use crate::progress::Progress;
use crate::target::fingerprints;
use crate::{Error, Target};

/// The longest wait for the TCP connection alone.
const TCP_CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Bytes in flight per channel. A long fat line (200 ms, 100 Mbit/s) holds 2.5 MB.
const WINDOW: u32 = 8 << 20;

/// The largest packet SSH servers and russh both take.
const PACKET: u32 = 65_535;

/// How often the peer is asked for a sign of life, and how many silent answers mean death.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    pub interval: Duration,
    pub misses: usize,
}

impl Default for Keepalive {
    /// Every 5 s, dead after 3 without an answer: noticed after 20 s at most.
    fn default() -> Self {
        Keepalive { interval: Duration::from_secs(5), misses: 3 }
    }
}

/// An authenticated connection to one instance.
#[derive(Clone)]
pub struct Session {
    handle: Arc<client::Handle<Checker>>,
    endpoint: Arc<str>,
    host_key: Arc<str>,
    alive: watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, checks the host key and logs in, all within `limit`.
    ///
    /// `Unreachable`: nothing there (yet). `HostKeyMismatch`: another machine; nothing was sent.
    /// `AuthRefused`: it does not know our key. Never retries.
    pub async fn connect(target: &Target, limit: Duration) -> Result<Session, Error> {
        Session::connect_with(target, limit, Keepalive::default()).await
    }

    /// As [`Session::connect`], with another keepalive.
    pub async fn connect_with(
        target: &Target,
        limit: Duration,
        keepalive: Keepalive,
    ) -> Result<Session, Error> {
        timeout(limit, Session::dial(target, keepalive)).await.unwrap_or_else(|_| {
            Err(unreachable(target, io::ErrorKind::TimedOut, "no SSH login within the time limit"))
        })
    }

    async fn dial(target: &Target, keepalive: Keepalive) -> Result<Session, Error> {
        let endpoint = target.endpoint();
        let login = parse_private(&target.login_key, "login key")?;
        let pinned = target.host_key.keys()?;
        let stream = match timeout(
            TCP_CONNECT_LIMIT,
            TcpStream::connect((target.host.as_str(), target.port)),
        )
        .await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(Error::Unreachable { endpoint, source }),
            Err(_) => return Err(unreachable(target, io::ErrorKind::TimedOut, "no TCP answer")),
        };
        stream
            .set_nodelay(true)
            .map_err(|source| Error::Unreachable { endpoint: endpoint.clone(), source })?;
        let patience = keepalive.interval.saturating_mul(keepalive.misses as u32 + 1);
        let config = Arc::new(config(keepalive, pinned.as_deref()));
        let seen = Arc::new(OnceLock::new());
        let (dead, alive) = watch::channel(None);
        let checker = Checker { pinned: pinned.clone(), seen: seen.clone(), dead };
        let mut handle = client::connect_stream(config, Progress::new(stream, patience), checker)
            .await
            .map_err(|e| handshake_error(target, pinned.as_deref(), seen.get(), e))?;
        let login = PrivateKeyWithHashAlg::new(Arc::new(login), Some(HashAlg::Sha512));
        match handle.authenticate_publickey(target.user.clone(), login).await {
            Ok(AuthResult::Success) => {}
            Ok(AuthResult::Failure { .. }) => {
                return Err(Error::AuthRefused { endpoint, user: target.user.clone() });
            }
            Err(e) => return Err(handshake_error(target, pinned.as_deref(), seen.get(), e)),
        }
        let host_key = seen.get().map(line).unwrap_or_default();
        tracing::debug!(%endpoint, %host_key, "SSH session open");
        Ok(Session {
            handle: Arc::new(handle),
            endpoint: endpoint.into(),
            host_key: host_key.into(),
            alive,
        })
    }

    /// The host key the server proved, as an OpenSSH public key line without a comment.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// `host:port` of the other end.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the connection is known to be dead.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Resolves when the connection has ended, with the reason in words. Holds nothing open.
    pub fn closed(&self) -> impl Future<Output = String> + Send + 'static {
        let mut alive = self.alive.clone();
        async move {
            loop {
                if let Some(reason) = alive.borrow_and_update().clone() {
                    return reason;
                }
                if alive.changed().await.is_err() {
                    let reason = alive.borrow().clone();
                    return reason.unwrap_or_else(|| "the connection was closed".to_owned());
                }
            }
        }
    }

    /// Says goodbye and ends the connection, whatever still runs on it.
    pub async fn close(&self) {
        let sent = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
        if sent.is_ok() {
            let _reason = timeout(Duration::from_secs(1), self.closed()).await;
        }
    }

    pub(crate) async fn channel(
        &self,
        command: &str,
    ) -> Result<russh::Channel<client::Msg>, Error> {
        let opened = async {
            let channel = self.handle.channel_open_session().await?;
            channel.exec(true, command).await?;
            Ok(channel)
        };
        opened.await.map_err(|source| {
            if self.is_closed() {
                self.lost(command)
            } else {
                Error::Protocol { endpoint: self.endpoint.to_string(), source }
            }
        })
    }

    pub(crate) fn lost(&self, command: &str) -> Error {
        Error::Lost {
            endpoint: self.endpoint.to_string(),
            doing: format!("running `{}`", brief(command)),
        }
    }
}

/// The first line of a command, cut, for messages.
pub(crate) fn brief(command: &str) -> String {
    const LENGTH: usize = 60;
    let first = command.lines().next().unwrap_or_default();
    let mut cut: String = first.chars().take(LENGTH).collect();
    if cut.len() < command.trim_end().len() {
        cut.push('…');
    }
    cut
}

fn config(keepalive: Keepalive, pinned: Option<&[PublicKey]>) -> client::Config {
    let default = Preferred::default();
    // A server with several host keys shows the first that we prefer: ours first, so that a pinned
    // key is found although the server also has others.
    let mut keys: Vec<Algorithm> =
        pinned.unwrap_or_default().iter().map(PublicKey::algorithm).collect();
    for algorithm in default.key.iter() {
        if !keys.contains(algorithm) {
            keys.push(algorithm.clone());
        }
    }
    // AES is in silicon nearly everywhere we connect to.
    let mut ciphers = vec![cipher::AES_256_GCM, cipher::AES_128_GCM];
    ciphers.extend(
        default
            .cipher
            .iter()
            .filter(|name| **name != cipher::AES_256_GCM && **name != cipher::AES_128_GCM),
    );
    client::Config {
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: 256,
        preferred: Preferred { key: Cow::Owned(keys), cipher: Cow::Owned(ciphers), ..default },
        keepalive_interval: Some(keepalive.interval),
        keepalive_max: keepalive.misses,
        nodelay: true,
        ..client::Config::default()
    }
}

fn unreachable(target: &Target, kind: io::ErrorKind, detail: &str) -> Error {
    Error::Unreachable {
        endpoint: target.endpoint(),
        source: io::Error::new(kind, detail.to_owned()),
    }
}

/// A hang-up before login is what booting machines do; everything else is a disagreement.
fn handshake_error(
    target: &Target,
    pinned: Option<&[PublicKey]>,
    seen: Option<&PublicKey>,
    error: russh::Error,
) -> Error {
    if let (russh::Error::UnknownKey, Some(pinned)) = (&error, pinned) {
        return Error::HostKeyMismatch {
            endpoint: target.endpoint(),
            expected: fingerprints(pinned),
            seen: seen.map_or_else(
                || "a certificate".to_owned(),
                |key| fingerprints(std::slice::from_ref(key)),
            ),
        };
    }
    match error {
        russh::Error::IO(source) => Error::Unreachable { endpoint: target.endpoint(), source },
        russh::Error::HUP
        | russh::Error::Disconnect
        | russh::Error::SendError
        | russh::Error::RecvError => {
            unreachable(target, io::ErrorKind::ConnectionAborted, "the server hung up before login")
        }
        source => Error::Protocol { endpoint: target.endpoint(), source },
    }
}

fn line(key: &PublicKey) -> String {
    PublicKey::new(key.key_data().clone(), "").to_openssh().unwrap_or_default()
}

/// Judges the host key and tells when the connection has ended.
#[derive(Debug)]
pub(crate) struct Checker {
    pinned: Option<Vec<PublicKey>>,
    seen: Arc<OnceLock<PublicKey>>,
    dead: watch::Sender<Option<String>>,
}

impl client::Handler for Checker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        // A later key exchange of the same connection must show the same key.
        let first = self.seen.get_or_init(|| key.clone());
        let same = first.key_data() == key.key_data();
        let allowed = match &self.pinned {
            None => true,
            Some(pinned) => pinned.iter().any(|pin| pin.key_data() == key.key_data()),
        };
        Ok(same && allowed)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let words = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the server closed the connection: {}", info.message.escape_debug())
            }
            DisconnectReason::Error(e) => e.to_string(),
        };
        self.dead.send_replace(Some(words));
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(e) => Err(e),
        }
    }
}
