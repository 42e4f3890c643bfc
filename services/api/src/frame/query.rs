//! The query string: pairs in order, decoded once.

use super::Fault;
use percent_encoding::percent_decode_str;

/// The decoded query of one request.
#[derive(Debug, Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Decodes `a=1&b=%20`. What is not UTF-8 after decoding is refused.
    pub fn parse(raw: &str) -> Result<Self, Fault> {
        let decode = |s: &str| {
            let s = s.replace('+', " ");
            percent_decode_str(&s)
                .decode_utf8()
                .map(|s| s.into_owned())
                .map_err(|_| Fault::bad_request("The query string is not valid UTF-8."))
        };
        let pairs = raw.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Fault>>()?))
    }
    /// The last value given for a key (as Python's frameworks do).
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// Every value given for a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }
    /// A flag as oslo's strutils reads it strictly: 1/t/true/on/y/yes and their opposites.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.trim().to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "on" | "y" | "yes" => Ok(Some(true)),
            "0" | "f" | "false" | "off" | "n" | "no" => Ok(Some(false)),
            _ => Err(Fault::bad_request(format!("Invalid value '{value}' for query parameter {key}: it must be true or false."))),
        }
    }
    /// A whole number from 0.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Fault::bad_request(format!(
                "Invalid input for query parameters {key}. Value: {value}. '{value}' is not a non-negative whole number."
            ))
        })
    }
    /// The pairs without those of these keys, encoded again: for the `next` link.
    pub fn without(&self, keys: &[&str]) -> String {
        let encode = |s: &str| percent_encoding::utf8_percent_encode(s, percent_encoding::NON_ALPHANUMERIC).to_string();
        let pairs = self.0.iter().filter(|(k, _)| !keys.contains(&k.as_str()));
        pairs.map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect::<Vec<_>>().join("&")
    }
}
