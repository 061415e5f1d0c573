//! State words and addresses, row by row.

use super::*;
use serde_json::{Value, json};

fn read(fields: Value) -> InstanceRow {
    let mut row = json!({"id": 42, "machine_id": 7, "is_bid": true, "country_code": "SE"});
    for (name, value) in fields.as_object().expect("fields") {
        row[name] = value.clone();
    }
    InstanceRow::read(&row).expect("a row")
}

fn states(actual: Value, current: &str, next: &str, intended: &str) -> InstanceState {
    state(&read(json!({
        "actual_status": actual, "cur_state": current, "next_state": next, "intended_status": intended
    })))
}

#[test]
fn states_are_what_vast_means_by_them() {
    use DeathCause::{NeverStarted, Preempted, Unsaid};
    use InstanceState::{Pending, Running, Stopped, Stopping, Unknown};
    for (actual, current, next, intended, want) in [
        (json!(null), "unloaded", "running", "running", Pending),
        (json!("created"), "running", "running", "running", Pending),
        (json!("loading"), "running", "running", "running", Pending),
        (json!("rebooting"), "running", "running", "running", Pending),
        (json!("running"), "running", "running", "running", Running),
        (json!("running"), "running", "stopped", "running", Stopping),
        // Outbid: stopped without our stop. The words about the container lag behind.
        (json!("stopped"), "stopped", "stopped", "stopped", Stopped { cause: Preempted }),
        (json!("exited"), "stopped", "stopped", "stopped", Stopped { cause: Preempted }),
        (json!("running"), "stopped", "stopped", "stopped", Stopped { cause: Preempted }),
        (json!(null), "stopped", "stopped", "stopped", Stopped { cause: NeverStarted }),
        (json!("exited"), "running", "running", "running", Stopped { cause: Unsaid }),
        (json!("offline"), "running", "running", "running", Unknown("offline".into())),
        (json!("unknown"), "running", "running", "running", Unknown("unknown".into())),
        (json!("frozen"), "running", "running", "running", Unknown("frozen".into())),
        (json!("quantum"), "running", "running", "running", Unknown("quantum".into())),
    ] {
        assert_eq!(states(actual.clone(), current, next, intended), want, "{actual} {current}");
    }
}

#[test]
fn a_word_we_do_not_know_never_proves_a_death() {
    for word in ["", "gone", "terminated", "destroyed", "0"] {
        assert!(!states(json!(word), "running", "running", "running").task_is_dead(), "{word}");
    }
}

#[test]
fn an_on_demand_contract_that_stopped_was_not_outbid() {
    let row = read(json!({
        "is_bid": false, "cur_state": "stopped", "next_state": "stopped", "intended_status": "stopped"
    }));
    assert_eq!(state(&row), InstanceState::Stopped { cause: DeathCause::Unsaid });
    assert_eq!(instance(&row, false).market, Market::OnDemand);
}

#[test]
fn the_direct_port_comes_first_and_nonsense_is_no_address() {
    let direct = json!({"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20000"}]});
    let proxy = json!({"actual_status": "running", "ssh_host": "ssh5.vast.ai", "ssh_port": 10600});
    let with = |fields: Value| {
        let mut all = proxy.clone();
        for (name, value) in fields.as_object().expect("fields") {
            all[name] = value.clone();
        }
        address(&read(all), false).map(|a| (a.host, a.port))
    };
    let at = |host: &str, port: u16| Some((host.to_owned(), Some(port)));
    assert_eq!(
        with(json!({"public_ipaddr": "192.0.2.45\n", "ports": direct})),
        at("192.0.2.45", 20000)
    );
    assert_eq!(with(json!({"public_ipaddr": "192.0.2.45"})), at("ssh5.vast.ai", 10600));
    assert_eq!(
        with(json!({"image_runtype": "jupyter_direc ssh_proxy"})),
        at("ssh5.vast.ai", 10601)
    );
    for bad in ["0.0.0.0", "127.0.0.1", "10.1.2.3", "-oProxyCommand=x", "a b", ""] {
        let got = with(json!({"public_ipaddr": bad, "ports": direct}));
        assert_eq!(got, at("ssh5.vast.ai", 10600), "{bad}");
    }
    assert_eq!(with(json!({"ssh_port": 0})), None);
    assert_eq!(with(json!({"ssh_port": 70000})), None);
    assert_eq!(with(json!({"ssh_host": "-oProxyCommand=x"})), None);
}

#[test]
fn loopback_is_an_address_only_where_the_cloud_is_on_it() {
    let row = read(json!({
        "actual_status": "running", "public_ipaddr": "127.0.0.9",
        "ports": {"22/tcp": [{"HostPort": "2200"}]}
    }));
    assert_eq!(address(&row, false), None);
    assert_eq!(address(&row, true).map(|a| a.host), Some("127.0.0.9".into()));
}

#[test]
fn the_label_says_whose_it_is() {
    let (fleet, token) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
    let row = read(json!({
        "label": format!("fleet/{fleet}/{token}/1795000000"), "num_gpus": 1, "gpu_name": "RTX 4090",
        "dph_base": 0.2, "dph_total": 0.21, "start_date": 1668804745.5
    }));
    let instance = instance(&row, false);
    assert_eq!(instance.fleet.as_deref(), Some(fleet));
    assert_eq!(instance.token.map(|t| t.to_string()).as_deref(), Some(token));
    assert_eq!(instance.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
    assert_eq!(instance.launched_at, Some(Timestamp::from_millis(1_668_804_745_500)));
    assert_eq!(instance.price_usd_per_hour, fleet_types::Usd::price(0.2));
    let foreign = super::instance(&read(json!({"label": "my run"})), false);
    assert_eq!((foreign.fleet, foreign.token), (None, None));
}
