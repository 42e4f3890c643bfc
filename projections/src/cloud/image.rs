//! Images. Invariant: the bytes of an active image never change; only what Strata measured is its size and checksum.

use super::{CannotApply, Cloud, Stamp, Table};
use crate::plan::instance::PlannedImage;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use strata_events::image::{ImageAttributes, ImageEvent, MemberStatus};
use strata_events::{ImageId, ProjectId, Timestamp};

/// Glance's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageStatus {
    Queued,
    Saving,
    Active,
    Deactivated,
}

/// The stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageData {
    /// bytes
    pub size: u64,
    /// bytes
    pub virtual_size: Option<u64>,
    /// MD5, hex
    pub checksum: String,
    /// hex; also the name in the store
    pub sha512: String,
}

/// A project that an image is shared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub project: ProjectId,
    pub status: MemberStatus,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An image as the log has made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub id: ImageId,
    pub owner: ProjectId,
    pub status: ImageStatus,
    pub attributes: ImageAttributes,
    pub data: Option<ImageData>,
    /// While saving: when the upload counts as broken off.
    pub deadline: Option<Timestamp>,
    pub members: Vec<Member>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The live images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Images {
    all: Table<ImageId, Image>,
    /// Newest last.
    by_age: OrdSet<(Timestamp, ImageId)>,
    /// How many images have these bytes (SHA-512): at 0 the store may forget them.
    uses: OrdMap<String, u32>,
}

impl std::ops::Deref for Images {
    type Target = Table<ImageId, Image>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Images {
    /// What a host needs to know of an image that has its data.
    pub fn planned(&self, id: &ImageId) -> Option<PlannedImage> {
        let image = self.all.get(id)?;
        let data = image.data.as_ref()?;
        Some(PlannedImage {
            id: *id,
            disk_format: image.attributes.disk_format.clone().unwrap_or_default(),
            checksum: data.checksum.clone(),
            sha512: data.sha512.clone(),
            size: data.size,
            properties: image.attributes.properties.clone(),
        })
    }
    /// Newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &std::sync::Arc<Image>> {
        self.by_age.iter().rev().filter_map(|(_, id)| self.all.get(id))
    }
    /// Whether some live image has these bytes.
    pub fn uses_data(&self, sha512: &str) -> bool {
        self.uses.contains_key(sha512)
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &ImageEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    let images = &mut cloud.images;
    let mut edit = |id: &ImageId, f: &mut dyn FnMut(&mut Image)| {
        images.all.change(id, |image| {
            f(image);
            image.updated_at = stamp.at;
        })
    };
    match event {
        ImageEvent::ImageCreated { id, owner, attributes } => {
            images.by_age.insert((stamp.at, *id));
            images.all.add(
                *id,
                Image {
                    id: *id,
                    owner: *owner,
                    status: ImageStatus::Queued,
                    attributes: attributes.clone(),
                    data: None,
                    deadline: None,
                    members: vec![],
                    created_at: stamp.at,
                    updated_at: stamp.at,
                },
            )
        }
        ImageEvent::ImageUpdated { id, attributes } => edit(id, &mut |i| i.attributes = attributes.clone()),
        ImageEvent::ImageUploadStarted { id, deadline } => edit(id, &mut |i| {
            i.status = ImageStatus::Saving;
            i.deadline = Some(*deadline);
        }),
        ImageEvent::ImageUploadFailed { id, reason: _ } => edit(id, &mut |i| {
            i.status = ImageStatus::Queued;
            i.deadline = None;
        }),
        ImageEvent::ImageActivated { id, size, virtual_size, checksum, sha512 } => {
            edit(id, &mut |i| {
                i.status = ImageStatus::Active;
                i.deadline = None;
                i.data = Some(ImageData { size: *size, virtual_size: *virtual_size, checksum: checksum.clone(), sha512: sha512.clone() });
            })?;
            *images.uses.entry(sha512.clone()).or_insert(0) += 1;
            Ok(())
        }
        ImageEvent::ImageDeactivated { id } => edit(id, &mut |i| i.status = ImageStatus::Deactivated),
        ImageEvent::ImageReactivated { id } => edit(id, &mut |i| i.status = ImageStatus::Active),
        ImageEvent::ImageMemberAdded { id, member } => edit(id, &mut |i| {
            i.members.push(Member { project: *member, status: MemberStatus::Pending, created_at: stamp.at, updated_at: stamp.at })
        }),
        ImageEvent::ImageMemberAnswered { id, member, status } => edit(id, &mut |i| {
            for m in i.members.iter_mut().filter(|m| m.project == *member) {
                m.status = *status;
                m.updated_at = stamp.at;
            }
        }),
        ImageEvent::ImageMemberRemoved { id, member } => edit(id, &mut |i| i.members.retain(|m| m.project != *member)),
        ImageEvent::ImageDeleted { id } => {
            let image = images.all.remove(id)?;
            images.by_age.remove(&(image.created_at, *id));
            if let Some(data) = &image.data {
                match images.uses.get_mut(&data.sha512) {
                    Some(1) | None => drop(images.uses.remove(&data.sha512)),
                    Some(n) => *n -= 1,
                }
            }
            cloud.end_of_stream(ImageEvent::KIND, id.0);
            Ok(())
        }
    }
}
