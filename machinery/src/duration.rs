//! Durations as Go's `time` package writes them, such as `1h15m30.5s`, `300ms`, `-5s` or `0`, with its sentences for
//! what is none.

use jiff::SignedDuration;

use crate::field::quote;

/// Reads a duration; rounded to nanoseconds.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        nanos += number * nanos_of(unit, text)?;
        rest = after;
    }
    // Go's range is that of 64 bits of nanoseconds.
    if nanos >= i64::MAX as f64 {
        return Err(invalid());
    }
    let duration = SignedDuration::from_nanos(nanos.round() as i64);
    Ok(if text.starts_with('-') { -duration } else { duration })
}

fn nanos_of(unit: &str, text: &str) -> Result<f64, String> {
    Ok(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        "" => return Err(format!("time: missing unit in duration {}", quote(text))),
        unit => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        let good = [
            ("0", 0),
            ("+0", 0),
            ("1s", 1000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("250ms", 250),
            ("1h0m0s", 3_600_000),
            ("-1m", -60_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse(text), Ok(SignedDuration::from_millis(ms)), "{text}");
        }
        let bad = [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("300000h1000000000000h", "time: invalid duration \"300000h1000000000000h\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5 s", "time: unknown unit \" s\" in duration \"5 s\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        ];
        for (text, why) in bad {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
    }
}
