//! Signed URLs, version 4: Amazon's and Google's differ in names and in the key alone.
//!
//! Invariant: method, host, path and every query parameter are part of the signature, so that a URL is good
//! for the one request that was looked at. Other headers and the payload are not.
//! Source: "Authenticating Requests: Using Query Parameters" (S3), "V4 signing process" (Cloud Storage).

use crate::clock;
use fleet_types::Timestamp;
use ring::hmac;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Signs with a key that this module does not see.
pub(super) type Sign<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// Who signs.
pub(super) enum Signer<'a> {
    Amazon {
        access_key_id: &'a str,
        secret: &'a str,
        session_token: Option<&'a str>,
        region: &'a str,
    },
    Google {
        email: &'a str,
        key: &'a Sign<'a>,
    },
}

/// What is signed.
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    /// `https://host[:port][/base]`, without a slash at its end.
    pub(super) base: &'a str,
    /// Below the base, beginning with `/`; not escaped.
    pub(super) path: &'a str,
    /// Neither names nor values escaped.
    pub(super) query: &'a [(String, String)],
    pub(super) at: Timestamp,
    pub(super) life: Duration,
}

impl Signer<'_> {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Amazon { .. } => "X-Amz",
            Self::Google { .. } => "X-Goog",
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Amazon { .. } => "AWS4-HMAC-SHA256",
            Self::Google { .. } => "GOOG4-RSA-SHA256",
        }
    }

    /// Who, and the day, place and service that the key is for.
    fn scope(&self, day: &str) -> (String, String) {
        match self {
            Self::Amazon { access_key_id, region, .. } => {
                ((*access_key_id).to_owned(), format!("{day}/{region}/s3/aws4_request"))
            }
            Self::Google { email, .. } => {
                ((*email).to_owned(), format!("{day}/auto/storage/goog4_request"))
            }
        }
    }

    fn sign(&self, day: &str, text: &str) -> Result<String, String> {
        match self {
            Self::Amazon { secret, region, .. } => {
                let mut key = format!("AWS4{secret}").into_bytes();
                for part in [day, region, "s3", "aws4_request"] {
                    key = hmac256(&key, part.as_bytes());
                }
                Ok(hex::encode(hmac256(&key, text.as_bytes())))
            }
            Self::Google { key, .. } => Ok(hex::encode(key(text.as_bytes())?)),
        }
    }

    /// The URL of a request, signed.
    pub(super) fn url(&self, signing: &Signing<'_>) -> Result<String, String> {
        let stamp = clock::compact(signing.at);
        let day = stamp.get(..8).unwrap_or_default();
        let (host, base_path) = host_of(signing.base);
        let path = format!("{base_path}{}", escape(signing.path, true));
        let (who, scope) = self.scope(day);
        let query = self.query(signing, &stamp, &format!("{who}/{scope}"));
        let canonical =
            format!("{}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", signing.method);
        let digest = hex::encode(Sha256::digest(canonical));
        let text = format!("{}\n{stamp}\n{scope}\n{digest}", self.algorithm());
        let signature = self.sign(day, &text)?;
        let origin = signing.base.strip_suffix(base_path).unwrap_or(signing.base);
        Ok(format!("{origin}{path}?{query}&{}-Signature={signature}", self.prefix()))
    }

    fn query(&self, signing: &Signing<'_>, stamp: &str, credential: &str) -> String {
        let own = |name: &str, value: &str| (format!("{}-{name}", self.prefix()), value.to_owned());
        let mut all = signing.query.to_vec();
        all.push(own("Algorithm", self.algorithm()));
        all.push(own("Credential", credential));
        all.push(own("Date", stamp));
        all.push(own("Expires", &signing.life.as_secs().to_string()));
        all.push(own("SignedHeaders", "host"));
        if let Self::Amazon { session_token: Some(token), .. } = self {
            all.push(own("Security-Token", token));
        }
        let mut pairs: Vec<(String, String)> =
            all.iter().map(|(name, value)| (escape(name, false), escape(value, false))).collect();
        pairs.sort_unstable();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// Host with port, and the path behind it, of a base URL.
fn host_of(base: &str) -> (&str, &str) {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}

/// Percent-escapes all but the unreserved characters, and slashes where asked.
pub(super) fn escape(text: &str, slashes_stay: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if plain || (byte == b'/' && slashes_stay) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// HMAC with SHA-256.
pub(super) fn hmac256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the S3 reference, "Authenticating Requests: Using Query Parameters".
    #[test]
    fn amazons_own_example_comes_out() {
        let signer = Signer::Amazon {
            access_key_id: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            session_token: None,
            region: "us-east-1",
        };
        let url = signer.url(&Signing {
            method: "GET",
            base: "https://examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            at: Timestamp::parse("2013-05-24T00:00:00Z").unwrap(),
            life: Duration::from_secs(86_400),
        });
        assert_eq!(
            url.unwrap(),
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    #[test]
    fn a_base_with_a_path_keeps_it_before_the_key() {
        assert_eq!(host_of("http://127.0.0.1:9000"), ("127.0.0.1:9000", ""));
        assert_eq!(host_of("https://h/storage/v1/s3"), ("h", "/storage/v1/s3"));
        let key = |_: &[u8]| Ok(vec![0xab]);
        let signer = Signer::Google { email: "a@b", key: &key };
        let url = signer.url(&Signing {
            method: "PUT",
            base: "https://h/base",
            path: "/bucket/a b",
            query: &[("uploads".into(), String::new())],
            at: Timestamp::parse("2013-05-24T00:00:00Z").unwrap(),
            life: Duration::from_secs(60),
        });
        let url = url.unwrap();
        assert!(url.starts_with("https://h/base/bucket/a%20b?X-Goog-Algorithm=GOOG4"), "{url}");
        assert!(url.ends_with("&uploads=&X-Goog-Signature=ab"), "{url}");
    }
}
