//! What can go wrong with a store, in words for a person and in kinds for the caller.
//!
//! Every refusal of every store is read here, by the code that it carries and by its status where it carries
//! none; never by its prose. Invariant: what is told names the object and the cause.

use super::xml;
use serde::Deserialize;
use std::fmt;

/// Why a request to the job's store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("an object with this key is there already")]
    Exists,
    #[error("there is no object with this key")]
    Missing,
    #[error(
        "there is no such bucket, container or folder; make it, or correct its name in the task file"
    )]
    NoBucket,
    /// The key may not do this, or is none.
    #[error("{0}; see that fleet's credential for the store may read, write and list there")]
    Denied(String),
    /// The key's life is over.
    #[error("{0}; the key has ended, and is renewed while the controller is awake")]
    Expired(String),
    #[error("the bucket is in {}; say so in its URL: `?region=`", region(.is))]
    WrongRegion { is: Option<String> },
    /// No room, or a quota.
    #[error("{0}; make room in the store")]
    Full(String),
    /// The network or the store, for the moment: worth another try.
    #[error("{0}; this may pass, and is tried again")]
    Passing(String),
    /// The local file is not what it was.
    #[error("the file changed while it was sent: {0}")]
    Changed(String),
    #[error("{0}")]
    Odd(String),
}

fn region(is: &Option<String>) -> String {
    is.as_ref().map_or_else(|| "another region".to_owned(), |name| format!("region `{name}`"))
}

impl StoreError {
    /// Whether the same may succeed later, by itself.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Passing(_) | Self::Changed(_) => true,
            Self::Exists
            | Self::Missing
            | Self::NoBucket
            | Self::Denied(_)
            | Self::Expired(_)
            | Self::WrongRegion { .. }
            | Self::Full(_)
            | Self::Odd(_) => false,
        }
    }
}

/// What a refusal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exists,
    Missing,
    NoBucket,
    Denied,
    Expired,
    Region,
    Full,
    Passing,
    Odd,
}

/// The codes of the stores. S3 and its like: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// Azure: <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>, Google Cloud
/// Storage: <https://cloud.google.com/storage/docs/json_api/v1/status-codes>. A status says the rest.
const CODES: &[(&str, Kind)] = &[
    ("NoSuchKey", Kind::Missing),
    ("BlobNotFound", Kind::Missing),
    ("NoSuchBucket", Kind::NoBucket),
    ("ContainerNotFound", Kind::NoBucket),
    ("ContainerBeingDeleted", Kind::NoBucket),
    // What was begun has been cleared away; it has to be begun anew.
    ("NoSuchUpload", Kind::Passing),
    ("InvalidBlockList", Kind::Passing),
    ("InvalidBlobOrBlock", Kind::Passing),
    ("PreconditionFailed", Kind::Exists),
    ("BlobAlreadyExists", Kind::Exists),
    ("ConditionNotMet", Kind::Exists),
    ("TargetConditionNotMet", Kind::Exists),
    ("conditionNotMet", Kind::Exists),
    // Another conditional put is under way: who wins is not known yet.
    ("ConditionalRequestConflict", Kind::Passing),
    ("OperationAborted", Kind::Passing),
    ("ExpiredToken", Kind::Expired),
    ("TokenRefreshRequired", Kind::Expired),
    ("RequestExpired", Kind::Expired),
    ("authError", Kind::Expired),
    ("InvalidToken", Kind::Denied),
    ("InvalidSecurity", Kind::Denied),
    ("LeaseIdMissing", Kind::Denied),
    ("PermanentRedirect", Kind::Region),
    ("TemporaryRedirect", Kind::Region),
    ("Redirect", Kind::Region),
    ("AuthorizationHeaderMalformed", Kind::Region),
    ("IllegalLocationConstraintException", Kind::Region),
    ("IncorrectEndpoint", Kind::Region),
    ("QuotaExceeded", Kind::Full),
    ("quotaExceeded", Kind::Full),
    ("InsufficientStorage", Kind::Full),
    ("XMinioStorageFull", Kind::Full),
    ("XMinioAdminBucketQuotaExceeded", Kind::Full),
    ("SlowDown", Kind::Passing),
    ("RequestTimeout", Kind::Passing),
    ("InternalError", Kind::Passing),
    ("ServiceUnavailable", Kind::Passing),
    ("ServerBusy", Kind::Passing),
    ("OperationTimedOut", Kind::Passing),
    ("TooManyRequests", Kind::Passing),
    ("rateLimitExceeded", Kind::Passing),
    ("userRateLimitExceeded", Kind::Passing),
    ("backendError", Kind::Passing),
    // With a status that says otherwise.
    ("FeatureNotSupported", Kind::Odd),
    // What arrived is not what was sent.
    ("BadDigest", Kind::Passing),
    ("XAmzContentSHA256Mismatch", Kind::Passing),
    ("Md5Mismatch", Kind::Passing),
    ("Crc64Mismatch", Kind::Passing),
    ("IncompleteBody", Kind::Passing),
];

