//! Reading a task file and showing what is wrong with it.
//!
//! Invariants: a folder, a pipe, a device or a huge file is refused before a byte of it is read; every
//! problem of a file is shown at once. How a problem looks is `fleet_spec::render`'s affair.

use crate::error::{Error, Result, code};
use crate::printer::Printer;
use fleet_spec::{Overrides, Parsed};
use std::path::Path;

/// A file that was read, with what is in it.
pub(crate) struct TaskFile {
    /// As the user named it.
    pub(crate) shown: String,
    pub(crate) parsed: Parsed,
    text: String,
}

impl TaskFile {
    /// Reads and parses `path`; problems of the content are in `parsed.errors`.
    pub(crate) fn read(path: &Path, overrides: &Overrides) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let parsed = fleet_spec::parse(&bytes, overrides);
        let text = match parsed.errors.is_empty() && parsed.warnings.is_empty() {
            true => String::new(),
            false => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Ok(Self { shown: path.display().to_string(), parsed, text })
    }

    /// Shows every warning and error on stderr; an error if there was one.
    pub(crate) fn report(&self, printer: &Printer) -> Result<()> {
        let (parsed, name, colour) = (&self.parsed, self.shown.as_str(), printer.colour());
        if !parsed.warnings.is_empty() {
            let text = fleet_spec::render_warnings(&parsed.warnings, name, &self.text, colour);
            printer.talk(text.trim_end());
        }
        if parsed.errors.is_empty() {
            return Ok(());
        }
        printer.problems(fleet_spec::render(&parsed.errors, name, &self.text, colour).trim_end());
        Err(Error::Told(code::USAGE))
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let refuse = |why: String| Error::usage(format!("`{shown}` cannot be read: {why}"));
    let meta = std::fs::metadata(path).map_err(|e| refuse(plain(&e)))?;
    if meta.is_dir() {
        return Err(
            refuse("it is a folder".to_owned()).hint("name the task file in it, such as task.yaml")
        );
    }
    if !meta.is_file() {
        return Err(refuse("it is a pipe, a socket or a device".to_owned())
            .hint("write the task to an ordinary file"));
    }
    let bytes = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    if bytes > fleet_spec::MAX_BYTES {
        let problem = fleet_spec::too_large(bytes);
        return Err(refuse(problem.message).hint(problem.hint.unwrap_or_default()));
    }
    std::fs::read(path).map_err(|e| refuse(plain(&e)))
}

/// An I/O error without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
