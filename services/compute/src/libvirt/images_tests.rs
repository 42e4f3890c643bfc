use super::*;
use std::sync::atomic::{AtomicU32, Ordering};
use strata_events::ImageId;

struct Counted {
    bytes: Vec<u8>,
    fetched: AtomicU32,
    /// Instead of the bytes.
    fault: Mutex<Option<fn() -> FetchError>>,
}
impl ImageSource for Counted {
    fn fetch<'a>(&'a self, _: &'a PlannedImage, into: &'a Path) -> Pin<Box<dyn Future<Output = Result<(), FetchError>> + Send + 'a>> {
        Box::pin(async move {
            self.fetched.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Some(fault) = *self.fault.lock().expect("no panic") {
                return Err(fault());
            }
            fs::write(into, &self.bytes).map_err(|e| FetchError::Again(e.to_string()))
        })
    }
}

struct Cache {
    images: Images,
    source: Arc<Counted>,
    directory: PathBuf,
}
impl Drop for Cache {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
fn cache(name: &str, bytes: Vec<u8>) -> Cache {
    let directory = std::env::temp_dir().join(format!("strata-images-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    let source = Arc::new(Counted { bytes, fetched: AtomicU32::new(0), fault: Mutex::default() });
    Cache { images: Images::open(directory.clone(), source.clone()).expect("open"), source, directory }
}
fn image(bytes: &[u8], disk_format: &str) -> PlannedImage {
    PlannedImage {
        id: ImageId(uuid::Uuid::nil()),
        disk_format: disk_format.into(),
        checksum: String::new(),
        sha512: hex(&Sha512::digest(bytes)),
        size: bytes.len() as u64,
        properties: serde_json::Map::new(),
    }
}

#[tokio::test]
async fn one_download_serves_all_who_wait() {
    let bytes = vec![7; 50_000];
    let cache = cache("flight", bytes.clone());
    let image = image(&bytes, "raw");
    let all = futures(&cache.images, &image, 8).await;
    assert!(all.iter().all(|b| b.as_ref().is_ok_and(|b| b.format == "raw" && b.virtual_size == 50_000)), "{all:?}");
    assert_eq!(cache.source.fetched.load(Ordering::Relaxed), 1);
    let names: HashSet<String> =
        fs::read_dir(&cache.directory).expect("list").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names, HashSet::from([image.sha512.clone(), format!("{}.json", image.sha512)]));
}

async fn futures(images: &Images, image: &PlannedImage, n: usize) -> Vec<Result<Base, HypervisorError>> {
    // Polled by turns in one task: all have begun before the first ends.
    let mut all: Vec<_> = (0..n).map(|_| Box::pin(images.base(image, false))).collect();
    let mut done: Vec<Option<_>> = (0..n).map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, slot) in all.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            if let std::task::Poll::Ready(base) = future.as_mut().poll(cx) {
                *slot = Some(base);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn what_was_changed_in_the_cache_is_fetched_again() {
    let bytes = vec![7; 5000];
    let cache = cache("changed", bytes.clone());
    let image = image(&bytes, "raw");
    let base = cache.images.base(&image, false).await.expect("fetched");
    let fetched = |n| assert_eq!(cache.source.fetched.load(Ordering::Relaxed), n);
    // Touched only: read again, not fetched.
    File::options().write(true).open(&base.path).and_then(|f| f.set_modified(SystemTime::UNIX_EPOCH)).expect("touch");
    cache.images.base(&image, false).await.expect("good");
    fetched(1);
    fs::write(&base.path, vec![8; 5000]).expect("damage");
    cache.images.base(&image, false).await.expect("fetched again");
    fetched(2);
    assert_eq!(fs::read(&base.path).expect("read"), bytes);
    fs::remove_file(&base.path).expect("remove");
    cache.images.base(&image, false).await.expect("fetched again");
    fetched(3);
    // Doubted, but sound.
    cache.images.base(&image, true).await.expect("good");
    fetched(3);
}

#[tokio::test]
async fn what_arrives_wrong_never_gets_the_images_name() {
    let cache = cache("wrong", vec![7; 5000]);
    for wrong in [image(&[8; 5000], "raw"), image(&[7; 5001], "raw"), image(&[7; 4000], "raw")] {
        let refused = cache.images.base(&wrong, false).await;
        assert!(matches!(&refused, Err(HypervisorError::Failed(why)) if why.contains("damaged")), "{refused:?}");
    }
    assert_eq!(fs::read_dir(&cache.directory).expect("list").count(), 0, "nothing is left over");
    let no_name = PlannedImage { sha512: "../../etc/passwd".into(), ..image(&[7; 5000], "raw") };
    assert!(matches!(cache.images.base(&no_name, false).await, Err(HypervisorError::Failed(_))));
}

#[tokio::test]
async fn an_image_that_is_not_what_it_says_is_refused_before_any_tool_opens_it() {
    let mut hostile = vec![0; 70_000];
    hostile[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    let cache = cache("hostile", hostile.clone());
    for declared in ["raw", "qcow2", "vmdk"] {
        let refused = cache.images.base(&image(&hostile, declared), false).await;
        assert!(matches!(&refused, Err(HypervisorError::Failed(why)) if why.contains("refused")), "{declared}: {refused:?}");
    }
    assert_eq!(fs::read_dir(&cache.directory).expect("list").count(), 0, "nothing is left over");
}

#[tokio::test]
async fn an_image_that_no_disk_can_hold_is_said_to_be_so() {
    let cache = cache("huge", vec![7; 10]);
    let huge = PlannedImage { size: 1 << 60, ..image(&[7; 10], "raw") };
    let refused = cache.images.base(&huge, false).await;
    assert!(matches!(&refused, Err(HypervisorError::Failed(why)) if why.contains("disk is full")), "{refused:?}");
}

#[tokio::test]
async fn only_what_is_idle_and_unused_is_removed() {
    let bytes = vec![7; 5000];
    let cache = cache("prune", bytes.clone());
    let image = image(&bytes, "raw");
    cache.images.base(&image, false).await.expect("fetched");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(cache.images.prune(&HashSet::new(), Duration::from_secs(60)), 0);
    assert_eq!(cache.images.prune(&HashSet::from([image.sha512.clone()]), Duration::from_millis(1)), 0);
    assert_eq!(cache.images.prune(&HashSet::new(), Duration::from_millis(1)), 1);
    assert_eq!(fs::read_dir(&cache.directory).expect("list").count(), 0, "nothing is left over");
}

#[tokio::test]
async fn a_damaged_copy_stays_until_another_is_there() {
    let bytes = vec![7; 5000];
    let cache = cache("stays", bytes.clone());
    let image = image(&bytes, "raw");
    let base = cache.images.base(&image, false).await.expect("fetched");
    let damaged = vec![8; 5000];
    fs::write(&base.path, &damaged).expect("damage");
    *cache.source.fault.lock().expect("no panic") = Some(|| FetchError::Again("the API is away".into()));
    let waits = cache.images.base(&image, false).await;
    assert!(matches!(&waits, Err(HypervisorError::Unavailable(why)) if why.contains("is away")), "{waits:?}");
    assert_eq!(fs::read(&base.path).expect("it is there"), damaged, "guests may rest on most of it");
    *cache.source.fault.lock().expect("no panic") = Some(|| FetchError::Gone);
    let gone = cache.images.base(&image, false).await;
    assert!(
        matches!(&gone, Err(HypervisorError::Failed(why)) if why.contains("deleted, and the copy of it on the host is damaged")),
        "{gone:?}"
    );
    assert_eq!(fs::read(&base.path).expect("it is there"), damaged);
    *cache.source.fault.lock().expect("no panic") = None;
    cache.images.base(&image, false).await.expect("fetched again");
    assert_eq!(fs::read(&base.path).expect("read"), bytes);
}

#[tokio::test]
async fn the_right_bytes_are_kept_though_nothing_new_may_begin_with_them() {
    let mut hostile = vec![0; 70_000];
    hostile[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    let cache = cache("kept", hostile.clone());
    let image = image(&hostile, "qcow2");
    let file = cache.directory.join(&image.sha512);
    fs::write(&file, &hostile).expect("an older version let it in");
    let refused = cache.images.base(&image, false).await;
    assert!(matches!(&refused, Err(HypervisorError::Failed(why)) if why.contains("refused")), "{refused:?}");
    assert_eq!(fs::read(&file).expect("it is there"), hostile);
    assert_eq!(cache.source.fetched.load(Ordering::Relaxed), 0, "the same would come again");
}
