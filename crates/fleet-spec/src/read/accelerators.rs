//! `accelerators` in every spelling: text, set, mapping, list, and by memory.
//!
//! Invariant: what cannot be rented (no GPU, a part of one, a TPU) is refused here, so that a request
//! downstream always has at least one whole GPU.

use super::{Field, Reader};
use crate::node::{Kind, Pos};
use crate::redact::quote;
use crate::scalar;
use fleet_types::accelerator::{find, nearest};
use fleet_types::{Accelerator, AcceleratorRequest};

/// GPUs in one machine, at most.
const MAX_COUNT: i64 = 64;
const FORM: &str = "write NAME or NAME:COUNT, such as A100:8, or 24GB+ for any GPU of that memory";

/// The alternatives that an `accelerators` value stands for.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) any_of: Vec<AcceleratorRequest>,
    /// A list: the first that can be had wins.
    pub(super) ordered: bool,
    /// Whether something was asked for, even if it was wrong.
    pub(super) asked: bool,
}

/// Reads the value in whichever form it has.
pub(super) fn accelerators(reader: &mut Reader, field: Option<Field<'_>>) -> Wanted {
    let Some(field) = field else { return Wanted::default() };
    let mut wanted = Wanted { asked: true, ..Wanted::default() };
    match &field.node.kind {
        Kind::Scalar { text, .. } => {
            let text = text.trim();
            // A set in quotes, as the SkyPilot command line takes it.
            let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
            for one in inner.unwrap_or(text).split(',') {
                let one = one.trim().trim_matches(['\'', '"']);
                wanted.any_of.extend(read(reader, &field, field.at(), one, None));
            }
            if inner.is_none() && text.contains(',') {
                let hint = "write a set, {A100:1, H100:1}, or a list, [H100:1, A100:1]";
                reader.wrong(&field, format!("{} is several accelerators", quote(text)), hint);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let value = field.under(entry);
                let count = if value.node.is_null() {
                    Ok(None)
                } else {
                    value.node.text().ok_or(()).map(Some)
                };
                match count {
                    Ok(count) => {
                        let one = Field { path: value.path, ..field.clone() };
                        wanted.any_of.extend(read(reader, &one, entry.key_at, &entry.key, count));
                    }
                    Err(()) => reader.kind(&value, "a number of GPUs"),
                }
            }
        }
        Kind::Seq(items) => {
            wanted.ordered = items.len() > 1;
            for (index, item) in items.iter().enumerate() {
                let one = field.item(index, item);
                if let Some(text) = reader.text(&one) {
                    wanted.any_of.extend(read(reader, &one, one.at(), text.trim(), None));
                }
            }
        }
    }
    let mut seen = Vec::new();
    wanted.any_of.retain(|request| {
        let new = !seen.contains(request);
        seen.push(request.clone());
        new
    });
    wanted
}

/// `NAME[:COUNT]`, with the count possibly beside it.
fn read(
    reader: &mut Reader,
    field: &Field<'_>,
    at: Pos,
    text: &str,
    count: Option<&str>,
) -> Option<AcceleratorRequest> {
    let at = if field.at().is_flag() { field.at() } else { at };
    let mut refuse = |message: String, hint: &str| {
        reader.error(at, &field.path, message, hint);
        None
    };
    let (name, inline) = match text.split_once(':') {
        Some((name, count)) => (name.trim(), Some(count.trim())),
        None => (text, None),
    };
    if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
        return refuse(format!("{} names no accelerator", quote(text)), FORM);
    }
    if name.to_ascii_lowercase().starts_with("tpu") {
        let hint = "ask for a GPU, such as A100:8";
        return refuse(format!("{} is a TPU; TPUs are not supported", quote(name)), hint);
    }
    if inline.is_some() && count.is_some() || inline.is_some_and(|count| count.contains(':')) {
        return refuse(format!("{} has more than one count", quote(text)), FORM);
    }
    let count = match inline.or(count).map(number_of_gpus).transpose() {
        Ok(count) => count.unwrap_or(1),
        Err(why) => return refuse(format!("{}: {why}", quote(text)), FORM),
    };
    if let Some(memory) = by_memory(name, count) {
        return match memory {
            Ok(request) => Some(request),
            Err(why) => refuse(why, FORM),
        };
    }
    if find(name).is_none() {
        let hint = nearest(name).map_or_else(String::new, |near| format!("did you mean `{near}`?"));
        let message =
            format!("{} is no accelerator that fleet knows; used as written", quote(name));
        reader.warn(at, &field.path, message, &hint);
    }
    Some(AcceleratorRequest::Named(Accelerator::new(name, count)))
}

fn number_of_gpus(text: &str) -> Result<u32, String> {
    let n = scalar::number(text)?;
    if n > 0.0 && n.fract() != 0.0 {
        return Err("a part of a GPU cannot be rented".into());
    }
    let n = scalar::whole(text, 1, MAX_COUNT).map_err(|_| {
        if n < 1.0 {
            "the count is not more than 0".into()
        } else {
            format!("no machine has more than {MAX_COUNT} GPUs")
        }
    })?;
    u32::try_from(n).map_err(|_| "the count is too large".to_owned())
}

/// `24GB+` or `24GB`; `None` where the name is a name.
fn by_memory(name: &str, count: u32) -> Option<Result<AcceleratorRequest, String>> {
    let (size, at_least) = name.strip_suffix('+').map_or((name, false), |size| (size, true));
    let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
    let unit = size.get(digits..)?.trim().to_ascii_lowercase();
    if digits == 0 || !matches!(unit.as_str(), "gb" | "gib" | "g" | "mb" | "tb" | "") {
        return None;
    }
    if unit.is_empty() && !at_least {
        // `4090` alone is somebody's name for a card.
        return None;
    }
    Some(scalar::gib(size).and_then(|gib| {
        if !(1.0..=4096.0).contains(&gib) || gib.fract() != 0.0 {
            return Err(format!("{} is no memory of a GPU", quote(name)));
        }
        let min_gb = gib as u32;
        Ok(AcceleratorRequest::Memory { min_gb, max_gb: (!at_least).then_some(min_gb), count })
    }))
}
