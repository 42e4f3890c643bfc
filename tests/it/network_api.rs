//! The network API over plain HTTP: what is refused and in which words, who sees what, filters and pages.

use crate::cloud::shared;
use crate::http::{Answer, Api};
use serde_json::{Value, json};

const NETWORK: &str = "/network/v2.0";

/// Deletes what a test made, last first, however the test ends.
struct Made<'a>(&'a Api, Vec<String>);
impl Made<'_> {
    /// The new thing's body.
    #[track_caller]
    fn make(&mut self, collection: &str, body: Value) -> Value {
        let made = self.0.post(&format!("{NETWORK}/{collection}"), body).expect(201).json();
        let made = made.as_object().unwrap().values().next().unwrap().clone();
        for one in made.as_array().unwrap_or(&vec![made.clone()]) {
            self.1.push(format!("{NETWORK}/{collection}/{}", one["id"].as_str().unwrap()));
        }
        made
    }
}
impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in self.1.iter().rev() {
            let _ = self.0.send("DELETE", path, None);
        }
    }
}

fn put(api: &Api, path: &str, body: Value) -> Answer {
    api.send("PUT", &format!("{NETWORK}/{path}"), Some(&body)).unwrap()
}
fn get(api: &Api, path: &str) -> Answer {
    api.get(&format!("{NETWORK}/{path}"))
}
#[track_caller]
fn refused(answer: Answer, status: u16, kind: &str, words: &str) {
    let body = answer.expect(status).json();
    let error = &body["NeutronError"];
    assert_eq!(error["type"], kind, "{body}");
    assert!(error["message"].as_str().unwrap().contains(words), "{body}");
    assert_eq!(error["detail"], "");
}
fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn attributes_have_their_rules() {
    let demo = shared().api("demo");
    let post = |body: Value| demo.post(&format!("{NETWORK}/networks"), body);
    refused(post(json!({"network": {"colour": "red"}})), 400, "HTTPBadRequest", "Unrecognized attribute(s) 'colour'");
    refused(post(json!({"network": {"status": "UP"}})), 400, "HTTPBadRequest", "Attribute 'status' not allowed in POST");
    refused(post(json!({"network": {"admin_state_up": "maybe"}})), 400, "HTTPBadRequest", "cannot be converted to boolean");
    refused(post(json!({"network": {"name": "a\u{7}b"}})), 400, "HTTPBadRequest", "control characters");
    let words = "(rule:create_network and rule:create_network:shared) is disallowed by policy";
    refused(post(json!({"network": {"shared": true}})), 403, "PolicyNotAuthorized", words);
    refused(post(json!({"network": {"project_id": "1".repeat(32)}})), 400, "HTTPBadRequest", "requires admin privileges");

    let mut made = Made(&demo, vec![]);
    let network = made.make("networks", json!({"network": {"name": "itna-rules", "shared": false}}));
    assert_eq!((&network["mtu"], &network["revision_number"]), (&json!(1450), &json!(1)));
    assert!(network.get("provider:network_type").is_none(), "members are not told how networks are made: {network}");
    let path = format!("networks/{}", network["id"].as_str().unwrap());
    refused(put(&demo, &path, json!({"network": {"id": "x"}})), 400, "HTTPBadRequest", "Cannot update read-only attribute id");
    put(&demo, &path, json!({"network": {"name": "itna-rules-2"}})).expect(200);
    let stale = demo.send_as("PUT", &format!("{NETWORK}/{path}"), "If-Match: revision_number=1\r\n", br#"{"network": {"name": "x"}}"#);
    refused(stale.unwrap(), 412, "RevisionNumberConstraintFailed", "current revision is 2");
    let seen = get(&shared().api("admin"), &path).json();
    assert_eq!(seen["network"]["provider:network_type"], "vxlan");
}

#[test]
fn addresses_and_macs_have_one_owner() {
    let demo = shared().api("demo");
    let mut made = Made(&demo, vec![]);
    let network = made.make("networks", json!({"network": {"name": "itna-addresses"}}))["id"].clone();
    // Without DHCP, for which the network itself would take an address.
    let subnet = |cidr: &str| json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr, "enable_dhcp": false}});
    let first = made.make("subnets", subnet("10.77.0.0/29"));
    assert_eq!(first["allocation_pools"], json!([{"start": "10.77.0.2", "end": "10.77.0.6"}]));
    let again = demo.post(&format!("{NETWORK}/subnets"), subnet("10.77.0.0/28"));
    refused(again, 400, "InvalidInput", "overlaps with another subnet");

    let port = made.make("ports", json!({"port": {"network_id": network, "name": "itna-first"}}));
    let ask = |body: Value| {
        let mut port = json!({"network_id": network});
        port.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        demo.post(&format!("{NETWORK}/ports"), json!({"port": port}))
    };
    let ip = &port["fixed_ips"][0]["ip_address"];
    refused(ask(json!({"fixed_ips": [{"ip_address": ip}]})), 409, "IpAddressAlreadyAllocated", "already allocated in subnet");
    refused(ask(json!({"mac_address": port["mac_address"]})), 409, "MacAddressInUse", "is in use");
    refused(ask(json!({"fixed_ips": [{"ip_address": "192.0.2.9"}]})), 400, "InvalidIpForNetwork", "not a valid IP");
    refused(ask(json!({"network_id": "f".repeat(32)})), 404, "NetworkNotFound", "could not be found");
    // A bulk call is made wholly or not at all: four addresses are left for five ports.
    let five: Vec<Value> = (0..5).map(|i| json!({"network_id": network, "name": format!("itna-{i}")})).collect();
    let bulk = demo.post(&format!("{NETWORK}/ports"), json!({"ports": five}));
    refused(bulk, 409, "IpAddressGenerationFailure", "No more IP addresses");
    assert_eq!(made.make("ports", json!({"ports": &five[..4]})).as_array().unwrap().len(), 4);

    // Filters, sorting, fields and pages, over these ports alone.
    let mine = format!("ports?network_id={}", network.as_str().unwrap());
    let list = |query: &str| get(&demo, &format!("{mine}{query}")).expect(200).json();
    assert_eq!(names(&list("&sort_key=name&sort_dir=desc")["ports"]), ["itna-first", "itna-3", "itna-2", "itna-1", "itna-0"]);
    assert_eq!(names(&list("&name=itna-1&name=itna-2&sort_key=name&sort_dir=asc")["ports"]), ["itna-1", "itna-2"]);
    assert_eq!(names(&list(&format!("&fixed_ips=ip_address%3D{}", ip.as_str().unwrap()))["ports"]), ["itna-first"]);
    assert_eq!(list("&fields=name&limit=1")["ports"][0].as_object().unwrap().len(), 1);
    let mut seen = 0;
    let mut page = list("&limit=2");
    while let Some(next) = page["ports_links"].as_array().and_then(|l| l.iter().find(|l| l["rel"] == "next")) {
        seen += page["ports"].as_array().unwrap().len();
        let href = next["href"].as_str().unwrap();
        page = demo.get(&href[href.find("/network").unwrap()..]).expect(200).json();
    }
    assert_eq!(seen + page["ports"].as_array().unwrap().len(), 5);
    get(&demo, "ports?limit=-1").expect(400);
    get(&demo, "ports?marker=nothing").expect(400);

    let path = format!("{NETWORK}/networks/{}", network.as_str().unwrap());
    refused(demo.delete(&path), 409, "NetworkInUse", "ports still in use");
}

