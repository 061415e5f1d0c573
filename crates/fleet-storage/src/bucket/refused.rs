//! Why a bucket did not do what was asked, told by the store's own code.
//!
//! Invariant: what a store or a proxy answered is cut and escaped before it becomes text, and no URL is in
//! it: a query may be a key.

use crate::error::Error;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;

/// Why a bucket cannot be used as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no bucket `{0}`; create it, or correct its name")]
    NoBucket(String),
    #[error("the bucket name `{0}` is taken by somebody else; choose another")]
    Taken(String),
    #[error(
        "{what} is denied in bucket `{bucket}` ({code}); give the account the right to, or name another bucket"
    )]
    Denied { bucket: String, what: String, code: String },
    #[error("the key for bucket `{bucket}` has ended or was withdrawn ({code}); sign in again")]
    Expired { bucket: String, code: String },
    #[error("bucket `{bucket}` is not in region {asked}{}; correct `?region=`, or leave it out", at(.region))]
    WrongRegion { bucket: String, asked: String, region: Option<String> },
    /// Nothing to sign with was found.
    #[error("there is no key for {store}: {how}")]
    NoKey { store: &'static str, how: String },
    #[error("bucket `{bucket}` cannot be reached: {cause}")]
    Unreachable { bucket: String, cause: String },
    #[error("{what} failed in bucket `{bucket}`: {detail}")]
    Failed { bucket: String, what: String, detail: String },
    /// A realm must not reach it, or a setting is wrong.
    #[error("{0}")]
    Setting(String),
    #[error("no machine can be given a key for bucket `{bucket}`: {why}")]
    NoGrant { bucket: String, why: String },
    /// A machine asked for something that its grant does not cover.
    #[error("this request is not signed: {0}")]
    Call(String),
    #[error("bucket `{0}` was not made by this fleet; it is left as it is")]
    NotOurs(String),
}

fn at(region: &Option<String>) -> String {
    region.as_ref().map(|r| format!(", it is in {r}")).unwrap_or_default()
}

/// What a store answered, read from a failed call.
#[derive(Debug, Default)]
struct Answer {
    code: Option<String>,
    message: Option<String>,
    region: Option<String>,
    status: Option<u16>,
}

impl Answer {
    /// Reads the XML or JSON of an error; also from a text that holds one somewhere.
    fn read(text: &str) -> Self {
        let json = |name: &str| {
            let rest = text.split_once(&format!("\"{name}\""))?.1;
            let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
            Some(rest.split('"').next()?.to_owned())
        };
        let of =
            |tag: &str, name: &str| element(text, tag).map(str::to_owned).or_else(|| json(name));
        let status =
            text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        Self {
            code: of("Code", "reason").or_else(|| json("error")),
            message: of("Message", "message"),
            region: element(text, "Region").map(str::to_owned),
            status,
        }
    }

    /// The code, or what stands in for it.
    fn code(&self) -> String {
        let status = self.status.map_or_else(|| "no code".to_owned(), |s| format!("status {s}"));
        shown(self.code.as_deref().unwrap_or(&status))
    }

    fn into_refused(self, bucket: &str, asked_region: &str, what: &str) -> Refused {
        let (bucket, code) = (bucket.to_owned(), self.code());
        match self.code.as_deref().unwrap_or_default() {
            "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" => {
                Refused::NoBucket(bucket)
            }
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "RequestExpired"
            | "invalid_grant" => Refused::Expired { bucket, code },
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException"
            | "BareRedirect" => {
                let asked = asked_region.to_owned();
                Refused::WrongRegion { bucket, asked, region: self.region.map(|r| shown(&r)) }
            }
            "BucketAlreadyExists" => Refused::Taken(bucket),
            _ if matches!(self.status, Some(401 | 403)) => {
                Refused::Denied { bucket, what: what.to_owned(), code }
            }
            "AccessDenied"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "AuthenticationFailed"
            | "AuthorizationFailure"
            | "forbidden" => Refused::Denied { bucket, what: what.to_owned(), code },
            _ => {
                let words = self.message.map(|m| format!(": {}", shown(&m))).unwrap_or_default();
                let detail = format!("{code}{words}");
                Refused::Failed { bucket, what: what.to_owned(), detail }
            }
        }
    }
}

