//! What may be asked of the cloud, a file a noun.

pub mod flavor;
pub mod keypair;
pub mod quota;
