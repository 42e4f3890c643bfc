//! EC2 credentials over HTTP: an access key and a secret for one project. Source: identity api-ref ext, "OS-EC2". They are
//! credentials of the type ec2, kept like those.

use super::application_credentials::unrestricted;
use super::common::{ensure, link, list_links, missing, own};
use super::credentials::{ec2_id, forget, keep, read};
use crate::frame::{Answer, Ctx, Fault, Reply, Routes, Rule};
use serde_json::{Value, json};
use strata_conductor::decide::credential::{CreateCredential, DeleteCredential};
use strata_events::ProjectId;
use strata_events::assignment::Target;
use strata_projections::cloud::credential::Credential;

pub fn routes(r: &mut Routes) {
    let all = "/v3/users/{user_id}/credentials/OS-EC2";
    let one = "/v3/users/{user_id}/credentials/OS-EC2/{access}";
    r.get(all, index, Rule::token("identity:ec2_list_credentials"));
    r.post(all, create, Rule::token("identity:ec2_create_credential"));
    r.get(one, show, Rule::token("identity:ec2_get_credential"));
    r.delete(one, delete, Rule::token("identity:ec2_delete_credential"));
}

async fn view(ctx: &Ctx, credential: &Credential) -> Result<Value, Fault> {
    let blob: Value = serde_json::from_str(&read(ctx, credential.blob).await?).unwrap_or_default();
    let access = blob["access"].as_str().unwrap_or_default();
    Ok(json!({
        "user_id": credential.user,
        "tenant_id": credential.project,
        "access": access,
        "secret": blob["secret"],
        "trust_id": null,
        "links": link(ctx, format_args!("users/{}/credentials/OS-EC2/{access}", credential.user)),
    }))
}

async fn index(ctx: Ctx) -> Reply {
    let user = own(&ctx, false)?;
    let mut views = vec![];
    for credential in ctx.cloud.credentials.of(&user).filter(|c| c.kind == "ec2") {
        views.push(view(&ctx, credential).await?);
    }
    Ok(Answer::ok(&json!({ "credentials": views, "links": list_links(&ctx) })))
}

async fn create(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let user = own(&ctx, true)?;
    let caller = ctx.caller()?;
    let asked = ctx.object()?.remove("tenant_id");
    let asked = asked.as_ref().and_then(Value::as_str).ok_or_else(|| Fault::bad_request("'tenant_id' is a required property"))?;
    let project: ProjectId = asked.parse().map_err(|_| missing(&ctx, "project", asked))?;
    // A token that is narrower than its user must not be widened by what it makes (CVE-2020-12691).
    let narrow = caller.application_credential.is_some() && caller.project() != Some(project);
    let has = !ctx.cloud.effective_roles(&user, &Target::Project(project)).is_empty();
    ensure(&ctx, !narrow && (has || ctx.is_admin()))?;
    let (access, secret) = (crate::frame::new_uuid().simple().to_string(), super::application_credentials::random_secret());
    let id = ec2_id(&access);
    let blob = keep(&ctx, &json!({ "access": access, "secret": secret, "trust_id": null }).to_string()).await?;
    let done = match ctx.run(CreateCredential { id: id.clone(), user, project: Some(project), kind: "ec2".into(), blob }).await {
        Ok(done) => done,
        Err(fault) => {
            if fault.status != 503 {
                forget(&ctx, blob).await;
            }
            return Err(fault);
        }
    };
    let credential = done.cloud.credentials.get(&id).ok_or_else(|| missing(&ctx, "credential", &access))?;
    Ok(Answer::created(&json!({ "credential": view(&ctx, credential).await? })))
}

fn found(ctx: &Ctx, write: bool) -> Result<&Credential, Fault> {
    let user = own(ctx, write)?;
    let access = ctx.param("access");
    let credential = ctx.cloud.credentials.get(&ec2_id(access)).filter(|c| c.user == user && c.kind == "ec2");
    credential.map(|c| &**c).ok_or_else(|| missing(ctx, "credential", access))
}

async fn show(ctx: Ctx) -> Reply {
    Ok(Answer::ok(&json!({ "credential": view(&ctx, found(&ctx, false)?).await? })))
}

async fn delete(ctx: Ctx) -> Reply {
    unrestricted(&ctx)?;
    let old = found(&ctx, true)?.clone();
    ctx.run(DeleteCredential { id: old.id }).await?;
    forget(&ctx, old.blob).await;
    Ok(Answer::no_content())
}
