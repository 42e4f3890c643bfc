//! A decision that goes in steps, each seeing what the ones before would make of the cloud: the second address of one call
//! is not the first again.

use crate::{Command, Context, Refusal};
use strata_events::{Event, Recorded};
use strata_projections::Cloud;

/// The cloud as it will be, and the events that make it so.
pub struct Draft<'a> {
    pub cloud: Cloud,
    pub events: Vec<Event>,
    ctx: &'a Context,
}

impl<'a> Draft<'a> {
    /// Copying the cloud costs a few dozen reference counts.
    pub fn of(cloud: &Cloud, ctx: &'a Context) -> Self {
        Self { cloud: cloud.clone(), events: vec![], ctx }
    }
    /// Takes an event in.
    pub fn push(&mut self, event: impl Into<Event>) -> Result<(), Refusal> {
        let event = event.into();
        let recorded = Recorded {
            position: self.cloud.position + 1,
            version: self.cloud.next_version(&event.stream()),
            recorded_at: self.ctx.now,
            actor: self.ctx.actor.clone(),
            request_id: self.ctx.request_id.clone(),
            caused_by: None,
            event,
        };
        // A rule let through what the state can't take: nothing is changed, and the sentence names the event.
        self.cloud.apply(&recorded).map_err(|e| Refusal::conflict(format!("This can't be done now: {e}.")))?;
        self.events.push(recorded.event);
        Ok(())
    }
    /// Has a command decided as part of this decision.
    pub fn run(&mut self, command: &impl Command) -> Result<(), Refusal> {
        for event in command.decide(&self.cloud, self.ctx)? {
            self.push(event)?;
        }
        Ok(())
    }
}
