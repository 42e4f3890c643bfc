//! `strata demo`: the first server of a new cloud, made through the REST APIs as any client would, up to its guest's own words on
//! the console. What is there already is left as it is.

use crate::credentials;
use crate::layout::{Layout, Settings, write_private};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use strata_worker::http::{self, Method};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The image that it boots: a qcow2 disk (ops/guest-image makes one)
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
}

const IMAGE: &str = "strata-guest";
const NETWORK: &str = "demo";
const CIDR: &str = "10.20.30.0/24";
const SERVER: &str = "hello";
/// The default group lets nothing in: the demo's own lets ping and SSH in.
const GROUP: &str = "ping-and-ssh";
const KEY: &str = "demo";
const FLAVOR: &str = "m1.nano";
const USER_DATA: &str = "#!/bin/sh\necho \"hello from $(hostname), which runs its user data\"\n";
/// How long a guest may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(180);
/// The line with which the guest says so.
const READY: &str = "GUEST-READY";

/// One user's way to the APIs.
struct Client {
    endpoint: String,
    ca: Option<String>,
    token: String,
}

impl Client {
    async fn login(layout: &Layout, settings: &Settings, user: &str) -> Result<Self> {
        let ca = settings.tls_cert.as_ref().map(std::fs::read_to_string).transpose()?;
        let domain = json!({"id": "default"});
        let ask = json!({"auth": {
            "identity": {"methods": ["password"], "password": {
                "user": {"name": user, "domain": domain, "password": credentials::password(layout, user)?}}},
            "scope": {"project": {"name": user, "domain": domain}},
        }});
        let endpoint = settings.endpoint();
        let asked = (Method::POST, "/v3/auth/tokens");
        let json = [("content-type", "application/json")];
        let answer = http::call(&endpoint, ca.as_deref(), asked, &json, ask.to_string(), "x-subject-token").await;
        let answer = answer.with_context(|| format!("user {user} can't log in (was the password changed?)"))?;
        Ok(Self { token: answer.header.context("no token came")?, endpoint, ca })
    }

    async fn call(&self, method: Method, path: &str, kind: &str, body: impl Into<http::Bytes>) -> Result<Value> {
        let headers = [("x-auth-token", self.token.as_str()), ("content-type", kind), ("openstack-api-version", "compute 2.79")];
        let what = format!("{method} {path}");
        let answer = http::call(&self.endpoint, self.ca.as_deref(), (method, path), &headers, body, "").await;
        Ok(answer.with_context(|| what)?.body)
    }
    async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, "application/json", "").await
    }
    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, "application/json", body.to_string()).await
    }
    /// The first of a list, as `{"networks": [{"id": …}]}`.
    async fn first(&self, path: &str, list: &str) -> Result<Option<String>> {
        Ok(self.get(path).await?[list][0]["id"].as_str().map(str::to_string))
    }
}

pub async fn run(layout: Layout, options: Options) -> Result<()> {
    let settings = layout.settings()?;
    let begun = Instant::now();
    if !settings.hypervisor {
        out!("this cloud has no hypervisor: no server is booted.");
        return Ok(());
    }
    let demo = Client::login(&layout, &settings, "demo").await?;
    if demo.first(&format!("/compute/v2.1/servers?name=^{SERVER}$"), "servers").await?.is_some() {
        out!("server {SERVER} is there already: changes nothing.");
        return Ok(());
    }
    let image = image(&layout, &settings, &options).await?;
    let network = network(&demo).await?;
    group(&demo).await?;
    let key_file = key(&layout, &demo).await?;
    let flavors = demo.get("/compute/v2.1/flavors").await?;
    let flavor = flavors["flavors"].as_array().into_iter().flatten().find(|f| f["name"] == FLAVOR);
    let flavor = flavor.and_then(|f| f["id"].as_str()).with_context(|| format!("there is no flavor {FLAVOR}"))?;
    let asked = Instant::now();
    let server = demo
        .post(
            "/compute/v2.1/servers",
            &json!({"server": {
                "name": SERVER, "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}], "key_name": KEY,
                "security_groups": [{"name": GROUP}],
                "user_data": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, USER_DATA),
            }}),
        )
        .await?;
    let id = server["server"]["id"].as_str().context("the answer names no server")?.to_string();
    out!("booting a first server, {SERVER} …");
    let console = wait(&demo, &id).await?;
    let address = demo.get(&format!("/compute/v2.1/servers/{id}")).await?["server"]["addresses"][NETWORK][0]["addr"].clone();
    out!("  {:.1} s from the request to {READY}", asked.elapsed().as_secs_f32());
    out!("its console ends:");
    let last: Vec<&str> = console.lines().filter(|l| !l.trim().is_empty()).collect();
    for line in last.iter().skip(last.len().saturating_sub(8)) {
        out!("  | {}", line.trim_end().chars().filter(|c| !c.is_control()).collect::<String>());
    }
    out!(
        "\nThe demo took {:.1} s. Try next:
  openstack --os-cloud strata-demo console log show {SERVER}
  ip netns exec strata-{network} ssh -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@{}
  strata timeline server {SERVER} --data {}",
        begun.elapsed().as_secs_f32(),
        key_file.display(),
        address.as_str().unwrap_or("ADDRESS"),
        layout.data.display()
    );
    Ok(())
}

