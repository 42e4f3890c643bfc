//! Images. Invariant: the bytes of an active image never change; only what Strata measured is its size and checksum.

use super::{CannotApply, Cloud, Stamp, Table};
use crate::plan::instance::PlannedImage;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use strata_events::image::{ImageAttributes, ImageEvent, MemberStatus, Visibility};
use strata_events::{Actor, ImageId, ImageTaskId, ProjectId, Timestamp, UploadId, UserId};

/// Glance's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageStatus {
    Queued,
    Saving,
    /// To the staging area, or there.
    Uploading,
    Active,
    Deactivated,
}

impl ImageStatus {
    /// As the API prints it.
    pub fn name(self) -> &'static str {
        match self {
            ImageStatus::Queued => "queued",
            ImageStatus::Saving => "saving",
            ImageStatus::Uploading => "uploading",
            ImageStatus::Active => "active",
            ImageStatus::Deactivated => "deactivated",
        }
    }
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

/// Bytes on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: UploadId,
    pub started_at: Timestamp,
    /// When it counts as broken off; once staged, when it is forgotten.
    pub deadline: Timestamp,
    /// All there, and waiting to be imported.
    pub staged: Option<Staged>,
}

/// Bytes that wait to be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    pub data: ImageData,
    pub refused: Option<String>,
}

/// How an import went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub id: ImageTaskId,
    pub request_id: String,
    pub user: Option<UserId>,
    /// None while it is not decided; else why it failed, if it did.
    pub failure: Option<Option<String>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
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
    pub upload: Option<Upload>,
    /// Newest last, a few.
    pub imports: Vec<Import>,
    pub members: Vec<Member>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Imports that an image remembers.
const IMPORTS_KEPT: usize = 8;

impl Image {
    pub fn member(&self, project: &ProjectId) -> Option<&Member> {
        self.members.iter().find(|m| m.project == *project)
    }
    /// Whether a project may see it, whatever it says to an offer to share.
    pub fn visible_to(&self, project: Option<&ProjectId>) -> bool {
        match self.attributes.visibility {
            Visibility::Public | Visibility::Community => true,
            Visibility::Shared => project.is_some_and(|p| *p == self.owner || self.member(p).is_some()),
            Visibility::Private => project == Some(&self.owner),
        }
    }

    fn step(&mut self, from: &[ImageStatus], to: ImageStatus) -> Result<(), CannotApply> {
        if !from.contains(&self.status) {
            return Err(CannotApply::because(format!("image {} is {}, it can't become {}", self.id, self.status.name(), to.name())));
        }
        self.status = to;
        Ok(())
    }
    fn import_ended(&mut self, failure: Option<String>, at: Timestamp) {
        if let Some(import) = self.imports.last_mut().filter(|i| i.failure.is_none()) {
            import.failure = Some(failure);
            import.updated_at = at;
        }
    }
    /// The data that it keeps in the store.
    fn stored(&self) -> impl Iterator<Item = &ImageData> {
        let staged = self.upload.as_ref().and_then(|u| u.staged.as_ref()).map(|s| &s.data);
        self.data.iter().chain(staged)
    }
}

/// The live images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Images {
    all: Table<ImageId, Image>,
    /// Newest last.
    by_age: OrdSet<(Timestamp, ImageId)>,
    /// How many images have these bytes (SHA-512): at 0 the store may forget them.
    uses: OrdMap<String, u32>,
    /// Uploads and staged data by deadline.
    due: OrdSet<(Timestamp, ImageId)>,
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
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.by_age.iter().rev().filter_map(|(_, id)| self.all.get(id))
    }
    /// Whether some live image has these bytes, or waits to have them.
    pub fn uses_data(&self, sha512: &str) -> bool {
        self.uses.contains_key(sha512)
    }
    /// Images with bytes on their way or staged, the first to expire first.
    pub fn uploads(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.due.iter().filter_map(|(_, id)| self.all.get(id))
    }

    /// Changes an image and what is indexed of it.
    fn edit(&mut self, id: &ImageId, at: Timestamp, f: impl FnOnce(&mut Image) -> Result<(), CannotApply>) -> Result<(), CannotApply> {
        let before = self.all.need(id)?.clone();
        self.all.change(id, |image| {
            image.updated_at = at;
            f(image)
        })??;
        let after = self.all.need(id)?.clone();
        self.index(Some(&before), Some(&after));
        Ok(())
    }
    fn index(&mut self, before: Option<&Image>, after: Option<&Image>) {
        for data in after.into_iter().flat_map(Image::stored) {
            *self.uses.entry(data.sha512.clone()).or_insert(0) += 1;
        }
        for data in before.into_iter().flat_map(Image::stored) {
            match self.uses.get_mut(&data.sha512) {
                Some(1) | None => drop(self.uses.remove(&data.sha512)),
                Some(n) => *n -= 1,
            }
        }
        let due = |image: Option<&Image>| image.and_then(|i| i.upload.as_ref().map(|u| (u.deadline, i.id)));
        if let Some(gone) = due(before) {
            self.due.remove(&gone);
        }
        if let Some(new) = due(after) {
            self.due.insert(new);
        }
    }
}

