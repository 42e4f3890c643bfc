//! The macros behind every aggregate: `aggregate!` makes the enum of what can happen to one kind of thing, `events!` the
//! sum of all of them. They keep three facts in one place: a variant's name is the event's published type, its first
//! field `id` names the stream, and the rest of the fields are the published body.

/// Declares an aggregate's events: `pub enum KeypairEvent: "keypair" { … }`. Every variant begins with `id: …`.
macro_rules! aggregate {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $kind:literal {
            $( $(#[$vmeta:meta])* $variant:ident { $(#[$imeta:meta])* id: $idty:ty $(, $(#[$fmeta:meta])* $field:ident: $ty:ty)* $(,)? } ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[allow(clippy::large_enum_variant)]
        pub enum $name {
            $( $(#[$vmeta])* $variant { $(#[$imeta])* id: $idty $(, $(#[$fmeta])* $field: $ty)* } ),*
        }
        impl $name {
            /// The stream kind, as it stands in the log and in NATS subjects.
            pub const KIND: &'static str = $kind;
            /// The published type names, in the order of declaration.
            pub const TYPES: &'static [&'static str] = &[$(stringify!($variant)),*];
            /// The published name of this event.
            pub fn type_name(&self) -> &'static str {
                match self { $( Self::$variant { .. } => stringify!($variant) ),* }
            }
            /// Which stream of this kind the event belongs to.
            pub fn stream_id(&self) -> String {
                match self { $( Self::$variant { id, .. } => id.to_string() ),* }
            }
        }
    };
}

/// Declares [`Event`], the sum of all aggregates.
macro_rules! events {
    ($($name:ident($path:path)),* $(,)?) => {
        /// Anything that can happen. The log stores each as stream, type and JSON body.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant)]
        pub enum Event { $( $name($path) ),* }
        $( impl From<$path> for Event { fn from(e: $path) -> Self { Event::$name(e) } } )*
        impl Event {
            /// Every stream kind with the types that it can hold.
            pub const CATALOG: &'static [(&'static str, &'static [&'static str])] = &[$((<$path>::KIND, <$path>::TYPES)),*];
            /// The kind of stream this event belongs to: `instance`, `port`, …
            pub fn kind(&self) -> &'static str { match self { $( Event::$name(_) => <$path>::KIND ),* } }
            /// The published type: `InstanceRequested`, …
            pub fn type_name(&self) -> &'static str { match self { $( Event::$name(e) => e.type_name() ),* } }
            /// The stream: kind and id.
            pub fn stream(&self) -> Stream {
                match self { $( Event::$name(e) => Stream { kind: <$path>::KIND.into(), id: e.stream_id() } ),* }
            }
            /// The version of the body's published schema that this build writes.
            pub fn schema_version(&self) -> u16 { 1 }
            /// The body as JSON text, without the type.
            pub fn encode(&self) -> String { match self { $( Event::$name(e) => $crate::wire::encode(e, e.type_name()) ),* } }
            /// Reads a stored event back. `kind` and `type_name` select the variant, `body` is its JSON text.
            pub fn decode(kind: &str, type_name: &str, schema_version: u16, body: &str) -> Result<Event, DecodeError> {
                if schema_version != 1 { return Err(DecodeError::UnknownVersion { type_name: type_name.into(), schema_version }); }
                match kind {
                    $( <$path>::KIND => $crate::wire::decode::<$path>(type_name, body).map(Event::$name), )*
                    _ => Err(DecodeError::UnknownKind(kind.into())),
                }
            }
        }
        /// The JSON Schema of every event type, by aggregate; published in schema/events/.
        #[cfg(feature = "schema")]
        pub fn json_schemas() -> Vec<(&'static str, schemars::Schema)> {
            vec![$((<$path>::KIND, schemars::schema_for!($path))),*]
        }
    };
}
