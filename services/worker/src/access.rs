//! What a worker may fetch beside its plan, with nothing but its host's key: the user data of its servers and the data of their
//! images. Each question is signed; neither answer can be had by another host.

use crate::http::{self, HttpError};
use crate::link::Link;
use crate::{Identity, Role, WorkerError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strata_credentials::proof::{self, Envelope, Sealed};
use strata_events::{ImageId, InstanceId, SecretId};
use strata_projections::report::{PasswordAnswer, PasswordReport, SecretAnswer, SecretRequest, image_request, subject};

/// A worker's way to the control plane.
#[derive(Clone)]
pub struct Access {
    pub(crate) identity: Arc<Identity>,
    pub(crate) link: Arc<Link>,
}

impl Access {
    /// Returns at once; the connection is tried for ever.
    pub async fn connect(identity: Identity, role: Role) -> Result<Self, WorkerError> {
        let link = crate::link::connect(&identity, role).await?;
        Ok(Self { identity: Arc::new(identity), link: Arc::new(link) })
    }

    /// The user data that a plan names, as the guest reads them. They are kept as the API takes them and shows them: in base64.
    pub async fn user_data(&self, id: SecretId) -> Result<Vec<u8>, String> {
        let text = self.secret(id).await?;
        STANDARD.decode(&text).map_err(|e| format!("the user data are not base64: {e}"))
    }

    /// What a plan names only. An error's sentence is for the operator: it may be asked for again.
    async fn secret(&self, id: SecretId) -> Result<Vec<u8>, String> {
        let envelope = Envelope::default();
        let (host, seal_to) = (&self.link.host, envelope.public_key());
        let signature = proof::sign(&self.identity.seed, &SecretRequest::signed(host, &id, &seal_to)).map_err(|e| e.to_string())?;
        let body = serde_json::to_vec(&SecretRequest { id, seal_to, signature }).unwrap_or_else(|e| unreachable!("plain data: {e}"));
        let asked = self.link.client.request(subject(host, "secret"), body.into());
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
        let answer = answer.map_err(|_| "the conductor does not answer".to_string())?.map_err(|e| e.to_string())?;
        match serde_json::from_slice(&answer.payload).map_err(|e| e.to_string())? {
            SecretAnswer::Sealed { sender, text } => {
                envelope.open(&Sealed { sender, text }).ok_or_else(|| "the conductor's answer can't be opened".into())
            }
            SecretAnswer::Later { reason } | SecretAnswer::Refused { reason } => Err(reason),
        }
    }

    /// Leaves the password of a guest with its owner. False: there is one already.
    pub async fn keep_password(&self, id: InstanceId, password: String) -> Result<bool, String> {
        let body = serde_json::to_vec(&PasswordReport { id, password }).unwrap_or_else(|e| unreachable!("plain data: {e}"));
        let asked = self.link.client.request(subject(&self.link.host, "password"), body.into());
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
        let answer = answer.map_err(|_| "the conductor does not answer".to_string())?.map_err(|e| e.to_string())?;
        match serde_json::from_slice(&answer.payload).map_err(|e| e.to_string())? {
            PasswordAnswer::Kept => Ok(true),
            PasswordAnswer::There => Ok(false),
            PasswordAnswer::Later { reason } | PasswordAnswer::Refused { reason } => Err(reason),
        }
    }

    /// Writes the data of an image into a new file, at most `size` bytes. The caller checks what it has got.
    pub async fn image(&self, id: ImageId, size: u64, into: &Path) -> Result<(), HttpError> {
        let host = &self.link.host;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
        let signature = proof::sign(&self.identity.seed, &image_request(host, &id, at)).map_err(|e| HttpError::Failed(e.to_string()))?;
        let header = format!("Strata-Host at={at}, signature={signature}");
        let path = format!("/strata/v1/hosts/{host}/images/{id}");
        http::download(&self.identity.api_url, self.identity.api_ca.as_deref(), &path, &header, size, into).await
    }
}
