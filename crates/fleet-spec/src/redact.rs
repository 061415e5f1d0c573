//! What a user's text looks like in a message: short, escaped, and without its secrets.
//!
//! Invariant: no message and no rendered source line shows a password of a URL or a value that looks
//! like a key. It recognises shapes; it does not know which values are secret.

/// How much of a value a message shows.
const SHOWN: usize = 60;

/// A value inside a message: in backticks, escaped, cut, redacted.
pub(crate) fn quote(text: &str) -> String {
    let safe = visible(text);
    let mut chars = safe.chars();
    let head: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() { format!("`{head}…`") } else { format!("`{head}`") }
}

/// Text with secrets masked and every character that a terminal could act on escaped.
pub(crate) fn visible(text: &str) -> String {
    let masked = mask(text);
    let mut safe = String::with_capacity(masked.len());
    for c in masked.chars() {
        match c {
            '\t' => safe.push(' '),
            c if c.is_control() || crate::source::forbidden(c).is_some() => {
                safe.extend(c.escape_default());
            }
            c => safe.push(c),
        }
    }
    safe
}

fn mask(text: &str) -> String {
    let text = without_credentials(text);
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_word(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if looks_secret(word) { "[redacted]" } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether a value has the shape of a key that someone issued.
pub(crate) fn looks_secret(value: &str) -> bool {
    const PREFIXES: &[(&str, usize)] = &[
        ("-----BEGIN", 0),
        ("AIza", 30),
        ("AKIA", 12),
        ("ASIA", 12),
        ("ghp_", 10),
        ("gho_", 10),
        ("ghs_", 10),
        ("github_pat_", 10),
        ("glpat-", 10),
        ("hf_", 10),
        ("sk-", 12),
        ("xoxb-", 10),
        ("xoxp-", 10),
    ];
    let value = value.trim();
    PREFIXES.iter().any(|(prefix, more)| {
        value.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= *more && (*more == 0 || !rest.contains(char::is_whitespace))
        })
    })
}

/// Parameters of a URL that open what it names: signatures of the clouds' stores, and tokens.
const SIGNED: &[&str] = &[
    "sig",
    "signature",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "awsaccesskeyid",
    "googleaccessid",
    "token",
    "access_token",
    "private_token",
    "api_key",
    "password",
    "secret",
];

/// Whether a URL carries a password, a token or a signature.
pub(crate) fn has_credentials(url: &str) -> bool {
    without_credentials(url) != url
}

/// The text with what can be a credential in the URLs in it replaced: user parts and signatures.
fn without_credentials(text: &str) -> String {
    without_signatures(&without_users(text))
}

/// The text with the values of parameters replaced that open what a URL names.
fn without_signatures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['?', '&']) {
        let (before, after) = rest.split_at(start + 1);
        out.push_str(before);
        let ends = |c: char| matches!(c, '?' | '&' | '#' | '"' | '\'') || c.is_whitespace();
        let (pair, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        match pair.split_once('=') {
            Some((name, _)) if SIGNED.contains(&name.to_ascii_lowercase().as_str()) => {
                out.push_str(name);
                out.push_str("=[redacted]");
            }
            _ => out.push_str(pair),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn without_users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace())
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            // `ssh://git@host` names an account; it proves nothing.
            Some((user, host)) if user.contains(':') || !before.ends_with("ssh://") => {
                out.push_str("[redacted]@");
                out.push_str(host);
            }
            _ => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_not_shown() {
        assert_eq!(
            quote("clone https://bob:pw@host/x and https://tok@h"),
            "`clone https://[redacted]@host/x and https://[redacted]@h`"
        );
        assert!(!has_credentials("ssh://git@github.com/a/b"));
        assert!(!has_credentials("git@github.com:a/b"));
        assert!(!has_credentials("https://host/path@v1"));
    }

    #[test]
    fn signatures_of_urls_are_not_shown() {
        assert_eq!(
            visible("x: https://a.blob.core.windows.net/c/p?sv=2024&sig=AbC%2B= # SAS"),
            "x: https://a.blob.core.windows.net/c/p?sv=2024&sig=[redacted] # SAS"
        );
        assert_eq!(
            quote("s3://b?endpoint=http://h?X-Amz-Signature=0f&region=x"),
            "`s3://b?endpoint=http://h?X-Amz-Signature=[redacted]&region=x`"
        );
        for url in ["https://h/x?access_token=1", "https://h/x?a=b&Signature=1#f"] {
            assert!(has_credentials(url), "{url}");
        }
        assert!(!has_credentials("s3://bucket/a?endpoint=http://host:9000&region=eu"));
    }

    #[test]
    fn keys_are_known_by_their_shape() {
        for key in [
            "sk-proj-abcdefghijkl",
            "AKIAIOSFODNN7EXAMPLE",
            "hf_abcdefghijklmno",
            "ghp_abcdefghij",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for word in ["sk-1", "task-with-a-long-name", "hf_hub", "AKIA", "ask-abcdefghijklmn"] {
            assert!(!looks_secret(word), "{word}");
        }
        assert_eq!(visible("KEY: 'hf_abcdefghijklmno' # x"), "KEY: '[redacted]' # x");
    }

    #[test]
    fn control_bytes_are_escaped_and_long_values_cut() {
        assert_eq!(quote("a\u{1b}[31m\u{202e}"), "`a\\u{1b}[31m\\u{202e}`");
        assert_eq!(quote(&"x".repeat(100)).chars().count(), SHOWN + 3);
    }
}
