//! Small text work that several wires need: globs, percent-decoding, hashing words to numbers.

use sha2::{Digest, Sha256};

/// Whether `text` fits `pattern`, where `*` stands for anything. Case does not matter.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Undoes percent-encoding and `+`. Bytes that are no UTF-8 become replacement characters.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let hex = || {
            let pair = bytes.get(i + 1..i + 3)?;
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        };
        match bytes[i] {
            b'%' => match hex() {
                Some(byte) => {
                    out.push(byte);
                    i += 2;
                }
                None => out.push(b'%'),
            },
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The pairs of a query string or form body, decoded, in order.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(k, v)| (percent_decode(k), percent_decode(v)))
        .collect()
}

/// A number that depends on nothing but `seed` and `parts`.
pub(crate) fn hash(seed: u64, parts: &[&str]) -> u64 {
    let mut sha = Sha256::new();
    sha.update(seed.to_be_bytes());
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part.as_bytes());
    }
    let digest = sha.finalize();
    digest.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The same as a number in [0, 1).
pub(crate) fn fraction(seed: u64, parts: &[&str]) -> f64 {
    (hash(seed, parts) >> 11) as f64 / (1_u64 << 53) as f64
}

/// `prefix` and 17 hex digits, as EC2 names things.
pub(crate) fn aws_id(prefix: &str, seed: u64, parts: &[&str]) -> String {
    format!("{prefix}-0{:016x}", hash(seed, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (p, t) in [
            ("*", ""),
            ("us-*", "us-east-1"),
            ("g4dn.*", "g4dn.xlarge"),
            ("a*c*e", "abcde"),
            ("A", "a"),
        ] {
            assert!(glob(p, t), "{p} {t}");
        }
        for (p, t) in [("us-*", "eu-west-1"), ("a", "ab"), ("a*b", "a"), ("*x", "xy")] {
            assert!(!glob(p, t), "{p} {t}");
        }
    }

    #[test]
    fn decoding() {
        assert_eq!(percent_decode("a%20b+c%2Fd%zz%"), "a b c/d%zz%");
        assert_eq!(
            pairs("a=1&b=%3D&c"),
            [("a", "1"), ("b", "="), ("c", "")].map(|(k, v)| (k.into(), v.into()))
        );
    }
}
