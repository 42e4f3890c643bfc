//! Which images a list holds, and in which order. Unlike a single image, a community image or an offer that was not accepted
//! is in a list only when it is asked for.

use super::asker;
use crate::frame::{Ctx, Fault, Page, Query};
use std::cmp::Ordering;
use std::sync::Arc;
use strata_conductor::decide::image::Asker;
use strata_events::image::{MemberStatus, Visibility};
use strata_events::{ProjectId, Timestamp};
use strata_projections::cloud::image::Image;

const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 1000;
const SORT_KEYS: [&str; 8] = ["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"];

type Test = Box<dyn Fn(&Image) -> bool + Send>;

/// A page of the images that were asked for, and whether more follow.
pub fn page(ctx: &Ctx) -> Result<(Vec<Arc<Image>>, bool), Fault> {
    let query = &ctx.query;
    let tests = tests(query)?;
    let scope = Scope::of(query, asker(ctx))?;
    let order = Order::of(query)?;
    let page = Page { limit: limit(query)?, marker: query.get("marker").map(str::to_owned) };
    let wanted = ctx.cloud.images.newest_first().filter(|i| scope.has(i) && tests.iter().all(|t| t(i)));
    let paged = if order.is_newest_first() {
        page.cut(wanted.cloned(), |i| i.id.to_string())?
    } else {
        let mut all: Vec<Arc<Image>> = wanted.cloned().collect();
        all.sort_by(|a, b| order.compare(a, b));
        page.cut(all.into_iter(), |i| i.id.to_string())?
    };
    Ok((paged.items, paged.more))
}

fn limit(query: &Query) -> Result<usize, Fault> {
    let Some(text) = query.get("limit") else { return Ok(DEFAULT_LIMIT) };
    let number: i64 = text.trim().parse().map_err(|_| Fault::bad_request("limit param must be an integer"))?;
    let number = usize::try_from(number).map_err(|_| Fault::bad_request("limit param must be positive"))?;
    Ok(number.min(MAX_LIMIT))
}

/// Whose images.
struct Scope {
    asker: Asker,
    visibility: Option<String>,
    offers: Option<MemberStatus>,
}

impl Scope {
    fn of(query: &Query, asker: Asker) -> Result<Self, Fault> {
        let visibility = query.get("visibility").filter(|v| !v.is_empty());
        if let Some(other) = visibility.filter(|v| !["community", "public", "private", "shared", "all"].contains(v)) {
            return Err(Fault::bad_request(format!("Invalid visibility value: {other}")));
        }
        let offers = match query.get("member_status").unwrap_or("accepted") {
            "pending" => Some(MemberStatus::Pending),
            "accepted" => Some(MemberStatus::Accepted),
            "rejected" => Some(MemberStatus::Rejected),
            "all" => None,
            other => return Err(Fault::bad_request(format!("Invalid status: {other}"))),
        };
        Ok(Self { asker, visibility: visibility.map(str::to_owned), offers })
    }

    fn has(&self, image: &Image) -> bool {
        let ours = self.asker.project == Some(image.owner);
        let visibility = image.attributes.visibility;
        let offered = |p: &ProjectId| image.member(p).is_some_and(|m| self.offers.is_none_or(|s| m.status == s));
        let seen = self.asker.admin
            || ours
            || match visibility {
                Visibility::Public | Visibility::Community => true,
                Visibility::Shared => self.asker.project.as_ref().is_some_and(offered),
                Visibility::Private => false,
            };
        let asked = match self.visibility.as_deref() {
            Some("all") => true,
            Some(named) => name(visibility) == named,
            None => ours || visibility != Visibility::Community,
        };
        seen && asked
    }
}

fn name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Community => "community",
        Visibility::Shared => "shared",
        Visibility::Private => "private",
    }
}

