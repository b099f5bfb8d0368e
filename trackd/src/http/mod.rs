//! The daemon's HTTP side: a status page, signs of life, metrics.
//!
//! | path | what |
//! |---|---|
//! | `/` | jobs that wait or run, the latest results and failures; buttons to cancel and to try again |
//! | `/job/ID` | one job: its pictures, its reason, or its first frame to draw the box on |
//! | `/healthz`, `/readyz` | 200 while the daemon works, and while it can start jobs; without a token |
//! | `/metrics` | Prometheus text |
//!
//! Handlers only read the journal and leave requests in it, as `trackd list` and `trackd cancel` do: no request reaches
//! the supervisor, and no path of a request reaches the file system. A job is looked up in the journal, a file in a
//! fixed list.

mod files;
mod guard;
mod metrics;
mod page;

use crate::daemon::live::Live;
use crate::frames::Limits;
use crate::frames::video::Decoders;
use crate::job::State as JobState;
use crate::journal::{Entry, Journal, JournalError};
use axum::Router;
use axum::extract::{Form, Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;

/// Name of the environment variable with the token.
pub const TOKEN: &str = "TRACKD_TOKEN";

/// Why there is no HTTP side.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address can be reached from elsewhere.
    #[error(
        "--http {0} can be reached from other machines: set a token of 16 characters or more in {TOKEN}, or use 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The token is too easy to guess.
    #[error("the token in {TOKEN} is shorter than 16 characters")]
    Short,
    /// The address cannot be used.
    #[error("--http {address}: {source}; is it in use?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What the pages are about.
#[derive(Debug)]
pub struct App {
    /// Counters and progress.
    pub live: Arc<Live>,
    /// Folder of the journal.
    pub state: PathBuf,
    /// The drop folder.
    pub inbox: PathBuf,
    /// Where results are.
    pub outbox: PathBuf,
    /// What decodes videos.
    pub decoders: Decoders,
    /// What a video may cost.
    pub limits: Limits,
    /// Engine and device.
    pub engine: String,
    /// Hash of the model.
    pub model: String,
}

/// Where requests come in.
pub struct Door {
    listener: TcpListener,
    guard: guard::Guard,
}

impl Door {
    /// Takes the address. `token` is what visitors must show; `None` = nothing, only for loopback addresses.
    ///
    /// # Errors
    /// [`HttpError`] when the address needs a token, the token is too short, or the address is taken.
    pub async fn open(address: SocketAddr, token: Option<String>) -> Result<Self, HttpError> {
        let token = token.filter(|token| !token.is_empty());
        if token.is_none() && !address.ip().is_loopback() {
            return Err(HttpError::Open(address));
        }
        if token.as_ref().is_some_and(|token| token.chars().count() < 16) {
            return Err(HttpError::Short);
        }
        let listener = TcpListener::bind(address).await.map_err(|source| HttpError::Bind { address, source })?;
        Ok(Self { listener, guard: guard::Guard::new(token.as_deref(), address.ip().is_loopback()) })
    }

    /// The address, with the port the system chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers requests for ever.
    pub async fn serve(self, app: App) {
        let guard = Arc::new(self.guard);
        let router = Router::new()
            .route("/", get(index))
            .route("/job/{id}", get(job))
            .route("/job/{id}/init", post(init))
            .route("/job/{id}/retry", post(retry))
            .route("/job/{id}/cancel", post(cancel))
            .route("/job/{id}/first.jpg", get(first_frame))
            .route("/job/{id}/file/{file}", get(file))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/style.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], page::STYLE) }))
            .route("/draw.js", get(|| async { ([(header::CONTENT_TYPE, "text/javascript")], page::SCRIPT) }))
            // Browsers ask for it.
            .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
            .with_state(Arc::new(app))
            .route("/login", get(|| async { Html(page::login()) }).post(guard::login).with_state(Arc::clone(&guard)))
            .layer(middleware::from_fn_with_state(guard, guard::check));
        if let Err(e) = axum::serve(self.listener, router).await {
            tracing::error!(error = %e, "the HTTP side has ended");
        }
    }
}

/// What a handler answers when it cannot do what was asked.
enum Refusal {
    NoJob,
    NoFile,
    Conflict(&'static str),
    Bad(String),
    Internal(String),
}

impl From<JournalError> for Refusal {
    fn from(e: JournalError) -> Self {
        Self::Internal(e.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NoJob => (StatusCode::NOT_FOUND, "there is no such job".to_owned()),
            Self::NoFile => (StatusCode::NOT_FOUND, "there is no such file".to_owned()),
            Self::Conflict(why) => (StatusCode::CONFLICT, why.to_owned()),
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why),
            Self::Internal(why) => {
                tracing::warn!(error = %why, "a request could not be answered");
                (StatusCode::INTERNAL_SERVER_ERROR, "this did not work; the daemon's log says why".to_owned())
            }
        };
        (status, text).into_response()
    }
}

