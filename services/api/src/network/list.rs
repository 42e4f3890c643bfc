//! Lists: filters on any attribute, sorting, paging, `fields`. What passes is written straight from its view to the answer's
//! bytes; only `fields` takes the way over JSON values.

use super::attrs::flag;
use crate::frame::{Answer, Ctx, Fault, Reply};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::cmp::Ordering;
use strata_events::Timestamp;
use strata_projections::Cloud;
use uuid::Uuid;

/// A page is never longer.
const LONGEST_PAGE: usize = 10_000;
/// Query parameters that are not filters.
const NOT_FILTERS: &[&str] = &["fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "verbose"];

/// From where things are looked at.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub cloud: &'a Cloud,
    /// Admins are told where and how things are made.
    pub admin: bool,
}

impl<'a> At<'a> {
    pub fn of(ctx: &Ctx, cloud: &'a Cloud) -> Self {
        Self { cloud, admin: ctx.is_admin() }
    }
}

/// An attribute's value, for filters and sorting.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
    Number(i64),
    Nothing,
    Many(Vec<String>),
    /// The addresses of a port: subnet and address.
    Addresses(Vec<(String, String)>),
}

impl<'a> Attr<'a> {
    pub fn text(text: &'a str) -> Option<Self> {
        Some(Attr::Text(Cow::Borrowed(text)))
    }
    pub fn shown(text: impl ToString) -> Option<Self> {
        Some(Attr::Text(Cow::Owned(text.to_string())))
    }
    pub fn maybe(text: Option<impl ToString>) -> Option<Self> {
        Some(text.map_or(Attr::Nothing, |t| Attr::Text(Cow::Owned(t.to_string()))))
    }

    /// Whether one of the values given for it fits.
    fn matches(&self, wanted: &[&str]) -> bool {
        match self {
            Attr::Text(text) => wanted.contains(&text.as_ref()),
            Attr::Flag(on) => wanted.iter().any(|w| flag(w) == Some(*on)),
            Attr::Number(n) => wanted.iter().any(|w| w.parse() == Ok(*n)),
            Attr::Nothing => wanted.iter().any(|w| w.is_empty() || *w == "None" || *w == "null"),
            Attr::Many(all) => wanted.iter().any(|w| all.iter().any(|a| a == w)),
            Attr::Addresses(all) => all.iter().any(|(subnet, ip)| {
                let of = |key: &str| wanted.iter().filter_map(|w| w.strip_prefix(key)?.strip_prefix('=')).collect::<Vec<_>>();
                let (subnets, ips, parts) = (of("subnet_id"), of("ip_address"), of("ip_address_substr"));
                (subnets.is_empty() || subnets.contains(&subnet.as_str()))
                    && (ips.is_empty() || ips.contains(&ip.as_str()))
                    && (parts.is_empty() || parts.iter().any(|p| ip.contains(p)))
            }),
        }
    }
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Attr::Text(a), Attr::Text(b)) => a.cmp(b),
            (Attr::Number(a), Attr::Number(b)) => a.cmp(b),
            (Attr::Flag(a), Attr::Flag(b)) => a.cmp(b),
            (Attr::Nothing, Attr::Nothing) => Ordering::Equal,
            (Attr::Nothing, _) => Ordering::Less,
            (_, Attr::Nothing) => Ordering::Greater,
            _ => Ordering::Equal,
        }
    }
}

/// A noun of the network API, as it is shown.
pub trait Noun {
    const ONE: &'static str;
    const MANY: &'static str;
    type View<'a>: Serialize
    where
        Self: 'a;
    fn uuid(&self) -> Uuid;
    fn tags(&self) -> &[String];
    fn updated_at(&self) -> Timestamp;
    /// The value of an attribute; none when there is no attribute of this name.
    fn attr<'a>(&'a self, at: &At<'a>, name: &str) -> Option<Attr<'a>>;
    fn view<'a>(&'a self, at: &At<'a>) -> Self::View<'a>;
}

/// One of them, after it was made, changed or found.
pub fn one<N: Noun>(ctx: &Ctx, status: u16, cloud: &Cloud, item: &N) -> Reply {
    let view = item.view(&At::of(ctx, cloud));
    let fields = fields(ctx);
    if fields.is_empty() {
        return Ok(Answer::json(status, &Keyed(N::ONE, view)));
    }
    Ok(Answer::json(status, &json!({ N::ONE: chosen(&view, &fields) })))
}

