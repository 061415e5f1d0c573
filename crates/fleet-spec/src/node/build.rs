//! Parser events in, located trees out, within limits.
//!
//! Works with a stack of its own, never by recursion: depth, nodes and what aliases copy are all
//! counted, so a hostile file costs milliseconds. Duplicate keys, foreign tags and odd keys are noted
//! and reading goes on; only text that is no YAML ends it.

use super::{Entry, Kind, Node, Pos};
use crate::{Diagnostic, redact::quote, source};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use std::collections::{HashMap, HashSet};

/// Mappings and lists inside one another.
const MAX_DEPTH: usize = 64;
/// Nodes of a file, counting what aliases copy.
const MAX_NODES: usize = 100_000;
/// Odd keys and values that are noted before reading ends.
const MAX_PROBLEMS: usize = 200;
/// Text that aliases copy.
const MAX_COPIED_BYTES: usize = 4 * 1024 * 1024;

/// The documents of a file. Problems are noted in `problems`; `None` where the text is no YAML.
pub(crate) fn documents(text: &str, problems: &mut Vec<Diagnostic>) -> Option<Vec<Node>> {
    let mut options = granit_parser::options! { emit_unresolved_aliases: true };
    options.set_emit_comments(false);
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::new(problems);
    while let Some(next) = parser.next_event() {
        let taken = match next {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(scan_problem(&error, text)),
        };
        if let Err(fatal) = taken {
            let path = builder.path();
            problems.push(Diagnostic { path, ..fatal });
            return None;
        }
        if builder.problems.len() >= MAX_PROBLEMS {
            return None;
        }
    }
    Some(builder.done)
}

fn scan_problem(error: &ScanError, text: &str) -> Diagnostic {
    let at = Pos::new(error.marker().line(), error.marker().col() + 1);
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let tab = indent.find('\t').map(|column| Pos::new(at.line, column + 1));
    let (message, hint) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return too_deep(at),
        _ if tab.is_some() => (
            "a tab is used to indent; YAML indents with spaces only".to_owned(),
            Some("replace the tab by spaces".to_owned()),
        ),
        ErrorKind::UndeclaredTagHandle | ErrorKind::MissingIncludeResolver => {
            ("tags are not supported".to_owned(), Some("remove the tag".to_owned()))
        }
        _ => (format!("not YAML: {}", error.info()), None),
    };
    tab.unwrap_or(at).diagnostic("", message, hint)
}

fn too_deep(at: Pos) -> Diagnostic {
    at.diagnostic("", format!("nested deeper than {MAX_DEPTH} levels"), None)
}

/// A mapping's key while its value is read.
enum Key {
    Text(String, Pos, bool),
    /// Was no text; the value is read and dropped.
    Bad,
}

struct Open {
    at: Pos,
    anchor: usize,
    body: Body,
}

enum Body {
    Seq(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<Key>, merges: Vec<Node> },
}

/// A finished anchored node with what a copy of it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Builder<'p> {
    problems: &'p mut Vec<Diagnostic>,
    done: Vec<Node>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    copied: usize,
}

type Fatal = Result<(), Diagnostic>;

