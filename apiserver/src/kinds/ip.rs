//! Addresses and ranges as texts: which are good, and in which words upstream refuses the others.
//!
//! Fields from before upstream was strict keep a bad value that they already hold ("legacy" fields); newer ones also
//! want the canonical form. Enter at [`legacy_cidr`], [`legacy_address`], [`strict_cidr`] and [`strict_address`].

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use machinery::field::{Error, Path};

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, read as Go's old parser did: decimal parts may begin with zeros.
pub fn parse_sloppy(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let parts: Vec<u8> = text.split('.').map(decimal).collect::<Option<_>>()?;
        let [a, b, c, d] = parts.try_into().ok()?;
        Some(Ipv4Addr::new(a, b, c, d).into())
    })
}

fn decimal(text: &str) -> Option<u8> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// A range of addresses, or an address with the length of its prefix, read as Go's old parser did.
pub fn parse_sloppy_range(text: &str) -> Option<IpNet> {
    let (address, bits) = text.split_once('/')?;
    IpNet::new(parse_sloppy(address)?, decimal(bits)?).ok()
}

/// An address in a field that keeps the bad ones among `held`.
pub fn legacy_address(text: &str, held: &[&str], path: &Path) -> Option<Error> {
    if held.contains(&text) {
        return None;
    }
    let Some(address) = parse_sloppy(text) else { return Some(Error::invalid(path, text, ADDRESS)) };
    if text.parse::<IpAddr>().is_err() {
        return Some(Error::invalid(path, text, "must not have leading 0s"));
    }
    is_mapped(address).then(|| Error::invalid(path, text, "must not be an IPv4-mapped IPv6 address"))
}

/// As [`legacy_address`], for a range.
pub fn legacy_cidr(text: &str, held: &[&str], path: &Path) -> Option<Error> {
    if held.contains(&text) {
        return None;
    }
    let Some(range) = parse_sloppy_range(text) else { return Some(Error::invalid(path, text, CIDR)) };
    let (address, bits) = text.split_once('/').unwrap_or_default();
    let why = if address.parse::<IpAddr>().is_err() || (bits.starts_with('0') && bits != "0") {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(range.addr()) {
        "must not have an IPv4-mapped IPv6 address"
    } else if range.network() != range.addr() {
        "must not have bits set beyond the prefix length"
    } else {
        return None;
    };
    Some(Error::invalid(path, text, why))
}

pub fn strict_address(text: &str, path: &Path) -> Option<Error> {
    legacy_address(text, &[], path).or_else(|| {
        let canonical = parse_sloppy(text)?.to_string();
        (canonical != text).then(|| Error::invalid(path, text, not_canonical(&canonical)))
    })
}

pub fn strict_cidr(text: &str, path: &Path) -> Option<Error> {
    legacy_cidr(text, &[], path).or_else(|| {
        let canonical = parse_sloppy_range(text)?.trunc().to_string();
        (canonical != text).then(|| Error::invalid(path, text, not_canonical(&canonical)))
    })
}

/// An address with the length of its network's prefix.
pub fn interface_address(text: &str, path: &Path) -> Option<Error> {
    let Some(range) = parse_sloppy_range(text) else {
        let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return Some(Error::invalid(path, text, why));
    };
    let canonical = range.to_string();
    (canonical != text).then(|| Error::invalid(path, text, not_canonical(&canonical)))
}

fn not_canonical(canonical: &str) -> String {
    format!("must be in canonical form ({})", machinery::field::quote(canonical))
}

/// Refuses several ranges of one family, where only one of each may be.
pub fn is_one_family(cidrs: &[&str]) -> bool {
    let mut families = cidrs.iter().filter_map(|cidr| parse_sloppy_range(cidr)).map(|range| range.addr().is_ipv4());
    matches!((families.next(), families.next()), (Some(first), Some(second)) if first == second)
}

/// A check of names: an object whose name is an address.
pub fn address_name(name: &str) -> Vec<String> {
    strict_address(name, &Path::root()).into_iter().map(|error| error.detail).collect()
}

/// A word of warning about an address that is good but not in its usual form.
pub fn address_warning(text: &str, path: &Path) -> Option<String> {
    let address = parse_sloppy(text)?;
    let quote = machinery::field::quote;
    let shown = quote(text);
    if is_mapped(address) || text.parse::<IpAddr>().is_err() {
        let usual = quote(&address.to_canonical().to_string());
        return Some(format!("{path}: non-standard IP address {shown} is invalid: use {usual}"));
    }
    let canonical = address.to_string();
    (address.is_ipv6() && canonical != text)
        .then(|| format!("{path}: IPv6 address {shown} should be in RFC 5952 canonical format ({})", quote(&canonical)))
}

/// Words of warning about a range that is good but not in its usual form, or stands where it may hold the address of one machine.
pub fn cidr_warnings(text: &str, path: &Path) -> Vec<String> {
    let Some(range) = parse_sloppy_range(text) else { return Vec::new() };
    let quote = machinery::field::quote;
    let (shown, canonical) = (quote(text), quote(&range.trunc().to_string()));
    let mut warnings = Vec::new();
    if range.network() != range.addr() {
        let single = quote(&format!("{}/{}", range.addr(), range.max_prefix_len()));
        warnings.push(format!(
            "{path}: CIDR value {shown} is ambiguous in this context (should be {canonical} or {single}?)"
        ));
    }
    let has_zeros = legacy_cidr(text, &[], path).is_some_and(|error| error.detail.contains("leading 0s"));
    if has_zeros || is_mapped(range.addr()) {
        warnings.push(format!("{path}: non-standard CIDR value {shown} is invalid: use {canonical}"));
    }
    if warnings.is_empty() && range.addr().is_ipv6() && range.trunc().to_string() != text {
        warnings.push(format!("{path}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({canonical})"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_in_upstreams_words() {
        let path = Path::new("x");
        let address = |text: &str| strict_address(text, &path).map(|error| error.detail);
        let cidr = |text: &str| strict_cidr(text, &path).map(|error| error.detail);
        assert_eq!(address("10.0.0.1"), None);
        assert_eq!(address("10.0.0.01").as_deref(), Some("must not have leading 0s"));
        assert_eq!(address("::ffff:1.2.3.4").as_deref(), Some("must not be an IPv4-mapped IPv6 address"));
        assert_eq!(address("2001:DB8::1").as_deref(), Some("must be in canonical form (\"2001:db8::1\")"));
        assert_eq!(address("x").as_deref(), Some(ADDRESS));
        assert_eq!(cidr("10.0.0.0/8"), None);
        assert_eq!(cidr("0.0.0.0/0"), None);
        assert_eq!(cidr("10.0.0.0/08").as_deref(), Some("must not have leading 0s in IP or prefix length"));
        assert_eq!(cidr("10.0.0.1/8").as_deref(), Some("must not have bits set beyond the prefix length"));
        assert_eq!(cidr("10.0.0.0/33").as_deref(), Some(CIDR));
        assert_eq!(legacy_cidr("10.0.0.1/8", &["10.0.0.1/8"], &path), None);
    }

    #[test]
    fn warns_of_unusual_forms() {
        let path = Path::new("x");
        assert_eq!(
            cidr_warnings("10.0.0.1/8", &path),
            [
                "x: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)"
            ]
        );
    }
}
