//! Changing an image's attributes by a list of changes, each judged against what the ones before it made.

use super::{Asker, Image, ImageStatus, owned, within_limits};
use crate::{Class, Command, Context, Decision, Refusal};
use serde_json::Value;
use strata_events::image::{ImageAttributes, ImageEvent, Visibility};
use strata_events::{Event, ImageId, ProjectId};
use strata_projections::Cloud;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Replace,
    Remove,
}

/// One change; the API has checked that the value fits the attribute's schema and that it is not read-only.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub op: Op,
    pub name: String,
    /// Null when something is removed.
    pub value: Value,
    /// The older form of patch, in which nothing can be added that is there.
    pub strict_add: bool,
}

/// Changes an image.
#[derive(Debug, Clone)]
pub struct PatchImage {
    pub id: ImageId,
    pub changes: Vec<Change>,
    pub asker: Asker,
}

/// Attributes that every image has: they can be set, never removed.
const BASE: &[&str] = &[
    "name",
    "visibility",
    "protected",
    "os_hidden",
    "min_disk",
    "min_ram",
    "disk_format",
    "container_format",
    "tags",
    "owner",
    "locations",
];

impl Command for PatchImage {
    fn decide(&self, cloud: &Cloud, _: &Context) -> Decision {
        let image = owned(cloud, &self.id, &self.asker, "modify_image")?;
        let (mut attributes, mut owner) = (image.attributes.clone(), image.owner);
        for change in &self.changes {
            self.one(image, change, &mut attributes, &mut owner)?;
        }
        within_limits(&attributes)?;
        let mut events: Vec<Event> = vec![];
        if owner != image.owner {
            events.push(ImageEvent::ImageOwnerChanged { id: self.id, owner }.into());
        }
        if attributes != image.attributes {
            events.push(ImageEvent::ImageUpdated { id: self.id, attributes }.into());
        }
        Ok(events)
    }
}

impl PatchImage {
    fn one(&self, image: &Image, change: &Change, attributes: &mut ImageAttributes, owner: &mut ProjectId) -> Result<(), Refusal> {
        let Change { op, name, value, strict_add } = change;
        if name == "locations" {
            return Err(Refusal::forbidden("It's not allowed to change locations if locations are invisible."));
        }
        if BASE.contains(&name.as_str()) {
            return match op {
                Op::Remove => Err(Refusal::forbidden(format!("Property {name} may not be removed."))),
                Op::Add if *strict_add => Err(Refusal::conflict(format!("Property {name} already present."))),
                Op::Add | Op::Replace => self.base(image, name, value, attributes, owner),
            };
        }
        let text = || value.as_str().map(|s| Value::from(s.to_owned())).ok_or_else(|| unfit(name));
        match (op, attributes.properties.contains_key(name)) {
            (Op::Add, true) if *strict_add => return Err(Refusal::conflict(format!("Property {name} already present."))),
            (Op::Add, _) | (Op::Replace, true) => drop(attributes.properties.insert(name.clone(), text()?)),
            (Op::Remove, true) => drop(attributes.properties.remove(name)),
            (Op::Replace | Op::Remove, false) => return Err(Refusal::conflict(format!("Property {name} does not exist."))),
        }
        Ok(())
    }

    fn base(
        &self,
        image: &Image,
        name: &str,
        value: &Value,
        attributes: &mut ImageAttributes,
        owner: &mut ProjectId,
    ) -> Result<(), Refusal> {
        let text = || match value {
            Value::Null => Ok(None),
            Value::String(s) => Ok(Some(s.clone())),
            _ => Err(unfit(name)),
        };
        let flag = || value.as_bool().ok_or_else(|| unfit(name));
        let number = || value.as_u64().ok_or_else(|| unfit(name));
        let format = || {
            if image.status == ImageStatus::Queued {
                text()
            } else {
                Err(Refusal::forbidden(format!("Attribute {name} can be only replaced for a queued image.")))
            }
        };
        match name {
            "name" => attributes.name = text()?,
            "protected" => attributes.protected = flag()?,
            "os_hidden" => attributes.os_hidden = flag()?,
            "min_disk" => attributes.min_disk = number()?,
            "min_ram" => attributes.min_ram = number()?,
            "disk_format" => attributes.disk_format = format()?,
            "container_format" => attributes.container_format = format()?,
            "visibility" => {
                let visibility: Visibility = serde_json::from_value(value.clone()).map_err(|_| unfit(name))?;
                self.asker.may_show_as(visibility)?;
                attributes.visibility = visibility;
            }
            "tags" => {
                let tags: Vec<String> = serde_json::from_value(value.clone()).map_err(|_| unfit(name))?;
                attributes.tags = tags;
                attributes.tags.sort();
                attributes.tags.dedup();
            }
            "owner" => {
                if !self.asker.admin {
                    return Err(Refusal::forbidden("Owner can't be updated by non admin."));
                }
                *owner = value.as_str().and_then(|s| s.parse().ok()).ok_or_else(|| unfit(name))?;
            }
            _ => return Err(unfit(name)),
        }
        Ok(())
    }
}

fn unfit(name: &str) -> Refusal {
    Refusal::new(
        Class::Invalid,
        "BadRequest",
        format!("Provided object does not match schema 'image': the value of {name} has another type"),
    )
}
