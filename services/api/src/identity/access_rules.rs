//! Access rules over HTTP, and what they let through. Source: identity api-ref, "Application credentials"; the patterns are
//! keystonemiddleware's: `*` and `{name}` stand for one segment, `**` for any number.

use super::common::{link, list, missing, own, path_id};
use crate::frame::{Answer, Caller, Ctx, Fault, Reply, Routes, Rule, Service};
use serde_json::{Value, json};
use strata_conductor::decide::application_credential::DeleteAccessRule;
use strata_events::AccessRuleId;
use strata_projections::Cloud;
use strata_projections::cloud::access_rule::AccessRule;

pub fn routes(r: &mut Routes) {
    r.get("/v3/users/{user_id}/access_rules", index, Rule::token("identity:list_access_rules"));
    r.get("/v3/users/{user_id}/access_rules/{access_rule_id}", show, Rule::token("identity:get_access_rule"));
    r.delete("/v3/users/{user_id}/access_rules/{access_rule_id}", delete, Rule::token("identity:delete_access_rule"));
}

/// Whether the caller's application credential, if that is how the token was got, may be used for this call.
pub fn admits(cloud: &Cloud, caller: &Caller, service: Service, method: &str, path: &str) -> bool {
    let Some(credential) = caller.application_credential.and_then(|id| cloud.application_credentials.get(&id)) else { return true };
    if credential.access_rules.is_empty() {
        return true;
    }
    let (kind, prefix) = match service {
        Service::Identity => ("identity", "/identity"),
        Service::Compute => ("compute", "/compute"),
        Service::Image => ("image", "/image"),
        Service::Network => ("network", "/network"),
        Service::Strata => ("strata", "/strata"),
    };
    let short = path.strip_prefix(prefix).unwrap_or(path);
    let rules = credential.access_rules.iter().filter_map(|id| cloud.access_rules.get(id));
    rules
        .into_iter()
        .any(|r| r.service == kind && r.method.eq_ignore_ascii_case(method) && (matches(&r.path, path) || matches(&r.path, short)))
}

fn matches(pattern: &str, path: &str) -> bool {
    fn go(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|n| go(rest, &path[n..])),
            (Some((head, rest)), Some((segment, others))) => {
                let any = *head == "*" || (head.starts_with('{') && head.ends_with('}'));
                ((any && !segment.is_empty()) || head == segment) && go(rest, others)
            }
            _ => false,
        }
    }
    // More than a few `**` would make matching slow, and mean nothing that one doesn't.
    let parts: Vec<&str> = pattern.split('/').collect();
    parts.iter().filter(|p| **p == "**").count() <= 3 && go(&parts, &path.split('/').collect::<Vec<_>>())
}

pub fn view(rule: &AccessRule) -> Value {
    json!({ "id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path })
}

fn with_links(ctx: &Ctx, rule: &AccessRule) -> Value {
    let mut view = view(rule);
    view["links"] = link(ctx, format_args!("users/{}/access_rules/{}", rule.user, rule.id));
    view
}

async fn index(ctx: Ctx) -> Reply {
    let user = own(&ctx, false)?;
    list(&ctx, "access_rules", ctx.cloud.access_rules.of(&user).map(|r| with_links(&ctx, r)), &["service", "path", "method"])
}

fn found(ctx: &Ctx, write: bool) -> Result<&AccessRule, Fault> {
    let user = own(ctx, write)?;
    let id: AccessRuleId = path_id(ctx, "access_rule_id", "access rule")?;
    let rule = ctx.cloud.access_rules.get(&id);
    super::common::ensure(ctx, rule.is_none_or(|r| r.user == user))?;
    rule.map(|r| &**r).ok_or_else(|| missing(ctx, "access rule", id))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "access_rule": with_links(&ctx, found(&ctx, false)?) })))
}

async fn delete(ctx: Ctx) -> Reply {
    let (user, id) = found(&ctx, true).map(|r| (r.user, r.id))?;
    ctx.run(DeleteAccessRule { user, id }).await?;
    Ok(Answer::no_content())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_the_middleware_does() {
        assert!(matches("/v2.1/servers", "/v2.1/servers"));
        assert!(matches("/v2.1/servers/*", "/v2.1/servers/7"));
        assert!(matches("/v2.1/servers/{id}/ips", "/v2.1/servers/7/ips"));
        assert!(matches("/v2.1/**", "/v2.1/servers/7/ips"));
        assert!(!matches("/v2.1/servers/*", "/v2.1/servers"));
        assert!(!matches("/v2.1/servers/*", "/v2.1/servers/7/ips"));
        assert!(!matches("/v2.1/servers", "/v2.1/serversx"));
    }
}
