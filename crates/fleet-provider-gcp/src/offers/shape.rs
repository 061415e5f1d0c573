//! A machine type of Compute Engine, with the GPUs in it or attached to it, and whether a query asks for it.
//!
//! Older GPUs are attached to N1 machines: such a machine and its GPUs are one type here, written
//! `n1-standard-8+2xT4`. Invariants: a part of a GPU and a workstation licence are never a GPU; only x86-64 types
//! are offered, because the default images are.

use fleet_types::accelerator::{find, unify};
use fleet_types::offer::Bound;
use fleet_types::{Accelerator, AcceleratorRequest, Market, OfferQuery};
use google_cloud_compute_v1::model::MachineType;

/// A query for a machine without GPU is answered with machines up to so many times as large.
const CPU_SPAN: f64 = 4.0;
/// Smallest machine that a query without size is answered with; with attached GPUs, so many for each.
const CPU_LEAST: f64 = 2.0;
const CPU_LEAST_PER_GPU: f64 = 4.0;
/// Local SSDs come in pieces of this size.
const SSD_GIB: f64 = 375.0;

/// A GPU that can be attached, with how many at most so many vCPUs.
struct Attachable {
    kind: &'static str,
    sets: &'static [(u32, u32)],
}

#[rustfmt::skip]
const ATTACHABLE: &[Attachable] = &[
    Attachable { kind: "nvidia-tesla-t4",   sets: &[(1, 48), (2, 48), (4, 96)] },
    Attachable { kind: "nvidia-tesla-v100", sets: &[(1, 12), (2, 24), (4, 48), (8, 96)] },
    Attachable { kind: "nvidia-tesla-p100", sets: &[(1, 16), (2, 32), (4, 96)] },
    Attachable { kind: "nvidia-tesla-p4",   sets: &[(1, 24), (2, 48), (4, 96)] },
];

/// A machine type, and what is attached to it: how many of which kind, as Google spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) machine: &'a str,
    pub(crate) gpus: Option<(u32, &'static str)>,
}

/// Takes a type's name apart again.
pub(crate) fn parts(name: &str) -> Parts<'_> {
    let read = || {
        let (machine, gpus) = name.split_once('+')?;
        let (count, model) = gpus.split_once('x')?;
        let kind = ATTACHABLE.iter().find(|a| unify(a.kind) == model)?.kind;
        Some(Parts { machine, gpus: Some((count.parse().ok()?, kind)) })
    };
    read().unwrap_or(Parts { machine: name, gpus: None })
}

/// The name of a machine type with the GPUs that an instance reports: only attached ones are part of it.
pub(crate) fn shape_name(machine: &str, gpus: Option<(&str, u32)>) -> String {
    match gpus {
        Some((kind, count)) if attachable_kind(kind).is_some() => {
            format!("{machine}+{count}x{}", unify(kind))
        }
        _ => machine.to_owned(),
    }
}

/// The kind, if it is one that can be attached.
pub(super) fn attachable_kind(kind: &str) -> Option<&'static str> {
    ATTACHABLE.iter().find(|a| a.kind == kind).map(|a| a.kind)
}

/// Whether a query could be answered with attached GPUs.
pub(super) fn could_attach(query: &OfferQuery) -> bool {
    let named = query.instance_type.as_deref().is_some_and(|t| t.starts_with("n1-"));
    let model = |wanted: &AcceleratorRequest| {
        ATTACHABLE.iter().flat_map(|a| a.sets.iter().map(|(n, _)| (a.kind, *n))).any(|(kind, n)| {
            let memory = find(kind).map(|m| f64::from(m.memory_gb));
            wanted.accepts(&Accelerator { name: unify(kind), count: n }, memory)
        })
    };
    named || query.accelerators.iter().any(model)
}

/// What is asked of Google, so that it need not send all its types: one expression in its older grammar,
/// which knows patterns. They must match the whole name.
pub(super) fn filter(query: &OfferQuery) -> String {
    if let Some(kind) = &query.instance_type {
        let machine = parts(kind).machine;
        let plain = machine.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
        return format!("name eq \"{}\"", plain.collect::<String>());
    }
    if query.accelerators.is_empty() {
        return "name eq \"(e2|n1|n2|n2d|n4|c2|c3|c4)-(standard|highmem|highcpu)-[0-9]+\""
            .to_owned();
    }
    let n1 = if could_attach(query) { "|n1-standard" } else { "" };
    format!("name eq \"(a[2-9]x?-[a-z]+|g[2-9]-[a-z]+{n1})-[0-9]+g?\"")
}

/// One type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) vcpus: f64,
    pub(super) memory_gib: f64,
    pub(super) accelerator: Option<Accelerator>,
    pub(super) gpu_memory_gb: Option<f64>,
    pub(super) ssd_gib: f64,
    /// The GPU as Google spells it.
    kind: Option<String>,
}

