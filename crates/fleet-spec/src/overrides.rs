//! Flags of the command line, put into the tree before anything is checked.
//!
//! So a value from a flag passes exactly the checks that one from the file passes; its diagnostics name
//! the flag instead of a line. A flag wins over every spelling of the same thing in the file.

use crate::Overrides;
use crate::node::{Entry, Kind, Node, Pos};

/// Puts the flags into one document. A name belongs to the group where there are several documents.
pub(crate) fn apply(overrides: &Overrides, root: &mut Node, several: bool) {
    let Kind::Map(top) = &mut root.kind else { return };
    if let (Some(name), false) = (&overrides.name, several) {
        set(top, "name", Node::from_flag("--name", name));
    }
    if let Some(count) = overrides.num_nodes {
        set(top, "num_nodes", Node::from_flag("--num-nodes", &count.to_string()));
    }
    for (key, flag, value) in [
        ("work", "--work", &overrides.work),
        ("max_duration", "--max-duration", &overrides.max_duration),
    ] {
        if let Some(value) = value {
            set(top, key, Node::from_flag(flag, value));
        }
    }
    variables(top, "envs", "--env", &overrides.envs);
    variables(top, "secrets", "--secret", &overrides.secrets);
    spot(top, overrides);
    resources(top, overrides);
}

fn variables(
    top: &mut Vec<Entry>,
    key: &str,
    flag: &'static str,
    values: &std::collections::BTreeMap<String, String>,
) {
    if values.is_empty() {
        return;
    }
    names_to_map(top, key);
    let Some(section) = section(top, key, flag) else { return };
    for (name, value) in values {
        let node = Node::from_flag(flag, value);
        let old = section.iter_mut().find(|e| e.key == *name);
        match old.map(|entry| &mut entry.value) {
            // `{allow_untrusted: true}` keeps what it says besides the value.
            Some(Node { kind: Kind::Map(long), .. }) => set(long, "value", node),
            _ => set(section, name, node),
        }
    }
}

/// `secrets: [A, B]` is `{A: null, B: null}`.
fn names_to_map(top: &mut [Entry], key: &str) {
    let Some(entry) = top.iter_mut().find(|e| e.key == key) else { return };
    let Kind::Seq(items) = &mut entry.value.kind else { return };
    let null = |at| Node { at, kind: Kind::Scalar { text: String::new(), plain: true } };
    let named = items.iter().filter_map(|item| {
        let name = item.text()?;
        let name = name.strip_prefix("secrets:").unwrap_or(name).to_owned();
        Some(Entry { key: name, key_at: item.at, value: null(item.at) })
    });
    entry.value.kind = Kind::Map(named.collect());
}

fn spot(top: &mut Vec<Entry>, overrides: &Overrides) {
    for (key, flag, value) in [
        ("deadline", "--deadline", &overrides.deadline),
        ("budget", "--budget", &overrides.budget),
        ("max_price", "--max-price", &overrides.max_price),
        ("fallback", "--fallback", &overrides.fallback),
    ] {
        let Some(value) = value else { continue };
        if let Some(section) = section(top, "spot", flag) {
            set(section, key, Node::from_flag(flag, value));
        }
    }
}

fn resources(top: &mut Vec<Entry>, overrides: &Overrides) {
    if let Some(accelerator) = &overrides.accelerator {
        let node = Node::from_flag("--gpus", accelerator);
        // A machine type fixes its accelerators, so it cannot stay.
        replace(top, &["accelerators", "instance_type"], "accelerators", "--gpus", node);
    }
    if let Some((first, rest)) = overrides.places.split_first() {
        let mut node = Node::from_flag("--infra", first);
        if !rest.is_empty() {
            let all = overrides.places.iter().map(|place| Node::from_flag("--infra", place));
            node.kind = Kind::Seq(all.collect());
        }
        replace(top, &["infra", "cloud", "region", "zone"], "infra", "--infra", node);
    }
    if let Some(use_spot) = overrides.use_spot {
        let flag = if use_spot { "--use-spot" } else { "--on-demand" };
        let node = Node::from_flag(flag, if use_spot { "true" } else { "false" });
        replace(top, &["use_spot"], "use_spot", flag, node);
    }
}

/// Removes every spelling from `resources` and its alternatives, then sets the new value.
fn replace(top: &mut Vec<Entry>, spellings: &[&str], key: &str, flag: &'static str, node: Node) {
    let Some(section) = section(top, "resources", flag) else { return };
    section.retain(|e| !spellings.contains(&e.key.as_str()));
    for list in section.iter_mut().filter(|e| matches!(e.key.as_str(), "any_of" | "ordered")) {
        let Kind::Seq(items) = &mut list.value.kind else { continue };
        for item in items {
            if let Kind::Map(entries) = &mut item.kind {
                entries.retain(|e| !spellings.contains(&e.key.as_str()));
            }
        }
    }
    set(section, key, node);
}

fn set(entries: &mut Vec<Entry>, key: &str, value: Node) {
    match entries.iter_mut().find(|e| e.key == key) {
        Some(entry) => (entry.key_at, entry.value) = (value.at, value),
        None => entries.push(Entry { key: key.to_owned(), key_at: value.at, value }),
    }
}

/// The mapping under `key`, made if it is missing; `None` where the file has something else there,
/// which the reader will refuse.
fn section<'t>(
    top: &'t mut Vec<Entry>,
    key: &str,
    flag: &'static str,
) -> Option<&'t mut Vec<Entry>> {
    let absent = top.iter().find(|e| e.key == key).is_none_or(|e| e.value.is_null());
    if absent {
        set(top, key, Node { at: Pos::flag(flag), kind: Kind::Map(Vec::new()) });
    }
    match &mut top.iter_mut().find(|e| e.key == key)?.value.kind {
        Kind::Map(entries) => Some(entries),
        _ => None,
    }
}
