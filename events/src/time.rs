//! Points in time, as microseconds since the Unix epoch in UTC, and the ways in which OpenStack's services print them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z. Printed as RFC 3339 with microseconds, stored in bodies as an integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Timestamp(pub i64);

/// The text was not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a date and time in ISO 8601")]
pub struct BadTime(pub String);

impl Timestamp {
    /// This moment plus that many seconds.
    pub fn plus_secs(self, secs: i64) -> Self {
        Self(self.0.saturating_add(secs.saturating_mul(1_000_000)))
    }
    /// Since the Unix epoch.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
    fn utc(self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
    /// `2026-11-23T01:02:03.000004Z`: Keystone.
    pub fn micros(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }
    /// `2026-11-23T01:02:03Z`: Nova, Neutron, Glance.
    pub fn seconds(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
    /// `2026-11-23T01:02:03.000004`: Nova's older attributes (launched_at, keypairs, services).
    pub fn naive_micros(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
    }
    /// Reads ISO 8601 with or without fraction and zone; without a zone it is UTC.
    pub fn parse(s: &str) -> Result<Self, BadTime> {
        let bad = || BadTime(s.into());
        if let Ok(t) = chrono::DateTime::parse_from_rfc3339(s) {
            return Ok(Self(t.timestamp_micros()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ"] {
            if let Ok(t) = chrono::NaiveDateTime::parse_from_str(s, format) {
                return Ok(Self(t.and_utc().timestamp_micros()));
            }
        }
        if let Ok(d) = chrono::NaiveDate::parse_from_str(s, "%Y-%m-%d") {
            return Ok(Self(d.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()));
        }
        Err(bad())
    }
}
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.micros())
    }
}
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.micros())
    }
}
