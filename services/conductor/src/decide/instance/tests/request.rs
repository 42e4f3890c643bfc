//! Asking for servers: networks and ports, quota, image, zone.

use super::*;
use crate::decide::network::Scope;
use crate::decide::port::{DeletePort, PortChanges, UpdatePort};

#[test]
fn a_server_comes_with_its_port_in_one_decision() {
    let cloud = given(cloud()).when(ask(1)).accepted();
    let server = server(&cloud);
    assert_eq!((server.state, server.task), (State::Building, Some(Task::Schedule)));
    assert_eq!(server.spec.own_ports, [port(10)]);
    let port = cloud.ports.get(&port(10)).map(|p| &p.attributes).unwrap_or_else(|| panic!("no port"));
    assert_eq!((port.device_id.as_str(), port.device_owner.as_str()), (server.id.to_string().as_str(), "compute:nova"));
    assert_eq!(port.security_groups, [SecurityGroupId(Uuid::from_u128(0x900))]);
}

#[test]
fn the_quota_is_told_in_novas_words() {
    let quota =
        QuotaEvent::QuotaSet { id: PROJECT, limits: BTreeMap::from([("compute.instances".into(), 1), ("compute.cores".into(), 1)]) };
    let first = given(cloud().into_iter().chain(events![quota])).when(ask(1)).accepted();
    again(&first)
        .when(ask(2))
        .refused(Class::OverQuota, "Quota exceeded for cores, instances: Requested 1, 1, but already used 1, 1 of 1, 1 cores, instances");
}

#[test]
fn of_several_servers_as_many_are_made_as_the_quota_admits_but_not_fewer_than_the_least() {
    let quota = QuotaEvent::QuotaSet { id: PROJECT, limits: BTreeMap::from([("compute.instances".into(), 2)]) };
    let several = |min_count| RequestInstances { instances: (1..=4).map(new).collect(), min_count, ..ask(1) };
    let events = || cloud().into_iter().chain(events![quota.clone()]);
    let made = given(events()).when(several(1)).accepted();
    assert_eq!(made.instances.len(), 2);
    assert_eq!(server(&made).spec.name, "s1-1");
    given(events()).when(several(3)).refused(Class::OverQuota, "Requested 3");
}

#[test]
fn servers_of_one_call_get_different_addresses() {
    let several = RequestInstances { instances: (1..=4).map(new).collect(), ..ask(1) };
    let made = given(cloud()).when(several).accepted();
    assert_eq!(made.ports.len(), 4);
}

#[test]
fn the_flavor_must_suit_the_image() {
    let small = flavor("m1.nano", 1, 32, 1);
    let events = || cloud().into_iter().chain([small.clone()]);
    let with = |flavor: &str| RequestInstances { flavor: flavor.into(), ..ask(1) };
    given(events()).when(with("m1.nano")).refused(Class::Invalid, "memory is too small");
    given(events()).when(with("gone")).refused(Class::Invalid, "Flavor gone could not be found.");
    let zero = cloud().into_iter().chain([flavor("zero", 1, 512, 0)]);
    given(zero).when(with("zero")).refused(Class::Forbidden, "zero disk");
}

#[test]
fn the_image_must_be_there_and_active() {
    let with = |image: Vec<Event>| {
        let mut events = vec![flavor("m1.tiny", 1, 512, 1)];
        events.extend(image);
        given(events).when(ask(1))
    };
    with(image(PROJECT, Visibility::Private, false)).refused(Class::Invalid, "is not active");
    with(image(OTHER, Visibility::Private, true)).refused(Class::Invalid, "Can not find requested image");
    with(image(OTHER, Visibility::Public, true)).accepted();
}

#[test]
fn without_a_word_on_networks_the_only_one_is_taken_and_several_are_ambiguous() {
    let two = || cloud().into_iter().chain(network(2, PROJECT));
    given(two()).when(ask(1)).refused(Class::Conflict, "Multiple possible networks found, use a Network ID to be more specific.");
    let both = RequestInstances { networks: networks(&[on(2), on(1)]), ..ask(1) };
    let cloud = given(two()).when(both).accepted();
    let nics: Vec<_> = server(&cloud).spec.ports.iter().filter_map(|p| cloud.ports.get(p)).map(|p| p.network).collect();
    assert_eq!(nics, [net(2), net(1)]);
    let none = RequestInstances { networks: WantedNetworks::Nothing, ..ask(1) };
    assert!(given(two()).when(none).accepted().ports.is_empty());
}

#[test]
fn auto_needs_a_network() {
    let mut events = vec![flavor("m1.tiny", 1, 512, 1)];
    events.extend(image(PROJECT, Visibility::Public, true));
    let auto = RequestInstances { networks: WantedNetworks::Auto, ..ask(1) };
    given(events).when(auto).refused(Class::Invalid, "Unable to automatically allocate a network");
}

