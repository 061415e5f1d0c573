//! Quoting of arguments for the remote shell.
//!
//! SSH hands a command to the remote user's shell as one string, so every argument that is not ours
//! must be quoted. Invariant: `sh -c "printf %s $(quote(s))"` prints exactly `s`, for every `s` without NUL.

/// Wraps `text` in single quotes, so that a POSIX shell reads it as one literal word.
///
/// NUL bytes cannot be passed in arguments at all; callers refuse them earlier.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str(r"'\''"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}
