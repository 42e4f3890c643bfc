//! Network agents over HTTP: each host has one network worker, which makes bridges, VXLANs and security rules there, and
//! serves DHCP. Its state is the host's: it is alive as long as the host's lease holds.

use super::attrs::{Flag, Name};
use super::list::{At, Attr, Noun, list, one};
use crate::frame::{Ctx, Fault, Reply, Routes, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strata_conductor::decide::host::DescribeHost;
use strata_events::Timestamp;
use strata_projections::Cloud;
use strata_projections::cloud::host::Host;
use uuid::Uuid;

pub fn routes(r: &mut Routes) {
    r.get("/v2.0/agents", index, Rule::token("get_agent"));
    r.get("/v2.0/agents/{id}", show, Rule::token("get_agent"));
    r.put("/v2.0/agents/{id}", update, Rule::admin("update_agent"));
    r.delete("/v2.0/agents/{id}", delete, Rule::admin("delete_agent"));
}

const KIND: &str = "Linux bridge agent";
const BINARY: &str = "strata-network";

struct Agent<'a> {
    id: Uuid,
    host: &'a Host,
    /// When the host was last known to be as it is.
    seen: Timestamp,
}

fn all<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Vec<Agent<'a>> {
    let agent = |host: &'a Host| {
        let hash = Sha256::digest(format!("{BINARY}/{}", host.name));
        let id = uuid::Builder::from_random_bytes(std::array::from_fn(|i| hash[i])).into_uuid();
        Agent { id, host, seen: if host.up { ctx.now } else { host.updated_at } }
    };
    // For everyone else there are none: Neutron filters what is listed, it doesn't refuse.
    let hosts = ctx.is_admin().then(|| cloud.hosts.values());
    hosts.into_iter().flatten().map(|h| agent(h)).collect()
}

async fn index(ctx: Ctx) -> Reply {
    let agents = all(&ctx, &ctx.cloud);
    list(&ctx, &ctx.cloud, agents.iter())
}

fn find<'a>(ctx: &Ctx, cloud: &'a Cloud) -> Result<Agent<'a>, Fault> {
    let text = ctx.param("id");
    let missing = || Fault::not_found(format!("Agent {text} could not be found.")).with_kind("AgentNotFound");
    all(ctx, cloud).into_iter().find(|a| text.parse() == Ok(a.id)).ok_or_else(missing)
}

async fn show(ctx: Ctx) -> Reply {
    one(&ctx, 200, &ctx.cloud, &find(&ctx, &ctx.cloud)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    admin_state_up: Option<Flag>,
    description: Option<Name>,
}

async fn update(ctx: Ctx) -> Reply {
    let agent = find(&ctx, &ctx.cloud)?;
    let ask: Ask = ctx.body("agent")?;
    let host = agent.host.name.clone();
    if ask.admin_state_up == Some(Flag(false)) {
        return Err(Fault::conflict(format!(
            "The network worker of {host} can't be set down alone: disable the compute service of {host}."
        )));
    }
    let description = ask.description.map_or_else(|| agent.host.description.clone(), |t| t.0);
    let done = ctx.carry_out(DescribeHost { host, description }).await?;
    one(&ctx, 200, &done.cloud, &find(&ctx, &done.cloud)?)
}

async fn delete(ctx: Ctx) -> Reply {
    let host = &find(&ctx, &ctx.cloud)?.host.name;
    Err(Fault::conflict(format!("The network worker of {host} is a part of it: it goes when the host is removed.")))
}

#[derive(Serialize)]
struct View<'a> {
    id: Uuid,
    agent_type: &'static str,
    binary: &'static str,
    topic: &'static str,
    host: &'a str,
    admin_state_up: bool,
    alive: bool,
    availability_zone: Option<&'a str>,
    created_at: String,
    started_at: String,
    heartbeat_timestamp: String,
    description: Option<&'a str>,
    configurations: Value,
    resources_synced: Option<bool>,
}

impl Noun for Agent<'_> {
    const ONE: &'static str = "agent";
    const MANY: &'static str = "agents";
    type View<'a>
        = View<'a>
    where
        Self: 'a;
    fn uuid(&self) -> Uuid {
        self.id
    }
    fn tags(&self) -> &[String] {
        &[]
    }
    fn updated_at(&self) -> Timestamp {
        self.host.updated_at
    }
    fn attr<'a>(&'a self, _: &At<'a>, name: &str) -> Option<Attr<'a>> {
        match name {
            "agent_type" => Attr::text(KIND),
            "binary" => Attr::text(BINARY),
            "host" => Attr::text(&self.host.name.0),
            "alive" => Some(Attr::Flag(self.host.up)),
            "admin_state_up" => Some(Attr::Flag(true)),
            "topic" => Attr::text("N/A"),
            "availability_zone" => Attr::text(&self.host.zone),
            _ => None,
        }
    }
    fn view<'a>(&'a self, at: &At<'a>) -> View<'a> {
        let spaced = |t: Timestamp| t.seconds().replace('T', " ").trim_end_matches('Z').to_owned();
        View {
            id: self.id,
            agent_type: KIND,
            binary: BINARY,
            topic: "N/A",
            host: &self.host.name.0,
            admin_state_up: true,
            alive: self.host.up,
            availability_zone: Some(&self.host.zone),
            created_at: spaced(self.host.joined_at),
            started_at: spaced(self.host.joined_at),
            heartbeat_timestamp: spaced(self.seen),
            description: Some(self.host.description.as_str()).filter(|d| !d.is_empty()),
            configurations: json!({
                "tunnel_types": ["vxlan"],
                "tunneling_ip": self.host.inventory.host_ip,
                "devices": at.cloud.ports.on_host(&self.host.name).count(),
            }),
            resources_synced: None,
        }
    }
}
