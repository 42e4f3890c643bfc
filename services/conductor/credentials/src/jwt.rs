//! NATS's JSON web tokens: version 2 claims, signed with ed25519 (`ed25519-nkey`).

use crate::CredentialError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::Value;
use sha2::{Digest, Sha512_256};

/// When every token was issued, and until when issued ones a revocation covers. Not 0, which a server takes for revoked as soon
/// as any other is.
pub(crate) const ISSUED: i64 = 1;

/// Signs claims. `iss` is the signer; `jti` is the hash of the rest, so the same claims give the same token, and writing the
/// configuration again changes nothing. For the same reason `iat` is no clock's time but [`ISSUED`].
pub(crate) fn sign(issuer: &KeyPair, mut claims: Value) -> Result<String, CredentialError> {
    claims["iss"] = issuer.public_key().into();
    claims["iat"] = ISSUED.into();
    claims["jti"] = data_encoding::BASE32_NOPAD.encode(&Sha512_256::digest(claims.to_string().as_bytes())).into();
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = issuer.sign(signed.as_bytes()).map_err(|e| CredentialError::BadKey("the signing key", e))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
