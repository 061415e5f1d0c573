//! Types and prices, read from values of the SDK.

use super::*;
use aws_sdk_ec2::types::{
    ArchitectureType, GpuDeviceInfo, GpuDeviceMemoryInfo, GpuInfo, InstanceType, InstanceTypeInfo,
    MemoryInfo, ProcessorInfo, VCpuInfo,
};
use fleet_types::offer::Bound;
use fleet_types::{Accelerator, AcceleratorRequest};

fn kind(name: &str, vcpus: i32, gib: i64) -> aws_sdk_ec2::types::builders::InstanceTypeInfoBuilder {
    InstanceTypeInfo::builder()
        .instance_type(InstanceType::from(name))
        .v_cpu_info(VCpuInfo::builder().default_v_cpus(vcpus).build())
        .memory_info(MemoryInfo::builder().size_in_mib(gib * 1024).build())
        .supported_usage_classes(UsageClassType::Spot)
}

fn gpu(name: &str, mib: i32, count: i32) -> GpuInfo {
    let memory = GpuDeviceMemoryInfo::builder().size_in_mib(mib).build();
    let device =
        GpuDeviceInfo::builder().manufacturer("NVIDIA").name(name).count(count).memory_info(memory);
    GpuInfo::builder().gpus(device.build()).build()
}

#[test]
fn a100s_of_two_sizes_are_two_models() {
    for (name, mib, unified) in [
        ("A100", 40_960, "A100"),
        ("A100", 81_920, "A100-80GB"),
        ("V100", 16_384, "V100"),
        ("V100", 32_768, "V100-32GB"),
        ("L4", 22_888, "L4"),
        ("L40S", 45_776, "L40S"),
        ("H200", 144_384, "H200"),
        ("T4", 16_384, "T4"),
        ("B200", 183_359, "B200"),
        ("Hopper9", 1024, "Hopper9"),
    ] {
        let info = kind("p9.large", 8, 64).gpu_info(gpu(name, mib, 1)).build();
        let shape = Shape::read(&info).unwrap();
        assert_eq!(shape.accelerator.unwrap().name, unified, "{name} {mib}");
    }
}

#[test]
fn parts_of_gpus_and_other_architectures_are_not_offered() {
    let part = GpuDeviceInfo::builder().name("L4").count(1).gpu_partition_size(0.125).build();
    let part = kind("g6f.large", 2, 8).gpu_info(GpuInfo::builder().gpus(part).build()).build();
    assert!(Shape::read(&part).is_none());
    let arm = ProcessorInfo::builder().supported_architectures(ArchitectureType::Arm64).build();
    assert!(Shape::read(&kind("g5g.xlarge", 4, 8).processor_info(arm).build()).is_none());
}

#[test]
fn queries_take_what_they_ask_for() {
    let g5 =
        Shape::read(&kind("g5.xlarge", 4, 16).gpu_info(gpu("A10G", 24_576, 1)).build()).unwrap();
    let m7 = Shape::read(&kind("m7i.xlarge", 4, 16).build()).unwrap();
    let m7_metal = Shape::read(&kind("m7i.48xlarge", 192, 768).build()).unwrap();
    let named = |n: &str, c| AcceleratorRequest::Named(Accelerator::new(n, c));
    let ask = |accelerators: Vec<AcceleratorRequest>| OfferQuery {
        accelerators,
        ..OfferQuery::default()
    };
    assert!(g5.fits(&ask(vec![named("T4", 1), named("a10g", 1)])));
    assert!(!g5.fits(&ask(vec![named("A10G", 4)])));
    let memory = AcceleratorRequest::Memory { min_gb: 24, max_gb: None, count: 1 };
    assert!(g5.fits(&ask(vec![memory.clone()])) && !m7.fits(&ask(vec![memory])));
    assert!(m7.fits(&ask(vec![])) && !g5.fits(&ask(vec![])) && !m7_metal.fits(&ask(vec![])));
    let at_least = |value| Some(Bound { value, at_least: true });
    let big = OfferQuery { vcpus: at_least(64.0), ..OfferQuery::default() };
    assert!(m7_metal.fits(&big) && !m7.fits(&big));
    let by_memory = OfferQuery { memory_gib: at_least(10.0), ..OfferQuery::default() };
    assert!(m7.fits(&by_memory) && !m7_metal.fits(&by_memory));
    let by_name = OfferQuery { instance_type: Some("g5.xlarge".into()), ..OfferQuery::default() };
    assert!(g5.fits(&by_name) && !m7.fits(&by_name));
}

#[test]
fn the_newest_price_stands_and_an_odd_one_is_unknown() {
    let row = |at: i64, price: &str, product: RiProductDescription| {
        SpotPrice::builder()
            .instance_type(InstanceType::from("g5.xlarge"))
            .availability_zone("us-east-1a")
            .availability_zone_id("use1-az4")
            .product_description(product)
            .timestamp(DateTime::from_secs(at))
            .spot_price(price)
            .build()
    };
    let linux = || RiProductDescription::LinuxUnix;
    let key = ("g5.xlarge".to_owned(), "us-east-1a".to_owned());
    let mut prices = HashMap::new();
    keep_newest(&mut prices, row(100, "0.41", linux()));
    keep_newest(&mut prices, row(50, "0.40", linux()));
    keep_newest(&mut prices, row(200, "9.99", RiProductDescription::Windows));
    assert_eq!(prices[&key].price, Usd::price(0.41));
    keep_newest(&mut prices, row(300, "free", linux()));
    assert_eq!(prices[&key].price, None);
}

#[test]
fn places_decide_which_regions_are_asked() {
    let at = |texts: &[&str]| OfferQuery {
        places: texts.iter().map(|t| PlacePattern::parse(t).unwrap()).collect(),
        ..OfferQuery::default()
    };
    assert!(wanted_region(&at(&[]), "us-east-1") && wanted_region(&at(&["aws"]), "us-east-1"));
    assert!(wanted_region(&at(&["*/us-east-1/us-east-1b"]), "us-east-1"));
    assert!(!wanted_region(&at(&["aws/us-west-2", "vast/us-east-1"]), "us-east-1"));
}
