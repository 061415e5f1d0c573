//! From located trees to tasks: one file a section, all problems collected.
//!
//! Invariant: a section is only ever opened through [`Reader::section`], which compares its keys with
//! the table. So nothing is read that the table does not have, and nothing in the file is passed over
//! in silence. A value that is wrong is noted and left out; reading goes on.

mod accelerators;
mod alternatives;
mod checkpoint;
mod documents;
mod envs;
mod infra;
mod mounts;
mod recovery;
mod regions;
mod remote;
mod resources;
mod spot;
mod storage;
mod task;

use crate::Diagnostic;
use crate::keys::{Act, Table, suggest};
use crate::node::{Entry, Kind, Node, Pos};
use crate::redact::quote;
use crate::scalar;
pub(crate) use documents::documents;

/// Problems that are listed; the rest is counted.
const MAX_LISTED: usize = 100;

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// A value with its path.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

/// A mapping whose keys have been compared with a table.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) path: String,
    table: &'static Table,
}

/// `path.key`, quoted where the key is no word.
pub(crate) fn join(path: &str, key: &str) -> String {
    let word = !key.is_empty()
        && key.len() <= 64
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/~.".contains(&b));
    let key = if word { key.to_owned() } else { crate::redact::quote(key).replace('`', "\"") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

impl<'a> Field<'a> {
    pub(crate) fn at(&self) -> Pos {
        self.node.at
    }
    /// The `index`-th item of a list.
    pub(crate) fn item(&self, index: usize, node: &'a Node) -> Field<'a> {
        Field { node, path: format!("{}[{index}]", self.path) }
    }
    /// The value under a key of a mapping.
    pub(crate) fn under(&self, entry: &'a Entry) -> Field<'a> {
        Field { node: &entry.value, path: join(&self.path, &entry.key) }
    }
    /// A list's items, or the value itself as the only one.
    pub(crate) fn one_or_more(&self) -> Vec<Field<'a>> {
        match &self.node.kind {
            Kind::Seq(items) => items.iter().enumerate().map(|(i, n)| self.item(i, n)).collect(),
            _ => vec![self.clone()],
        }
    }
}

impl<'a> Section<'a> {
    /// The value of `key`; one that is null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.table.key(key).is_some(), "invariant: {key} is in the table");
        let entry = self.entries.iter().find(|e| e.key == key)?;
        (!entry.value.is_null())
            .then(|| Field { node: &entry.value, path: join(&self.path, &entry.key) })
    }
}

impl Reader {
    /// Notes an error.
    pub(crate) fn error(&mut self, at: Pos, path: &str, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.errors.push(at.diagnostic(path, message.into(), hint));
    }
    /// Notes a warning.
    pub(crate) fn warn(&mut self, at: Pos, path: &str, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.warnings.push(at.diagnostic(path, message.into(), hint));
    }
    /// Notes an error at a field.
    pub(crate) fn wrong(&mut self, field: &Field<'_>, message: impl Into<String>, hint: &str) {
        self.error(field.at(), &field.path, message, hint);
    }

    /// Opens a mapping: every key is known, or noted.
    pub(crate) fn section<'a>(
        &mut self,
        field: &Field<'a>,
        table: &'static Table,
    ) -> Option<Section<'a>> {
        let Kind::Map(entries) = &field.node.kind else {
            if !field.node.is_null() {
                self.kind(field, "a mapping of keys");
            }
            return None;
        };
        for entry in entries {
            self.check_key(entry, &join(&field.path, &entry.key), table);
        }
        Some(Section { entries, path: field.path.clone(), table })
    }

    fn check_key(&mut self, entry: &Entry, path: &str, table: &'static Table) {
        // A value from the command line stands in the file's place; its key was never written.
        let (at, name) = (entry.key_at, &entry.key);
        let Some(key) = table.key(name) else {
            // Looking for a neighbour costs more than all the rest; nobody reads a thousand of them.
            let hint = (self.errors.len() < MAX_LISTED).then(|| suggest(table, name)).flatten();
            let hint = hint.unwrap_or_default();
            return self.error(at, path, format!("unknown key {}", quote(name)), &hint);
        };
        match key.act {
            Act::Yes => {}
            _ if entry.value.is_null() => {}
            Act::Ignored(why) => {
                self.warn(at, path, format!("`{name}` is accepted but does nothing"), why);
            }
            Act::NotYet(instead) => {
                self.error(at, path, format!("`{name}` is not supported yet"), instead);
            }
            Act::Never(instead) => {
                self.error(at, path, format!("`{name}` is not supported"), instead);
            }
            Act::Renamed(new) => {
                let message = format!("`{name}` is now called `{new}`");
                self.error(at, path, message, &format!("write `{new}`"));
            }
        }
    }

    /// A single value's text; `None` where it is null, a list or a mapping.
    pub(crate) fn text<'a>(&mut self, field: &Field<'a>) -> Option<&'a str> {
        let text = field.node.text();
        if text.is_none() {
            self.kind(field, "a single value");
        }
        text
    }

    /// Notes that something else was expected.
    pub(crate) fn kind(&mut self, field: &Field<'_>, wanted: &str) {
        let message = format!("expected {wanted}, found {}", field.node.kind_name());
        self.wrong(field, message, "");
    }

    /// A value through one of the functions of `scalar`.
    pub(crate) fn value<T>(
        &mut self,
        field: Option<Field<'_>>,
        hint: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let field = field?;
        match read(self.text(&field)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.wrong(&field, message, hint);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn truth(&mut self, field: Option<Field<'_>>) -> Option<bool> {
        self.value(field, "write true or false", |text| {
            scalar::truth(text).ok_or_else(|| format!("{} is neither true nor false", quote(text)))
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        field: Option<Field<'_>>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let hint = format!("one of {}", names.join(", "));
        self.value(field, &hint, |text| {
            let folded = text.trim().to_ascii_lowercase().replace('_', "-");
            let same = |name: &str| name.to_ascii_lowercase().replace('_', "-") == folded;
            let found = words.iter().find(|(name, _)| same(name));
            found.map(|(_, value)| *value).ok_or_else(|| format!("unknown value {}", quote(text)))
        })
    }

    /// Each problem once, in the order of the file, the command line's first.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|d| (d.line, d.column));
            let mut seen = std::collections::HashSet::new();
            list.retain(|d| seen.insert((d.line, d.column, d.message.clone())));
            let more = list.len().saturating_sub(MAX_LISTED);
            list.truncate(MAX_LISTED);
            if let (Some(last), true) = (list.last_mut(), more > 0) {
                last.hint = Some(format!("and {more} more like these"));
            }
        }
        (self.errors, self.warnings)
    }
}
