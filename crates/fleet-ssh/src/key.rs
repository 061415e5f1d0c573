//! Key pairs: login keys of fleet and host keys of instances, both ed25519 in OpenSSH's formats.
//!
//! The private half is a [`SecretString`], so it never prints.

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use secrecy::{ExposeSecret, SecretString};

use crate::Error;

/// An ed25519 key pair.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// The private key as an OpenSSH PEM file, with a newline at the end.
    pub private_pem: SecretString,
    /// The public key as one `authorized_keys` line, without a newline.
    pub public_line: String,
}

impl KeyPair {
    /// Makes a new pair from the system's randomness. `comment` ends the public line.
    pub fn generate(comment: &str) -> KeyPair {
        let mut rng = russh::keys::key::safe_rng();
        let mut key = PrivateKey::random(&mut rng, Algorithm::Ed25519)
            .expect("invariant: ed25519 keys can be made from any randomness");
        key.set_comment(comment.replace(['\n', '\r'], " "));
        let pem = key
            .to_openssh(LineEnding::LF)
            .expect("invariant: a fresh unencrypted ed25519 key can be written");
        let public_line = key
            .public_key()
            .to_openssh()
            .expect("invariant: a fresh ed25519 public key can be written");
        KeyPair { private_pem: SecretString::from(pem.as_str()), public_line }
    }
}

/// Returns the `authorized_keys` line that belongs to a private key, with its comment.
pub fn public_line(private_pem: &SecretString) -> Result<String, Error> {
    let key = parse_private(private_pem, "private key")?;
    key.public_key()
        .to_openssh()
        .map_err(|e| Error::BadKey { what: "private key", detail: e.to_string() })
}

/// Returns the `SHA256:…` fingerprint of a public key line, as `ssh-keygen -l` shows it.
pub fn fingerprint(public_line: &str) -> Result<String, Error> {
    Ok(parse_public(public_line, "public key")?.fingerprint(HashAlg::Sha256).to_string())
}

pub(crate) fn parse_private(pem: &SecretString, what: &'static str) -> Result<PrivateKey, Error> {
    PrivateKey::from_openssh(pem.expose_secret())
        .map_err(|e| Error::BadKey { what, detail: e.to_string() })
}

pub(crate) fn parse_public(line: &str, what: &'static str) -> Result<PublicKey, Error> {
    PublicKey::from_openssh(line.trim()).map_err(|e| Error::BadKey { what, detail: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_pair_belongs_together_and_does_not_print() {
        let pair = KeyPair::generate("fleet job 7");
        assert!(pair.public_line.starts_with("ssh-ed25519 AAAA"), "{}", pair.public_line);
        assert!(pair.public_line.ends_with(" fleet job 7"));
        assert_eq!(public_line(&pair.private_pem).unwrap(), pair.public_line);
        assert!(!format!("{pair:?}").contains("PRIVATE KEY"));
        assert_ne!(pair.public_line, KeyPair::generate("fleet job 7").public_line);
        assert!(fingerprint(&pair.public_line).unwrap().starts_with("SHA256:"));
    }

    #[test]
    fn a_comment_cannot_add_a_second_line() {
        let pair = KeyPair::generate("a\nssh-ed25519 evil");
        assert_eq!(pair.public_line.lines().count(), 1);
    }
}
