//! `resources.job_recovery` and `retry`: what happens to a task that failed by itself.

use super::{Field, Reader};
use crate::keys::RECOVERY;
use crate::node::Kind;
use crate::{Recovery, scalar};

/// Reads both spellings; they may not contradict each other.
pub(super) fn recovery(
    reader: &mut Reader,
    job_recovery: Option<Field<'_>>,
    retry: Option<Field<'_>>,
) -> Recovery {
    if let (Some(_), Some(retry)) = (&job_recovery, &retry) {
        let message = "`retry` and `job_recovery` say the same thing";
        reader.wrong(retry, message, "keep `retry`");
    }
    match (job_recovery, retry) {
        (Some(field), _) => from_job_recovery(reader, &field),
        (None, Some(field)) => from_retry(reader, &field),
        (None, None) => Recovery::default(),
    }
}

fn from_job_recovery(reader: &mut Reader, field: &Field<'_>) -> Recovery {
    let Some(strategy) = field.node.text() else { return map(reader, field) };
    let message = "the strategy of `job_recovery` is accepted but does nothing";
    let hint = "recovery always goes to the best place that can be had";
    reader.warn(field.at(), &field.path, message, hint);
    Recovery { strategy: Some(strategy.to_owned()), ..Recovery::default() }
}

fn from_retry(reader: &mut Reader, field: &Field<'_>) -> Recovery {
    if matches!(field.node.kind, Kind::Map(_)) {
        return map(reader, field);
    }
    let read = |text: &str| scalar::whole(text, 0, 1000);
    let count = reader.value(Some(field.clone()), "write a number, such as 3", read);
    Recovery { max_restarts_on_errors: small(count), ..Recovery::default() }
}

fn map(reader: &mut Reader, field: &Field<'_>) -> Recovery {
    let Some(section) = reader.section(field, &RECOVERY) else { return Recovery::default() };
    let strategy = section.get("strategy").and_then(|f| reader.text(&f).map(str::to_owned));
    let read = |text: &str| scalar::whole(text, 0, 1000);
    let count = reader.value(section.get("max_restarts_on_errors"), "", read);
    let mut codes = Vec::new();
    if let Some(list) = section.get("recover_on_exit_codes") {
        for code in list.one_or_more() {
            let read = |text: &str| scalar::whole(text, 0, 255);
            let code = reader.value(Some(code), "an exit code is within 0 and 255", read);
            codes.extend(code.and_then(|code| i32::try_from(code).ok()));
        }
    }
    codes.sort_unstable();
    codes.dedup();
    Recovery { strategy, max_restarts_on_errors: small(count), recover_on_exit_codes: codes }
}

fn small(count: Option<i64>) -> u32 {
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}
