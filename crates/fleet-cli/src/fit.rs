//! Text for a terminal's width: broken between words, long lists cut with a count of what is left.
//!
//! Invariants: where the width is not known, text stays as it is, in one line; of what is cut, the number
//! is told. Documents (`--json`) are never fitted.

/// Reasons that are spelt out where several are given.
const REASONS: usize = 6;

/// Where the text of a fact stands.
const FACT: usize = 14;

/// `text` in lines of at most `width` columns, those after the first behind `indent` spaces. A word that
/// is longer than a line stays whole.
pub(crate) fn wrap(text: &str, width: Option<usize>, indent: usize) -> Vec<String> {
    let Some(width) = width.filter(|w| text.chars().count() > *w) else {
        return vec![text.to_owned()];
    };
    let (mut lines, mut line, mut filled) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        let letters = word.trim_end().chars().count();
        if filled + letters > width && !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
            line = " ".repeat(indent);
            filled = indent;
        }
        line.push_str(word);
        filled += word.chars().count();
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// The beginning of `text` that fits into `width` columns.
pub(crate) fn cut(text: &str, width: Option<usize>) -> String {
    match width.filter(|w| text.chars().count() > *w) {
        Some(width) => {
            let kept: String = text.chars().take(width.saturating_sub(3)).collect();
            format!("{kept}...")
        }
        None => text.to_owned(),
    }
}

/// `what: place, place, place` in at most `width` columns: as many places as fit, then how many more. Other
/// text is broken between words.
pub(crate) fn list(text: &str, width: Option<usize>, indent: usize) -> Vec<String> {
    let too_long = width.filter(|w| text.chars().count() > *w);
    let (Some(width), Some((head, tail))) = (too_long, text.rsplit_once(": ")) else {
        return wrap(text, width, indent);
    };
    let (named, unnamed) = counted(tail);
    if named.len() < 2 {
        return wrap(text, Some(width), indent);
    }
    let all = named.len() + unnamed;
    for shown in (1..named.len()).rev() {
        let line = format!("{head}: {} and {} more", named[..shown].join(", "), all - shown);
        if line.chars().count() <= width {
            return vec![line];
        }
    }
    wrap(&format!("{head}: {all} places"), Some(width), indent)
}

/// A named fact as a list of facts shows it: its text from column [`FACT`] on, a line for each of several
/// reasons where one does not hold them.
pub(crate) fn fact(name: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let whole = format!("  {name:<12}{text}");
    if width.is_none_or(|w| whole.chars().count() <= w) {
        return vec![whole];
    }
    let (mut lines, mut parts) = (Vec::new(), text.split("; "));
    for (n, part) in parts.by_ref().take(REASONS).enumerate() {
        let name = if n == 0 { name } else { "" };
        lines.extend(list(&format!("  {name:<12}{part}"), width, FACT));
    }
    if let more @ 1.. = parts.count() {
        lines.push(format!("{:FACT$}... and {more} more reasons", ""));
    }
    lines
}

/// The items of a list, and how many it leaves unnamed (`a, b and 12 more`).
fn counted(tail: &str) -> (Vec<&str>, usize) {
    let left = tail.strip_suffix(" more").and_then(|t| t.rsplit_once(" and "));
    let left = left.and_then(|(named, n)| Some((named, n.parse::<usize>().ok()?)));
    let (named, unnamed) = left.unwrap_or((tail, 0));
    (named.split(", ").collect(), unnamed)
}

/// `before`, the reasons parted by `; `, `after`: one line where it fits or there is no terminal; else a line
/// for each reason, and how many there are beyond the first few.
pub(crate) fn reasons(
    before: &str,
    reasons: &str,
    after: &str,
    width: Option<usize>,
) -> Vec<String> {
    let whole = format!("{before}: {reasons}{after}");
    if width.is_none_or(|w| whole.chars().count() <= w) {
        return vec![whole];
    }
    let mut lines = vec![format!("{before}{after}:")];
    let mut parts = reasons.split("; ");
    for part in parts.by_ref().take(REASONS) {
        lines.extend(list(&format!("  {part}"), width, 4));
    }
    if let more @ 1.. = parts.count() {
        lines.push(format!("  ... and {more} more reasons"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_only_on_a_terminal() {
        let text = "- when no spot is left: on-demand, within the price limit";
        assert_eq!(wrap(text, None, 2), [text]);
        assert_eq!(wrap(text, Some(80), 2), [text]);
        assert_eq!(
            wrap(text, Some(30), 2),
            ["- when no spot is left:", "  on-demand, within the price", "  limit"]
        );
        assert_eq!(wrap("ab cdefghijkl m", Some(5), 0), ["ab", "cdefghijkl", "m"]);
    }

    #[test]
    fn a_list_names_what_fits_and_counts_the_rest() {
        let text = "no capacity (X): aws/a t spot, aws/b t spot, aws/c t spot";
        assert_eq!(list(text, None, 2), [text]);
        assert_eq!(list(text, Some(40), 2), ["no capacity (X): aws/a t spot and 2 more"]);
        assert_eq!(list(text, Some(30), 2), ["no capacity (X): 3 places"]);
        let more = format!("{text} and 12 more");
        assert_eq!(
            list(&more, Some(60), 2),
            ["no capacity (X): aws/a t spot, aws/b t spot and 13 more"]
        );
        let prose = "a reason without any list in it";
        assert_eq!(list(prose, Some(20), 2), ["a reason without any", "  list in it"]);
    }

    #[test]
    fn a_fact_stays_in_its_column() {
        let text = "no capacity: sold out: a, b; credentials: vast";
        assert_eq!(fact("reason", text, None), [format!("  reason      {text}")]);
        assert_eq!(
            fact("reason", text, Some(42)),
            ["  reason      no capacity: sold out: a, b", "              credentials: vast"]
        );
        assert_eq!(
            fact("note", "a sentence of some words", Some(30)),
            ["  note        a sentence of", "              some words"]
        );
    }

    #[test]
    fn many_reasons_get_a_line_each() {
        let two = "sold out: a, b; credentials: vast";
        assert_eq!(reasons("waiting", two, "", None), [format!("waiting: {two}")]);
        assert_eq!(reasons("waiting", two, "", Some(80)), [format!("waiting: {two}")]);
        assert_eq!(
            reasons("no spot", two, "; buying on-demand", Some(30)),
            ["no spot; buying on-demand:", "  sold out: a, b", "  credentials: vast"]
        );
        let many = (0..9).map(|n| format!("reason {n}: x, y")).collect::<Vec<_>>().join("; ");
        let lines = reasons("waiting", &many, "", Some(40));
        assert_eq!((lines.len(), lines[7].as_str()), (8, "  ... and 3 more reasons"));
    }
}
