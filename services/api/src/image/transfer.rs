//! Image data over HTTP: upload, staging, import, download.
//!
//! **Invariant: an upload either ends in data that an event names, or leaves nothing.** It runs as a task of its own, so that
//! a client that goes away mid-way ends in the same clean-up as one that sends rubbish.

use super::store::{Incoming, Piecewise, Trouble, Whole};
use super::{asker, image_id, visible};
use crate::frame::{Answer, App, Ctx, Fault, Reply, Routes, Rule, new_uuid, now};
use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::ops::Range;
use std::time::Duration;
use strata_conductor::decide::image::{ActivateImage, FailUpload, ImportImage, StageImage, StartUpload};
use strata_events::{ImageId, ImageTaskId, UploadId};
use strata_image_format::Refused;
use strata_projections::cloud::image::ImageStatus;
use tokio::sync::mpsc;

/// A client that sends nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// An upload may take this long, and a second more for each MiB.
const LEAST_TIME: i64 = 3600;
/// What is read of a body that is refused already, so that the client gets to read the answer.
const DRAIN: u64 = 64 << 20;
/// Pieces between the network and the disk.
const PIECES: usize = 8;

pub fn routes(r: &mut Routes) {
    r.put("/v2/images/{image_id}/file", upload, Rule::member("upload_image")).streams();
    r.put("/v2/images/{image_id}/stage", stage, Rule::member("modify_image")).streams();
    r.get("/v2/images/{image_id}/file", download, Rule::member("download_image"));
    r.post("/v2/images/{image_id}/import", import, Rule::member("modify_image"));
}

async fn upload(ctx: Ctx) -> Reply {
    receive(ctx, false).await
}
async fn stage(ctx: Ctx) -> Reply {
    receive(ctx, true).await
}

async fn receive(ctx: Ctx, staging: bool) -> Reply {
    let id = image_id(&ctx)?;
    let mut body = ctx.take_stream();
    let task = tokio::spawn(async move {
        let reply = transfer(&ctx, id, staging, &mut body).await;
        if reply.is_err() {
            drain(&mut body).await;
        }
        reply
    });
    task.await.unwrap_or_else(|e| Err(Fault::new(500, format!("The upload was cut off: {e}"))))
}

