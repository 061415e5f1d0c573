//! What is refused before any route sees it: foreign hosts, odd targets, bodies too big or too slow.
//!
//! A web page in the user's browser cannot reach a unix socket, but what forwards to one (a proxy, a
//! container) can: exactly one `Host`, ours, and an origin-form target with plain bytes.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fleet_controller::ErrorDoc;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest body: a submission of many tasks with every variable filled.
pub(crate) const BODY_LIMIT: usize = 32 << 20;

/// The longest that a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(20);

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) doc: ErrorDoc,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        let doc = ErrorDoc { message: message.into(), hint: None, exit_code: 2 };
        Self { status: StatusCode::BAD_REQUEST, doc }
    }
}

impl From<fleet_controller::Error> for Refusal {
    fn from(error: fleet_controller::Error) -> Self {
        let doc = ErrorDoc::from(&error);
        let status = match doc.exit_code {
            2 => StatusCode::BAD_REQUEST,
            3 | 5 => StatusCode::CONFLICT,
            4 => StatusCode::FORBIDDEN,
            7 => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, doc }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.doc)).into_response()
    }
}

/// Lets through only requests that our own client could have made.
pub(crate) async fn check(request: Request, next: Next) -> Result<Response, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let ours = |h: &axum::http::HeaderValue| h.as_bytes() == crate::HOST.as_bytes();
    if !hosts.next().is_some_and(ours) || hosts.next().is_some() {
        return Err(Refusal::bad_request("the Host header must be `fleet`, once"));
    }
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        return Err(Refusal::bad_request("the request target must be a path"));
    }
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|l| l.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_LIMIT) {
        let message = format!("the body is larger than {BODY_LIMIT} bytes");
        return Err(Refusal::bad_request(message));
    }
    let path = request.uri().path().to_ascii_lowercase();
    if ["%00", "%2e", "%2f", "%5c", "%25", ".."].iter().any(|odd| path.contains(odd)) {
        return Err(Refusal::bad_request("the path has parts that no id has"));
    }
    Ok(next.run(request).await)
}

/// Reads a JSON body within its limits of size and time.
pub(crate) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let bytes = match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(e)) => {
            return Err(Refusal::bad_request(format!("the body was not read: {e}")));
        }
        Err(_) => return Err(Refusal::bad_request("the body did not arrive in time")),
    };
    serde_json::from_slice(&bytes)
        .map_err(|e| Refusal::bad_request(format!("the body is not what this route takes: {e}")))
}
