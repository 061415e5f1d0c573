//! `fleet validate`: parse and check only. Opens no home and asks no cloud.

use crate::args::Validate;
use crate::context::Context;
use crate::error::{Error, Result, code};
use crate::printer::Paint;
use crate::task_file::TaskFile;
use fleet_spec::{Diagnostic, Overrides, Task};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Document {
    files: Vec<FileDocument>,
}

#[derive(Serialize)]
struct FileDocument {
    file: String,
    ok: bool,
    tasks: Vec<Task>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

pub(crate) fn run(context: &Context, args: &Validate) -> Result<u8> {
    let mut files = Vec::new();
    for path in &args.files {
        files.push(one(context, path)?);
    }
    let ok = files.iter().all(|f| f.ok);
    if context.printer.json {
        context.printer.json(&Document { files })?;
    }
    Ok(if ok { 0 } else { code::USAGE })
}

fn one(context: &Context, path: &Path) -> Result<FileDocument> {
    let p = &context.printer;
    let shown = path.display().to_string();
    let file = match TaskFile::read(path, &Overrides::default()) {
        Ok(file) => file,
        Err(error) => {
            if !p.json {
                p.error(&error);
            }
            return Ok(unreadable(shown, &error));
        }
    };
    let ok = file.parsed.errors.is_empty();
    if !p.json {
        // What is wrong is shown by the report; the next file is still looked at.
        if file.report(p).is_ok() {
            let count = file.parsed.tasks.len();
            let tasks = if count == 1 { "task" } else { "tasks" };
            p.data(&format!("{shown}: {} ({count} {tasks})", p.out(Paint::Green, "ok")))?;
        }
    }
    let parsed = file.parsed;
    Ok(FileDocument {
        file: shown,
        ok,
        tasks: parsed.tasks,
        errors: parsed.errors,
        warnings: parsed.warnings,
    })
}

fn unreadable(file: String, error: &Error) -> FileDocument {
    let problem = Diagnostic {
        line: 0,
        column: 0,
        path: String::new(),
        message: error.to_string(),
        hint: error.next_command(),
    };
    FileDocument { file, ok: false, tasks: Vec::new(), errors: vec![problem], warnings: Vec::new() }
}
