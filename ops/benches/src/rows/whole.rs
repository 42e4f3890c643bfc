//! What a whole cloud does over HTTP: the API, the log, NATS, the scheduler and simulated hosts, with Postgres and this load
//! generator on the same cores.

use crate::cloud::Cloud;
use crate::http::{Client, rate, times};
use crate::report::{Must, Report, Row, median};
use hyper::Method;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const HOSTS: usize = 20;
const A_WHILE: Duration = Duration::from_secs(3);

pub async fn measure(report: &mut Report, strata: &Path) -> Result<(), String> {
    let names = ["POST /servers", "accepted", "GET /servers", "GET /ports", "token", "network + subnet", "idle memory", "start on a log"];
    if !names.iter().any(|n| report.wants(n) || n.contains(report.only()) || report.only().contains(n)) {
        return Ok(());
    }
    let cloud = Cloud::up(strata, HOSTS).await?;
    let server = cloud.furnish().await?.to_string().into_bytes();
    if report.wants("idle memory (PSS) of all processes") {
        tokio::time::sleep(Duration::from_secs(10)).await;
        idle(report, &cloud).await;
    }
    accepted_to_active(report, &cloud, &server).await?;
    networks(report, &cloud).await?;
    tokens(report, &cloud).await?;
    lists(report, &cloud, &server).await?;
    creates(report, &cloud, &server).await?;
    start(report, &cloud, &server).await
}

