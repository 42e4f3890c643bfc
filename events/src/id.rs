//! Typed ids. A `ProjectId` can't be passed where a `UserId` is meant, and each prints the way OpenStack's service prints it:
//! identity without dashes, everything else with.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The text was not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid id")]
pub struct BadId(pub String);

macro_rules! id {
    ($(#[$m:meta])* $name:ident, dashed) => { id!(@common $(#[$m])* $name);
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.hyphenated().fmt(f) } }
        impl Serialize for $name { fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer())) } }
    };
    ($(#[$m:meta])* $name:ident, plain) => { id!(@common $(#[$m])* $name);
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.simple().fmt(f) } }
        impl Serialize for $name { fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            s.serialize_str(self.0.simple().encode_lower(&mut Uuid::encode_buffer())) } }
    };
    (@common $(#[$m:meta])* $name:ident) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{self}") } }
        impl FromStr for $name { type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> { Uuid::try_parse(s).map(Self).map_err(|_| BadId(s.into())) } }
        impl<'de> Deserialize<'de> for $name { fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> { d.deserialize_str(IdVisitor(std::marker::PhantomData)) } }
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema { schemars::json_schema!({"type": "string"}) }
        }
    };
}

struct IdVisitor<T>(std::marker::PhantomData<T>);
impl<T: FromStr<Err = BadId>> de::Visitor<'_> for IdVisitor<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }
    fn visit_str<E: de::Error>(self, s: &str) -> Result<T, E> {
        s.parse().map_err(E::custom)
    }
}

id!(ProjectId, plain);
id!(UserId, plain);
id!(GroupId, plain);
id!(RoleId, plain);
id!(ServiceId, plain);
id!(EndpointId, plain);
id!(ApplicationCredentialId, plain);
id!(AccessRuleId, plain);
id!(TrustId, plain);
id!(PolicyId, plain);
id!(ImageId, dashed);
id!(
    /// One import of an image's staged data.
    ImageTaskId,
    dashed
);
id!(
    /// One upload of an image's data: what an upload that was given up says later is not heard.
    UploadId,
    dashed
);
id!(InstanceId, dashed);
id!(NetworkId, dashed);
id!(SubnetId, dashed);
id!(PortId, dashed);
id!(SecurityGroupId, dashed);
id!(SecurityGroupRuleId, dashed);
id!(ServerGroupId, dashed);
id!(
    /// Something kept outside the log because it is secret or large (user data); the log holds only this reference.
    SecretId,
    dashed
);

/// A domain. The one that every cloud starts with prints as `default`, as Keystone's does; it is the nil UUID inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub Uuid);
impl DomainId {
    pub const DEFAULT: DomainId = DomainId(Uuid::nil());
}
impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::DEFAULT { f.write_str("default") } else { self.0.simple().fmt(f) }
    }
}
impl fmt::Debug for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl FromStr for DomainId {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        if s == "default" { Ok(Self::DEFAULT) } else { Uuid::try_parse(s).map(Self).map_err(|_| BadId(s.into())) }
    }
}
impl Serialize for DomainId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for DomainId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(IdVisitor(std::marker::PhantomData))
    }
}
#[cfg(feature = "schema")]
impl schemars::JsonSchema for DomainId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DomainId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}

macro_rules! name {
    ($(#[$m:meta])* $name:ident) => {
        $(#[$m])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $name(pub String);
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", self.0) } }
        impl From<&str> for $name { fn from(s: &str) -> Self { Self(s.into()) } }
    };
}
name!(
    /// A host's name: letters, digits, `-` and `_` (it is part of NATS subjects). At most 63 bytes.
    HostName
);
name!(
    /// A flavor's id: free text chosen by the admin, or a UUID.
    FlavorId
);
name!(
    /// A keypair's stream: `<user>/<name>`.
    KeypairRef
);
name!(
    /// A region's id: free text chosen by the admin.
    RegionId
);
name!(
    /// A credential's id: a UUID, or for EC2 credentials the SHA-256 of the access key (Keystone's rule).
    CredentialId
);

impl HostName {
    /// Whether the text may be a host's name: it becomes part of subjects, file and device names.
    pub fn parse(s: &str) -> Result<Self, BadId> {
        let fine = !s.is_empty() && s.len() <= 63 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fine { Ok(Self(s.into())) } else { Err(BadId(s.into())) }
    }
}
impl KeypairRef {
    pub fn new(user: &UserId, name: &str) -> Self {
        Self(format!("{user}/{name}"))
    }
}
