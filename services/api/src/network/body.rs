//! Bodies: `{"network": {…}}`, or in bulk `{"networks": [{…}, …]}`. Each noun has a table of its attributes, which says what
//! may be sent when and by whom.

use super::caller::denied;
use crate::frame::{Ctx, Fault};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// An attribute, and what may be done with it.
pub struct Attribute {
    pub name: &'static str,
    pub post: bool,
    pub put: bool,
    /// Only admins may set it to anything but its default.
    pub admin: Option<Default>,
}

/// The default that everyone may send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Default {
    None,
    False,
    Empty,
}

pub const fn both(name: &'static str) -> Attribute {
    Attribute { name, post: true, put: true, admin: None }
}
pub const fn post(name: &'static str) -> Attribute {
    Attribute { name, post: true, put: false, admin: None }
}
pub const fn read(name: &'static str) -> Attribute {
    Attribute { name, post: false, put: false, admin: None }
}
impl Attribute {
    pub const fn admin(self, default: Default) -> Attribute {
        Attribute { name: self.name, post: self.post, put: self.put, admin: Some(default) }
    }
}

/// What a noun's bodies may hold.
pub struct Table {
    pub one: &'static str,
    pub many: &'static str,
    pub required: &'static [&'static str],
    pub attributes: &'static [Attribute],
}

/// The most that one bulk call makes.
const MOST: usize = 1000;

/// What a POST asks for.
pub struct Asked<T> {
    pub items: Vec<T>,
    /// The answer is a list too.
    pub bulk: bool,
}

impl Table {
    /// The body of a POST.
    pub fn created<T: DeserializeOwned>(&self, ctx: &Ctx) -> Result<Asked<T>, Fault> {
        let mut object = ctx.object()?;
        let (items, bulk) = match (object.remove(self.one), object.remove(self.many)) {
            (Some(Value::Object(item)), None) => (vec![item], false),
            (None, Some(Value::Array(items))) if !items.is_empty() => {
                if items.len() > MOST {
                    return Err(Fault::bad_request(format!("At most {MOST} {} can be made in one call.", self.many)));
                }
                let item = |v| match v {
                    // Each may be wrapped as a single one is.
                    Value::Object(mut item) if item.len() == 1 && item.get(self.one).is_some_and(Value::is_object) => {
                        Ok(item.remove(self.one).and_then(|v| v.as_object().cloned()).unwrap_or_default())
                    }
                    Value::Object(item) => Ok(item),
                    _ => Err(Fault::bad_request(format!("Invalid input for {}. Reason: its items must be objects.", self.many))),
                };
                (items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?, true)
            }
            _ => return Err(Fault::bad_request(format!("Unable to find '{}' in request body", self.one))),
        };
        only(&object)?;
        let items = items.into_iter().map(|item| {
            self.check(ctx, &item, true)?;
            ctx.typed(self.one, Value::Object(item))
        });
        Ok(Asked { items: items.collect::<Result<_, _>>()?, bulk })
    }
    /// The body of a PUT.
    pub fn changed<T: DeserializeOwned>(&self, ctx: &Ctx) -> Result<T, Fault> {
        let mut object = ctx.object()?;
        let item = ctx.take(&mut object, self.one)?;
        only(&object)?;
        if let Value::Object(item) = &item {
            self.check(ctx, item, false)?;
        }
        ctx.typed(self.one, item)
    }

    fn check(&self, ctx: &Ctx, item: &Map<String, Value>, creating: bool) -> Result<(), Fault> {
        let find = |name: &str| self.attributes.iter().find(|a| a.name == name);
        let unknown: Vec<&str> = item.keys().map(String::as_str).filter(|k| find(k).is_none()).collect();
        if !unknown.is_empty() {
            return Err(Fault::bad_request(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))));
        }
        for attribute in item.keys().filter_map(|k| find(k)) {
            if creating && !attribute.post {
                return Err(Fault::bad_request(format!("Attribute '{}' not allowed in POST", attribute.name)));
            }
            if !creating && !attribute.put {
                return Err(Fault::bad_request(format!("Cannot update read-only attribute {}", attribute.name)));
            }
        }
        if creating && let Some(missing) = self.required.iter().find(|name| !item.contains_key(**name)) {
            return Err(Fault::bad_request(format!("Failed to parse request. Required attribute '{missing}' not specified")));
        }
        if ctx.is_admin() {
            return Ok(());
        }
        let refused: Vec<&str> = self
            .attributes
            .iter()
            .filter(|a| match (a.admin, item.get(a.name)) {
                (Some(default), Some(value)) => !creating || !default.is(value),
                _ => false,
            })
            .map(|a| a.name)
            .collect();
        let verb = if creating { "create" } else { "update" };
        if refused.is_empty() { Ok(()) } else { Err(denied(&format!("{verb}_{}", self.one), &refused)) }
    }
}

impl Default {
    fn is(self, value: &Value) -> bool {
        value.is_null()
            || match self {
                Default::None => false,
                Default::False => *value == json!(false),
                Default::Empty => *value == json!({}) || *value == json!([]) || *value == json!(""),
            }
    }
}

fn only(rest: &Map<String, Value>) -> Result<(), Fault> {
    match rest.keys().next() {
        None => Ok(()),
        Some(other) => Err(Fault::bad_request(format!("Unrecognized attribute(s) '{other}'"))),
    }
}
