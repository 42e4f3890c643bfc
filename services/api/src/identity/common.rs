//! What identity's nouns share: links and lists as Keystone writes them, attributes read out of a body, and who may act in
//! which domain.

use crate::frame::{Answer, Ctx, Fault, Reply};
use serde_json::{Map, Value, json};
use std::str::FromStr;
use strata_conductor::decide::identity::not_found;
use strata_events::{DomainId, UserId};

/// `http://host/identity/v3` or `http://host/v3`, as the client came.
pub fn root(ctx: &Ctx) -> String {
    let prefix = if ctx.path.starts_with("/identity") { "/identity" } else { "" };
    format!("{}{prefix}/v3", ctx.base)
}

/// `{"self": …}` of one thing.
pub fn link(ctx: &Ctx, path: std::fmt::Arguments<'_>) -> Value {
    json!({ "self": format!("{}/{path}", root(ctx)) })
}

/// The links of a list that has no further page.
pub fn list_links(ctx: &Ctx) -> Value {
    let query = ctx.query.without(&[]);
    let query = if query.is_empty() { query } else { format!("?{query}") };
    json!({ "self": format!("{}{}{query}", ctx.base, ctx.path), "next": null, "previous": null })
}

/// A list in Keystone's envelope: filtered by the query's attributes, then paged if the client asked for pages.
pub fn list(ctx: &Ctx, key: &str, views: impl Iterator<Item = Value>, filters: &[&str]) -> Reply {
    let wanted = Filters::of(ctx, filters);
    let mut views: Vec<Value> = views.filter(|v| wanted.admit(v)).collect();
    let mut links = list_links(ctx);
    if let Some(marker) = ctx.query.get("marker") {
        let at = views.iter().position(|v| v["id"].as_str() == Some(marker));
        let at = at.ok_or_else(|| Fault::bad_request(format!("marker [{marker}] not found")))?;
        views.drain(..=at);
    }
    if let Some(limit) = ctx.query.number("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
        && views.len() > limit
    {
        views.truncate(limit);
        if let Some(last) = views.last().and_then(|v| v["id"].as_str()) {
            let rest = ctx.query.without(&["marker"]);
            links["next"] = json!(format!("{}{}?{rest}&marker={last}", ctx.base, ctx.path));
        }
    }
    Ok(Answer::ok(&json!({ key: views, "links": links })))
}

/// `?name=a&name__contains=b&enabled`: what a list is narrowed to.
struct Filters<'a>(Vec<(&'a str, &'a str, &'a str)>);

impl<'a> Filters<'a> {
    fn of(ctx: &'a Ctx, known: &[&str]) -> Self {
        let pairs = ctx.query.0.iter().filter_map(|(key, value)| {
            let (attribute, how) = key.split_once("__").unwrap_or((key, "equals"));
            known.contains(&attribute).then_some((attribute, how, value.as_str()))
        });
        Self(pairs.collect())
    }
    fn admit(&self, view: &Value) -> bool {
        self.0.iter().all(|(attribute, how, wanted)| {
            let has = &view[*attribute];
            if let Value::Bool(has) = has {
                let off = matches!(wanted.to_ascii_lowercase().as_str(), "0" | "false" | "f" | "no" | "n" | "off");
                return *has != off;
            }
            let Some(has) = has.as_str() else { return has.is_null() && (wanted.is_empty() || *wanted == "null") };
            let (lower, wanted_lower) = (has.to_lowercase(), wanted.to_lowercase());
            match *how {
                "equals" => has == *wanted,
                "contains" => has.contains(wanted),
                "icontains" => lower.contains(&wanted_lower),
                "startswith" => has.starts_with(wanted),
                "istartswith" => lower.starts_with(&wanted_lower),
                "endswith" => has.ends_with(wanted),
                "iendswith" => lower.ends_with(&wanted_lower),
                _ => true,
            }
        })
    }
}

