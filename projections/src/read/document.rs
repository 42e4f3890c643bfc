//! The document of each kind: the noun as `Cloud` holds it, without what is secret.

use super::Row;
use crate::cloud::access_rule::AccessRule;
use crate::cloud::application_credential::ApplicationCredential;
use crate::cloud::assignment::Grant;
use crate::cloud::catalog::{Endpoint, Region, Service};
use crate::cloud::credential::Credential;
use crate::cloud::domain::Domain;
use crate::cloud::flavor::Flavor;
use crate::cloud::group::Group;
use crate::cloud::host::Host;
use crate::cloud::image::Image;
use crate::cloud::instance::Instance;
use crate::cloud::keypair::Keypair;
use crate::cloud::network::Network;
use crate::cloud::policy::Policy;
use crate::cloud::port::{Plug, Port};
use crate::cloud::project::Project;
use crate::cloud::role::Role;
use crate::cloud::security_group::SecurityGroup;
use crate::cloud::server_group::ServerGroup;
use crate::cloud::subnet::Subnet;
use crate::cloud::trust::Trust;
use crate::cloud::user::User;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use strata_events::assignment::{Assignee, Target};
use strata_events::*;

/// How a key of a table is written as a row's id.
pub(super) trait Named {
    fn name(&self) -> String;
}
macro_rules! named { ($($id:ty),* $(,)?) => { $( impl Named for $id { fn name(&self) -> String { self.to_string() } } )* } }
named![
    AccessRuleId,
    ApplicationCredentialId,
    CredentialId,
    DomainId,
    EndpointId,
    FlavorId,
    GroupId,
    HostName,
    ImageId,
    InstanceId,
    NetworkId,
    PolicyId,
    PortId,
    ProjectId,
    RegionId,
    RoleId,
    SecurityGroupId,
    ServerGroupId,
    ServiceId,
    SubnetId,
    TrustId,
    UserId,
];
impl Named for (UserId, Arc<str>) {
    fn name(&self) -> String {
        KeypairRef::new(&self.0, &self.1).0
    }
}

/// How a noun becomes a row.
pub(super) trait Document: Serialize {
    fn project(&self) -> Option<String> {
        None
    }
    fn title(&self) -> Option<String> {
        None
    }
    fn status(&self) -> Option<String> {
        None
    }
    /// Fields that are secret, or hashes of secrets.
    const SECRET: &'static [&'static str] = &[];

    fn row(&self, kind: &'static str, id: String) -> Row {
        // Every noun is plain data with text keys; were it not, the row would still tell id and name.
        let mut document = serde_json::to_value(self).unwrap_or(Value::Null);
        if let Value::Object(fields) = &mut document {
            for secret in Self::SECRET {
                fields.remove(*secret);
            }
        }
        Row { kind, id, project: self.project(), name: self.title(), status: self.status(), document }
    }
}

fn text(value: &impl ToString) -> Option<String> {
    Some(value.to_string())
}
/// A word of an enum, as the log writes it, in capitals.
fn word(value: &impl Debug) -> Option<String> {
    Some(format!("{value:?}").to_uppercase())
}
fn enabled(yes: bool) -> Option<String> {
    Some(if yes { "ENABLED" } else { "DISABLED" }.into())
}

/// `document! { Noun { project: …, title: …, status: … } }`, each a function of the noun.
macro_rules! documents {
    ($($noun:ty { $($fn:ident: |$this:ident| $body:expr),* $(,)? } $(without $secret:expr)?;)*) => { $(
        impl Document for $noun {
            $( fn $fn(&self) -> Option<String> { let $this = self; $body } )*
            $( const SECRET: &'static [&'static str] = $secret; )?
        }
    )* };
}

documents! {
    AccessRule { title: |r| Some(format!("{} {} {}", r.service, r.method, r.path)) };
    ApplicationCredential { project: |c| text(&c.project), title: |c| text(&c.name) } without &["secret_hash"];
    Credential { project: |c| c.project.as_ref().map(ToString::to_string), title: |c| text(&c.kind) };
    Domain { title: |d| text(&d.name), status: |d| enabled(d.enabled) };
    Endpoint { title: |e| text(&e.url), status: |e| enabled(e.enabled) };
    Flavor { title: |f| text(&f.name), status: |f| text(if f.is_public { &"PUBLIC" } else { &"PRIVATE" }) };
    Group { title: |g| text(&g.name) };
    Host { title: |h| text(&h.name), status: |h| text(if h.up { &"UP" } else { &"DOWN" }) };
    Image { project: |i| text(&i.owner), title: |i| i.attributes.name.clone(), status: |i| word(&i.status) };
    Instance { project: |i| text(&i.project), title: |i| text(&i.spec.name), status: |i| word(&i.state) };
    Keypair { title: |k| text(&k.name) };
    Policy { title: |p| text(&p.kind) };
    Network { project: |n| text(&n.project), title: |n| text(&n.attributes.name),
        status: |n| text(if n.attributes.admin_state_up { &"ACTIVE" } else { &"DOWN" }) };
    Port { project: |p| text(&p.project), title: |p| text(&p.attributes.name),
        status: |p| text(match p.binding.as_ref().map(|b| &b.plug) {
            Some(Plug::Plugged) => &"ACTIVE", Some(Plug::Wanted) => &"BUILD", Some(Plug::Failed(_)) => &"ERROR", None => &"DOWN" }) };
    Project { project: |p| text(&p.id), title: |p| text(&p.name), status: |p| enabled(p.enabled) };
    Region { title: |r| text(&r.id) };
    Role { title: |r| text(&r.name) };
    SecurityGroup { project: |g| text(&g.project), title: |g| text(&g.name) };
    ServerGroup { project: |g| text(&g.project), title: |g| text(&g.name) };
    Service { title: |s| s.name.clone(), status: |s| enabled(s.enabled) };
    Subnet { project: |s| text(&s.project), title: |s| text(&s.attributes.name) };
    Trust { project: |t| text(&t.project) };
    User { title: |u| text(&u.name), status: |u| enabled(u.enabled) } without &["password_hash"];
    BTreeMap<String, i64> {};
}

impl Document for Grant {
    fn project(&self) -> Option<String> {
        match &self.target {
            Target::Project(id) => text(id),
            _ => None,
        }
    }
    fn row(&self, kind: &'static str, id: String) -> Row {
        let (user, group) = match &self.assignee {
            Assignee::User(id) => (text(id), None),
            Assignee::Group(id) => (None, text(id)),
        };
        let domain = match &self.target {
            Target::Domain(id) => text(id),
            _ => None,
        };
        let document = json!({
            "user": user, "group": group, "project": self.project(), "domain": domain,
            "system": matches!(self.target, Target::System), "role": self.role, "inherited": self.inherited,
        });
        Row { kind, id, project: self.project(), name: None, status: None, document }
    }
}

/// An assignment has no id of its own: what it consists of names it.
pub(super) fn grant_id(grant: &Grant) -> String {
    let assignee = match &grant.assignee {
        Assignee::User(id) => format!("user/{id}"),
        Assignee::Group(id) => format!("group/{id}"),
    };
    let target = match &grant.target {
        Target::Project(id) => format!("project/{id}"),
        Target::Domain(id) => format!("domain/{id}"),
        Target::System => "system".into(),
    };
    format!("{assignee}/{target}/{}{}", grant.role, if grant.inherited { "/inherited" } else { "" })
}
