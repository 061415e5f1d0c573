//! The SSH keys of a job: one to log in, and the host keys its machines must show.
//!
//! Invariant: every key is on disk before the request that uses it leaves, so a restart sends the same
//! request and knows the same pins. A machine is trusted by its pinned key alone, never by its address.

use crate::error::{Error, Result};
use crate::home::{Home, write_private};
use fleet_ssh::KeyPair;
use fleet_types::{Epoch, JobId, Token};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

/// The keys of one job.
#[derive(Clone, Debug)]
pub(crate) struct JobKeys {
    dir: PathBuf,
}

impl JobKeys {
    pub(crate) fn of(home: &Home, job: &JobId) -> Self {
        Self { dir: home.job_dir(job).join("keys") }
    }

    /// The key that logs in; made at its first use.
    pub(crate) fn login(&self) -> Result<KeyPair> {
        self.pair("login", "fleet")
    }
    /// File of the login key.
    pub(crate) fn login_path(&self) -> PathBuf {
        self.dir.join("login")
    }
    /// The key that the machine of this create shows at first.
    pub(crate) fn first_host(&self, token: &Token) -> Result<KeyPair> {
        self.pair(&format!("host-{token}"), "fleet-host")
    }
    /// The key that it is given at first login.
    pub(crate) fn rotated_host(&self, token: &Token) -> Result<KeyPair> {
        self.pair(&format!("rotated-{token}"), "fleet-host")
    }
    /// Whether the machine has taken the rotated key.
    pub(crate) fn is_rotated(&self, token: &Token) -> bool {
        self.dir.join(format!("pinned-{token}")).exists()
    }
    /// Notes that it has.
    pub(crate) fn set_rotated(&self, token: &Token) -> Result<()> {
        write_private(&self.dir.join(format!("pinned-{token}")), b"rotated\n").map_err(fail)
    }
    /// The keys that the machine may show now.
    pub(crate) fn pins(&self, token: &Token) -> Result<Vec<String>> {
        let rotated = self.rotated_host(token)?.public_line;
        if self.is_rotated(token) {
            return Ok(vec![rotated]);
        }
        Ok(vec![self.first_host(token)?.public_line, rotated])
    }
    /// An OpenSSH known_hosts file for the system's ssh.
    pub(crate) fn known_hosts(
        &self,
        epoch: Epoch,
        host: &str,
        port: u16,
        line: &str,
    ) -> Result<PathBuf> {
        let path = self.dir.join(format!("known_hosts-{epoch}"));
        let text = format!("[{host}]:{port} {line}\n{host} {line}\n");
        write_private(&path, text.as_bytes()).map_err(fail)?;
        Ok(path)
    }

    fn pair(&self, name: &str, comment: &str) -> Result<KeyPair> {
        let path = self.dir.join(name);
        if let Some(pair) = read(&path)? {
            return Ok(pair);
        }
        let pair = KeyPair::generate(comment);
        write_private(&path, pair.private_pem.expose_secret().as_bytes()).map_err(fail)?;
        // Another task may have been first: what is on disk counts.
        Ok(read(&path)?.unwrap_or(pair))
    }
}

fn read(path: &Path) -> Result<Option<KeyPair>> {
    match std::fs::read_to_string(path) {
        Ok(pem) => {
            let private_pem = SecretString::from(pem);
            let public_line = fleet_ssh::public_line(&private_pem).map_err(fail)?;
            Ok(Some(KeyPair { private_pem, public_line }))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail(e)),
    }
}

fn fail(e: impl std::fmt::Display) -> Error {
    Error::internal("the keys of a job", e)
}
