//! What may be asked of an image. Invariant: size, checksum and status come from Strata's own look at the data, never from a
//! caller; and an image that a caller may not see is not found, whatever is asked of it.

mod member;
mod patch;
mod upload;

pub use member::{AddMember, AnswerMember, RemoveMember};
pub use patch::{Change, Op, PatchImage};
pub use upload::{ActivateImage, Arrived, FailUpload, ImportImage, StageImage, StartUpload};

use crate::{Class, Command, Context, Decision, Refusal, events};
use std::sync::Arc;
use strata_events::image::{ImageAttributes, ImageEvent, Visibility};
use strata_events::{ImageId, ProjectId, Stream};
use strata_projections::Cloud;
use strata_projections::cloud::image::{Image, ImageStatus};

/// Glance's defaults for image_property_quota, image_tag_quota and image_member_quota.
pub const MAX_PROPERTIES: usize = 128;
pub const MAX_TAGS: usize = 128;
pub const MAX_MEMBERS: usize = 128;
/// Of an image's attributes as JSON, in bytes: an event stays below 64 KiB.
pub const MAX_ATTRIBUTES: usize = 48 * 1024;

/// Who asks, as far as images care. That the role suffices was settled by the route's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub project: Option<ProjectId>,
    pub admin: bool,
}

impl Asker {
    /// Images are seen from within a project; a token for anything else sees none, not even public ones.
    pub fn sees(&self, image: &Image) -> bool {
        self.admin || self.project.as_ref().is_some_and(|p| image.visible_to(Some(p)))
    }
    pub fn owns(&self, image: &Image) -> bool {
        self.admin || self.project == Some(image.owner)
    }
    fn may_show_as(&self, visibility: Visibility) -> Result<(), Refusal> {
        if visibility == Visibility::Public && !self.admin { Err(not_authorized("publicize_image")) } else { Ok(()) }
    }
}

fn not_authorized(rule: &str) -> Refusal {
    Refusal::forbidden(format!("You are not authorized to complete {rule} action."))
}
fn no_image(id: &ImageId) -> Refusal {
    Refusal::new(Class::NotFound, "NotFound", format!("No image found with ID {id}"))
}

/// The image, which this caller must own to do what the rule names.
fn owned<'a>(cloud: &'a Cloud, id: &ImageId, asker: &Asker, rule: &str) -> Result<&'a Arc<Image>, Refusal> {
    let image = cloud.images.get(id).filter(|i| asker.sees(i)).ok_or_else(|| no_image(id))?;
    if asker.owns(image) { Ok(image) } else { Err(not_authorized(rule)) }
}

/// Within the quotas of properties and tags, and small enough for an event.
fn within_limits(attributes: &ImageAttributes) -> Result<(), Refusal> {
    let over = |what: &str, attempted: usize, maximum: usize| {
        let why = format!("The limit has been exceeded on the number of allowed image {what}. Attempted: {attempted}, Maximum: {maximum}");
        Err(Refusal::new(Class::TooLarge, "LimitExceeded", why))
    };
    if attributes.properties.len() > MAX_PROPERTIES {
        return over("properties", attributes.properties.len(), MAX_PROPERTIES);
    }
    if attributes.tags.len() > MAX_TAGS {
        return over("tags", attributes.tags.len(), MAX_TAGS);
    }
    let size = serde_json::to_string(attributes).map_or(usize::MAX, |json| json.len());
    if size > MAX_ATTRIBUTES {
        let why = format!("The image's attributes take {size} bytes as JSON, more than the {MAX_ATTRIBUTES} that are kept.");
        return Err(Refusal::new(Class::TooLarge, "LimitExceeded", why));
    }
    Ok(())
}

/// Makes an image without data.
#[derive(Debug, Clone)]
pub struct CreateImage {
    pub id: ImageId,
    pub owner: ProjectId,
    pub attributes: ImageAttributes,
    pub asker: Asker,
}

impl Command for CreateImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        if !self.asker.admin && self.asker.project != Some(self.owner) {
            return Err(Refusal::forbidden(format!("You are not permitted to create images owned by '{}'", self.owner)));
        }
        self.asker.may_show_as(self.attributes.visibility)?;
        let stream = Stream { kind: ImageEvent::KIND.into(), id: self.id.to_string() };
        if cloud.next_version(&stream) > 1 {
            return Err(Refusal::conflict(format!("Image ID {} already exists!", self.id)));
        }
        within_limits(&self.attributes)?;
        Ok(events![ImageEvent::ImageCreated { id: self.id, owner: self.owner, attributes: self.attributes.clone() }])
    }
}

/// Deletes an image that is not protected, in whatever state.
#[derive(Debug, Clone)]
pub struct DeleteImage {
    pub id: ImageId,
    pub asker: Asker,
}

impl Command for DeleteImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let missing = |r: Refusal| match r.class {
            Class::NotFound => Refusal { message: format!("Failed to find image {} to delete", self.id), ..r },
            _ => r,
        };
        let image = owned(cloud, &self.id, &self.asker, "delete_image").map_err(missing)?;
        if image.attributes.protected {
            return Err(Refusal::forbidden(format!("Image {} is protected and cannot be deleted.", self.id)));
        }
        Ok(events![ImageEvent::ImageDeleted { id: self.id }])
    }
}

/// Puts a tag on an image, or takes it off.
#[derive(Debug, Clone)]
pub struct TagImage {
    pub id: ImageId,
    pub tag: String,
    pub present: bool,
    pub asker: Asker,
}

impl Command for TagImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let missing = |r: Refusal| match r.class {
            Class::NotFound => Refusal { message: format!("Image {} not found.", self.id), ..r },
            _ => r,
        };
        let image = owned(cloud, &self.id, &self.asker, "modify_image").map_err(missing)?;
        let mut attributes = image.attributes.clone();
        match (attributes.tags.binary_search(&self.tag), self.present) {
            (Ok(_), true) => return Ok(vec![]),
            (Err(at), true) => attributes.tags.insert(at, self.tag.clone()),
            (Ok(at), false) => drop(attributes.tags.remove(at)),
            (Err(_), false) => {
                return Err(Refusal::new(Class::NotFound, "NotFound", format!("Image {} has no tag '{}'.", self.id, self.tag)));
            }
        }
        within_limits(&attributes)?;
        Ok(events![ImageEvent::ImageUpdated { id: self.id, attributes }])
    }
}

/// Withdraws an image's data from use, or gives it back.
#[derive(Debug, Clone)]
pub struct SetImageActive {
    pub id: ImageId,
    pub active: bool,
    pub asker: Asker,
}

impl Command for SetImageActive {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let verb = if self.active { "reactivate" } else { "deactivate" };
        let image = owned(cloud, &self.id, &self.asker, verb)?;
        match (image.status, self.active) {
            (ImageStatus::Active, true) | (ImageStatus::Deactivated, false) => Ok(vec![]),
            (ImageStatus::Active, false) => Ok(events![ImageEvent::ImageDeactivated { id: self.id }]),
            (ImageStatus::Deactivated, true) => Ok(events![ImageEvent::ImageReactivated { id: self.id }]),
            (status, _) => Err(Refusal::forbidden(format!("Not allowed to {verb} image in status '{}'", status.name()))),
        }
    }
}

#[cfg(test)]
mod tests;
