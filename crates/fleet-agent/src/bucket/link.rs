//! From a call to an answer: the address, the signature, the tries.
//!
//! A call names an object and says nothing of keys; here it meets the key of the moment, so a renewed key
//! serves the next try of what is under way. Invariant: a call is tried a bounded number of times, and
//! what is told of a failure holds no part of a key.

use super::asked::Stock;
use super::clock;
use super::escape::{escape, escape_path, http_date, query, value_of};
use super::fault::{Said, StoreError};
use super::sign::{Header, Plain, Signer, UNSIGNED};
use super::wire::{Answer, Body, Broken, Request, Wire};
use fleet_agent_api::{StoreAccess, StoreCall, StoreKey, StorePlace};
use fleet_types::{StoreKind, Timestamp};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// After the first try.
pub(super) const RETRIES: u32 = 5;
/// A store that wants to be left alone for longer is the caller's business.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const AZURE_VERSION: &str = "2021-12-02";
/// What is read of an answer that tells of a failure.
const LONGEST_COMPLAINT: usize = 64 << 10;

/// What a call is about.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    /// An object, by its key below the place's prefix.
    Key(&'a str),
    /// The bucket itself.
    Bucket,
    /// An object as the JSON interface of Google Cloud Storage names it.
    Object(&'a str),
    /// The same for an object that is to be: where it is sent.
    Upload(&'a str),
    /// All objects, by the same interface.
    Objects,
    /// An address that the store gave out for an object; it needs no key.
    Given { url: &'a str, key: &'a str },
}

/// One request, before it has an address and a signature.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) at: At<'a>,
    /// Neither name nor value escaped.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<Header>,
    pub(super) body: Body<'a>,
    /// SHA-256 of the body in hex, where somebody hashed it.
    pub(super) digest: Option<String>,
    /// Bytes that the answer may have.
    pub(super) expected: u64,
    /// The store may think about it for minutes.
    pub(super) thinks: bool,
    /// Statuses that are an answer, beside those of 200 to 299.
    pub(super) fine: &'static [u16],
    /// Calls that will follow, worth a signature in the same question.
    pub(super) ahead: Vec<StoreCall>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'static str, at: At<'a>) -> Self {
        Self {
            method,
            at,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::None,
            digest: None,
            expected: 1 << 20,
            thinks: false,
            fine: &[],
            ahead: Vec::new(),
        }
    }
    pub(super) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        self.query.extend(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        self
    }
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
    pub(super) fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }
}

/// A failed try.
pub(super) struct Trouble {
    pub(super) error: StoreError,
    /// The store's own word for it.
    pub(super) code: String,
    /// How long the store wants to be left alone.
    pub(super) wait: Option<Duration>,
    /// Another try now would be the same.
    pub(super) last: bool,
    /// It came before anything was sent: something else may be begun instead.
    pub(super) at_start: bool,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self { error, code: String::new(), wait: None, last: false, at_start: false }
    }
}

/// A result before it is told to the caller.
pub(super) type Tried<T> = Result<T, Trouble>;

/// The key of the moment.
struct Held {
    key: StoreKey,
    /// On the clock since boot.
    until: Option<Duration>,
}

impl Held {
    fn new(access: StoreAccess) -> Arc<Self> {
        let until = access.expires_in_ms.map(|ms| clock::since_boot() + Duration::from_millis(ms));
        Arc::new(Self { key: access.key, until })
    }
    fn is_over(&self) -> bool {
        let by_itself = match &self.key {
            StoreKey::Sas { query } => value_of(query, "se")
                .and_then(|t| Timestamp::parse(&t))
                .is_some_and(|t| t <= clock::now()),
            StoreKey::Aws { .. } | StoreKey::Bearer { .. } | StoreKey::Asked | StoreKey::Folder => {
                false
            }
        };
        by_itself || self.until.is_some_and(|until| until <= clock::since_boot())
    }
    /// What must not be told.
    fn secrets(&self) -> Vec<String> {
        match &self.key {
            StoreKey::Aws { access_key_id, secret_access_key, session_token } => {
                let token = session_token.iter().cloned();
                [access_key_id.clone(), secret_access_key.clone()]
                    .into_iter()
                    .chain(token)
                    .collect()
            }
            StoreKey::Bearer { token } => vec![token.clone()],
            StoreKey::Sas { query } => {
                [Some(query.clone()), value_of(query, "sig")].into_iter().flatten().collect()
            }
            StoreKey::Asked | StoreKey::Folder => Vec::new(),
        }
    }
}