/// What a store says when it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// Where the bucket is.
    pub(super) region: Option<String>,
    /// The key or the signed address has ended.
    pub(super) is_over: bool,
}

impl Said {
    /// Reads the document of a refusal: XML of S3 and Azure, JSON of Google Cloud Storage, or none.
    pub(super) fn read(status: u16, body: &str) -> Self {
        let mut said = Self { status, ..Self::default() };
        if body.trim_start().starts_with('{') {
            said.read_json(body);
            return said;
        }
        // A document that breaks off has still said what came before.
        let _ = xml::leaves(body, &mut |path, text| match path {
            "Error/Code" => said.code = text.to_owned(),
            "Error/Message" => said.message = text.to_owned(),
            "Error/Region" => said.region = Some(text.to_owned()),
            // S3 tells both times of a signed address that has ended, and a code that says no more than
            // that it was refused.
            "Error/Expires" => said.is_over = true,
            _ => {}
        });
        said
    }

    fn read_json(&mut self, body: &str) {
        #[derive(Deserialize)]
        struct Document {
            error: Problem,
        }
        #[derive(Deserialize)]
        struct Problem {
            #[serde(default)]
            message: String,
            #[serde(default)]
            errors: Vec<Reason>,
        }
        #[derive(Deserialize)]
        struct Reason {
            #[serde(default)]
            reason: String,
        }
        if let Ok(Document { error }) = serde_json::from_str(body) {
            self.message = error.message;
            self.code = error.errors.into_iter().next().map(|r| r.reason).unwrap_or_default();
        }
    }

    fn kind(&self) -> Kind {
        let known = CODES.iter().find(|(code, _)| *code == self.code).map(|(_, kind)| *kind);
        let kind = known.unwrap_or(match self.status {
            301 | 302 | 307 | 308 => Kind::Region,
            401 | 403 => Kind::Denied,
            404 | 410 => Kind::Missing,
            412 => Kind::Exists,
            408 | 409 | 425 | 429 | 500 | 502..=504 => Kind::Passing,
            507 => Kind::Full,
            _ => Kind::Odd,
        });
        match kind {
            Kind::Denied if self.is_over => Kind::Expired,
            Kind::Region
                if self.code == "AuthorizationHeaderMalformed" && self.region.is_none() =>
            {
                Kind::Denied
            }
            kind => kind,
        }
    }

