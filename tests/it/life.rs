//! Starting and stopping: once, twice, after a crash of the supervisor, and without a trace.

use crate::cloud::{Cloud, eventually, signal};
use crate::http::authenticate;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn up_twice_changes_nothing_and_down_wipe_leaves_nothing() {
    let cloud = Cloud::start(&["--simulated", "1"]);
    let first: Vec<String> = cloud.processes();
    assert!(first.len() >= 4, "supervisor, postgres, nats, services: {first:?}");

    let again = cloud.up(&[]);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains("already running: changes nothing"), "{again:?}");
    let other = cloud.up(&["--separate"]);
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("other options"), "{other:?}");

    for name in ["clouds.yaml", "openrc-admin", "openrc-demo", "secrets/admin-password", "strata.json"] {
        let mode = std::fs::metadata(cloud.data.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    no_secret_in_arguments(&cloud);

    // Stopped and started again, without arguments, it is the same cloud.
    let project = cloud.api("demo").project;
    cloud.tool(&["down"]);
    assert_eq!(cloud.processes(), Vec::<String>::new());
    assert!(cloud.strata(&["down"]).status.success(), "stopping what doesn't run is no error");
    let up = cloud.strata(&["up"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(cloud.api("demo").project, project);

    cloud.tool(&["down", "--wipe"]);
    assert_eq!(cloud.processes(), Vec::<String>::new());
    assert!(!cloud.data.exists());
}

#[test]
fn a_killed_supervisor_takes_its_children_along_and_up_starts_anew() {
    let cloud = Cloud::start(&[]);
    let project = cloud.api("admin").project;
    signal(cloud.pid("supervisor").expect("it runs"), "KILL");
    eventually("all processes end", Duration::from_secs(20), || match cloud.processes() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    let up = cloud.strata(&["up"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(cloud.api("admin").project, project);
}

#[test]
fn a_taken_port_and_a_foreign_directory_are_refused() {
    let cloud = Cloud::place();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let up = cloud.strata(&["up", "--port", &port]);
    assert!(!up.status.success());
    assert!(String::from_utf8_lossy(&up.stderr).contains("--port"), "{up:?}");

    let other = Cloud::place();
    std::fs::create_dir_all(&other.data).unwrap();
    std::fs::write(other.data.join("thesis.tex"), "precious").unwrap();
    assert!(!other.up(&[]).status.success());
    assert!(!other.strata(&["down", "--wipe"]).status.success());
    assert!(other.data.join("thesis.tex").exists());
    std::fs::remove_dir_all(&other.data).unwrap();
}

/// Whoever still has the key of a host that was removed is put out of NATS and let in no more.
#[test]
fn a_removed_host_has_no_way_back() {
    let cloud = Cloud::start(&["--simulated", "2"]);
    let admin = cloud.api("admin");
    let log = || std::fs::read_to_string(cloud.data.join("log/nats.log")).unwrap_or_default();
    let services = admin.send_as("GET", "/compute/v2.1/os-services", "OpenStack-API-Version: compute 2.53\r\n", b"").unwrap().json();
    let service = services["services"].as_array().unwrap().iter().find(|s| s["host"] == "sim-2").unwrap()["id"].as_str().unwrap();
    let path = format!("/compute/v2.1/os-services/{service}");
    let removed = admin.send_as("DELETE", &path, "OpenStack-API-Version: compute 2.53\r\n", b"").unwrap();
    assert_eq!(removed.status, 204, "{}", removed.text());
    eventually("it is put out", Duration::from_secs(10), || match log() {
        log if log.contains("sim-2 all\" - authentication error") => Ok(()),
        log => Err(log),
    });
    assert!(!log().contains("sim-1 all\" - authentication error"), "the other one is put out as well: {}", log());
    // The other one goes on, also when NATS was started again.
    signal(cloud.pid("nats").expect("NATS runs"), "KILL");
    crate::compute::ground(&cloud, "left");
    cloud.client("strata-demo").ok("server create left --image left --flavor m1.tiny --network left --wait");
    let status = cloud.tool(&["status"]);
    assert!(!status.contains("sim-2"), "{status}");
}

/// A nats-server that somebody else runs: it trusts the cloud's operator, and outlives the cloud.
#[test]
fn it_uses_a_nats_server_that_is_there() {
    let cloud = Cloud::place();
    let port = crate::cloud::free_port();
    let url = format!("nats://127.0.0.1:{port}");
    // Without it the cloud does not come up, and says how to make the server one that it can use.
    let up = cloud.up(&["--nats-url", &url]);
    assert!(!up.status.success());
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    let trust = cloud.data.join("secrets/nats/trust.conf");
    assert!(said.contains(&url) && said.contains(trust.to_str().unwrap()), "{said}");

    let own = cloud.data.with_extension("nats");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(trust, own.join("strata.conf")).unwrap();
    let config = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?} }}\ninclude strata.conf\n", own.join("store"));
    std::fs::write(own.join("nats.conf"), config).unwrap();
    let server = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "nats-server", "-c"])
        .arg(own.join("nats.conf"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("nats-server is installed");
    let server = crate::replicas::Replica(server);
    let up = cloud.up(&["--nats-url", &url, "--simulated", "1"]);
    assert!(up.status.success(), "{}{}", String::from_utf8_lossy(&up.stdout), String::from_utf8_lossy(&up.stderr));
    assert_eq!(cloud.pid("nats"), None, "a private one runs as well");
    crate::compute::ground(&cloud, "elsewhere");
    cloud.client("strata-demo").ok("server create elsewhere --image elsewhere --flavor m1.tiny --network elsewhere --wait");
    let replay = cloud.tool(&["replay", "--verify"]);
    assert!(replay.contains("plans, each as the log has it"), "{replay}");
    cloud.tool(&["down", "--wipe"]);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "it was stopped with the cloud");
    drop(server);
    std::fs::remove_dir_all(own).unwrap();
}

#[test]
fn it_serves_https_with_a_certificate() {
    let cloud = Cloud::place();
    let (certificate, key) = (cloud.data.with_extension("crt"), cloud.data.with_extension("key"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    assert!(made.is_ok_and(|m| m.status.success()), "openssl makes a certificate");
    let up = cloud.up(&["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let mut client = cloud.client("strata-admin");
    assert!(client.ok("catalog list").contains("https://127.0.0.1"));
    let plain = authenticate(cloud.port, "admin", "x", "admin");
    assert!(plain.is_err() || plain.is_ok_and(|a| a.status == 400), "plain HTTP gets no service on the TLS port");
    drop(client);
    let _ = (std::fs::remove_file(certificate), std::fs::remove_file(key));
}

/// Invariant 12: what any user of the machine sees in the process list holds no password.
fn no_secret_in_arguments(cloud: &Cloud) {
    let secrets: Vec<String> = std::fs::read_dir(cloud.data.join("secrets"))
        .unwrap()
        .flatten()
        .filter(|f| f.path().is_file())
        .map(|f| std::fs::read_to_string(f.path()).unwrap())
        .collect();
    assert!(secrets.len() >= 4);
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(!secrets.iter().any(|s| arguments.contains(s.as_str())), "a secret stands in the arguments of {arguments}");
    }
}
