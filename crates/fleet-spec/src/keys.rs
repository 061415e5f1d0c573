//! The tables of every key that a task file may hold: what it looks like and what becomes of it.
//!
//! One table serves the reader (unknown keys, suggestions, warnings), the JSON Schema and the test of
//! the reference page, so that the three cannot drift apart. Values that need more than their form
//! (ranges, contradictions) are checked in `read`.

mod resources;
mod task;

use fleet_types::accelerator::distance;
pub(crate) use resources::{ALTERNATIVE, AUTOSTOP, RECOVERY, RESOURCES};
#[cfg(test)]
pub(crate) use task::WORKLOADS;
pub(crate) use task::{
    CHECKPOINT, HEADER, REPOSITORY, SECRET, SIGNAL_TO, SPOT, STORAGE, STORES, TASK, WATCH,
};

/// One key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) act: Act,
    pub(crate) form: Form,
    /// One sentence, for editors.
    pub(crate) about: &'static str,
}

/// What becomes of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It is acted on.
    Yes,
    /// Accepted with one warning; the text says why nothing is lost.
    Ignored(&'static str),
    /// An error until it works, because its absence would change the result.
    NotYet(&'static str),
    /// An error; the text says what to use instead.
    Never(&'static str),
    /// The old name of this key.
    Renamed(&'static str),
}

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Text,
    Flag,
    Whole {
        min: i64,
        max: i64,
    },
    Number,
    /// `8`, `8+`.
    Bound,
    /// `32`, `32+`, `64GB`, `4x`.
    Memory,
    /// `256`, `1TB`.
    Size,
    /// `20h`.
    Span,
    Money,
    /// `0.99`, `99%`.
    Share,
    /// `500`, `1gbps`.
    Bandwidth,
    /// `s3://bucket/prefix`.
    Bucket,
    Choice(&'static [&'static str]),
    Table(&'static Table),
    /// A mapping of text to values of one form.
    MapOf(&'static Form),
    ListOf(&'static Form),
    OneOf(&'static [Form]),
    Null,
    Free,
}

/// The keys of one section.
pub(crate) struct Table {
    /// Keys of its own.
    pub(crate) own: &'static [Key],
    /// A table whose keys it has too.
    pub(crate) base: Option<&'static Table>,
}

impl Table {
    /// Every key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.own.iter().chain(self.base.map_or(&[][..], |base| base.own))
    }
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
    /// The usable key that `name` was probably meant to be.
    fn nearest(&self, name: &str) -> Option<&'static str> {
        let lower = name.to_ascii_lowercase().replace('-', "_");
        let allowed = 1 + lower.chars().count() / 5;
        self.keys()
            .filter(|key| !matches!(key.act, Act::Never(_) | Act::Renamed(_)))
            .map(|key| (distance(&lower, key.name), key.name))
            .min()
            .filter(|(d, _)| *d <= allowed)
            .map(|(_, name)| name)
    }
}

/// What to say about a key that `table` does not have.
pub(crate) fn suggest(table: &'static Table, name: &str) -> Option<String> {
    // A long key is no typo of a short one, and comparing it costs its square.
    if name.len() > 64 {
        return None;
    }
    let elsewhere = || {
        let places: [(&'static Table, &str); 4] = [
            (&TASK, "belongs at the top of the file"),
            (&RESOURCES, "belongs under `resources`"),
            (&SPOT, "belongs under `spot`"),
            (&CHECKPOINT, "belongs under `checkpoint`"),
        ];
        let home = places.into_iter().find(|(other, _)| {
            !std::ptr::eq(*other, table) && other.key(name).is_some_and(|k| k.act == Act::Yes)
        });
        home.map(|(_, place)| format!("`{name}` {place}"))
    };
    if matches!(name, "on_demand" | "ondemand") {
        return Some("write `use_spot: false` under `resources`".into());
    }
    if matches!(name, "gpu" | "gpus") {
        return Some("write `accelerators` under `resources`".into());
    }
    if name == "execution" {
        return Some(
            "`execution` goes into a first document that has only `name` beside it".into(),
        );
    }
    elsewhere().or_else(|| table.nearest(name).map(|near| format!("did you mean `{near}`?")))
}

/// A key that is acted on.
const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, act: Act::Yes, form, about }
}

/// A key that is accepted with a warning.
const fn ignored(name: &'static str, form: Form, why: &'static str) -> Key {
    Key { name, act: Act::Ignored(why), form, about: why }
}

/// A key that is an error for now.
const fn not_yet(name: &'static str, instead: &'static str) -> Key {
    Key { name, act: Act::NotYet(instead), form: Form::Free, about: instead }
}

/// A key that is an error for good.
const fn never(name: &'static str, instead: &'static str) -> Key {
    Key { name, act: Act::Never(instead), form: Form::Free, about: instead }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_has_a_key_twice() {
        let all = [&TASK, &RESOURCES, &SPOT, &CHECKPOINT, &WATCH, &RECOVERY, &AUTOSTOP, &HEADER];
        for table in all.into_iter().chain([&STORAGE, &REPOSITORY]) {
            let mut seen = std::collections::BTreeSet::new();
            for key in table.keys() {
                assert!(seen.insert(key.name), "{}", key.name);
                assert!(!key.about.is_empty(), "{}", key.name);
            }
        }
    }

    #[test]
    fn suggestions_know_neighbours_and_sections() {
        assert_eq!(suggest(&TASK, "resuorces").as_deref(), Some("did you mean `resources`?"));
        assert_eq!(
            suggest(&TASK, "accelerators").as_deref(),
            Some("`accelerators` belongs under `resources`")
        );
        assert_eq!(
            suggest(&RESOURCES, "deadline").as_deref(),
            Some("`deadline` belongs under `spot`")
        );
        assert_eq!(suggest(&TASK, "zzzzzz"), None);
    }

    #[test]
    fn old_names_lead_to_keys_that_exist() {
        for table in [&TASK, &RESOURCES] {
            for key in table.keys() {
                if let Act::Renamed(new) = key.act {
                    assert!(table.key(new).is_some_and(|k| k.act == Act::Yes), "{new}");
                }
            }
        }
    }
}
