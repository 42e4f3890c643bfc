//! Ending a token before its time.

use crate::{Command, Context, Decision, events};
use strata_events::Timestamp;
use strata_events::token::TokenEvent;
use strata_projections::Cloud;

/// Voids the token with this audit id.
#[derive(Debug, Clone)]
pub struct RevokeToken {
    pub audit_id: String,
    pub expires_at: Timestamp,
}

impl Command for RevokeToken {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        if cloud.tokens.is_revoked(&self.audit_id) || self.expires_at <= ctx.now {
            return Ok(vec![]);
        }
        Ok(events![TokenEvent::TokenRevoked { id: self.audit_id.clone(), expires_at: self.expires_at }])
    }
}