    /// The error for it; `text` tells the object and the cause.
    pub(super) fn error(&self, text: String) -> StoreError {
        match self.kind() {
            Kind::Exists => StoreError::Exists,
            Kind::Missing => StoreError::Missing,
            Kind::NoBucket => StoreError::NoBucket,
            Kind::Denied => StoreError::Denied(text),
            Kind::Expired => StoreError::Expired(text),
            Kind::Region => StoreError::WrongRegion { is: self.region.clone() },
            Kind::Full => StoreError::Full(text),
            Kind::Passing => StoreError::Passing(text),
            Kind::Odd => StoreError::Odd(text),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answers {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        // Azure appends an id and the time to its sentence, on lines of their own.
        match self.message.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => write!(f, ": {}", line.trim_end_matches('.')),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> StoreError {
        let said = Said::read(status, body);
        said.error(said.to_string())
    }

    /// Bodies as the stores send them.
    #[test]
    fn refusals_are_told_apart() {
        let s3 = |code: &str, more: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>M &amp; m</Message>{more}<RequestId>1</RequestId></Error>"
            )
        };
        let gcs = |status: u16, reason: &str| {
            format!(
                r#"{{"error":{{"code":{status},"message":"M & m","errors":[{{"message":"x","domain":"global","reason":"{reason}"}}]}}}}"#
            )
        };
        let text = |status: u16, code: &str| format!("the store answers {status} {code}: M & m");
        let region = |is: Option<&str>| StoreError::WrongRegion { is: is.map(str::to_owned) };
        for (status, body, wanted) in [
            (404, s3("NoSuchKey", ""), StoreError::Missing),
            (404, s3("NoSuchBucket", ""), StoreError::NoBucket),
            (404, s3("NoSuchUpload", ""), StoreError::Passing(text(404, "NoSuchUpload"))),
            (412, s3("PreconditionFailed", ""), StoreError::Exists),
            (409, s3("BlobAlreadyExists", ""), StoreError::Exists),
            (
                409,
                s3("ConditionalRequestConflict", ""),
                StoreError::Passing(text(409, "ConditionalRequestConflict")),
            ),
            (403, s3("AccessDenied", ""), StoreError::Denied(text(403, "AccessDenied"))),
            (
                403,
                s3("AccessDenied", "<Expires>2030</Expires>"),
                StoreError::Expired(text(403, "AccessDenied")),
            ),
            (400, s3("ExpiredToken", ""), StoreError::Expired(text(400, "ExpiredToken"))),
            (301, s3("PermanentRedirect", ""), region(None)),
            (
                400,
                s3("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
                region(Some("eu-west-1")),
            ),
            (
                400,
                s3("AuthorizationHeaderMalformed", ""),
                StoreError::Denied(text(400, "AuthorizationHeaderMalformed")),
            ),
            (503, s3("SlowDown", ""), StoreError::Passing(text(503, "SlowDown"))),
            (400, s3("RequestTimeout", ""), StoreError::Passing(text(400, "RequestTimeout"))),
            (507, s3("XMinioStorageFull", ""), StoreError::Full(text(507, "XMinioStorageFull"))),
            (501, s3("NotImplemented", ""), StoreError::Odd(text(501, "NotImplemented"))),
            (200, s3("InternalError", ""), StoreError::Passing(text(200, "InternalError"))),
            (403, gcs(403, "forbidden"), StoreError::Denied(text(403, "forbidden"))),
            (401, gcs(401, "authError"), StoreError::Expired(text(401, "authError"))),
            (403, gcs(403, "quotaExceeded"), StoreError::Full(text(403, "quotaExceeded"))),
            (412, gcs(412, "conditionNotMet"), StoreError::Exists),
            (429, String::new(), StoreError::Passing("the store answers 429".into())),
            (403, "<html><p>no".into(), StoreError::Denied("the store answers 403".into())),
        ] {
            assert_eq!(read(status, &body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let is = Some("eu-west-1".to_owned());
        for (error, words) in [
            (StoreError::WrongRegion { is }, "region `eu-west-1`; say so in its URL"),
            (StoreError::NoBucket, "make it, or correct its name"),
            (StoreError::Denied("x".into()), "may read, write and list"),
            (StoreError::Full("x".into()), "make room"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.is_passing());
        }
        assert!(StoreError::Passing("x".into()).is_passing());
    }
}
