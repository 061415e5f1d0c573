//! Odd rows, and the ones that Lambda really sends.

use super::*;
use serde_json::json;

fn kind(description: &str, gpus: u32) -> Value {
    json!({"instance_type": {
        "name": "t", "gpu_description": description, "price_cents_per_hour": 129,
        "specs": {"vcpus": 30, "memory_gib": 200, "storage_gib": 1400, "gpus": gpus}},
        "regions_with_capacity_available": [{"name": "us-east-1", "description": "Virginia, USA"}]})
}

#[test]
fn the_description_names_the_gpu() {
    for (description, name, memory) in [
        ("A10 (24 GB PCIe)", "A10", 24.0),
        ("A100 (40 GB SXM4)", "A100", 40.0),
        ("A100 (40 GB PCIe)", "A100", 40.0),
        ("A100 (80 GB SXM4)", "A100-80GB", 80.0),
        ("H100 (80 GB PCIe)", "H100-PCIE", 80.0),
        ("H100 (80 GB SXM5)", "H100", 80.0),
        ("GH200 (96 GB)", "GH200", 96.0),
        ("B200 (180 GB SXM6)", "B200", 180.0),
        ("RTX A6000 (48 GB)", "A6000", 48.0),
        ("Quadro RTX 6000 (24 GB)", "RTX6000", 24.0),
        ("Tesla V100 (16 GB)", "V100", 16.0),
        ("Quantum 9 (1000 GB)", "Quantum 9", 1000.0),
    ] {
        let row = TypeRow::read("t", &kind(description, 8));
        let wanted = Accelerator { name: name.into(), count: 8 };
        assert_eq!((row.accelerator, row.gpu_memory_gb), (Some(wanted), Some(memory)));
    }
    let odd = TypeRow::read("t", &kind("Quantum", 1));
    assert_eq!(
        (odd.accelerator.map(|a| a.name), odd.gpu_memory_gb),
        (Some("Quantum".into()), None)
    );
    let processors = TypeRow::read("t", &kind("N/A", 0));
    assert_eq!((processors.accelerator, processors.gpu_memory_gb), (None, None));
}

#[test]
fn a_price_that_is_none_and_a_list_that_is_missing_are_unknown() {
    let good = TypeRow::read("t", &kind("A10 (24 GB PCIe)", 1));
    assert_eq!(good.price, Usd::price(1.29));
    assert_eq!(good.regions.as_deref(), Some(&["us-east-1".to_owned()][..]));
    for bad in [json!(0), json!(-5), json!(null), json!("x"), json!(1e12)] {
        let mut entry = kind("A10 (24 GB PCIe)", 1);
        entry["instance_type"]["price_cents_per_hour"] = bad.clone();
        entry["regions_with_capacity_available"] = json!(null);
        let row = TypeRow::read("t", &entry);
        assert_eq!((row.price, row.regions), (None, None), "{bad}");
    }
    let empty = TypeRow::read("gpu_1x_x", &json!(null));
    assert_eq!((empty.name.as_str(), empty.accelerator), ("gpu_1x_x", None));
}

#[test]
fn a_row_without_an_id_is_no_row() {
    assert!(InstanceRow::read(&json!({"status": "active"})).is_err());
    assert!(InstanceRow::read(&json!(null)).is_err());
    let row =
        InstanceRow::read(&json!({"id": "a1", "tags": [{"key": "k", "value": "v"}, {"key": 1}]}));
    let row = row.expect("a row");
    assert_eq!((row.tags.get("k").map(String::as_str), row.tags.len()), (Some("v"), 1));
}
