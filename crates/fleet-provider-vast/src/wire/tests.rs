//! Odd rows, and the ones that Vast really sends.

use super::*;
use serde_json::json;

fn offer(row: &Value) -> OfferRow {
    OfferRow::read(row, 100).expect("a row")
}

#[test]
fn one_name_for_two_gpus_is_told_apart_by_memory() {
    for (gpu, ram, name) in [
        ("A100 SXM4", 40960, "A100"),
        ("A100 SXM4", 81920, "A100-80GB"),
        ("A100 PCIE", 81251, "A100-80GB"),
        ("Tesla V100", 32768, "V100-32GB"),
        ("Tesla V100", 16384, "V100"),
        ("RTX 4090", 24564, "RTX4090"),
        // Somebody's altered card stays what its name says.
        ("RTX 4090", 49140, "RTX4090"),
        ("Quantum 1", 99999, "Quantum 1"),
    ] {
        let row = offer(
            &json!({"id": 1, "machine_id": 2, "gpu_name": gpu, "num_gpus": 2, "gpu_ram": ram}),
        );
        assert_eq!(
            row.accelerator,
            Some(Accelerator { name: name.into(), count: 2 }),
            "{gpu} {ram}"
        );
    }
}

#[test]
fn prices_are_of_the_machine_alone_and_unknown_is_not_zero() {
    let row = offer(
        &json!({"id": 1, "machine_id": 2, "dph_total": 0.5, "storage_cost": 0.73, "min_bid": 0.2}),
    );
    assert_eq!(row.on_demand, Usd::price(0.4), "100 GiB at $0.001 an hour are in the total");
    assert_eq!(row.storage_per_gib_hour, Usd::from_dollars(0.001));
    let row = offer(&json!({"id": 1, "machine_id": 2, "dph_total": 0.5, "dph_base": "0.45"}));
    assert_eq!((row.on_demand, row.min_bid), (Usd::price(0.45), None));
    for bad in [json!(0), json!(-1), json!(null), json!("NaN"), json!(1e9), json!([])] {
        let row = offer(&json!({"id": 1, "machine_id": 2, "dph_total": bad, "min_bid": bad}));
        assert_eq!((row.on_demand, row.min_bid), (None, None), "{bad}");
    }
}

#[test]
fn memory_is_the_share_of_the_cores() {
    let row = offer(
        &json!({"id": 1, "machine_id": 2, "cpu_ram": 131072, "cpu_cores": 64, "cpu_cores_effective": 16.0}),
    );
    assert_eq!((row.vcpus, row.memory_gib), (Some(16.0), Some(32.0)));
}

#[test]
fn countries_have_two_letters() {
    for (row, country) in [
        (json!({"id": 1, "machine_id": 2, "geolocation": "California, US"}), "US"),
        (json!({"id": 1, "machine_id": 2, "geolocation": "se"}), "SE"),
        (json!({"id": 1, "machine_id": 2, "geolocation": "California, United States"}), "ZZ"),
        (json!({"id": 1, "machine_id": 2, "country_code": "DE", "geolocation": "x, FR"}), "DE"),
        (json!({"id": 1, "machine_id": 2}), "ZZ"),
    ] {
        assert_eq!(offer(&row).country, country);
    }
}

#[test]
fn a_row_without_an_id_is_no_row() {
    assert!(OfferRow::read(&json!({"machine_id": 2}), 0).is_err());
    assert!(InstanceRow::read(&json!({"label": "x"})).is_err());
    assert!(InstanceRow::read(&json!(null)).is_err());
    let row = InstanceRow::read(&json!({"id": "7", "ports": {"22/tcp": [{"HostPort": "20000"}]}}));
    assert_eq!(row.expect("a row").direct_port, Some(20000));
}
