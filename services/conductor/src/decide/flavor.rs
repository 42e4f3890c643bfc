//! What may be asked of a flavor.