#[test]
fn what_is_not_ones_own_is_not_there_until_it_is_shared() {
    let (admin, demo) = (shared().api("admin"), shared().api("demo"));
    let mut made = Made(&admin, vec![]);
    let network = made.make("networks", json!({"network": {"name": "itna-foreign"}}))["id"].clone();
    let path = format!("networks/{}", network.as_str().unwrap());
    let rename = json!({"network": {"name": "mine"}});
    refused(get(&demo, &path), 404, "NetworkNotFound", "could not be found");
    refused(put(&demo, &path, rename.clone()), 404, "NetworkNotFound", "could not be found");
    refused(demo.delete(&format!("{NETWORK}/{path}")), 404, "NetworkNotFound", "could not be found");
    let port = || demo.post(&format!("{NETWORK}/ports"), json!({"port": {"network_id": network}}));
    refused(port(), 404, "NetworkNotFound", "could not be found");

    put(&admin, &path, json!({"network": {"shared": true}})).expect(200);
    get(&demo, &path).expect(200);
    refused(put(&demo, &path, rename), 403, "PolicyNotAuthorized", "rule:update_network");
    let mac = json!({"port": {"network_id": network, "mac_address": "fa:16:3e:00:11:22"}});
    refused(demo.post(&format!("{NETWORK}/ports"), mac), 403, "PolicyNotAuthorized", "create_port:mac_address");
    let port = port().expect(201).json();
    let unshare = put(&admin, &path, json!({"network": {"shared": false}}));
    refused(unshare, 409, "InvalidSharedSetting", "Multiple tenants are using it");
    demo.delete(&format!("{NETWORK}/ports/{}", port["port"]["id"].as_str().unwrap())).expect(204);
}

