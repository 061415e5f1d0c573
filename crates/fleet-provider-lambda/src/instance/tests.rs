//! Status words, addresses and marks, row by row.

use super::*;
use serde_json::{Value, json};

fn read(fields: Value) -> InstanceRow {
    let mut row = json!({"id": "a1", "region": {"name": "us-west-1"}, "instance_type": {"name": "gpu_1x_a10"}});
    for (name, value) in fields.as_object().expect("fields") {
        row[name] = value.clone();
    }
    InstanceRow::read(&row).expect("a row")
}

#[test]
fn states_are_what_lambda_means_by_them() {
    use DeathCause::{Preempted, Unsaid};
    use InstanceState::{Pending, Running, Stopped, Stopping, Terminated};
    for (word, want) in [
        ("booting", Pending),
        ("active", Running),
        ("unhealthy", Running),
        ("terminating", Stopping),
        ("terminated", Terminated { cause: Unsaid }),
        ("preempted", Stopped { cause: Preempted }),
    ] {
        assert_eq!(state(Some(word)), want, "{word}");
    }
    for word in ["", "gone", "Terminated", "deleted", "0"] {
        assert!(!state(Some(word)).task_is_dead(), "{word} proves no death");
    }
    assert!(!state(None).task_is_dead());
}

#[test]
fn an_address_is_one_that_ssh_can_be_tried_at() {
    let address = |status: &str, ip: Value, loopback: bool| {
        instance(&read(json!({"status": status, "ip": ip})), loopback).address.map(|a| a.host)
    };
    assert_eq!(address("active", json!("198.51.100.2"), false), Some("198.51.100.2".into()));
    assert_eq!(address("booting", json!("198.51.100.2"), false), None);
    for bad in [json!(null), json!(""), json!("0.0.0.0"), json!("10.0.0.4"), json!("127.0.0.9")] {
        assert_eq!(address("active", bad.clone(), false), None, "{bad}");
    }
    assert_eq!(address("active", json!("127.0.0.9"), true), Some("127.0.0.9".into()));
}

#[test]
fn the_tags_say_whose_it_is() {
    let (fleet, token) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let tags = [
        tag("fleet-id", fleet),
        tag("fleet-token", token),
        tag("fleet-job", "j-000000000000"),
        tag("fleet-expires", "1795000000"),
        tag("fleet-sent", "1794990000123"),
    ];
    let ours = instance(&read(json!({"tags": tags})), false);
    assert_eq!(ours.fleet.as_deref(), Some(fleet));
    assert_eq!(ours.token.map(|t| t.to_string()).as_deref(), Some(token));
    assert_eq!(ours.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
    assert_eq!(ours.launched_at, Some(Timestamp::from_millis(1_794_990_000_123)));
    for odd in ["", "-1", "1e9", "99999999999999999999", "x"] {
        let row = read(json!({"tags": [tag("fleet-id", "FLEET"), tag("fleet-sent", odd)]}));
        let foreign = instance(&row, false);
        assert_eq!(
            (foreign.fleet, foreign.token, foreign.launched_at),
            (None, None, None),
            "{odd}"
        );
    }
}
