//! One request. What the guest may say is its path, and the body of a password; headers say nothing.

use super::Shared;
use super::connection::Caller;
use super::residents::{Opened, Resident};
use crate::{Document, Guest, SEED, lookup};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use std::time::{Duration, Instant};

/// The longest password that a guest may leave; Nova's bound.
const PASSWORD: usize = 4 * 255;
/// How long a guest may take over its password, and the conductor over user data or a password.
const BODY: Duration = Duration::from_secs(5);
const CONDUCTOR: Duration = Duration::from_secs(10);
/// User data are kept so long after they were asked for (under one id they don't change); that they could not be had, so long.
const FRESH: Duration = Duration::from_secs(120);
const FAILED: Duration = Duration::from_secs(1);

type Answer = Response<Full<Bytes>>;

pub(crate) async fn answer(shared: &Shared, caller: &Caller, request: Request<Incoming>) -> Answer {
    let residents = shared.residents();
    let resident = residents.at(caller.network, caller.ip).cloned();
    drop(residents);
    // Another MAC behind the address is another guest that was allowed to send from it, not the one whose address it is.
    let is_it = |r: &Resident| caller.neighbours.as_ref().and_then(|n| n.mac(caller.ip)).is_none_or(|mac| mac == r.mac);
    let Some(resident) = resident.filter(is_it) else {
        tracing::debug!(network = %caller.network, ip = %caller.ip, "nobody that is known asks for metadata");
        return last(say(StatusCode::NOT_FOUND, "no server on this host has this address"));
    };
    if let Err(after) = resident.kept.may_ask() {
        let mut answer = say(StatusCode::TOO_MANY_REQUESTS, "too many requests: ask again later");
        answer.headers_mut().insert(RETRY_AFTER, after.as_secs().max(1).into());
        return last(answer);
    }
    let mut seed = [0; SEED];
    let seed = getrandom::fill(&mut seed).is_ok().then_some(&seed);
    let guest = Guest { plan: &resident.plan, user_data: None, seed };
    let found = lookup(&guest, request.uri().path()).filter(|d| *d != Document::Password || shared.passwords.is_some());
    let Some(document) = found else { return say(StatusCode::NOT_FOUND, "there is no such document") };
    match (document, request.method()) {
        (Document::Password, &Method::POST) => leave_password(shared, &resident, request).await,
        (document, &Method::GET | &Method::HEAD) => read(shared, &resident, document).await,
        (document, _) => {
            let mut answer = say(StatusCode::METHOD_NOT_ALLOWED, "metadata can only be read");
            let allowed = if document == Document::Password { "GET, HEAD, POST" } else { "GET, HEAD" };
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            last(answer)
        }
    }
}

async fn read(shared: &Shared, resident: &Resident, document: Document) -> Answer {
    let kind = document.content_type();
    let body = match document {
        Document::UserData => match user_data(shared, resident).await {
            Some(data) => data,
            None => {
                let mut answer = say(StatusCode::SERVICE_UNAVAILABLE, "the user data can't be had right now: ask again");
                answer.headers_mut().insert(RETRY_AFTER, 1.into());
                return answer;
            }
        },
        Document::Password => resident.kept.password.lock().await.clone().unwrap_or_default().into(),
        other => other.bytes().unwrap_or_default().into(),
    };
    of(StatusCode::OK, kind, body)
}

/// The guest's user data, asked for at most once in a while.
async fn user_data(shared: &Shared, resident: &Resident) -> Option<Bytes> {
    let id = resident.plan.user_data?;
    let mut opened = resident.kept.user_data.lock().await;
    if let Some(before) = opened.as_ref().filter(|o| o.id == id)
        && (before.data.is_some() || before.at.elapsed() < FAILED)
    {
        return before.data.clone();
    }
    let asked = tokio::time::timeout(CONDUCTOR, shared.secrets.open(id)).await;
    let data = match asked.unwrap_or_else(|_| Err("the conductor does not answer".into())) {
        Ok(data) => Some(Bytes::from(data)),
        Err(why) => {
            tracing::warn!(instance = %resident.plan.id, "its user data can't be had: {why}");
            None
        }
    };
    *opened = Some(Opened { id, data: data.clone(), at: Instant::now() });
    if data.is_some() {
        let kept = resident.kept.clone();
        // A guest asks when it boots; there is no need to hold everybody's all the time.
        tokio::spawn(async move {
            tokio::time::sleep(FRESH).await;
            kept.user_data.lock().await.take();
        });
    }
    data
}

/// Keeps a password, if there is none yet.
async fn leave_password(shared: &Shared, resident: &Resident, request: Request<Incoming>) -> Answer {
    let Some(passwords) = &shared.passwords else { return say(StatusCode::NOT_FOUND, "there is no such document") };
    let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), PASSWORD).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return last(say(StatusCode::BAD_REQUEST, "Request is too large.")),
        Err(_) => return last(say(StatusCode::REQUEST_TIMEOUT, "the password did not come in time")),
    };
    let Ok(password) = String::from_utf8(body.to_vec()) else {
        return say(StatusCode::BAD_REQUEST, "a password is text: encode it, as base64 for example");
    };
    let mut kept = resident.kept.password.lock().await;
    if kept.is_some() {
        return say(StatusCode::CONFLICT, "there is a password already");
    }
    if password.is_empty() {
        return of(StatusCode::OK, "text/plain; charset=UTF-8", Bytes::new());
    }
    let asked = tokio::time::timeout(CONDUCTOR, passwords.keep(resident.plan.id, password.clone())).await;
    match asked.unwrap_or_else(|_| Err("the conductor does not answer".into())) {
        Ok(true) => {
            *kept = Some(password);
            of(StatusCode::OK, "text/plain; charset=UTF-8", Bytes::new())
        }
        Ok(false) => say(StatusCode::CONFLICT, "there is a password already"),
        Err(why) => {
            tracing::warn!(instance = %resident.plan.id, "its password can't be kept: {why}");
            let mut answer = say(StatusCode::SERVICE_UNAVAILABLE, "the password can't be kept right now: try again");
            answer.headers_mut().insert(RETRY_AFTER, 1.into());
            answer
        }
    }
}

fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn say(status: StatusCode, words: &'static str) -> Answer {
    of(status, "text/plain; charset=UTF-8", Bytes::from_static(words.as_bytes()))
}

/// The connection ends with this answer: what the guest still sends is not read.
fn last(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
