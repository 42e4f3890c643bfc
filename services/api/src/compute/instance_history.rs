//! What was asked of a server that is gone: the state has forgotten it, the log has not (2.21 and later).

use crate::frame::{Ctx, Fault};
use std::sync::Arc;
use strata_events::instance::InstanceEvent;
use strata_events::{Actor, Event, HostName, InstanceId, ProjectId, Recorded, Stream, UserId};
use strata_projections::cloud::instance::{Action, Instance, Step, words};

/// How many events of one server are read at most.
const MOST: u32 = 2000;

/// A server's actions, oldest first, and whose it is or was.
pub struct History {
    pub id: InstanceId,
    pub project: ProjectId,
    pub user: UserId,
    pub actions: Vec<Arc<Action>>,
}

impl History {
    pub fn of(instance: &Instance) -> Self {
        Self { id: instance.id, project: instance.project, user: instance.user, actions: instance.actions.clone() }
    }

    /// Reads a deleted server's out of the log.
    pub async fn read(ctx: &Ctx, id: InstanceId) -> Result<Option<Self>, Fault> {
        let stream = Stream { kind: InstanceEvent::KIND.into(), id: id.to_string() };
        let events = ctx.app.conductor.log().read_stream(&stream, 0, MOST).await.map_err(|e| {
            tracing::warn!(%id, "a deleted server's events could not be read: {e}");
            Fault::busy("The event log can't be read at the moment. Try again.")
        })?;
        Ok(Self::fold(id, &events))
    }

    fn fold(id: InstanceId, events: &[Recorded]) -> Option<Self> {
        let mut history: Option<Self> = None;
        for recorded in events {
            let Event::Instance(event) = &recorded.event else { continue };
            if let InstanceEvent::InstanceRequested { project, user, .. } = event {
                history = Some(Self { id, project: *project, user: *user, actions: vec![begun("create", recorded).into()] });
                continue;
            }
            let actions = &mut history.as_mut()?.actions;
            match event {
                InstanceEvent::InstancePlaced { host, .. } => {
                    step(actions, "compute__do_build_and_run_instance", Some(host), recorded);
                }
                InstanceEvent::InstanceOperationRequested { operation, .. } => {
                    let host = actions.iter().flat_map(|a| &a.steps).find_map(|s| s.host.clone());
                    actions.push(begun(words(*operation).0, recorded).into());
                    step(actions, words(*operation).1, host.as_ref(), recorded);
                }
                InstanceEvent::InstanceLocked { .. } => actions.push(begun("lock", recorded).into()),
                InstanceEvent::InstanceUnlocked { .. } => actions.push(begun("unlock", recorded).into()),
                InstanceEvent::InstanceStarted { .. }
                | InstanceEvent::InstanceOperationDone { .. }
                | InstanceEvent::InstanceDeleted { .. } => {
                    finish(actions, None, recorded);
                }
                InstanceEvent::InstanceUnplaceable { reason, .. }
                | InstanceEvent::InstanceBuildFailed { reason, .. }
                | InstanceEvent::InstanceOperationFailed { reason, .. } => finish(actions, Some(reason), recorded),
                _ => {}
            }
        }
        history
    }
}

fn begun(action: &str, recorded: &Recorded) -> Action {
    let (user, project) = match &recorded.actor {
        Actor::User { user, project, .. } => (Some(*user), *project),
        _ => (None, None),
    };
    let (start, updated) = (recorded.recorded_at, recorded.recorded_at);
    Action { request_id: recorded.request_id.clone(), action: action.into(), user, project, start, updated, message: None, steps: vec![] }
}

fn step(actions: &mut [Arc<Action>], name: &str, host: Option<&HostName>, recorded: &Recorded) {
    if let Some(last) = actions.last_mut() {
        let step = Step { name: name.into(), start: recorded.recorded_at, finish: None, result: None, host: host.cloned() };
        Arc::make_mut(last).steps.push(step);
    }
}

fn finish(actions: &mut [Arc<Action>], error: Option<&str>, recorded: &Recorded) {
    let Some(last) = actions.last_mut() else { return };
    let action = Arc::make_mut(last);
    action.updated = recorded.recorded_at;
    action.message = error.map(str::to_owned);
    if let Some(step) = action.steps.last_mut().filter(|s| s.finish.is_none()) {
        step.finish = Some(recorded.recorded_at);
        step.result = Some(if error.is_some() { "Error" } else { "Success" }.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_events::Timestamp;
    use strata_events::instance::Operation;

    const ID: InstanceId = InstanceId(uuid::Uuid::nil());

    fn recorded(version: u32, event: InstanceEvent) -> Recorded {
        Recorded {
            position: version.into(),
            version,
            recorded_at: Timestamp(version.into()),
            actor: Actor::service("test"),
            request_id: format!("req-{version}"),
            caused_by: None,
            event: event.into(),
        }
    }

    #[test]
    fn the_actions_of_a_deleted_server_are_told_by_its_events() {
        let body = r#"{"id":"00000000-0000-0000-0000-000000000000","project":"0000000000000000000000000000000a","user":"0000000000000000000000000000000b",
            "spec":{"name":"s","description":null,"hostname":"s","size":{"flavor":"1","name":"m","vcpus":1,"ram":1,"disk":1,"ephemeral":0,"swap":0,
            "extra_specs":{}},"image":null,"key_name":null,"public_key":null,"metadata":{},"tags":[],"ports":[],"own_ports":[],"config_drive":false,
            "user_data":null,"disk_config_auto":false,"access_ipv4":null,"access_ipv6":null,"zone":null,"wanted_host":null,"hints":{},"group":null,
            "reservation":"r","launch_index":0},"deadline":0}"#;
        let requested = match Event::decode("instance", "InstanceRequested", 1, body) {
            Ok(Event::Instance(event)) => event,
            other => panic!("{other:?}"),
        };
        let deadline = Timestamp(9);
        let events = [
            recorded(1, requested),
            recorded(2, InstanceEvent::InstancePlaced { id: ID, host: "h1".into(), generation: 1 }),
            recorded(3, InstanceEvent::InstanceStarted { id: ID, host: "h1".into(), generation: 1 }),
            recorded(4, InstanceEvent::InstanceOperationRequested { id: ID, operation: Operation::Delete, deadline }),
            recorded(5, InstanceEvent::InstanceDeleted { id: ID }),
        ];
        let history = History::fold(ID, &events).unwrap_or_else(|| panic!("no history"));
        let told: Vec<_> =
            history.actions.iter().map(|a| (a.action.as_str(), a.request_id.as_str(), a.steps[0].result.as_deref())).collect();
        assert_eq!(told, [("create", "req-1", Some("Success")), ("delete", "req-4", Some("Success"))]);
        assert!(History::fold(ID, &[]).is_none());
    }
}
