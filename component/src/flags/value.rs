//! Reading single values the way Go's `pflag` and `time` packages do.

use std::{net::IpAddr, time::Duration};

use super::Kind;

/// Whether `text` is a value of `kind`; the problem in Go's words otherwise.
pub(super) fn check(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Bool => parse_bool(text).map(drop),
        Kind::Int => parse_int(text).map(drop),
        Kind::Float => parse_float(text).map(drop),
        Kind::Duration => parse_duration(text).map(drop),
        Kind::Ip => parse_ip(text).map(drop),
        Kind::Cidr => parse_cidr(text).map(drop),
        Kind::Map => parse_pairs(text).map(drop),
        Kind::String | Kind::Strings | Kind::StringArray => Ok(()),
    }
}

pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Also in Go's other bases: `0x1f`, `0o17`, `0b1`.
pub(super) fn parse_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let bases = [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)];
    let (digits, radix) = bases
        .iter()
        .find_map(|(prefix, radix)| digits.strip_prefix(prefix).map(|digits| (digits, *radix)))
        .unwrap_or((digits, 10));
    let magnitude = i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']));
    magnitude.map(|m| sign * m).ok_or_else(|| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

pub(super) fn parse_float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

pub(super) fn parse_ip(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| format!("failed to parse IP: {text:?}"))
}

/// An address and a prefix length that fits it.
pub(super) fn parse_cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let parsed = text.trim().split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    });
    parsed.ok_or_else(|| format!("invalid CIDR address: {text}"))
}

pub(super) fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Reads a Go duration such as `1h15m30.5s`, `300ms` or `0`. Negative ones are refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = machinery::duration::parse(text)?;
    Duration::try_from(duration).map_err(|_| format!("time: invalid duration {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_not_negative() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("-1s"), Err("time: invalid duration \"-1s\"".to_owned()));
    }

    #[test]
    fn whole_numbers_in_gos_bases() {
        for (text, number) in [("10", 10), ("-3", -3), ("0x1f", 31), ("0o17", 15)] {
            assert_eq!(parse_int(text), Ok(number));
        }
        for text in ["", "1.5", "ten", "--1", "-+1"] {
            assert!(parse_int(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_need_a_length_that_fits() {
        assert!(parse_cidr("10.0.0.0/8").is_ok());
        assert!(parse_cidr("fd00::/64").is_ok());
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
    }
}
