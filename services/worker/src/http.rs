//! What a host, and the tools, ask the cloud over HTTP: joining, fetching an image. Over HTTPS the server must show a certificate
//! of the cloud's own authority where one is named, else of one that the machine trusts.

use http_body_util::{BodyExt, Full, Limited};
pub use hyper::Method;
pub use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address or the certificate is unusable: asking again changes nothing.
    #[error("{0}")]
    Failed(String),
    /// Nothing was learned: ask again.
    #[error("{url} does not answer: {why}")]
    Silent { url: String, why: String },
    /// It answered with a fault.
    #[error("{url} answered {status}: {text}")]
    Refused { url: String, status: u16, text: String },
    #[error("can't write {0}: {1}")]
    File(String, std::io::Error),
}

/// bytes; more than any answer but an image's
const LONGEST: usize = 1 << 20;
/// How long a connection, an answer's head or its next piece may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where Debian keeps the authorities that the machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An answer: the value of one of its headers, and its JSON (null when there is none).
pub struct Answer {
    pub header: Option<String>,
    pub body: Value,
}

/// One call with a body of any kind; a status other than 2xx is an error with the fault's text. `wanted` names the header of the
/// answer that matters.
pub async fn call(
    endpoint: &str,
    authority: Option<&str>,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
    wanted: &str,
) -> Result<Answer, HttpError> {
    let mut request = Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = send(endpoint, authority, path, request, body.into()).await?;
    let header = answer.headers().get(wanted).and_then(|v| v.to_str().ok()).map(str::to_string);
    let bytes = read(endpoint, answer).await?;
    let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
    let body = body.map_err(|e| HttpError::Silent { url: endpoint.into(), why: format!("not JSON: {e}") })?;
    Ok(Answer { header, body })
}

/// Posts JSON; a status other than 2xx is an error with the fault's text.
pub async fn post(endpoint: &str, authority: Option<&str>, path: &str, body: &Value) -> Result<Value, HttpError> {
    let request = Request::builder().method(Method::POST).header("content-type", "application/json");
    let answer = send(endpoint, authority, path, request, body.to_string().into()).await?;
    let bytes = read(endpoint, answer).await?;
    serde_json::from_slice(&bytes).map_err(|e| HttpError::Silent { url: endpoint.into(), why: format!("not JSON: {e}") })
}

/// Writes what is got into a new file, at most `size` bytes.
pub async fn download(
    endpoint: &str,
    authority: Option<&str>,
    path: &str,
    authorization: &str,
    size: u64,
    into: &Path,
) -> Result<(), HttpError> {
    let request = Request::builder().method(Method::GET).header("authorization", authorization);
    let mut answer = send(endpoint, authority, path, request, Bytes::new()).await?;
    let file_error = |e| HttpError::File(into.display().to_string(), e);
    let silent = |why: String| HttpError::Silent { url: endpoint.into(), why };
    let mut file = tokio::fs::File::create_new(into).await.map_err(file_error)?;
    let mut left = size;
    loop {
        let piece = tokio::time::timeout(PATIENCE, answer.frame()).await.map_err(|_| silent("it stopped in the middle".into()))?;
        let Some(piece) = piece else { break };
        let Ok(data) = piece.map_err(|e| silent(e.to_string()))?.into_data() else { continue };
        left = left.checked_sub(data.len() as u64).ok_or_else(|| HttpError::Failed(format!("more than the {size} bytes of the image")))?;
        file.write_all(&data).await.map_err(file_error)?;
    }
    if left > 0 {
        return Err(silent(format!("{left} bytes are missing")));
    }
    // What could not be written last is said here only.
    file.flush().await.map_err(file_error)?;
    file.sync_all().await.map_err(file_error)
}

async fn send(
    endpoint: &str,
    authority: Option<&str>,
    path: &str,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<Response<Incoming>, HttpError> {
    let failed = |why: String| HttpError::Failed(format!("{endpoint}: {why}"));
    let silent = |why: String| HttpError::Silent { url: endpoint.into(), why };
    let uri: Uri = endpoint.parse().map_err(|e| failed(format!("no address of the form http(s)://HOST:PORT: {e}")))?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(failed("no address of the form http(s)://HOST:PORT".into()));
    };
    let tls = match scheme {
        "http" => None,
        "https" => Some(connector(authority).map_err(failed)?),
        other => return Err(failed(format!("{other} is not spoken here: use http or https"))),
    };
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let request = request
        .uri(path)
        .header("host", uri.authority().map_or(host, |a| a.as_str()))
        .body(Full::new(body))
        .map_err(|e| failed(e.to_string()))?;
    let exchange = async {
        let stream = TcpStream::connect((bare, port)).await.map_err(|e| silent(e.to_string()))?;
        match tls {
            None => talk(TokioIo::new(stream), request).await.map_err(|e| silent(e.to_string())),
            Some(tls) => {
                let name = ServerName::try_from(bare.to_string()).map_err(|e| failed(e.to_string()))?;
                let stream = tls.connect(name, stream).await.map_err(|e| silent(e.to_string()))?;
                talk(TokioIo::new(stream), request).await.map_err(|e| silent(e.to_string()))
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| silent("no answer in time".into()))??;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status().as_u16();
    let text = String::from_utf8_lossy(&read(endpoint, answer).await?).into_owned();
    Err(HttpError::Refused { url: endpoint.into(), status, text })
}

async fn talk<S>(stream: TokioIo<S>, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // It ends with the exchange.
    tokio::spawn(connection);
    sender.send_request(request).await
}

async fn read(endpoint: &str, answer: Response<Incoming>) -> Result<Bytes, HttpError> {
    let body = tokio::time::timeout(PATIENCE, Limited::new(answer.into_body(), LONGEST).collect()).await;
    let silent = |why: String| HttpError::Silent { url: endpoint.into(), why };
    Ok(body.map_err(|_| silent("it stopped in the middle".into()))?.map_err(|e| silent(e.to_string()))?.to_bytes())
}

fn connector(authority: Option<&str>) -> Result<TlsConnector, String> {
    let pem = match authority {
        Some(pem) => pem.as_bytes().to_vec(),
        None => std::fs::read(AUTHORITIES).map_err(|e| format!("can't read {AUTHORITIES}: {e}"))?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
