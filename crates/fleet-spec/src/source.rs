//! The bytes of a file, before anyone parses them.
//!
//! Size, encoding and characters are checked here, so that a file of 100 MiB costs nothing and what a
//! reviewer sees is what runs: no NUL, no text direction tricks, no characters of zero width.
//! Deliberately knows nothing of YAML.

use crate::{Diagnostic, node::Pos};

/// The largest file that is read. Callers check a file's size against it before reading the file.
pub const MAX_BYTES: usize = 1024 * 1024;

/// How many bad characters are shown before the rest is left out.
const SHOWN: usize = 20;

/// The text of a file without its byte order mark, or what is wrong with it.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Vec<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        return Err(vec![too_large(bytes.len())]);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(name) = foreign_encoding(bytes) {
        return Err(vec![at(1, 1, format!("the file is {name}, not UTF-8"), "save it as UTF-8")]);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = good.matches('\n').count() + 1;
            let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let message = format!("byte 0x{byte:02x} is not UTF-8");
            return Err(vec![at(line, column, message, "save the file as UTF-8")]);
        }
    };
    let bad = bad_characters(text);
    if bad.is_empty() { Ok(text) } else { Err(bad) }
}

/// The refusal of a file of so many bytes, for callers that look at the size before they read.
pub fn too_large(bytes: usize) -> Diagnostic {
    at(
        1,
        1,
        format!("the file has {bytes} bytes; a task file has at most {MAX_BYTES}"),
        "put data beside the task, in `workdir` or `file_mounts`",
    )
}

fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] => Some("UTF-16 (little endian)"),
        [0xfe, 0xff, ..] => Some("UTF-16 (big endian)"),
        _ => None,
    }
}

fn bad_characters(text: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // Most files are ASCII with line breaks and tabs: those bytes are passed over quickly.
    if text.bytes().all(|b| (b' '..0x7f).contains(&b) || matches!(b, b'\n' | b'\r' | b'\t')) {
        return found;
    }
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        if let Some(name) = forbidden(c) {
            found.push(at(line, column, format!("{name} in the file"), "remove it"));
            if found.len() == SHOWN {
                break;
            }
        }
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    found
}

/// The name of a character that no task file may hold, also not through an escape.
pub(crate) fn forbidden(c: char) -> Option<String> {
    let code = u32::from(c);
    let kind = match c {
        '\0' => "NUL character",
        '\n' | '\r' | '\t' => return None,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
            "text direction character"
        }
        '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}' => {
            "character of zero width"
        }
        c if c.is_control() => "control character",
        _ => return None,
    };
    Some(format!("{kind} U+{code:04X}"))
}

fn at(line: usize, column: usize, message: String, hint: &str) -> Diagnostic {
    Pos::new(line, column).diagnostic("", message, Some(hint.into()))
}
