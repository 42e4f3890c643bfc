//! Bodies made from their published schema. What is made is any body that the schema allows, so a field is never forgotten.

use serde_json::{Map, Number, Value, json};

/// Where choices come from: a sequence of numbers that may come to an end, after which the simplest choice is taken.
pub struct Choices<'a>(pub std::slice::Iter<'a, u64>);

impl Choices<'_> {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next().map_or(0, |x| x % n.max(1))
    }
    fn bits(&mut self) -> Option<u64> {
        self.0.next().copied()
    }
}

/// A body of this event type, out of its aggregate's schema.
pub fn body(aggregate: &Value, type_name: &str, choices: &mut Choices<'_>) -> Value {
    let schema = variant(aggregate, type_name);
    value(schema, aggregate, type_name, choices, 0)
}

/// The schema of one event's body.
pub fn variant<'a>(aggregate: &'a Value, type_name: &str) -> &'a Value {
    let all = aggregate["oneOf"].as_array().map_or(std::slice::from_ref(aggregate), Vec::as_slice);
    let found = all.iter().find_map(|one| one["properties"].get(type_name));
    found.unwrap_or_else(|| panic!("the schema of {} has no {type_name}", aggregate["title"]))
}

fn value(schema: &Value, root: &Value, name: &str, choices: &mut Choices<'_>, depth: usize) -> Value {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return value(&root["$defs"][name], root, name, choices, depth + 1);
    }
    if let Some(all) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        // The last of "this or null" is null: the first is the simplest.
        let which = choices.below(all.len() as u64) as usize;
        return value(&all[which], root, name, choices, depth + 1);
    }
    if let Some(all) = schema["enum"].as_array() {
        return all[choices.below(all.len() as u64) as usize].clone();
    }
    if let Some(one) = schema.get("const") {
        return one.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => {
            if choices.below(3) == 1 {
                return Value::Null;
            }
            kinds.iter().find_map(|k| k.as_str().filter(|k| *k != "null")).unwrap_or("null")
        }
        kind => kind.as_str().unwrap_or("any"),
    };
    match kind {
        "null" => Value::Null,
        "boolean" => json!(choices.below(2) == 1),
        "integer" => integer(schema, choices),
        "number" => json!(f64::from(choices.below(1000) as u32) / 8.0),
        "string" => json!(text(schema, name, choices)),
        "array" => {
            let item = singular(name);
            (0..1 + choices.below(3)).map(|_| value(&schema["items"], root, &item, choices, depth + 1)).collect()
        }
        "object" => object(schema, root, choices, depth),
        _ => json!("anything"),
    }
}

fn object(schema: &Value, root: &Value, choices: &mut Choices<'_>, depth: usize) -> Value {
    let mut made = Map::new();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&json!(name)) || choices.below(4) != 1 {
            made.insert(name.clone(), value(property, root, name, choices, depth + 1));
        }
    }
    let free = &schema["additionalProperties"];
    if *free != json!(false) && schema.get("properties").is_none() && depth < 24 {
        for i in 0..1 + choices.below(2) {
            let item = if free.is_object() { value(free, root, "value", choices, depth + 1) } else { json!(format!("value {i}")) };
            made.insert(format!("key{i}"), item);
        }
    }
    Value::Object(made)
}

fn integer(schema: &Value, choices: &mut Choices<'_>) -> Value {
    let Some(bits) = choices.bits() else {
        let timestamp = schema["format"] == "int64";
        return if timestamp { json!(1_700_000_000_000_000_i64) } else { json!(1) };
    };
    match schema["format"].as_str() {
        Some("uint8") => json!(bits as u8),
        Some("uint16") => json!(bits as u16),
        Some("uint32") => json!(bits as u32),
        Some("int32") => json!(bits as i32),
        Some("int64") => json!(bits as i64),
        _ => Value::Number(Number::from(bits)),
    }
}

fn text(schema: &Value, name: &str, choices: &mut Choices<'_>) -> String {
    let n = choices.bits();
    let small = n.unwrap_or(1) % 200 + 1;
    match schema["format"].as_str() {
        Some("ip") if small.is_multiple_of(2) => return format!("2001:db8::{small:x}"),
        Some("ip" | "ipv4") => return format!("192.0.2.{small}"),
        Some("ipv6") => return format!("2001:db8::{small:x}"),
        _ => {}
    }
    match name {
        "DomainId" if n.is_none() => "default".into(),
        "FlavorId" | "RegionId" | "CredentialId" => format!("{}-{small}", name.to_lowercase()),
        "HostName" => format!("host-{small}"),
        "MacAddress" => format!("fa:16:3e:00:00:{small:02x}"),
        "cidr" | "destination" | "remote_ip_prefix" | "ip_address" => format!("198.51.{small}.0/24"),
        id if id.ends_with("Id") => uuid::Uuid::from_u64_pair(n.unwrap_or(1), small).to_string(),
        _ => match n.map(|n| n % 6) {
            None => name.replace('_', " "),
            Some(0) => String::new(),
            Some(1) => "quotes \" and \\ and \u{7} and / and \u{0}".into(),
            Some(2) => "зображення 🦀 \u{202e}".into(),
            _ => format!("{name} {small}"),
        },
    }
}

fn singular(name: &str) -> String {
    name.strip_suffix('s').unwrap_or(name).to_owned()
}
