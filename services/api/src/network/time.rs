//! Times as Neutron prints them, written without a formatter: lists print two for every item.

use serde::{Serialize, Serializer};
use strata_events::Timestamp;

/// `2026-11-23T01:02:03Z`
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let bytes = text(self.0);
        s.serialize_str(std::str::from_utf8(&bytes).unwrap_or_default())
    }
}

/// Days to a civil date: Howard Hinnant's `civil_from_days`.
fn text(at: Timestamp) -> [u8; 20] {
    let seconds = at.0.div_euclid(1_000_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let mut out = *b"0000-00-00T00:00:00Z";
    let mut put = |at: usize, width: usize, mut n: i64| {
        for i in (at..at + width).rev() {
            out[i] = b'0' + (n % 10).unsigned_abs() as u8;
            n /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, rest / 3600);
    put(14, 2, rest / 60 % 60);
    put(17, 2, rest % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_the_event_crate_prints_them() {
        for seconds in [0, 951_782_399, 951_782_400, 1_709_164_800, 1_732_323_723, 4_102_444_799, 1_700_000_000] {
            let at = Timestamp(seconds * 1_000_000 + 999_999);
            assert_eq!(String::from_utf8_lossy(&text(at)), at.seconds());
        }
    }
}