/// Does `work` on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Refusal::Internal(e.to_string())))
}

/// The job of exactly this identity.
fn entry(app: &App, id: &str) -> Result<(Journal, Entry), Refusal> {
    let journal = Journal::existing(&app.state)?;
    let entry = journal.find(id)?.filter(|entry| entry.id == id).ok_or(Refusal::NoJob)?;
    Ok((journal, entry))
}

async fn index(State(app): State<Arc<App>>) -> Result<Html<String>, Refusal> {
    blocking(move || {
        let journal = Journal::existing(&app.state)?;
        let (open, latest) = (journal.open_jobs()?, journal.latest(page::LATEST)?);
        Ok(Html(page::index(&app, &journal.counts()?, &open, &latest)))
    })
    .await
}

async fn job(State(app): State<Arc<App>>, UrlPath(id): UrlPath<String>) -> Result<Html<String>, Refusal> {
    blocking(move || {
        let (journal, entry) = entry(&app, &id)?;
        let history = journal.history(&entry.id)?;
        Ok(Html(page::job(&app, &entry, &history, &files::there(&app, &entry))))
    })
    .await
}

/// The box of a form, in pixels of the first frame.
#[derive(Debug, Deserialize)]
struct Drawn {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

async fn init(
    State(app): State<Arc<App>>,
    UrlPath(id): UrlPath<String>,
    Form(drawn): Form<Drawn>,
) -> Result<Redirect, Refusal> {
    blocking(move || {
        let rect = [drawn.x, drawn.y, drawn.w, drawn.h];
        if let Err(e) = crate::input::Start::new(0, rect, "the status page") {
            return Err(Refusal::Bad(e.to_string()));
        }
        let (journal, entry) = entry(&app, &id)?;
        if !entry.job.state.in_inbox() {
            return Err(Refusal::Conflict("this job no longer waits for a box"));
        }
        journal.give_box(&entry.id, rect)?;
        Ok(Redirect::to("/"))
    })
    .await
}

async fn retry(State(app): State<Arc<App>>, UrlPath(id): UrlPath<String>) -> Result<Redirect, Refusal> {
    blocking(move || {
        let (journal, entry) = entry(&app, &id)?;
        if !matches!(entry.job.state, JobState::Failed | JobState::Waiting) {
            return Err(Refusal::Conflict("only failed and waiting jobs can be tried again"));
        }
        journal.ask_retry(&entry.id)?;
        Ok(Redirect::to("/"))
    })
    .await
}

async fn cancel(State(app): State<Arc<App>>, UrlPath(id): UrlPath<String>) -> Result<Redirect, Refusal> {
    blocking(move || {
        let (journal, entry) = entry(&app, &id)?;
        if entry.job.state.over() {
            return Err(Refusal::Conflict("this job is over"));
        }
        journal.ask_cancel(&entry.id)?;
        Ok(Redirect::to("/"))
    })
    .await
}

async fn first_frame(State(app): State<Arc<App>>, UrlPath(id): UrlPath<String>) -> Result<Response, Refusal> {
    blocking(move || {
        let (_, entry) = entry(&app, &id)?;
        let jpeg = files::first_frame(&app, &entry)?;
        Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
    })
    .await
}

async fn file(
    State(app): State<Arc<App>>,
    UrlPath((id, file)): UrlPath<(String, String)>,
) -> Result<Response, Refusal> {
    blocking(move || {
        let (_, entry) = entry(&app, &id)?;
        let (kind, bytes) = files::read(&app, &entry, &file)?;
        Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
    })
    .await
}

async fn healthz(State(app): State<Arc<App>>) -> Response {
    if app.live.alive() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the main loop hangs\n").into_response()
    }
}

async fn readyz(State(app): State<Arc<App>>) -> Response {
    let reason = if !app.live.alive() {
        "the main loop hangs\n"
    } else if app.live.stopping.load(Ordering::Relaxed) {
        "stopping\n"
    } else if app.live.paused.load(Ordering::Relaxed) {
        "the disk is nearly full\n"
    } else {
        return "ok\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    blocking(move || {
        let text = metrics::text(&app.live, &Journal::existing(&app.state)?.counts()?);
        Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
    })
    .await
}

#[cfg(test)]
mod tests;
