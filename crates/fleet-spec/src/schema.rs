//! The JSON Schema that editors use, made from the tables that the reader uses.
//!
//! It accepts what the reader accepts as far as forms go. Keys that the reader refuses are refused here
//! too, with the reason in their description.

use crate::keys::{Act, Form, HEADER, Key, TASK, Table};
use serde_json::{Map, Value, json};

/// The schema of one document of a task file (draft 2020-12).
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fleet task",
        "description": "A task for `fleet launch`, or the header of a group of tasks.",
        "if": { "type": "object", "required": ["execution"] },
        "then": table(&HEADER),
        "else": table(&TASK),
    })
}

fn table(keys: &Table) -> Value {
    let properties: Map<String, Value> =
        keys.keys().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    match key.act {
        Act::Yes => described(nullable(form(&key.form)), key.about),
        Act::Ignored(why) => {
            let mut value = described(nullable(form(&key.form)), &format!("Does nothing: {why}."));
            value["deprecated"] = json!(true);
            value
        }
        Act::NotYet(instead) => json!({
            "type": "null", "description": format!("Not supported yet: {instead}.")
        }),
        Act::Never(instead) => json!({
            "type": "null", "description": format!("Not supported: {instead}.")
        }),
        Act::Renamed(new) => json!({
            "type": "null", "description": format!("Now called `{new}`.")
        }),
    }
}

/// A key without a value counts as absent.
fn nullable(value: Value) -> Value {
    json!({ "anyOf": [value, { "type": "null" }] })
}

fn described(mut value: Value, about: &str) -> Value {
    value["description"] = json!(about);
    value
}

fn pattern(text: &str) -> Value {
    json!({ "type": "string", "pattern": text })
}

fn number_or(text: &str) -> Value {
    json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, pattern(text)] })
}

fn form(form_: &Form) -> Value {
    const NUMBER: &str = r"[0-9]+(\.[0-9]+)?";
    const UNIT: &str = r"\s*([kKmMgGtTpP][iI]?[bB]?)?";
    match form_ {
        // Plain scalars keep their text, whatever type an editor sees in them.
        Form::Text => json!({ "type": ["string", "number", "boolean"] }),
        Form::Flag => json!({ "anyOf": [
            { "type": "boolean" },
            pattern("^([Tt]rue|[Ff]alse|[Yy]es|[Nn]o|[Oo]n|[Oo]ff)$"),
        ] }),
        Form::Whole { min, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            pattern("^-?[0-9]+$"),
        ] }),
        Form::Number => number_or(&format!("^{NUMBER}$")),
        Form::Bound => number_or(&format!(r"^{NUMBER}\+?$")),
        Form::Memory => number_or(&format!(r"^\s*{NUMBER}(\s*[xX]|{UNIT}\s*\+?)\s*$")),
        Form::Size => number_or(&format!(r"^\s*{NUMBER}{UNIT}\s*$")),
        Form::Span => pattern(r"^([0-9]+(\.[0-9]+)?[smhdw])+$"),
        Form::Money => number_or(&format!(r"^\s*\$?{NUMBER}\s*(USD)?\s*$")),
        Form::Share => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            pattern(&format!("^{NUMBER}%?$")),
        ] }),
        Form::Bandwidth => number_or(&format!(r"^{NUMBER}\s*([mMgG][bB][pP][sS])?$")),
        // A variable of the task may stand for any part of it.
        Form::Bucket => pattern(r"^(s3|r2|gs|az|https)://.|^file:///|\$"),
        Form::Choice(words) => choice(words),
        Form::Table(keys) => table(keys),
        Form::MapOf(value) => json!({ "type": "object", "additionalProperties": form(value) }),
        Form::ListOf(item) => json!({ "type": "array", "items": form(item) }),
        Form::OneOf(forms) => json!({ "anyOf": forms.iter().map(form).collect::<Vec<_>>() }),
        Form::Null => json!({ "type": "null" }),
        Form::Free => json!({}),
    }
}

/// Words are compared without case; editors complete the spelling of the table.
fn choice(words: &[&str]) -> Value {
    let any_case = |word: &&str| -> String {
        word.chars()
            .map(|c| match c {
                '-' | '_' => "[-_]".to_owned(),
                c => format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()),
            })
            .collect()
    };
    let all: Vec<String> = words.iter().map(any_case).collect();
    json!({ "anyOf": [{ "enum": words }, pattern(&format!("^({})$", all.join("|")))] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overrides, parse};

    /// Every key of a table, tried on the reader: what the schema has, the reader must know, and the
    /// reverse. A value that fits no form shows that the reader looks at it.
    #[test]
    fn the_reader_knows_every_key_of_the_schema() {
        let cases =
            [("", &TASK), ("resources", &crate::keys::RESOURCES), ("spot", &crate::keys::SPOT)]
                .into_iter()
                .chain([("checkpoint", &crate::keys::CHECKPOINT), ("watch", &crate::keys::WATCH)]);
        for (section, keys) in cases {
            for key in keys.keys() {
                let line = format!("{}: [[wrong]]", key.name);
                let text = if section.is_empty() {
                    format!("{line}\n")
                } else {
                    format!("run: x\n{section}:\n  {line}\n")
                };
                let parsed = parse(text.as_bytes(), &Overrides::default());
                let known = parsed.errors.iter().all(|e| !e.message.starts_with("unknown key"));
                assert!(known, "{}: {:?}", key.name, parsed.errors);
                let said = parsed.errors.iter().chain(&parsed.warnings);
                assert!(
                    said.clone().any(|d| d.path.contains(key.name)),
                    "{} is not read",
                    key.name
                );
            }
        }
    }

    #[test]
    fn the_reference_page_names_every_key() {
        let page = include_str!("../../../docs/reference/task-file.md");
        use crate::keys::{
            AUTOSTOP, CHECKPOINT, RECOVERY, REPOSITORY, RESOURCES, SECRET, SPOT, STORAGE, WATCH,
        };
        let tables = [&TASK, &HEADER, &RESOURCES, &RECOVERY, &AUTOSTOP, &SPOT, &CHECKPOINT, &WATCH];
        for key in tables.into_iter().chain([&STORAGE, &REPOSITORY]).flat_map(Table::keys) {
            assert!(page.contains(&format!("`{}`", key.name)), "{} is not in the page", key.name);
        }
        for key in SECRET.keys() {
            assert!(page.contains(key.name), "{} is not in the page", key.name);
        }
    }

    #[test]
    fn words_of_choices_are_words_of_the_reader() {
        for word in crate::keys::WORKLOADS {
            let text = format!("run: x\nworkload: {word}\n");
            let parsed = parse(text.as_bytes(), &Overrides::default());
            assert_eq!(parsed.errors, [], "{word}");
            assert!(parsed.tasks[0].workload.is_some());
        }
    }
}