/// The id in a path. Text that is no id names nothing that exists.
pub fn path_id<T: FromStr>(ctx: &Ctx, parameter: &str, noun: &str) -> Result<T, Fault> {
    ctx.param(parameter).parse().map_err(|_| missing(ctx, noun, ctx.param(parameter)))
}

/// `Could not find user: 5….`
pub fn missing(ctx: &Ctx, noun: &str, id: impl std::fmt::Display) -> Fault {
    Fault::refused(ctx.service(), not_found(noun, id))
}

/// Who may see what belongs to a domain: admins, readers of the whole system, readers of that domain.
pub fn may_read(ctx: &Ctx, domain: Option<DomainId>) -> bool {
    ctx.caller
        .as_ref()
        .is_some_and(|c| c.is_admin() || (c.has_role("reader") && (c.is_system() || (domain.is_some() && c.domain() == domain))))
}

/// Who may change what belongs to a domain: admins, managers of that domain.
pub fn may_manage(ctx: &Ctx, domain: Option<DomainId>) -> bool {
    ctx.caller.as_ref().is_some_and(|c| c.is_admin() || (c.has_role("manager") && domain.is_some() && c.domain() == domain))
}

/// What is of the whole cloud (regions, services, endpoints, global roles) is out of reach of a token that is bound to one
/// domain, whatever role it has there.
pub fn unbound(ctx: &Ctx) -> Result<(), Fault> {
    ensure(ctx, ctx.caller()?.domain().is_none())
}

/// A list that is asked for with a token for one domain shows only what is of that domain.
pub fn listed(ctx: &Ctx, domain: Option<DomainId>) -> bool {
    let bound = ctx.caller.as_ref().and_then(|c| c.domain());
    may_read(ctx, domain) && (bound.is_none() || bound == domain)
}

/// The user in the path, for what is its own secret: it itself, admins, and to look at it readers of the whole system.
pub fn own(ctx: &Ctx, write: bool) -> Result<UserId, Fault> {
    let caller = ctx.caller()?;
    let user = ctx.param("user_id").parse::<UserId>().ok();
    let cloud_wide = (caller.is_admin() && caller.domain().is_none()) || (!write && caller.is_system() && caller.has_role("reader"));
    ensure(ctx, cloud_wide || user == Some(caller.user))?;
    user.filter(|u| ctx.cloud.users.contains(u)).ok_or_else(|| missing(ctx, "user", ctx.param("user_id")))
}

/// 403 by the route's own rule.
pub fn forbidden(ctx: &Ctx) -> Fault {
    Fault::policy(ctx.service(), ctx.route.rule.name)
}

/// Goes on only if that holds.
pub fn ensure(ctx: &Ctx, allowed: bool) -> Result<(), Fault> {
    if allowed { Ok(()) } else { Err(forbidden(ctx)) }
}

/// A body's attributes, taken out one by one; what is left is kept as given (Keystone's `extra`).
pub struct Fields(pub Map<String, Value>);

/// Attributes beyond the known ones, in bytes of JSON: they stand in events, which are bounded.
const EXTRA: usize = 16 * 1024;
/// The longest text of an attribute without a bound of its own.
const TEXT: usize = 8 * 1024;

