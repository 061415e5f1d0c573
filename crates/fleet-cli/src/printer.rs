//! The only door to the terminal: data on stdout, talk on stderr.
//!
//! Invariants: nothing else in this binary writes to stdout or stderr (but the progress line, which
//! lives on stderr and only on a terminal); text that others wrote reaches a terminal escaped; a
//! reader that goes away ends the command quietly.

use crate::args::{ColorChoice, Global};
use crate::error::{Error, Result};
use crate::offer_table::Side;
use comfy_table::Table;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};

/// How a piece of text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

/// Where output goes and how it looks there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// Documents instead of prose.
    pub(crate) json: bool,
    pub(crate) verbose: bool,
    quiet: bool,
    /// stdout is a terminal: foreign text is escaped.
    pub(crate) terminal: bool,
    /// stderr is a terminal: a progress line may move.
    pub(crate) live: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Printer {
    /// Reads the flags; `plain` is what the environment says (NO_COLOR, TERM=dumb).
    pub(crate) fn new(global: &Global, plain: bool) -> Self {
        let (terminal, live) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let colour = |tty: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => tty && !plain,
        };
        Self {
            json: global.json,
            verbose: global.verbose > 0,
            quiet: global.quiet,
            terminal,
            live: live && !global.quiet,
            colour_out: colour(terminal),
            colour_err: colour(live),
        }
    }

    /// One line of data on stdout.
    pub(crate) fn data(&self, line: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }
    /// Text or bytes on stdout, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }
    /// One JSON document on stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::internal(format!("an answer is no JSON: {e}")))?;
        self.data(&text)
    }
    /// One line of talk on stderr.
    pub(crate) fn talk(&self, line: &str) {
        if !self.quiet {
            self.stderr(line);
        }
    }
    /// Bytes that a command of the user's wrote to its stderr.
    pub(crate) fn raw_talk(&self, bytes: &[u8]) {
        let _gone = io::stderr().lock().write_all(bytes);
    }
    /// Something that a person should look at; quiet does not silence it.
    pub(crate) fn warn(&self, text: &str) {
        self.stderr(&format!("{} {text}", self.err(Paint::Yellow, "warning:")));
    }
    /// Located problems of a file, rendered already; quiet does not silence them.
    pub(crate) fn problems(&self, text: &str) {
        self.stderr(text);
    }
    /// Whether stderr has colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour_err
    }
    /// The end of a command that failed: what, why, what next.
    pub(crate) fn error(&self, error: &Error) {
        if matches!(error, Error::BrokenPipe | Error::Told(_)) {
            return;
        }
        self.stderr(&format!("{} {}", self.err(Paint::Red, "error:"), clean(&error.to_string())));
        let mut cause = std::error::Error::source(error);
        while let Some(c) = cause {
            self.stderr(&format!("  cause: {}", clean(&c.to_string())));
            cause = c.source();
        }
        if let Some(hint) = error.next_command() {
            self.stderr(&format!("\n{} {}", self.err(Paint::Cyan, "hint:"), clean(&hint)));
        }
    }
    /// A yes or no from the person at the terminal.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool> {
        let mut err = io::stderr().lock();
        let _gone = write!(err, "{question} [y/N] ");
        let _gone = err.flush();
        drop(err);
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|e| Error::usage(format!("no answer could be read: {e}")))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
    /// Whether somebody is there to be asked.
    pub(crate) fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Columns of the terminal behind stdout or stderr; `None` where there is none.
    pub(crate) fn width(&self, side: Side) -> Option<usize> {
        let mut probe = Table::new();
        if side == Side::Err {
            probe.use_stderr();
        }
        probe.width().map(usize::from)
    }
    /// Text in colour for stdout, where stdout has colours.
    pub(crate) fn out(&self, paint: Paint, text: &str) -> String {
        dye(self.colour_out, paint, text)
    }
    /// Text in colour for stderr, where stderr has colours.
    pub(crate) fn err(&self, paint: Paint, text: &str) -> String {
        dye(self.colour_err, paint, text)
    }
    /// Foreign text as stdout may show it: escaped on a terminal, untouched in a pipe.
    pub(crate) fn foreign<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.terminal { clean(text) } else { Cow::Borrowed(text) }
    }

    fn stderr(&self, line: &str) {
        // A closed stderr leaves nobody to tell.
        let _gone = writeln!(io::stderr().lock(), "{line}");
    }
}

fn dye(on: bool, paint: Paint, text: &str) -> String {
    if on { format!("\x1b[{}m{text}\x1b[0m", paint.code()) } else { text.to_owned() }
}

/// Escapes what could move a cursor, ring, retitle or reorder: everything but tab, newline and print.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_a_terminal() {
        assert_eq!(clean("a\tb\u{e9}"), "a\tb\u{e9}");
        assert_eq!(clean("\x1b[31mred\r"), "\\u{1b}[31mred\\r");
        assert_eq!(clean("x\u{202e}y\u{9b}z"), "x\\u{202e}y\\u{9b}z");
    }

    #[test]
    fn colour_is_only_where_it_was_asked_for() {
        assert_eq!(dye(false, Paint::Red, "x"), "x");
        assert_eq!(dye(true, Paint::Red, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