/// The value of an attribute that every image has, as text; `Some(None)` where it has none.
fn attribute(image: &Image, key: &str) -> Option<Option<String>> {
    let (a, data) = (&image.attributes, image.data.as_ref());
    Some(match key {
        "id" => Some(image.id.to_string()),
        "name" => a.name.clone(),
        "status" => Some(image.status.name().to_owned()),
        "disk_format" => a.disk_format.clone(),
        "container_format" => a.container_format.clone(),
        "owner" => Some(image.owner.to_string()),
        "checksum" => data.map(|d| d.checksum.clone()),
        "os_hash_value" => data.map(|d| d.sha512.clone()),
        "os_hash_algo" => data.map(|_| "sha512".to_owned()),
        "size" => data.map(|d| d.size.to_string()),
        "virtual_size" => data.and_then(|d| d.virtual_size).map(|n| n.to_string()),
        "min_disk" => Some(a.min_disk.to_string()),
        "min_ram" => Some(a.min_ram.to_string()),
        _ => return None,
    })
}

fn number(image: &Image, key: &str) -> Option<u64> {
    match key {
        "size" => image.data.as_ref().map(|d| d.size),
        "virtual_size" => image.data.as_ref().and_then(|d| d.virtual_size),
        "min_disk" => Some(image.attributes.min_disk),
        "min_ram" => Some(image.attributes.min_ram),
        _ => None,
    }
}

/// What a query asks of each image. What is no attribute is a property.
fn tests(query: &Query) -> Result<Vec<Test>, Fault> {
    if query.has("changes-since") {
        return Err(Fault::bad_request("The \"changes-since\" filter is no longer available on v2."));
    }
    let flag = |key: &str, value: &str| match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::bad_request(format!("Invalid value '{value}' for '{key}' filter. Valid values are 'true' or 'false'."))),
    };
    let hidden = flag("os_hidden", &query.get("os_hidden").unwrap_or("false").to_lowercase())?;
    let mut tests: Vec<Test> = vec![Box::new(move |i| i.attributes.os_hidden == hidden)];
    for (key, value) in &query.0 {
        let (key, value) = (key.clone(), value.clone());
        let test: Test = match key.as_str() {
            "limit" | "marker" | "sort" | "sort_key" | "sort_dir" | "member_status" | "visibility" | "os_hidden" => continue,
            "tag" => Box::new(move |i| i.attributes.tags.iter().any(|t| t == value.trim())),
            "protected" => {
                let protected = flag("protected", &value)?;
                Box::new(move |i| i.attributes.protected == protected)
            }
            "created_at" | "updated_at" => moment(&key, &value)?,
            "name" | "id" | "status" | "container_format" | "disk_format" => {
                let wanted = one_or_some(&value)?;
                Box::new(move |i| attribute(i, &key).flatten().is_some_and(|v| wanted.contains(&v)))
            }
            "owner" => {
                let owner: Option<ProjectId> = value.parse().ok();
                Box::new(move |i| Some(i.owner) == owner)
            }
            _ => match key.rsplit_once('_').filter(|(base, end)| matches!(*end, "min" | "max") && is_number(base)) {
                Some((base, end)) => {
                    let bound: i128 =
                        value.parse().map_err(|_| Fault::bad_request("Unable to filter on a range with a non-numeric value."))?;
                    let (base, least) = (base.to_owned(), end == "min");
                    Box::new(move |i| number(i, &base).is_some_and(|n| if least { i128::from(n) >= bound } else { i128::from(n) <= bound }))
                }
                None => Box::new(move |i| match attribute(i, &key) {
                    Some(has) => has.as_deref() == Some(&value),
                    None => i.attributes.properties.get(&key).and_then(|v| v.as_str()) == Some(&value),
                }),
            },
        };
        tests.push(test);
    }
    Ok(tests)
}

fn is_number(key: &str) -> bool {
    matches!(key, "size" | "virtual_size" | "min_disk" | "min_ram")
}

