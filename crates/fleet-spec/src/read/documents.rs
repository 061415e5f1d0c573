//! The documents of a file: a task each, behind an optional header that names the group.

use super::{Field, Reader, task};
use crate::keys::HEADER;
use crate::node::{Kind, Node, Pos};
use crate::overrides;
use crate::redact::quote;
use crate::{Execution, Overrides, Parsed, Task};
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;

/// Reads every document.
pub(crate) fn documents(mut roots: Vec<Node>, overrides: &Overrides, parsed: &mut Parsed) {
    let mut reader = Reader::default();
    roots.retain(|root| !root.is_null());
    let several = roots.len() > 1;
    if several && is_header(&roots[0]) {
        header(&mut reader, &roots.remove(0), parsed);
    }
    if roots.is_empty() {
        reader.error(Pos::new(1, 1), "", "no task in the file", "write at least a `run` section");
    }
    if several && overrides.name.is_some() {
        parsed.group.clone_from(&overrides.name);
    }
    let mut names = Vec::new();
    for (index, mut root) in roots.into_iter().enumerate() {
        overrides::apply(overrides, &mut root, several);
        let path = if several { format!("[{index}]") } else { String::new() };
        let (task, secrets) = task::task(&mut reader, &Field { node: &root, path });
        let at = root.get("name").map_or(root.at, |name| name.at);
        names.push((at, task.name.clone()));
        parsed.tasks.push(task);
        parsed.secret_values.push(secrets);
    }
    clashes(&mut reader, &names);
    let (errors, warnings) = reader.finish();
    parsed.errors.extend(errors);
    parsed.warnings.extend(warnings);
}

/// A first document that has nothing but a group's keys.
fn is_header(root: &Node) -> bool {
    match &root.kind {
        Kind::Map(entries) => {
            !entries.is_empty() && entries.iter().all(|e| HEADER.key(&e.key).is_some())
        }
        _ => false,
    }
}

fn header(reader: &mut Reader, root: &Node, parsed: &mut Parsed) {
    let field = Field { node: root, path: String::new() };
    let Some(section) = reader.section(&field, &HEADER) else { return };
    parsed.group = task::name(reader, section.get("name"));
    let words = [("serial", Execution::Serial), ("parallel", Execution::Parallel)];
    parsed.execution = reader.choice(section.get("execution"), &words).unwrap_or_default();
}

/// Names become names of folders and labels, where case and Unicode form get lost.
fn clashes(reader: &mut Reader, names: &[(Pos, Option<String>)]) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for (index, (at, name)) in names.iter().enumerate() {
        let Some(name) = name else { continue };
        let folded = name.nfkc().flat_map(char::to_lowercase).collect();
        if let Some(other) = seen.insert(folded, name) {
            let message = format!("name {} clashes with {}", quote(name), quote(other));
            reader.error(*at, &format!("[{index}].name"), message, "give each task its own name");
        }
    }
}

/// What a task is before anything is read.
pub(super) fn blank() -> Task {
    Task { num_nodes: 1, ..Task::default() }
}
