//! What may be asked of a server that is there: operations, locks, deadlines, metadata, interfaces, security groups.

use super::*;

#[test]
fn each_operation_is_allowed_in_its_states_only() {
    use Operation::{Pause, RebootHard, RebootSoft, Resume, Start, Stop, Suspend, Unpause};
    let table: &[(&[Operation], &[Operation])] = &[
        (&[], &[Stop, RebootSoft, RebootHard, Pause, Suspend]),
        (&[Stop], &[Start, RebootHard]),
        (&[Pause], &[Unpause, RebootHard]),
        (&[Suspend], &[Resume, RebootHard]),
    ];
    for (path, allowed) in table {
        let cloud = path.iter().fold(running(), |cloud, operation| done(cloud, *operation));
        for operation in [Start, Stop, RebootSoft, RebootHard, Pause, Unpause, Suspend, Resume] {
            let outcome = again(&cloud).when(OperateInstance { id: id(1), operation, admin: false }).outcome;
            assert_eq!(outcome.is_ok(), allowed.contains(&operation), "{operation:?} after {path:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_wrong_state_is_told_in_novas_words() {
    let stopped = done(running(), Operation::Stop);
    let message = format!("Cannot 'stop' instance {} while it is in vm_state stopped", id(1));
    again(&stopped).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).refused(Class::Conflict, &message);
    let busy = again(&running()).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).accepted();
    again(&busy)
        .when(OperateInstance { id: id(1), operation: Operation::Pause, admin: false })
        .refused(Class::Conflict, "while it is in task_state powering-off");
}

#[test]
fn a_locked_server_obeys_admins_only() {
    let locked = again(&running()).when(LockInstance { id: id(1), by_admin: true, reason: Some("audit".into()) }).accepted();
    let stop = |admin| OperateInstance { id: id(1), operation: Operation::Stop, admin };
    again(&locked).when(stop(false)).refused(Class::Conflict, "is locked");
    again(&locked).when(DeleteInstance { id: id(1), admin: false }).refused(Class::Conflict, "is locked");
    again(&locked).when(stop(true)).accepted();
    again(&locked).when(UnlockInstance { id: id(1), admin: false }).refused(Class::Forbidden, "unlock_override");
    let free = again(&locked).when(UnlockInstance { id: id(1), admin: true }).accepted();
    again(&free).when(stop(false)).accepted();
}

#[test]
fn a_placed_server_is_deleted_when_its_host_says_so() {
    let delete = || DeleteInstance { id: id(1), admin: false };
    let deleting = again(&running()).when(delete()).accepted();
    assert_eq!((server(&deleting).wanted, server(&deleting).deadline), (Wanted::Absent, Some(NOW.plus_secs(OPERATION_SECS))));
    again(&deleting).when(delete()).then([]);
    let events = gone(&deleting, server(&deleting));
    let cloud = events.into_iter().fold(deleting, after);
    assert!(cloud.instances.is_empty() && cloud.ports.is_empty());
    assert_eq!(cloud.instances.usage(&PROJECT), Default::default());
    assert!(cloud.hosts.get(&HostName("h1".into())).is_some_and(|h| h.used == Default::default()));
}

#[test]
fn a_deadline_that_passed_ends_the_transient_state() {
    let expire = || ExpireInstance { id: id(1) };
    let requested = given(cloud()).when(ask(1)).accepted();
    again(&requested).when(expire()).then([]);
    let late = |cloud: &Cloud| again(cloud).at(NOW.plus_secs(BUILD_SECS));
    assert_eq!(server(&late(&requested).when(expire()).accepted()).state, State::Error);
    let placed = again(&requested).when(PlaceInstance { id: id(1), host: "h1".into() }).accepted();
    let failed = late(&placed).when(expire()).accepted();
    assert!(server(&failed).fault.as_ref().is_some_and(|f| f.message.contains("h1 did not report")));
    let released = released(&failed, server(&failed)).into_iter().fold(failed, after);
    assert!(released.hosts.get(&HostName("h1".into())).is_some_and(|h| h.used == Default::default()));
    assert!(released.ports.get(&port(10)).is_some_and(|p| p.binding.is_none()));
    let stopping = again(&running()).when(OperateInstance { id: id(1), operation: Operation::Stop, admin: false }).accepted();
    let cloud = late(&stopping).when(expire()).accepted();
    assert_eq!((server(&cloud).state, server(&cloud).wanted, server(&cloud).task), (State::Active, Wanted::Running, None));
}

#[test]
fn a_server_that_is_being_deleted_obeys_nothing_else_even_after_the_deadline() {
    let deleting = again(&running()).when(DeleteInstance { id: id(1), admin: false }).accepted();
    let late = again(&deleting).at(NOW.plus_secs(BUILD_SECS)).when(ExpireInstance { id: id(1) }).accepted();
    assert_eq!((server(&late).state, server(&late).wanted), (State::Error, Wanted::Absent));
    again(&late)
        .when(OperateInstance { id: id(1), operation: Operation::RebootHard, admin: false })
        .refused(Class::Conflict, "task_state deleting");
    again(&late).when(ResetState { id: id(1), error: false }).refused(Class::Conflict, "can't be reset");
}

#[test]
fn metadata_and_tags_have_their_limits_and_changing_nothing_says_nothing() {
    let set = |change| SetMetadata { id: id(1), change, admin: false };
    let many = (0..129).map(|n| (n.to_string(), String::new())).collect();
    again(&running()).when(set(MetadataChange::Replace(many))).refused(Class::OverQuota, "Maximum number of metadata items exceeds 128");
    let one = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let cloud = again(&running()).when(set(MetadataChange::Merge(one.clone()))).accepted();
    again(&cloud).when(set(MetadataChange::Merge(one))).then([]);
    again(&cloud).when(set(MetadataChange::Remove("x".into()))).refused(Class::NotFound, "Metadata item was not found");
    let tags = SetTags { id: id(1), change: TagsChange::Replace((0..51).map(|n| n.to_string()).collect()) };
    again(&cloud).when(tags).refused(Class::Invalid, "per-server limit 50");
}

#[test]
fn a_building_server_takes_no_metadata() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let change = MetadataChange::Merge(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    again(&requested).when(SetMetadata { id: id(1), change, admin: false }).refused(Class::Conflict, "vm_state building");
}

#[test]
fn interfaces_come_and_go_with_a_running_server() {
    let seed = PortSeed { id: port(77), mac: MacAddress([0xfa, 0x16, 0x3e, 7, 7, 7]) };
    let attach = AttachInterface { id: id(1), seed, default_group: ask(1).default_group, target: on(1), admin: false };
    let cloud = again(&running()).when(attach).accepted();
    assert_eq!(server(&cloud).spec.ports, [port(10), port(77)]);
    assert!(cloud.ports.get(&port(77)).is_some_and(|p| p.binding.as_ref().is_some_and(|b| b.host == "h1".into())));
    let detach = || DetachInterface { id: id(1), port: port(77), admin: false };
    let cloud = again(&cloud).when(detach()).accepted();
    assert_eq!(server(&cloud).spec.ports, [port(10)]);
    assert!(!cloud.ports.contains(&port(77)));
    again(&cloud).when(detach()).refused(Class::NotFound, "does not have a port");
}

#[test]
fn a_command_on_a_server_that_is_gone_is_not_found() {
    let ctx = crate::Context { now: NOW, actor: strata_events::Actor::service("t"), request_id: String::new(), caused_by: None };
    let outcome = DeleteInstance { id: id(1), admin: true }.decide(&Cloud::default(), &ctx);
    assert!(outcome.is_err_and(|r| r.message == format!("Instance {} could not be found.", id(1))));
}

#[test]
fn a_security_group_is_put_on_every_port_and_taken_off() {
    use strata_events::security_group::SecurityGroupEvent;
    let web = SecurityGroupId(Uuid::from_u128(0x999));
    let (name, description) = ("web".to_owned(), String::new());
    let made = SecurityGroupEvent::SecurityGroupCreated {
        id: web,
        project: PROJECT,
        name,
        description,
        stateful: true,
        rules: vec![],
        tags: vec![],
    };
    let change = |group: &str, add| ChangeSecurityGroup { id: id(1), group: group.into(), add, admin: false };
    let cloud = after(running(), made);
    again(&cloud).when(change("nope", true)).refused(Class::NotFound, "Security group nope not found");
    again(&cloud).when(change("web", false)).refused(Class::NotFound, "not associated");
    let cloud = again(&cloud).when(change("web", true)).accepted();
    assert!(cloud.ports.get(&port(10)).is_some_and(|p| p.attributes.security_groups.contains(&web)));
    again(&cloud).when(change("web", true)).then([]);
    let cloud = again(&cloud).when(change("web", false)).accepted();
    assert!(cloud.ports.get(&port(10)).is_some_and(|p| !p.attributes.security_groups.contains(&web)));
}

#[test]
fn a_guest_leaves_its_password_once_and_only_from_its_own_host() {
    let leave = |host: &str, password: &str| KeepPassword { host: host.into(), id: id(1), password: password.into() };
    let kept = InstanceEvent::InstancePasswordKept { id: id(1), password: "c2VjcmV0".into() };
    again(&running()).when(leave("h2", "c2VjcmV0")).refused(Class::Forbidden, "is not on host h2");
    again(&running()).when(leave("h1", &"x".repeat(1021))).refused(Class::Invalid, "at most 1020 bytes");
    let has = again(&running()).when(leave("h1", "c2VjcmV0")).then([kept.into()]);
    again(&has).when(leave("h1", "c2VjcmV0")).then([]);
    again(&has).when(leave("h1", "b3RoZXI")).refused(Class::Conflict, "a password already");
    again(&has).when(ClearPassword { id: id(1) }).then([InstanceEvent::InstancePasswordCleared { id: id(1) }.into()]);
    again(&running()).when(ClearPassword { id: id(1) }).then([]);
}