impl<'p> Builder<'p> {
    fn new(problems: &'p mut Vec<Diagnostic>) -> Self {
        let (done, stack, anchors) = (Vec::new(), Vec::new(), HashMap::new());
        Self { problems, done, stack, anchors, nodes: 0, copied: 0 }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Fatal {
        let at = Pos::new(span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = self.check_tag(at, tag.as_deref()) && style == ScalarStyle::Plain;
                if style == ScalarStyle::DoubleQuoted {
                    self.check_escapes(at, &text);
                }
                let node = Node { at, kind: Kind::Scalar { text: text.into_owned(), plain } };
                self.count(at, 1)?;
                self.place(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(at, tag.as_deref());
                self.open(at, anchor, Body::Seq(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(at, tag.as_deref());
                let (entries, seen, merges) = (Vec::new(), HashSet::new(), Vec::new());
                self.open(at, anchor, Body::Map { entries, seen, key: None, merges })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(at, id),
            Event::UnresolvedAlias(name) => {
                self.note(at, format!("alias {} has no anchor before it", quote(&name)), None);
                let kind = Kind::Scalar { text: String::new(), plain: true };
                self.place(Node { at, kind }, 0)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Pos, anchor: usize, body: Body) -> Fatal {
        self.count(at, 1)?;
        if self.stack.len() == MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.stack.push(Open { at, anchor, body });
        Ok(())
    }

    fn close(&mut self) -> Fatal {
        let Some(Open { at, anchor, body }) = self.stack.pop() else { return Ok(()) };
        let kind = match body {
            Body::Seq(items) => Kind::Seq(items),
            Body::Map { mut entries, mut seen, merges, .. } => {
                for merged in merges {
                    self.merge(&mut entries, &mut seen, merged);
                }
                Kind::Map(entries)
            }
        };
        self.place(Node { at, kind }, anchor)
    }

    /// `<<`: what the mapping has itself wins, then the first that was merged.
    fn merge(&mut self, entries: &mut Vec<Entry>, seen: &mut HashSet<String>, merged: Node) {
        let sources = match merged.kind {
            Kind::Seq(items) => items,
            _ => vec![merged],
        };
        for source in sources {
            match source.kind {
                Kind::Map(more) => {
                    entries.extend(more.into_iter().filter(|e| seen.insert(e.key.clone())));
                }
                _ => self.note(source.at, "`<<` merges mappings only".to_owned(), None),
            }
        }
    }

    fn place(&mut self, node: Node, anchor: usize) -> Fatal {
        if anchor != 0 {
            let (nodes, bytes, depth) = measure(&node);
            self.afford(node.at, nodes, bytes)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes, depth });
        }
        let path = self.path_of_next(&node);
        match self.stack.last_mut().map(|open| &mut open.body) {
            None => self.done.push(node),
            Some(Body::Seq(items)) => items.push(node),
            Some(Body::Map { entries, seen, key, merges }) => match key.take() {
                Some(Key::Bad) => {}
                Some(Key::Text(name, _, true)) if name == "<<" => merges.push(node),
                Some(Key::Text(name, key_at, _)) if seen.contains(&name) => {
                    let message = format!("key {} is given twice", quote(&name));
                    let hint = "keep one of them".to_owned();
                    self.problems.push(key_at.diagnostic(&path, message, Some(hint)));
                }
                Some(Key::Text(name, key_at, _)) => {
                    seen.insert(name.clone());
                    entries.push(Entry { key: name, key_at, value: node });
                }
                None => {
                    let read = read_key(node);
                    *key = Some(read.unwrap_or_else(|(at, message)| {
                        let hint = "write it in quotes".to_owned();
                        self.problems.push(at.diagnostic(&path, message, Some(hint)));
                        Key::Bad
                    }));
                }
            },
        }
        Ok(())
    }

    fn alias(&mut self, at: Pos, id: usize) -> Fatal {
        let Some(anchored) = self.anchors.get(&id) else {
            // Its anchor is still open: the node would contain itself.
            return Err(at.diagnostic("", "an alias stands inside its own anchor".into(), None));
        };
        let (nodes, bytes, depth) = (anchored.nodes, anchored.bytes, anchored.depth);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.afford(at, nodes, bytes)?;
        let copy = self.anchors.get(&id).map(|anchored| anchored.node.clone());
        copy.map_or(Ok(()), |node| self.place(node, 0))
    }

    /// Pays for a copy before it is kept.
    fn afford(&mut self, at: Pos, nodes: usize, bytes: usize) -> Fatal {
        self.count(at, nodes)?;
        self.copied += bytes;
        if self.copied > MAX_COPIED_BYTES {
            let message = format!("aliases copy more than {MAX_COPIED_BYTES} bytes of text");
            return Err(at.diagnostic("", message, None));
        }
        Ok(())
    }

    fn count(&mut self, at: Pos, more: usize) -> Fatal {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, counting what aliases copy");
            return Err(at.diagnostic("", message, None));
        }
        Ok(())
    }

    /// Notes a foreign tag; false where the value is text by its tag.
    fn check_tag(&mut self, at: Pos, tag: Option<&Tag>) -> bool {
        let Some(tag) = tag else { return true };
        let core = tag.core_suffix();
        let set = tag.suffix_in_namespace("tag:yaml.org,2002:").is_some_and(|s| s == "set");
        if core.is_none() && !set && tag.suffix() != "!" {
            let message = format!("tag {} is not supported", quote(&tag.original()));
            self.note(at, message, Some("remove the tag and write the value itself"));
        }
        core != Some("str") && tag.suffix() != "!"
    }

    fn check_escapes(&mut self, at: Pos, text: &str) {
        if let Some(name) = text.chars().find_map(source::forbidden) {
            // ESC and its like are fine inside a quoted value: they are data. NUL never is.
            if !name.starts_with("control") {
                self.note(at, format!("{name} in a value"), Some("remove it"));
            }
        }
    }

    fn note(&mut self, at: Pos, message: String, hint: Option<&str>) {
        let path = self.path();
        self.problems.push(at.diagnostic(&path, message, hint.map(str::to_owned)));
    }

    /// The field that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.stack {
            match &open.body {
                Body::Seq(items) => path += &format!("[{}]", items.len()),
                Body::Map { key: Some(Key::Text(name, ..)), .. } => {
                    path = crate::read::join(&path, name);
                }
                Body::Map { .. } => {}
            }
        }
        path
    }

    /// Only duplicate and odd keys need it, so nothing is computed for the rest.
    fn path_of_next(&self, node: &Node) -> String {
        match self.stack.last().map(|open| &open.body) {
            Some(Body::Map { key: Some(Key::Text(name, ..)), seen, .. }) if seen.contains(name) => {
                self.path()
            }
            Some(Body::Map { key: None, .. }) if odd_key(node).is_some() => self.path(),
            _ => String::new(),
        }
    }
}

fn read_key(node: Node) -> Result<Key, (Pos, String)> {
    if let Some(message) = odd_key(&node) {
        return Err((node.at, message));
    }
    match node.kind {
        Kind::Scalar { text, plain } => Ok(Key::Text(text, node.at, plain)),
        _ => Ok(Key::Bad),
    }
}

/// Why a node cannot be a key, if it cannot.
fn odd_key(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Scalar { text, plain } => {
            let other = node.is_null()
                || matches!(text.as_str(), "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
                || text.parse::<f64>().is_ok_and(f64::is_finite);
            (*plain && other).then(|| format!("the key {} is not a string", quote(text)))
        }
        Kind::Seq(_) => Some("a list cannot be a key".to_owned()),
        Kind::Map(_) => Some("a mapping cannot be a key".to_owned()),
    }
}

/// Nodes, bytes of text and depth of a tree. Its depth is within [`MAX_DEPTH`].
fn measure(node: &Node) -> (usize, usize, usize) {
    let mut sum = (1, 0, 0);
    let mut add = |more: (usize, usize, usize), bytes: usize| {
        sum = (sum.0 + more.0, sum.1 + more.1 + bytes, sum.2.max(more.2));
    };
    match &node.kind {
        Kind::Scalar { text, .. } => return (1, text.len(), 0),
        Kind::Seq(items) => items.iter().for_each(|item| add(measure(item), 0)),
        Kind::Map(entries) => {
            entries.iter().for_each(|e| add(measure(&e.value), e.key.len()));
        }
    }
    (sum.0, sum.1, sum.2 + 1)
}
