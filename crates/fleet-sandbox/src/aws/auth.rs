//! Who calls, for which region and service: read from SigV4's credential scope.
//!
//! The signature itself is not checked (moto is the peer for that). A key that is no dummy of the
//! sandbox is refused, so that real credentials sent here by mistake do not look as if they worked.

use super::{Refusal, refuse};
use crate::config::AWS_KEY_PREFIX;
use crate::http::Call;

pub(crate) struct Scope {
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Reads `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, …`.
pub(crate) fn scope(call: &Call) -> Result<Scope, Refusal> {
    let failure = |text: &str| refuse(401, "AuthFailure", text);
    let header = call.header("authorization");
    let rest = header
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(|| failure("AWS was not able to validate the provided access credentials"))?;
    let fields: Vec<&str> = rest.split(',').map(str::trim).collect();
    let field = |name: &str| fields.iter().find_map(|f| f.strip_prefix(name));
    let parts: Vec<&str> = field("Credential=").unwrap_or("").split('/').collect();
    let [key, date, region, service, "aws4_request"] = parts.as_slice() else {
        return Err(failure("the credential scope is malformed"));
    };
    let signed = field("SignedHeaders=").is_some_and(|h| h.contains("host"))
        && field("Signature=").is_some_and(|s| s.len() == 64);
    if !signed || date.len() != 8 || region.is_empty() {
        return Err(failure("the Authorization header is malformed"));
    }
    if !key.starts_with(AWS_KEY_PREFIX) {
        return Err(failure("this is a sandbox: it takes its own dummy credentials only"));
    }
    Ok(Scope { region: (*region).to_owned(), service: (*service).to_owned() })
}