/// Several, after they were made in bulk.
pub fn many<N: Noun>(ctx: &Ctx, status: u16, cloud: &Cloud, items: &[&N]) -> Reply {
    let at = At::of(ctx, cloud);
    Ok(Answer::json(status, &Keyed(N::MANY, items.iter().map(|i| i.view(&at)).collect::<Vec<_>>())))
}

/// The answer to a list call, out of what the caller may see.
pub fn list<'a, N: Noun + 'a>(ctx: &Ctx, cloud: &'a Cloud, visible: impl Iterator<Item = &'a N>) -> Reply {
    let at = At::of(ctx, cloud);
    let filters = Filters::of(ctx)?;
    let mut items: Vec<&N> = visible.filter(|item| filters.pass(*item, &at)).collect();
    sort(ctx, &at, &mut items)?;
    let page = Page::cut(ctx, items)?;
    let fields = fields(ctx);
    let links = page.links(ctx);
    let listing = Listing { key: N::MANY, items: &page.items, at: &at, fields: &fields, links: &links };
    Ok(Answer::ok(&listing))
}

fn fields(ctx: &Ctx) -> Vec<&str> {
    ctx.query.all("fields").flat_map(|f| f.split(',')).filter(|f| !f.is_empty()).collect()
}

fn chosen(view: &impl Serialize, fields: &[&str]) -> Value {
    let mut value = serde_json::to_value(view).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        map.retain(|key, _| fields.contains(&key.as_str()));
    }
    value
}

struct Keyed<T>(&'static str, T);
impl<T: Serialize> Serialize for Keyed<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

struct Listing<'a, N> {
    key: &'static str,
    items: &'a [&'a N],
    at: &'a At<'a>,
    fields: &'a [&'a str],
    links: &'a [Value],
}
impl<N: Noun> Serialize for Listing<'_, N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        struct Items<'a, N>(&'a Listing<'a, N>);
        impl<N: Noun> Serialize for Items<'_, N> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let Listing { items, at, fields, .. } = self.0;
                if fields.is_empty() {
                    s.collect_seq(items.iter().map(|i| i.view(at)))
                } else {
                    s.collect_seq(items.iter().map(|i| chosen(&i.view(at), fields)))
                }
            }
        }
        let mut map = s.serialize_map(None)?;
        map.serialize_entry(self.key, &Items(self))?;
        if !self.links.is_empty() {
            map.serialize_entry(&format!("{}_links", self.key), self.links)?;
        }
        map.end()
    }
}

/// What a list's query asks of each item.
struct Filters<'q> {
    attributes: Vec<(&'q str, Vec<&'q str>)>,
    changed_since: Option<Timestamp>,
}

impl<'q> Filters<'q> {
    fn of(ctx: &'q Ctx) -> Result<Self, Fault> {
        let mut attributes: Vec<(&str, Vec<&str>)> = vec![];
        for (key, value) in &ctx.query.0 {
            if NOT_FILTERS.contains(&key.as_str()) || key == "changed_since" {
                continue;
            }
            match attributes.iter_mut().find(|(k, _)| k == key) {
                Some((_, values)) => values.push(value),
                None => attributes.push((key, vec![value])),
            }
        }
        let changed_since = ctx.query.get("changed_since").map(|text| {
            Timestamp::parse(text)
                .map_err(|_| Fault::bad_request(format!("Invalid value '{text}' for filter changed_since: it must be an ISO 8601 time.")))
        });
        Ok(Self { attributes, changed_since: changed_since.transpose()? })
    }
    fn pass<N: Noun>(&self, item: &N, at: &At<'_>) -> bool {
        let tagged = |tag: &str| item.tags().iter().any(|t| t == tag);
        let all = |values: &[&str]| values.iter().flat_map(|v| v.split(',')).all(tagged);
        let any = |values: &[&str]| values.iter().flat_map(|v| v.split(',')).any(tagged);
        self.changed_since.is_none_or(|since| item.updated_at() >= since)
            && self.attributes.iter().all(|(key, values)| match *key {
                "tags" => all(values),
                "tags-any" => any(values),
                "not-tags" => !all(values),
                "not-tags-any" => !any(values),
                "id" => values.iter().any(|v| v.parse() == Ok(item.uuid())),
                // What is no attribute is no filter either.
                key => item.attr(at, key).is_none_or(|attr| attr.matches(values)),
            })
    }
}

