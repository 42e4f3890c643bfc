//! Microversions: what the client asks for by header, within what the service has.
//! Source: OpenStack API-SIG guideline "Microversion Specification"; compute api-guide "Microversions".

use super::{Fault, Service};
use axum::http::HeaderMap;
use std::fmt;

/// A minor version of an API: 2.79.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Microversion(pub u16, pub u16);

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Microversion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |s: &str| if s.is_empty() || s.len() > 4 || (s.len() > 1 && s.starts_with('0')) { None } else { s.parse().ok() };
        Some(Self(number(major)?, number(minor)?))
    }
}

/// The range that a service has, if it has microversions.
pub fn range(service: Service) -> Option<(Microversion, Microversion)> {
    match service {
        Service::Compute => Some((crate::compute::MIN_VERSION, crate::compute::MAX_VERSION)),
        _ => None,
    }
}

/// The version to answer in. Without a header it is the lowest.
pub fn negotiate(service: Service, path: &str, headers: &HeaderMap) -> Result<Microversion, Fault> {
    let Some((min, max)) = range(service) else { return Ok(Microversion(0, 0)) };
    // Compute's v2.0 is from before microversions.
    if path == "/compute/v2" || path.starts_with("/compute/v2/") {
        return Ok(min);
    }
    let Some(asked) = asked(service, headers) else { return Ok(min) };
    if asked == "latest" {
        return Ok(max);
    }
    let version = Microversion::parse(&asked).ok_or_else(|| {
        Fault::bad_request(format!("API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."))
    })?;
    if version < min || version > max {
        return Err(Fault::new(406, format!("Version {version} is not supported by the API. Minimum is {min} and maximum is {max}.")));
    }
    Ok(version)
}

/// The headers that tell which version was used.
pub fn tell(service: Service, version: Microversion, headers: &mut HeaderMap) {
    if service == Service::Compute && version != Microversion(0, 0) {
        let mut put = |name: &'static str, value: String| {
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        };
        put("x-openstack-nova-api-version", version.to_string());
        put("openstack-api-version", format!("compute {version}"));
        put("vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version".into());
    }
}

fn asked(service: Service, headers: &HeaderMap) -> Option<String> {
    let kinds: &[&str] = match service {
        Service::Compute => &["compute", "nova"],
        _ => &[],
    };
    for value in headers.get_all("openstack-api-version") {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut words = part.split_whitespace();
            if let (Some(kind), Some(version)) = (words.next(), words.next())
                && kinds.iter().any(|k| k.eq_ignore_ascii_case(kind))
            {
                return Some(version.to_owned());
            }
        }
    }
    headers.get("x-openstack-nova-api-version").and_then(|v| v.to_str().ok()).map(|v| v.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_strictly() {
        assert_eq!(Microversion::parse("2.79"), Some(Microversion(2, 79)));
        for bad in ["2", "2.", ".1", "2.01", "2.1.1", "two.one", "2.-1", "2.99999"] {
            assert_eq!(Microversion::parse(bad), None, "{bad}");
        }
    }
}
