//! One guest's connection: how many, how long, how much.

use super::door::Neighbours;
use super::{Shared, answer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use strata_events::NetworkId;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request's head has to come within this time, also the next one's on the same connection.
const HEAD: Duration = Duration::from_secs(5);
/// And a connection ends after this one, whatever is going on.
const LIFE: Duration = Duration::from_secs(60);
/// The most bytes of a head.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// Whose connection it is, as far as the network says.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) network: NetworkId,
    pub(crate) ip: IpAddr,
    pub(crate) neighbours: Option<Arc<Neighbours>>,
}

/// Accepts until it is dropped; then its connections end as well, because an open one would keep a namespace alive.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, network: NetworkId, neighbours: Option<Arc<Neighbours>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let caller = Caller { network, ip: peer.ip().to_canonical(), neighbours: neighbours.clone() };
                    let residents = shared.residents();
                    let room = residents.at(network, caller.ip).map_or(&residents.strangers, |r| &r.kept.connections);
                    // At the bound the newest is turned away, so that a guest hurts only itself.
                    if let Ok(place) = room.clone().try_acquire_owned() {
                        let shared = shared.clone();
                        connections.spawn(async move {
                            let _place = place;
                            let _ = tokio::time::timeout(LIFE, serve(shared, stream, caller)).await;
                        });
                    }
                }
                Err(e) => {
                    // The peer is gone already, or there are no more file descriptors.
                    tracing::debug!(%network, "a guest's connection could not be accepted: {e}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, caller: Caller) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (shared, caller) = (shared.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answer::answer(&shared, &caller, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    if let Err(e) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!("a guest's connection: {e}");
    }
}
