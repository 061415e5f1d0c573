//! Patterns of Google's older filter grammar (`name eq "(a2|g2)-.*"`): the little of RE2 that clients send.
//!
//! Letters, `.`, classes, groups with alternatives, `* + ?`, and `\b`, which is taken for nothing. A pattern
//! has to fit the whole text. Invariant: what is not understood is an error, never a match.

/// One thing to match, and how often.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    item: Item,
    least: usize,
    most: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Any,
    Char(char),
    Class { ranges: Vec<(char, char)>, negated: bool },
    Group(Vec<Vec<Piece>>),
}

/// A pattern that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<Vec<Piece>>);

impl Pattern {
    /// Reads a pattern; the error names what was not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let alternatives = alternatives(&chars, &mut at)?;
        match chars.get(at) {
            None => Ok(Self(alternatives)),
            Some(c) => Err(format!("`{c}` at {at} in `{text}`")),
        }
    }

    /// Whether the whole text fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        self.0.iter().any(|a| run(a, &chars, 0, &mut |end| end == chars.len()))
    }
}

fn alternatives(chars: &[char], at: &mut usize) -> Result<Vec<Vec<Piece>>, String> {
    let mut all = vec![Vec::new()];
    while let Some(c) = chars.get(*at) {
        match c {
            ')' => break,
            '|' => {
                *at += 1;
                all.push(Vec::new());
            }
            _ => {
                if let Some(item) = item(chars, at)? {
                    let (least, most) = times(chars, at);
                    if let Some(last) = all.last_mut() {
                        last.push(Piece { item, least, most });
                    }
                }
            }
        }
    }
    Ok(all)
}

fn times(chars: &[char], at: &mut usize) -> (usize, usize) {
    let found = match chars.get(*at) {
        Some('*') => (0, usize::MAX),
        Some('+') => (1, usize::MAX),
        Some('?') => (0, 1),
        _ => return (1, 1),
    };
    *at += 1;
    found
}

fn item(chars: &[char], at: &mut usize) -> Result<Option<Item>, String> {
    let c = chars[*at];
    *at += 1;
    match c {
        '.' => Ok(Some(Item::Any)),
        '(' => {
            if chars.get(*at..*at + 2) == Some(&['?', ':']) {
                *at += 2;
            }
            let inner = alternatives(chars, at)?;
            if chars.get(*at) != Some(&')') {
                return Err("a group is not closed".to_owned());
            }
            *at += 1;
            Ok(Some(Item::Group(inner)))
        }
        '[' => class(chars, at).map(Some),
        '\\' => match chars.get(*at) {
            // A border of words, or the text's ends: the whole text is matched anyway.
            Some('b') => {
                *at += 1;
                Ok(None)
            }
            Some(c) if !c.is_ascii_alphanumeric() => {
                *at += 1;
                Ok(Some(Item::Char(*c)))
            }
            other => Err(format!("`\\{}`", other.map_or(String::new(), char::to_string))),
        },
        '^' | '$' => Ok(None),
        '*' | '+' | '?' | '{' => Err(format!("`{c}` repeats nothing that is known")),
        c => Ok(Some(Item::Char(c))),
    }
}

fn class(chars: &[char], at: &mut usize) -> Result<Item, String> {
    let negated = chars.get(*at) == Some(&'^');
    *at += usize::from(negated);
    let mut ranges = Vec::new();
    while let Some(c) = chars.get(*at).copied() {
        *at += 1;
        if c == ']' {
            return Ok(Item::Class { ranges, negated });
        }
        let end = match (chars.get(*at), chars.get(*at + 1)) {
            (Some('-'), Some(end)) if *end != ']' => {
                *at += 2;
                *end
            }
            _ => c,
        };
        ranges.push((c, end));
    }
    Err("a class is not closed".to_owned())
}

/// Matches the pieces from `at` on, and what comes after them by `rest`.
fn run(pieces: &[Piece], text: &[char], at: usize, rest: &mut dyn FnMut(usize) -> bool) -> bool {
    let Some((piece, after)) = pieces.split_first() else { return rest(at) };
    repeat(piece, 0, text, at, &mut |end| run(after, text, end, rest))
}

/// Matches a piece once more where it may, the longest first.
fn repeat(
    piece: &Piece,
    done: usize,
    text: &[char],
    at: usize,
    rest: &mut dyn FnMut(usize) -> bool,
) -> bool {
    let mut more = |end: usize| end > at && repeat(piece, done + 1, text, end, rest);
    let again = done < piece.most
        && match &piece.item {
            Item::Group(all) => all.iter().any(|a| run(a, text, at, &mut more)),
            single => text.get(at).is_some_and(|c| is_one(single, *c)) && more(at + 1),
        };
    again || (done >= piece.least && rest(at))
}

fn is_one(item: &Item, c: char) -> bool {
    match item {
        Item::Any => true,
        Item::Char(own) => *own == c,
        Item::Class { ranges, negated } => {
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
        }
        Item::Group(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_texts() {
        let gpus = "(a[2-9]x?-[a-z]+|g[2-9]-[a-z]+|n1-standard)-[0-9]+g?";
        for (pattern, text) in [
            (gpus, "a2-highgpu-1g"),
            (gpus, "g2-standard-96"),
            (gpus, "n1-standard-8"),
            (gpus, "a4x-highgpu-4g"),
            (".*/instances/x-1", "https://h/zones/z/instances/x-1"),
            (".*\\bcompute\\.instances\\.preempted\\b.*", "compute.instances.preempted"),
            ("a(?:bc)*d", "abcbcd"),
            ("[^x]+", "abc"),
            ("", ""),
        ] {
            assert!(Pattern::parse(pattern).unwrap().fits(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            (gpus, "n1-highmem-8"),
            (gpus, "a2-highgpu-1gg"),
            ("a", "ab"),
            (".*/instances/x", "h/instances/x-1"),
            ("compute\\.x", "computeax"),
            ("[^x]+", "abx"),
        ] {
            assert!(!Pattern::parse(pattern).unwrap().fits(text), "{pattern} {text}");
        }
        for odd in ["(a", "[a", "*a", "\\d", "a)", "a{2}"] {
            assert!(Pattern::parse(odd).is_err(), "{odd}");
        }
    }
}
