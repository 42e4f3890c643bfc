//! Several commands in one transaction: all of them, or none. Each is decided against the state that the ones before it
//! lead to.

use crate::draft::Draft;
use crate::{Command, Context, Decision};
use strata_projections::Cloud;

/// What a bulk call asks.
#[derive(Debug)]
pub struct Together<C>(pub Vec<C>);

impl<C: Command> Command for Together<C> {
    fn decide(&self, cloud: &Cloud, ctx: &Context) -> Decision {
        let mut draft = Draft::of(cloud, ctx);
        self.0.iter().try_for_each(|command| draft.run(command))?;
        Ok(draft.events)
    }
}
