//! Vast's filters: `{"field": {"op": value}}`, over offers and over instances alike.
//!
//! Invariant: a field that the rows do not have is refused, not ignored.

use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Whether a row passes every filter.
///
/// # Errors
/// With the reason, for an unknown field or operator.
pub(super) fn passes(row: &Value, filters: &Map<String, Value>) -> Result<bool, String> {
    for (field, condition) in filters {
        let have = row.get(field).ok_or_else(|| format!("unknown field {field}"))?;
        let Some(ops) = condition.as_object() else {
            // A bare value means equality.
            if !same(have, condition) {
                return Ok(false);
            }
            continue;
        };
        for (op, want) in ops {
            let holds = holds(op, have, want).ok_or_else(|| format!("unknown operator {op}"))?;
            if !holds {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn holds(op: &str, have: &Value, want: &Value) -> Option<bool> {
    let order = compare(have, want);
    let within = |list: &Value| list.as_array().is_some_and(|l| l.iter().any(|w| same(have, w)));
    Some(match op {
        "eq" => same(have, want),
        "neq" => !same(have, want),
        "gt" => order == Some(Ordering::Greater),
        "gte" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        "lt" => order == Some(Ordering::Less),
        "lte" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "in" => within(want),
        "notin" => !within(want),
        _ => return None,
    })
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || compare(a, b) == Some(Ordering::Equal)
}

/// The order of two numbers or two texts; numbers may come as text.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let number = |v: &Value| match v {
        Value::String(s) => s.parse().ok(),
        other => other.as_f64(),
    };
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => Some(a.cmp(b)),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_hold_as_they_read() {
        let row = json!({"n": 4, "name": "RTX 4090", "ok": true, "none": null});
        let check = |f: Value| passes(&row, f.as_object().unwrap());
        for yes in [
            json!({"n": {"gte": 4.0, "lt": 5}}),
            json!({"name": {"in": ["RTX 4090"]}, "ok": {"eq": true}}),
            json!({"n": {"neq": 3}, "name": {"notin": ["T4"]}, "n ": null})
                .as_object()
                .map(|m| {
                    let mut m = m.clone();
                    m.remove("n ");
                    Value::Object(m)
                })
                .unwrap(),
        ] {
            assert_eq!(check(yes.clone()), Ok(true), "{yes}");
        }
        assert_eq!(check(json!({"n": {"gt": 4}})), Ok(false));
        assert_eq!(check(json!({"name": {"eq": "RTX_4090"}})), Ok(false));
        assert_eq!(check(json!({"none": {"gt": 0}})), Ok(false));
        assert!(check(json!({"nn": {"gt": 0}})).is_err());
        assert!(check(json!({"n": {"above": 0}})).is_err());
    }
}
