//! Listening: plain HTTP/1.1 or TLS on one port. Every connection is bounded in time and number.

use super::app::App;
use super::dispatch;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Open connections at once; more wait in the kernel's backlog.
const CONNECTIONS: usize = 4096;
/// A client has this long to send its request's head, and to finish a TLS handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// Certificate and key for HTTPS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads PEM files: a certificate chain, and its private key.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, String> {
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(|certs| certs.collect())
            .map_err(|e| format!("the certificate file {} can't be read: {e}", certificates.display()))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("the key file {} can't be read: {e}", key.display()))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|e| format!("certificate and key don't make a TLS server: {e}"))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Serves until the future is dropped.
pub async fn serve(app: Arc<App>, listener: TcpListener, tls: Option<Tls>) {
    app.tls.store(tls.is_some(), std::sync::atomic::Ordering::Relaxed);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, or the peer is gone already.
                tracing::warn!("a connection could not be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (app, tls) = (app.clone(), tls.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(app, stream, peer.ip()).await,
                Some(Tls(acceptor)) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                        connection(app, stream, peer.ip()).await;
                    }
                }
            }
        });
    }
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {}
impl Stream for TcpStream {}
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {}

async fn connection(app: Arc<App>, stream: impl Stream, peer: std::net::IpAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        async move { Ok::<_, std::convert::Infallible>(dispatch(app, peer, request.map(Body::new)).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(128 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        tracing::debug!(%peer, "connection ended: {e}");
    }
}