#[test]
fn quotas_and_tags_are_kept() {
    let (admin, demo) = (shared().api("admin"), shared().api("demo"));
    let body = json!({"project": {"name": "itna-quota"}});
    let project = admin.post("/v3/projects", body).expect(201).json()["project"]["id"].as_str().unwrap().to_string();
    let quota = format!("quotas/{project}");
    put(&admin, &quota, json!({"quota": {"network": 1}})).expect(200);
    refused(put(&admin, &quota, json!({"quota": {"router": 1}})), 400, "HTTPBadRequest", "Unrecognized attribute(s) 'router'");
    refused(put(&demo, &quota, json!({"quota": {"network": 9}})), 403, "PolicyNotAuthorized", "update_quota");
    let mut made = Made(&admin, vec![]);
    let ask = || json!({"network": {"name": "itna-quota", "project_id": project}});
    let network = made.make("networks", ask());
    refused(admin.post(&format!("{NETWORK}/networks"), ask()), 409, "OverQuota", "Quota exceeded for resources: ['network'].");
    let details = get(&admin, &format!("{quota}/details.json")).expect(200).json();
    assert_eq!(details["quota"]["network"], json!({"limit": 1, "used": 1, "reserved": 0}));

    let tags = format!("networks/{}/tags", network["id"].as_str().unwrap());
    assert_eq!(put(&admin, &tags, json!({"tags": ["red", "blue", "red"]})).expect(200).json()["tags"], json!(["blue", "red"]));
    put(&admin, &format!("{tags}/green"), json!({})).expect(201);
    get(&admin, &format!("{tags}/green")).expect(204);
    admin.delete(&format!("{NETWORK}/{tags}/green")).expect(204);
    refused(admin.delete(&format!("{NETWORK}/{tags}/green")), 404, "TagNotFound", "Tag green could not be found.");
    assert_eq!(names(&get(&admin, "networks?tags=red,blue&name=itna-quota").json()["networks"]), ["itna-quota"]);
    drop(made);
    admin.delete(&format!("{NETWORK}/{quota}")).expect(204);
    admin.delete(&format!("/v3/projects/{project}")).expect(204);
}

#[test]
fn nova_tells_of_the_same_security_groups_as_neutron() {
    let demo = shared().api("demo");
    let groups = "/compute/v2.1/os-security-groups";
    let rules = "/compute/v2.1/os-security-group-rules";
    let ask = json!({"security_group": {"name": "it-nova", "description": "of old"}});
    let group = demo.post(groups, ask.clone()).expect(200).json()["security_group"].clone();
    let id = group["id"].as_str().unwrap();
    assert_eq!((&group["name"], &group["tenant_id"], &group["rules"]), (&json!("it-nova"), &json!(demo.project), &json!([])));
    assert_eq!(get(&demo, &format!("security-groups/{id}")).expect(200).json()["security_group"]["description"], "of old");
    let rule = |of: Value| demo.post(rules, json!({"security_group_rule": of}));

    let ssh = json!({"parent_group_id": id, "ip_protocol": "tcp", "from_port": 22, "to_port": "22", "cidr": "10.0.0.0/8"});
    let made = rule(ssh.clone()).expect(200).json()["security_group_rule"].clone();
    assert_eq!((&made["from_port"], &made["to_port"], &made["ip_range"]), (&json!(22), &json!(22), &json!({"cidr": "10.0.0.0/8"})));
    rule(ssh).expect(400);
    let ping = json!({"parent_group_id": id, "ip_protocol": "icmp", "from_port": -1, "to_port": -1});
    let ping = rule(ping).expect(200).json()["security_group_rule"].clone();
    assert_eq!((&ping["from_port"], &ping["ip_range"]["cidr"], &ping["group"]), (&json!(-1), &json!("0.0.0.0/0"), &json!({})));
    let own = rule(json!({"parent_group_id": id, "group_id": id})).expect(200).json()["security_group_rule"].clone();
    assert_eq!((&own["group"]["name"], &own["ip_range"], &own["from_port"]), (&json!("it-nova"), &json!({}), &Value::Null));
    for (bad, status) in [
        (json!({"parent_group_id": id}), 400),
        (json!({"parent_group_id": id, "ip_protocol": "tcp", "from_port": 90, "to_port": 80, "cidr": "0.0.0.0/0"}), 400),
        (json!({"parent_group_id": id, "ip_protocol": "tcp", "from_port": 70000, "to_port": 80}), 400),
        (json!({"parent_group_id": id, "ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.0.0.0/33"}), 400),
        (json!({"ip_protocol": "tcp", "from_port": 1, "to_port": 2}), 400),
        (json!({"parent_group_id": "7", "ip_protocol": "tcp", "from_port": 1, "to_port": 2}), 404),
    ] {
        let answer = rule(bad.clone());
        assert_eq!(answer.status, status, "{bad}: {}", answer.text());
    }
    let shown = demo.get(&format!("{groups}/{id}")).expect(200).json()["security_group"].clone();
    assert_eq!(shown["rules"].as_array().unwrap().len(), 3, "what lets something out is none: {shown}");
    demo.delete(&format!("{rules}/{}", made["id"].as_str().unwrap())).expect(202);
    let renamed = json!({"security_group": {"name": "it-nova-2", "description": "still"}});
    let answer = demo.send("PUT", &format!("{groups}/{id}"), Some(&renamed)).unwrap().expect(200).json();
    assert_eq!((&answer["security_group"]["name"], answer["security_group"]["rules"].as_array().unwrap().len()), (&json!("it-nova-2"), 2));
    let listed = demo.get(groups).expect(200).json()["security_groups"].clone();
    assert!(names(&listed).contains(&"it-nova-2") && names(&listed).contains(&"default"), "{listed}");

    let later = demo.send_as("GET", groups, "OpenStack-API-Version: compute 2.36\r\n", b"").unwrap();
    assert_eq!(later.status, 404, "{}", later.text());
    demo.post(groups, json!({"security_group": {"name": "", "description": "d"}})).expect(400);
    demo.delete(&format!("{groups}/{id}")).expect(202);
    demo.get(&format!("{groups}/{id}")).expect(404);
}
