//! Logging in, and what a token can tell. Source: identity api-ref, "Authentication and token management".
//!
//! **Invariant: who could not log in learns nothing**: unknown user, wrong password and disabled account give the same answer
//! after the same time (CVE-2021-38155).

use super::common::{forbidden, link, list_links, root};
use super::login::{Login, Named, Proof, Wanted, find_domain};
use super::token::cache::Entry;
use super::token::confirm::confirm;
use super::token::{AuditId, Place, Token, view};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use strata_conductor::decide::token::RevokeToken;
use strata_conductor::decide::trust::UseTrust;
use strata_events::assignment::{Assignee, Target};
use strata_events::{ApplicationCredentialId, DomainId, ProjectId, Timestamp, UserId};
use strata_projections::Cloud;
use strata_projections::cloud::trust::Trust;
use strata_projections::cloud::user::User;

pub fn routes(r: &mut Routes) {
    r.post("/v3/auth/tokens", log_in, Rule::public("identity:authenticate"));
    r.get("/v3/auth/tokens", validate, Rule::token("identity:validate_token"));
    r.delete("/v3/auth/tokens", revoke, Rule::token("identity:revoke_token"));
    r.get("/v3/auth/catalog", catalog, Rule::token("identity:get_auth_catalog"));
    r.get("/v3/auth/projects", projects, Rule::token("identity:get_auth_projects"));
    r.get("/v3/auth/domains", domains, Rule::token("identity:get_auth_domains"));
    r.get("/v3/auth/system", system, Rule::token("identity:get_auth_system"));
}

/// Who logged in, and what bounds the new token.
struct Proven {
    user: UserId,
    methods: u8,
    /// The parent's expiry or the application credential's: the new token ends no later.
    until: Timestamp,
    parent: Option<Token>,
    application_credential: Option<ApplicationCredentialId>,
}

async fn log_in(ctx: Ctx) -> Reply {
    let login = Login::read(&ctx)?;
    let mut proven =
        Proven { user: UserId(uuid::Uuid::nil()), methods: 0, until: Timestamp(i64::MAX), parent: None, application_credential: None };
    let mut users = BTreeSet::new();
    for proof in &login.proofs {
        users.insert(prove(&ctx, proof, &mut proven).await?);
    }
    // Several proofs must all be of one and the same user.
    match (users.pop_first(), users.is_empty()) {
        (Some(user), true) => proven.user = user,
        _ => return Err(Fault::unauthorized()),
    }
    let trust = match &login.wanted {
        Wanted::Trust(id) => Some(entrust(&ctx, id, &mut proven).await?),
        _ => None,
    };
    let place = match &trust {
        Some(trust) => Place::Project(trust.project),
        None => scope(&ctx, &login.wanted, &proven)?,
    };
    // argon2 took its time: the token lives from now.
    let now = crate::frame::now();
    let lifetime = now.plus_secs(ctx.app.config.token_lifetime);
    let token = Token {
        user: proven.user,
        place,
        methods: proven.methods,
        issued_at: now,
        expires_at: lifetime.min(proven.until),
        position: ctx.cloud.position,
        audit: AuditId::random(),
        chain: proven.parent.as_ref().map(|p| p.chain.unwrap_or(p.audit)),
        application_credential: proven.application_credential,
        trust: trust.map(|t| t.id),
    };
    let caller = confirm(&ctx.cloud, now, &token).ok_or_else(Fault::unauthorized)?;
    ctx.trail.is(caller.user, caller.project());
    let text = ctx.app.identity.keyring.seal(&token);
    let body = view::token(&ctx.cloud, &ctx.base, &Entry::new(token), &caller, !ctx.query.has("nocatalog"));
    Ok(Answer::created(&body).header("x-subject-token", &text).header("cache-control", "no-store"))
}

