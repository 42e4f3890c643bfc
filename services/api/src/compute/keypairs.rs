//! Keypairs over HTTP. Source: compute api-ref, "Keypairs (keypairs)". 2.2 type, 2.10 user_id, 2.35 paging, 2.92 import only.

use crate::frame::{Answer, Ctx, Fault, Microversion, Page, Reply, Routes, Rule, Who};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value, json};
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey, rand_core::OsRng};
use strata_conductor::decide::keypair::{DeleteKeypair, ImportKeypair};
use strata_events::UserId;
use strata_events::keypair::KeypairKind;
use strata_projections::cloud::keypair::Keypair;

const OWNER: &[Who] = &[Who::Admin, Who::Token];

pub fn routes(r: &mut Routes) {
    r.get("/v2.1/os-keypairs", list, Rule::of("os_compute_api:os-keypairs:index", OWNER));
    r.post("/v2.1/os-keypairs", create, Rule::of("os_compute_api:os-keypairs:create", OWNER));
    r.get("/v2.1/os-keypairs/{name}", show, Rule::of("os_compute_api:os-keypairs:show", OWNER));
    r.delete("/v2.1/os-keypairs/{name}", delete, Rule::of("os_compute_api:os-keypairs:delete", OWNER));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKeypair {
    name: String,
    #[serde(rename = "type")]
    kind: Option<KeypairKind>,
    public_key: Option<String>,
    user_id: Option<String>,
}

async fn create(ctx: Ctx) -> Reply {
    let ask: CreateKeypair = ctx.body("keypair")?;
    check_name(&ask.name, ctx.version)?;
    if ask.kind.is_some() && ctx.version < Microversion(2, 2) {
        return Err(unexpected("type"));
    }
    if ask.user_id.is_some() && ctx.version < Microversion(2, 10) {
        return Err(unexpected("user_id"));
    }
    let user = whose(&ctx, ask.user_id.as_deref(), "os_compute_api:os-keypairs:create")?;
    let kind = ask.kind.unwrap_or(KeypairKind::Ssh);
    if kind == KeypairKind::X509 {
        return Err(Fault::bad_request("Keypairs of type x509 are not supported by this cloud; use type ssh."));
    }
    let (public_key, private_key) = match ask.public_key {
        Some(text) => (text.trim().to_owned(), None),
        None if ctx.version >= Microversion(2, 92) => {
            return Err(Fault::bad_request("Invalid input for field/attribute keypair. 'public_key' is a required property"));
        }
        None => generate(user)?,
    };
    let fingerprint = fingerprint(&public_key)?;
    let done = ctx.run(ImportKeypair { user, name: ask.name.clone(), kind, public_key, fingerprint }).await?;
    let keypair = done.cloud.keypairs.get(&user, &ask.name).ok_or_else(|| missing(&ask.name))?;
    let mut view = summary(keypair, ctx.version);
    view["user_id"] = json!(keypair.user);
    if let Some(private_key) = private_key {
        view["private_key"] = json!(private_key);
    }
    let status = if ctx.version >= Microversion(2, 2) { 201 } else { 200 };
    Ok(Answer::json(status, &json!({ "keypair": view })))
}

async fn list(ctx: Ctx) -> Reply {
    let user = whose(&ctx, ctx.query.get("user_id").filter(|_| ctx.version >= Microversion(2, 10)), "os_compute_api:os-keypairs:index")?;
    let paged = ctx.version >= Microversion(2, 35);
    let page = if paged { Page::of(&ctx.query, 1000)? } else { Page { limit: 1000, marker: None } };
    let page = page.cut(ctx.cloud.keypairs.of(&user), |k| k.name.clone())?;
    let views: Vec<Value> = page.items.iter().map(|k| json!({ "keypair": summary(k, ctx.version) })).collect();
    let mut answer = json!({ "keypairs": views });
    if page.more
        && let Some(last) = page.items.last()
    {
        let rest = ctx.query.without(&["marker"]);
        let and = if rest.is_empty() { "" } else { "&" };
        let href = format!("{}{}?{rest}{and}marker={}", ctx.base, ctx.path, last.name);
        answer["keypairs_links"] = json!([{ "rel": "next", "href": href }]);
    }
    Ok(Answer::ok(&answer))
}

async fn show(ctx: Ctx) -> Reply {
    let user = whose(&ctx, ctx.query.get("user_id").filter(|_| ctx.version >= Microversion(2, 10)), "os_compute_api:os-keypairs:show")?;
    let name = ctx.param("name");
    let keypair = ctx.cloud.keypairs.get(&user, name).ok_or_else(|| missing(name))?;
    let mut view = summary(keypair, ctx.version);
    view["user_id"] = json!(keypair.user);
    view["created_at"] = json!(keypair.created_at.naive_micros());
    view["deleted"] = json!(false);
    view["deleted_at"] = Value::Null;
    view["updated_at"] = Value::Null;
    view["id"] = json!(ctx.cloud.keypairs.of(&user).position(|k| k.name == name).map_or(0, |i| i + 1));
    Ok(Answer::ok(&json!({ "keypair": view })))
}

async fn delete(ctx: Ctx) -> Reply {
    let user = whose(&ctx, ctx.query.get("user_id").filter(|_| ctx.version >= Microversion(2, 10)), "os_compute_api:os-keypairs:delete")?;
    ctx.run(DeleteKeypair { user, name: ctx.param("name").to_owned() }).await?;
    Ok(Answer::empty(if ctx.version >= Microversion(2, 2) { 204 } else { 202 }))
}

/// What every answer holds.
fn summary(keypair: &Keypair, version: Microversion) -> Value {
    let mut view = json!({ "name": keypair.name, "public_key": keypair.public_key, "fingerprint": keypair.fingerprint });
    if version >= Microversion(2, 2) {
        view["type"] = json!(keypair.kind);
    }
    view
}

/// The caller, or the user that an admin names.
fn whose(ctx: &Ctx, named: Option<&str>, rule: &'static str) -> Result<UserId, Fault> {
    let me = ctx.caller()?.user;
    match named {
        None => Ok(me),
        Some(id) => {
            let user = id.parse()?;
            if user != me && !ctx.is_admin() {
                return Err(Fault::policy(ctx.service(), rule));
            }
            Ok(user)
        }
    }
}

fn missing(name: &str) -> Fault {
    Fault::not_found(format!("Keypair {name} not found for user"))
}

fn unexpected(field: &str) -> Fault {
    Fault::bad_request(format!(
        "Invalid input for field/attribute keypair. Additional properties are not allowed ('{field}' was unexpected)"
    ))
}

fn check_name(name: &str, version: Microversion) -> Result<(), Fault> {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_ ".contains(c) || (version >= Microversion(2, 92) && "@.".contains(c));
    let why = if name.is_empty() || name.chars().count() > 255 {
        "Keypair name must be string and between 1 and 255 characters long"
    } else if !name.chars().all(safe) {
        "Keypair name contains unsafe characters"
    } else if name.trim() != name {
        "Keypair name must not begin or end with a space"
    } else {
        return Ok(());
    };
    Err(Fault::bad_request(format!("Keypair data is invalid: {why}")))
}

/// MD5 of the key's bytes in colon-separated hex, as Nova prints it.
fn fingerprint(public_key: &str) -> Result<String, Fault> {
    let invalid = || Fault::bad_request("Keypair data is invalid: failed to generate fingerprint: the public key is not in OpenSSH format");
    if public_key.bytes().any(|b| b.is_ascii_control()) {
        return Err(invalid());
    }
    let key = PublicKey::from_openssh(public_key).map_err(|_| invalid())?;
    let bytes = key.to_bytes().map_err(|_| invalid())?;
    Ok(Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"))
}

fn generate(user: UserId) -> Result<(String, Option<String>), Fault> {
    let failed = |e: ssh_key::Error| Fault::new(500, format!("The key could not be generated: {e}"));
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
    key.set_comment(format!("generated-for-{user}"));
    let public = key.public_key().to_openssh().map_err(failed)?;
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    Ok((public, Some(private.to_string())))
}
