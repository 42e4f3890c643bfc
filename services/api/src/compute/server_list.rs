//! Lists of servers: which, in what order, which page. Source: compute api-ref, "List Servers" and "List Servers Detailed";
//! filters that a caller may not use are ignored before 2.75, as Nova does, and unknown ones are refused from then on.

use super::server_view::{Level, Views, power, status, zone};
use super::servers::boolean;
use crate::frame::{Answer, Ctx, Fault, Microversion, Page, Reply, Rule, sort_keys};
use regex_lite::Regex;
use serde::Serialize;
use serde_json::Value;
use std::cmp::Ordering;
use std::sync::Arc;
use strata_events::{ProjectId, Timestamp};
use strata_projections::Cloud;
use strata_projections::cloud::instance::{Instance, Task};

/// Nova's osapi_max_limit.
const MOST: usize = 1000;

pub async fn brief(ctx: Ctx) -> Reply {
    list(&ctx, Level::Brief)
}

pub async fn detail(ctx: Ctx) -> Reply {
    list(&ctx, Level::Detail)
}

#[derive(Serialize)]
struct Servers<'a> {
    servers: Vec<super::server_view::ServerView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_links: Option<[NextLink; 1]>,
}

/// `{"rel": "next", "href": …}`
#[derive(Serialize)]
pub struct NextLink {
    rel: &'static str,
    href: String,
}

/// The link to the page after one that ends with `last`.
pub fn next_link(ctx: &Ctx, last: &str) -> NextLink {
    let rest = ctx.query.without(&["marker"]);
    let and = if rest.is_empty() { "" } else { "&" };
    NextLink { rel: "next", href: format!("{}{}?{rest}{and}marker={last}", ctx.base, ctx.path) }
}