/// The user that a proof proves.
async fn prove(ctx: &Ctx, proof: &Proof, proven: &mut Proven) -> Result<UserId, Fault> {
    match proof {
        Proof::Password { user, password } => {
            let found = find_user(&ctx.cloud, user).cloned();
            let hash = found.as_ref().and_then(|u| u.password_hash.clone());
            let right = ctx.app.identity.passwords.check(hash, password.clone()).await?;
            proven.methods |= 1;
            found.filter(|u| right && stands(&ctx.cloud, u)).map(|u| u.id).ok_or_else(Fault::unauthorized)
        }
        Proof::Token { id } => {
            let (entry, _) = ctx.app.identity.recognize(&ctx.cloud, ctx.now, id).ok_or_else(Fault::unauthorized)?;
            let parent = entry.token.clone();
            if parent.application_credential.is_some() || parent.trust.is_some() {
                return Err(Fault::forbidden(
                    "You are not authorized to perform the requested action: rescope a token that was got with an application credential or a trust.",
                ));
            }
            proven.methods |= parent.methods | 1 << 1;
            proven.until = proven.until.min(parent.expires_at);
            let user = parent.user;
            proven.parent = Some(parent);
            Ok(user)
        }
        Proof::ApplicationCredential { id, name, user, secret } => {
            let cloud = &ctx.cloud;
            let found = match id {
                Some(id) => id.parse().ok().and_then(|id| cloud.application_credentials.get(&id)),
                None => {
                    let user = user.as_ref().and_then(|u| find_user(cloud, u));
                    user.and_then(|u| cloud.application_credentials.by_name(&u.id, name.as_deref().unwrap_or_default()))
                }
            };
            let found = found.cloned();
            let right = ctx.app.identity.passwords.check(found.as_ref().map(|c| c.secret_hash.clone()), secret.clone()).await?;
            proven.methods |= 1 << 2;
            let found = found.filter(|_| right).ok_or_else(Fault::unauthorized)?;
            proven.until = proven.until.min(found.expires_at.unwrap_or(Timestamp(i64::MAX)));
            proven.application_credential = Some(found.id);
            let owner = cloud.users.get(&found.user).filter(|u| stands(cloud, u));
            owner.map(|u| u.id).ok_or_else(Fault::unauthorized)
        }
    }
}

/// Makes a trustee the bearer of a trust: one of its uses is gone, whatever comes of it.
async fn entrust(ctx: &Ctx, id: &str, proven: &mut Proven) -> Result<Arc<Trust>, Fault> {
    let trust = id.parse().ok().and_then(|id| ctx.cloud.trusts.get(&id)).cloned();
    let usable =
        |t: &Trust| t.trustee == proven.user && proven.application_credential.is_none() && t.expires_at.is_none_or(|at| ctx.now < at);
    let trust = trust
        .filter(|t| usable(t))
        .ok_or_else(|| Fault::forbidden("You are not authorized to perform the requested action: use this trust."))?;
    ctx.run(UseTrust { id: trust.id }).await?;
    proven.until = proven.until.min(trust.expires_at.unwrap_or(Timestamp(i64::MAX)));
    if trust.impersonation {
        proven.user = trust.trustor;
    }
    Ok(trust)
}

fn stands(cloud: &Cloud, user: &User) -> bool {
    user.enabled && cloud.domains.get(&user.domain).is_some_and(|d| d.enabled)
}

fn find_user<'a>(cloud: &'a Cloud, named: &Named) -> Option<&'a Arc<User>> {
    match &named.id {
        Some(id) => cloud.users.get(&id.parse().ok()?),
        None => cloud.users.by_name(&find_domain(cloud, named.domain.as_ref())?, named.name.as_deref()?),
    }
}

/// Where the token will hold. Whether its user has a role there is decided with everything else, in `confirm`.
fn scope(ctx: &Ctx, wanted: &Wanted, proven: &Proven) -> Result<Place, Fault> {
    let cloud = &ctx.cloud;
    if let Some(credential) = proven.application_credential.and_then(|id| cloud.application_credentials.get(&id)) {
        return match wanted {
            Wanted::Default => Ok(Place::Project(credential.project)),
            _ => Err(Fault::new(401, "Application credentials cannot request a scope.")),
        };
    }
    let place = match wanted {
        Wanted::Trust(_) => None,
        Wanted::Unscoped => Some(Place::Unscoped),
        Wanted::System => Some(Place::System),
        Wanted::Domain(named) => find_domain(cloud, Some(named)).map(Place::Domain),
        Wanted::Project(Named { id: Some(id), .. }) => id.parse().ok().map(Place::Project),
        Wanted::Project(Named { name, domain, .. }) => find_domain(cloud, domain.as_ref())
            .and_then(|d| cloud.projects.by_name(&d, name.as_deref().unwrap_or_default()))
            .map(|p| Place::Project(p.id)),
        Wanted::Default => {
            let project = cloud.users.get(&proven.user).and_then(|u| u.default_project);
            let usable = |p: &ProjectId| {
                let project = cloud.projects.get(p);
                let on = project.is_some_and(|p| p.enabled && cloud.domains.get(&p.domain).is_some_and(|d| d.enabled));
                on && !cloud.effective_roles(&proven.user, &Target::Project(*p)).is_empty()
            };
            Some(project.filter(usable).map_or(Place::Unscoped, Place::Project))
        }
    };
    place.ok_or_else(Fault::unauthorized)
}

