//! Which addresses of a subnet are taken, as runs of neighbours, so that the next free one costs one look-up however full the
//! subnet is. Invariant: runs of one subnet neither overlap nor touch; together they hold exactly the addresses taken.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use strata_events::SubnetId;

/// An address as a number, within its own family.
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The address with this number in the family of `like`; none past the family's end.
pub fn address(number: u128, like: IpAddr) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => u32::try_from(number).ok().map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(_) => Some(IpAddr::V6(number.into())),
    }
}

/// First address of a run to its last, by subnet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs(OrdMap<(SubnetId, u128), u128>);

impl Runs {
    /// The lowest number from `from` on that is not taken; none when all are to the family's end.
    pub fn first_free(&self, subnet: &SubnetId, from: u128) -> Option<u128> {
        match self.holding(subnet, from) {
            Some((_, last)) => last.checked_add(1),
            None => Some(from),
        }
    }
    /// Marks an address that was free.
    pub(super) fn take(&mut self, subnet: SubnetId, n: u128) {
        let mut run = (n, n);
        if let Some((first, last)) = n.checked_sub(1).and_then(|before| self.holding(&subnet, before)) {
            debug_assert!(last < n, "the address was free");
            run.0 = first;
        }
        if let Some(after) = n.checked_add(1)
            && let Some(last) = self.0.remove(&(subnet, after))
        {
            run.1 = last;
        }
        self.0.insert((subnet, run.0), run.1);
    }
    /// Frees an address that was taken.
    pub(super) fn free(&mut self, subnet: SubnetId, n: u128) {
        let Some((first, last)) = self.holding(&subnet, n) else { return };
        self.0.remove(&(subnet, first));
        if first < n {
            self.0.insert((subnet, first), n - 1);
        }
        if n < last {
            self.0.insert((subnet, n + 1), last);
        }
    }
    fn holding(&self, subnet: &SubnetId, n: u128) -> Option<(u128, u128)> {
        let ((of, first), last) = self.0.get_prev(&(*subnet, n))?;
        (of == subnet && *last >= n).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// The runs agree with a plain set after any sequence of takes and frees.
        #[test]
        fn runs_are_the_set(ops in proptest::collection::vec((any::<bool>(), 0u128..40, any::<bool>()), 0..200)) {
            let subnets = [SubnetId(uuid::Uuid::from_u128(1)), SubnetId(uuid::Uuid::from_u128(2))];
            let (mut runs, mut plain) = (Runs::default(), BTreeSet::new());
            for (take, n, second) in ops {
                let subnet = subnets[usize::from(second)];
                if take {
                    if plain.insert((subnet, n)) { runs.take(subnet, n); }
                } else if plain.remove(&(subnet, n)) { runs.free(subnet, n); }
            }
            for subnet in subnets {
                for from in 0..42 {
                    let expected = (from..).find(|n| !plain.contains(&(subnet, *n)));
                    prop_assert_eq!(runs.first_free(&subnet, from), expected);
                }
            }
            let mut last: Option<((SubnetId, u128), u128)> = None;
            for (key, end) in runs.0.iter() {
                if let Some((before, before_end)) = last { prop_assert!(before.0 != key.0 || before_end + 1 < key.1); }
                last = Some((*key, *end));
            }
        }
    }
}
