//! Trusts: a user lets another one act for it in one project, with some of its roles.
use crate::{ProjectId, RoleId, Timestamp, TrustId, UserId};

aggregate! {
    /// Events of one trust.
    pub enum TrustEvent: "trust" {
        /// The trustor trusts the trustee.
        TrustCreated { id: TrustId, trustor: UserId, trustee: UserId, project: ProjectId,
            /// The trustee's tokens are the trustor's, rather than its own with the trustor's roles.
            impersonation: bool,
            roles: Vec<RoleId>, expires_at: Option<Timestamp>,
            /// How many tokens may still be got with it; none: any number.
            remaining_uses: Option<u32> },
        /// A token was got with it.
        TrustUsed { id: TrustId },
        /// It is over.
        TrustDeleted { id: TrustId },
    }
}
