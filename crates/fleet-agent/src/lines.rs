//! Cuts the task's output into lines and strikes secrets out of them.
//!
//! Bytes come in any pieces; a line ends at `\n`. Invariant: no output is lost or reordered, no piece is
//! longer than [`LONGEST`], a secret is struck out wherever the pieces or chunks happen to end, and at most
//! two longest pieces are held in memory. Invalid UTF-8 is replaced, not dropped.

use std::collections::BTreeMap;

/// The longest piece of a line, in bytes of text.
pub(crate) const LONGEST: usize = 64 << 10;
/// Shorter values are no secrets: striking out every `1` would leave no log.
const SHORTEST_SECRET: usize = 4;
const STRUCK: &str = "***";

/// Values that must not be seen.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    values: Vec<String>,
}

impl Secrets {
    /// Takes the values of `secrets`; of values with several lines also each line, because output is
    /// looked at line by line.
    pub(crate) fn new(secrets: &BTreeMap<String, String>) -> Self {
        let mut values: Vec<String> = secrets
            .values()
            .flat_map(|value| value.lines().map(str::trim).chain([value.as_str()]))
            .filter(|value| value.len() >= SHORTEST_SECRET && !value.contains('\n'))
            .map(str::to_owned)
            .collect();
        // Longest first, so that a secret within another does not leave its ends behind.
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        values.retain(|v| v.len() <= LONGEST / 2);
        Self { values }
    }
    fn longest(&self) -> usize {
        self.values.first().map_or(0, String::len)
    }
    /// `text` without them.
    pub(crate) fn strike(&self, mut text: String) -> String {
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), STRUCK);
            }
        }
        text
    }
    /// Moves `cut` behind any secret that lies across it.
    fn avoid(&self, bytes: &[u8], mut cut: usize) -> usize {
        loop {
            let across = self.values.iter().find_map(|value| {
                let from = cut.saturating_sub(value.len() - 1);
                let to = (cut + value.len() - 1).min(bytes.len());
                let window = bytes.get(from..to)?;
                let at = window.windows(value.len()).position(|w| w == value.as_bytes())?;
                Some(from + at + value.len())
            });
            match across {
                Some(end) if end > cut => cut = end,
                _ => return cut,
            }
        }
    }
}

/// One stream's line in progress.
pub(crate) struct Cutter {
    secrets: Secrets,
    pending: Vec<u8>,
}

impl Cutter {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, pending: Vec::new() }
    }

    /// Takes bytes in and puts whole lines, or pieces of long ones, out.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<String>) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            if self.pending.is_empty() {
                self.emit(&bytes[..end], out);
            } else {
                self.pending.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.pending);
                self.emit(&line, out);
            }
            bytes = &bytes[end + 1..];
        }
        self.pending.extend_from_slice(bytes);
        while self.pending.len() > LONGEST + self.secrets.longest() {
            let cut = self.secrets.avoid(&self.pending, character_start(&self.pending, LONGEST));
            let rest = self.pending.split_off(cut);
            let piece = std::mem::replace(&mut self.pending, rest);
            self.emit(&piece, out);
        }
    }

    /// The stream ended: what is left is a line.
    pub(crate) fn finish(&mut self, out: &mut Vec<String>) {
        if !self.pending.is_empty() {
            let line = std::mem::take(&mut self.pending);
            self.emit(&line, out);
        }
    }

    fn emit(&self, line: &[u8], out: &mut Vec<String>) {
        let text = self.secrets.strike(String::from_utf8_lossy(line).into_owned());
        let mut rest = text.as_str();
        while rest.len() > LONGEST {
            let (piece, behind) = rest.split_at(character_start(rest.as_bytes(), LONGEST));
            out.push(piece.to_owned());
            rest = behind;
        }
        out.push(rest.to_owned());
    }
}

/// The last place at or before `cut` where a UTF-8 character may begin.
fn character_start(bytes: &[u8], cut: usize) -> usize {
    (0..4)
        .map(|back| cut - back)
        .find(|at| bytes.get(*at).is_none_or(|b| b & 0xC0 != 0x80))
        .unwrap_or(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(secrets: &[&str], input: &[u8], step: usize) -> Vec<String> {
        let map = secrets.iter().map(|s| ((*s).to_owned(), (*s).to_owned())).collect();
        let (mut cutter, mut out) = (Cutter::new(Secrets::new(&map)), Vec::new());
        for chunk in input.chunks(step) {
            cutter.feed(chunk, &mut out);
        }
        cutter.finish(&mut out);
        out
    }

    #[test]
    fn lines_are_whole_whatever_the_chunks() {
        let input = "eins\n\nzwei drei\nvier".as_bytes();
        for step in 1..=input.len() {
            assert_eq!(cut(&[], input, step), ["eins", "", "zwei drei", "vier"], "step {step}");
        }
    }

    #[test]
    fn secrets_are_struck_across_chunks_and_piece_borders() {
        for step in 1..20 {
            let out = cut(&["hunter2hunter2"], b"a hunter2hunter2 b hunter2", step);
            assert_eq!(out, ["a *** b hunter2"], "step {step}");
        }
        for before in LONGEST - 20..LONGEST + 20 {
            let mut line = vec![b'x'; before];
            line.extend_from_slice(b"hunter2hunter2");
            line.extend(vec![b'y'; LONGEST]);
            let out = cut(&["hunter2hunter2"], &line, 4096).concat();
            assert!(!out.contains("hunter2"), "a part was left at {before}");
            assert_eq!(out.len(), before + 3 + LONGEST);
        }
    }

    #[test]
    fn every_line_of_a_secret_with_lines_is_struck() {
        let out = cut(&["-----BEGIN KEY-----\nabcdefgh\n"], b"x abcdefgh\n", 3);
        assert_eq!(out, ["x ***"]);
    }

    #[test]
    fn long_and_invalid_lines_come_in_bounded_pieces() {
        let line = "ä".repeat(LONGEST);
        let out = cut(&[], line.as_bytes(), 1000);
        assert!(out.iter().all(|p| p.len() <= LONGEST));
        assert_eq!(out.concat(), line);
        let out = cut(&[], &vec![0xFF; 3 * LONGEST], 1000);
        assert!(out.iter().all(|p| p.len() <= LONGEST));
        assert_eq!(out.concat().chars().count(), 3 * LONGEST);
    }
}
