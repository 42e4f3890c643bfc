//! Sharing an image: its owner offers it to a project, which accepts or rejects it.

use super::{Asker, Image, MAX_MEMBERS};
use crate::{Class, Command, Context, Decision, Refusal, events};
use std::sync::Arc;
use strata_events::image::{ImageEvent, MemberStatus, Visibility};
use strata_events::{ImageId, ProjectId};
use strata_projections::Cloud;

/// The image, of which the caller must be allowed to know.
fn seen<'a>(cloud: &'a Cloud, id: &ImageId, asker: &Asker) -> Result<&'a Arc<Image>, Refusal> {
    let missing = || Refusal::new(Class::NotFound, "NotFound", format!("Image {id} not found."));
    cloud.images.get(id).filter(|i| asker.sees(i)).ok_or_else(missing)
}
fn shared<'a>(cloud: &'a Cloud, id: &ImageId, asker: &Asker, verb: &str) -> Result<&'a Arc<Image>, Refusal> {
    let image = seen(cloud, id, asker)?;
    if image.attributes.visibility == Visibility::Shared { Ok(image) } else { Err(not_allowed(id, verb)) }
}
fn not_allowed(id: &ImageId, verb: &str) -> Refusal {
    Refusal::forbidden(format!("Not allowed to {verb} members for image {id}."))
}
fn no_member(id: &ImageId, member: &ProjectId) -> Refusal {
    Refusal::new(Class::NotFound, "NotFound", format!("{member} not found in the member list of the image {id}."))
}

/// Offers an image to a project.
#[derive(Debug, Clone)]
pub struct AddMember {
    pub id: ImageId,
    pub member: ProjectId,
    pub asker: Asker,
}

impl Command for AddMember {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let image = shared(cloud, &self.id, &self.asker, "create")?;
        if !self.asker.owns(image) {
            return Err(not_allowed(&self.id, "create"));
        }
        if image.member(&self.member).is_some() {
            return Err(Refusal::conflict(format!("Member {} is duplicated for image {}", self.member, self.id)));
        }
        if image.members.len() >= MAX_MEMBERS {
            let why = format!(
                "Image member limit exceeded for image {}: The limit has been exceeded on the number of allowed image members for this image. Attempted: {}, Maximum: {MAX_MEMBERS}",
                self.id,
                image.members.len() + 1
            );
            return Err(Refusal::new(Class::TooLarge, "LimitExceeded", why));
        }
        Ok(events![ImageEvent::ImageMemberAdded { id: self.id, member: self.member }])
    }
}

/// A project says what it makes of an offer. Only it can, and admins.
#[derive(Debug, Clone)]
pub struct AnswerMember {
    pub id: ImageId,
    pub member: ProjectId,
    pub status: MemberStatus,
    pub asker: Asker,
}

impl Command for AnswerMember {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let image = shared(cloud, &self.id, &self.asker, "update")?;
        if !self.asker.admin && self.asker.project == Some(image.owner) {
            return Err(not_allowed(&self.id, "update"));
        }
        let member = image.member(&self.member).ok_or_else(|| no_member(&self.id, &self.member))?;
        if !self.asker.admin && self.asker.project != Some(self.member) {
            return Err(not_allowed(&self.id, "update"));
        }
        if member.status == self.status {
            return Ok(vec![]);
        }
        Ok(events![ImageEvent::ImageMemberAnswered { id: self.id, member: self.member, status: self.status }])
    }
}

/// Takes an offer back.
#[derive(Debug, Clone)]
pub struct RemoveMember {
    pub id: ImageId,
    pub member: ProjectId,
    pub asker: Asker,
}

impl Command for RemoveMember {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let image = shared(cloud, &self.id, &self.asker, "delete")?;
        if !self.asker.owns(image) {
            return Err(not_allowed(&self.id, "delete"));
        }
        if image.member(&self.member).is_none() {
            return Err(no_member(&self.id, &self.member));
        }
        Ok(events![ImageEvent::ImageMemberRemoved { id: self.id, member: self.member }])
    }
}