async fn transfer(ctx: &Ctx, id: ImageId, staging: bool, body: &mut Body) -> Reply {
    let content_type = ctx.header("content-type").unwrap_or_default();
    if content_type.split(';').next().unwrap_or_default().trim() != "application/octet-stream" {
        return Err(Fault::new(415, format!("Content type {content_type:?} is not supported: send application/octet-stream.")));
    }
    if let Some(store) = ctx.header("x-image-meta-store").filter(|s| *s != super::view::STORE) {
        return Err(Fault::bad_request(format!("Unknown scheme '{store}' found in URI: the store {store} does not exist.")));
    }
    let limit = ctx.app.config.max_image_size;
    let announced = announced(ctx)?;
    if announced.is_some_and(|size| size > limit) {
        return Err(fault(Trouble::TooLarge(limit)));
    }
    let Ok(_slot) = ctx.app.images.uploads.clone().try_acquire_owned() else {
        return Err(Fault::busy("Too many uploads at once; try again in a moment."));
    };
    let (store, upload) = (ctx.app.images.store.clone(), UploadId(new_uuid()));
    let incoming = blocking(move || store.begin(upload, limit)).await?;
    let seconds = LEAST_TIME + i64::try_from(announced.unwrap_or(limit) >> 20).unwrap_or(i64::MAX);
    let deadline = ctx.now.plus_secs(seconds);
    ctx.run(StartUpload { id, upload, deadline, staging, asker: asker(ctx) }).await?;

    // From here on the image waits for this upload: it must hear how it ended.
    let outcome = match arrive(incoming, body, announced, deadline.0 - now().0).await {
        Ok(whole) if staging => keep_staged(ctx, id, upload, whole).await,
        Ok(whole) => keep(ctx, id, upload, whole).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &outcome {
        let reason: String = fault.message.chars().take(1000).collect();
        // If this is not heard, the sweep finds an upload that nobody writes.
        let _ = ctx.run(FailUpload { id, upload, reason }).await;
    }
    outcome
}

/// How much the client says will come.
fn announced(ctx: &Ctx) -> Result<Option<u64>, Fault> {
    let bad = || Fault::bad_request("Invalid or missing image size in request headers.");
    let number = |name: &str| ctx.header(name).map(|v| v.parse::<u64>().map_err(|_| bad())).transpose();
    match (number("x-openstack-image-size")?, number("content-length")?) {
        (Some(a), Some(b)) if a != b => Err(bad()),
        (a, b) => Ok(a.or(b)),
    }
}

/// Takes the body in. Hashing and writing happen on a thread for blocking work, a few pieces behind the network.
async fn arrive(incoming: Incoming, body: &mut Body, announced: Option<u64>, micros: i64) -> Result<Whole, Fault> {
    let (send, receive) = mpsc::channel::<Bytes>(PIECES);
    let writer = tokio::task::spawn_blocking(move || write(incoming, receive, announced));
    let until = tokio::time::Instant::now() + Duration::from_micros(micros.max(0) as u64);
    let broken = loop {
        let patience = until.min(tokio::time::Instant::now() + PATIENCE);
        match tokio::time::timeout_at(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                // A writer that is gone has a reason, which it tells below.
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                    && send.send(data).await.is_err()
                {
                    break None;
                }
            }
            Ok(None) => break None,
            Ok(Some(Err(e))) => break Some(Fault::bad_request(format!("The upload broke off: {e}"))),
            Err(_) => break Some(Fault::new(408, "The upload took too long.")),
        }
    };
    if broken.is_some() {
        // Told by a piece that is empty, which the network never gives on.
        let _ = send.send(Bytes::new()).await;
    }
    drop(send);
    let written = writer.await.map_err(|e| Fault::new(500, format!("The image store failed: {e}")))?;
    match (broken, written) {
        (Some(fault), _) => Err(fault),
        (None, Ok(Some(whole))) => Ok(whole),
        (None, Ok(None)) => Err(Fault::bad_request("The upload broke off.")),
        (None, Err(trouble)) => Err(fault(trouble)),
    }
}

/// Writes what comes. None: it was broken off.
fn write(mut incoming: Incoming, mut pieces: mpsc::Receiver<Bytes>, announced: Option<u64>) -> Result<Option<Whole>, Trouble> {
    while let Some(piece) = pieces.blocking_recv() {
        if piece.is_empty() {
            return Ok(None);
        }
        incoming.write(&piece)?;
    }
    incoming.finish(announced).map(Some)
}

/// Makes the data the image's, if it is what was declared.
async fn keep(ctx: &Ctx, id: ImageId, upload: UploadId, whole: Whole) -> Reply {
    let cloud = ctx.fresh().await?;
    let image = cloud.images.get(&id).ok_or_else(|| gone(id))?;
    let (disk, container) = (image.attributes.disk_format.as_deref(), image.attributes.container_format.as_deref());
    let mut arrived = whole.arrived.clone();
    arrived.virtual_size = judge(&whole, disk.unwrap_or_default(), container.unwrap_or_default()).map_err(unfit)?;
    let kept = blocking(move || whole.keep()).await?;
    let done = ctx.run(ActivateImage { id, upload, arrived }).await;
    drop(kept);
    match done {
        Ok(_) => Ok(Answer::no_content()),
        Err(fault) => {
            ctx.app.images.tidy.notify_one();
            Err(if fault.kind == "Gone" { gone(id) } else { fault })
        }
    }
}

