//! Paging by `limit` and `marker`, the same in every list.

use super::{Fault, Query};

/// The page that was asked for.
#[derive(Debug, Clone)]
pub struct Page {
    /// The most that the answer may hold.
    pub limit: usize,
    pub marker: Option<String>,
}

/// A page's things, and whether more follow.
pub struct Paged<T> {
    pub items: Vec<T>,
    pub more: bool,
}

impl Page {
    /// Reads `limit` and `marker`. A limit above `max` is cut to it; 0 gives nothing where `zero_is_none`, else the most.
    pub fn of(query: &Query, max: usize) -> Result<Self, Fault> {
        let limit = match query.get("limit") {
            None => max,
            Some(text) => {
                let number = text.parse::<i64>().map_err(|_| {
                    Fault::bad_request(format!("Invalid input for query parameters limit. Value: {text}. It must be a whole number."))
                })?;
                usize::try_from(number).map_err(|_| Fault::bad_request(format!("limit must be 0 or more, not {number}.")))?.min(max)
            }
        };
        Ok(Self { limit, marker: query.get("marker").map(str::to_owned) })
    }
    /// Cuts the page out of an ordered list. An unknown marker is the caller's mistake.
    pub fn cut<T>(&self, all: impl Iterator<Item = T>, id: impl Fn(&T) -> String) -> Result<Paged<T>, Fault> {
        let mut all = all;
        if let Some(marker) = &self.marker
            && !all.by_ref().any(|item| id(&item) == *marker)
        {
            return Err(Fault::bad_request(format!("marker [{marker}] not found")));
        }
        let mut items: Vec<T> = Vec::new();
        for item in all {
            if items.len() == self.limit {
                return Ok(Paged { items, more: self.limit > 0 });
            }
            items.push(item);
        }
        Ok(Paged { items, more: false })
    }
}

/// `sort_key` and `sort_dir` in pairs; a missing direction is `default_dir`.
pub fn sort_keys(query: &Query, default_dir: &str) -> Result<Vec<(String, bool)>, Fault> {
    let dirs: Vec<&str> = query.all("sort_dir").collect();
    let keys = query.all("sort_key").enumerate().map(|(i, key)| {
        let dir = dirs.get(i).copied().unwrap_or(default_dir);
        match dir {
            "asc" => Ok((key.to_owned(), true)),
            "desc" => Ok((key.to_owned(), false)),
            _ => Err(Fault::bad_request(format!("Unknown sort direction '{dir}', must be one of: asc, desc"))),
        }
    });
    keys.collect()
}