/// Waits for the guest's own words. What came of it otherwise is said.
async fn wait(demo: &Client, id: &str) -> Result<String> {
    let begun = Instant::now();
    let mut console = String::new();
    loop {
        let server = demo.get(&format!("/compute/v2.1/servers/{id}")).await?["server"].clone();
        if server["status"] == "ERROR" {
            bail!("the server is in ERROR: {}", server["fault"]["message"].as_str().unwrap_or("no reason is given"));
        }
        if server["status"] == "ACTIVE" {
            // The log may not be there in the first moment.
            let answer = demo.post(&format!("/compute/v2.1/servers/{id}/action"), &json!({"os-getConsoleOutput": {"length": 40}})).await;
            console = answer.ok().and_then(|a| a["output"].as_str().map(str::to_string)).unwrap_or(console);
            if console.contains(READY) {
                return Ok(console);
            }
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "the server is {}, but its guest did not say {READY} within {} s; its console ends:\n{console}",
                server["status"].as_str().unwrap_or_default(),
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn image(layout: &Layout, settings: &Settings, options: &Options) -> Result<String> {
    let admin = Client::login(layout, settings, "admin").await?;
    if let Some(id) = admin.first(&format!("/image/v2/images?name={IMAGE}&status=active"), "images").await? {
        return Ok(id);
    }
    let data = std::fs::read(&options.image).with_context(|| format!("can't read {}", options.image.display()))?;
    let image = json!({"name": IMAGE, "disk_format": "qcow2", "container_format": "bare", "visibility": "public", "min_ram": 128});
    let id = admin.post("/image/v2/images", &image).await?["id"].as_str().context("the answer names no image")?.to_string();
    admin.call(Method::PUT, &format!("/image/v2/images/{id}/file"), "application/octet-stream", data).await?;
    out!("registered the image {IMAGE}");
    Ok(id)
}

async fn network(demo: &Client) -> Result<String> {
    let named = format!("/network/v2.0/networks?name={NETWORK}");
    let id = match demo.first(&named, "networks").await? {
        Some(id) => id,
        None => {
            let made = demo.post("/network/v2.0/networks", &json!({"network": {"name": NETWORK}})).await?;
            made["network"]["id"].as_str().context("the answer names no network")?.to_string()
        }
    };
    if demo.first(&format!("/network/v2.0/subnets?network_id={id}"), "subnets").await?.is_none() {
        let subnet = json!({"subnet": {"network_id": id, "name": NETWORK, "ip_version": 4, "cidr": CIDR}});
        demo.post("/network/v2.0/subnets", &subnet).await?;
        out!("made the network {NETWORK}, {CIDR}");
    }
    Ok(id)
}

async fn group(demo: &Client) -> Result<()> {
    if demo.first(&format!("/network/v2.0/security-groups?name={GROUP}"), "security_groups").await?.is_some() {
        return Ok(());
    }
    let made = demo.post("/network/v2.0/security-groups", &json!({"security_group": {"name": GROUP}})).await?;
    let id = &made["security_group"]["id"];
    for mut rule in [json!({"protocol": "icmp"}), json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22})] {
        rule["security_group_id"] = id.clone();
        rule["direction"] = json!("ingress");
        demo.post("/network/v2.0/security-group-rules", &json!({"security_group_rule": rule})).await?;
    }
    Ok(())
}

/// The private half is told once: it is kept where only the operator reads it.
async fn key(layout: &Layout, demo: &Client) -> Result<PathBuf> {
    let file = layout.data.join("demo-key");
    let known = demo.get("/compute/v2.1/os-keypairs").await?;
    if known["keypairs"].as_array().into_iter().flatten().any(|k| k["keypair"]["name"] == KEY) {
        return Ok(file);
    }
    let made =
        demo.call(Method::POST, "/compute/v2.1/os-keypairs", "application/json", json!({"keypair": {"name": KEY}}).to_string()).await?;
    write_private(&file, made["keypair"]["private_key"].as_str().context("the answer holds no private key")?.as_bytes())?;
    Ok(file)
}
