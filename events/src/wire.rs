//! How an event's body is written and read: the variant's name is the `type` column, its fields are the JSON body. Reading
//! goes straight from the text into the variant, with no intermediate value: folding the log is mostly this.

use serde::de::{self, DeserializeOwned, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::{Deserializer, Serialize};

/// Why a stored event could not be read. It stops the replica that meets it; an event is never skipped.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("no aggregate of kind {0:?} is known to this version of Strata; upgrade this replica")]
    UnknownKind(String),
    #[error("{type_name} has schema version {schema_version}, which this version of Strata cannot read; upgrade this replica")]
    UnknownVersion { type_name: String, schema_version: u16 },
    #[error("{type_name}: {source}")]
    Body { type_name: String, source: serde_json::Error },
}

/// The JSON text of the variant's fields.
pub(crate) fn encode<T: Serialize>(event: &T, type_name: &str) -> String {
    // An enum of struct variants is written as {"Type":{…}}; the type has its own column, so only the inner object is kept.
    let mut text = serde_json::to_string(event).unwrap_or_else(|e| unreachable!("events hold only JSON-able types: {e}"));
    debug_assert!(text.starts_with(&format!("{{\"{type_name}\":{{")));
    text.truncate(text.len() - 1);
    text.drain(..type_name.len() + 4);
    text
}

pub(crate) fn decode<T: DeserializeOwned>(type_name: &str, body: &str) -> Result<T, DecodeError> {
    T::deserialize(Variant { type_name, body }).map_err(|source| DecodeError::Body { type_name: type_name.into(), source })
}

/// For a field that tells apart "stays" (absent), "becomes nothing" (null) and "becomes this".
pub(crate) fn given<'de, T: serde::Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

struct Variant<'a> {
    type_name: &'a str,
    body: &'a str,
}

impl<'de> Deserializer<'de> for Variant<'de> {
    type Error = serde_json::Error;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("an event is an enum"))
    }
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self)
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = serde_json::Error;
    type Variant = Self;
    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Self::Error> {
        let name: de::value::StrDeserializer<'_, serde_json::Error> = self.type_name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = serde_json::Error;
    fn unit_variant(self) -> Result<(), Self::Error> {
        Err(de::Error::custom("an event has a body"))
    }
    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Self::Error> {
        Err(de::Error::custom("an event has named fields"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("an event has named fields"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        let mut json = serde_json::Deserializer::from_str(self.body);
        let value = json.deserialize_map(visitor)?;
        json.end()?;
        Ok(value)
    }
}
