//! `resources`: the alternatives, and what all of them share.

use super::alternatives::{Layers, alternatives};
use super::{Field, Reader, Section};
use crate::keys::{ALTERNATIVE, AUTOSTOP, RESOURCES};
use crate::node::Kind;
use crate::redact::quote;
use crate::{Alternative, Image, Resources, scalar};
use fleet_types::Usd;
use std::collections::BTreeMap;

/// Alternatives of one task.
const MAX_ALTERNATIVES: usize = 256;
/// GiB; the largest single disk that any of the clouds sells.
const MAX_DISK_GIB: f64 = 65_536.0;
/// Keys that all alternatives share, because there is one disk size, one set of ports, … a job.
const SHARED: &[&str] =
    &["disk_size", "ports", "labels", "job_recovery", "max_hourly_cost", "image_id"];

/// The section, and what of it belongs elsewhere.
#[derive(Default)]
pub(super) struct Own<'a> {
    pub(super) resources: Resources,
    pub(super) job_recovery: Option<Field<'a>>,
    pub(super) max_hourly_cost: Option<Usd>,
}

/// Reads `resources:`; a task without it has one alternative that asks for nothing.
pub(super) fn resources<'a>(reader: &mut Reader, field: Option<Field<'a>>) -> Own<'a> {
    let mut own = Own::default();
    let Some(section) = field.and_then(|f| reader.section(&f, &RESOURCES)) else {
        own.resources.alternatives.push(Alternative::default());
        return own;
    };
    own.resources = Resources {
        disk_gib: disk(reader, section.get("disk_size")),
        disk_tier: section.get("disk_tier").and_then(|f| reader.text(&f).map(str::to_owned)),
        image: image(reader, section.get("image_id")),
        ports: ports(reader, section.get("ports")),
        labels: labels(reader, section.get("labels")),
        autostop_minutes: autostop(reader, section.get("autostop")),
        ..Resources::default()
    };
    let dollars = "write dollars with a point, such as 12.50";
    own.max_hourly_cost = reader.value(section.get("max_hourly_cost"), dollars, scalar::dollars);
    own.job_recovery = section.get("job_recovery");
    fill_alternatives(reader, &section, &mut own.resources);
    own
}

fn fill_alternatives(reader: &mut Reader, section: &Section<'_>, resources: &mut Resources) {
    let (any_of, ordered) = (section.get("any_of"), section.get("ordered"));
    if let (Some(_), Some(ordered)) = (&any_of, &ordered) {
        let hint = "keep any_of (the cheapest wins) or ordered (the first wins)";
        reader.wrong(ordered, "`any_of` and `ordered` exclude each other", hint);
    }
    resources.ordered = any_of.is_none() && ordered.is_some();
    let Some(list) = any_of.or(ordered) else {
        let layers = Layers { inner: None, outer: section };
        let (all, by_list) = alternatives(reader, &layers);
        (resources.alternatives, resources.ordered) = (all, by_list);
        return;
    };
    let Kind::Seq(items) = &list.node.kind else {
        return reader.kind(&list, "a list of alternatives");
    };
    if items.is_empty() {
        reader.wrong(&list, "the list of alternatives is empty", "remove it, or name one");
    }
    for (index, item) in items.iter().enumerate() {
        let entry = list.item(index, item);
        let Some(inner) = reader.section(&entry, &ALTERNATIVE) else { continue };
        for key in SHARED {
            if let Some(value) = inner.get(key).filter(|_| *key != "image_id") {
                let message = format!("`{key}` cannot differ between alternatives");
                reader.wrong(&value, message, &format!("write it as `resources.{key}`"));
            }
        }
        let layers = Layers { inner: Some(&inner), outer: section };
        resources.alternatives.extend(alternatives(reader, &layers).0);
        if resources.alternatives.len() > MAX_ALTERNATIVES {
            let message = format!("more than {MAX_ALTERNATIVES} alternatives");
            return reader.wrong(&list, message, "ask for less at once");
        }
    }
}