/// `2026-01-01`, `gt:2026-01-01T00:00:00Z`, …
fn moment(key: &str, value: &str) -> Result<Test, Fault> {
    let bad = || Fault::bad_request(format!("Bad \"{key}\" query filter format. Use ISO 8601 DateTime notation."));
    let (op, text) = match Timestamp::parse(value) {
        Ok(_) => ("eq", value),
        Err(_) => value.split_once(':').ok_or_else(bad)?,
    };
    // The second is as fine as the API prints.
    let seconds = |t: Timestamp| t.0.div_euclid(1_000_000);
    let bound = seconds(Timestamp::parse(text).map_err(|_| bad())?);
    let fits: fn(Ordering) -> bool = match op {
        "gt" => Ordering::is_gt,
        "gte" => Ordering::is_ge,
        "lt" => Ordering::is_lt,
        "lte" => Ordering::is_le,
        "eq" => Ordering::is_eq,
        "neq" => Ordering::is_ne,
        _ => return Err(Fault::bad_request("Unable to filter on a unknown operator.")),
    };
    let created = key == "created_at";
    Ok(Box::new(move |i| fits(seconds(if created { i.created_at } else { i.updated_at }).cmp(&bound))))
}

/// `x`, `eq:x`, `in:x,y`, `in:"a,b",c`
fn one_or_some(value: &str) -> Result<Vec<String>, Fault> {
    match value.split_once(':') {
        None => Ok(vec![value.to_owned()]),
        Some(("eq", one)) => Ok(vec![one.to_owned()]),
        Some(("in", some)) => quoted_list(some),
        Some((op, _)) => Err(Fault::bad_request(format!("Unable to filter by unknown operator '{op}'."))),
    }
}

/// Words between commas; a word in quotation marks may hold commas, and `\"`.
fn quoted_list(text: &str) -> Result<Vec<String>, Fault> {
    let bad = |why: &str| Fault::bad_request(format!("Invalid filter value {text}. {why}"));
    let mut words = vec![];
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (word, after) = rest.split_once(',').map_or((rest, None), |(w, a)| (w, Some(a)));
            if word.contains('"') {
                return Err(bad("There is no comma before opening quotation mark."));
            }
            words.push(word.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(words),
            }
            continue;
        };
        let mut word = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => word.extend(chars.next().map(|(_, c)| c)),
                Some((at, '"')) => break at,
                Some((_, c)) => word.push(c),
                None => return Err(bad("The quote is not closed.")),
            }
        };
        words.push(word);
        match &quoted[end + 1..] {
            "" => return Ok(words),
            after => rest = after.strip_prefix(',').ok_or_else(|| bad("There is no comma after closing quotation mark."))?,
        }
    }
}

/// Keys with whether they ascend.
struct Order(Vec<(String, bool)>);