/// What bucket-level requests of ours were answered.
pub(super) fn of_reply(
    bucket: &str,
    region: &str,
    what: &str,
    status: u16,
    body: &[u8],
) -> Refused {
    let answer = Answer { status: Some(status), ..Answer::read(&String::from_utf8_lossy(body)) };
    answer.into_refused(bucket, region, what)
}

/// What `object_store` made of a failed call.
pub(super) fn of_store(
    bucket: &str,
    region: &str,
    what: &str,
    error: &object_store::Error,
) -> Error {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    let mut text = String::new();
    while let Some(cause) = next {
        if let Some(ours) = cause.downcast_ref::<Refused>() {
            return ours.clone().into();
        }
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            let is_away = matches!(http.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout);
            if is_away && http.source().is_none_or(|s| s.downcast_ref::<Refused>().is_none()) {
                let cause = last_cause(http);
                return Refused::Unreachable { bucket: bucket.to_owned(), cause }.into();
            }
        }
        text = cause.to_string();
        next = cause.source();
    }
    let mut answer = Answer::read(&error.to_string());
    if text.contains("redirect without LOCATION") {
        answer.code = Some("BareRedirect".to_owned());
    }
    answer.status = answer.status.or(match error {
        object_store::Error::NotFound { .. } => Some(404),
        object_store::Error::PermissionDenied { .. } => Some(403),
        object_store::Error::Unauthenticated { .. } => Some(401),
        _ => None,
    });
    if answer.code.is_none() && answer.status.is_none() {
        answer.message = Some(text);
    }
    answer.into_refused(bucket, region, what).into()
}

/// Whether a failed call says that the key is not there, and not that the bucket is not.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    let code = Answer::read(&source.to_string()).code;
    !matches!(code.as_deref(), Some("NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted"))
}

/// The innermost cause, which names no URL.
pub(super) fn last_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    shown(&last.to_string())
}

/// The text of the first element `tag`.
pub(super) fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{tag}>"))?.1;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(200) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Refused {
        of_reply("b", "us-east-1", "listing", status, body.as_bytes())
    }

    #[test]
    fn each_code_has_its_meaning_and_its_way_out() {
        let xml = |code: &str| format!("<Error><Code>{code}</Code><Message>m\n</Message></Error>");
        for (status, body, words) in [
            (404, xml("NoSuchBucket"), "there is no bucket `b`; create it"),
            (404, xml("ContainerNotFound"), "there is no bucket"),
            (403, xml("AccessDenied"), "listing is denied in bucket `b` (AccessDenied)"),
            (403, String::new(), "listing is denied in bucket `b` (status 403)"),
            (400, xml("ExpiredToken"), "has ended"),
            (409, xml("BucketAlreadyExists"), "taken by somebody else"),
            (503, xml("SlowDown"), "listing failed in bucket `b`: SlowDown: m\\n"),
            (
                400,
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"
                    .to_owned(),
                "is not in region us-east-1, it is in eu-west-1",
            ),
            (403, r#"{"error": {"errors": [{"reason": "forbidden"}]}}"#.to_owned(), "(forbidden)"),
        ] {
            let text = reply(status, &body).to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_missing_bucket_is_no_missing_key() {
        let missing = |code: &str| object_store::Error::NotFound {
            path: "a".into(),
            source: format!("status code: 404: <Error><Code>{code}</Code></Error>").into(),
        };
        assert!(is_missing(&missing("NoSuchKey")) && is_missing(&missing("BlobNotFound")));
        assert!(
            !is_missing(&missing("NoSuchBucket")) && !is_missing(&missing("ContainerNotFound"))
        );
        let error = of_store("b", "r", "reading", &missing("NoSuchBucket"));
        assert!(matches!(error, Error::Bucket(Refused::NoBucket(_))), "{error}");
    }
}
