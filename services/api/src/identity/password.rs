//! Passwords: argon2id, on as many threads as there are cores, with a bounded line before them. An unknown user costs the same
//! time as a wrong password. Nothing here prints a password or a hash.

use crate::frame::Fault;
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// No longer password is looked at.
pub const MAX_LENGTH: usize = 4096;
/// How many may wait for each core; more get 503. At some 20 ms each, the last waits under a second.
const WAITING_PER_CORE: usize = 32;

/// Where hashes are made and checked.
pub struct Passwords {
    cores: Arc<Semaphore>,
    waiting: AtomicUsize,
    most: usize,
    /// Of a password that nobody has: checked when there is no user to check.
    dummy: String,
}

struct Place<'a>(&'a AtomicUsize);
impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    pub fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let nobody = crate::frame::new_uuid().simple().to_string();
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            waiting: AtomicUsize::new(0),
            most: cores * WAITING_PER_CORE,
            dummy: hash_now(&nobody),
        }
    }

    /// Whether the password is the one of that hash. With no hash it takes as long, and the answer is no.
    pub async fn check(&self, hash: Option<String>, password: String) -> Result<bool, Fault> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.clone());
        let right = self.work(move || verify_now(&hash, &password)).await?;
        Ok(right && known)
    }

    /// The argon2id hash of a new password, in PHC string format.
    pub async fn hash(&self, password: String) -> Result<String, Fault> {
        self.work(move || hash_now(&password)).await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            return Err(Fault::busy("Too many logins at once; try again in a moment."));
        }
        let stopping = || Fault::busy("The service is stopping; try again in a moment.");
        let core = self.cores.clone().acquire_owned().await.map_err(|_| stopping())?;
        // The core is given back by the thread that used it, also when the client has hung up meanwhile.
        let done = tokio::task::spawn_blocking(move || {
            let value = work();
            drop(core);
            value
        });
        let value = done.await.map_err(|_| stopping());
        drop(place);
        value
    }
}

/// The hash, made on this thread: for the command line, which makes the first users.
pub fn hash_now(password: &str) -> String {
    let salt = crate::frame::new_uuid().into_bytes();
    let salt = SaltString::encode_b64(&salt).unwrap_or_else(|e| unreachable!("16 bytes are a fine salt: {e}"));
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.unwrap_or_else(|e| unreachable!("the default parameters are valid, and no password is too long for them: {e}")).to_string()
}

fn verify_now(hash: &str, password: &str) -> bool {
    let fits = password.len() <= MAX_LENGTH;
    let password = if fits { password } else { "" };
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let passwords = Passwords::start();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(passwords.check(Some(hash.clone()), "correct horse".into()).await.unwrap());
        assert!(!passwords.check(Some(hash), "battery staple".into()).await.unwrap());
        assert!(!passwords.check(None, "correct horse".into()).await.unwrap());
    }

    #[tokio::test]
    async fn a_long_line_is_refused_with_503() {
        let passwords = Passwords::start();
        passwords.waiting.store(passwords.most, Ordering::Relaxed);
        let refused = passwords.check(None, "x".into()).await.unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (503, Some(1)));
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), passwords.most);
    }
}
