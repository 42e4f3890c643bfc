//! Tags: a set of words on a network, subnet, port or security group, kept sorted.

use crate::{Class, Refusal};

/// The most that one thing carries.
pub const MOST: usize = 50;

/// What to make of a thing's tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagChange {
    Set(Vec<String>),
    Add(Vec<String>),
    Remove(String),
}

/// The tags after the change.
pub fn changed(old: &[String], change: Option<&TagChange>) -> Result<Vec<String>, Refusal> {
    let mut tags = match change {
        None => return Ok(old.to_vec()),
        Some(TagChange::Set(tags)) => tags.clone(),
        Some(TagChange::Add(more)) => old.iter().chain(more).cloned().collect(),
        Some(TagChange::Remove(tag)) if !old.contains(tag) => return Err(not_found(tag)),
        Some(TagChange::Remove(tag)) => old.iter().filter(|t| *t != tag).cloned().collect(),
    };
    tags.sort();
    tags.dedup();
    if tags.len() > MOST {
        return Err(Refusal::new(Class::Invalid, "HTTPBadRequest", format!("The number of tags exceeds the limit {MOST}.")));
    }
    Ok(tags)
}

pub fn not_found(tag: &str) -> Refusal {
    Refusal::not_found("Tag", tag).with_kind("TagNotFound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_sorted_set() {
        let old = ["b".to_owned()];
        assert_eq!(changed(&old, Some(&TagChange::Add(vec!["a".into(), "b".into()]))), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(changed(&old, Some(&TagChange::Remove("b".into()))), Ok(vec![]));
        assert_eq!(changed(&old, Some(&TagChange::Remove("x".into()))).map_err(|r| r.kind), Err("TagNotFound"));
        assert!(changed(&old, Some(&TagChange::Set((0..51).map(|i| i.to_string()).collect()))).is_err());
    }
}