/// A store on the network with the key for it.
pub(super) struct Link {
    pub(super) place: StorePlace,
    held: RwLock<Arc<Held>>,
    pub(super) stock: Stock,
    wire: Wire,
    /// The store's clock less ours, in milliseconds, where it complained of ours.
    skew_ms: AtomicI64,
    /// The server takes sums of what is sent, as far as is known.
    pub(super) knows_sums: AtomicBool,
}

impl Link {
    pub(super) fn new(access: StoreAccess, stock: Stock) -> Self {
        Self {
            place: access.place.clone(),
            held: RwLock::new(Held::new(access)),
            stock,
            wire: Wire::new(),
            skew_ms: AtomicI64::new(0),
            knows_sums: AtomicBool::new(true),
        }
    }

    pub(super) fn renew(&self, access: StoreAccess) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held::new(access);
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every call has to be signed by somebody else.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.held().key, StoreKey::Asked)
    }

    /// Whether the signature of a call covers its body's digest.
    pub(super) fn signs(&self) -> bool {
        matches!(self.held().key, StoreKey::Aws { .. })
    }

    /// Makes a call until there is an answer, a reason that will not pass, or no try left.
    pub(super) fn ask(&self, call: &Call<'_>) -> Tried<Answer> {
        self.again(|number| self.send(call, number))
    }

    /// Makes several tries at something; each is told its number.
    pub(super) fn again<T>(&self, mut attempt: impl FnMut(u32) -> Tried<T>) -> Tried<T> {
        let (mut number, mut with_new_key) = (0, false);
        loop {
            let before = self.held();
            let trouble = match attempt(number) {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            // A key that was renewed meanwhile, a fresh signature or a corrected clock deserve one more.
            if !with_new_key && self.may_be_heard(&before, &trouble) {
                with_new_key = true;
                continue;
            }
            let passing = matches!(trouble.error, StoreError::Passing(_)) && !trouble.last;
            if !passing || number == RETRIES {
                return Err(trouble);
            }
            std::thread::sleep(pause(number, trouble.wait));
            number += 1;
        }
    }

    fn may_be_heard(&self, before: &Arc<Held>, trouble: &Trouble) -> bool {
        match trouble.error {
            StoreError::Denied(_) | StoreError::Expired(_) if !trouble.last => {
                let asked = matches!(before.key, StoreKey::Asked);
                asked || trouble.code == CLOCK || !Arc::ptr_eq(before, &self.held())
            }
            _ => false,
        }
    }

    /// One try.
    pub(super) fn send(&self, call: &Call<'_>, number: u32) -> Tried<Answer> {
        let held = self.held();
        let (url, headers) = self.authorised(call, &held)?;
        let request = Request {
            method: call.method,
            url: &url,
            headers: &headers,
            body: call.body,
            expected: call.expected,
            thinks: call.thinks,
            again: number > 0,
        };
        match self.wire.send(&request) {
            Ok(answer)
                if (200..300).contains(&answer.status) || call.fine.contains(&answer.status) =>
            {
                Ok(answer)
            }
            Ok(answer) => Err(self.complaint(call, &held, answer)),
            Err(Broken::Local(error)) => {
                Err(StoreError::Changed(format!("{}: {error}", self.name(call.at))).into())
            }
            Err(Broken::Passing(why)) => {
                Err(StoreError::Passing(self.told(call.at, &why, &held)).into())
            }
            Err(Broken::Odd(why)) => Err(StoreError::Odd(self.told(call.at, &why, &held)).into()),
        }
    }

    /// Reads an answer that is none.
    fn complaint(&self, call: &Call<'_>, held: &Held, mut answer: Answer) -> Trouble {
        let body = answer.bytes(LONGEST_COMPLAINT).ok().flatten().unwrap_or_default();
        let mut said = Said::read(answer.status, &String::from_utf8_lossy(&body));
        said.region =
            said.region.or_else(|| answer.header("x-amz-bucket-region").map(str::to_owned));
        if said.code.is_empty() {
            said.code = answer.header("x-ms-error-code").unwrap_or_default().to_owned();
        }
        said.is_over |= held.is_over();
        if said.code == CLOCK
            && let Some(theirs) = answer.header("date").and_then(http_date)
        {
            self.skew_ms.store(theirs.millis() - clock::now().millis(), Ordering::Relaxed);
        }
        if matches!(answer.status, 401 | 403) && matches!(held.key, StoreKey::Asked) {
            self.stock.forget(&self.store_call(call));
        }
        let wait = answer.header("retry-after").and_then(|text| text.parse().ok());
        let text = self.told(call.at, &said.to_string(), held);
        Trouble {
            code: said.code.clone(),
            wait: wait.map(Duration::from_secs),
            ..said.error(text).into()
        }
    }

    /// A failure that is read from a good answer's body.
    pub(super) fn said(&self, at: At<'_>, said: Said) -> Trouble {
        let text = self.told(at, &said.to_string(), &self.held());
        Trouble { code: said.code.clone(), ..said.error(text).into() }
    }

    /// An answer that makes no sense.
    pub(super) fn odd(&self, at: At<'_>, why: &str) -> Trouble {
        StoreError::Odd(self.told(at, why, &self.held())).into()
    }

    /// A failure of the moment.
    pub(super) fn passing(&self, at: At<'_>, why: &str) -> Trouble {
        StoreError::Passing(self.told(at, why, &self.held())).into()
    }

    fn told(&self, at: At<'_>, why: &str, held: &Held) -> String {
        let mut why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in held.secrets().iter().filter(|s| !s.is_empty()) {
            why = why.replace(secret.as_str(), "***");
        }
        let why: String = why.trim().chars().take(300).collect();
        format!("{}: {why}", self.name(at))
    }

    /// An object as a person knows it: `s3://bucket/prefix/key`.
    pub(super) fn name(&self, at: At<'_>) -> String {
        let scheme = match self.place.kind {
            StoreKind::S3 => "s3",
            StoreKind::R2 => "r2",
            StoreKind::Gcs => "gs",
            StoreKind::Azure => "az",
            StoreKind::File => "file",
        };
        let key = match at {
            At::Key(key) | At::Object(key) | At::Upload(key) | At::Given { key, .. } => {
                format!("/{}", self.whole(key))
            }
            At::Bucket | At::Objects => String::new(),
        };
        format!("`{scheme}://{}{}`", self.place.bucket, key.escape_debug())
    }

    /// A key with the place's prefix.
    pub(super) fn whole(&self, key: &str) -> String {
        match self.place.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }

    /// A whole key without the place's prefix; `None` for what lies outside or is the folder itself.
    pub(super) fn below<'k>(&self, whole: &'k str) -> Option<&'k str> {
        let key = match self.place.prefix.as_str() {
            "" => whole,
            prefix => whole.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        (!key.is_empty()).then_some(key)
    }

    /// The address and all headers of a call.
    fn authorised(&self, call: &Call<'_>, held: &Held) -> Tried<(String, Vec<Header>)> {
        let mut headers = call.headers.clone();
        if self.place.kind == StoreKind::Azure {
            headers.push(("x-ms-version", AZURE_VERSION.into()));
        }
        if let At::Given { url, .. } = call.at {
            return Ok((url.to_owned(), headers));
        }
        let address = Address::of(&self.place, call.at, |key| self.whole(key));
        let query = query(&call.query);
        match &held.key {
            StoreKey::Aws { access_key_id, secret_access_key, session_token } => {
                let signer = Signer {
                    access_key_id,
                    secret_access_key,
                    session_token: session_token.as_deref(),
                    region: &self.place.region,
                };
                let payload = match (&call.digest, call.body) {
                    (Some(digest), _) => digest.as_str(),
                    (None, Body::None) => EMPTY,
                    (None, Body::Bytes(_) | Body::Stretch { .. }) => UNSIGNED,
                };
                let plain = Plain {
                    method: call.method,
                    host: &address.host,
                    path: &address.path,
                    query: &query,
                    headers: &headers,
                    payload,
                };
                let signed = signer.headers(&plain, self.now());
                headers.extend(signed);
                Ok((address.url(&query), headers))
            }
            StoreKey::Bearer { token } => {
                headers.push(("authorization", format!("Bearer {token}")));
                Ok((address.url(&query), headers))
            }
            StoreKey::Sas { query: key } => Ok((address.url(&joined(&query, key)), headers)),
            StoreKey::Asked => {
                let wanted = self.store_call(call);
                let url = self.stock.url(&wanted, &call.ahead).map_err(|why| Trouble {
                    last: true,
                    code: NOT_SIGNED.into(),
                    ..self.passing(call.at, &why)
                })?;
                // The signature of a container or blob in Azure leaves the query to us.
                let rest = if wanted.query.is_empty() { query.as_str() } else { "" };
                let mark = if url.contains('?') { '&' } else { '?' };
                let url = if rest.is_empty() { url } else { format!("{url}{mark}{rest}") };
                Ok((url, headers))
            }
            StoreKey::Folder => Err(self.odd(call.at, "the key is one for a folder")),
        }
    }

    /// A call as somebody else signs it. Azure signs an object, whatever is done with it in parts.
    pub(super) fn store_call(&self, call: &Call<'_>) -> StoreCall {
        let key = match call.at {
            At::Key(key) | At::Object(key) | At::Upload(key) => key.to_owned(),
            At::Bucket | At::Objects | At::Given { .. } => String::new(),
        };
        let in_parts = self.place.kind == StoreKind::Azure && !key.is_empty();
        let query = if in_parts { Vec::new() } else { call.query.clone() };
        StoreCall { method: call.method.to_owned(), key, query }
    }

    fn now(&self) -> Timestamp {
        let skew = self.skew_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(clock::now().millis().saturating_add(skew))
    }
}

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// S3's word for a clock that is off.
const CLOCK: &str = "RequestTimeTooSkewed";
/// Ours, for a controller that does not sign.
pub(super) const NOT_SIGNED: &str = "NotSigned";

