//! What a text names: a path of this machine, a repository, a bucket, or what fleet does not fetch.
//!
//! Invariant: a URL that carries a password, a token or a signature is refused before anything else is
//! said about it, and no message shows that part. Whether what is named exists is for others to see.

use super::envs::{Envs, fill};
use super::{Field, Reader};
use crate::GitSource;
use crate::keys::REPOSITORY;
use crate::redact::{has_credentials, quote};
use fleet_types::BucketUri;
use fleet_types::bucket::BadBucket;

/// Stores of SkyPilot's that fleet does not speak to: scheme, word under `store`, name.
const OTHERS: &[(&str, &str, &str)] = &[
    ("cos", "ibm", "IBM Cloud Object Storage"),
    ("oci", "oci", "Oracle Cloud's object storage"),
    ("nebius", "nebius", "Nebius' object storage"),
    ("cw", "coreweave", "CoreWeave's object storage"),
    ("vastdata", "vastdata", "VAST Data"),
    ("hf", "hf", "Hugging Face"),
];
const SPEAKS_S3: &str = "if it speaks S3, write s3://BUCKET/PATH?endpoint=URL";
const STORES: &str = "use a bucket of S3, R2, Google Cloud Storage or Azure Blob";
/// What a bucket's name looks like.
pub(super) const BUCKET: &str = "3 to 63 lower-case letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit";
/// What a repository's URL looks like.
const URL: &str = "write https://HOST/PATH.git or git@HOST:PATH";
/// Where the pages of a repository are not the repository.
const FORGES: &[&str] = &["github.com", "gitlab.com", "bitbucket.org", "huggingface.co"];

/// What a text names.
pub(super) enum Named {
    Path(String),
    Repository(GitSource),
    Bucket(BucketUri),
}

/// Reads a text; `None` where it was refused.
pub(super) fn named(reader: &mut Reader, field: &Field<'_>, text: String) -> Option<Named> {
    if !is_remote(&text) {
        return Some(Named::Path(text));
    }
    if is_repository(&text) {
        let (url, reference) = parts(&text);
        return repository(reader, field, url, reference).map(Named::Repository);
    }
    if is_web(&text) {
        refuse_web(reader, field, &text);
        return None;
    }
    bucket(reader, field, &text).map(Named::Bucket)
}

/// A bucket, a URL or a repository, and no path on this machine.
pub(super) fn is_remote(text: &str) -> bool {
    text.contains("://") || is_scp(text)
}

/// `git@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = |part: &str| !part.is_empty() && !part.starts_with('-') && part.chars().all(word);
    good(user) && good(host) && !text.contains(char::is_whitespace)
}

fn is_repository(text: &str) -> bool {
    let (url, _) = parts(text);
    match url.split_once("://") {
        Some(("ssh" | "git", _)) => true,
        Some(("http" | "https", rest)) => rest.trim_end_matches('/').ends_with(".git"),
        Some(_) => false,
        None => is_scp(url),
    }
}

/// A URL and the reference behind its `#`.
fn parts(text: &str) -> (&str, Option<&str>) {
    text.split_once('#').map_or((text, None), |(url, reference)| (url, Some(reference)))
}

/// Refuses a URL that carries a password, a token or a signature.
pub(super) fn refuse_credentials(
    reader: &mut Reader,
    field: &Field<'_>,
    url: &str,
    hint: &str,
) -> bool {
    let carries = has_credentials(url);
    if carries {
        reader.wrong(field, format!("{} carries credentials", quote(url)), hint);
    }
    carries
}

fn repository(
    reader: &mut Reader,
    field: &Field<'_>,
    url: &str,
    reference: Option<&str>,
) -> Option<GitSource> {
    let hint = "remove them: git on this machine has its own";
    if refuse_credentials(reader, field, url, hint) {
        return None;
    }
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let web = is_web(url) && !host.starts_with('/');
    if !(is_repository(url) || web) || host.starts_with('-') || url.contains(char::is_whitespace) {
        reader.wrong(field, format!("{} is no URL of a repository", quote(url)), URL);
        return None;
    }
    if let Some(bad) = reference.filter(|text| !is_reference(text)) {
        let message = format!("{} is no branch, tag or commit", quote(bad));
        reader.wrong(field, message, "write a name such as main or v1.2, or a commit's digits");
        return None;
    }
    Some(GitSource { url: url.to_owned(), reference: reference.map(str::to_owned) })
}

/// What git takes as a name and nothing takes as a flag.
fn is_reference(text: &str) -> bool {
    let odd =
        |c: char| !c.is_ascii_graphic() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    (1..=255).contains(&text.len())
        && !text.starts_with('-')
        && !text.contains("..")
        && !text.contains(odd)
}

