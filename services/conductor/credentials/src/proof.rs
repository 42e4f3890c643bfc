//! What a host proves with its key, and what is sealed to it.
//!
//! A host signs what it asks with the private half of its nkey (ed25519), which never leaves it. What it asks to be told in
//! secret is sealed (X25519, XSalsa20-Poly1305) to a key that it makes for the one question, so that neither NATS nor anyone
//! who finds the host's key later can read it.

use crate::CredentialError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, XKey};

/// Signs with a host's seed. URL-safe base64, without padding.
pub fn sign(seed: &str, message: &str) -> Result<String, CredentialError> {
    let bad = |e| CredentialError::BadKey("the host's key", e);
    let signature = KeyPair::from_seed(seed.trim()).map_err(bad)?.sign(message.as_bytes()).map_err(bad)?;
    Ok(URL_SAFE_NO_PAD.encode(signature))
}

/// Whether whoever has the private half of `public_key` signed this.
pub fn verify(public_key: &str, message: &str, signature: &str) -> bool {
    let signature = URL_SAFE_NO_PAD.decode(signature);
    let key = KeyPair::from_public_key(public_key);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message.as_bytes(), &signature).is_ok())
}

/// Something sealed to one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The public half of the key that was made to seal it.
    pub sender: String,
    /// base64
    pub text: String,
}

/// Seals to the public half of an [`Envelope`]. An error: it is no such key.
pub fn seal(to: &str, secret: &[u8]) -> Result<Sealed, CredentialError> {
    let bad = |e| CredentialError::BadKey("the key to seal to", e);
    let reader = XKey::from_public_key(to).map_err(bad)?;
    let sender = XKey::new();
    let text = URL_SAFE_NO_PAD.encode(sender.seal(secret, &reader).map_err(bad)?);
    Ok(Sealed { sender: sender.public_key(), text })
}

/// The one question's key.
pub struct Envelope(XKey);

impl Default for Envelope {
    fn default() -> Self {
        Self(XKey::new())
    }
}

impl Envelope {
    /// What is to be sealed to.
    pub fn public_key(&self) -> String {
        self.0.public_key()
    }
    /// None: it was sealed to someone else, or changed on the way.
    pub fn open(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        let sender = XKey::from_public_key(&sealed.sender).ok()?;
        self.0.open(&URL_SAFE_NO_PAD.decode(&sealed.text).ok()?, &sender).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_key_can_sign_for_it() {
        let (seed, public) = crate::new_host_key().expect("a key");
        let (_, other) = crate::new_host_key().expect("a key");
        let signature = sign(&seed, "this").expect("a signature");
        assert!(verify(&public, "this", &signature));
        assert!(!verify(&public, "that", &signature));
        assert!(!verify(&other, "this", &signature));
        assert!(!verify(&public, "this", "?"));
    }

    #[test]
    fn only_the_one_who_asked_can_open_what_is_sealed() {
        let (asker, eavesdropper) = (Envelope::default(), Envelope::default());
        let sealed = seal(&asker.public_key(), b"canary").expect("a key");
        assert_eq!(asker.open(&sealed).as_deref(), Some(&b"canary"[..]));
        assert_eq!(eavesdropper.open(&sealed), None);
        let changed = Sealed { text: sealed.text.replace(sealed.text.chars().last().unwrap_or('A'), "_"), ..sealed };
        assert_eq!(asker.open(&changed), None);
        assert!(seal("not a key", b"").is_err());
    }
}
