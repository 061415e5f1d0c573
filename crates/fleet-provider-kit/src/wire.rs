//! Tolerant readers for the fields of a cloud's answer, as JSON.
//!
//! Clouds send numbers as text, text as numbers, and nothing where a value was. Invariants: unknown is
//! `None`, never 0; a list that is missing, `null` or no list is an error, never an empty list, because an
//! empty list would be taken as evidence that nothing is there.

use crate::http::Effect;
use fleet_provider::ProviderError;
use fleet_types::Usd;
use serde_json::Value;

/// A field that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` {problem}")]
pub struct Odd {
    pub field: String,
    pub problem: &'static str,
}

impl Odd {
    /// As the failure of a call: unknown for creates, passing for the rest.
    pub fn into_error(self, operation: &'static str, effect: Effect) -> ProviderError {
        effect.unreadable(operation, self.to_string())
    }
}

/// Text, or a number as text; `None` for what is empty or neither.
pub fn text(object: &Value, field: &str) -> Option<String> {
    match object.get(field)? {
        Value::String(s) if !s.trim().is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A finite number, or text that is one.
pub fn number(object: &Value, field: &str) -> Option<f64> {
    let value = match object.get(field)? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    };
    value.filter(|v: &f64| v.is_finite())
}

/// A whole number that is not negative, or text that is one.
pub fn count(object: &Value, field: &str) -> Option<u64> {
    match object.get(field)? {
        Value::Number(n) => n.as_u64().or_else(|| n.as_f64().and_then(whole)),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// A truth value, also as 0 and 1 or as text.
pub fn flag(object: &Value, field: &str) -> Option<bool> {
    match object.get(field)? {
        Value::Bool(b) => Some(*b),
        Value::Number(n) => n.as_f64().map(|v| v != 0.0),
        Value::String(s) if s.eq_ignore_ascii_case("true") => Some(true),
        Value::String(s) if s.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A price: positive, finite and believable, else unknown.
pub fn price(object: &Value, field: &str) -> Option<Usd> {
    number(object, field).and_then(Usd::price)
}

/// A TCP port, never 0.
pub fn port(object: &Value, field: &str) -> Option<u16> {
    count(object, field).and_then(|n| u16::try_from(n).ok()).filter(|p| *p != 0)
}

/// A list that is really there.
pub fn list<'a>(object: &'a Value, field: &str) -> Result<&'a [Value], Odd> {
    let odd = |problem| Odd { field: field.to_owned(), problem };
    match object.get(field) {
        Some(Value::Array(items)) => Ok(items),
        Some(Value::Null) => Err(odd("is null instead of a list")),
        Some(_) => Err(odd("is no list")),
        None => Err(odd("is missing")),
    }
}

/// Text that must be there.
pub fn needed_text(object: &Value, field: &str) -> Result<String, Odd> {
    text(object, field).ok_or_else(|| Odd { field: field.to_owned(), problem: "is missing" })
}

fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0 && value < 9e15).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_text_stand_in_for_each_other() {
        let o =
            json!({"a": "1.5", "b": 2, "c": null, "d": "x", "e": 3.0, "f": -1, "g": "", "h": "7"});
        assert_eq!(
            (number(&o, "a"), number(&o, "b"), number(&o, "c")),
            (Some(1.5), Some(2.0), None)
        );
        assert_eq!((number(&o, "d"), number(&o, "nope")), (None, None));
        assert_eq!((text(&o, "b"), text(&o, "g")), (Some("2".into()), None));
        assert_eq!((count(&o, "e"), count(&o, "f"), count(&o, "h")), (Some(3), None, Some(7)));
    }

    #[test]
    fn prices_that_are_no_prices_are_unknown() {
        let o = json!({"a": 0, "b": -1, "c": "NaN", "d": 1e9, "e": "0.25", "f": null, "g": "inf"});
        for field in ["a", "b", "c", "d", "f", "g", "h"] {
            assert_eq!(price(&o, field), None, "{field}");
        }
        assert_eq!(price(&o, "e"), Usd::price(0.25));
    }

    #[test]
    fn a_list_that_is_not_there_is_never_an_empty_list() {
        let o = json!({"null": null, "text": "", "list": []});
        assert_eq!(list(&o, "list"), Ok(&[][..]));
        for field in ["null", "text", "gone"] {
            assert!(list(&o, field).is_err(), "{field}");
        }
    }

    #[test]
    fn ports_are_in_their_range() {
        let o = json!({"a": 0, "b": 70000, "c": "22", "d": -1});
        assert_eq!(
            (port(&o, "a"), port(&o, "b"), port(&o, "c"), port(&o, "d")),
            (None, None, Some(22), None)
        );
    }
}
