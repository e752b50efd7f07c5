//! A Service's own addresses and their families: what they may be before any is allocated (Kubernetes concept: "Service
//! ClusterIP allocation", "IPv4/IPv6 dual-stack").

use std::collections::HashSet;
use std::net::IpAddr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Value, json};

use crate::kinds::ip;

/// What a Service says of its addresses; those that it had are not judged again.
pub fn asked(service: &Value, old: Option<&Value>) -> ErrorList {
    let spec = &service["spec"];
    let held = old.map(|old| meta::list(old, "spec.clusterIPs")).unwrap_or_default();
    let held: Vec<&str> = held.iter().filter_map(Value::as_str).collect();
    match meta::text(spec, "type") {
        "ExternalName" => ErrorList::new(),
        _ => validate(spec, &held, &Path::new("spec")),
    }
}

pub fn validate(spec: &Value, held: &[&str], path: &Path) -> ErrorList {
    let mut errors = families(spec, path);
    let listed: Vec<&str> = meta::list(spec, "clusterIPs").iter().filter_map(Value::as_str).collect();
    let at = path.child("clusterIPs");
    let first = meta::text(spec, "clusterIP");
    if !first.is_empty() && listed.first().is_some_and(|listed| *listed != first) {
        errors.push(Error::invalid(&at, json!(listed), "first value must match `clusterIP`"));
    }
    if first.is_empty() && !listed.is_empty() {
        errors.push(Error::invalid(&at, json!(listed), "must be empty when `clusterIP` is not specified"));
    }
    let mut misplaced = false;
    for (position, address) in listed.iter().enumerate() {
        if position == 0 && *address == "None" {
            if listed.len() > 1 {
                misplaced = true;
                errors.push(Error::invalid(&at, json!(listed), "'None' must be the first and only value"));
            }
            continue;
        }
        let wrong = ip::legacy_address(address, held, &at.index(position));
        misplaced |= wrong.is_some();
        errors.extend(wrong);
    }
    if listed.len() > 2 {
        errors.push(Error::invalid(&at, json!(listed), "may only hold up to 2 values"));
    }
    if misplaced {
        return errors;
    }
    errors.extend(stacks(spec, &listed, &at));
    errors
}

fn families(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, family) in meta::list(spec, "ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("ipFamilies").index(position);
        if !["IPv4", "IPv6"].contains(&family) {
            errors.push(Error::not_supported(&at, family, &["IPv4", "IPv6"]));
        }
        if !known.insert(family) {
            errors.push(Error::duplicate(&at, family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = spec["ipFamilyPolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        errors.push(Error::not_supported(&path.child("ipFamilyPolicy"), policy, &policies));
    }
    errors
}

/// One address a family, each of the family that the Service says.
fn stacks(spec: &Value, listed: &[&str], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let parsed: Vec<IpAddr> = listed.iter().filter_map(|address| address.parse().ok()).collect();
    if let [first, second] = parsed.as_slice()
        && first.is_ipv4() == second.is_ipv4()
    {
        let why = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(path, json!(listed), why));
    }
    let families = meta::list(spec, "ipFamilies");
    for (position, (address, family)) in parsed.iter().zip(families).enumerate() {
        let family = family.as_str().unwrap_or_default();
        let fits = address.is_ipv4() == (family == "IPv4");
        if !fits {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{position}]`");
            errors.push(Error::invalid(&path.index(position), address.to_string(), why));
        }
    }
    errors
}
