//! What may be asked of a keypair.

use crate::{Command, Context, Decision, Refusal, events};
use strata_events::keypair::{KeypairEvent, KeypairKind};
use strata_events::{KeypairRef, UserId};
use strata_projections::Cloud;

/// How many keypairs a user may have (Nova's default; this quota is of the user).
pub const LIMIT: usize = 100;

/// Registers a public key, which the API has parsed.
#[derive(Debug, Clone)]
pub struct ImportKeypair {
    pub user: UserId,
    pub name: String,
    pub kind: KeypairKind,
    pub public_key: String,
    pub fingerprint: String,
}

impl Command for ImportKeypair {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if cloud.keypairs.get(&self.user, &self.name).is_some() {
            return Err(Refusal::conflict(format!("Key pair '{}' already exists.", self.name)));
        }
        if cloud.keypairs.of(&self.user).count() >= LIMIT {
            return Err(Refusal::new(crate::Class::OverQuota, "KeypairLimitExceeded", "Quota exceeded, too many key pairs."));
        }
        Ok(events![KeypairEvent::KeypairImported {
            id: KeypairRef::new(&self.user, &self.name),
            user: self.user,
            name: self.name.clone(),
            kind: self.kind,
            public_key: self.public_key.clone(),
            fingerprint: self.fingerprint.clone(),
        }])
    }
}

/// Forgets a keypair. Servers keep the key that they were made with.
#[derive(Debug, Clone)]
pub struct DeleteKeypair {
    pub user: UserId,
    pub name: String,
}

impl Command for DeleteKeypair {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if cloud.keypairs.get(&self.user, &self.name).is_none() {
            return Err(Refusal::not_found("Keypair", format_args!("{} for user {}", self.name, self.user)));
        }
        Ok(events![KeypairEvent::KeypairDeleted { id: KeypairRef::new(&self.user, &self.name), user: self.user, name: self.name.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, testing::given};
    use strata_events::Event;

    const ALICE: UserId = UserId(uuid::Uuid::max());

    fn ask(name: &str) -> ImportKeypair {
        ImportKeypair {
            user: ALICE,
            name: name.into(),
            kind: KeypairKind::Ssh,
            public_key: "ssh-ed25519 AAAA".into(),
            fingerprint: "00:11".into(),
        }
    }
    fn imported(name: &str) -> Event {
        ask(name).decide(&Cloud::default(), &context()).map(|mut e| e.remove(0)).unwrap_or_else(|r| panic!("{r}"))
    }
    fn context() -> Context {
        Context { now: Default::default(), actor: strata_events::Actor::service("test"), request_id: String::new(), caused_by: None }
    }

    #[test]
    fn a_second_key_of_the_same_name_is_refused() {
        given([imported("laptop")]).when(ask("laptop")).refused(Class::Conflict, "already exists");
    }

    #[test]
    fn the_hundred_and_first_key_is_over_quota() {
        given((0..LIMIT).map(|i| imported(&i.to_string()))).when(ask("one more")).refused(Class::OverQuota, "too many key pairs");
    }

    #[test]
    fn a_deleted_key_is_gone_and_cannot_be_deleted_twice() {
        let delete = || DeleteKeypair { user: ALICE, name: "laptop".into() };
        let cloud = given([imported("laptop")]).when(delete()).accepted();
        assert!(cloud.keypairs.get(&ALICE, "laptop").is_none());
        assert!(delete().decide(&cloud, &context()).is_err());
    }
}
