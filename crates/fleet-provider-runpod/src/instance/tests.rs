//! Status words, addresses and names, row by row.

use super::*;
use fleet_types::{Timestamp, Usd};
use serde_json::{Value, json};

const FLEET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// A pod as the API shows it while it runs.
fn pod() -> Value {
    json!({
        "id": "5xpma5eg46tqjq", "name": format!("fleet/{FLEET}/{TOKEN}/1795000000"), "status": "RUNNING",
        "cloud": "SECURE", "cost": 0.72, "createdAt": "2026-08-20T06:16:19.436Z",
        "startedAt": "2026-08-20T06:16:19.43Z", "dataCenterId": "EU-RO-1",
        "env": {"FLEET_MARKET": "spot"}, "gpu": {"count": 2, "id": "NVIDIA L4"},
        "runtime": {"uptime": 3, "ports": []},
        "ssh": {"direct": {"host": "192.0.2.74", "port": 35558, "username": "root"},
                "proxy": {"host": "ssh.runpod.io", "port": 22, "username": "x"}},
    })
}

fn with(fields: Value) -> Instance {
    let mut row = pod();
    for (name, value) in fields.as_object().expect("fields") {
        row[name] = value.clone();
    }
    instance(&PodRow::read(&row).expect("a row"), false)
}

#[test]
fn a_running_pod_says_all_of_itself() {
    let i = with(json!({}));
    assert_eq!((i.state, i.market), (InstanceState::Running, Market::Spot));
    assert_eq!((i.place.region.as_str(), i.place.zone.as_str()), ("RO", "EU-RO-1"));
    assert_eq!(i.instance_type, "2x_NVIDIA_L4_SECURE");
    assert_eq!(i.address, Some(Address { host: "192.0.2.74".into(), port: Some(35558) }));
    assert_eq!(i.price_usd_per_hour, Usd::price(0.72));
    assert_eq!(i.launched_at, Timestamp::parse("2026-08-20T06:16:19.436Z"));
    assert_eq!(
        (i.fleet.as_deref(), i.token.map(|t| t.to_string())),
        (Some(FLEET), Some(TOKEN.into()))
    );
    assert_eq!(i.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
}

#[test]
fn states_are_what_runpod_means_by_them() {
    use DeathCause::{HostFailure, NeverStarted, Preempted, Unsaid};
    use InstanceState::{Pending, Running, Stopped, Terminated};
    for (word, want) in [
        ("PROVISIONING", Pending),
        ("STARTING", Pending),
        ("CREATED", Pending),
        ("RESTARTING", Pending),
        ("RUNNING", Running),
        ("EXITED", Stopped { cause: Preempted }),
        ("PAUSED", Stopped { cause: Preempted }),
        ("ERROR", Stopped { cause: Unsaid }),
        ("DEAD", Stopped { cause: HostFailure }),
        ("TERMINATED", Terminated { cause: Unsaid }),
    ] {
        assert_eq!(with(json!({"status": word})).state, want, "{word}");
    }
    let fresh = |word: &str| with(json!({"status": word, "startedAt": null})).state;
    assert_eq!(fresh("EXITED"), Stopped { cause: NeverStarted });
    assert_eq!(fresh("ERROR"), Stopped { cause: NeverStarted });
    assert_eq!(
        with(json!({"status": "RUNNING", "runtime": null})).state,
        Pending,
        "it pulls its image"
    );
    for env in [json!({"FLEET_MARKET": "on-demand"}), json!({}), json!(null)] {
        let i = with(json!({"status": "EXITED", "env": env}));
        assert_eq!((i.market, i.state), (Market::OnDemand, Stopped { cause: Unsaid }), "{env}");
    }
}

#[test]
fn a_word_we_do_not_know_never_proves_a_death() {
    for word in ["", "gone", "terminated", "DELETED", "0"] {
        assert!(!with(json!({"status": word})).state.task_is_dead(), "{word}");
    }
    assert!(!with(json!({"status": null})).state.task_is_dead());
}

#[test]
fn an_address_is_the_direct_one_or_none() {
    for ssh in [
        json!(null),
        json!({"direct": null, "proxy": {"host": "ssh.runpod.io", "port": 22}}),
        json!({"direct": {"host": "10.0.0.1", "port": 22}}),
        json!({"direct": {"host": "127.0.0.9", "port": 22}}),
        json!({"direct": {"host": "-oProxyCommand=x", "port": 22}}),
        json!({"direct": {"host": "192.0.2.1", "port": 0}}),
        json!({"direct": {"host": "192.0.2.1", "port": 70000}}),
    ] {
        assert_eq!(with(json!({"ssh": ssh})).address, None, "{ssh}");
    }
    assert_eq!(with(json!({"status": "EXITED"})).address, None);
    let row = PodRow::read(&{
        let mut row = pod();
        row["ssh"]["direct"]["host"] = json!("127.0.0.9");
        row
    });
    assert!(instance(&row.expect("a row"), true).address.is_some(), "where the API is on loopback");
}

#[test]
fn a_strangers_pod_is_nobodys() {
    for name in ["my pod", "fleet-abc", "fleet/x/y/1"] {
        let i = with(json!({"name": name, "gpu": null, "dataCenterId": null, "cloud": "OTHER"}));
        assert_eq!((i.fleet, i.token, i.instance_type.as_str()), (None, None, ""), "{name}");
        assert_eq!((i.place.region.as_str(), i.place.zone.as_str()), ("ZZ", ""));
    }
}
