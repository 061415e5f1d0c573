//! Diagnostics as people read them: where, the line itself, a caret, what to do.
//!
//! Invariant: a rendered line shows no secret and no control character, whatever the file holds.

use crate::Diagnostic;
use crate::redact::visible;
use std::fmt::Write;

/// Characters of a source line around the caret.
const WIDTH: usize = 100;

/// The errors of one file, one block each.
pub fn render(diagnostics: &[Diagnostic], file_name: &str, text: &str, color: bool) -> String {
    blocks("error", "31", diagnostics, file_name, text, color)
}

/// The same for warnings.
pub fn render_warnings(
    diagnostics: &[Diagnostic],
    file_name: &str,
    text: &str,
    color: bool,
) -> String {
    blocks("warning", "33", diagnostics, file_name, text, color)
}

fn blocks(
    label: &str,
    hue: &str,
    diagnostics: &[Diagnostic],
    file_name: &str,
    text: &str,
    color: bool,
) -> String {
    let paint = |code: &str, what: &str| {
        if color { format!("\u{1b}[{code}m{what}\u{1b}[0m") } else { what.to_owned() }
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for d in diagnostics {
        let head = paint(&format!("1;{hue}"), label);
        let _ = writeln!(out, "{head}: {}", paint("1", &d.message));
        let mut margin = String::from(" ");
        if d.line > 0 {
            let number = d.line.to_string();
            margin = " ".repeat(number.len() + 1);
            let arrow = paint("34", "-->");
            let name = visible(file_name);
            let _ = writeln!(out, "{margin}{arrow} {name}:{}:{}", d.line, d.column);
            if let Some(line) = lines.get(d.line - 1) {
                let (shown, indent, width) = excerpt(line, d);
                let bar = paint("34", "|");
                let _ = writeln!(out, "{margin} {bar}");
                let _ = writeln!(out, "{} {bar} {shown}", paint("34", &format!(" {number}")));
                let carets = paint(&format!("1;{hue}"), &"^".repeat(width));
                let _ = writeln!(out, "{margin} {bar} {}{carets}", " ".repeat(indent));
            }
        }
        if !d.path.is_empty() {
            let word = if d.line == 0 { "flag" } else { "field" };
            let _ = writeln!(out, "{margin} {} {word} {}", paint("34", "="), d.path);
        }
        if let Some(hint) = &d.hint {
            let _ = writeln!(out, "{margin} {} {hint}", paint("1;36", "hint:"));
        }
        out.push('\n');
    }
    out
}

/// The part of a line around the column, with the caret's place and width in it.
fn excerpt(line: &str, d: &Diagnostic) -> (String, usize, usize) {
    let start = d.column.saturating_sub(1);
    let before: String = line.chars().take(start).collect();
    let rest: String = line.chars().skip(start).collect();
    let quoted = rest.starts_with(['"', '\'']);
    let ends = |c: &char| !c.is_whitespace() && !matches!(c, ',' | ']' | '}' | ':' | '#');
    let width = if quoted { 1 } else { rest.chars().take_while(ends).count() };
    let private = d.path.contains("secrets") || d.path.contains("envs");
    let (before, rest) = (visible(&before), if private { hidden(&rest) } else { visible(&rest) });
    let skip = before.chars().count().saturating_sub(WIDTH / 2);
    let lead = if skip > 0 { "…" } else { "" };
    let head: String = before.chars().skip(skip).collect();
    let indent = head.chars().count() + lead.chars().count();
    let tail: String = rest.chars().take(WIDTH.saturating_sub(indent)).collect();
    let more = if tail.len() < rest.len() { "…" } else { "" };
    let width = width.min(tail.chars().count()).max(1);
    (format!("{lead}{head}{tail}{more}"), indent, width)
}

/// A key without its value, or nothing of a value.
fn hidden(text: &str) -> String {
    match text.split_once(':') {
        Some((key, value)) if !value.trim().is_empty() => format!("{}: …", visible(key)),
        Some(_) => visible(text),
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overrides, parse};

    fn errors_of(text: &str) -> String {
        render(&parse(text.as_bytes(), &Overrides::default()).errors, "task.yaml", text, false)
    }

    #[test]
    fn an_error_shows_its_line_and_what_to_write() {
        let text = "name: x\nrun: true\nresuorces:\n  cpus: 8\n";
        assert_eq!(
            errors_of(text),
            "error: unknown key `resuorces`\n  --> task.yaml:3:1\n   |\n 3 | resuorces:\n   | ^^^^^^^^^\n   = field resuorces\n   hint: did you mean `resources`?\n\n"
        );
    }

    #[test]
    fn a_flags_error_has_no_line() {
        let overrides = Overrides { budget: Some("1,5".into()), ..Overrides::default() };
        let parsed = parse(b"run: true\n", &overrides);
        assert_eq!(
            render(&parsed.errors, "task.yaml", "", false),
            "error: `1,5` is no amount of dollars\n  = flag --budget\n  hint: write dollars with a point, such as 12.50\n\n"
        );
    }

    #[test]
    fn no_secret_is_rendered() {
        let text = "run: x\nenvs:\n  A: sk-proj-abcdefghijkl\n  1B: hunter2\nsecrets: {A: topsecret}\nworkdir: https://u:pw@h/r\n";
        let parsed = parse(text.as_bytes(), &Overrides::default());
        let mut shown = render(&parsed.errors, "t", text, true);
        shown += &render_warnings(&parsed.warnings, "t", text, true);
        for word in ["abcdefghijkl", "hunter2", "topsecret", "pw@"] {
            assert!(!shown.contains(word), "{word}: {shown}");
        }
        assert!(parsed.errors.len() >= 3 && parsed.warnings.len() == 1, "{shown}");
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text = format!("run: x\nenvs: {{{}1X: y}}\n", "A: b, ");
        let long =
            format!("run: x\nresources: {{labels: {{a: {}}}, cpus: none}}\n", "x".repeat(250));
        for text in [text, long] {
            let shown = errors_of(&text);
            assert!(shown.lines().all(|line| line.chars().count() <= WIDTH + 12), "{shown}");
            assert!(shown.contains('^'));
        }
    }
}
