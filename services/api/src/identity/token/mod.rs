//! Tokens: sealed with Fernet, never stored. What a token says is only who got it, for where and until when; what it is worth
//! is decided anew against the state at each use ([`confirm`]), so that a removed role or a disabled user acts at once.

pub mod cache;
pub mod confirm;
pub mod keys;
pub mod view;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strata_events::{ApplicationCredentialId, DomainId, ProjectId, Timestamp, TrustId, UserId};
use uuid::Uuid;

/// Where a token's roles hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Unscoped,
    Project(ProjectId),
    Domain(DomainId),
    System,
}

/// One link of a chain of tokens: 16 random bytes, printed as Keystone does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditId(pub [u8; 16]);

impl AuditId {
    pub fn random() -> Self {
        Self(crate::frame::new_uuid().into_bytes())
    }
}
impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}
impl std::fmt::Debug for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// How a token was got; a token got by another one has both ways.
pub const METHODS: [&str; 3] = ["password", "token", "application_credential"];

/// What is sealed in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub user: UserId,
    pub place: Place,
    /// Bit i: `METHODS[i]`.
    pub methods: u8,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// The position of the log at which the login was decided: what voided the user's tokens later voids this one.
    pub position: u64,
    pub audit: AuditId,
    /// The first token of the chain, when this one was got by another.
    pub chain: Option<AuditId>,
    pub application_credential: Option<ApplicationCredentialId>,
    /// The trust by which the user acts for another one.
    pub trust: Option<TrustId>,
}

const VERSION: u8 = 1;

impl Token {
    pub fn methods(&self) -> Vec<&'static str> {
        METHODS.iter().enumerate().filter(|(i, _)| self.methods & (1 << i) != 0).map(|(_, m)| *m).collect()
    }
    pub fn audit_ids(&self) -> Vec<String> {
        std::iter::once(self.audit).chain(self.chain).map(|a| a.to_string()).collect()
    }

    /// The bytes to seal.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, place) = match self.place {
            Place::Unscoped => (0, Uuid::nil()),
            Place::Project(id) => (1, id.0),
            Place::Domain(id) => (2, id.0),
            Place::System => (3, Uuid::nil()),
        };
        let mut bytes = Vec::with_capacity(96);
        bytes.push(VERSION);
        bytes.push(kind);
        bytes.push(self.methods);
        bytes.push(
            u8::from(self.chain.is_some()) | u8::from(self.application_credential.is_some()) << 1 | u8::from(self.trust.is_some()) << 2,
        );
        bytes.extend(self.issued_at.0.to_be_bytes());
        bytes.extend(self.expires_at.0.to_be_bytes());
        bytes.extend(self.position.to_be_bytes());
        bytes.extend(self.user.0.as_bytes());
        bytes.extend(self.audit.0);
        if kind == 1 || kind == 2 {
            bytes.extend(place.as_bytes());
        }
        if let Some(chain) = self.chain {
            bytes.extend(chain.0);
        }
        if let Some(credential) = self.application_credential {
            bytes.extend(credential.0.as_bytes());
        }
        if let Some(trust) = self.trust {
            bytes.extend(trust.0.as_bytes());
        }
        bytes
    }

    /// Reads what [`Token::to_bytes`] wrote. None: another version wrote it, and the token is void.
    pub fn from_bytes(bytes: &[u8]) -> Option<Token> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (head, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*head)
        }
        let mut rest = bytes;
        let [version, kind, methods, flags] = take::<4>(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let issued_at = Timestamp(i64::from_be_bytes(take(&mut rest)?));
        let expires_at = Timestamp(i64::from_be_bytes(take(&mut rest)?));
        let position = u64::from_be_bytes(take(&mut rest)?);
        let user = UserId(Uuid::from_bytes(take(&mut rest)?));
        let audit = AuditId(take(&mut rest)?);
        let place = match kind {
            0 => Place::Unscoped,
            1 => Place::Project(ProjectId(Uuid::from_bytes(take(&mut rest)?))),
            2 => Place::Domain(DomainId(Uuid::from_bytes(take(&mut rest)?))),
            3 => Place::System,
            _ => return None,
        };
        let chain = if flags & 1 != 0 { Some(AuditId(take(&mut rest)?)) } else { None };
        let application_credential = if flags & 2 != 0 { Some(ApplicationCredentialId(Uuid::from_bytes(take(&mut rest)?))) } else { None };
        let trust = if flags & 4 != 0 { Some(TrustId(Uuid::from_bytes(take(&mut rest)?))) } else { None };
        rest.is_empty().then_some(Token {
            user,
            place,
            methods,
            issued_at,
            expires_at,
            position,
            audit,
            chain,
            application_credential,
            trust,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_what_is_read() {
        let id = Uuid::from_u128(7);
        let base = Token {
            user: UserId(id),
            place: Place::Unscoped,
            methods: 3,
            issued_at: Timestamp(1),
            expires_at: Timestamp(2),
            position: 3,
            audit: AuditId([4; 16]),
            chain: None,
            application_credential: None,
            trust: None,
        };
        for place in [Place::Unscoped, Place::Project(ProjectId(id)), Place::Domain(DomainId::DEFAULT), Place::System] {
            for chain in [None, Some(AuditId([5; 16]))] {
                for application_credential in [None, Some(ApplicationCredentialId(id))] {
                    for trust in [None, Some(TrustId(id))] {
                        let token = Token { place, chain, application_credential, trust, ..base.clone() };
                        assert_eq!(Token::from_bytes(&token.to_bytes()), Some(token.clone()));
                        assert_eq!(Token::from_bytes(&token.to_bytes()[1..]), None);
                    }
                }
            }
        }
    }
}
