//! Mutating calls of which no event tells: those that were refused, and those that were accepted and changed nothing. They
//! stand outside the ordered log, so that nobody can fill it with them.

use crate::row::Micros;
use crate::{Log, LogError};
use strata_events::Timestamp;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedCall {
    pub at: Timestamp,
    pub request_id: String,
    pub user: Option<String>,
    pub project: Option<String>,
    /// The peer's address.
    pub from: String,
    /// What was asked: method and path.
    pub action: String,
    /// The HTTP status that was answered.
    pub outcome: u16,
    /// Why it was refused.
    pub reason: String,
}

impl AuditedCall {
    pub fn is_refused(&self) -> bool {
        self.outcome >= 400
    }
}

impl Log {
    /// Keeps the records of calls.
    pub async fn add_calls(&self, calls: &[AuditedCall]) -> Result<(), LogError> {
        let client = self.client().await?;
        let query = client
            .prepare_cached(
                "INSERT INTO strata.audit_calls (at, request_id, user_id, project_id, source, action, outcome, reason) \
                 SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[])",
            )
            .await?;
        let at: Vec<Micros> = calls.iter().map(|c| Micros(c.at)).collect();
        let requests: Vec<&str> = calls.iter().map(|c| c.request_id.as_str()).collect();
        let users: Vec<Option<&str>> = calls.iter().map(|c| c.user.as_deref()).collect();
        let projects: Vec<Option<&str>> = calls.iter().map(|c| c.project.as_deref()).collect();
        let from: Vec<&str> = calls.iter().map(|c| c.from.as_str()).collect();
        let actions: Vec<&str> = calls.iter().map(|c| c.action.as_str()).collect();
        let outcomes: Vec<i32> = calls.iter().map(|c| i32::from(c.outcome)).collect();
        let reasons: Vec<&str> = calls.iter().map(|c| c.reason.as_str()).collect();
        client.execute(&query, &[&at, &requests, &users, &projects, &from, &actions, &outcomes, &reasons]).await?;
        Ok(())
    }

    /// The newest of them, newest first.
    pub async fn calls(&self, limit: u32) -> Result<Vec<AuditedCall>, LogError> {
        let client = self.client().await?;
        let rows = client
            .query(
                "SELECT at, request_id, user_id, project_id, source, action, outcome, reason FROM strata.audit_calls ORDER BY id DESC LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditedCall {
                    at: row.try_get::<_, Micros>(0)?.0,
                    request_id: row.try_get(1)?,
                    user: row.try_get(2)?,
                    project: row.try_get(3)?,
                    from: row.try_get(4)?,
                    action: row.try_get(5)?,
                    outcome: u16::try_from(row.try_get::<_, i32>(6)?).unwrap_or_default(),
                    reason: row.try_get(7)?,
                })
            })
            .collect()
    }
}