fn disk(reader: &mut Reader, field: Option<Field<'_>>) -> Option<u32> {
    let read = |text: &str| {
        let gib = scalar::gib(text)?;
        if gib > MAX_DISK_GIB {
            return Err(format!("{} is more than any disk has", quote(text)));
        }
        Ok(gib.ceil() as u32)
    };
    reader.value(field, "write GiB, such as 256 or 1TB; at most 65536", read)
}

fn image(reader: &mut Reader, field: Option<Field<'_>>) -> Option<Image> {
    let field = field?;
    if let Kind::Map(entries) = &field.node.kind {
        let mut by_region = BTreeMap::new();
        for entry in entries {
            if let Some(id) = reader.text(&field.under(entry)) {
                by_region.insert(entry.key.clone(), id.to_owned());
            }
        }
        return Some(Image::ByRegion(by_region));
    }
    let text = reader.text(&field)?;
    Some(match text.strip_prefix("docker:") {
        Some(name) => Image::Docker(name.to_owned()),
        None => Image::Id(text.to_owned()),
    })
}

fn ports(reader: &mut Reader, field: Option<Field<'_>>) -> Vec<u16> {
    let mut ports = Vec::new();
    for one in field.iter().flat_map(Field::one_or_more) {
        let hint = "write a port from 1 to 65535, or a range such as 9000-9010";
        if let Some(range) = reader.value(Some(one), hint, port_range) {
            ports.extend(range);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    if let (Some(field), true) = (&field, ports.len() > 1000) {
        let message = format!("{} ports are more than 1000", ports.len());
        reader.wrong(field, message, "open fewer");
        ports.clear();
    }
    ports
}

fn port_range(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let bad = || format!("{} is no port", quote(text));
        scalar::whole(text.trim(), 1, 65_535)
            .ok()
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(bad)
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("{} runs backwards", quote(text)));
    }
    Ok(first..=last)
}

fn labels(reader: &mut Reader, field: Option<Field<'_>>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(field) = field else { return labels };
    let Kind::Map(entries) = &field.node.kind else {
        reader.kind(&field, "a mapping of labels");
        return labels;
    };
    for entry in entries {
        let value = field.under(entry);
        let Some(text) = reader.text(&value) else { continue };
        // The strictest of the clouds: AWS takes 128 and 256 characters, and keeps `aws:` to itself.
        let lower = entry.key.to_ascii_lowercase();
        let taken = lower.starts_with("aws:") || lower.starts_with("fleet");
        let long = entry.key.chars().count() > 128 || text.chars().count() > 256;
        if entry.key.is_empty() || taken || long {
            let message = format!("label {} cannot be set", quote(&entry.key));
            let hint =
                "at most 128 characters (256 for the value), not beginning with `fleet` or `aws:`";
            reader.error(entry.key_at, &value.path, message, hint);
        } else {
            labels.insert(entry.key.clone(), text.to_owned());
        }
    }
    labels
}

/// Minutes; `true` is SkyPilot's five. The table warns that a machine ends with its task anyway.
fn autostop(reader: &mut Reader, field: Option<Field<'_>>) -> Option<i64> {
    let field = field?;
    if matches!(field.node.kind, Kind::Map(_)) {
        let section = reader.section(&field, &AUTOSTOP)?;
        let read = |text: &str| scalar::whole(text, 0, 10_000_000);
        return reader.value(section.get("idle_minutes"), "write minutes", read);
    }
    let read = |text: &str| match scalar::truth(text) {
        Some(on) => Ok(on.then_some(5)),
        None if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            let minutes = scalar::span(text)?.as_secs().div_ceil(60);
            Ok(i64::try_from(minutes).ok())
        }
        None => scalar::whole(text, -1, 10_000_000).map(Some),
    };
    reader.value(Some(field), "write minutes, such as 10 or 10m", read).flatten()
}