fn joined(query: &str, key: &str) -> String {
    if query.is_empty() { key.to_owned() } else { format!("{query}&{key}") }
}

/// Half of it is chance, so that lanes which failed together do not come back together.
pub(super) fn pause(number: u32, wanted: Option<Duration>) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1000;
    let span = Duration::from_millis(300 * 2_u64.pow(number.min(6)));
    let own = span / 2 + span.mul_f64(chance as f64 / 2000.0);
    wanted.map_or(own, |wanted| wanted.max(own)).min(LONGEST_PAUSE)
}

/// Where a call goes.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    scheme: String,
    /// With its port, as the `Host` header has it.
    host: String,
    /// Escaped.
    path: String,
}

impl Address {
    fn of(place: &StorePlace, at: At<'_>, whole: impl Fn(&str) -> String) -> Self {
        let (scheme, rest) = place.endpoint.split_once("://").unwrap_or(("https", &place.endpoint));
        let (host, base) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest, ""));
        let host = host.trim_end_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        let in_host = matches!(place.kind, StoreKind::S3 | StoreKind::R2) && !place.path_style;
        let (host, bucket) = match at {
            At::Object(_) | At::Upload(_) | At::Objects | At::Given { .. } => {
                (host.to_owned(), String::new())
            }
            At::Key(_) | At::Bucket if in_host => {
                (format!("{}.{host}", place.bucket), String::new())
            }
            At::Key(_) | At::Bucket => (host.to_owned(), format!("/{}", escape(&place.bucket))),
        };
        let path = match at {
            At::Key(key) => format!("/{}", escape_path(&whole(key))),
            At::Object(key) => {
                format!("/storage/v1/b/{}/o/{}", escape(&place.bucket), escape(&whole(key)))
            }
            At::Objects => format!("/storage/v1/b/{}/o", escape(&place.bucket)),
            At::Upload(_) => format!("/upload/storage/v1/b/{}/o", escape(&place.bucket)),
            At::Bucket if in_host => "/".to_owned(),
            At::Bucket | At::Given { .. } => String::new(),
        };
        Self { scheme: scheme.to_owned(), host, path: format!("{base}{bucket}{path}") }
    }

    fn url(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}://{}{}{mark}{query}", self.scheme, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kind: StoreKind, endpoint: &str, path_style: bool) -> StorePlace {
        StorePlace {
            kind,
            endpoint: endpoint.into(),
            path_style,
            region: "us-east-1".into(),
            bucket: "bucket".into(),
            prefix: "runs/j-1".into(),
        }
    }

    #[test]
    fn addresses_follow_the_style_of_the_place() {
        let s3 = "https://s3.us-east-1.amazonaws.com";
        let key = At::Key("000001/a b+c");
        for (place, at, wanted) in [
            (
                place(StoreKind::S3, s3, false),
                key,
                "https://bucket.s3.us-east-1.amazonaws.com/runs/j-1/000001/a%20b%2Bc?x=1",
            ),
            (
                place(StoreKind::S3, s3, true),
                key,
                "https://s3.us-east-1.amazonaws.com/bucket/runs/j-1/000001/a%20b%2Bc?x=1",
            ),
            (
                place(StoreKind::S3, s3, false),
                At::Bucket,
                "https://bucket.s3.us-east-1.amazonaws.com/?x=1",
            ),
            (
                place(StoreKind::S3, "http://[::1]:9000/s3/", true),
                At::Bucket,
                "http://[::1]:9000/s3/bucket?x=1",
            ),
            (
                place(StoreKind::Azure, "http://127.0.0.1:1/account", false),
                At::Bucket,
                "http://127.0.0.1:1/account/bucket?x=1",
            ),
            (
                place(StoreKind::Gcs, "https://storage.googleapis.com", false),
                At::Upload("k"),
                "https://storage.googleapis.com/upload/storage/v1/b/bucket/o?x=1",
            ),
        ] {
            let address = Address::of(&place, at, |key| format!("runs/j-1/{key}"));
            assert_eq!(address.url("x=1"), wanted);
        }
    }

    #[test]
    fn nothing_of_a_key_is_told() {
        let access = |key| StoreAccess {
            place: place(StoreKind::S3, "http://127.0.0.1:1", true),
            key,
            expires_in_ms: None,
        };
        let keys = [
            StoreKey::Aws {
                access_key_id: "canary-id".into(),
                secret_access_key: "canary-secret".into(),
                session_token: Some("canary-token".into()),
            },
            StoreKey::Bearer { token: "canary-bearer".into() },
            StoreKey::Sas { query: "sv=1&sig=canary%2Bsig".into() },
        ];
        for key in keys {
            let link = Link::new(access(key), Stock::new(None));
            let why = "canary-id canary-secret\ncanary-token canary-bearer sv=1&sig=canary%2Bsig canary+sig";
            for word in link.held().secrets() {
                let told = link.odd(At::Key("k"), why).error.to_string();
                assert!(!told.contains(&word), "{told}");
                assert!(told.starts_with("`s3://bucket/runs/j-1/k`: "), "{told}");
            }
        }
    }

    #[test]
    fn pauses_grow_and_heed_the_store() {
        assert!(pause(0, None) < Duration::from_millis(301));
        assert!(pause(4, None) >= Duration::from_millis(2400));
        assert!(pause(0, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
        assert_eq!(pause(0, Some(Duration::from_secs(3600))), LONGEST_PAUSE);
    }
}
