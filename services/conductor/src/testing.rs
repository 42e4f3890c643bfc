//! `given(events).when(command).then(events)`: how rules are tested, without a log or a clock.

use crate::{Command, Context, Refusal};
use strata_events::{Actor, Event, Recorded, Timestamp};
use strata_projections::Cloud;

/// A state made by events.
pub struct Given {
    pub cloud: Cloud,
    pub now: Timestamp,
}

/// What a command led to.
pub struct When {
    pub outcome: Result<Vec<Event>, Refusal>,
    pub cloud: Cloud,
}

/// The state after these events.
pub fn given(events: impl IntoIterator<Item = Event>) -> Given {
    let mut given = Given { cloud: Cloud::default(), now: Timestamp(1_700_000_000_000_000) };
    for event in events {
        record(&mut given.cloud, event, given.now);
    }
    given
}

/// Folds one event in, as if the log had it.
pub fn record(cloud: &mut Cloud, event: Event, at: Timestamp) -> Recorded {
    let recorded = Recorded {
        position: cloud.position + 1,
        version: cloud.next_version(&event.stream()),
        recorded_at: at,
        actor: Actor::service("test"),
        request_id: "req-test".into(),
        caused_by: None,
        event,
    };
    if let Err(e) = cloud.apply(&recorded) {
        panic!("{e}: {recorded:#?}");
    }
    recorded
}

/// Goes on from a state.
pub fn on(cloud: Cloud) -> Given {
    Given { cloud, now: Timestamp(1_700_000_000_000_000) }
}

impl Given {
    /// And this was asked, and accepted.
    #[track_caller]
    pub fn and(self, command: impl Command) -> Self {
        let now = self.now;
        Self { cloud: self.when(command).accepted(), now }
    }
    /// The same at another time.
    pub fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }
    /// Asks, and folds the answer in.
    pub fn when(mut self, command: impl Command) -> When {
        let ctx = Context { now: self.now, actor: Actor::service("test"), request_id: "req-test".into(), caused_by: None };
        let outcome = command.decide(&self.cloud, &ctx);
        for event in outcome.iter().flatten() {
            record(&mut self.cloud, event.clone(), self.now);
        }
        When { outcome, cloud: self.cloud }
    }
}

impl When {
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = Event>) -> Cloud {
        assert_eq!(self.outcome, Ok(events.into_iter().collect()));
        self.cloud
    }
    #[track_caller]
    pub fn accepted(self) -> Cloud {
        assert!(self.outcome.is_ok(), "refused: {:?}", self.outcome);
        self.cloud
    }
    #[track_caller]
    pub fn refused(self, class: crate::Class, part_of_message: &str) {
        match self.outcome {
            Err(r) => assert!(r.class == class && r.message.contains(part_of_message), "refused otherwise: {r:?}"),
            Ok(events) => panic!("not refused: {events:#?}"),
        }
    }
}
