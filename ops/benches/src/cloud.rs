//! A private cloud to measure: `strata up` in a directory and on a port of its own, with simulated hosts.

use crate::http::Client;
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub struct Cloud {
    strata: PathBuf,
    pub data: PathBuf,
    pub port: u16,
    pub token: String,
    pub project: String,
    pub password: String,
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|e| e.to_string())?;
    listener.local_addr().map(|a| a.port()).map_err(|e| e.to_string())
}

impl Cloud {
    pub async fn up(strata: &Path, hosts: usize) -> Result<Self, String> {
        Self::up_with(strata, Some(hosts)).await
    }
    /// With this machine as its host.
    pub async fn with_hypervisor(strata: &Path) -> Result<Self, String> {
        Self::up_with(strata, None).await
    }
    async fn up_with(strata: &Path, hosts: Option<usize>) -> Result<Self, String> {
        let data = std::env::temp_dir().join(format!("strata-bench-{}", std::process::id()));
        let port = free_port()?;
        let mut cloud =
            Self { strata: strata.to_owned(), data, port, token: String::new(), project: String::new(), password: String::new() };
        cloud.start(hosts)?;
        let openrc = std::fs::read_to_string(cloud.data.join("openrc-admin")).map_err(|e| format!("openrc-admin: {e}"))?;
        let value = |name: &str| {
            let line = openrc.lines().find_map(|l| l.trim_start_matches("export ").strip_prefix(&format!("{name}=")));
            line.map(|v| v.trim_matches(['"', '\'']).to_owned()).ok_or_else(|| format!("openrc has no {name}"))
        };
        cloud.password = value("OS_PASSWORD")?;
        cloud.login().await?;
        Ok(cloud)
    }

    /// Runs `strata up` until it says that everything answers.
    pub fn start(&self, hosts: Option<usize>) -> Result<(), String> {
        let mut command = Command::new(&self.strata);
        command.arg("up").arg("--data").arg(&self.data).arg("--port").arg(self.port.to_string());
        if let Some(hosts) = hosts {
            command.arg("--simulated").arg(hosts.to_string());
        }
        let out = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|e| format!("{}: {e}", self.strata.display()))?;
        if out.success() { Ok(()) } else { Err(format!("strata up ended with {out}")) }
    }

    /// Begins `strata up` and does not wait for it.
    pub fn start_detached(&self, hosts: usize) -> Result<Starting, String> {
        let mut command = Command::new(&self.strata);
        command.arg("up").arg("--data").arg(&self.data).arg("--port").arg(self.port.to_string()).arg("--simulated").arg(hosts.to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Starting).map_err(|e| e.to_string())
    }

    pub fn down(&self, wipe: bool) {
        let mut command = Command::new(&self.strata);
        command.arg("down").arg("--data").arg(&self.data);
        if wipe {
            command.arg("--wipe");
        }
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    pub fn login_body(&self) -> Value {
        json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": self.password}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})
    }

    async fn login(&mut self) -> Result<(), String> {
        let mut client = Client::connect(self.port, "").await?;
        let answer = client.call(Method::POST, "/v3/auth/tokens", Some(self.login_body().to_string().as_bytes())).await?;
        self.token = answer.subject_token.ok_or_else(|| format!("no token: {}", String::from_utf8_lossy(&answer.body)))?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        self.project = body["token"]["project"]["id"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    pub async fn client(&self) -> Result<Client, String> {
        Client::connect(self.port, &self.token).await
    }

    /// No limits for the project; an image, a flavor and a network to make servers with. Gives the body of a create call.
    pub async fn furnish(&self) -> Result<Value, String> {
        let mut c = self.client().await?;
        let quota = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        c.json(Method::PUT, &format!("/compute/v2.1/os-quota-sets/{}", self.project), Some(quota)).await?;
        let quota = json!({"quota": {"network": -1, "subnet": -1, "port": -1}});
        c.json(Method::PUT, &format!("/network/v2.0/quotas/{}", self.project), Some(quota)).await?;
        let image = c
            .json(Method::POST, "/image/v2/images", Some(json!({"name": "bench", "disk_format": "raw", "container_format": "bare"})))
            .await?;
        let image = image["id"].as_str().unwrap_or_default().to_owned();
        let stored = c.call(Method::PUT, &format!("/image/v2/images/{image}/file"), Some(&vec![7; 1 << 20])).await?;
        if stored.status != 204 {
            return Err(format!("image upload: {} {}", stored.status, String::from_utf8_lossy(&stored.body)));
        }
        let flavor = json!({"flavor": {"name": "bench", "vcpus": 1, "ram": 1, "disk": 0}});
        let flavor = c.json(Method::POST, "/compute/v2.1/flavors", Some(flavor)).await?;
        let network = c.json(Method::POST, "/network/v2.0/networks", Some(json!({"network": {"name": "bench"}}))).await?;
        let network = network["network"]["id"].as_str().unwrap_or_default().to_owned();
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/8"}});
        c.json(Method::POST, "/network/v2.0/subnets", Some(subnet)).await?;
        Ok(json!({"server": {"name": "bench", "imageRef": image, "flavorRef": flavor["flavor"]["id"], "networks": [{"uuid": network}]}}))
    }

    /// Deletes every server of the project and waits until all are gone.
    pub async fn clear(&self) -> Result<(), String> {
        let mut c = self.client().await?;
        for _ in 0..600 {
            let page = c.json(Method::GET, "/compute/v2.1/servers?limit=1000", None).await?;
            let servers = page["servers"].as_array().cloned().unwrap_or_default();
            if servers.is_empty() {
                return Ok(());
            }
            for server in &servers {
                let path = format!("/compute/v2.1/servers/{}", server["id"].as_str().unwrap_or_default());
                c.call(Method::DELETE, &path, None).await?;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err("servers were not deleted within two minutes".into())
    }

    /// Every process of this cloud.
    pub fn processes(&self) -> Vec<u32> {
        let data = self.data.display().to_string();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let cwd = std::fs::read_link(entry.path().join("cwd")).map(|p| p.display().to_string()).unwrap_or_default();
            let ours = command.contains(&data) || cwd.starts_with(&data) || String::from_utf8_lossy(&environment).contains(&data);
            (ours && pid != std::process::id()).then_some(pid)
        })
        .collect()
    }

    /// Proportional set size of every process of this cloud, in MiB: Strata's own, and the servers it keeps.
    pub fn memory(&self) -> (f64, f64, usize) {
        let (mut own, mut servers, mut processes) = (0.0, 0.0, 0);
        for pid in self.processes() {
            let path = Path::new("/proc").join(pid.to_string());
            let Ok(command) = std::fs::read_to_string(path.join("cmdline")) else { continue };
            let command = command.replace('\0', " ");
            let Ok(rollup) = std::fs::read_to_string(path.join("smaps_rollup")) else { continue };
            let pss = rollup
                .lines()
                .find_map(|l| l.strip_prefix("Pss:"))
                .and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
            let Some(pss) = pss else { continue };
            processes += 1;
            if command.split(' ').next().unwrap_or_default().ends_with("strata") { own += pss / 1024.0 } else { servers += pss / 1024.0 }
        }
        (own, servers, processes)
    }
}

/// A `strata up` that goes on by itself.
pub struct Starting(std::process::Child);

impl Starting {
    pub fn finish(mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.down(true);
    }
}
