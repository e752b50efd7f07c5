//! `meta/v1` Duration: a text such as `1m30s`, read and written as Go does.

use std::{fmt, time};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::flags::parse_duration;

/// A length of time in a configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub time::Duration);

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Go's form: the units that are needed, the last one with its fraction; below a second one unit only.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds == 0 {
            return match nanoseconds {
                0 => f.write_str("0s"),
                1..1_000 => write!(f, "{nanoseconds}ns"),
                1_000..1_000_000 => write!(f, "{}µs", decimal(nanoseconds.into(), 3)),
                _ => write!(f, "{}ms", decimal(nanoseconds.into(), 6)),
            };
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(seconds % 60 * 1_000_000_000 + u64::from(nanoseconds), 9))
    }
}

/// `number / 10^digits`, without trailing zeros.
fn decimal(number: u64, digits: usize) -> String {
    let text = format!("{number:0width$}", width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_go_writes_and_read_back() {
        for text in ["0s", "5ns", "1.5µs", "250ms", "1s", "1.25s", "1m30s", "1h0m0s", "24h0m0.5s"] {
            let duration: Duration = serde_json::from_value(text.into()).unwrap();
            assert_eq!(duration.to_string(), text);
        }
    }
}
