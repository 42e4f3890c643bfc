//! Where servers go: capacity, groups, and what no host can take.

use super::*;

#[test]
fn placement_binds_every_port_and_is_idempotent() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let place = || PlaceInstance { id: id(1), host: "h1".into() };
    let placed = again(&requested).when(place()).then(events![
        InstanceEvent::InstancePlaced { id: id(1), host: "h1".into(), generation: 1 },
        PortEvent::PortBound { id: port(10), host: "h1".into() },
    ]);
    again(&placed).when(place()).then([]);
    let placed = after(placed, host("h2", 4096));
    again(&placed).when(PlaceInstance { id: id(1), host: "h2".into() }).refused(Class::Conflict, "does not wait for a host");
}

#[test]
fn a_host_is_told_when_the_image_of_a_server_that_it_builds_is_deleted() {
    use strata_projections::plan::{self, Item};
    let requested = given(cloud()).when(ask(1)).accepted();
    let placed = again(&requested).when(PlaceInstance { id: id(1), host: "h1".into() }).accepted();
    let deleted: Event = ImageEvent::ImageDeleted { id: IMAGE }.into();
    let without = after(placed.clone(), deleted.clone());
    let told = plan::touched(&placed, &without, &deleted);
    let [key] = &told.into_iter().collect::<Vec<_>>()[..] else { panic!("one key") };
    let planned = |cloud: &Cloud| match plan::item(cloud, key) {
        Some(Item::Instance(plan)) => (plan.image.is_some(), plan.image_gone),
        other => panic!("{other:?}"),
    };
    assert_eq!(planned(&placed), (true, None));
    assert_eq!(planned(&without), (false, Some(IMAGE)));
}

#[test]
fn a_host_is_never_overfilled_and_a_lost_one_gets_nothing() {
    let large = |n| RequestInstances { flavor: "m1.large".into(), ..ask(n) };
    let requested = given(cloud()).when(large(1)).accepted();
    let place = || PlaceInstance { id: id(1), host: "h1".into() };
    again(&requested).when(place()).refused(Class::Conflict, "memory");
    let requested = given(cloud()).when(ask(1)).accepted();
    let lost = after(requested, HostEvent::HostLost { id: "h1".into(), last_seen: NOW });
    again(&lost).when(place()).refused(Class::Conflict, "is down");
}

#[test]
fn anti_affinity_holds_under_the_head() {
    let group = ServerGroupEvent::ServerGroupCreated {
        id: GROUP,
        project: PROJECT,
        user: USER,
        name: "apart".into(),
        policy: GroupPolicy::AntiAffinity,
        max_server_per_host: None,
    };
    let member = |n| RequestInstances { group: Some(GROUP), ..ask(n) };
    let cloud = given(cloud().into_iter().chain(events![group])).when(member(1)).accepted();
    let cloud = again(&cloud).when(member(2)).accepted();
    let place = |n| PlaceInstance { id: id(n), host: "h1".into() };
    let cloud = again(&cloud).when(place(1)).accepted();
    again(&cloud).when(place(2)).refused(Class::Conflict, "anti-affinity");
    let stranger = RequestInstances { project: OTHER, networks: WantedNetworks::Nothing, ..member(3) };
    again(&cloud).when(stranger).refused(Class::Invalid, "Instance group");
}

#[test]
fn what_no_host_can_take_ends_in_error_with_the_reasons() {
    let requested = given(cloud()).when(ask(1)).accepted();
    let hosts = BTreeMap::from([("h1".to_owned(), "is disabled".to_owned())]);
    let cloud = again(&requested).when(MarkUnplaceable { id: id(1), hosts }).accepted();
    assert_eq!(server(&cloud).state, State::Error);
    assert!(server(&cloud).fault.as_ref().is_some_and(|f| f.code == 500 && f.message == NO_VALID_HOST));
    let cloud = again(&cloud).when(DeleteInstance { id: id(1), admin: false }).accepted();
    assert!(cloud.instances.is_empty() && cloud.ports.is_empty());
}
