//! A machine type of EC2, and whether it is what a query asks for.
//!
//! Invariants: an A100 with 40 GB and one with 80 GB bear different names (EC2 calls both `A100`); a
//! part of a GPU is never a GPU. Only x86-64 types are offered, because the default images are.

use crate::wire::filter;
use aws_sdk_ec2::types::{
    ArchitectureType, Filter, GpuDeviceInfo, InstanceTypeInfo, UsageClassType,
};
use fleet_types::accelerator::{MODELS, find, unify};
use fleet_types::offer::Bound;
use fleet_types::{Accelerator, AcceleratorRequest, OfferQuery};

/// A query for a machine without GPU is answered with machines up to so many times as large: larger
/// ones are never the cheapest, and EC2 has hundreds.
const CPU_SPAN: f64 = 4.0;
/// Smallest machine that a query without GPU and without size is answered with.
const CPU_LEAST: f64 = 2.0;

/// One type.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) vcpus: f64,
    pub(super) memory_gib: f64,
    pub(super) accelerator: Option<Accelerator>,
    pub(super) gpu_memory_gb: Option<f64>,
    pub(super) classes: Vec<UsageClassType>,
    nvidia: bool,
}

impl Shape {
    /// Reads one type. `None`: it says too little of itself, is of another architecture, or has only
    /// a part of a GPU.
    pub(super) fn read(info: &InstanceTypeInfo) -> Option<Self> {
        let architectures =
            info.processor_info().map(|p| p.supported_architectures()).unwrap_or_default();
        if !architectures.is_empty() && !architectures.contains(&ArchitectureType::X8664) {
            return None;
        }
        let gpu = info.gpu_info().and_then(|g| g.gpus().first());
        if gpu.is_some_and(is_part) {
            return None;
        }
        let gpu_memory_gb = gpu
            .and_then(|g| g.memory_info())
            .and_then(|m| m.size_in_mib())
            .map(|mib| f64::from(mib) / 1024.0);
        let accelerator = match gpu {
            Some(g) => Some(Accelerator {
                name: model_name(g.name()?, gpu_memory_gb),
                count: u32::try_from(g.count()?).ok().filter(|n| *n > 0)?,
            }),
            None => None,
        };
        Some(Self {
            name: info.instance_type()?.as_str().to_owned(),
            vcpus: f64::from(info.v_cpu_info()?.default_v_cpus()?),
            memory_gib: info.memory_info()?.size_in_mib()? as f64 / 1024.0,
            accelerator,
            gpu_memory_gb,
            classes: info.supported_usage_classes().to_vec(),
            nvidia: gpu
                .and_then(|g| g.manufacturer())
                .is_some_and(|m| m.eq_ignore_ascii_case("nvidia")),
        })
    }

    /// Whether it is what the query asks for, zones and prices aside.
    pub(super) fn fits(&self, query: &OfferQuery) -> bool {
        let within = |bound: Option<Bound>, have: f64| bound.is_none_or(|b| b.accepts(have));
        query.instance_type.as_ref().is_none_or(|t| t.eq_ignore_ascii_case(&self.name))
            && within(query.vcpus, self.vcpus)
            && within(query.memory_gib, self.memory_gib)
            && self.fits_accelerators(query)
    }

    fn fits_accelerators(&self, query: &OfferQuery) -> bool {
        let Some(have) = &self.accelerator else {
            return query.accelerators.is_empty()
                && (query.instance_type.is_some() || self.near(query));
        };
        if query.accelerators.is_empty() {
            // A type that was named is taken as it is, GPU or not.
            return query.instance_type.is_some();
        }
        query.accelerators.iter().any(|wanted| {
            // "Any GPU with so much memory" means one that CUDA runs on.
            let any_brand = matches!(wanted, AcceleratorRequest::Named(_));
            (any_brand || self.nvidia) && wanted.accepts(have, self.gpu_memory_gb)
        })
    }

    fn near(&self, query: &OfferQuery) -> bool {
        let near = |bound: Option<Bound>, least: f64, have: f64| {
            have <= CPU_SPAN * bound.map_or(least, |b| b.value)
        };
        let vcpus = query.vcpus.is_none() && query.memory_gib.is_some()
            || near(query.vcpus, CPU_LEAST, self.vcpus);
        let memory = query.memory_gib.is_none() || near(query.memory_gib, 0.0, self.memory_gib);
        vcpus && memory && self.vcpus >= query.vcpus.map_or(CPU_LEAST, |_| 0.0)
    }
}

/// What is asked of EC2, so that it need not send all its types. EC2 has no filter for GPUs; all its
/// NVIDIA and AMD machines are in the families `g` and `p`.
pub(super) fn filters(query: &OfferQuery) -> Vec<Filter> {
    if let Some(kind) = &query.instance_type {
        return vec![filter("instance-type", [kind.as_str()])];
    }
    if query.accelerators.is_empty() {
        return vec![filter("current-generation", ["true"]), filter("bare-metal", ["false"])];
    }
    vec![filter("instance-type", ["g*", "p*"])]
}

/// Whether the type has less than one GPU.
fn is_part(gpu: &GpuDeviceInfo) -> bool {
    gpu.gpu_partition_size().is_some_and(|size| size > 0.0 && size < 1.0)
}

/// EC2's name of a GPU, told apart by memory where models of one name differ in it.
fn model_name(name: &str, memory_gb: Option<f64>) -> String {
    let (Some(model), Some(gb)) = (find(name), memory_gb) else { return unify(name) };
    let near = |gb_of_model: u32| (gb / f64::from(gb_of_model) - 1.0).abs() < 0.12;
    if near(model.memory_gb) {
        return model.name.to_owned();
    }
    let prefix = format!("{}-", model.name);
    let sibling = MODELS.iter().find(|m| {
        m.name.strip_prefix(&prefix).is_some_and(|rest| rest.ends_with("GB")) && near(m.memory_gb)
    });
    sibling.map_or_else(|| format!("{}-{gb:.0}GB", model.name), |m| m.name.to_owned())
}
