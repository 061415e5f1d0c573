//! The scenarios that come with the sandbox. Each is plain data that a user's file could hold as well.

use super::{CallRule, Pattern, PlaceRule, PreemptRule, Scenario, Since};
use fleet_types::{Market, ProviderId};

const NAMES: &[&str] =
    &["demo", "sold-out", "quota", "throttle", "lost-answer", "lag", "effect-5xx", "price-spike"];

/// Names of the built-in scenarios.
pub fn names() -> &'static [&'static str] {
    NAMES
}

/// The built-in scenario of that name.
pub fn builtin(name: &str) -> Option<Scenario> {
    let (description, scenario) = match name {
        "demo" => ("the first spot machine is taken 15 s after its task runs", demo()),
        "sold-out" => ("no spot machine is to be had anywhere", places(vec![sold_out()])),
        "quota" => {
            ("the AWS account may hold no spot vCPU anywhere; the rest works", places(quota()))
        }
        "throttle" => ("a third of all calls is refused as too frequent", throttle()),
        "lost-answer" => ("creates and deletes happen, and their answers get lost", lost()),
        "lag" => ("new machines show up in lists seconds late, answers are slow", lag()),
        "effect-5xx" => ("creates and deletes happen, and the answer is HTTP 500", effect()),
        "price-spike" => ("30 s in, spot prices jump above what was agreed", places(spike())),
        _ => return None,
    };
    Some(Scenario { name: name.to_owned(), description: description.to_owned(), ..scenario })
}

fn places(places: Vec<PlaceRule>) -> Scenario {
    Scenario { places, ..Scenario::default() }
}

fn spot() -> Pattern {
    Pattern { market: Some(Market::Spot), ..Pattern::default() }
}

fn rule(pattern: Pattern) -> PlaceRule {
    PlaceRule {
        pattern,
        price_factor: None,
        stock: None,
        quota: None,
        trace: None,
        trace_speed: 1.0,
        from_seconds: 0.0,
        until_seconds: None,
    }
}

fn demo() -> Scenario {
    let first = PreemptRule {
        pattern: spot(),
        after_seconds: 15.0,
        since: Since::Reported,
        warning_seconds: None,
        times: Some(1),
    };
    Scenario { preemptions: vec![first], ..Scenario::default() }
}

fn sold_out() -> PlaceRule {
    PlaceRule { stock: Some(0), ..rule(spot()) }
}

fn quota() -> Vec<PlaceRule> {
    let pattern = Pattern { provider: Some(ProviderId::Aws), ..spot() };
    vec![PlaceRule { quota: Some(0), ..rule(pattern) }]
}

fn spike() -> Vec<PlaceRule> {
    vec![PlaceRule { price_factor: Some(6.0), from_seconds: 30.0, ..rule(spot()) }]
}

fn throttle() -> Scenario {
    calls(vec![CallRule { throttle: 0.33, ..CallRule::default() }])
}

/// The mutating calls whose outcome matters most: creates and deletes of every cloud.
const MUTATING: [(ProviderId, &str); 6] = [
    (ProviderId::Aws, "RunInstances"),
    (ProviderId::Aws, "TerminateInstances"),
    (ProviderId::Vast, "PUT /api/v0/asks/{id}/"),
    (ProviderId::Vast, "DELETE /api/v0/instances/{id}/"),
    (ProviderId::Lambda, "POST /api/v1/instance-operations/launch"),
    (ProviderId::Lambda, "POST /api/v1/instance-operations/terminate"),
];

fn each_mutating(rule: &CallRule) -> Scenario {
    let one = |(provider, call): (ProviderId, &str)| CallRule {
        provider: Some(provider),
        call: Some(call.to_owned()),
        ..rule.clone()
    };
    calls(MUTATING.map(one).to_vec())
}

// The first call of each kind certainly, further ones by chance: a run is sure to see it once and
// sure to get through.
fn lost() -> Scenario {
    let mut scenario =
        each_mutating(&CallRule { lost: 1.0, first: Some(1), ..CallRule::default() });
    scenario.calls.extend(each_mutating(&CallRule { lost: 0.3, ..CallRule::default() }).calls);
    scenario
}

fn effect() -> Scenario {
    let mut scenario =
        each_mutating(&CallRule { error_after: 1.0, first: Some(1), ..CallRule::default() });
    let later = CallRule { error_after: 0.3, ..CallRule::default() };
    scenario.calls.extend(each_mutating(&later).calls);
    scenario
}

fn lag() -> Scenario {
    Scenario {
        visibility_lag_seconds: [
            (ProviderId::Aws, 8.0),
            (ProviderId::Vast, 5.0),
            (ProviderId::Lambda, 5.0),
        ]
        .into(),
        calls: vec![CallRule { latency_ms: 300, ..CallRule::default() }],
        ..Scenario::default()
    }
}

fn calls(calls: Vec<CallRule>) -> Scenario {
    Scenario { calls, ..Scenario::default() }
}
