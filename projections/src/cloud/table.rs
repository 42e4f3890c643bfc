//! A persistent map from ids to shared values: copying it is free, and a reader's copy never changes.

use super::CannotApply;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};
use std::fmt::{Debug, Display};
use std::ops::RangeBounds;
use std::sync::Arc;

/// Live things of one kind by id, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(serialize = "K: Ord + Serialize, V: Serialize", deserialize = "K: Ord + Clone + Deserialize<'de>, V: Deserialize<'de>")
)]
pub struct Table<K: Ord, V>(OrdMap<K, Arc<V>>);

impl<K: Ord + Clone, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<K: Ord + Clone + Debug, V: Clone> Table<K, V> {
    pub fn get(&self, id: &K) -> Option<&Arc<V>> {
        self.0.get(id)
    }
    pub fn contains(&self, id: &K) -> bool {
        self.0.contains_key(id)
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.0.iter()
    }
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<V>> {
        self.0.iter().map(|(_, v)| v)
    }
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.0.range(range)
    }
    /// Adds a thing that must be new.
    pub fn add(&mut self, id: K, value: V) -> Result<(), CannotApply> {
        match self.0.insert(id.clone(), Arc::new(value)) {
            None => Ok(()),
            Some(_) => Err(CannotApply::because(format!("{id:?} exists already"))),
        }
    }
    /// Adds or replaces.
    pub fn put(&mut self, id: K, value: V) {
        self.0.insert(id, Arc::new(value));
    }
    /// Changes a thing that must exist.
    pub fn change<T>(&mut self, id: &K, f: impl FnOnce(&mut V) -> T) -> Result<T, CannotApply> {
        match self.0.get_mut(id) {
            Some(value) => Ok(f(Arc::make_mut(value))),
            None => Err(CannotApply::because(format!("{id:?} does not exist"))),
        }
    }
    /// Takes out a thing that must exist.
    pub fn remove(&mut self, id: &K) -> Result<Arc<V>, CannotApply> {
        self.0.remove(id).ok_or_else(|| CannotApply::because(format!("{id:?} does not exist")))
    }
    /// What differs in a later copy of this table: the id with its new value, none if it is gone. What the two share is not
    /// looked at, so the cost is that of the changes.
    pub fn changes<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = (&'a K, Option<&'a Arc<V>>)>
    where
        V: PartialEq,
    {
        self.0.diff(&later.0).map(|change| match change {
            DiffItem::Add(id, value) | DiffItem::Update { new: (id, value), .. } => (id, Some(value)),
            DiffItem::Remove(id, _) => (id, None),
        })
    }
    /// The thing, which must exist.
    pub fn need(&self, id: &K) -> Result<&Arc<V>, CannotApply> {
        self.0.get(id).ok_or_else(|| CannotApply::because(format!("{id:?} does not exist")))
    }
}

impl CannotApply {
    /// Why an event does not fit the state; the position is added by [`super::Cloud::apply`].
    pub fn because(why: impl Display) -> Self {
        CannotApply { position: 0, event: String::new(), why: why.to_string() }
    }
}
