//! Secrets at rest: sealed in the home, the key beside them and outside the database.
//!
//! Invariant: nothing that was sealed is ever written in clear; a sealed file that was changed is refused.

use crate::error::{Error, Result};
use crate::home::{Home, write_private};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The sealed maps of one home.
#[derive(Clone)]
pub(crate) struct Vault {
    dir: PathBuf,
    key: Arc<LessSafeKey>,
}

impl Vault {
    /// Opens the vault, making its key where there is none.
    pub(crate) fn open(home: &Home) -> Result<Self> {
        let fail =
            |e: &dyn std::fmt::Display| Error::internal("the vault of sealed credentials", e);
        let path = home.dir().join("keys").join("vault.key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut key = vec![0; 32];
                SystemRandom::new().fill(&mut key).map_err(|e| fail(&e))?;
                write_private(&path, &key).map_err(|e| fail(&e))?;
                key
            }
            Err(e) => return Err(fail(&e)),
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|e| fail(&e))?;
        Ok(Self { dir: home.dir().join("sealed"), key: Arc::new(LessSafeKey::new(key)) })
    }

    /// Seals a map under a name, replacing what was there.
    pub(crate) fn seal(&self, name: &str, map: &BTreeMap<String, String>) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| Error::internal("sealing credentials", e);
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|e| fail(&e))?;
        let mut text = serde_json::to_vec(map).map_err(|e| fail(&e))?;
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut text,
            )
            .map_err(|e| fail(&e))?;
        let mut out = nonce.to_vec();
        out.extend_from_slice(&text);
        write_private(&self.dir.join(name), &out).map_err(|e| fail(&e))
    }

    /// Opens a sealed map; empty where nothing was sealed under the name.
    pub(crate) fn unseal(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let fail = |e: &dyn std::fmt::Display| Error::internal("opening sealed credentials", e);
        let bytes = match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(fail(&e)),
        };
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or_else(|| fail(&"too short"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|e| fail(&e))?;
        let mut text = text.to_vec();
        let clear = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| fail(&"the file was changed or the key is another one"))?;
        serde_json::from_slice(clear).map_err(|e| fail(&e))
    }

    /// Forgets what was sealed under a name.
    pub(crate) fn forget(&self, name: &str) {
        if let Err(e) = std::fs::remove_file(self.dir.join(name)) {
            tracing::debug!("nothing sealed under {name}: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_what_was_changed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Home::open(dir.path()).unwrap()).unwrap();
        let map = BTreeMap::from([("VAST_API_KEY".to_owned(), "canary-secret".to_owned())]);
        vault.seal("r", &map).unwrap();
        let path = dir.path().canonicalize().unwrap().join("sealed/r");
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"canary"));
        assert_eq!(vault.unseal("r").unwrap(), map);
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(vault.unseal("r").is_err());
    }
}
