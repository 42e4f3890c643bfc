//! What can happen to a keypair. It belongs to a user, not to a project.
use crate::{KeypairRef, UserId};
use serde::{Deserialize, Serialize};

/// The kind of a keypair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum KeypairKind {
    Ssh,
    X509,
}

aggregate! {
    /// Events of one keypair.
    pub enum KeypairEvent: "keypair" {
        /// A public key was registered. The private half, when Strata generated it, went to the caller once and is stored nowhere.
        KeypairImported { id: KeypairRef, user: UserId, name: String, kind: KeypairKind, public_key: String,
            /// MD5 of the key's bytes, as colon-separated hex (Nova's format).
            fingerprint: String },
        /// The keypair is gone.
        KeypairDeleted { id: KeypairRef, user: UserId, name: String },
    }
}
