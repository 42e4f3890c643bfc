//! Credentials over HTTP. Source: identity api-ref, "Credentials". The blob is sealed before it leaves this process, and lies
//! beside the log; the log holds only its reference.

use super::application_credentials::unrestricted;
use super::common::{Fields, ensure, link, list, missing};
use super::token::keys::{KeysError, ring};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use fernet::MultiFernet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strata_conductor::decide::credential::{CreateCredential, DeleteCredential, UpdateCredential};
use strata_events::{CredentialId, ProjectId, SecretId, UserId};
use strata_projections::cloud::credential::Credential;
use strata_writer::Conductor;

/// Seals blobs with the cloud's own keys.
pub struct Sealer(MultiFernet);

impl Sealer {
    pub async fn open(conductor: &Conductor) -> Result<Self, KeysError> {
        let (primary, staged) = (super::token::keys::random_key(), super::token::keys::random_key());
        let keys = conductor.log().keys("credential").ensure(&primary, &staged).await?;
        Ok(Self(ring(&keys)?))
    }
}

/// The longest blob in bytes.
const BLOB: usize = 64 * 1024;

pub fn routes(r: &mut Routes) {
    r.get("/v3/credentials", index, Rule::token("identity:list_credentials"));
    r.post("/v3/credentials", create, Rule::token("identity:create_credential"));
    r.get("/v3/credentials/{credential_id}", show, Rule::token("identity:get_credential"));
    r.patch("/v3/credentials/{credential_id}", update, Rule::token("identity:update_credential"));
    r.delete("/v3/credentials/{credential_id}", delete, Rule::token("identity:delete_credential"));
}

fn broken(e: impl std::fmt::Display) -> Fault {
    tracing::error!("a credential's blob: {e}");
    Fault::busy("The credential's content can't be reached at the moment; try again.")
}

pub(super) async fn keep(ctx: &Ctx, blob: &str) -> Result<SecretId, Fault> {
    let id = SecretId(crate::frame::new_uuid());
    let sealed = ctx.app.identity.secrets.0.encrypt(blob.as_bytes());
    ctx.app.conductor.log().secrets().put(id, sealed.as_bytes()).await.map_err(broken)?;
    Ok(id)
}

pub(super) async fn forget(ctx: &Ctx, id: SecretId) {
    if let Err(e) = ctx.app.conductor.log().secrets().remove(id).await {
        tracing::warn!("a sealed blob that nothing refers to stays behind: {e}");
    }
}

pub(super) async fn read(ctx: &Ctx, id: SecretId) -> Result<String, Fault> {
    let sealed = ctx.app.conductor.log().secrets().get(id).await.map_err(broken)?;
    let sealed = sealed.and_then(|s| String::from_utf8(s).ok()).ok_or_else(|| broken("it is not there"))?;
    let blob = ctx.app.identity.secrets.0.decrypt(&sealed).map_err(|_| broken("no key opens it"))?;
    String::from_utf8(blob).map_err(broken)
}

async fn view(ctx: &Ctx, credential: &Credential) -> Result<Value, Fault> {
    Ok(json!({
        "id": credential.id,
        "type": credential.kind,
        "blob": read(ctx, credential.blob).await?,
        "user_id": credential.user,
        "project_id": credential.project,
        "links": link(ctx, format_args!("credentials/{}", credential.id)),
    }))
}

