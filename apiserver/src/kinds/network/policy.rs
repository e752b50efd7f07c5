//! NetworkPolicies: who may talk to a pod.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::Selector;
use serde_json::{Value, json};

use super::super::defaults::{each, spec};
use super::super::{Hooks, ip, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

/// A direction and the field of its rules that names the other side.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub static HOOKS: Hooks = Hooks {
    default: |policy| {
        let fields = spec(policy);
        for (direction, _) in DIRECTIONS {
            for rule in each(fields, direction) {
                for port in each(rule, "ports").filter(|port| port.get("protocol").is_none_or(Value::is_null)) {
                    port.insert("protocol".into(), "TCP".into());
                }
            }
        }
        let is_absent = |fields: &serde_json::Map<String, Value>, list: &str| {
            fields.get(list).and_then(Value::as_array).is_none_or(Vec::is_empty)
        };
        if is_absent(fields, "policyTypes") {
            let types = if is_absent(fields, "egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
            fields.insert("policyTypes".into(), types);
        }
    },
    validate_against: |new, old| {
        let held: Vec<&str> = old.into_iter().flat_map(blocks).flat_map(|(_, block)| ranges(block)).collect();
        validate_spec(&new["spec"], &held, &Path::new("spec"))
    },
    warnings: |policy| {
        blocks(policy)
            .flat_map(|(path, block)| {
                let mut warnings = ip::cidr_warnings(meta::text(block, "cidr"), &path.child("cidr"));
                for (position, except) in meta::list(block, "except").iter().filter_map(Value::as_str).enumerate() {
                    warnings.extend(ip::cidr_warnings(except, &path.child("except").index(position)));
                }
                warnings
            })
            .collect()
    },
    has_generation: true,
    counts_other_words: true,
    columns: &[NAME, text_column("Pod-Selector", "The pods that it is about."), AGE],
    cells: |policy, now| {
        let selector = Selector::from_label_selector(policy["spec"].get("podSelector"));
        let shown = match selector {
            Ok(selector) if selector.is_everything() => "<none>".to_owned(),
            Ok(selector) => selector.to_string(),
            Err(_) => "<error>".to_owned(),
        };
        vec![meta::name(policy).into(), shown.into(), age(policy, now).into()]
    },
    ..Hooks::PLAIN
};

/// Every `ipBlock` of a policy with its path.
fn blocks(policy: &Value) -> impl Iterator<Item = (Path, &Value)> {
    DIRECTIONS.iter().flat_map(move |(direction, side)| {
        let path = Path::new("spec").child(direction);
        meta::list(&policy["spec"], direction).iter().enumerate().flat_map(move |(position, rule)| {
            let path = path.index(position).child(side);
            let peers = meta::list(rule, side).iter().enumerate();
            peers
                .filter(|(_, peer)| peer["ipBlock"].is_object())
                .map(move |(position, peer)| (path.index(position).child("ipBlock"), &peer["ipBlock"]))
        })
    })
}

fn ranges(block: &Value) -> impl Iterator<Item = &str> {
    block["cidr"].as_str().into_iter().chain(meta::list(block, "except").iter().filter_map(Value::as_str))
}

/// `held`: ranges of the stored policy, which may be bad.
fn validate_spec(spec: &Value, held: &[&str], path: &Path) -> ErrorList {
    let mut errors = validate::label_selector(&spec["podSelector"], &path.child("podSelector"));
    for (direction, side) in DIRECTIONS {
        for (position, rule) in meta::list(spec, direction).iter().enumerate() {
            let at = path.child(direction).index(position);
            for (position, port) in meta::list(rule, "ports").iter().enumerate() {
                errors.extend(validate_port(port, &at.child("ports").index(position)));
            }
            for (position, peer) in meta::list(rule, side).iter().enumerate() {
                errors.extend(validate_peer(peer, held, &at.child(side).index(position)));
            }
        }
    }
    let (types, at) = (meta::list(spec, "policyTypes"), path.child("policyTypes"));
    if types.len() > 2 {
        errors.push(Error::invalid(&at, spec["policyTypes"].clone(), "may not specify more than two policyTypes"));
        return errors;
    }
    for (position, kind) in types.iter().filter_map(Value::as_str).enumerate() {
        if !matches!(kind, "Ingress" | "Egress") {
            errors.push(Error::not_supported(&at.index(position), kind, &["Ingress", "Egress"]));
        }
    }
    errors
}

fn validate_port(port: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let protocols = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = port["protocol"].as_str().filter(|protocol| !protocols.contains(protocol)) {
        errors.push(Error::not_supported(&path.child("protocol"), protocol, &protocols));
    }
    let (end, at) = (port["endPort"].as_i64(), path.child("endPort"));
    match (&port["port"], end) {
        (Value::Null, Some(end)) => {
            errors.push(Error::invalid(&at, end, "may not be specified when `port` is not specified"));
        }
        (Value::String(_), Some(end)) => {
            errors.push(Error::invalid(&at, end, "may not be specified when `port` is non-numeric"));
        }
        (number, Some(end)) => {
            // Upstream shows the first port, not the last.
            if number.as_i64().is_some_and(|number| end < number) {
                errors.push(Error::invalid(&at, number.clone(), "must be greater than or equal to `port`"));
            }
            errors.extend(names::port_number(end).into_iter().map(|words| Error::invalid(&at, end, words)));
        }
        (_, None) => {}
    }
    if !port["port"].is_null() {
        errors.extend(validate::port(&port["port"], &path.child("port")));
    }
    errors
}

fn validate_peer(peer: &Value, held: &[&str], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for selector in ["podSelector", "namespaceSelector"] {
        errors.extend(validate::label_selector(&peer[selector], &path.child(selector)));
    }
    let block = &peer["ipBlock"];
    if block.is_object() {
        errors.extend(validate_block(block, held, &path.child("ipBlock")));
    }
    let has_selector = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    match (block.is_object(), has_selector) {
        (false, false) => errors.push(Error::required(path, "must specify a peer")),
        (true, true) => errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer")),
        _ => {}
    }
    errors
}

fn validate_block(block: &Value, held: &[&str], path: &Path) -> ErrorList {
    let (whole, at) = (meta::text(block, "cidr"), path.child("cidr"));
    if whole.is_empty() {
        return vec![Error::required(&at, "")];
    }
    let mut errors: ErrorList = ip::legacy_cidr(whole, held, &at).into_iter().collect();
    let Some(whole) = ip::parse_sloppy_range(whole) else { return errors };
    for (position, text) in meta::list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("except").index(position);
        errors.extend(ip::legacy_cidr(text, held, &at));
        let Some(except) = ip::parse_sloppy_range(text) else { continue };
        if !whole.contains(&except) || whole.prefix_len() == except.prefix_len() {
            errors.push(Error::invalid(&at, text, "must be a strict subset of `cidr`"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn blocks_good_and_bad() {
        let check = |block: Value, held: &[&str]| told(validate_block(&block, held, &Path::new("b")));
        assert_eq!(check(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}), &[]), [""; 0]);
        assert_eq!(
            check(json!({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8"]}), &[]),
            [
                "b.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "b.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ]
        );
        assert_eq!(check(json!({"cidr": "10.0.0.1/8"}), &[]).len(), 1);
        assert_eq!(check(json!({"cidr": "10.0.0.1/8"}), &["10.0.0.1/8"]), [""; 0]);
    }

    #[test]
    fn peers_and_types() {
        let check = |peer: Value| told(validate_peer(&peer, &[], &Path::new("p")));
        assert_eq!(check(json!({"podSelector": {}})), [""; 0]);
        assert_eq!(
            check(json!({"podSelector": {}, "ipBlock": {"cidr": "::/0"}})),
            ["p: Forbidden: may not specify both ipBlock and another peer"]
        );
        let types = validate_spec(&json!({"policyTypes": ["Ingress", "Egress", "Ingress"]}), &[], &Path::new("spec"));
        assert_eq!(
            told(types),
            [
                "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes"
            ]
        );
    }

    #[test]
    fn types_follow_the_rules() {
        let mut policy = json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}});
        (HOOKS.default)(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
    }
}