/// Keeps the data for an import, with what the import will say to it.
async fn keep_staged(ctx: &Ctx, id: ImageId, upload: UploadId, whole: Whole) -> Reply {
    let cloud = ctx.fresh().await?;
    let image = cloud.images.get(&id).ok_or_else(|| gone(id))?;
    let (disk, container) = (image.attributes.disk_format.as_deref(), image.attributes.container_format.as_deref());
    let mut arrived = whole.arrived.clone();
    let refused = match judge(&whole, disk.unwrap_or_default(), container.unwrap_or_default()) {
        Ok(virtual_size) => {
            arrived.virtual_size = virtual_size;
            None
        }
        Err(why) => Some(why.to_string()),
    };
    let kept = blocking(move || whole.keep()).await?;
    let done = ctx.run(StageImage { id, upload, arrived, refused }).await;
    drop(kept);
    match done {
        Ok(_) => Ok(Answer::no_content()),
        Err(fault) => {
            ctx.app.images.tidy.notify_one();
            Err(if fault.kind == "Gone" { gone(id) } else { fault })
        }
    }
}

/// The virtual size, if the data may be stored as what it was declared. What comes in a package (a tar file, a document) must
/// at least be no disk image that some tool would open.
fn judge(whole: &Whole, disk_format: &str, container_format: &str) -> Result<Option<u64>, Refused> {
    let found = whole.found.clone()?;
    if matches!(container_format, "ovf" | "ova" | "docker" | "compressed") {
        return found.is_declared("raw").map(|()| None);
    }
    found.is_declared(disk_format).map(|()| Some(found.virtual_size))
}

fn unfit(why: Refused) -> Fault {
    Fault::new(415, format!("The image data was refused: {why}."))
}
fn gone(id: ImageId) -> Fault {
    let why = "The image may have been deleted during the upload, cleaning up the chunks uploaded.";
    Fault::new(410, format!("Image {id} could not be found after upload. {why}"))
}
fn fault(trouble: Trouble) -> Fault {
    match &trouble {
        Trouble::TooLarge(_) => Fault::new(413, format!("The incoming image is too large: {trouble}.")),
        Trouble::Full => Fault::new(413, format!("Image storage media is full: {trouble}.")),
        Trouble::Short { .. } => Fault::bad_request(format!("The upload is truncated: {trouble}.")),
        Trouble::Io(e) => {
            tracing::error!("image store: {e}");
            Fault::busy("The image store can't be used at the moment; nothing was kept. Try again.")
        }
    }
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result.map_err(fault),
        Err(e) => Err(Fault::new(500, format!("The image store failed: {e}"))),
    }
}

/// Reads some of what a refused client is still sending: one that can't send is deaf to the answer.
async fn drain(body: &mut Body) {
    let mut left = DRAIN;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |d| d.len() as u64);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
}

async fn import(ctx: Ctx) -> Reply {
    let id = image_id(&ctx)?;
    let body = ctx.object()?;
    let method = body.get("method").ok_or_else(|| Fault::bad_request("Import request requires a 'method' field."))?;
    let name = method.get("name").ok_or_else(|| Fault::bad_request("Import request requires a 'name' field."))?;
    if !name.as_str().is_some_and(|n| super::info::IMPORT_METHODS.contains(&n)) {
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        return Err(Fault::bad_request(format!("Unknown import method name '{name}'.")));
    }
    for flag in ["all_stores_must_succeed", "all_stores"] {
        if body.get(flag).is_some_and(|v| !v.is_boolean()) {
            return Err(Fault::bad_request(format!("'{flag}' must be boolean value only")));
        }
    }
    if let Some(stores) = body.get("stores") {
        let known = stores.as_array().is_some_and(|all| all.iter().all(|s| s == super::view::STORE));
        if !known {
            return Err(Fault::conflict(format!("The stores {stores} don't all exist; there is one, '{}'.", super::view::STORE)));
        }
    }
    ctx.run(ImportImage { id, task: ImageTaskId(new_uuid()), asker: asker(&ctx) }).await?;
    ctx.app.images.tidy.notify_one();
    Ok(Answer::empty(202))
}