/// The id of an EC2 credential follows from its access key.
pub(super) fn ec2_id(access: &str) -> CredentialId {
    CredentialId(Sha256::digest(access.as_bytes()).iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether the caller may see this user's.
fn theirs(ctx: &Ctx, user: UserId) -> bool {
    ctx.is_admin() || ctx.caller.as_ref().is_some_and(|c| c.user == user || (c.is_system() && c.has_role("reader")))
}

async fn index(ctx: Ctx) -> Reply {
    let mut views = vec![];
    for credential in ctx.cloud.credentials.values().filter(|c| theirs(&ctx, c.user)) {
        let user = ctx.query.get("user_id").is_none_or(|u| u == credential.user.to_string());
        if user && ctx.query.get("type").is_none_or(|t| t == credential.kind) {
            views.push(view(&ctx, credential).await?);
        }
    }
    list(&ctx, "credentials", views.into_iter(), &[])
}

fn found(ctx: &Ctx) -> Result<&Credential, Fault> {
    let id = CredentialId(ctx.param("credential_id").to_owned());
    let credential = ctx.cloud.credentials.get(&id);
    ensure(ctx, ctx.is_admin() || credential.is_some_and(|c| theirs(ctx, c.user)))?;
    credential.map(|c| &**c).ok_or_else(|| missing(ctx, "credential", &id))
}

fn blob(ask: &mut Fields) -> Result<Option<String>, Fault> {
    match ask.0.remove("blob") {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= BLOB => Ok(Some(text)),
        Some(Value::Object(map)) => Ok(Some(Value::Object(map).to_string())),
        Some(_) => Err(Fault::bad_request(format!("Invalid input for field 'blob': a string of at most {BLOB} bytes is expected."))),
    }
}

async fn create(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let caller = ctx.caller()?;
    let mut ask = Fields::of(&ctx, "credential")?;
    let required = |key: &str| Fault::bad_request(format!("'{key}' is a required property"));
    let kind = ask.text("type")?.ok_or_else(|| required("type"))?;
    let user: UserId = ask.id("user_id", "user")?.flatten().unwrap_or(caller.user);
    let project: Option<ProjectId> = ask.id("project_id", "project")?.flatten();
    let content = blob(&mut ask)?.ok_or_else(|| required("blob"))?;
    // One makes credentials for oneself, and only for the project that the token is for (CVE-2020-12691).
    ensure(&ctx, ctx.is_admin() || (user == caller.user && (project.is_none() || project == caller.project())))?;
    let id = if kind == "ec2" {
        let parsed: Option<Value> = serde_json::from_str(&content).ok();
        let access = parsed.as_ref().and_then(|b| b.get("access")).and_then(Value::as_str);
        let access = access
            .ok_or_else(|| Fault::bad_request("Invalid blob in credential: an ec2 credential's blob is JSON with access and secret."))?;
        if project.is_none() {
            return Err(required("project_id"));
        }
        ec2_id(access)
    } else {
        CredentialId(crate::frame::new_uuid().simple().to_string())
    };
    let secret = keep(&ctx, &content).await?;
    let asked = ctx.run(CreateCredential { id: id.clone(), user, project, kind, blob: secret }).await;
    let done = match asked {
        Ok(done) => done,
        Err(fault) => {
            // A refusal keeps nothing; when the outcome is unknown the blob must stay.
            if fault.status != 503 {
                forget(&ctx, secret).await;
            }
            return Err(fault);
        }
    };
    let credential = done.cloud.credentials.get(&id).ok_or_else(|| missing(&ctx, "credential", &id))?;
    Ok(Answer::created(&json!({ "credential": view(&ctx, credential).await? })))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "credential": view(&ctx, found(&ctx)?).await? })))
}

async fn update(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let old = found(&ctx)?.clone();
    ensure(&ctx, ctx.is_admin() || ctx.caller()?.user == old.user)?;
    let mut ask = Fields::of(&ctx, "credential")?;
    let user: Option<UserId> = ask.id("user_id", "user")?.flatten();
    let project: Option<ProjectId> = ask.id("project_id", "project")?.flatten();
    ensure(&ctx, ctx.is_admin() || (user.is_none_or(|u| u == old.user) && project.is_none_or(|p| Some(p) == old.project)))?;
    let kind = ask.text("type")?;
    let secret = match blob(&mut ask)? {
        Some(content) => Some(keep(&ctx, &content).await?),
        None => None,
    };
    let id = old.id.clone();
    let asked = ctx.run(UpdateCredential { id: id.clone(), user, project, kind, blob: secret }).await;
    let done = match (asked, secret) {
        (Ok(done), _) => done,
        (Err(fault), Some(secret)) if fault.status != 503 => {
            forget(&ctx, secret).await;
            return Err(fault);
        }
        (Err(fault), _) => return Err(fault),
    };
    if secret.is_some() {
        forget(&ctx, old.blob).await;
    }
    let credential = done.cloud.credentials.get(&id).ok_or_else(|| missing(&ctx, "credential", &id))?;
    Ok(Answer::ok(&json!({ "credential": view(&ctx, credential).await? })))
}

async fn delete(ctx: Ctx) -> Reply {
    let old = found(&ctx)?.clone();
    ensure(&ctx, ctx.is_admin() || ctx.caller()?.user == old.user)?;
    ctx.run(DeleteCredential { id: old.id.clone() }).await?;
    forget(&ctx, old.blob).await;
    Ok(Answer::no_content())
}
