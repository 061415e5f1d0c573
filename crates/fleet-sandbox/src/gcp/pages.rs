//! Lists, in pages, as Compute Engine sends them: of a zone, or of all zones at once.
//!
//! Invariant: an aggregated list names every zone, those without rows with a warning that says so.

use super::filter::Filter;
use super::{Answer, HOME, Refusal, Request, invalid};
use crate::facts::gcp::zones;
use serde_json::{Map, Value, json};

const PAGE_MAX: usize = 500;

/// What a list is called.
pub(super) struct Kind {
    /// `instance`
    pub(super) one: &'static str,
    /// `instances`
    pub(super) many: &'static str,
}

impl Request<'_> {
    /// The filter of the call.
    fn filter(&self) -> Result<Filter, Refusal> {
        Filter::parse(self.param("filter").unwrap_or(""))
            .map_err(|why| invalid(format!("Invalid value for field 'filter': {why}")))
    }

    /// The rows of this page, and where the next one begins.
    fn page<T>(&self, rows: Vec<T>) -> Result<(Vec<T>, Option<String>), Refusal> {
        let number = |name: &str, otherwise: usize| match self.param(name) {
            None => Ok(otherwise),
            Some(text) => text
                .parse()
                .map_err(|_| invalid(format!("Invalid value for field '{name}': '{text}'."))),
        };
        let start = number("pageToken", 0)?;
        let size = number("maxResults", PAGE_MAX)?.clamp(1, PAGE_MAX);
        let more = rows.len() > start + size;
        let rows = rows.into_iter().skip(start).take(size).collect();
        Ok((rows, more.then(|| (start + size).to_string())))
    }

    /// One page of a list below `path` (`zones/us-central1-a`, `global`).
    pub(super) fn listed(&self, kind: &Kind, path: &str, mut rows: Vec<Value>) -> Answer {
        let filter = self.filter()?;
        rows.retain(|row| filter.passes(row));
        let (rows, next) = self.page(rows)?;
        let mut answer = json!({
            "kind": format!("compute#{}List", kind.one),
            "id": format!("projects/fleet-sandbox/{path}/{}", kind.many),
            "selfLink": format!("{HOME}/{path}/{}", kind.many),
        });
        // Absent where there is nothing.
        if !rows.is_empty() {
            answer["items"] = json!(rows);
        }
        if let Some(next) = next {
            answer["nextPageToken"] = json!(next);
        }
        Ok(answer)
    }

    /// One page of an aggregated list, of rows with their zone.
    pub(super) fn aggregated(&self, kind: &Kind, mut rows: Vec<(String, Value)>) -> Answer {
        let filter = self.filter()?;
        rows.retain(|(_, row)| filter.passes(row));
        let (rows, next) = self.page(rows)?;
        let mut items = Map::new();
        for (_, zone) in zones() {
            let own: Vec<&Value> = rows.iter().filter(|(z, _)| *z == zone).map(|(_, r)| r).collect();
            let scope = format!("zones/{zone}");
            let inside = if own.is_empty() { nothing(&scope) } else { json!({ kind.many: own }) };
            items.insert(scope, inside);
        }
        let mut answer = json!({
            "kind": format!("compute#{}AggregatedList", kind.one),
            "id": format!("projects/fleet-sandbox/aggregated/{}", kind.many),
            "selfLink": format!("{HOME}/aggregated/{}", kind.many), "items": items,
        });
        if let Some(next) = next {
            answer["nextPageToken"] = json!(next);
        }
        Ok(answer)
    }
}

fn nothing(scope: &str) -> Value {
    json!({"warning": {"code": "NO_RESULTS_ON_PAGE",
        "message": format!("There are no results for scope '{scope}' on this page."),
        "data": [{"key": "scope", "value": scope}]}})
}