async fn idle(report: &mut Report, cloud: &Cloud) {
    let mut rounds = vec![];
    for _ in 0..report.rounds {
        let (own, servers, processes) = cloud.memory();
        eprintln!("    strata {own:.1} MiB, PostgreSQL and NATS {servers:.1} MiB, {processes} processes");
        rounds.push(own + servers);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    report.add(Row {
        what: "idle memory (PSS) of all processes".into(),
        unit: "MiB",
        rounds,
        baseline: vec![],
        must: Must::AtMost(120.0),
        they: "2,684 MiB",
    });
}

async fn accepted_to_active(report: &mut Report, cloud: &Cloud, server: &[u8]) -> Result<(), String> {
    let what = "accepted → ACTIVE, one after the other, p50";
    if !report.wants(what) {
        return Ok(());
    }
    let mut rounds = vec![];
    let mut client = cloud.client().await?;
    for _ in 0..report.rounds {
        let mut times = vec![];
        for _ in 0..20 {
            let made = client.call(Method::POST, "/compute/v2.1/servers", Some(server)).await?;
            let begin = Instant::now();
            let made: serde_json::Value = serde_json::from_slice(&made.body).map_err(|e| e.to_string())?;
            let path = format!("/compute/v2.1/servers/{}", made["server"]["id"].as_str().unwrap_or_default());
            loop {
                let now = client.json(Method::GET, &path, None).await?;
                match now["server"]["status"].as_str() {
                    Some("ACTIVE") => break,
                    Some("BUILD") if begin.elapsed() < Duration::from_secs(30) => tokio::time::sleep(Duration::from_micros(500)).await,
                    other => return Err(format!("a server became {other:?}: {}", now["server"]["fault"])),
                }
            }
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        rounds.push(median(&times));
    }
    cloud.clear().await?;
    report.add(Row { what: what.into(), unit: "ms", rounds, baseline: vec![], must: Must::AtMost(30.0), they: "1,760 ms" });
    Ok(())
}

async fn networks(report: &mut Report, cloud: &Cloud) -> Result<(), String> {
    let what = "POST network + subnet + port, one after the other";
    if report.wants(what) {
        let mut rounds = vec![];
        let mut c = cloud.client().await?;
        for _ in 0..report.rounds {
            let mut times = vec![];
            for _ in 0..20 {
                let begin = Instant::now();
                let network = c.json(Method::POST, "/network/v2.0/networks", Some(json!({"network": {"name": "one"}}))).await?;
                let id = network["network"]["id"].as_str().unwrap_or_default().to_owned();
                c.json(
                    Method::POST,
                    "/network/v2.0/subnets",
                    Some(json!({"subnet": {"network_id": id, "ip_version": 4, "cidr": "192.168.0.0/24"}})),
                )
                .await?;
                let port = c.json(Method::POST, "/network/v2.0/ports", Some(json!({"port": {"network_id": id}}))).await?;
                times.push(begin.elapsed().as_secs_f64() * 1e3);
                let port = port["port"]["id"].as_str().unwrap_or_default();
                c.call(Method::DELETE, &format!("/network/v2.0/ports/{port}"), None).await?;
                c.call(Method::DELETE, &format!("/network/v2.0/networks/{id}"), None).await?;
            }
            rounds.push(median(&times));
        }
        report.add(Row { what: what.into(), unit: "ms", rounds, baseline: vec![], must: Must::AtMost(8.0), they: "392 ms" });
    }
    let what = "GET /ports with 1,000 ports, p50";
    if report.wants(what) {
        let mut c = cloud.client().await?;
        let network = c.json(Method::POST, "/network/v2.0/networks", Some(json!({"network": {"name": "thousand"}}))).await?;
        let id = network["network"]["id"].as_str().unwrap_or_default().to_owned();
        c.json(Method::POST, "/network/v2.0/subnets", Some(json!({"subnet": {"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/16"}})))
            .await?;
        let ports: Vec<_> = (0..1000).map(|n| json!({"network_id": id, "name": format!("p{n}")})).collect();
        for chunk in ports.chunks(100) {
            c.json(Method::POST, "/network/v2.0/ports", Some(json!({ "ports": chunk }))).await?;
        }
        let path = format!("/network/v2.0/ports?network_id={id}");
        let mut rounds = vec![];
        for _ in 0..report.rounds {
            rounds.push(median(&times(cloud.port, &cloud.token, 50, &path).await?));
        }
        report.add(Row { what: what.into(), unit: "ms", rounds, baseline: vec![], must: Must::AtMost(8.0), they: "1,785 ms" });
    }
    Ok(())
}

async fn tokens(report: &mut Report, cloud: &Cloud) -> Result<(), String> {
    let what = "token by password";
    if report.wants(what) {
        let (mut rounds, mut baseline) = (vec![], vec![]);
        let body = cloud.login_body().to_string().into_bytes();
        for _ in 0..report.rounds {
            baseline.push(bare_argon2()?);
            let body = body.clone();
            rounds.push(
                rate(cloud.port, "", 4, A_WHILE, 201, move |_, _| (Method::POST, "/v3/auth/tokens".into(), Some(body.clone()))).await?,
            );
        }
        report.add(Row { what: what.into(), unit: "/s", rounds, baseline, must: Must::RatioAtLeast(0.9), they: "6/s" });
    }
    let what = "token validation, 8 clients";
    if report.wants(what) {
        let mut rounds = vec![];
        for _ in 0..report.rounds {
            rounds.push(rate(cloud.port, &cloud.token, 8, A_WHILE, 200, |_, _| (Method::GET, "/v3/auth/tokens".into(), None)).await?);
        }
        report.add(Row { what: what.into(), unit: "/s", rounds, baseline: vec![], must: Must::AtLeast(10_000.0), they: "293/s" });
    }
    Ok(())
}

/// How many argon2id hashes a second the cores make with the parameters that the API uses.
fn bare_argon2() -> Result<f64, String> {
    use argon2::{Algorithm, Argon2, Params, Version};
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let begin = Instant::now();
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            std::thread::spawn(move || {
                let params = Params::default();
                let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut done = 0;
                while begin.elapsed() < A_WHILE {
                    let mut out = [0; 32];
                    if hasher.hash_password_into(b"a password of some length", b"0123456789abcdef", &mut out).is_err() {
                        return 0;
                    }
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut total = 0;
    for thread in threads {
        total += thread.join().map_err(|_| "argon2 failed".to_owned())?;
    }
    Ok(f64::from(total) / begin.elapsed().as_secs_f64())
}

async fn lists(report: &mut Report, cloud: &Cloud, server: &[u8]) -> Result<(), String> {
    let wants = [
        "GET /servers/detail with 1,000 servers, p50",
        "GET /servers/detail with 1,000 servers, 8 clients",
        "GET /servers/{id}, 8 clients",
    ];
    if !wants.iter().any(|w| report.wants(w)) {
        return Ok(());
    }
    let mut c = cloud.client().await?;
    let mut last = String::new();
    for _ in 0..1000 {
        let made = c.call(Method::POST, "/compute/v2.1/servers", Some(server)).await?;
        let made: serde_json::Value = serde_json::from_slice(&made.body).map_err(|e| e.to_string())?;
        last = made["server"]["id"].as_str().unwrap_or_default().to_owned();
    }
    wait_active(&mut c).await?;
    let detail = "/compute/v2.1/servers/detail";
    let (mut p50, mut eight, mut one) = (vec![], vec![], vec![]);
    for _ in 0..report.rounds {
        p50.push(median(&times(cloud.port, &cloud.token, 50, detail).await?));
        eight.push(rate(cloud.port, &cloud.token, 8, A_WHILE, 200, move |_, _| (Method::GET, detail.into(), None)).await?);
        let path = format!("/compute/v2.1/servers/{last}");
        one.push(rate(cloud.port, &cloud.token, 8, A_WHILE, 200, move |_, _| (Method::GET, path.clone(), None)).await?);
    }
    report.add(Row { what: wants[0].into(), unit: "ms", rounds: p50, baseline: vec![], must: Must::AtMost(8.0), they: "4,004 ms" });
    report.add(Row { what: wants[1].into(), unit: "/s", rounds: eight, baseline: vec![], must: Must::AtLeast(200.0), they: "0.5/s" });
    report.add(Row { what: wants[2].into(), unit: "/s", rounds: one, baseline: vec![], must: Must::AtLeast(5000.0), they: "43/s" });
    cloud.clear().await
}

async fn wait_active(c: &mut Client) -> Result<(), String> {
    for _ in 0..300 {
        let building = c.json(Method::GET, "/compute/v2.1/servers?status=BUILD&limit=1", None).await?;
        if building["servers"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("servers were still in BUILD after a minute".into())
}

async fn creates(report: &mut Report, cloud: &Cloud, server: &[u8]) -> Result<(), String> {
    let what = "POST /servers → 202, 32 clients";
    if !report.wants(what) {
        return Ok(());
    }
    let mut rounds = vec![];
    for _ in 0..report.rounds {
        let body = server.to_vec();
        rounds.push(
            rate(cloud.port, &cloud.token, 32, A_WHILE, 202, move |_, _| {
                (Method::POST, "/compute/v2.1/servers".into(), Some(body.clone()))
            })
            .await?,
        );
        cloud.clear().await?;
    }
    report.add(Row { what: what.into(), unit: "/s", rounds, baseline: vec![], must: Must::AtLeast(1000.0), they: "0.7/s" });
    Ok(())
}

/// Fills the log to 100,000 events, then starts the cloud again and again.
async fn start(report: &mut Report, cloud: &Cloud, server: &[u8]) -> Result<(), String> {
    let what = "start on a log of 100,000 events until every API answers";
    if !report.wants(what) {
        return Ok(());
    }
    while events(cloud).await? < 100_000 {
        let body = server.to_vec();
        rate(cloud.port, &cloud.token, 16, A_WHILE, 202, move |_, _| (Method::POST, "/compute/v2.1/servers".into(), Some(body.clone())))
            .await?;
        cloud.clear().await?;
    }
    let mut rounds = vec![];
    for _ in 0..report.rounds {
        cloud.down(false);
        let begin = Instant::now();
        let child = cloud.start_detached(HOSTS)?;
        loop {
            if answers(cloud).await {
                break;
            }
            if begin.elapsed() > Duration::from_secs(60) {
                return Err("the cloud did not answer within a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rounds.push(begin.elapsed().as_secs_f64());
        child.finish();
    }
    report.add(Row { what: what.into(), unit: "s", rounds, baseline: vec![], must: Must::AtMost(2.0), they: "70 s" });
    Ok(())
}

/// Whether a real call of every service gets a real answer.
async fn answers(cloud: &Cloud) -> bool {
    let Ok(mut c) = cloud.client().await else { return false };
    for path in ["/v3/projects", "/compute/v2.1/servers", "/image/v2/images", "/network/v2.0/networks"] {
        match c.call(Method::GET, path, None).await {
            Ok(answer) if answer.status == 200 => {}
            _ => return false,
        }
    }
    true
}

async fn events(cloud: &Cloud) -> Result<u64, String> {
    let mut c = cloud.client().await?;
    let status = c.json(Method::GET, "/strata/v1/status", None).await?;
    status["position"].as_u64().ok_or_else(|| format!("no position in {status}"))
}
