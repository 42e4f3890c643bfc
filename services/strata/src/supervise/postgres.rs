//! A private PostgreSQL cluster: on a Unix socket only, small, and with nothing traded against durability.
//!
//! Three roles besides its superuser: `strata_owner` owns the schema and runs migrations, `strata_service` is what the
//! services are (no UPDATE or DELETE on events), `strata_read` reads the `read` schema, for Grafana and people.

use crate::layout::{Layout, Settings, dir, write_private};
use crate::process::{self, User};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

pub const OWNER: &str = "strata_owner";
pub const SERVICE: &str = strata_log::SERVICE_ROLE;
pub const READER: &str = "strata_read";
const DATABASE: &str = "strata";
const SUPERUSER: &str = "postgres";

/// Where the server's programs lie: the newest that Debian has, or what is in the path.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    found.sort();
    let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|p| p.join("postgres").exists() && p.join("initdb").exists());
    match found.pop().filter(|(version, _)| *version >= 15).map(|(_, bin)| bin).or_else(in_path) {
        Some(bin) => Ok(bin),
        None => bail!("PostgreSQL 15 or later is not installed: apt-get install postgresql, or name a server with --postgres-url"),
    }
}

fn user() -> Result<Option<User>> {
    // PostgreSQL refuses to run as root; anyone else runs it as himself.
    if User::am_root() { User::named("postgres").map(Some) } else { Ok(None) }
}

/// Gives a path to the user that PostgreSQL runs as.
fn hand_over(path: &Path) -> Result<()> {
    match user()? {
        Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("can't give {} to the user postgres", path.display())),
        None => Ok(()),
    }
}

/// Makes the cluster, if there is none yet.
pub fn create(layout: &Layout) -> Result<()> {
    let cluster = layout.postgres();
    if cluster.join("PG_VERSION").exists() {
        return Ok(());
    }
    // Half a cluster that an interrupted initdb left holds nothing.
    let _ = fs::remove_dir_all(&cluster);
    let coming = layout.data.join("postgres.new");
    let _ = fs::remove_dir_all(&coming);
    dir(&coming, 0o700)?;
    hand_over(&coming)?;
    let password_file = layout.run().join("initdb-password");
    write_private(&password_file, layout.secret("postgres-superuser")?.as_bytes())?;
    hand_over(&password_file)?;
    let mut initdb = std::process::Command::new(programs()?.join("initdb"));
    initdb.arg("-D").arg(&coming).args(["-U", SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]);
    initdb.args(["--auth-local=scram-sha-256", "--auth-host=reject"]).arg("--pwfile").arg(&password_file).current_dir("/");
    run_as_postgres(&mut initdb)?;
    let done = initdb.output().context("can't start initdb");
    let _ = fs::remove_file(&password_file);
    let done = done?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!(
            "initdb failed: {}\n(the user postgres must be able to reach {}: each directory above it needs o+x)",
            said.trim(),
            layout.data.display()
        );
    }
    fs::rename(&coming, &cluster).with_context(|| format!("can't move the new cluster to {}", cluster.display()))
}

fn run_as_postgres(command: &mut std::process::Command) -> Result<()> {
    if let Some(user) = user()? {
        command.uid(user.uid).gid(user.gid);
    }
    Ok(())
}

/// Writes its settings anew; they are ours, not the operator's.
fn configure(layout: &Layout) -> Result<()> {
    let socket = layout.make_socket_dir()?;
    hand_over(&socket)?;
    // syncfs: after a crash one call brings the file system to the disk, instead of one for each of a thousand files, which
    // takes half a minute on a busy disk.
    let text = format!(
        "# Written by strata at each start.\n\
         listen_addresses = ''\n\
         unix_socket_directories = '{}'\n\
         password_encryption = scram-sha-256\n\
         max_connections = 40\n\
         shared_buffers = 16MB\n\
         work_mem = 2MB\n\
         maintenance_work_mem = 16MB\n\
         fsync = on\n\
         synchronous_commit = on\n\
         full_page_writes = on\n\
         recovery_init_sync_method = syncfs\n\
         wal_level = replica\n\
         max_wal_senders = 2\n\
         min_wal_size = 64MB\n\
         max_wal_size = 512MB\n\
         wal_buffers = 2MB\n\
         jit = off\n\
         max_worker_processes = 2\n\
         max_parallel_workers = 0\n\
         max_parallel_workers_per_gather = 0\n\
         max_logical_replication_workers = 0\n\
         autovacuum_max_workers = 1\n\
         autovacuum_naptime = 60s\n\
         track_activity_query_size = 256\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         log_destination = 'stderr'\n\
         logging_collector = off\n\
         log_min_messages = warning\n\
         log_min_error_statement = panic\n\
         log_parameter_max_length_on_error = 0\n",
        socket.display().to_string().replace('\'', "''")
    );
    let file = layout.postgres().join("postgresql.conf");
    write_private(&file, text.as_bytes())?;
    hand_over(&file)?;
    // After a restart of the machine the number in the lock file may be another process's.
    let lock = layout.postgres().join("postmaster.pid");
    let pid: Option<u32> = fs::read_to_string(&lock).ok().and_then(|t| t.lines().next()?.trim().parse().ok());
    if let Some(pid) = pid
        && fs::read_link(format!("/proc/{pid}/cwd")).ok() != Some(layout.postgres())
    {
        let _ = fs::remove_file(&lock);
    }
    Ok(())
}