async fn download(ctx: Ctx) -> Reply {
    let image = visible(&ctx)?;
    if image.status == ImageStatus::Deactivated && !asker(&ctx).admin {
        return Err(Fault::forbidden("The requested image has been deactivated. Image data download is forbidden."));
    }
    let Some(data) = &image.data else { return Ok(Answer::no_content()) };
    let range = range(&ctx, data.size)?;
    let part = range.clone().unwrap_or(0..data.size);
    let length = part.end - part.start;
    let body = data_of(&ctx.app, &image.id, &data.sha512, part.start, length).await?;
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut answer = Answer::stream(status.as_u16(), "application/octet-stream", body)
        .header("content-length", &length.to_string())
        .header("content-md5", &data.checksum);
    if let Some(part) = range {
        answer = answer.header("content-range", &format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), data.size));
    }
    Ok(answer)
}

/// So many bytes of an image's data, from `start` on, read as they are taken.
pub(crate) async fn data_of(app: &App, image: &ImageId, sha512: &str, start: u64, length: u64) -> Result<Body, Fault> {
    let missing = || Fault::new(500, format!("The data of image {image} is not in the store."));
    let path = app.images.store.path(sha512).ok_or_else(missing)?;
    let reader = match tokio::task::spawn_blocking(move || Piecewise::open(&path, start, length)).await {
        Ok(Ok(reader)) => reader,
        Ok(Err(e)) => {
            tracing::error!(%image, "image data can't be read: {e}");
            return Err(missing());
        }
        Err(e) => return Err(Fault::new(500, format!("The image store failed: {e}"))),
    };
    Ok(Body::from_stream(futures_util::stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let read = tokio::task::spawn_blocking(move || reader.next().map(|piece| (piece, reader))).await;
        match read {
            Ok(Ok((piece, _))) if piece.is_empty() => None,
            Ok(Ok((piece, reader))) => Some((Ok(Bytes::from(piece)), Some(reader))),
            Ok(Err(e)) => Some((Err(e), None)),
            Err(e) => Some((Err(std::io::Error::other(e)), None)),
        }
    })))
}

/// The part that was asked for: `Range`, or as older clients of glance say it, `Content-Range`.
fn range(ctx: &Ctx, size: u64) -> Result<Option<Range<u64>>, Fault> {
    let parsed = match (ctx.header("range"), ctx.header("content-range")) {
        (Some(text), _) if text.contains(',') => {
            return Err(Fault::bad_request("Requests with multiple ranges are not supported. Please send one range a request."));
        }
        (Some(text), _) => byte_range(text, size),
        (None, Some(text)) => content_range(text, size),
        (None, None) => return Ok(None),
    };
    match parsed {
        Some(range) => Ok(Some(range)),
        None => Err(Fault::new(416, format!("The range can't be had of an image of {size} bytes."))),
    }
}

fn byte_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let range = if first.is_empty() {
        size.saturating_sub(last.parse().ok()?)..size
    } else {
        let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.checked_add(1)?.min(size) };
        first.parse().ok()?..end
    };
    (range.start < range.end).then_some(range)
}

fn content_range(text: &str, size: u64) -> Option<Range<u64>> {
    let (range, _) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = first.trim().parse().ok()?..last.trim().parse::<u64>().ok()?.checked_add(1)?;
    (range.start < range.end && range.end <= size).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_clients_write_them() {
        assert_eq!(byte_range("bytes=0-4", 10), Some(0..5));
        assert_eq!(byte_range("bytes=4-", 10), Some(4..10));
        assert_eq!(byte_range("bytes=-3", 10), Some(7..10));
        assert_eq!(byte_range("bytes=-30", 10), Some(0..10));
        assert_eq!(byte_range("bytes=5-100", 10), Some(5..10));
        assert_eq!(content_range("bytes 2-3/*", 10), Some(2..4));
        for bad in ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=a-b", "bytes", "items=0-1", "bytes=0-18446744073709551615x", ""] {
            assert_eq!(byte_range(bad, 10), None, "{bad}");
        }
        assert_eq!(byte_range("bytes=0-18446744073709551615", 10), None);
        assert_eq!(content_range("bytes 2-10/*", 10), None);
        assert_eq!(byte_range("bytes=0-", 0), None);
    }
}