impl Fields {
    /// The attributes below the body's one key.
    pub fn of(ctx: &Ctx, key: &str) -> Result<Self, Fault> {
        let mut object = ctx.object()?;
        match ctx.take(&mut object, key)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(Fault::bad_request(format!("'{key}' must be an object."))),
        }
    }
    fn wrong(key: &str, expected: &str) -> Fault {
        // Never with the value: it may be a secret.
        Fault::bad_request(format!("Invalid input for field '{key}': {expected}."))
    }
    /// A text; null counts as absent.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, Fault> {
        self.nullable(key).map(Option::flatten)
    }
    /// A text that may be taken away by null.
    pub fn nullable(&mut self, key: &str) -> Result<Option<Option<String>>, Fault> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) if text.len() <= TEXT && !text.contains('\0') => Ok(Some(Some(text))),
            Some(_) => Err(Self::wrong(key, &format!("a string of at most {TEXT} bytes is expected"))),
        }
    }
    /// A name of 1 to `most` characters, not all blank.
    pub fn name(&mut self, most: usize) -> Result<Option<String>, Fault> {
        match self.0.remove("name") {
            None => Ok(None),
            Some(Value::String(name))
                if !name.trim().is_empty() && name.chars().count() <= most && !name.chars().any(|c| c.is_control()) =>
            {
                Ok(Some(name))
            }
            Some(_) => Err(Self::wrong("name", &format!("a string of 1 to {most} characters is expected, not all of them blanks"))),
        }
    }
    pub fn needed_name(&mut self, most: usize) -> Result<String, Fault> {
        self.name(most)?.ok_or_else(|| Fault::bad_request("'name' is a required property"))
    }
    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, Fault> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Self::wrong(key, "true or false is expected")),
        }
    }
    /// An id that may be taken away by null.
    pub fn id<T: FromStr>(&mut self, key: &str, noun: &str) -> Result<Option<Option<T>>, Fault> {
        match self.nullable(key)? {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(text)) => match text.parse() {
                Ok(id) => Ok(Some(Some(id))),
                Err(_) => Err(Fault::bad_request(format!("Invalid input for field '{key}': no {noun} has the ID {text:?}."))),
            },
        }
    }
    /// Resource options, of which only the known are taken.
    pub fn options(&mut self, known: &[&str]) -> Result<Option<Map<String, Value>>, Fault> {
        match self.0.remove("options") {
            None => Ok(None),
            Some(Value::Object(mut map)) => {
                if let Some(other) = map.keys().find(|k| !known.contains(&k.as_str())) {
                    return Err(Self::wrong("options", &format!("additional properties are not allowed ('{other}' was unexpected)")));
                }
                map.retain(|_, v| !v.is_null());
                for (key, value) in &map {
                    let fine = if key == "multi_factor_auth_rules" { value.is_array() } else { value.is_boolean() };
                    if !fine {
                        return Err(Self::wrong(key, "true or false is expected"));
                    }
                }
                Ok(Some(map))
            }
            Some(_) => Err(Self::wrong("options", "an object is expected")),
        }
    }
    pub fn tags(&mut self) -> Result<Option<Vec<String>>, Fault> {
        self.0.remove("tags").map(tags).transpose()
    }
    /// What is left, kept as given. Attributes that the server sets are dropped: they can't be set.
    pub fn extra(mut self) -> Result<Map<String, Value>, Fault> {
        for key in ["id", "links"] {
            self.0.remove(key);
        }
        let size = serde_json::to_string(&self.0).map_or(usize::MAX, |s| s.len());
        if size > EXTRA {
            return Err(Fault::bad_request(format!("The additional attributes are too large: at most {EXTRA} bytes of JSON are kept.")));
        }
        Ok(self.0)
    }
}

/// A list of tags: at most 80, each of 1 to 255 characters without `/` and `,`.
pub fn tags(value: Value) -> Result<Vec<String>, Fault> {
    let wrong = || Fields::wrong("tags", "a list of at most 80 different strings of 1 to 255 characters, without '/' and ',', is expected");
    let Value::Array(items) = value else { return Err(wrong()) };
    if items.len() > 80 {
        return Err(wrong());
    }
    let mut tags: Vec<String> = vec![];
    for item in items {
        match item {
            Value::String(tag) if fine_tag(&tag) && !tags.contains(&tag) => tags.push(tag),
            _ => return Err(wrong()),
        }
    }
    Ok(tags)
}

pub fn fine_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.chars().count() <= 255 && !tag.contains(['/', ','])
}

/// Adds attributes that were kept as given; what the server says itself wins.
pub fn with_extra(mut view: Value, extra: &Map<String, Value>) -> Value {
    if let Value::Object(map) = &mut view {
        for (key, value) in extra {
            map.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    view
}
