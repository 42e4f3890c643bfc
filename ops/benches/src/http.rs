//! A client that keeps one connection and sends one request after the other: what is measured is the server.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// One connection.
pub struct Client {
    send: SendRequest<Full<Bytes>>,
    host: String,
    pub token: String,
}

pub struct Response {
    pub status: u16,
    pub body: Bytes,
    pub subject_token: Option<String>,
}

impl Client {
    pub async fn connect(port: u16, token: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let (send, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Self { send, host: format!("127.0.0.1:{port}"), token: token.to_owned() })
    }
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&[u8]>) -> Result<Response, String> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host).header("accept", "application/json");
        if !self.token.is_empty() {
            request = request.header("x-auth-token", &self.token);
            if path == "/v3/auth/tokens" {
                request = request.header("x-subject-token", &self.token);
            }
        }
        if body.is_some() {
            request = request.header("content-type", if path.ends_with("/file") { "application/octet-stream" } else { "application/json" });
        }
        let body = Full::new(body.map(Bytes::copy_from_slice).unwrap_or_default());
        let request = request.body(body).map_err(|e| e.to_string())?;
        self.send.ready().await.map_err(|e| e.to_string())?;
        let response = self.send.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let subject_token = response.headers().get("x-subject-token").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Response { status, body, subject_token })
    }
    /// A call that must succeed, and its JSON.
    pub async fn json(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let bytes = body.map(|b| b.to_string().into_bytes());
        let response = self.call(method.clone(), path, bytes.as_deref()).await?;
        if response.status >= 300 {
            return Err(format!("{method} {path}: {} {}", response.status, String::from_utf8_lossy(&response.body)));
        }
        if response.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&response.body).map_err(|e| e.to_string()) }
    }
}

/// How many calls a second this many clients get, over a time; a call that does not answer `expect` ends the measurement.
pub async fn rate(
    port: u16,
    token: &str,
    clients: usize,
    time: Duration,
    expect: u16,
    call: impl Fn(usize, usize) -> (Method, String, Option<Vec<u8>>) + Send + Sync + Clone + 'static,
) -> Result<f64, String> {
    let mut tasks = vec![];
    let begin = Instant::now();
    for n in 0..clients {
        let (call, token) = (call.clone(), token.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(port, &token).await?;
            let mut done = 0;
            while begin.elapsed() < time {
                let (method, path, body) = call(n, done);
                let answer = client.call(method, &path, body.as_deref()).await?;
                if answer.status != expect {
                    return Err(format!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
                }
                done += 1;
            }
            Ok::<usize, String>(done)
        }));
    }
    let mut total = 0;
    for task in tasks {
        total += task.await.map_err(|e| e.to_string())??;
    }
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// How long each of so many calls takes, in milliseconds, one after the other.
pub async fn times(port: u16, token: &str, count: usize, path: &str) -> Result<Vec<f64>, String> {
    let mut client = Client::connect(port, token).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        let answer = client.call(Method::GET, path, None).await?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        if answer.status != 200 {
            return Err(format!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
    }
    Ok(times)
}
