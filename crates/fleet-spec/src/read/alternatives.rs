//! What one alternative says, with what it inherits from the keys beside `any_of` or `ordered`.

use super::accelerators::accelerators;
use super::infra::{Parts, places};
use super::{Field, Reader, Section};
use crate::Alternative;
use crate::scalar::{self, Memory};
use fleet_types::offer::Bound;

/// A section over another: the inner key wins.
pub(super) struct Layers<'s, 'a> {
    pub(super) inner: Option<&'s Section<'a>>,
    pub(super) outer: &'s Section<'a>,
}

impl<'a> Layers<'_, 'a> {
    fn get(&self, key: &str) -> Option<Field<'a>> {
        self.inner.and_then(|inner| inner.get(key)).or_else(|| self.outer.get(key))
    }
    /// Keys that are one spelling of one thing are inherited together or not at all.
    fn get_of(&self, key: &str, spellings: &[&str]) -> Option<Field<'a>> {
        match self.inner {
            Some(inner) if spellings.iter().any(|key| inner.get(key).is_some()) => inner.get(key),
            _ => self.outer.get(key),
        }
    }
}

/// The alternatives of one entry: several where its accelerators are several; true if they are a list.
pub(super) fn alternatives(
    reader: &mut Reader,
    layers: &Layers<'_, '_>,
) -> (Vec<Alternative>, bool) {
    let wanted = accelerators(reader, layers.get("accelerators"));
    let one = single(reader, layers);
    if !wanted.asked {
        return (vec![one], false);
    }
    let all = wanted.any_of.into_iter();
    let with = all.map(|request| Alternative { accelerator: Some(request), ..one.clone() });
    (with.collect(), wanted.ordered)
}

/// All but the accelerator.
fn single(reader: &mut Reader, layers: &Layers<'_, '_>) -> Alternative {
    const PLACE: &[&str] = &["infra", "cloud", "region", "zone"];
    let hint = "write a number, such as 8, or 8+ for at least 8";
    let cpus = reader.value(layers.get("cpus"), hint, scalar::bound);
    let hint = "write GiB, such as 32, 32+ or 64GB, or 4x for each CPU";
    let memory = reader.value(layers.get("memory"), hint, scalar::memory);
    let (memory_gib, memory_per_cpu) = match (memory, cpus) {
        (Some(Memory::Gib(bound)), _) => (Some(bound), None),
        // With `8+` CPUs the memory grows with the machine, so the factor stays a factor.
        (Some(Memory::PerCpu(factor)), Some(Bound { value, at_least: false })) => {
            (Some(Bound { value: factor * value, at_least: true }), None)
        }
        (Some(Memory::PerCpu(factor)), _) => (None, Some(factor)),
        (None, _) => (None, None),
    };
    let parts = Parts {
        cloud: layers.get_of("cloud", PLACE),
        region: layers.get_of("region", PLACE),
        zone: layers.get_of("zone", PLACE),
    };
    Alternative {
        accelerator: None,
        cpus,
        memory_gib,
        memory_per_cpu,
        instance_type: instance_type(reader, layers.get("instance_type")),
        places: places(reader, layers.get_of("infra", PLACE), &parts),
        use_spot: reader.truth(layers.get("use_spot")),
    }
}

fn instance_type(reader: &mut Reader, field: Option<Field<'_>>) -> Option<String> {
    reader.value(field, "a cloud's own name, such as g5.xlarge", |text| {
        let good = !text.is_empty()
            && text.len() <= 128
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:/ ".contains(&b));
        let bad = || format!("{} is no machine type", crate::redact::quote(text));
        if good { Ok(text.to_owned()) } else { Err(bad()) }
    })
}
