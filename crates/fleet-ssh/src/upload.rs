//! Copies to the instance without sftp: two fixed scripts over exec.
//!
//! The first writes stdin to `PATH.WORD.part` and tells what arrived; only when that equals what was
//! sent does the second set the mode and rename. So a copy that is cut off at any moment leaves the old
//! file (or none) in place, never half a new one; the next copy removes what was left. The word is
//! another one for each copy, because the remote end of a copy that was given up may still be writing.
//!
//! The digest is sha256 where the instance has `sha256sum`, else only the size is compared.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{Error, Output, Session, quote};

/// `$1`: the path below the home; `$2`: a word of this copy alone. Prints `sha256 HEX` or `bytes N`.
const RECEIVE: &str = "set -eu; umask 077; cd; mkdir -p -- \"$(dirname -- \"./$1\")\"; \
    rm -f \"./$1.\"*.part; part=\"./$1.$2.part\"; cat > \"$part\"; \
    if command -v sha256sum >/dev/null 2>&1; then \
    echo \"sha256 $(sha256sum < \"$part\" | cut -c1-64)\"; \
    else echo \"bytes $(wc -c < \"$part\" | tr -d \" \")\"; fi";

/// `$1`, `$2`: as before; `$3`: the mode.
const PUBLISH: &str =
    "set -eu; cd; part=\"./$1.$2.part\"; chmod \"$3\" \"$part\"; mv -f \"$part\" \"./$1\"";

/// The limit of the small second step.
const PUBLISH_LIMIT: Duration = Duration::from_secs(60);

impl Session {
    /// Copies everything `source` yields to `path` below the remote home and sets `mode` (octal bits).
    ///
    /// Missing directories are made with mode 0700. Idempotent; one copy to one path at a time.
    /// On any error, and when this future is dropped, `path` is as it was.
    pub async fn upload<R>(
        &self,
        source: R,
        path: &str,
        mode: u32,
        limit: Duration,
    ) -> Result<(), Error>
    where
        R: AsyncRead + Send + Unpin,
    {
        if path.is_empty()
            || path.starts_with('/')
            || path.ends_with('/')
            || path.contains(char::is_control)
        {
            return Err(self.failed(path, "the path must be relative to the home and name a file"));
        }
        let word = format!("{:016x}", RandomState::new().hash_one(path));
        let mut source = Hashed { inner: source, hasher: Sha256::new(), bytes: 0 };
        let output = self.exec(&script(RECEIVE, &[path, &word]), &mut source, limit).await?;
        let told = self.checked(path, &output)?;
        let digest = format!("sha256 {}", hex::encode(source.hasher.finalize()));
        let size = format!("bytes {}", source.bytes);
        if told != digest && told != size {
            return Err(self.failed(path, &format!("{told} arrived, {digest} was sent")));
        }
        let mode = format!("{:o}", mode & 0o7777);
        let output =
            self.exec(&script(PUBLISH, &[path, &word, &mode]), &b""[..], PUBLISH_LIMIT).await?;
        self.checked(path, &output).map(drop)
    }

    /// The script's answer, or its complaint as an error.
    fn checked(&self, path: &str, output: &Output) -> Result<String, Error> {
        if !output.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let last: String =
                complaint.trim().lines().last().unwrap_or_default().chars().take(200).collect();
            return Err(
                self.failed(path, &format!("status {}: {}", output.status, last.escape_debug()))
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn failed(&self, path: &str, detail: &str) -> Error {
        Error::Upload {
            endpoint: self.endpoint().to_owned(),
            path: path.escape_debug().to_string(),
            detail: detail.to_owned(),
        }
    }
}

/// `sh -c SCRIPT sh ARG…`, so that arguments are data to the script whatever they contain.
fn script(text: &str, arguments: &[&str]) -> String {
    let mut command = format!("sh -c {} sh", quote(text));
    for argument in arguments {
        command.push(' ');
        command.push_str(&quote(argument));
    }
    command
}

/// Hashes and counts what passes through.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Hashed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        self.bytes += new.len() as u64;
        self.hasher.update(new);
        result
    }
}
