//! Why something was not done. The API turns these into its own faults in one place.

/// What sort of no it is; each service has its status code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The question makes no sense: 400.
    Invalid,
    /// Not for this caller: 403.
    Forbidden,
    /// No such thing, or none that the caller may know of: 404.
    NotFound,
    /// It doesn't fit the present state: 409.
    Conflict,
    /// A limit of the project: 403 in compute, 409 in network, 413 in volume and image.
    OverQuota,
    /// More than is taken: 413.
    TooLarge,
    /// Not now: 503.
    Unavailable,
}

/// A no, with a sentence for the user: what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub class: Class,
    /// The exception's name where the service's body tells it (Neutron's `type`): `NetworkInUse`.
    pub kind: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(class: Class, kind: &'static str, message: impl Into<String>) -> Self {
        Self { class, kind, message: message.into() }
    }
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Class::Invalid, "BadRequest", message)
    }
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Class::Forbidden, "Forbidden", message)
    }
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Class::Conflict, "Conflict", message)
    }
    /// `noun` as the service's sentence has it: `Instance 5… could not be found.`
    pub fn not_found(noun: &str, id: impl std::fmt::Display) -> Self {
        Self::new(Class::NotFound, "NotFound", format!("{noun} {id} could not be found."))
    }
    /// The same as another sort of no.
    pub fn with_class(self, class: Class) -> Self {
        Self { class, ..self }
    }
    /// The same with the exception's name that this service tells.
    pub fn with_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }
}
