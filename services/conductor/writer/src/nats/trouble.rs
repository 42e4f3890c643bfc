//! What goes wrong with a stream, and what to do when its server can't store it any more: its files were removed or damaged
//! under it. All that the streams hold is derived, so a stream that can't be kept is thrown away and filled again.

use super::Link;
use async_nats::jetstream::{self, ErrorCode, context::PublishError};
use std::error::Error;

/// Why a session with a stream ended.
pub(super) enum Trouble {
    /// The server has the stream and can't store or read its messages.
    Store(String),
    Other(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Trouble::Other(why)
    }
}
impl From<&str> for Trouble {
    fn from(why: &str) -> Self {
        Trouble::Other(why.into())
    }
}
impl From<PublishError> for Trouble {
    fn from(e: PublishError) -> Self {
        let inner = e.source().and_then(|e| e.downcast_ref::<jetstream::Error>());
        match inner.is_some_and(|e| e.error_code() == ErrorCode::STREAM_STORE_FAILED) {
            true => Trouble::Store(e.to_string()),
            false => Trouble::Other(e.to_string()),
        }
    }
}

/// So often in a row the server must fail before its stream is thrown away: a full disk may get room again.
const ENOUGH: u32 = 3;

/// Counts the failures of a stream's store.
#[derive(Default)]
pub(super) struct Store {
    failures: u32,
}

impl Store {
    /// Takes note of a trouble; throws the stream away when the server has failed often enough. Gives the reason to log.
    pub async fn suffered(&mut self, link: &Link, stream: &str, trouble: Trouble) -> String {
        let why = match trouble {
            Trouble::Store(why) => why,
            Trouble::Other(why) => {
                self.failures = 0;
                return why;
            }
        };
        self.failures += 1;
        if self.failures >= ENOUGH {
            tracing::warn!(why, stream, "NATS can't keep the stream: it is made anew and filled from the log");
            self.failures = 0;
            if let Err(error) = super::jetstream(link).delete_stream(stream).await {
                tracing::warn!(%error, stream, "the stream can't be removed");
            }
        }
        why
    }
}
