//! What clients need to log in: clouds.yaml, one openrc a user, and how to read the `read` schema in SQL; for their owner only.

use crate::layout::{Layout, Settings, write_private};
use crate::supervise::postgres::{self, Role};
use anyhow::Result;

/// The users that every cloud begins with, each with a project of the same name.
pub const USERS: [&str; 2] = ["admin", "demo"];
pub const REGION: &str = "RegionOne";

/// The password with which a user was created; it may have been changed since.
pub fn password(layout: &Layout, user: &str) -> Result<String> {
    layout.secret(&format!("{user}-password"))
}

/// Writes the files; what already stands there as it should stays untouched.
pub fn write(layout: &Layout, settings: &Settings) -> Result<()> {
    let url = format!("{}/v3", settings.endpoint());
    let mut clouds = String::from("# For OpenStack's clients: export OS_CLIENT_CONFIG_FILE=<this file> OS_CLOUD=strata-admin\nclouds:\n");
    for user in USERS {
        let password = password(layout, user)?;
        clouds += &format!(
            "  strata-{user}:\n    region_name: {REGION}\n    identity_api_version: 3\n    auth:\n      auth_url: {url}\n      \
             username: {user}\n      password: {password}\n      project_name: {user}\n      user_domain_name: Default\n      \
             project_domain_name: Default\n"
        );
        if let Some(certificate) = &settings.tls_cert {
            clouds += &format!("    cacert: {}\n", certificate.display());
        }
        let mut rc = format!(
            "export OS_AUTH_URL={url}\nexport OS_USERNAME={user}\nexport OS_PASSWORD={password}\nexport OS_PROJECT_NAME={user}\n\
             export OS_USER_DOMAIN_NAME=Default\nexport OS_PROJECT_DOMAIN_NAME=Default\nexport OS_IDENTITY_API_VERSION=3\n\
             export OS_REGION_NAME={REGION}\nunset OS_CLOUD OS_TOKEN\n"
        );
        if let Some(certificate) = &settings.tls_cert {
            rc += &format!("export OS_CACERT={}\n", certificate.display());
        }
        keep(&layout.openrc(user), &rc)?;
    }
    keep(&layout.read_url(), &postgres::url(layout, settings, Role::Reader)?)?;
    keep(&layout.clouds_yaml(), &clouds)
}

fn keep(path: &std::path::Path, text: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    write_private(path, text.as_bytes())
}
