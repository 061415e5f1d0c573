//! `envs` and `secrets`: text by name, checked, never interpreted.
//!
//! Invariant: a value reaches the task exactly as it was written, `$(…)` and quotes included, and no
//! message ever shows one.

use super::{Field, Reader, Section, join};
use crate::SecretRef;
use crate::keys::SECRET;
use crate::node::{Kind, Pos};
use crate::redact::{looks_secret, quote};
use std::collections::BTreeMap;

/// Variables of one task.
const MAX_VARIABLES: usize = 1000;
/// Bytes of one value: what the kernel takes for one string (`MAX_ARG_STRLEN`).
const MAX_VALUE: usize = 128 * 1024;

/// Variables by name.
pub(super) type Envs = BTreeMap<String, String>;

/// The task's variables.
pub(super) fn envs(reader: &mut Reader, section: &Section<'_>) -> Envs {
    let mut envs = BTreeMap::new();
    let Some(field) = section.get("envs") else { return envs };
    let Kind::Map(entries) = &field.node.kind else {
        reader.kind(&field, "a mapping of names to values");
        return envs;
    };
    if !few_enough(reader, &field, entries.len()) {
        return envs;
    }
    for entry in entries {
        let value = field.under(entry);
        if !is_variable(reader, entry.key_at, &value.path, &entry.key) {
            continue;
        }
        if value.node.is_null() {
            let message = format!("variable `{}` has no value", entry.key);
            let hint = format!("give it with `--env {0}=VALUE`, or write `{0}: \"\"`", entry.key);
            reader.error(entry.key_at, &value.path, message, &hint);
        } else if let Some(text) = text(reader, &value, &entry.key) {
            if looks_secret(&text) {
                let message = format!("the value of `{}` looks like a key", entry.key);
                let hint = format!("move `{}` from `envs` to `secrets`", entry.key);
                reader.warn(entry.key_at, &value.path, message, &hint);
            }
            envs.insert(entry.key.clone(), text);
        }
    }
    envs
}

/// The task's secrets and the values given for them.
pub(super) fn secrets(
    reader: &mut Reader,
    section: &Section<'_>,
    envs: &Envs,
) -> (BTreeMap<String, SecretRef>, BTreeMap<String, String>) {
    let (mut secrets, mut values) = (BTreeMap::new(), BTreeMap::new());
    let Some(field) = section.get("secrets") else { return (secrets, values) };
    for (name, key_at, value) in named(reader, &field) {
        let path = join(&field.path, &name);
        if !is_variable(reader, key_at, &path, &name) {
            continue;
        }
        if envs.contains_key(&name) {
            let message = format!("`{name}` is both a variable and a secret");
            reader.error(key_at, &path, message, "keep it in `secrets`");
        }
        let (value, allow_untrusted) = value.map_or((None, false), |v| long_form(reader, v));
        let given = value.as_ref().and_then(|value| text(reader, value, &name));
        if given.is_none() && value.is_none() {
            let message = format!("secret `{name}` has no value");
            let hint =
                format!("give it with `--secret {name}`, which takes it from your environment");
            reader.error(key_at, &path, message, &hint);
        }
        secrets.insert(name.clone(), SecretRef { has_value: given.is_some(), allow_untrusted });
        if let Some(given) = given {
            values.insert(name, given);
        }
    }
    (secrets, values)
}

type Named<'a> = (String, Pos, Option<Field<'a>>);

/// Secrets of a mapping, or of a list of names.
fn named<'a>(reader: &mut Reader, field: &Field<'a>) -> Vec<Named<'a>> {
    // SkyPilot marks secrets that its server keeps; here each one is given at launch.
    let bare = |name: &str| name.strip_prefix("secrets:").unwrap_or(name).to_owned();
    match &field.node.kind {
        Kind::Map(entries) if few_enough(reader, field, entries.len()) => entries
            .iter()
            .map(|e| {
                let value = Some(field.under(e)).filter(|value| !value.node.is_null());
                (bare(&e.key), e.key_at, value)
            })
            .collect(),
        Kind::Seq(items) if few_enough(reader, field, items.len()) => {
            let mut names = Vec::new();
            for (index, item) in items.iter().enumerate() {
                if let Some(name) = reader.text(&field.item(index, item)) {
                    names.push((bare(name), item.at, None));
                }
            }
            names
        }
        Kind::Scalar { .. } => {
            reader.kind(field, "a mapping of names to values");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// `{value: …, allow_untrusted: true}`.
fn long_form<'a>(reader: &mut Reader, value: Field<'a>) -> (Option<Field<'a>>, bool) {
    if !matches!(value.node.kind, Kind::Map(_)) {
        return (Some(value), false);
    }
    let Some(section) = reader.section(&value, &SECRET) else { return (None, false) };
    let allow = reader.truth(section.get("allow_untrusted")).unwrap_or_default();
    (section.get("value"), allow)
}

fn text(reader: &mut Reader, value: &Field<'_>, name: &str) -> Option<String> {
    let text = reader.text(value)?;
    if text.len() > MAX_VALUE {
        let message = format!("the value of `{name}` has more than {MAX_VALUE} bytes");
        reader.wrong(value, message, "put it into a file under `workdir`");
        return None;
    }
    Some(text.to_owned())
}

fn few_enough(reader: &mut Reader, field: &Field<'_>, count: usize) -> bool {
    if count > MAX_VARIABLES {
        let message = format!("{count} variables are more than {MAX_VARIABLES}");
        reader.wrong(field, message, "put them into a file under `workdir`");
    }
    count <= MAX_VARIABLES
}

fn is_variable(reader: &mut Reader, at: Pos, path: &str, name: &str) -> bool {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !good {
        let hint = "letters, digits and `_`, not beginning with a digit";
        reader.error(at, path, format!("{} is no name of a variable", quote(name)), hint);
    }
    // What fleet itself tells a task cannot be said otherwise.
    let ours = name.starts_with("FLEET_") || name.starts_with("SKYPILOT_NODE_");
    if good && ours {
        reader.error(at, path, format!("`{name}` is set by fleet itself"), "choose another name");
    }
    good && !ours
}

/// `$NAME` and `${NAME}` replaced by the task's variables, as SkyPilot does in paths; others stay.
pub(super) fn fill(text: &str, envs: &Envs) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let after = &from[1..];
        let inner = after.strip_prefix('{').unwrap_or(after);
        let end =
            inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, tail) = inner.split_at(end);
        let closed = if inner.len() < after.len() { tail.strip_prefix('}') } else { Some(tail) };
        match (envs.get(name), closed) {
            (Some(value), Some(tail)) => {
                out.push_str(value);
                rest = tail;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_others_stay() {
        let envs = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
        assert_eq!(fill("$A/${A}/$B/${B}/${A/$", &envs), "x/x/$B/${B}/${A/$");
    }
}
