//! Filters of lists, in both of Google's grammars: `labels.a="b" AND status=RUNNING`, and `name eq PATTERN`.
//!
//! Invariant: a filter that is not understood refuses the call; nothing is listed by mistake.

use super::pattern::Pattern;
use serde_json::Value;

/// A filter that was understood: every clause must hold.
#[derive(Debug, Default)]
pub(super) struct Filter(Vec<Clause>);

#[derive(Debug)]
struct Clause {
    field: String,
    test: Test,
    /// The clause must not hold.
    negated: bool,
}

#[derive(Debug)]
enum Test {
    Is(String),
    Holds(String),
    Fits(Pattern),
    Above(f64),
    Below(f64),
}

impl Filter {
    /// Reads a filter; an empty one holds for everything.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words = words(text)?;
        let mut clauses = Vec::new();
        let mut rest = words.as_slice();
        while let [first, more @ ..] = rest {
            match first.as_str() {
                "(" | ")" | "AND" => {
                    rest = more;
                    continue;
                }
                "OR" | "NOT" => return Err(format!("`{first}` is not understood here")),
                _ => {}
            }
            let [field, operator, value, more @ ..] = rest else {
                return Err(format!("a clause is incomplete after `{first}`"));
            };
            clauses.push(clause(field, operator, value)?);
            rest = more;
        }
        Ok(Self(clauses))
    }

    /// Whether a resource passes.
    pub(super) fn passes(&self, resource: &Value) -> bool {
        self.0.iter().all(|clause| {
            let found = lookup(resource, &clause.field);
            clause.test.holds(found) != clause.negated
        })
    }
}

fn clause(field: &str, operator: &str, value: &str) -> Result<Clause, String> {
    let number = || value.parse().map_err(|_| format!("`{value}` is no number"));
    let (test, negated) = match operator {
        "=" => (Test::Is(value.to_owned()), false),
        "!=" => (Test::Is(value.to_owned()), true),
        ":" => (Test::Holds(value.to_owned()), false),
        "eq" => (Test::Fits(Pattern::parse(value)?), false),
        "ne" => (Test::Fits(Pattern::parse(value)?), true),
        ">" | ">=" => (Test::Above(number()?), false),
        "<" | "<=" => (Test::Below(number()?), false),
        other => return Err(format!("`{other}` is no operator")),
    };
    Ok(Clause { field: field.to_owned(), test, negated })
}

impl Test {
    fn holds(&self, found: Option<&Value>) -> bool {
        let text = match found {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => return false,
            Some(other) => other.to_string(),
        };
        match self {
            Self::Is(wanted) => text.eq_ignore_ascii_case(wanted),
            Self::Holds(wanted) if wanted == "*" => true,
            Self::Holds(wanted) => text.contains(wanted.trim_end_matches('*')),
            Self::Fits(pattern) => pattern.fits(&text),
            Self::Above(least) => text.parse::<f64>().is_ok_and(|n| n > *least),
            Self::Below(most) => text.parse::<f64>().is_ok_and(|n| n < *most),
        }
    }
}

/// `labels.fleet-id`, `scheduling.preemptible`: names between dots.
fn lookup<'a>(resource: &'a Value, field: &str) -> Option<&'a Value> {
    field.split('.').try_fold(resource, |value, name| value.get(name))
}

/// Words, operators and quoted texts.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '(' | ')' if words.last().is_none_or(|w| w != "eq" && w != "ne") => {
                words.push(c.to_string());
            }
            '"' | '\'' => {
                let mut quoted = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some(inner) => quoted.push(inner),
                        None => return Err("a quotation is not closed".to_owned()),
                    }
                }
                words.push(quoted);
            }
            '=' | ':' => words.push(c.to_string()),
            '!' | '<' | '>' => {
                let equal = chars.next_if_eq(&'=').is_some();
                words.push(format!("{c}{}", if equal { "=" } else { "" }));
            }
            _ => {
                let bare = matches!(words.last().map(String::as_str), Some("eq" | "ne" | "=" | ":"));
                let ends = |c: &char| *c == ' ' || !bare && matches!(c, '=' | ':' | '!' | '<' | '>' | ')');
                let mut word = c.to_string();
                while let Some(next) = chars.next_if(|c| !ends(c)) {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_grammars_are_read() {
        let r = json!({"name": "fleet-1", "status": "RUNNING", "labels": {"fleet-id": "0123", "n": "7"},
            "operationType": "compute.instances.preempted", "targetLink": "https://h/p/zones/z/instances/x",
            "guestCpus": 8, "scheduling": {"preemptible": true}});
        for yes in [
            "",
            "labels.fleet-id=\"0123\"",
            "labels.fleet-id=0123",
            "(labels.fleet-id = 0123) (status = running)",
            "labels.fleet-id=0123 AND status!=STOPPING",
            "name eq \"fleet-.*\"",
            "name ne other.*",
            "targetLink eq \".*/instances/x\"",
            "targetLink eq .*/instances/x",
            "operationType eq \".*\\bcompute\\.instances\\.preempted\\b.*\"",
            "labels.n:*",
            "name:fleet*",
            "guestCpus > 4",
            "scheduling.preemptible=true",
        ] {
            assert!(Filter::parse(yes).unwrap().passes(&r), "{yes}");
        }
        for no in [
            "labels.fleet-id=\"9\"",
            "labels.none=1",
            "name eq \"fleet\"",
            "labels.none:*",
            "guestCpus < 4",
            "status=RUNNING AND name=other",
        ] {
            assert!(!Filter::parse(no).unwrap().passes(&r), "{no}");
        }
        for odd in ["status", "status=", "a ~ b", "name eq \"[a\"", "a=1 OR b=2", "name=\"x"] {
            assert!(Filter::parse(odd).is_err(), "{odd}");
        }
    }
}