fn sort<N: Noun>(ctx: &Ctx, at: &At<'_>, items: &mut [&N]) -> Result<(), Fault> {
    let keys: Vec<&str> = ctx.query.all("sort_key").collect();
    let dirs: Vec<&str> = ctx.query.all("sort_dir").collect();
    if keys.len() != dirs.len() && !dirs.is_empty() {
        return Err(Fault::bad_request("The number of sort_keys and sort_dirs must be same"));
    }
    if let Some(dir) = dirs.iter().find(|d| !["asc", "desc"].contains(d)) {
        return Err(Fault::bad_request(format!("The valid value for sort_dirs are 'asc' and 'desc'; '{dir}' is neither.")));
    }
    items.sort_by_key(|item| item.uuid());
    let Some(first) = items.first() else { return Ok(()) };
    if let Some(key) = keys
        .iter()
        .find(|key| **key != "id" && !matches!(first.attr(at, key), Some(Attr::Text(_) | Attr::Flag(_) | Attr::Number(_) | Attr::Nothing)))
    {
        return Err(Fault::bad_request(format!("'{key}' is an invalid attribute for sort key")));
    }
    // From the last key to the first, each keeping what the one before it left.
    for (i, key) in keys.iter().enumerate().rev() {
        let down = dirs.get(i) == Some(&"desc");
        let turn = |o: Ordering| if down { o.reverse() } else { o };
        if *key == "id" {
            items.sort_by(|a, b| turn(a.uuid().cmp(&b.uuid())));
        } else {
            items.sort_by(|a, b| match (a.attr(at, key), b.attr(at, key)) {
                (Some(a), Some(b)) => turn(a.order(&b)),
                _ => Ordering::Equal,
            });
        }
    }
    Ok(())
}

/// The part of a list that was asked for.
struct Page<'a, N> {
    items: Vec<&'a N>,
    limit: usize,
    limited: bool,
    reverse: bool,
    after: bool,
}

impl<'a, N: Noun> Page<'a, N> {
    fn cut(ctx: &Ctx, items: Vec<&'a N>) -> Result<Self, Fault> {
        let (limit, limited) = match ctx.query.get("limit") {
            None => (LONGEST_PAGE, false),
            Some(text) => match text.parse::<i64>() {
                Ok(0) => (LONGEST_PAGE, false),
                Ok(n) if n > 0 => (usize::try_from(n).unwrap_or(LONGEST_PAGE).min(LONGEST_PAGE), true),
                _ => return Err(Fault::bad_request(format!("Limit must be an integer 0 or greater and not '{text}'"))),
            },
        };
        let reverse = ctx.query.get("page_reverse").and_then(flag).unwrap_or(false);
        let position = match ctx.query.get("marker").filter(|m| !m.is_empty()) {
            None => None,
            Some(marker) => {
                let id: Option<Uuid> = marker.parse().ok();
                let found = items.iter().position(|item| Some(item.uuid()) == id);
                Some(found.ok_or_else(|| Fault::bad_request(format!("The marker '{marker}' is not among the {} listed.", N::MANY)))?)
            }
        };
        let range = match (reverse, position) {
            (false, None) => 0..limit.min(items.len()),
            (false, Some(at)) => at + 1..(at + 1).saturating_add(limit).min(items.len()),
            (true, None) => items.len().saturating_sub(limit)..items.len(),
            (true, Some(at)) => at.saturating_sub(limit)..at,
        };
        Ok(Self { limit, limited, reverse, after: range.end < items.len(), items: items[range].to_vec() })
    }
    /// As Neutron gives them: a full page has a next one, which may turn out empty.
    fn links(&self, ctx: &Ctx) -> Vec<Value> {
        let rest = ctx.query.without(&["marker", "page_reverse"]);
        let href = |marker: Option<&&N>, more: &str| {
            let marker = marker.map(|m| format!("&marker={}", m.uuid())).unwrap_or_default();
            let query = format!("{rest}{marker}{more}");
            format!("{}{}?{}", ctx.base, ctx.path, query.trim_start_matches('&'))
        };
        let next = || json!({"rel": "next", "href": href(self.items.last(), "")});
        let previous = || json!({"rel": "previous", "href": href(self.items.first(), "&page_reverse=True")});
        if !self.limited {
            return if self.after { vec![next()] } else { vec![] };
        }
        let full = self.items.len() >= self.limit;
        let next = (full || self.reverse).then(next);
        let previous = (full || !self.reverse).then(previous);
        next.into_iter().chain(previous).collect()
    }
}
