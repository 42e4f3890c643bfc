//! Passwords: argon2id, on as many threads as there are cores, with a bounded line before them. An unknown user costs the same
//! time as a wrong password. Nothing here prints a password or a hash.

use crate::frame::Fault;
use argon2::password_hash::{Output, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Block, Params};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// No longer password is looked at.
pub const MAX_LENGTH: usize = 4096;
/// How many may wait for each core; more get 503. At some 20 ms each, the last waits under a second.
const WAITING_PER_CORE: usize = 32;

/// How long memory is kept after the last password check.
const KEPT: Duration = Duration::from_secs(5);

/// The memory that argon2id works in: 19 MiB a core. Getting it from the system anew each time costs a third of a check, so it
/// is kept while logins come, and given back when they stop.
#[derive(Default)]
struct Scratch {
    free: Mutex<Vec<Vec<Block>>>,
    used: AtomicBool,
    watched: AtomicBool,
}

impl Scratch {
    fn take(&self) -> Vec<Block> {
        self.used.store(true, Ordering::SeqCst);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
    /// Keeps memory, and sees to it that it is given back once nobody has used it for a while. What is kept was put here, so
    /// nothing is ever kept unwatched, however long a check waited for its turn.
    fn put(self: &Arc<Self>, blocks: Vec<Block>) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
        // In this order: whoever stops watching looks at `used` after saying so. One of the two sees the other.
        self.used.store(true, Ordering::SeqCst);
        if self.watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let scratch = self.clone();
        tokio::spawn(async move {
            loop {
                while scratch.used.swap(false, Ordering::SeqCst) {
                    tokio::time::sleep(KEPT).await;
                }
                scratch.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
                scratch.watched.store(false, Ordering::SeqCst);
                if !scratch.used.load(Ordering::SeqCst) || scratch.watched.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }
}

/// Where hashes are made and checked.
pub struct Passwords {
    scratch: Arc<Scratch>,
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
            scratch: Arc::default(),
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
        let scratch = self.scratch.clone();
        let right = self.work(move || verify_now(&hash, &password, &scratch)).await?;
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

fn verify_now(hash: &str, password: &str, scratch: &Arc<Scratch>) -> bool {
    let fits = password.len() <= MAX_LENGTH;
    let password = if fits { password } else { "" };
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let right = match verify_in(&hash, password, scratch) {
        Some(right) => right,
        // A hash with parts that are not looked at here (a key id, associated data): the library knows them all.
        None => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
    };
    right && fits
}

/// The check in kept memory. None: the hash is not of the kind that Strata makes.
fn verify_in(hash: &PasswordHash<'_>, password: &str, scratch: &Arc<Scratch>) -> Option<bool> {
    let params = Params::try_from(hash).ok().filter(|p| p.keyid().is_empty() && p.data().is_empty())?;
    let version = hash.version?.try_into().ok()?;
    let (expected, salt) = (hash.hash?, hash.salt?);
    let mut bytes = [0; 64];
    let salt = salt.decode_b64(&mut bytes).ok()?;
    let blocks_needed = params.block_count();
    let argon2 = Argon2::new(argon2::Algorithm::try_from(hash.algorithm).ok()?, version, params);
    let mut blocks = scratch.take();
    blocks.resize(blocks_needed, Block::default());
    let made = Output::init_with(expected.len(), |out| {
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, &mut blocks).map_err(Into::into)
    });
    scratch.put(blocks);
    // Output compares in constant time.
    made.ok().map(|made| made == expected)
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
    async fn kept_memory_gives_the_library_s_answers() {
        let scratch = Arc::<Scratch>::default();
        let hash = hash_now("correct horse");
        let parsed = PasswordHash::new(&hash).unwrap();
        for _ in 0..3 {
            assert_eq!(verify_in(&parsed, "correct horse", &scratch), Some(true));
            assert_eq!(verify_in(&parsed, "battery staple", &scratch), Some(false));
        }
        assert_eq!(scratch.free.lock().unwrap().len(), 1, "the memory was used again and again");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_when_logins_stop() {
        let scratch = Arc::<Scratch>::default();
        scratch.put(vec![Block::default()]);
        tokio::time::sleep(KEPT / 2).await;
        scratch.put(vec![Block::default()]);
        assert_eq!(scratch.free.lock().unwrap().len(), 2, "it is kept while logins come");
        tokio::time::sleep(KEPT * 3).await;
        assert!(scratch.free.lock().unwrap().is_empty());
        // A check that began just before that, and ends just after it.
        scratch.put(vec![Block::default()]);
        tokio::time::sleep(KEPT * 3).await;
        assert!(scratch.free.lock().unwrap().is_empty(), "what came back late is kept for ever");
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