pub(super) fn apply(cloud: &mut Cloud, event: &ImageEvent, stamp: &Stamp<'_>) -> Result<(), CannotApply> {
    use ImageStatus::{Active, Deactivated, Queued, Saving, Uploading};
    let images = &mut cloud.images;
    let at = stamp.at;
    match event {
        ImageEvent::ImageCreated { id, owner, attributes } => {
            images.by_age.insert((at, *id));
            let image = Image {
                id: *id,
                owner: *owner,
                status: Queued,
                attributes: attributes.clone(),
                data: None,
                upload: None,
                imports: vec![],
                members: vec![],
                created_at: at,
                updated_at: at,
            };
            images.all.add(*id, image)
        }
        ImageEvent::ImageUpdated { id, attributes } => images.edit(id, at, |i| {
            i.attributes = attributes.clone();
            Ok(())
        }),
        ImageEvent::ImageOwnerChanged { id, owner } => images.edit(id, at, |i| {
            i.owner = *owner;
            Ok(())
        }),
        ImageEvent::ImageUploadStarted { id, upload, deadline } => images.edit(id, at, |i| {
            i.upload = Some(Upload { id: *upload, started_at: at, deadline: *deadline, staged: None });
            i.step(&[Queued], Saving)
        }),
        ImageEvent::ImageStagingStarted { id, upload, deadline } => images.edit(id, at, |i| {
            i.upload = Some(Upload { id: *upload, started_at: at, deadline: *deadline, staged: None });
            i.step(&[Queued], Uploading)
        }),
        ImageEvent::ImageUploadFailed { id, reason } => images.edit(id, at, |i| {
            i.upload = None;
            i.import_ended(Some(reason.clone()), at);
            i.step(&[Saving, Uploading], Queued)
        }),
        ImageEvent::ImageStaged { id, size, virtual_size, checksum, sha512, refused, deadline } => images.edit(id, at, |i| {
            let data = ImageData { size: *size, virtual_size: *virtual_size, checksum: checksum.clone(), sha512: sha512.clone() };
            let upload = i.upload.as_mut().ok_or_else(|| CannotApply::because("nothing was being staged"))?;
            upload.staged = Some(Staged { data, refused: refused.clone() });
            upload.deadline = *deadline;
            i.step(&[Uploading], Uploading)
        }),
        ImageEvent::ImageImportRequested { id, task } => images.edit(id, at, |i| {
            let user = match stamp.actor {
                Actor::User { user, .. } => Some(*user),
                _ => None,
            };
            if i.imports.len() == IMPORTS_KEPT {
                i.imports.remove(0);
            }
            let request_id = stamp.request_id.to_owned();
            i.imports.push(Import { id: *task, request_id, user, failure: None, created_at: at, updated_at: at });
            i.step(&[Uploading], Uploading)
        }),
        ImageEvent::ImageActivated { id, size, virtual_size, checksum, sha512 } => images.edit(id, at, |i| {
            i.upload = None;
            i.data = Some(ImageData { size: *size, virtual_size: *virtual_size, checksum: checksum.clone(), sha512: sha512.clone() });
            i.import_ended(None, at);
            i.step(&[Saving, Uploading], Active)
        }),
        ImageEvent::ImageDeactivated { id } => images.edit(id, at, |i| i.step(&[Active], Deactivated)),
        ImageEvent::ImageReactivated { id } => images.edit(id, at, |i| i.step(&[Deactivated], Active)),
        ImageEvent::ImageMemberAdded { id, member } => images.edit(id, at, |i| {
            i.members.push(Member { project: *member, status: MemberStatus::Pending, created_at: at, updated_at: at });
            Ok(())
        }),
        ImageEvent::ImageMemberAnswered { id, member, status } => images.edit(id, at, |i| {
            let found = i.members.iter_mut().find(|m| m.project == *member);
            let member = found.ok_or_else(|| CannotApply::because(format!("{member} is no member")))?;
            member.status = *status;
            member.updated_at = at;
            Ok(())
        }),
        ImageEvent::ImageMemberRemoved { id, member } => images.edit(id, at, |i| {
            i.members.retain(|m| m.project != *member);
            Ok(())
        }),
        // The stream's version is kept: callers may choose an image's id, and one that was used never names another image.
        ImageEvent::ImageDeleted { id } => {
            let image = images.all.remove(id)?;
            images.by_age.remove(&(image.created_at, *id));
            images.index(Some(&image), None);
            Ok(())
        }
    }
}
