//! Identity, as the real client uses it.

use crate::client::column;
use crate::cloud::shared;

#[test]
fn tokens_are_issued_and_revoked() {
    let cloud = shared();
    let mut admin = cloud.client("strata-admin");
    let token = admin.json("token issue");
    assert!(token["expires"].as_str().is_some_and(|e| e.ends_with("+0000")), "{token}");
    let id = token["id"].as_str().expect("an id").to_string();
    let with_token = format!(
        "--os-auth-type token --os-token {id} --os-auth-url {}/v3 --os-project-name admin --os-project-domain-name Default",
        cloud.endpoint()
    );
    let with_token = with_token.replace("--os-auth-type token", "--os-auth-type v3token");
    let mut bare = cloud.client("");
    bare.ok(&format!("{with_token} project list"));
    admin.ok(&format!("token revoke {id}"));
    bare.fails(&format!("{with_token} project list"), "401");
}

#[test]
fn the_catalog_and_the_versions_tell_what_there_is() {
    let mut admin = shared().client("strata-admin");
    let catalog = admin.json("catalog list");
    let types = column(&catalog, "Type");
    for wanted in ["identity", "compute", "image", "network"] {
        assert!(types.iter().any(|t| t == wanted), "{wanted} is missing in {types:?}");
    }
    let versions = admin.json("versions show");
    let services = column(&versions, "Service Type");
    for wanted in ["identity", "compute", "image", "network"] {
        assert!(services.iter().any(|t| t == wanted), "{wanted} is missing in {services:?}");
    }
}

#[test]
fn projects_users_roles_groups_and_domains_live_and_go() {
    let mut admin = shared().client("strata-admin");
    let project = admin.json("project create it-project --description before");
    assert_eq!(project["description"], "before");
    admin.ok("project set it-project --description after --tag blue");
    assert_eq!(admin.json("project show it-project")["description"], "after");
    assert!(column(&admin.json("project list"), "Name").contains(&"it-project".to_string()));
    admin.fails("project create it-project", "409");

    admin.ok("user create it-user --project it-project --password it-secret --email a@example.org");
    admin.ok("user set it-user --description someone");
    assert_eq!(admin.json("user show it-user")["description"], "someone");
    assert!(column(&admin.json("user list"), "Name").contains(&"it-user".to_string()));

    admin.ok("role create it-role");
    admin.ok("role set it-role --name it-role-2");
    admin.ok("role show it-role-2");
    admin.ok("role add --user it-user --project it-project it-role-2");
    admin.ok("role add --user it-user --project it-project member");
    let assignments = admin.json("role assignment list --user it-user --names");
    assert_eq!(column(&assignments, "Role").len(), 2, "{assignments}");
    admin.ok("role remove --user it-user --project it-project it-role-2");
    assert_eq!(column(&admin.json("role assignment list --user it-user --names"), "Role"), ["member"]);

    admin.ok("group create it-group");
    admin.ok("group set it-group --description ours");
    admin.ok("group add user it-group it-user");
    assert!(admin.ok("group contains user it-group it-user").contains("in group"));
    assert!(column(&admin.json("group list"), "Name").contains(&"it-group".to_string()));
    admin.ok("group remove user it-group it-user");
    admin.ok("group show it-group");

    admin.ok("domain create it-domain");
    admin.ok("domain set it-domain --description d");
    assert_eq!(admin.json("domain show it-domain")["enabled"], true);
    admin.fails("domain delete it-domain", "403");
    admin.ok("domain set it-domain --disable");
    assert!(column(&admin.json("domain list"), "Name").contains(&"it-domain".to_string()));

    // The user can log in, and no longer once disabled.
    let as_user = "--os-username it-user --os-password it-secret --os-project-name it-project";
    admin.ok(&format!("{as_user} token issue"));
    admin.fails(&format!("{as_user} user list"), "403");
    admin.ok("user set it-user --disable");
    admin.fails(&format!("{as_user} token issue"), "401");

    for command in
        ["domain delete it-domain", "group delete it-group", "user delete it-user", "role delete it-role-2", "project delete it-project"]
    {
        admin.ok(command);
    }
    assert!(!column(&admin.json("project list"), "Name").contains(&"it-project".to_string()));
}

#[test]
fn an_application_credential_without_roles_has_those_of_its_maker() {
    let cloud = shared();
    for name in ["admin", "demo"] {
        let mut user = cloud.client(&format!("strata-{name}"));
        let made = user.json(&format!("application credential create it-{name}"));
        let (id, secret) = (made["ID"].as_str().expect("an id"), made["Secret"].as_str().expect("a secret"));
        let with_it = format!(
            "--os-auth-type v3applicationcredential --os-auth-url {}/v3 --os-application-credential-id {id} --os-application-credential-secret {secret}",
            cloud.endpoint()
        );
        let mut bare = cloud.client("");
        bare.ok(&format!("{with_it} network list"));
        // Restricted: it makes no others.
        bare.fails(&format!("{with_it} application credential create it-further"), "403");
        user.ok(&format!("application credential delete it-{name}"));
        bare.fails(&format!("{with_it} network list"), "401");
    }
}

#[test]
fn policies_live_and_go() {
    let cloud = shared();
    let mut admin = cloud.client("strata-admin");
    let file = std::env::temp_dir().join(format!("strata-policy-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"rule": "role:member"}"#).expect("a file");
    let made = admin.json(&format!("policy create --type application/json {}", file.display()));
    let id = made["id"].as_str().expect("an id").to_string();
    assert_eq!((&made["type"], &made["rules"]), (&"application/json".into(), &r#"{"rule": "role:member"}"#.into()), "{made}");
    std::fs::write(&file, "{}").expect("a file");
    admin.ok(&format!("policy set --type text/plain --rules {} {id}", file.display()));
    let shown = admin.json(&format!("policy show {id}"));
    assert_eq!((&shown["type"], &shown["rules"]), (&"text/plain".into(), &"{}".into()), "{shown}");
    assert!(column(&admin.json("policy list"), "ID").contains(&id));
    cloud.client("strata-demo").fails("policy list", "403");
    admin.ok(&format!("policy delete {id}"));
    admin.fails(&format!("policy delete {id}"), "404");
    let _ = std::fs::remove_file(file);
}
