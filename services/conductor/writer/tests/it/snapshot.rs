//! Property: a snapshot taken anywhere, with the events after it, folds to the state that all events fold to.

use crate::common::{ctx, import, user};
use proptest::prelude::*;
use strata_conductor::Command;
use strata_conductor::decide::keypair::DeleteKeypair;
use strata_conductor::testing::record;
use strata_projections::Cloud;
use strata_projections::read::{Change, changes};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_snapshot_and_the_rest_fold_to_the_same(steps in prop::collection::vec((0..4u128, 0..6u8, any::<bool>()), 0..120), cut in 0..120usize) {
        let mut all = Cloud::default();
        let mut events = vec![];
        let mut rows = std::collections::BTreeMap::new();
        for (owner, name, delete) in steps {
            let name = name.to_string();
            let command: Box<dyn Command> =
                if delete { Box::new(DeleteKeypair { user: user(owner), name }) } else { Box::new(import(owner, name)) };
            for event in command.decide(&all, &ctx()).unwrap_or_default() {
                let before = all.clone();
                events.push(record(&mut all, event, ctx().now));
                for change in changes(&before, &all) {
                    match change {
                        Change::Put(row) => drop(rows.insert((row.kind, row.id.clone()), row)),
                        Change::Gone { kind, id } => drop(rows.remove(&(kind, id))),
                    }
                }
            }
        }
        let cut = cut.min(events.len());
        let mut early = Cloud::default();
        for event in &events[..cut] {
            early.apply(event).expect("applies");
        }
        let mut restored = Cloud::from_snapshot(&early.to_snapshot()).expect("reads back");
        prop_assert_eq!(restored.digest(), early.digest());
        for event in &events[cut..] {
            restored.apply(event).expect("applies");
        }
        prop_assert_eq!(restored.digest(), all.digest());
        prop_assert_eq!(&restored, &all);
        // and the rows kept step by step are the rows of the whole
        let whole: Vec<_> = changes(&Cloud::default(), &all).filter_map(|c| match c { Change::Put(row) => Some(row), Change::Gone { .. } => None }).collect();
        prop_assert_eq!(whole.len(), rows.len());
        prop_assert!(whole.iter().all(|row| rows.get(&(row.kind, row.id.clone())) == Some(row)));
    }
}