impl Order {
    fn of(query: &Query) -> Result<Self, Fault> {
        let ascends = |dir: &str| match dir {
            "asc" => Ok(true),
            "desc" => Ok(false),
            _ => Err(Fault::bad_request(format!("Invalid sort direction: {dir}"))),
        };
        let known = |key: &str| match SORT_KEYS.contains(&key) {
            true => Ok(key.to_owned()),
            false => {
                Err(Fault::bad_request(format!("Invalid sort key: {key}. It must be one of the following: {}.", SORT_KEYS.join(", "))))
            }
        };
        if let Some(sort) = query.get("sort") {
            if query.has("sort_key") || query.has("sort_dir") {
                return Err(Fault::bad_request("Old and new sorting syntax cannot be combined"));
            }
            let pairs = sort.trim().split(',').map(|pair| {
                let (key, dir) = pair.split_once(':').unwrap_or((pair, "desc"));
                Ok((known(key.trim())?, ascends(dir.trim())?))
            });
            return pairs.collect::<Result<_, Fault>>().map(|keys| Self(keys).with_tie_break(false));
        }
        let mut keys = query.all("sort_key").map(|k| known(k.trim())).collect::<Result<Vec<_>, _>>()?;
        let dirs = query.all("sort_dir").map(|d| ascends(d.trim())).collect::<Result<Vec<_>, _>>()?;
        if dirs.len() > 1 && dirs.len() != keys.len() {
            return Err(Fault::bad_request("Number of sort dirs does not match the number of sort keys"));
        }
        if keys.is_empty() {
            keys.push("created_at".into());
        }
        let first = dirs.first().copied().unwrap_or(false);
        let pairs = keys.into_iter().enumerate().map(|(i, key)| (key, dirs.get(i).copied().unwrap_or(first))).collect();
        Ok(Self(pairs).with_tie_break(first))
    }
    fn with_tie_break(mut self, ascends: bool) -> Self {
        for key in ["created_at", "id"] {
            if !self.0.iter().any(|(k, _)| k == key) {
                self.0.push((key.into(), ascends));
            }
        }
        self
    }
    fn is_newest_first(&self) -> bool {
        matches!(self.0.as_slice(), [(a, false), (b, false)] if a == "created_at" && b == "id")
    }
    fn compare(&self, a: &Image, b: &Image) -> Ordering {
        let by = |key: &str| match key {
            "created_at" => a.created_at.cmp(&b.created_at),
            "updated_at" => a.updated_at.cmp(&b.updated_at),
            "size" => number(a, key).cmp(&number(b, key)),
            _ => attribute(a, key).cmp(&attribute(b, key)),
        };
        let ordered = self.0.iter().map(|(key, ascends)| if *ascends { by(key) } else { by(key).reverse() });
        ordered.fold(Ordering::Equal, Ordering::then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(query: &str) -> Result<Vec<(String, bool)>, u16> {
        Order::of(&Query::parse(query).unwrap()).map(|o| o.0).map_err(|f| f.status)
    }
    fn query(text: &str) -> Result<usize, u16> {
        tests(&Query::parse(text).unwrap()).map(|t| t.len()).map_err(|f| f.status)
    }

    #[test]
    fn both_ways_to_say_the_order() {
        let key = |k: &str, up: bool| (k.to_owned(), up);
        assert_eq!(order("").unwrap(), [key("created_at", false), key("id", false)]);
        assert_eq!(order("sort=name:asc,size").unwrap()[..2], [key("name", true), key("size", false)]);
        assert_eq!(order("sort_key=name&sort_dir=asc").unwrap(), [key("name", true), key("created_at", true), key("id", true)]);
        assert_eq!(order("sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc").unwrap()[..2], [key("name", true), key("size", false)]);
        assert_eq!(order("sort_key=name&sort_key=size&sort_dir=asc").unwrap()[..2], [key("name", true), key("size", true)]);
        for bad in ["sort=owner", "sort=name:up", "sort=name&sort_dir=asc", "sort_key=owner", "sort_key=name&sort_dir=asc&sort_dir=desc"] {
            assert_eq!(order(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        for bad in [
            "changes-since=2026",
            "os_hidden=maybe",
            "protected=True",
            "size_min=a",
            "created_at=yesterday",
            "created_at=above:2026-01-01",
            "name=like:x",
            "name=in:\"a",
            "name=in:\"a\"b",
            "name=in:a\"b",
        ] {
            assert_eq!(query(bad), Err(400), "{bad}");
        }
        assert_eq!(query("created_at=gt:2026-01-01T00:00:00Z&size_max=5&os_distro=debian&tag=a&limit=3&sort=name"), Ok(5));
    }

    #[test]
    fn a_list_of_values_may_quote_commas() {
        assert_eq!(one_or_some("in:a,\"b,c\",d").unwrap(), ["a", "b,c", "d"]);
        assert_eq!(one_or_some(r#"in:"a\"b""#).unwrap(), ["a\"b"]);
        assert_eq!(one_or_some("plain").unwrap(), ["plain"]);
        assert_eq!(one_or_some("eq:a,b").unwrap(), ["a,b"]);
        assert_eq!(one_or_some("in:ä,").unwrap(), ["ä", ""]);
    }
}