/// The command that runs the server until it is told to stop.
pub fn command(layout: &Layout) -> Result<std::process::Command> {
    configure(layout)?;
    // SIGINT: roll back what runs, and stop.
    let mut command = process::command(layout, &programs()?.join("postgres"), "postgres", libc::SIGINT)?;
    command.arg("-D").arg(layout.postgres()).current_dir("/").env("LC_ALL", "C.UTF-8");
    run_as_postgres(&mut command)?;
    Ok(command)
}

/// How a role of this cloud connects.
pub fn config(layout: &Layout, settings: &Settings, role: Role) -> Result<Config> {
    let mut config = match &settings.postgres_url {
        Some(url) => {
            let mut config: Config = url.parse().context("--postgres-url is no PostgreSQL connection string")?;
            if config.get_dbname().is_none() {
                config.dbname(DATABASE);
            }
            if role == Role::Superuser || role == Role::Owner {
                return Ok(config);
            }
            config
        }
        None => {
            let mut config = Config::new();
            config.host_path(layout.socket_dir()).port(5432).dbname(if role == Role::Superuser { "postgres" } else { DATABASE });
            config
        }
    };
    let (user, secret) = match role {
        Role::Superuser => (SUPERUSER, "postgres-superuser"),
        Role::Owner => (OWNER, "postgres-owner"),
        Role::Service => (SERVICE, "postgres-service"),
        Role::Reader => (READER, "postgres-reader"),
    };
    config.user(user).password(layout.secret(secret)?).connect_timeout(Duration::from_secs(5));
    Ok(config)
}

/// The roles of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Superuser,
    Owner,
    Service,
    Reader,
}

/// The same as a connection string, as the log takes it. It holds the password: never print it.
pub fn url(layout: &Layout, settings: &Settings, role: Role) -> Result<String> {
    let config = config(layout, settings, role)?;
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    let mut parts = vec![format!("host={}", quote(&hosts.join(",")))];
    if !ports.is_empty() {
        parts.push(format!("port={}", ports.join(",")));
    }
    parts.extend(config.get_user().map(|u| format!("user={}", quote(u))));
    parts.extend(config.get_password().map(|p| format!("password={}", quote(&String::from_utf8_lossy(p)))));
    parts.extend(config.get_dbname().map(|d| format!("dbname={}", quote(d))));
    Ok(parts.join(" "))
}

/// Connects; the connection ends with the client.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until the server takes connections.
pub async fn ready(layout: &Layout, settings: &Settings) -> Result<()> {
    let config = config(layout, settings, Role::Superuser)?;
    let mut last = None;
    for _ in 0..600 {
        match connect(&config).await {
            Ok(_) => return Ok(()),
            Err(e) => last = Some(e),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let why = last.map(|e| describe(&e)).unwrap_or_default();
    bail!("PostgreSQL does not answer: {why} (its log: {})", layout.log_file("postgres").display())
}

/// tokio-postgres' own message says little without its source.
fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Makes the roles and the database, or sets what differs.
pub async fn prepare(layout: &Layout, settings: &Settings) -> Result<()> {
    let client = connect(&config(layout, settings, Role::Superuser)?).await.context("can't reach PostgreSQL")?;
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let private = settings.postgres_url.is_none();
    let mut roles = vec![(SERVICE, "postgres-service"), (READER, "postgres-reader")];
    if private {
        roles.push((OWNER, "postgres-owner"));
    }
    for (role, secret) in roles {
        let password = literal(&layout.secret(secret)?);
        let there = client.query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&role]).await?.is_some();
        let verb = if there { "ALTER" } else { "CREATE" };
        client
            .batch_execute(&format!("{verb} ROLE {role} LOGIN PASSWORD {password}"))
            .await
            .map_err(|e| anyhow::anyhow!("can't make the database role {role}: {}", describe(&e)))?;
    }
    if private {
        // So that the owner may hand over what its migrations make.
        client.batch_execute(&format!("GRANT {SERVICE} TO {OWNER}")).await?;
    }
    if private && client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&DATABASE]).await?.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {DATABASE} OWNER {OWNER}")).await.context("can't create the database")?;
    }
    Ok(())
}
