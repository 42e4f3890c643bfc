//! An image's bytes: uploading, staging, importing. The bytes themselves pass through the API; here stands what they lead to.

use super::{Asker, Image, ImageStatus, owned};
use crate::{Class, Command, Context, Decision, Refusal, events};
use std::sync::Arc;
use strata_events::image::ImageEvent;
use strata_events::{ImageId, ImageTaskId, Timestamp, UploadId};
use strata_projections::Cloud;

/// How long staged data waits for its import: a day.
const STAGED_FOR: i64 = 24 * 3600;

/// Begins an upload, to the image itself or to the staging area.
#[derive(Debug, Clone)]
pub struct StartUpload {
    pub id: ImageId,
    pub upload: UploadId,
    pub deadline: Timestamp,
    pub staging: bool,
    pub asker: Asker,
}

impl Command for StartUpload {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let rule = if self.staging { "modify_image" } else { "upload_image" };
        let image = owned(cloud, &self.id, &self.asker, rule)?;
        if image.status != ImageStatus::Queued {
            let to = if self.staging { "uploading" } else { "saving" };
            let why = format!("Image status transition from {} to {to} is not allowed", image.status.name());
            return Err(Refusal::conflict(why));
        }
        let Self { id, upload, deadline, .. } = *self;
        if self.staging {
            return Ok(events![ImageEvent::ImageStagingStarted { id, upload, deadline }]);
        }
        let a = &image.attributes;
        let missing: Vec<&str> = [("disk_format", &a.disk_format), ("container_format", &a.container_format)]
            .into_iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        match missing.as_slice() {
            [] => Ok(events![ImageEvent::ImageUploadStarted { id, upload, deadline }]),
            [one] => Err(Refusal::invalid(format!("Property {one} must be set prior to saving data."))),
            _ => Err(Refusal::invalid(format!("Properties {} must be set prior to saving data.", missing.join(", ")))),
        }
    }
}

/// Bytes that arrived whole and lie in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub size: u64,
    pub virtual_size: Option<u64>,
    pub checksum: String,
    pub sha512: String,
}

/// The image whose upload this is, if it has not been given up or deleted meanwhile.
fn uploading<'a>(cloud: &'a Cloud, id: &ImageId, upload: &UploadId) -> Result<&'a Arc<Image>, Refusal> {
    let image = cloud.images.get(id).filter(|i| i.upload.as_ref().is_some_and(|u| u.id == *upload && u.staged.is_none()));
    image.ok_or_else(|| {
        let why = format!("Image {id} could not be found after upload. The image may have been deleted during the upload.");
        Refusal::new(Class::Conflict, "Gone", why)
    })
}

/// The upload is complete and its data is what was declared: the image is active.
#[derive(Debug, Clone)]
pub struct ActivateImage {
    pub id: ImageId,
    pub upload: UploadId,
    pub arrived: Arrived,
}

impl Command for ActivateImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        uploading(cloud, &self.id, &self.upload)?;
        Ok(events![activated(self.id, self.arrived.clone())])
    }
}

fn activated(id: ImageId, arrived: Arrived) -> ImageEvent {
    let Arrived { size, virtual_size, checksum, sha512 } = arrived;
    ImageEvent::ImageActivated { id, size, virtual_size, checksum, sha512 }
}

/// The staging is complete. Whether the data will do was judged as it came; the import tells.
#[derive(Debug, Clone)]
pub struct StageImage {
    pub id: ImageId,
    pub upload: UploadId,
    pub arrived: Arrived,
    pub refused: Option<String>,
}

impl Command for StageImage {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        uploading(cloud, &self.id, &self.upload)?;
        let Arrived { size, virtual_size, checksum, sha512 } = self.arrived.clone();
        let (refused, deadline) = (self.refused.clone(), ctx.now.plus_secs(STAGED_FOR));
        Ok(events![ImageEvent::ImageStaged { id: self.id, size, virtual_size, checksum, sha512, refused, deadline }])
    }
}

/// An upload broke off, was refused or took too long: the image waits for data again.
#[derive(Debug, Clone)]
pub struct FailUpload {
    pub id: ImageId,
    pub upload: UploadId,
    pub reason: String,
}

impl Command for FailUpload {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        match cloud.images.get(&self.id).filter(|i| i.upload.as_ref().is_some_and(|u| u.id == self.upload)) {
            Some(_) => Ok(events![ImageEvent::ImageUploadFailed { id: self.id, reason: self.reason.clone() }]),
            None => Ok(vec![]),
        }
    }
}

/// Makes staged data the image's own (`glance-direct`).
#[derive(Debug, Clone)]
pub struct ImportImage {
    pub id: ImageId,
    pub task: ImageTaskId,
    pub asker: Asker,
}

impl Command for ImportImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let image = owned(cloud, &self.id, &self.asker, "modify_image")?;
        if image.status == ImageStatus::Active {
            return Err(Refusal::conflict("Image with status active cannot be target for import"));
        }
        let staged = image.upload.as_ref().and_then(|u| u.staged.as_ref()).filter(|_| image.status == ImageStatus::Uploading);
        let staged = staged.ok_or_else(|| Refusal::conflict("Image needs to be staged before 'glance-direct' method can be used"))?;
        let a = &image.attributes;
        for (name, value) in [("container_format", &a.container_format), ("disk_format", &a.disk_format)] {
            if value.is_none() {
                return Err(Refusal::conflict(format!("'{name}' needs to be set before import")));
            }
        }
        let outcome = match &staged.refused {
            Some(reason) => ImageEvent::ImageUploadFailed { id: self.id, reason: reason.clone() },
            None => {
                let data = staged.data.clone();
                let arrived = Arrived { size: data.size, virtual_size: data.virtual_size, checksum: data.checksum, sha512: data.sha512 };
                activated(self.id, arrived)
            }
        };
        Ok(events![ImageEvent::ImageImportRequested { id: self.id, task: self.task }, outcome])
    }
}
