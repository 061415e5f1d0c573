//! Task files: YAML text in, typed [`Task`]s and located diagnostics out.
//!
//! A superset of the SkyPilot task grammar, so that people bring the files they have. Invariant: every
//! problem of a file is reported at once, each with line, column, field path and what to write instead;
//! nothing in a file is ever silently ignored. Pure: no file, network, clock or environment is read here.

mod keys;
mod node;
mod overrides;
mod read;
mod redact;
mod render;
mod scalar;
mod schema;
mod source;
mod task;

pub use render::{render, render_warnings};
pub use schema::json_schema;
pub use source::{MAX_BYTES, too_large};
pub use task::*;

/// Reads a task file, with what the command line adds to it.
///
/// Never fails as a whole: `errors` tells whether `tasks` may be used. Values for secrets, from the file
/// and from `overrides`, end up in `secret_values`, index by index beside `tasks`. A diagnostic about a
/// flag has line 0 and the flag's name as its path.
pub fn parse(text: &[u8], overrides: &Overrides) -> Parsed {
    let mut parsed = Parsed::default();
    let text = match source::text(text) {
        Ok(text) => text,
        Err(errors) => {
            parsed.errors = errors;
            return parsed;
        }
    };
    if let Some(roots) = node::documents(text, &mut parsed.errors) {
        read::documents(roots, overrides, &mut parsed);
    }
    parsed
}

/// One problem or warning, located.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// From 1; 0 for a flag of the command line.
    pub line: usize,
    /// From 1, in characters; 0 for a flag.
    pub column: usize,
    /// `resources.any_of[1].accelerators`.
    pub path: String,
    pub message: String,
    /// What to write instead, or the next command.
    pub hint: Option<String>,
}

/// How the tasks of one file belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// One after the other, each when the one before has succeeded.
    #[default]
    Serial,
    /// All at once.
    Parallel,
}

/// A file, read.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Name of the group (a leading document that has only `name` and `execution`).
    pub group: Option<String>,
    pub execution: Execution,
    pub tasks: Vec<Task>,
    /// Values that the file itself gave for secrets, by task and name; sealed by the caller, never stored in clear.
    pub secret_values: Vec<std::collections::BTreeMap<String, String>>,
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

/// What the command line adds to a file before it is checked.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub envs: std::collections::BTreeMap<String, String>,
    pub secrets: std::collections::BTreeMap<String, String>,
    pub name: Option<String>,
    pub accelerator: Option<String>,
    pub places: Vec<String>,
    pub num_nodes: Option<u32>,
    pub use_spot: Option<bool>,
    pub work: Option<String>,
    pub max_duration: Option<String>,
    pub deadline: Option<String>,
    pub budget: Option<String>,
    pub max_price: Option<String>,
    pub fallback: Option<String>,
}
