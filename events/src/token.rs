//! Revocations of tokens. A token itself is sealed, not stored; only its end before its time is a fact.
use crate::Timestamp;

aggregate! {
    /// Events of one token chain.
    pub enum TokenEvent: "token" {
        /// The token with this audit id is void. After `expires_at` it would be anyway, and the entry is dropped.
        TokenRevoked {
            /// Keystone's audit id: 22 characters of URL-safe base64.
            id: String, expires_at: Timestamp },
    }
}
