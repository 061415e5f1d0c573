//! The routes: each hands one document to the controller and one back.
//!
//! Invariant: a route decides nothing. What a job's id or name means, what may be cancelled and what
//! reap ends are the controller's to say.

use crate::guard::{self, Refusal};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use fleet_controller::api::{
    Account, LeftRunning, MachineAccess, ReapOptions, ReapReport, ServerStatus, Submission,
};
use fleet_controller::{Controller, ErrorDoc};
use fleet_types::JobView;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Body of `POST /v1/reap`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReapRequest {
    pub account: Account,
    pub options: ReapOptions,
}

/// Body of `POST /v1/jobs/{id}/pull`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PullRequest {
    /// Path on the job's machine, relative to its working folder or absolute.
    pub path: String,
    /// Absolute folder on this machine.
    pub dest: PathBuf,
}

/// Answer of `POST /v1/jobs/{id}/pull`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PullReply {
    pub bytes: u64,
}

/// What every route needs.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) controller: Controller,
    pub(crate) stop: CancellationToken,
}

/// All routes, behind the guard.
pub(crate) fn router(door: Door) -> Router {
    Router::new()
        .route("/v1/server", get(server))
        .route("/v1/server/stop", post(stop))
        .route("/v1/left-running", get(left_running))
        .route("/v1/jobs", get(jobs).post(submit))
        .route("/v1/jobs/{id}", get(job))
        .route("/v1/jobs/{id}/cancel", post(cancel))
        .route("/v1/jobs/{id}/stream", get(stream_lines))
        .route("/v1/jobs/{id}/machine", get(machine))
        .route("/v1/jobs/{id}/pull", post(pull))
        .route("/v1/reap", post(reap))
        .fallback(nowhere)
        .layer(middleware::from_fn(guard::check))
        .with_state(door)
}

async fn nowhere(request: Request) -> Refusal {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    Refusal { status: StatusCode::NOT_FOUND, doc: ErrorDoc { message, hint: None, exit_code: 7 } }
}

async fn server(State(door): State<Door>) -> Json<ServerStatus> {
    Json(door.controller.status().await)
}

async fn left_running(State(door): State<Door>) -> Json<Vec<LeftRunning>> {
    Json(door.controller.left_running().await)
}

/// Answers with what keeps running, then lets the server leave.
async fn stop(State(door): State<Door>) -> Json<Vec<LeftRunning>> {
    let left = door.controller.left_running().await;
    door.stop.cancel();
    Json(left)
}

async fn jobs(State(door): State<Door>) -> Result<Json<Vec<JobView>>, Refusal> {
    Ok(Json(door.controller.jobs().await?))
}

async fn submit(State(door): State<Door>, body: Body) -> Result<Json<Vec<JobView>>, Refusal> {
    let submission: Submission = guard::json(body).await?;
    Ok(Json(door.controller.submit(submission).await?))
}

async fn job(State(door): State<Door>, Path(id): Path<String>) -> Result<Json<JobView>, Refusal> {
    Ok(Json(door.controller.job(&id).await?))
}

async fn cancel(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<Json<JobView>, Refusal> {
    Ok(Json(door.controller.cancel(&id).await?))
}

async fn machine(
    State(door): State<Door>,
    Path(id): Path<String>,
) -> Result<Json<MachineAccess>, Refusal> {
    Ok(Json(door.controller.machine(&id).await?))
}

async fn pull(
    State(door): State<Door>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<PullReply>, Refusal> {
    let request: PullRequest = guard::json(body).await?;
    if !request.dest.is_absolute() {
        return Err(Refusal::bad_request("the destination must be an absolute path"));
    }
    let bytes = door.controller.pull(&id, &request.path, &request.dest).await?;
    Ok(Json(PullReply { bytes }))
}

async fn reap(State(door): State<Door>, body: Body) -> Result<Json<ReapReport>, Refusal> {
    let request: ReapRequest = guard::json(body).await?;
    Ok(Json(door.controller.reap(request.account, request.options).await?))
}

#[derive(Deserialize)]
struct StreamQuery {
    #[serde(default)]
    follow: bool,
}

/// One JSON object a line. A clean end without `job.finished` means that the server was stopped.
async fn stream_lines(
    State(door): State<Door>,
    Path(id): Path<String>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Refusal> {
    let lines = door.controller.stream(&id, query.follow).await?;
    let stop = door.stop.clone();
    let body = line_stream(lines).take_until(async move { stop.cancelled().await });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(body)).into_response())
}

fn line_stream(
    lines: mpsc::Receiver<String>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(lines, |mut lines| async move {
        let mut line = lines.recv().await?;
        if !line.ends_with('\n') {
            line.push('\n');
        }
        Some((Ok(Bytes::from(line)), lines))
    })
}
