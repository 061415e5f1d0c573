//! Odd rows, and the ones that RunPod really sends.

use super::*;
use serde_json::json;

#[test]
fn ids_are_unified_and_strangers_lose_their_maker() {
    for (id, memory, name) in [
        ("NVIDIA GeForce RTX 4090", 24.0, "RTX4090"),
        ("NVIDIA A100 80GB PCIe", 80.0, "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", 80.0, "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 40.0, "A100"),
        ("NVIDIA H100 80GB HBM3", 80.0, "H100"),
        ("NVIDIA H100 PCIe", 80.0, "H100-PCIE"),
        ("NVIDIA RTX 6000 Ada Generation", 48.0, "RTX6000-Ada"),
        ("NVIDIA RTX A4500", 20.0, "A4500"),
        ("NVIDIA L40", 48.0, "L40"),
        ("AMD Instinct MI300X OAM", 192.0, "MI300X"),
        ("NVIDIA RTX PRO 4500 Blackwell", 32.0, "RTX PRO 4500 Blackwell"),
    ] {
        assert_eq!(gpu_name(id, Some(memory)), name, "{id}");
    }
}

fn gpu() -> Value {
    json!({"id": "NVIDIA L4", "memory": 24, "secure": true, "community": false,
        "price": {"secure": 0.44, "community": 0}, "maxCount": {"secure": 8, "community": 0},
        "availability": "LOW", "dataCenters": [{"id": "EU-RO-1", "availability": "LOW"}]})
}

#[test]
fn prices_are_of_the_pod_and_unknown_is_not_zero() {
    let read = |row: &Value, n| GpuRow::read(row, n, Cloud::Secure).expect("a row");
    let row = read(&gpu(), 4).expect("sold");
    assert_eq!((row.price, row.stock), (Usd::price(1.76), Stock::Some));
    assert_eq!(row.data_centers, Some(vec![("EU-RO-1".into(), Stock::Some)]));
    assert!(read(&gpu(), 16).is_none(), "no pod holds so many");
    assert!(GpuRow::read(&gpu(), 1, Cloud::Community).expect("a row").is_none(), "not sold there");
    for bad in [json!(0), json!(-1), json!(null), json!("x"), json!(1e9)] {
        let mut row = gpu();
        row["price"]["secure"] = bad.clone();
        row["dataCenters"] = json!(null);
        row["availability"] = json!("PLENTY");
        let row = read(&row, 1).expect("sold");
        assert_eq!((row.price, row.data_centers, row.stock), (None, None, Stock::Unsaid), "{bad}");
    }
    assert!(GpuRow::read(&json!({"memory": 24}), 1, Cloud::Secure).is_err());
}

#[test]
fn bids_are_of_the_pod_and_silence_about_stock_is_none() {
    let row = json!({"id": "NVIDIA L4", "secureSpotPrice": 0.3,
        "dc0": {"minimumBidPrice": 0.31, "stockStatus": "High", "minVcpu": 8, "minMemory": 31},
        "dc1": {"minimumBidPrice": null, "stockStatus": null}, "dc2": null});
    let read = |alias: &str| SpotRow::read(&row, alias, "X", 2).expect("a row");
    let first = read("dc0");
    assert_eq!((first.least, first.stock, first.sold), (Usd::price(0.62), Stock::Some, true));
    assert_eq!((first.vcpus, first.memory_gib), (Some(8.0), Some(31.0)));
    for alias in ["dc1", "dc2", "dc3"] {
        let row = read(alias);
        assert_eq!((row.least, row.stock, row.sold), (None, Stock::None, true), "{alias}");
    }
    let never = SpotRow::read(&json!({"id": "x", "secureSpotPrice": null}), "dc0", "X", 1);
    assert!(!never.expect("a row").sold);
    assert_eq!(SpotRow::read(&json!({}), "dc0", "X", 1), None);
}

#[test]
fn a_pod_without_an_id_is_no_row_and_the_rest_may_be_absent() {
    assert!(PodRow::read(&json!({"name": "x"})).is_err());
    assert!(PodRow::read(&json!(null)).is_err());
    let row = PodRow::read(&json!({"id": "p"})).expect("a row");
    assert!(row.ssh.is_none() && !row.has_runtime && row.price.is_none() && row.market.is_none());
}