impl Shape {
    /// Reads one type. `None`: it says too little of itself, is of another architecture, shares its cores, or
    /// has only a part of a GPU.
    pub(super) fn read(machine: &MachineType) -> Option<Self> {
        let named = |e: Option<&str>, word: &str| e == Some(word);
        if named(machine.architecture.as_ref().and_then(|a| a.name()), "ARM64")
            || machine.is_shared_cpu == Some(true)
            || machine.deprecated.as_ref().and_then(|d| d.state.as_ref()).is_some()
        {
            return None;
        }
        let gpu = machine.accelerators.first();
        let kind = match gpu {
            Some(gpu) => Some(gpu.guest_accelerator_type.clone().filter(|k| is_whole(k))?),
            None => None,
        };
        let accelerator = match (gpu, &kind) {
            (Some(gpu), Some(kind)) => Some(Accelerator {
                name: model(kind),
                count: u32::try_from(gpu.guest_accelerator_count?).ok().filter(|n| *n > 0)?,
            }),
            _ => None,
        };
        let ssds = machine.bundled_local_ssds.as_ref().and_then(|s| s.partition_count);
        Some(Self {
            name: machine.name.clone().filter(|n| crate::wire::is_name(n))?,
            vcpus: f64::from(machine.guest_cpus.filter(|n| *n > 0)?),
            memory_gib: f64::from(machine.memory_mb.filter(|n| *n > 0)?) / 1024.0,
            gpu_memory_gb: accelerator.as_ref().and_then(|a| memory(&a.name)),
            accelerator,
            ssd_gib: f64::from(ssds.unwrap_or(0).max(0)) * SSD_GIB,
            kind,
        })
    }

    /// The same machine with each set of GPUs that can be attached to it.
    pub(super) fn attached(&self) -> Vec<Self> {
        if !self.name.starts_with("n1-standard-") {
            return Vec::new();
        }
        let sets = ATTACHABLE.iter().flat_map(|a| a.sets.iter().map(|set| (a.kind, *set)));
        let fitting = sets.filter(|(_, (_, most))| self.vcpus <= f64::from(*most));
        let with = |(kind, (count, _)): (&'static str, (u32, u32))| Self {
            name: shape_name(&self.name, Some((kind, count))),
            accelerator: Some(Accelerator { name: model(kind), count }),
            gpu_memory_gb: memory(kind),
            kind: Some(kind.to_owned()),
            ..self.clone()
        };
        fitting.map(with).collect()
    }

    /// The GPU as Google spells it.
    pub(super) fn gpu_kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Number of GPUs.
    pub(super) fn gpus(&self) -> u32 {
        self.accelerator.as_ref().map_or(0, |a| a.count)
    }

    /// Whether it is sold in that market at all: the newest machines go to reservations, or as spot.
    pub(super) fn is_sold(&self, market: Market) -> bool {
        let reserved = ["a3-ultragpu-", "a3-edgegpu-", "a4-", "a4x-"];
        let parts_of_a3 = ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"];
        market == Market::Spot
            || !(reserved.iter().any(|f| self.name.starts_with(f))
                || parts_of_a3.contains(&self.name.as_str()))
    }

