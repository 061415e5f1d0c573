//! Text as it stands in addresses and headers: percent-encoding, queries, HTTP dates.
//!
//! Invariant: what is escaped here is byte for byte what is signed and what is sent. Everything but the
//! unreserved characters of RFC 3986 is escaped, as signature version 4 wants it and every store reads it.

use fleet_types::Timestamp;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A name or a value of a query, or a header of the signature.
pub(super) fn escape(text: &str) -> String {
    escaped(text, b"")
}

/// The path of an object: its slashes stay.
pub(super) fn escape_path(path: &str) -> String {
    escaped(path, b"/")
}

fn escaped(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// The way back. `plus`: a plus sign is a space, as in forms. `None`: no such text.
pub(super) fn unescape(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

/// A query in the order and the spelling in which it is signed.
pub(super) fn query(pairs: &[(String, String)]) -> String {
    let mut pairs: Vec<_> = pairs.iter().map(|(n, v)| (escape(n), escape(v))).collect();
    pairs.sort();
    let joined: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    joined.join("&")
}

/// One value of a query that is escaped already.
pub(super) fn value_of(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    unescape(value, false)
}

/// Reads `Wed, 21 Oct 2015 07:28:00 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|m| *m == month)? + 1;
    (zone == "GMT").then(|| Timestamp::parse(&format!("{year}-{month:02}-{day:0>2}T{time}Z")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_and_read_back() {
        for (text, path) in [
            ("a b/c+d", "a%20b/c%2Bd"),
            ("50%/ü~", "50%25/%C3%BC~"),
            ("q?x=1&y#z", "q%3Fx%3D1%26y%23z"),
            ("'(!*)'", "%27%28%21%2A%29%27"),
        ] {
            assert_eq!(escape_path(text), path);
            assert_eq!(unescape(path, false).as_deref(), Some(text));
            assert_eq!(unescape(&escape(text), true).as_deref(), Some(text));
        }
        assert_eq!(unescape("a+b", true).as_deref(), Some("a b"));
        assert_eq!(unescape("a%2", false), None);
        assert_eq!(unescape("%ff", false), None);
    }

    #[test]
    fn queries_are_sorted_as_they_are_signed() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let pairs = [pair("prefix", "a/b c"), pair("list-type", "2"), pair("X", "")];
        assert_eq!(query(&pairs), "X=&list-type=2&prefix=a%2Fb%20c");
        assert_eq!(
            value_of("sv=1&se=2030-01-01T00%3A00%3A00Z&sig=x", "se").unwrap(),
            "2030-01-01T00:00:00Z"
        );
    }

    #[test]
    fn dates_of_headers_are_read() {
        let date = http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        assert_eq!(date.to_string(), "2015-10-21T07:28:00.000Z");
        assert_eq!(
            http_date("Wed, 1 Oct 2015 07:28:00 GMT").unwrap().to_string(),
            "2015-10-01T07:28:00.000Z"
        );
        assert_eq!(http_date("2015-10-21"), None);
    }
}