/// The token that a call is about, and whether the caller may ask about it.
fn subject(ctx: &Ctx, roles: &[&str], look: bool) -> Result<(Arc<Entry>, Arc<crate::frame::Caller>), Fault> {
    let caller = ctx.caller()?;
    let text = ctx.header("x-subject-token").unwrap_or_default();
    let own = ctx.header("x-auth-token") == Some(text);
    let may =
        own || caller.is_admin() || roles.iter().any(|r| caller.has_role(r)) || (look && caller.is_system() && caller.has_role("reader"));
    let found = ctx.app.identity.recognize(&ctx.cloud, ctx.now, text);
    match found {
        Some((entry, subject)) if may || subject.user == caller.user => Ok((entry, subject)),
        Some(_) => Err(forbidden(ctx)),
        None => Err(Fault::not_found("Could not find token.")),
    }
}

async fn validate(ctx: Ctx) -> Reply {
    let (entry, caller) = subject(&ctx, &["service"], true)?;
    let text = ctx.header("x-subject-token").unwrap_or_default().to_owned();
    let with_catalog = !ctx.query.has("nocatalog");
    let position = ctx.cloud.position;
    let kept = if with_catalog { entry.rendered(position, &ctx.base) } else { None };
    let body = match kept {
        Some(body) => body,
        None => {
            let view = view::token(&ctx.cloud, &ctx.base, &entry, &caller, with_catalog);
            let body = bytes::Bytes::from(view.to_string());
            if with_catalog {
                entry.render(position, &ctx.base, body.clone());
            }
            body
        }
    };
    Ok(Answer::bytes(200, "application/json", body).header("x-subject-token", &text))
}

async fn revoke(ctx: Ctx) -> Reply {
    let (entry, _) = subject(&ctx, &[], false)?;
    ctx.run(RevokeToken { audit_id: entry.token.audit.to_string(), expires_at: entry.token.expires_at }).await?;
    Ok(Answer::no_content())
}

async fn catalog(ctx: Ctx) -> Reply {
    let project = match &ctx.caller()?.scope {
        crate::frame::Scope::Unscoped => {
            return Err(Fault::forbidden(
                "You are not authorized to perform the requested action: a scoped token is required to produce a service catalog.",
            ));
        }
        _ => ctx.caller()?.project(),
    };
    let catalog = view::catalog(&ctx.cloud, &ctx.base, project);
    Ok(Answer::ok(
        &json!({ "catalog": catalog, "links": { "self": format!("{}/auth/catalog", root(&ctx)), "next": null, "previous": null } }),
    ))
}

/// Every place where a user was given a role, by itself or by a group.
fn places(cloud: &Cloud, user: UserId) -> impl Iterator<Item = (Target, bool)> {
    let assignees = std::iter::once(Assignee::User(user)).chain(cloud.groups.of_user(&user).map(Assignee::Group));
    assignees.flat_map(|a| cloud.assignments.of(a)).map(|g| (g.target, g.inherited))
}

/// The enabled projects in which a user has a role.
pub fn projects_of(cloud: &Cloud, user: UserId) -> BTreeSet<ProjectId> {
    let mut found = BTreeSet::new();
    for (target, inherited) in places(cloud, user) {
        match (target, inherited) {
            (Target::Project(id), false) => drop(found.insert(id)),
            (Target::Project(id), true) => found.extend(cloud.projects.subtree(&id).iter().map(|p| p.id)),
            (Target::Domain(id), true) => found.extend(cloud.projects.of_domain(&id).map(|p| p.id)),
            _ => {}
        }
    }
    found
}

async fn projects(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    let ids = projects_of(cloud, ctx.caller()?.user);
    let enabled = ids.iter().filter_map(|id| cloud.projects.get(id)).filter(|p| p.enabled);
    let views: Vec<Value> = enabled.map(|p| super::projects::view(&ctx, p)).collect();
    Ok(Answer::ok(&json!({ "projects": views, "links": list_links(&ctx) })))
}

async fn domains(ctx: Ctx) -> Reply {
    let cloud = &ctx.cloud;
    let user = ctx.caller()?.user;
    let ids: BTreeSet<DomainId> = places(cloud, user)
        .filter_map(|(target, inherited)| match target {
            Target::Domain(id) if !inherited => Some(id),
            _ => None,
        })
        .collect();
    let enabled = ids.iter().filter_map(|id| cloud.domains.get(id)).filter(|d| d.enabled);
    let views: Vec<Value> = enabled.map(|d| super::domains::view(&ctx, d)).collect();
    Ok(Answer::ok(&json!({ "domains": views, "links": list_links(&ctx) })))
}

async fn system(ctx: Ctx) -> Reply {
    let has = !ctx.cloud.effective_roles(&ctx.caller()?.user, &Target::System).is_empty();
    let system = if has { json!([{ "all": true }]) } else { json!([]) };
    Ok(Answer::ok(&json!({ "system": system, "links": link(&ctx, format_args!("auth/system")) })))
}