    /// Whether it is what the query asks for, zones and prices aside.
    pub(super) fn fits(&self, query: &OfferQuery) -> bool {
        let within = |bound: Option<Bound>, have: f64| bound.is_none_or(|b| b.accepts(have));
        let named = query.instance_type.as_ref().is_none_or(|t| {
            t.eq_ignore_ascii_case(&self.name) || t.eq_ignore_ascii_case(parts(&self.name).machine)
        });
        named
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
            return query
                .instance_type
                .as_ref()
                .is_some_and(|t| t.eq_ignore_ascii_case(&self.name));
        }
        let asked =
            query.vcpus.is_some() || query.memory_gib.is_some() || query.instance_type.is_some();
        let attached = parts(&self.name).gpus.is_some();
        // One core to a GPU is sold, and is of no use to anybody who did not ask for it.
        let roomy = asked || !attached || self.vcpus >= CPU_LEAST_PER_GPU * f64::from(have.count);
        roomy && query.accelerators.iter().any(|w| w.accepts(have, self.gpu_memory_gb))
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

/// Neither a slice of a GPU, nor a workstation licence, nor an accelerator that is no GPU.
fn is_whole(kind: &str) -> bool {
    let part = ["vgpu", "vws", "tpu", "ct"];
    kind.starts_with("nvidia-") && !kind.split('-').any(|word| part.contains(&word))
}

/// The GPU's unified name. `mega` is the machine's network, not another GPU.
fn model(kind: &str) -> String {
    unify(&kind.replace("-mega-", "-"))
}

fn memory(name: &str) -> Option<f64> {
    find(name).map(|m| f64::from(m.memory_gb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn machine(name: &str, cpus: u32, mb: u32, gpu: Option<(&str, u32)>) -> Value {
        let mut m = json!({"name": name, "guestCpus": cpus, "memoryMb": mb, "isSharedCpu": false});
        if let Some((kind, count)) = gpu {
            m["accelerators"] =
                json!([{"guestAcceleratorType": kind, "guestAcceleratorCount": count}]);
        }
        m
    }

    fn shape(value: Value) -> Option<Shape> {
        Shape::read(&serde_json::from_value(value).expect("a machine type"))
    }

    fn asks(gpu: &str, count: u32) -> OfferQuery {
        let wanted = AcceleratorRequest::Named(Accelerator::new(gpu, count));
        OfferQuery { accelerators: vec![wanted], ..OfferQuery::default() }
    }

    #[test]
    fn bundled_gpus_are_read_under_their_unified_names() {
        for (name, kind, count, unified) in [
            ("a2-highgpu-1g", "nvidia-tesla-a100", 1, "A100"),
            ("a2-ultragpu-8g", "nvidia-a100-80gb", 8, "A100-80GB"),
            ("a3-highgpu-8g", "nvidia-h100-80gb", 8, "H100"),
            ("a3-megagpu-8g", "nvidia-h100-mega-80gb", 8, "H100"),
            ("a3-ultragpu-8g", "nvidia-h200-141gb", 8, "H200"),
            ("a4-highgpu-8g", "nvidia-b200", 8, "B200"),
            ("g2-standard-24", "nvidia-l4", 2, "L4"),
            ("g4-standard-48", "nvidia-rtx-pro-6000", 1, "RTXPRO6000"),
        ] {
            let shape = shape(machine(name, 24, 98_304, Some((kind, count)))).expect(name);
            assert_eq!(
                shape.accelerator,
                Some(Accelerator { name: unified.into(), count }),
                "{name}"
            );
            assert!(shape.fits(&asks(unified, count)) && !shape.fits(&asks(unified, count + 1)));
            assert!(shape.gpu_memory_gb.is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_no_whole_gpu_is_no_gpu() {
        for kind in ["nvidia-tesla-t4-vws", "nvidia-rtx-pro-6000-vgpu", "ct5lp", "amd-mi300x"] {
            assert_eq!(shape(machine("g4-standard-6", 6, 8192, Some((kind, 1)))), None, "{kind}");
        }
        let mut shared = machine("e2-medium", 2, 4096, None);
        shared["isSharedCpu"] = json!(true);
        let mut arm = machine("c4a-standard-4", 4, 16_384, None);
        arm["architecture"] = json!("ARM64");
        assert_eq!((shape(shared), shape(arm)), (None, None));
    }

    #[test]
    fn older_gpus_are_attached_within_their_limits() {
        let n1 = shape(machine("n1-standard-16", 16, 61_440, None)).expect("a shape");
        let names: Vec<_> = n1.attached().into_iter().map(|s| s.name).collect();
        for sold in ["n1-standard-16+1xT4", "n1-standard-16+4xT4", "n1-standard-16+2xV100"] {
            assert!(names.iter().any(|n| n == sold), "{sold} in {names:?}");
        }
        assert!(!names.iter().any(|n| n == "n1-standard-16+1xV100"), "12 vCPUs at most");
        let four = n1.attached().into_iter().find(|s| s.name.ends_with("+4xT4")).expect("one");
        assert!(four.fits(&asks("T4", 4)) && !four.fits(&asks("T4", 1)));
        let small = shape(machine("n1-standard-2", 2, 7680, None)).expect("a shape");
        let t4 = small.attached().into_iter().find(|s| s.name.ends_with("+1xT4")).expect("one");
        assert!(!t4.fits(&asks("T4", 1)), "two cores are few");
        let two = Some(Bound { value: 2.0, at_least: false });
        assert!(t4.fits(&OfferQuery { vcpus: two, ..asks("T4", 1) }), "unless asked for");
        assert_eq!(parts("n1-standard-16+4xT4").gpus, Some((4, "nvidia-tesla-t4")));
        assert_eq!(parts("g2-standard-4"), Parts { machine: "g2-standard-4", gpus: None });
        assert_eq!(shape_name("g2-standard-4", Some(("nvidia-l4", 1))), "g2-standard-4");
    }

    #[test]
    fn only_what_is_sold_on_demand_is_offered_so() {
        for (name, sold) in [
            ("a3-highgpu-8g", true),
            ("a3-highgpu-1g", false),
            ("a3-ultragpu-8g", false),
            ("a4-highgpu-8g", false),
            ("a3-megagpu-8g", true),
            ("g2-standard-4", true),
        ] {
            let shape = shape(machine(name, 24, 98_304, Some(("nvidia-l4", 1)))).expect(name);
            assert_eq!(
                (shape.is_sold(Market::OnDemand), shape.is_sold(Market::Spot)),
                (sold, true)
            );
        }
    }

    #[test]
    fn filters_are_one_expression() {
        assert!(filter(&asks("T4", 1)).contains("n1-standard"));
        assert!(!filter(&asks("H100", 8)).contains("n1-standard"));
        assert!(!filter(&asks("V100", 3)).contains("n1-standard"), "three cannot be attached");
        assert!(filter(&OfferQuery::default()).contains("e2|n1"));
        let named = |t: &str| OfferQuery { instance_type: Some(t.into()), ..asks("T4", 1) };
        assert_eq!(filter(&named("n1-standard-4+1xT4")), "name eq \"n1-standard-4\"");
        assert_eq!(filter(&named("x\" or y")), "name eq \"xory\"");
    }
}
