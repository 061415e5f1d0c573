//! Signature version 4 in headers, as S3 and its compatible servers check it.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>. Invariant: every header
//! that is given here is signed; the secret enters a keyed digest and nothing else.

use fleet_types::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What stands for the digest of a body that nobody has hashed.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A header's name, in lower case, and its value.
pub(super) type Header = (&'static str, String);

/// Who signs, for where.
pub(super) struct Signer<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) session_token: Option<&'a str>,
    pub(super) region: &'a str,
}

/// A request as it goes over the wire.
pub(super) struct Plain<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    /// Escaped.
    pub(super) path: &'a str,
    /// Escaped and sorted.
    pub(super) query: &'a str,
    pub(super) headers: &'a [Header],
    /// SHA-256 of the body in hex, or [`UNSIGNED`].
    pub(super) payload: &'a str,
}

impl Signer<'_> {
    /// The headers that sign a request, to be sent beside its own.
    pub(super) fn headers(&self, plain: &Plain<'_>, now: Timestamp) -> Vec<Header> {
        let time = basic(now);
        let mut added =
            vec![("x-amz-content-sha256", plain.payload.to_owned()), ("x-amz-date", time.clone())];
        if let Some(token) = self.session_token {
            added.push(("x-amz-security-token", token.to_owned()));
        }
        let mut all = vec![("host", plain.host.to_owned())];
        all.extend(plain.headers.iter().cloned());
        all.extend(added.iter().cloned());
        all.sort();
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String =
            all.iter().map(|(name, value)| format!("{name}:{}\n", folded(value))).collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{}",
            plain.method, plain.path, plain.query, plain.payload
        );
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.region);
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let signature = hex::encode(keyed(&self.key(&time[..8]), &text));
        let id = self.access_key_id;
        added.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}"
            ),
        ));
        added
    }

    fn key(&self, day: &str) -> [u8; 32] {
        let first = format!("AWS4{}", self.secret_access_key);
        let key = keyed(first.as_bytes(), day);
        let key = keyed(&key, self.region);
        keyed(&keyed(&key, "s3"), "aws4_request")
    }
}

fn keyed(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length is one: longer ones are hashed first (RFC 2104).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Spaces as the canonical form has them.
fn folded(value: &str) -> String {
    let words: Vec<_> = value.split(' ').filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// `20130524T000000Z`.
fn basic(now: Timestamp) -> String {
    let text = now.to_string();
    let mut basic: String = text.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    basic.push('Z');
    basic
}

#[cfg(test)]
mod tests;
