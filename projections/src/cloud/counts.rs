//! How many things of one kind each project has, kept beside the things so that a quota check costs one look-up.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use strata_events::ProjectId;

/// Only projects that have some are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(OrdMap<ProjectId, u32>);

impl Counts {
    pub fn of(&self, project: &ProjectId) -> u32 {
        self.0.get(project).copied().unwrap_or(0)
    }
    pub fn add(&mut self, project: &ProjectId, more: usize) {
        if more > 0 {
            *self.0.entry(*project).or_insert(0) += more as u32;
        }
    }
    pub fn take(&mut self, project: &ProjectId, fewer: usize) {
        let left = self.of(project).saturating_sub(fewer as u32);
        if left == 0 {
            self.0.remove(project);
        } else {
            self.0.insert(*project, left);
        }
    }
}
