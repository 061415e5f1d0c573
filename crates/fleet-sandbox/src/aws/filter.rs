//! `Filter.N` of the Describe calls: each filter is a name and values, `*` is a wildcard.
//!
//! Invariant: a filter that the sandbox does not know is refused, never ignored: an ignored filter
//! would show a caller what it did not ask for.

use super::query::Params;
use super::{Refusal, refuse};
use crate::text::glob;
use std::collections::BTreeMap;

/// What a filter sees of one row: its values by filter name, and its tags.
#[derive(Default)]
pub(crate) struct Row {
    values: Vec<(&'static str, String)>,
    tags: BTreeMap<String, String>,
}

impl Row {
    pub(crate) fn new(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { values: values.into_iter().collect(), tags: BTreeMap::new() }
    }

    pub(crate) fn tagged(self, tags: &BTreeMap<String, String>) -> Self {
        Self { tags: tags.clone(), ..self }
    }

    fn fits(&self, name: &str, wanted: &[String]) -> Result<bool, Refusal> {
        let any = |have: &str| wanted.iter().any(|w| glob(w, have));
        if let Some(key) = name.strip_prefix("tag:") {
            return Ok(self.tags.get(key).is_some_and(|v| any(v)));
        }
        if name == "tag-key" {
            return Ok(self.tags.keys().any(|k| any(k)));
        }
        let mut known = self.values.iter().filter(|(n, _)| *n == name).peekable();
        if known.peek().is_none() {
            let text = format!("The filter '{name}' is invalid");
            return Err(refuse(400, "InvalidParameterValue", text));
        }
        Ok(known.any(|(_, v)| any(v)))
    }
}

/// The filters of one call.
pub(crate) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    pub(crate) fn of(params: &Params) -> Self {
        let one = |g: &String| {
            let name = params.get(&format!("{g}.Name")).unwrap_or("").to_owned();
            let values = params.list(&format!("{g}.Value"));
            (name, values.into_iter().map(str::to_owned).collect())
        };
        Self(params.groups("Filter").iter().map(one).collect())
    }

    /// The rows that pass every filter.
    ///
    /// # Errors
    /// For a filter name that the rows do not have. Without rows nothing can be told, and nothing is.
    pub(crate) fn pass<T>(
        &self,
        items: Vec<T>,
        row: impl Fn(&T) -> Row,
    ) -> Result<Vec<T>, Refusal> {
        let mut passed = Vec::new();
        for item in items {
            let row = row(&item);
            let mut fits = true;
            for (name, wanted) in &self.0 {
                fits &= row.fits(name, wanted)?;
            }
            if fits {
                passed.push(item);
            }
        }
        Ok(passed)
    }
}
