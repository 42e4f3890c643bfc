//! One request to the API of a cloud, over plain HTTP: what a machine needs to join. Everything after that is NATS.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any answer to a join.
const LONGEST: u64 = 1 << 20;

/// Posts JSON; a status other than 2xx is an error with the fault's text.
pub async fn post(endpoint: &str, path: &str, body: &Value) -> Result<Value> {
    let Some(host) = endpoint.trim_end_matches('/').strip_prefix("http://") else {
        bail!("{endpoint} is not of the form http://HOST:PORT (joining over HTTPS is not there yet)");
    };
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![];
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), exchange)
        .await
        .with_context(|| format!("{endpoint} does not answer"))?
        .with_context(|| format!("can't reach {endpoint}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{endpoint} does not speak HTTP"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("{endpoint} answered {status}: {body}");
    }
    serde_json::from_str(body).with_context(|| format!("{endpoint} answered no JSON"))
}
