//! What can happen to an image. The bytes lie in the image store under their checksum; facts name them, never hold them.
use crate::{ImageId, ImageTaskId, ProjectId, Timestamp, UploadId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who may see an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Visibility {
    Public,
    Community,
    Shared,
    Private,
}

/// What a project that an image was shared with says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MemberStatus {
    Pending,
    Accepted,
    Rejected,
}

/// What the owner of an image may say about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageAttributes {
    pub name: Option<String>,
    pub visibility: Visibility,
    pub protected: bool,
    pub os_hidden: bool,
    /// GiB
    pub min_disk: u64,
    /// MiB
    pub min_ram: u64,
    pub disk_format: Option<String>,
    pub container_format: Option<String>,
    /// Sorted, unique.
    pub tags: Vec<String>,
    /// Free properties: text, as Glance keeps them.
    pub properties: Map<String, Value>,
}

aggregate! {
    /// Events of one image.
    pub enum ImageEvent: "image" {
        /// The record exists; there is no data yet (`queued`).
        ImageCreated { id: ImageId, owner: ProjectId, attributes: ImageAttributes },
        /// The attributes are these from now on.
        ImageUpdated { id: ImageId, attributes: ImageAttributes },
        /// An admin gave it to another project.
        ImageOwnerChanged { id: ImageId, owner: ProjectId },
        /// An upload began (`saving`). After `deadline` (µs since the epoch) it counts as broken off.
        ImageUploadStarted { id: ImageId, upload: UploadId, deadline: Timestamp },
        /// The same to the staging area, to be imported later (`uploading`).
        ImageStagingStarted { id: ImageId, upload: UploadId, deadline: Timestamp },
        /// The upload or import broke off or was refused; the image is `queued` again and nothing is left of the data.
        ImageUploadFailed { id: ImageId, reason: String },
        /// All bytes are in the store, to be imported before `deadline`. What they were found to be decides over the import.
        ImageStaged { id: ImageId,
            /// bytes
            size: u64,
            /// bytes that a guest would see
            virtual_size: Option<u64>,
            /// MD5
            checksum: String,
            /// SHA-512; also the name in the store
            sha512: String,
            /// Why the import of these bytes will fail.
            refused: Option<String>,
            deadline: Timestamp },
        /// The staged bytes shall become the image's; success or failure follows in the same transaction.
        ImageImportRequested { id: ImageId, task: ImageTaskId },
        /// All bytes are in the store (`active`); they never change again.
        ImageActivated { id: ImageId,
            /// bytes
            size: u64,
            /// bytes that a guest would see
            virtual_size: Option<u64>,
            /// MD5, Glance's `checksum`
            checksum: String,
            /// SHA-512, Glance's `os_hash_value`; also the name in the store
            sha512: String },
        /// An admin withdrew the data from use.
        ImageDeactivated { id: ImageId },
        /// And gave it back.
        ImageReactivated { id: ImageId },
        /// A project may see this shared image.
        ImageMemberAdded { id: ImageId, member: ProjectId },
        /// It accepted or rejected it.
        ImageMemberAnswered { id: ImageId, member: ProjectId, status: MemberStatus },
        /// It may see it no more.
        ImageMemberRemoved { id: ImageId, member: ProjectId },
        /// The image is gone; its data too, unless another image has the same.
        ImageDeleted { id: ImageId },
    }
}