/// `{url: …, ref: …}`.
pub(super) fn repository_section(
    reader: &mut Reader,
    field: &Field<'_>,
    envs: &Envs,
) -> Option<GitSource> {
    let section = reader.section(field, &REPOSITORY)?;
    let Some(at) = section.get("url") else {
        reader.wrong(field, "the repository has no `url`", URL);
        return None;
    };
    let url = fill(reader.text(&at)?, envs);
    let reference = section.get("ref").and_then(|f| reader.text(&f).map(|text| fill(text, envs)));
    let (plain, behind) = parts(&url);
    if let (Some(_), Some(_)) = (behind, &reference) {
        reader.wrong(&at, "the reference is given twice", "keep `ref`");
        return None;
    }
    repository(reader, &at, plain, reference.as_deref().or(behind))
}

/// A page or file that speaks HTTP and nothing more.
fn is_web(text: &str) -> bool {
    match text.split_once("://") {
        Some(("https", rest)) => !host(rest).ends_with(".blob.core.windows.net"),
        Some(("http", _)) => true,
        _ => false,
    }
}

fn host(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn refuse_web(reader: &mut Reader, field: &Field<'_>, url: &str) {
    if refuse_credentials(reader, field, url, "remove them; fetch the file in `setup`") {
        return;
    }
    let host = url.split_once("://").map_or("", |(_, rest)| host(rest));
    let hint = if host.ends_with(".amazonaws.com") {
        "for a bucket write s3://BUCKET/PATH"
    } else if matches!(host, "storage.googleapis.com" | "storage.cloud.google.com") {
        "for a bucket write gs://BUCKET/PATH"
    } else if host.ends_with(".r2.cloudflarestorage.com") {
        "for a bucket write r2://BUCKET/PATH"
    } else if FORGES.contains(&host) {
        "for a repository write its URL with .git at its end"
    } else {
        "fetch it in `setup`, or copy it into a bucket"
    };
    let message = format!("a file of the web as a file mount is not supported: {}", quote(url));
    reader.wrong(field, message, hint);
}

/// A bucket in one of its spellings.
pub(super) fn bucket(reader: &mut Reader, field: &Field<'_>, text: &str) -> Option<BucketUri> {
    let hint = "remove them: fleet finds a cloud's credentials where its own tools keep them";
    if refuse_credentials(reader, field, text, hint) {
        return None;
    }
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if let Some((_, _, title)) = OTHERS.iter().find(|(other, _, _)| *other == scheme) {
        let message = format!("{title} is not supported: {}", quote(text));
        reader.wrong(field, message, advice(scheme));
        return None;
    }
    match BucketUri::parse(text) {
        Ok(uri) => Some(uri),
        Err(bad) => {
            let (message, hint) = told(text, &bad);
            reader.wrong(field, message, &hint);
            None
        }
    }
}

/// The name of a store of SkyPilot's that fleet does not speak to, and what to do instead.
pub(super) fn other_store(word: &str) -> Option<(&'static str, &'static str)> {
    let (scheme, _, title) = OTHERS.iter().find(|(_, other, _)| *other == word)?;
    Some((title, advice(scheme)))
}

fn advice(scheme: &str) -> &'static str {
    if scheme == "hf" { STORES } else { SPEAKS_S3 }
}

/// The first line and the hint of why a text names no bucket.
fn told(text: &str, bad: &BadBucket) -> (String, String) {
    match bad {
        BadBucket::Scheme(_) => {
            let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
            let near = match scheme.to_ascii_lowercase().as_str() {
                "s3" | "s3a" | "s3n" | "aws" | "minio" => Some("s3"),
                "r2" | "cloudflare" => Some("r2"),
                "gs" | "gcs" | "gcp" | "google" => Some("gs"),
                "az" | "azure" | "abfs" | "abfss" | "wasb" | "wasbs" | "blob" => Some("az"),
                _ => None,
            };
            let all = "write s3://, r2://, gs://, az://, file:/// or the URL of an Azure container";
            let hint = near.map_or(all.to_owned(), |near| format!("did you mean `{near}://`?"));
            (format!("{} names no bucket", quote(text)), hint)
        }
        BadBucket::Name(name) => {
            (format!("{} is no name of a bucket", quote(name)), BUCKET.to_owned())
        }
        BadBucket::Path(path) => {
            let message = format!("the path {} has an empty or dotted part", quote(path));
            (message, "write the path itself".to_owned())
        }
        BadBucket::Credentials => {
            (format!("{} carries credentials", quote(text)), "remove them".to_owned())
        }
        BadBucket::Option(name) => {
            let message = format!("{} is no option of a bucket's URL", quote(name));
            (message, "there are `endpoint` and `region`".to_owned())
        }
        BadBucket::Endpoint(url) => {
            let message = format!("the endpoint {} is no http or https URL", quote(url));
            (message, "write endpoint=https://HOST".to_owned())
        }
    }
}
