//! Where to connect, as whom, and which host keys count.

use std::fmt;

use russh::keys::{HashAlg, PublicKey};
use secrecy::SecretString;

use crate::Error;
use crate::key::parse_public;

/// One SSH server and how to log in to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// A host name or an address.
    pub host: String,
    pub port: u16,
    pub user: String,
    /// The private login key, an unencrypted OpenSSH PEM.
    pub login_key: SecretString,
    pub host_key: HostKeyPolicy,
}

/// Which host keys are accepted.
#[derive(Debug, Clone)]
pub enum HostKeyPolicy {
    /// Only these, as OpenSSH public key lines. An empty list accepts none.
    Pinned(Vec<String>),
    /// Any; [`crate::Session::host_key`] tells which one it was, for the caller to pin.
    Unverified,
}

impl Target {
    /// `host:port`, as errors show it.
    pub fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.endpoint())
    }
}

impl HostKeyPolicy {
    /// Parses the pinned lines; `None` means that any key is accepted.
    pub(crate) fn keys(&self) -> Result<Option<Vec<PublicKey>>, Error> {
        match self {
            HostKeyPolicy::Unverified => Ok(None),
            HostKeyPolicy::Pinned(lines) => lines
                .iter()
                .map(|line| parse_public(line, "pinned host key"))
                .collect::<Result<_, _>>()
                .map(Some),
        }
    }
}

/// The fingerprints of `keys`, for people.
pub(crate) fn fingerprints(keys: &[PublicKey]) -> String {
    if keys.is_empty() {
        return "none".to_owned();
    }
    let prints: Vec<String> =
        keys.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string()).collect();
    prints.join(" or ")
}
