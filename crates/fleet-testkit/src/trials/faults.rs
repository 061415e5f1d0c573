//! The weather of the trials, as sandbox scenarios.

use crate::bench::calls;
use fleet_types::ProviderId;
use serde_json::{Value, json};

/// Every pool is sold out.
pub(super) fn sold_out(_: ProviderId) -> String {
    json!({"places": [{"match": {}, "stock": 0}]}).to_string()
}

/// The account may hold nothing.
pub(super) fn quota(_: ProviderId) -> String {
    json!({"places": [{"match": {}, "quota": 0}]}).to_string()
}

pub(super) fn create_lost(id: ProviderId) -> String {
    rule(id, calls(id).create, json!({"lost": 1.0, "first": 1}))
}

pub(super) fn create_error_after(id: ProviderId) -> String {
    rule(id, calls(id).create, json!({"error_after": 1.0, "first": 1}))
}

pub(super) fn create_error_before(id: ProviderId) -> String {
    rule(id, calls(id).create, json!({"error_before": 1.0}))
}

/// Every create takes effect, and none says so.
pub(super) fn creates_error_after(id: ProviderId) -> String {
    rule(id, calls(id).create, json!({"error_after": 1.0}))
}

pub(super) fn create_throttled(id: ProviderId) -> String {
    rule(id, calls(id).create, json!({"throttle": 1.0}))
}

pub(super) fn delete_lost(id: ProviderId) -> String {
    rule(id, calls(id).delete, json!({"lost": 1.0, "first": 1}))
}

pub(super) fn reads_fail(id: ProviderId) -> String {
    let names = calls(id);
    let fail = json!({"error_before": 1.0});
    rules(id, &[(names.list, fail.clone()), (names.describe, fail)])
}

/// One call of a listing fails: a region, or a page.
pub(super) fn list_fails_once(id: ProviderId) -> String {
    rule(id, calls(id).list, json!({"error_before": 1.0, "first": 1}))
}

pub(super) fn reads_fail_twice(id: ProviderId) -> String {
    rule(id, calls(id).describe, json!({"error_before": 1.0, "first": 2}))
}

/// New machines show up in lists late, within the window that the capabilities promise.
pub(super) fn lag(id: ProviderId) -> String {
    json!({"visibility_lag_seconds": {id.as_str(): 60.0}}).to_string()
}

fn rule(id: ProviderId, call: &str, fault: Value) -> String {
    rules(id, &[(call, fault)])
}

fn rules(id: ProviderId, faults: &[(&str, Value)]) -> String {
    let each = |(call, fault): &(&str, Value)| {
        let mut rule = fault.clone();
        rule["provider"] = json!(id);
        rule["call"] = json!(call);
        rule
    };
    json!({"calls": faults.iter().map(each).collect::<Vec<_>>()}).to_string()
}
