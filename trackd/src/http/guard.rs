//! Who may come in: the token, and no pages of other sites.

use axum::extract::{Form, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::sync::Arc;

const COOKIE: &str = "trackd";
/// Scripts, styles and pictures come from here only; no other page may frame this one.
const POLICY: &str = "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What a visitor must show.
pub struct Guard {
    token: Option<blake3::Hash>,
    loopback: bool,
}

impl Guard {
    pub fn new(token: Option<&str>, loopback: bool) -> Self {
        Self { token: token.map(|token| blake3::hash(token.as_bytes())), loopback }
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else { return true };
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let bearer = text(header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
        // Hashes are compared in a time that does not depend on what they are.
        if bearer.is_some_and(|given| blake3::hash(given.trim().as_bytes()) == token) {
            return true;
        }
        let cookies = text(header::COOKIE).unwrap_or_default();
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let given = pairs.find(|(name, _)| *name == COOKIE).and_then(|(_, value)| blake3::Hash::from_hex(value).ok());
        given.is_some_and(|given| given == ticket(token))
    }
}

/// What the cookie holds: not the token, and nothing it can be computed from.
fn ticket(token: blake3::Hash) -> blake3::Hash {
    blake3::keyed_hash(token.as_bytes(), b"trackd cookie")
}

/// Lets a request pass or answers it.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match refuse(&guard, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refuse(guard: &Guard, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz") {
        return None;
    }
    let host = text(header::HOST).unwrap_or_default();
    // A page elsewhere may give its name our address; its requests then carry that name.
    if guard.loopback && !is_loopback(host) {
        return Some((StatusCode::FORBIDDEN, "open this page as 127.0.0.1 or localhost\n").into_response());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
        let origin = text(header::ORIGIN).map(|o| o.split_once("://").map_or(o, |(_, host)| host));
        let foreign = site.is_some_and(|s| !matches!(s, "same-origin" | "none")) || origin.is_some_and(|o| o != host);
        if foreign {
            return Some((StatusCode::FORBIDDEN, "this request comes from another site\n").into_response());
        }
    }
    if guard.knows(headers) || matches!(path, "/login" | "/style.css") {
        return None;
    }
    let page = text(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    if page && request.method() == Method::GET {
        return Some(Redirect::to("/login").into_response());
    }
    Some((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a token is needed\n").into_response())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The form of the login page.
#[derive(Deserialize)]
pub struct Login {
    token: String,
}

/// Gives a cookie for the token.
pub async fn login(State(guard): State<Arc<Guard>>, Form(login): Form<Login>) -> Response {
    match guard.token {
        Some(token) if blake3::hash(login.token.trim().as_bytes()) == token => {
            let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", ticket(token).to_hex());
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Some(_) => (StatusCode::UNAUTHORIZED, "this is not the token\n").into_response(),
        None => Redirect::to("/").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8780", "[::1]:9", "127.8.8.8"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.1", "localhost.evil"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
