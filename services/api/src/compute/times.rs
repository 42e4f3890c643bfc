//! Times as Nova prints them, written without the general formatter: a long list has thousands of them.

use serde::ser::{Serialize, Serializer};
use strata_events::Timestamp;

/// `2026-11-23T01:02:03Z`
pub struct Seconds(pub Timestamp);
impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = clock(self.0);
        text[19] = b'Z';
        serializer.serialize_str(ascii(&text[..20]))
    }
}
/// `2026-11-23T01:02:03.000004`
pub struct NaiveMicros(pub Timestamp);
impl Serialize for NaiveMicros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ascii(&clock(self.0)))
    }
}

fn ascii(text: &[u8]) -> &str {
    // Only digits and punctuation were written.
    std::str::from_utf8(text).unwrap_or_default()
}

/// Civil date from days since the epoch: H. Hinnant's `civil_from_days`.
fn clock(at: Timestamp) -> [u8; 26] {
    let mut text = *b"0000-00-00T00:00:00.000000";
    let (days, micros) = (at.0.div_euclid(86_400_000_000), at.0.rem_euclid(86_400_000_000));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let seconds = micros / 1_000_000;
    let mut put = |at: usize, digits: usize, mut number: i64| {
        for i in (at..at + digits).rev() {
            text[i] = b'0' + u8::try_from(number.rem_euclid(10)).unwrap_or(0);
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, seconds / 3600);
    put(14, 2, seconds / 60 % 60);
    put(17, 2, seconds % 60);
    put(20, 6, micros % 1_000_000);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_general_formatter_does() {
        for micros in [0, 1, 951_782_400_000_000, 1_700_000_000_123_456, 4_102_444_799_999_999, 1_709_164_800_000_000] {
            let at = Timestamp(micros);
            assert_eq!(serde_json::to_string(&Seconds(at)).ok(), Some(format!("\"{}\"", at.seconds())));
            assert_eq!(serde_json::to_string(&NaiveMicros(at)).ok(), Some(format!("\"{}\"", at.naive_micros())));
        }
    }
}
