//! The image API (Glance v2). Source: image api-ref and glance's own code for what it leaves open.

mod images;
mod info;
mod list;
mod members;
mod patch;
mod schemas;
mod store;
pub(crate) mod transfer;
mod validate;
mod view;

use crate::frame::app::{ApiConfig, StartError};
use crate::frame::{Ctx, Fault, Routes, new_uuid, now};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use strata_conductor::Context;
use strata_conductor::decide::image::{Asker, FailUpload};
use strata_events::{Actor, ImageId, Timestamp};
use strata_projections::cloud::image::{Image, Upload};
use strata_writer::Conductor;
use tokio::sync::{Notify, Semaphore};

/// Uploads in progress at once in this process; more get 503.
const UPLOADS: usize = 64;
/// How often the store is tidied without being asked.
const TIDY_EVERY: Duration = Duration::from_secs(15);
/// An upload that nobody writes is given up after so many seconds: the moment between its last byte and its commit is shorter.
const ABANDONED_AFTER: i64 = 30;

/// What images keep beside the log: their bytes.
pub struct Images {
    store: Store,
    uploads: Arc<Semaphore>,
    tidy: Arc<Notify>,
}

impl Images {
    /// Opens the store, removes what a crash left in it, and goes on keeping it tidy.
    pub async fn open(conductor: &Conductor, config: &ApiConfig) -> Result<Self, StartError> {
        let failed = |e: std::io::Error| StartError {
            what: "The image store could not be opened",
            why: format!("{}: {e}", config.images.display()),
        };
        let store = Store::open(&config.images).map_err(failed)?;
        let tidy = Arc::new(Notify::new());
        tokio::spawn(keep_tidy(conductor.clone(), store.clone(), Arc::downgrade(&tidy)));
        Ok(Self { store, uploads: Arc::new(Semaphore::new(UPLOADS)), tidy })
    }
}

/// Runs until the API is gone. Takes no input: whatever woke it, it compares the whole store with the cloud.
async fn keep_tidy(conductor: Conductor, store: Store, wake: std::sync::Weak<Notify>) {
    loop {
        if let Err(why) = tidy(&conductor, &store).await {
            tracing::warn!("the image store could not be tidied: {why}");
        }
        let Some(wake) = wake.upgrade() else { return };
        let _ = tokio::time::timeout(TIDY_EVERY, wake.notified()).await;
    }
}

async fn tidy(conductor: &Conductor, store: &Store) -> Result<(), String> {
    let crashed = store.sweep_incoming().map_err(|e| e.to_string())?;
    let cloud = conductor.cloud().await.map_err(|e| e.to_string())?;
    let old = Timestamp(now().0 - ABANDONED_AFTER * 1_000_000);
    let uploads = cloud.images.uploads().filter_map(|i| i.upload.as_ref().map(|u| (i.id, u)));
    let lost = |u: &Upload| crashed.contains(&u.id.to_string()) || (u.started_at < old && !store.is_coming(&u.id));
    for (id, upload) in uploads.filter(|(_, u)| u.staged.is_none() && lost(u)) {
        let context = Context {
            now: now(),
            actor: Actor::service("image-store"),
            request_id: format!("req-{}", new_uuid().hyphenated()),
            caused_by: None,
        };
        let fail = FailUpload { id, upload: upload.id, reason: "The upload broke off.".into() };
        conductor.run(context, fail).await.map_err(|e| e.to_string())?;
    }
    // The state must be newer than the lock: data committed before it is in the state, and after it none is committed.
    let Some(alone) = store.alone().map_err(|e| e.to_string())? else { return Ok(()) };
    let cloud = conductor.cloud().await.map_err(|e| e.to_string())?;
    let removed = alone.remove_unused(|sha512| cloud.images.uses_data(sha512)).map_err(|e| e.to_string())?;
    if removed > 0 {
        tracing::info!(removed, "image data that no image uses was removed");
    }
    Ok(())
}

/// What creating an image tells of the ways to fill it.
const STORE_HEADERS: [(&str, &str); 2] = [("openstack-image-import-methods", "glance-direct"), ("openstack-image-store-ids", view::STORE)];

pub fn routes(r: &mut Routes) {
    info::routes(r);
    schemas::routes(r);
    images::routes(r);
    transfer::routes(r);
    members::routes(r);
}

/// Who is calling, for the rules. A token for the system as a whole gives no rights over images, which belong to projects.
fn asker(ctx: &Ctx) -> Asker {
    let system = ctx.caller.as_ref().is_some_and(|c| c.is_system());
    Asker { project: ctx.caller.as_ref().and_then(|c| c.project()), admin: ctx.is_admin() && !system }
}

/// The id in the path. What is no id names nothing.
fn image_id(ctx: &Ctx) -> Result<ImageId, Fault> {
    let text = ctx.param("image_id");
    text.parse().map_err(|_| Fault::not_found(format!("No image found with ID {text}")))
}

/// The image that the path names, if the caller may see it.
fn visible(ctx: &Ctx) -> Result<Arc<Image>, Fault> {
    let id = image_id(ctx)?;
    let asker = asker(ctx);
    let image = ctx.cloud.images.get(&id).filter(|i| asker.sees(i));
    image.cloned().ok_or_else(|| Fault::not_found(format!("No image found with ID {id}")))
}
