//! `fleet schema`: the JSON Schema of task files, for editors.

use crate::context::Context;
use crate::error::{Error, Result};

pub(crate) fn run(context: &Context) -> Result<u8> {
    let text = serde_json::to_string_pretty(&fleet_spec::json_schema())
        .map_err(|e| Error::internal(format!("the schema is no JSON: {e}")))?;
    context.printer.data(&text)?;
    Ok(0)
}
