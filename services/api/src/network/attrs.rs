//! What attributes take, with Neutron's conversions and its words for what it refuses (neutron_lib/api/{converters,validators}).
//! The frame puts `Invalid input for <attribute>. Reason: ` before, and a full stop after.

use ipnet::IpNet;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;
use strata_events::port::MacAddress;

fn show(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "None".into(),
        other => other.to_string(),
    }
}

/// A text of at most N characters, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text<const N: usize>(pub String);
impl<'de, const N: usize> Deserialize<'de> for Text<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match Value::deserialize(d)? {
            Value::String(s) if s.chars().count() > N => Err(D::Error::custom(format_args!("'{s}' exceeds maximum length of {N}"))),
            Value::String(s) if s.chars().any(|c| c.is_control() && c != '\n' && c != '\t') => {
                Err(D::Error::custom("it contains control characters"))
            }
            Value::String(s) => Ok(Self(s)),
            other => Err(D::Error::custom(format_args!("'{}' is not a valid string", show(&other)))),
        }
    }
}
pub type Name = Text<255>;

/// true, false, and what Neutron converts to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);
impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        flag(&show(&value))
            .filter(|_| !value.is_null())
            .map(Flag)
            .ok_or_else(|| D::Error::custom(format_args!("'{}' cannot be converted to boolean", show(&value))))
    }
}
/// The truth of a text.
pub fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number, also as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub i64);
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        let number = match &value {
            Value::Number(n) => n.as_i64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| D::Error::custom(format_args!("'{}' is not an integer", show(&value))))
    }
}

macro_rules! parsed {
    ($(#[$m:meta])* $name:ident($ty:ty), $what:literal) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub $ty);
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = show(&Value::deserialize(d)?);
                text.parse().map(Self).map_err(|_| D::Error::custom(format_args!(concat!("'{}' is not a valid ", $what), text)))
            }
        }
    };
}
parsed!(Ip(IpAddr), "IP address");
parsed!(Mac(MacAddress), "MAC address");

/// A CIDR without host bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cidr(pub IpNet);
impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = show(&Value::deserialize(d)?);
        let net = network(&text).ok_or_else(|| D::Error::custom(format_args!("'{text}' is not a valid IP subnet")))?;
        if net.trunc() != net || !text.contains('/') {
            return Err(D::Error::custom(format_args!("'{text}' isn't a recognized IP subnet cidr, '{}' is recommended", net.trunc())));
        }
        Ok(Self(net))
    }
}

/// A CIDR or one address, as rules and address pairs take it.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// A list in which nothing stands twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique<T>(pub Vec<T>);
impl<'de, T: Deserialize<'de> + PartialEq + std::fmt::Display> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let items = Vec::<T>::deserialize(d)?;
        match items.iter().enumerate().find(|(i, item)| items[..*i].contains(item)) {
            None => Ok(Self(items)),
            Some((_, item)) => Err(D::Error::custom(format_args!("Duplicate items in the list: '{item}'"))),
        }
    }
}

/// For a field that tells apart absent, null and given.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn why<T: for<'a> Deserialize<'a> + std::fmt::Debug>(value: Value) -> String {
        serde_json::from_value::<T>(value).map(|v| format!("{v:?}")).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn what_is_refused_is_told_in_neutrons_words() {
        assert_eq!(why::<Text<3>>(json!("abcd")), "'abcd' exceeds maximum length of 3");
        assert_eq!(why::<Text<3>>(json!(5)), "'5' is not a valid string");
        assert_eq!(why::<Flag>(json!("maybe")), "'maybe' cannot be converted to boolean");
        assert_eq!(why::<Ip>(json!("10.0.0.256")), "'10.0.0.256' is not a valid IP address");
        assert_eq!(why::<Mac>(json!("zz")), "'zz' is not a valid MAC address");
        assert_eq!(why::<Cidr>(json!("10.0.0.5/24")), "'10.0.0.5/24' isn't a recognized IP subnet cidr, '10.0.0.0/24' is recommended");
        assert_eq!(why::<Cidr>(json!("ten")), "'ten' is not a valid IP subnet");
        assert_eq!(why::<Number>(json!("x")), "'x' is not an integer");
    }

    proptest! {
        /// No text makes a parser fall over, and a CIDR that is taken is one that prints the same.
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,40}") {
            let _ = serde_json::from_value::<Mac>(json!(text));
            let _ = serde_json::from_value::<Ip>(json!(text));
            if let Ok(Cidr(net)) = serde_json::from_value(json!(text)) {
                prop_assert_eq!(net.trunc(), net);
            }
        }
        #[test]
        fn every_network_is_taken_and_host_bits_are_refused(a in any::<u32>(), len in 0u8..=32) {
            let net = ipnet::Ipv4Net::new(a.into(), len).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let taken = serde_json::from_value::<Cidr>(json!(net.to_string()));
            prop_assert_eq!(taken.is_ok(), net.trunc() == net);
        }
    }
}
