//! The located tree: every scalar, list and mapping of a file with the place it was written at.
//!
//! A plain scalar keeps its text (`on`, `3.10`, `010` and dates stay what they are); whoever wants a
//! number reads it strictly, see `scalar.rs`. Keys keep their order and their own position.
//! Values that came from a flag have no place in the file; they carry the flag's name instead.

mod build;

use crate::Diagnostic;
pub(crate) use build::documents;

/// Where something was written: in the file, or on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    line: usize,
    column: usize,
    flag: Option<&'static str>,
}

impl Pos {
    /// Line and column, both from 1.
    pub(crate) fn new(line: usize, column: usize) -> Self {
        Self { line, column, flag: None }
    }
    /// A flag such as `--env`.
    pub(crate) fn flag(flag: &'static str) -> Self {
        Self { line: 0, column: 0, flag: Some(flag) }
    }
    /// Whether this came from the command line.
    pub(crate) fn is_flag(self) -> bool {
        self.flag.is_some()
    }
    /// A problem at this place. A flag's problem names the flag and has line 0.
    pub(crate) fn diagnostic(
        self,
        path: &str,
        message: String,
        hint: Option<String>,
    ) -> Diagnostic {
        let path = self.flag.unwrap_or(path).to_owned();
        Diagnostic { line: self.line, column: self.column, path, message, hint }
    }
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// `plain`: written without quotes, so `null` and `true` may mean more than their text.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Pos,
    pub(crate) value: Node,
}

impl Node {
    /// A value given on the command line.
    pub(crate) fn from_flag(flag: &'static str, text: &str) -> Self {
        // Quoted, so that an empty value is an empty value and not null.
        let plain = !text.is_empty();
        Self { at: Pos::flag(flag), kind: Kind::Scalar { text: text.to_owned(), plain } }
    }
    /// Whether it is `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
    /// The text of a scalar, quoted or not.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
    /// What it is, for messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.kind {
            _ if self.is_null() => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
    /// The value under `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }
}