#[test]
fn somebody_elses_network_and_port_are_not_there() {
    let events = || cloud().into_iter().chain(network(2, OTHER)).chain([foreign_port(7, OTHER, "")]);
    let with = |target| RequestInstances { networks: networks(&[target]), ..ask(1) };
    given(events()).when(with(on(2))).refused(Class::Invalid, "could not be found");
    given(events()).when(with(NicTarget::Port(port(7)))).refused(Class::Invalid, "Port id");
}

#[test]
fn a_port_in_use_is_a_conflict_and_a_free_one_is_freed_again() {
    let with = || RequestInstances { networks: networks(&[NicTarget::Port(port(7))]), ..ask(1) };
    let used = cloud().into_iter().chain([foreign_port(7, PROJECT, "something")]);
    given(used).when(with()).refused(Class::Conflict, "is still in use");
    let cloud = given(cloud().into_iter().chain([foreign_port(7, PROJECT, "")])).when(with()).accepted();
    assert!(server(&cloud).spec.own_ports.is_empty());
    let cloud = again(&cloud).when(DeleteInstance { id: id(1), admin: false }).accepted();
    assert!(cloud.ports.get(&port(7)).is_some_and(|p| p.attributes.device_id.is_empty()));
}

/// Whoever owns a port may write what they like as its device: that doesn't take it from its server.
#[test]
fn a_port_whose_device_was_taken_from_it_is_in_use_still() {
    let with = |n| RequestInstances { networks: networks(&[NicTarget::Port(port(7))]), ..ask(n) };
    let cloud = given(cloud().into_iter().chain([foreign_port(7, PROJECT, "")])).when(with(1)).accepted();
    let changes = PortChanges { device_id: Some(String::new()), ..Default::default() };
    let cloud = again(&cloud).when(UpdatePort { id: port(7), scope: Scope::Project(PROJECT), changes, revision: None }).accepted();
    again(&cloud).when(with(2)).refused(Class::Conflict, "is still in use");
    // Its server loses it when it is deleted, whatever it says.
    let cloud = again(&cloud).when(DeletePort { id: port(7), revision: None }).accepted();
    assert!(server(&cloud).spec.ports.is_empty());
    let twice = RequestInstances { networks: networks(&[NicTarget::Port(port(7)), NicTarget::Port(port(7))]), ..ask(1) };
    given(self::cloud().into_iter().chain([foreign_port(7, PROJECT, "")])).when(twice).refused(Class::Conflict, "is still in use");
}

#[test]
fn an_address_is_chosen_on_ones_own_network_only() {
    let shared = |events: Vec<Event>| {
        let share = |event| match event {
            Event::Network(NetworkEvent::NetworkCreated { id, project, segment, mut attributes }) => {
                attributes.shared = true;
                NetworkEvent::NetworkCreated { id, project, segment, attributes }.into()
            }
            event => event,
        };
        events.into_iter().map(share)
    };
    let events = || cloud().into_iter().chain(shared(network(2, OTHER)));
    let with = |n: u8, ip: bool| {
        let fixed_ip = ip.then(|| [10, 0, n, 77].into());
        RequestInstances { networks: networks(&[NicTarget::Network { id: net(n.into()), fixed_ip }]), ..ask(1) }
    };
    given(events()).when(with(2, true)).refused(Class::Forbidden, "rule:create_port:fixed_ips:ip_address) is disallowed by policy");
    for allowed in [with(1, true), with(2, false), RequestInstances { admin: true, ..with(2, true) }] {
        given(events()).when(allowed).accepted();
    }
    let attach = |cloud: &Cloud, admin| {
        let target = NicTarget::Network { id: net(2), fixed_ip: Some([10, 0, 2, 77].into()) };
        again(cloud).when(AttachInterface { id: id(1), seed: new(2).ports[0], default_group: ask(1).default_group, target, admin })
    };
    let running = shared(network(2, OTHER)).fold(running(), after);
    attach(&running, false).refused(Class::Forbidden, "is disallowed by policy");
    attach(&running, true).accepted();
}

#[test]
fn an_unknown_security_group_or_key_is_refused() {
    let group = RequestInstances { security_groups: vec!["web".into()], ..ask(1) };
    given(cloud()).when(group).refused(Class::Invalid, "Security group web not found");
    let key = RequestInstances { key_name: Some("laptop".into()), ..ask(1) };
    given(cloud()).when(key).refused(Class::Invalid, "Invalid key_name provided.");
}

#[test]
fn zone_and_host_asked_for_must_exist() {
    let zone = RequestInstances { zone: Some("mars".into()), ..ask(1) };
    given(cloud()).when(zone).refused(Class::Invalid, "availability zone is not available");
    let host = RequestInstances { wanted_host: Some("h9".into()), ..ask(1) };
    given(cloud()).when(host).refused(Class::Invalid, "Compute host h9 could not be found.");
}