fn list(ctx: &Ctx, level: Level) -> Reply {
    let cloud = &*ctx.cloud;
    let page = Page::of(&ctx.query, MOST)?;
    let all_tenants = all_tenants(ctx)?;
    if all_tenants {
        let rule = if level == Level::Brief {
            "os_compute_api:servers:index:get_all_tenants"
        } else {
            "os_compute_api:servers:detail:get_all_tenants"
        };
        ctx.require(Rule::admin(rule))?;
    }
    let filters = filters(ctx, all_tenants)?;
    let sorts = sorts(ctx)?;
    let chosen = |i: &&Arc<Instance>| filters.iter().all(|f| f(cloud, i));
    let project = if all_tenants { None } else { Some(ctx.project()?) };
    let newest_first: Box<dyn Iterator<Item = &Arc<Instance>>> = match &project {
        None => Box::new(cloud.instances.newest_first()),
        Some(project) => Box::new(cloud.instances.of_project(project)),
    };
    let cut = if sorts.is_empty() {
        page.cut(newest_first.filter(chosen), |i| i.id.to_string())?
    } else {
        let mut all: Vec<_> = newest_first.filter(chosen).collect();
        all.sort_by(|a, b| sorts.iter().map(|s| s.compare(cloud, a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal));
        page.cut(all.into_iter(), |i| i.id.to_string())?
    };
    let views = Views::of(ctx, cloud);
    let servers = cut.items.iter().map(|i| views.one(i, level)).collect();
    let last = cut.items.last().filter(|_| cut.more);
    let servers_links = last.map(|i| [next_link(ctx, &i.id.to_string())]);
    Ok(Answer::ok(&Servers { servers, servers_links }))
}

fn all_tenants(ctx: &Ctx) -> Result<bool, Fault> {
    match ctx.query.get("all_tenants") {
        None => Ok(false),
        Some("") => Ok(true),
        Some(text) => boolean("all_tenants", &Value::String(text.into()))
            .map_err(|_| Fault::bad_request(format!("Invalid value '{text}' for query parameter all_tenants: it must be true or false."))),
    }
}

type Filter = Box<dyn Fn(&Cloud, &Instance) -> bool + Send>;

/// What everybody may filter by; the rest is for admins, or for all from 2.83 on.
const OPEN: &[&str] = &["reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"];
const OPEN_SINCE: &[(u16, &[&str])] = &[
    (5, &["ip6"]),
    (26, &["tags", "tags-any", "not-tags", "not-tags-any"]),
    (66, &["changes-before"]),
    (73, &["locked"]),
    (
        83,
        &[
            "availability_zone",
            "config_drive",
            "key_name",
            "created_at",
            "launched_at",
            "terminated_at",
            "power_state",
            "task_state",
            "vm_state",
            "progress",
            "user_id",
        ],
    ),
];
const FOR_ADMINS: &[&str] = &[
    "project_id",
    "tenant_id",
    "user_id",
    "host",
    "node",
    "hostname",
    "key_name",
    "power_state",
    "vm_state",
    "task_state",
    "availability_zone",
    "description",
    "display_name",
    "display_description",
    "uuid",
    "config_drive",
    "launch_index",
    "image_ref",
    "deleted",
    "soft_deleted",
    "access_ip_v4",
    "access_ip_v6",
    "created_at",
    "launched_at",
    "terminated_at",
    "progress",
    "locked_by",
    "kernel_id",
    "ramdisk_id",
    "root_device_name",
    "auto_disk_config",
];
const PAGING: &[&str] = &["limit", "marker", "sort_key", "sort_dir"];

fn filters(ctx: &Ctx, all_tenants: bool) -> Result<Vec<Filter>, Fault> {
    let has = |minor: u16| ctx.version >= Microversion(2, minor);
    let open = |key: &str| OPEN.contains(&key) || OPEN_SINCE.iter().any(|(minor, keys)| has(*minor) && keys.contains(&key));
    let mut filters: Vec<Filter> = vec![];
    for (key, value) in &ctx.query.0 {
        if PAGING.contains(&key.as_str()) || key == "status" || key == "all_tenants" {
            continue;
        }
        if key.starts_with('_') {
            return Err(Fault::bad_request(format!("Invalid filter field: {key}.")));
        }
        if open(key) || (ctx.is_admin() && FOR_ADMINS.contains(&key.as_str())) {
            if let Some(filter) = filter(ctx, key, value, all_tenants)? {
                filters.push(filter);
            }
        } else if has(75) && !FOR_ADMINS.contains(&key.as_str()) {
            return Err(Fault::bad_request(format!(
                "Invalid input for query parameters {key}. Value: {value}. Additional properties are not allowed ('{key}' was unexpected)"
            )));
        }
    }
    let wanted: Vec<String> = ctx.query.all("status").map(|s| s.to_ascii_uppercase()).collect();
    if !wanted.is_empty() {
        filters.push(status_filter(ctx, wanted)?);
    }
    Ok(filters)
}

fn status_filter(ctx: &Ctx, wanted: Vec<String>) -> Result<Filter, Fault> {
    const KNOWN: &[&str] = &[
        "ACTIVE",
        "BUILD",
        "DELETED",
        "ERROR",
        "HARD_REBOOT",
        "MIGRATING",
        "PASSWORD",
        "PAUSED",
        "REBOOT",
        "REBUILD",
        "RESCUE",
        "RESIZE",
        "REVERT_RESIZE",
        "SHELVED",
        "SHELVED_OFFLOADED",
        "SHUTOFF",
        "SOFT_DELETED",
        "SUSPENDED",
        "VERIFY_RESIZE",
    ];
    if !wanted.iter().any(|s| KNOWN.contains(&s.as_str())) && ctx.version >= Microversion(2, 38) {
        return Err(Fault::bad_request("Invalid status value"));
    }
    if wanted.iter().any(|s| s == "DELETED") && !ctx.is_admin() {
        return Err(Fault::forbidden("Only administrators may list deleted instances"));
    }
    Ok(Box::new(move |_, i| wanted.iter().any(|s| s == status(i))))
}

fn filter(ctx: &Ctx, key: &str, value: &str, all_tenants: bool) -> Result<Option<Filter>, Fault> {
    let regex = || {
        Regex::new(value).map_err(|_| {
            Fault::bad_request(format!("Invalid input for query parameters {key}. Value: {value}. '{value}' is not a 'regex'"))
        })
    };
    let time = || {
        let bad =
            |_| Fault::bad_request(format!("Invalid input for query parameters {key}. Value: {value}. '{value}' is not a 'date-time'"));
        Timestamp::parse(value).map_err(bad)
    };
    let text = value.to_owned();
    let tags = || -> Vec<String> { value.split(',').map(str::to_owned).collect() };
    Ok(Some(match key {
        "name" | "display_name" => {
            let re = regex()?;
            Box::new(move |_, i| re.is_match(&i.spec.name))
        }
        "description" | "display_description" => {
            let re = regex()?;
            Box::new(move |_, i| i.spec.description.as_ref().is_some_and(|d| re.is_match(d)))
        }
        "hostname" => {
            let re = regex()?;
            Box::new(move |_, i| re.is_match(&i.spec.hostname))
        }
        "ip" | "ip6" => {
            let re = regex()?;
            let four = key == "ip";
            Box::new(move |cloud, i| {
                let ports = i.spec.ports.iter().filter_map(|id| cloud.ports.get(id));
                ports.flat_map(|p| &p.attributes.fixed_ips).any(|f| f.ip.is_ipv4() == four && re.is_match(&f.ip.to_string()))
            })
        }
        "image" | "image_ref" => {
            let id = text.rsplit('/').next().unwrap_or_default().to_owned();
            Box::new(move |_, i| i.spec.image.is_some_and(|image| image.to_string() == id))
        }
        "flavor" => Box::new(move |_, i| i.spec.size.flavor.0 == text),
        "uuid" => Box::new(move |_, i| i.id.to_string() == text),
        "reservation_id" => Box::new(move |_, i| i.spec.reservation == text),
        "key_name" => Box::new(move |_, i| i.spec.key_name.as_deref() == Some(&text)),
        "user_id" => Box::new(move |_, i| i.user.to_string() == text),
        // Without all_tenants the caller's own project is meant, whatever else is said.
        "project_id" | "tenant_id" if all_tenants => {
            let project: Option<ProjectId> = value.parse().ok();
            Box::new(move |_, i| Some(i.project) == project)
        }
        "host" | "node" => Box::new(move |_, i| i.host.as_ref().is_some_and(|h| h.0 == text)),
        "availability_zone" => Box::new(move |cloud, i| zone(cloud, i) == text),
        "vm_state" => Box::new(move |_, i| i.state.word() == text),
        "task_state" => Box::new(move |_, i| i.task.map(Task::word).unwrap_or("None") == text),
        "power_state" => {
            let wanted: Option<u8> = value.parse().ok();
            Box::new(move |_, i| Some(power(i)) == wanted)
        }
        "config_drive" => {
            let wanted = boolean(key, &Value::String(text)).unwrap_or(false);
            Box::new(move |_, i| i.spec.config_drive == wanted)
        }
        "launch_index" => Box::new(move |_, i| i.spec.launch_index.to_string() == text),
        "locked" => {
            let wanted = boolean(key, &Value::String(text))?;
            Box::new(move |_, i| i.locked.is_some() == wanted)
        }
        "changes-since" => {
            let since = time()?;
            Box::new(move |_, i| i.updated_at >= since)
        }
        "changes-before" => {
            let before = time()?;
            if let Some(since) = ctx.query.get("changes-since").and_then(|s| Timestamp::parse(s).ok())
                && before < since
            {
                return Err(Fault::bad_request("The value of changes-since must be less than or equal to changes-before."));
            }
            Box::new(move |_, i| i.updated_at <= before)
        }
        "tags" => {
            let wanted = tags();
            Box::new(move |_, i| wanted.iter().all(|t| i.spec.tags.contains(t)))
        }
        "tags-any" => {
            let wanted = tags();
            Box::new(move |_, i| wanted.iter().any(|t| i.spec.tags.contains(t)))
        }
        "not-tags" => {
            let unwanted = tags();
            Box::new(move |_, i| !unwanted.iter().all(|t| i.spec.tags.contains(t)))
        }
        "not-tags-any" => {
            let unwanted = tags();
            Box::new(move |_, i| !unwanted.iter().any(|t| i.spec.tags.contains(t)))
        }
        // Deleted servers are in the log, not in the state: a list of them is empty.
        "deleted" | "soft_deleted" => {
            let wanted = boolean(key, &Value::String(text)).unwrap_or(false);
            Box::new(move |_, _| !wanted)
        }
        _ => return Ok(None),
    }))
}

struct Sort {
    key: &'static str,
    ascending: bool,
}

/// What may be sorted by.
const SORTS: &[&str] = &[
    "created_at",
    "updated_at",
    "display_name",
    "name",
    "uuid",
    "vm_state",
    "task_state",
    "power_state",
    "host",
    "node",
    "user_id",
    "project_id",
    "image_ref",
    "key_name",
    "launched_at",
    "availability_zone",
    "hostname",
    "launch_index",
    "config_drive",
    "progress",
    "display_description",
    "locked",
];

fn sorts(ctx: &Ctx) -> Result<Vec<Sort>, Fault> {
    let mut sorts = vec![];
    for (key, ascending) in sort_keys(&ctx.query, "desc")? {
        let Some(key) = SORTS.iter().find(|k| **k == key) else {
            let message = format!("Invalid input for query parameters sort_key. Value: {key}. It is not one of {}", SORTS.join(", "));
            return Err(Fault::bad_request(message));
        };
        if matches!(*key, "host" | "node") && !ctx.is_admin() {
            continue;
        }
        sorts.push(Sort { key, ascending });
    }
    // The order that needs no sorting.
    if matches!(&sorts[..], [Sort { key: "created_at", ascending: false }]) {
        sorts.clear();
    }
    Ok(sorts)
}

impl Sort {
    fn compare(&self, cloud: &Cloud, a: &Instance, b: &Instance) -> Ordering {
        let order = match self.key {
            "created_at" => a.created_at.cmp(&b.created_at),
            "updated_at" => a.updated_at.cmp(&b.updated_at),
            "launched_at" => a.launched_at.cmp(&b.launched_at),
            "display_name" | "name" => a.spec.name.cmp(&b.spec.name),
            "display_description" => a.spec.description.cmp(&b.spec.description),
            "vm_state" => a.state.word().cmp(b.state.word()),
            "task_state" => a.task.map(Task::word).cmp(&b.task.map(Task::word)),
            "power_state" => power(a).cmp(&power(b)),
            "host" | "node" => a.host.cmp(&b.host),
            "user_id" => a.user.cmp(&b.user),
            "project_id" => a.project.cmp(&b.project),
            "image_ref" => a.spec.image.cmp(&b.spec.image),
            "key_name" => a.spec.key_name.cmp(&b.spec.key_name),
            "availability_zone" => zone(cloud, a).cmp(zone(cloud, b)),
            "hostname" => a.spec.hostname.cmp(&b.spec.hostname),
            "launch_index" => a.spec.launch_index.cmp(&b.spec.launch_index),
            "config_drive" => a.spec.config_drive.cmp(&b.spec.config_drive),
            "locked" => a.locked.is_some().cmp(&b.locked.is_some()),
            "uuid" => a.id.cmp(&b.id),
            _ => Ordering::Equal,
        };
        if self.ascending { order } else { order.reverse() }
    }
}
