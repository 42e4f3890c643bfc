//! Keypairs. Invariant: one live keypair per (user, name).

use super::{CannotApply, Cloud, Stamp, Table};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::keypair::{KeypairEvent, KeypairKind};
use strata_events::{Timestamp, UserId};

/// A public key that a user registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keypair {
    pub user: UserId,
    pub name: String,
    pub kind: KeypairKind,
    pub public_key: String,
    pub fingerprint: String,
    pub created_at: Timestamp,
}

/// The live keypairs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Keypairs {
    /// Names are shared, so that copying a node of the table copies no text.
    all: Table<(UserId, Arc<str>), Keypair>,
}

impl Keypairs {
    pub fn get(&self, user: &UserId, name: &str) -> Option<&Arc<Keypair>> {
        self.all.get(&(*user, name.into()))
    }
    /// One user's, by name: the order that the API pages by.
    pub fn of(&self, user: &UserId) -> impl Iterator<Item = &Arc<Keypair>> {
        self.all.range((*user, Arc::from(""))..).take_while(move |((u, _), _)| u == user).map(|(_, k)| k)
    }
    pub(crate) fn table(&self) -> &Table<(UserId, Arc<str>), Keypair> {
        &self.all
    }
    pub fn values(&self) -> impl Iterator<Item = &Arc<Keypair>> {
        self.all.values()
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &KeypairEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let all = &mut cloud.keypairs.all;
    match event {
        KeypairEvent::KeypairImported { id: _, user, name, kind, public_key, fingerprint } => all.add(
            (*user, name.as_str().into()),
            Keypair {
                user: *user,
                name: name.clone(),
                kind: *kind,
                public_key: public_key.clone(),
                fingerprint: fingerprint.clone(),
                created_at: stamp.at,
            },
        ),
        KeypairEvent::KeypairDeleted { id: _, user, name } => all.remove(&(*user, name.as_str().into())).map(drop),
    }
}
