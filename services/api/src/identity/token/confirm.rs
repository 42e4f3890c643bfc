//! What a token is worth at this moment: everything it rests on must still stand. Pure: state, time and token in, caller out.

use super::{Place, Token};
use crate::frame::{Caller, Scope};
use strata_events::assignment::Target;
use strata_events::{DomainId, RoleId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::domain::Domain;

/// The caller that the token stands for now; None when it is void, for whatever reason.
pub fn confirm(cloud: &Cloud, now: Timestamp, token: &Token) -> Option<Caller> {
    if now >= token.expires_at || cloud.tokens.is_revoked(&token.audit.to_string()) {
        return None;
    }
    let user = cloud.users.get(&token.user).filter(|u| u.enabled && token.position >= u.tokens_from)?;
    let user_domain = standing_domain(cloud, token, &user.domain)?;
    let scope = match token.place {
        Place::Unscoped => Scope::Unscoped,
        Place::System => Scope::System,
        Place::Domain(id) => Scope::Domain { id, name: standing_domain(cloud, token, &id)?.name.clone() },
        Place::Project(id) => {
            let project = cloud.projects.get(&id).filter(|p| p.enabled && token.position >= p.tokens_from)?;
            let domain = standing_domain(cloud, token, &project.domain)?;
            Scope::Project { id, name: project.name.clone(), domain: domain.id, domain_name: domain.name.clone() }
        }
    };
    let mut roles: Vec<(RoleId, String)> = match (token.application_credential, target(token.place)) {
        (Some(id), _) => {
            let credential = cloud.application_credentials.get(&id)?;
            let stands = credential.user == token.user
                && Place::Project(credential.project) == token.place
                && credential.expires_at.is_none_or(|at| now < at);
            if !stands {
                return None;
            }
            cloud.role_names(cloud.application_credential_roles(credential))
        }
        (None, Some(target)) => cloud.effective_role_names(&token.user, &target),
        (None, None) => vec![],
    };
    if roles.is_empty() && token.place != Place::Unscoped {
        return None;
    }
    roles.sort_by(|a, b| a.1.cmp(&b.1));
    Some(Caller {
        user: user.id,
        user_name: user.name.clone(),
        user_domain: user.domain,
        user_domain_name: user_domain.name.clone(),
        scope,
        roles,
        methods: token.methods().into_iter().map(str::to_owned).collect(),
        audit_ids: token.audit_ids(),
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        application_credential: token.application_credential,
    })
}

/// Where roles are looked up for a place.
pub fn target(place: Place) -> Option<Target> {
    match place {
        Place::Unscoped => None,
        Place::Project(id) => Some(Target::Project(id)),
        Place::Domain(id) => Some(Target::Domain(id)),
        Place::System => Some(Target::System),
    }
}

fn standing_domain<'a>(cloud: &'a Cloud, token: &Token, id: &DomainId) -> Option<&'a Domain> {
    cloud.domains.get(id).map(|d| &**d).filter(|d| d.enabled && token.position >= d.tokens_from)
}
