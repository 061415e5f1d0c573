//! What a reader should not have to say in a review: headers, sizes, names.

use crate::workspace::{root, rust_files};
use anyhow::{Result, bail};
use std::path::Path;

/// Lines before the tests of a file; more than this needs a second file.
const LONGEST: usize = 500;
const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Checks every rule over every Rust file.
pub(crate) fn run() -> Result<()> {
    let files = rust_files()?;
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        look(file.strip_prefix(root()).unwrap_or(file), &text, &mut wrong);
    }
    if wrong.is_empty() {
        println!("tidy: {} files", files.len());
        return Ok(());
    }
    bail!("tidy:\n{}", wrong.join("\n"))
}

/// Lines of a file before its inline tests.
pub(crate) fn product_lines(text: &str) -> usize {
    let all = text.lines().count();
    text.lines().position(|l| l.trim() == "#[cfg(test)]").unwrap_or(all)
}

fn look(path: &Path, text: &str, wrong: &mut Vec<String>) {
    let name = path.display();
    let is_test =
        path.components().any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "benches")))
            || path.file_stem().is_some_and(|s| s == "tests");
    if !text.starts_with("//!") && !text.starts_with("#!") {
        wrong.push(format!("{name}: no `//!` header"));
    }
    if !is_test && product_lines(text) > LONGEST {
        wrong.push(format!("{name}: {} lines, the limit is {LONGEST}", product_lines(text)));
    }
    for part in path.components().filter_map(|c| c.as_os_str().to_str()) {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        if BANNED_NAMES.contains(&stem) {
            wrong.push(format!("{name}: `{stem}` says nothing"));
        }
    }
    if part_of(path, "mod.rs") {
        wrong.push(format!("{name}: `NAME.rs` beside `NAME/`, no mod.rs"));
    }
    // Every cloud's crate; what they share is where waits and retries belong.
    let driver = path
        .strip_prefix("crates")
        .ok()
        .and_then(|p| p.iter().next()?.to_str()?.strip_prefix("fleet-provider-"))
        .is_some_and(|cloud| cloud != "kit");
    for (i, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let at = || format!("{name}:{}", i + 1);
        if driver && !is_test && (code.contains("sleep(") || code.contains("backon")) {
            wrong.push(format!("{}: a driver never sleeps or retries", at()));
        }
        if code.trim_start().starts_with("#[allow(") {
            wrong.push(format!("{}: `#[expect(…, reason)]` instead of allow", at()));
        }
    }
}

fn part_of(path: &Path, file: &str) -> bool {
    path.file_name().is_some_and(|f| f == file)
}
