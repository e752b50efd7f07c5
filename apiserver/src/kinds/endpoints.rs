//! Endpoints and EndpointSlices: where a Service's traffic goes (Kubernetes concept: "EndpointSlices").

use machinery::escapes::authority;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names::{self, NameCheck};
use serde_json::Value;

use super::defaults::{each, set, set_absent};
use super::go_form::TEXT;
use super::{Column, Hooks, MetadataRounds, validate, warnings};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", priority: 0, description }
}

pub static ENDPOINTS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    warnings: warnings::endpoints,
    // What was taken once may stay as it is.
    validate_against: |endpoints, old| {
        if old.is_some_and(|old| old["subsets"] == endpoints["subsets"]) {
            return ErrorList::new();
        }
        let subsets = meta::list(endpoints, "subsets").iter().enumerate();
        subsets.flat_map(|(position, subset)| validate_subset(subset, &Path::new("subsets").index(position))).collect()
    },
    default: |endpoints| {
        let Some(fields) = endpoints.as_object_mut() else { return };
        for subset in each(fields, "subsets") {
            each(subset, "ports").for_each(|port| set(port, "protocol", "TCP"));
        }
    },
    creates_on_update: true,
    columns: &[NAME, column("Endpoints", "Addresses and ports."), AGE],
    cells: |endpoints, now| vec![meta::name(endpoints).into(), addresses(endpoints).into(), age(endpoints, now).into()],
    ..Hooks::PLAIN
};

pub static SLICE: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    warnings: warnings::slice,
    validate: validate_slice,
    validate_update: |new, old| {
        let path = Path::new("addressType");
        validate::immutable_as(&TEXT, &new["addressType"], &old["addressType"], &path).into_iter().collect()
    },
    default: |slice| {
        let Some(fields) = slice.as_object_mut() else { return };
        for port in each(fields, "ports") {
            set_absent(port, "protocol", "TCP");
            set_absent(port, "name", "");
        }
    },
    prepare_create: forget_topology,
    // What nobody changed may keep what older servers took.
    prepare_update: |new, old| {
        if new["endpoints"] != old["endpoints"] {
            forget_topology(new);
        }
    },
    has_generation: true,
    columns: &[
        NAME,
        column("AddressType", "Kind of the addresses."),
        column("Ports", "The ports."),
        column("Endpoints", "The addresses."),
        AGE,
    ],
    cells: |slice, now| {
        vec![
            meta::name(slice).into(),
            meta::text(slice, "addressType").into(),
            slice_ports(slice).into(),
            slice_addresses(slice).into(),
            age(slice, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

const SHOWN_MAX: usize = 3;

/// `none` stands for an empty text, whether there is nothing or only what has no text.
fn limited(all: &[String], none: &str) -> String {
    if all.len() > SHOWN_MAX {
        return format!("{} + {} more...", all[..SHOWN_MAX].join(","), all.len() - SHOWN_MAX);
    }
    Some(all.join(",")).filter(|text| !text.is_empty()).unwrap_or_else(|| none.to_owned())
}

fn addresses(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in meta::list(endpoints, "subsets") {
        let ports = meta::list(subset, "ports");
        for address in meta::list(subset, "addresses").iter().filter_map(|address| address["ip"].as_str()) {
            if ports.is_empty() {
                all.push(address.to_owned());
            }
            all.extend(ports.iter().map(|port| authority(address, &port["port"])));
        }
    }
    limited(&all, "<none>")
}

fn slice_ports(slice: &Value) -> String {
    let all: Vec<String> = meta::list(slice, "ports")
        .iter()
        .map(|port| match port["port"].as_i64() {
            Some(number) => number.to_string(),
            None => port["name"].as_str().unwrap_or("*").to_owned(),
        })
        .collect();
    limited(&all, "<unset>")
}

fn slice_addresses(slice: &Value) -> String {
    let endpoints = meta::list(slice, "endpoints").iter();
    let all: Vec<String> = endpoints
        .flat_map(|endpoint| meta::list(endpoint, "addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    limited(&all, "<unset>")
}

fn validate_subset(subset: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (ready, waiting) = (meta::list(subset, "addresses"), meta::list(subset, "notReadyAddresses"));
    if ready.is_empty() && waiting.is_empty() {
        errors.push(Error::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (list, addresses) in [("addresses", ready), ("notReadyAddresses", waiting)] {
        for (position, address) in addresses.iter().enumerate() {
            errors.extend(validate_address(address, &path.child(list).index(position)));
        }
    }
    let ports = meta::list(subset, "ports");
    for (position, port) in ports.iter().enumerate() {
        let at = path.child("ports").index(position);
        let name = meta::text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&at.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(validate::named(name, names::dns_label, &at.child("name")));
        }
        errors.extend(validate::port(&port["port"], &at.child("port")));
        errors.extend(validate::protocol(port, &at));
        errors.extend(validate::app_protocol(port, &at));
    }
    errors
}

fn validate_address(address: &Value, path: &Path) -> ErrorList {
    let ip = meta::text(address, "ip");
    let mut errors: ErrorList = validate::address(ip, &path.child("ip")).into_iter().collect();
    let hostname = meta::text(address, "hostname");
    if !hostname.is_empty() {
        errors.extend(validate::named(hostname, names::dns_label, &path.child("hostname")));
    }
    if let Some(node) = address["nodeName"].as_str() {
        errors.extend(validate::named(node, names::dns_subdomain, &path.child("nodeName")));
    }
    errors.extend(validate::endpoint_address(ip, &path.child("ip")));
    errors
}

/// Of zones, and of nodes.
const HINTS_MAX: usize = 8;
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20000;

/// The node's name and the zone have fields of their own.
fn forget_topology(slice: &mut Value) {
    let Some(fields) = slice.as_object_mut() else { return };
    each(fields, "endpoints").for_each(|endpoint| {
        endpoint.remove("deprecatedTopology");
    });
}

fn validate_slice(slice: &Value) -> ErrorList {
    let kind = meta::text(slice, "addressType");
    let path = Path::new("addressType");
    let kinds = ["FQDN", "IPv4", "IPv6"];
    let mut errors = ErrorList::new();
    if kind.is_empty() {
        errors.push(Error::required(&path, ""));
    } else if !kinds.contains(&kind) {
        errors.push(Error::not_supported(&path, kind, &kinds));
    }
    errors.extend(validate_slice_ports(slice, &Path::new("ports")));
    let (endpoints, path) = (meta::list(slice, "endpoints"), Path::new("endpoints"));
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(Error::too_many(&path, endpoints.len(), ENDPOINTS_MAX));
        return errors;
    }
    for (position, endpoint) in endpoints.iter().enumerate() {
        errors.extend(validate_endpoint(endpoint, kind, &path.index(position)));
    }
    errors
}

fn validate_slice_ports(slice: &Value, path: &Path) -> ErrorList {
    let ports = meta::list(slice, "ports");
    if ports.len() > PORTS_MAX {
        return vec![Error::too_many(path, ports.len(), PORTS_MAX)];
    }
    let mut errors = ErrorList::new();
    let mut known = Vec::new();
    for (position, port) in ports.iter().enumerate() {
        let at = path.index(position);
        let name = meta::text(port, "name");
        if !name.is_empty() {
            errors.extend(validate::named(name, names::dns_label, &at.child("name")));
        }
        if known.contains(&name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        } else {
            known.push(name);
        }
        errors.extend(validate_protocol(meta::text(port, "protocol"), &at.child("protocol")));
        errors.extend(validate::app_protocol(port, &at));
    }
    errors
}

fn validate_protocol(protocol: &str, path: &Path) -> Option<Error> {
    let is_known = validate::PROTOCOLS.contains(&protocol);
    (!is_known).then(|| Error::not_supported(path, protocol, &validate::PROTOCOLS))
}

fn validate_endpoint(endpoint: &Value, kind: &str, path: &Path) -> ErrorList {
    let addresses = meta::list(endpoint, "addresses");
    let at = path.child("addresses");
    let mut errors = ErrorList::new();
    if addresses.is_empty() {
        errors.push(Error::required(&at, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES_MAX {
        errors.push(Error::too_many(&at, addresses.len(), ADDRESSES_MAX));
    }
    for (position, address) in addresses.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let place = at.index(position);
        match kind {
            "IPv4" | "IPv6" => errors.extend(validate_slice_address(address, kind, &at, &place)),
            "FQDN" => errors.extend(validate_domain(address, &place)),
            _ => {}
        }
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        errors.extend(validate::named(node, names::dns_subdomain, &path.child("nodeName")));
    }
    if let Some(hostname) = endpoint["hostname"].as_str() {
        errors.extend(validate::named(hostname, names::dns_label, &path.child("hostname")));
    }
    let (hints, at) = (&endpoint["hints"], path.child("hints"));
    errors.extend(validate_hints(hints, "forZones", names::label_value, &at));
    errors.extend(validate_hints(hints, "forNodes", names::dns_subdomain, &at));
    errors
}

fn validate_hints(hints: &Value, field: &str, check: NameCheck, path: &Path) -> ErrorList {
    let (list, path) = (meta::list(hints, field), path.child(field));
    if list.len() > HINTS_MAX {
        return vec![Error::too_many(&path, list.len(), HINTS_MAX)];
    }
    let mut errors = ErrorList::new();
    let mut known = Vec::new();
    for (position, hint) in list.iter().enumerate() {
        let (name, at) = (meta::text(hint, "name"), path.index(position).child("name"));
        match known.contains(&name) {
            true => errors.push(Error::duplicate(&at, name)),
            false => known.push(name),
        }
        errors.extend(validate::named(name, check, &at));
    }
    errors
}

/// A domain of two labels at least; a dot may end it.
fn validate_domain(name: &str, path: &Path) -> Option<Error> {
    if name.is_empty() {
        return Some(Error::required(path, ""));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns_subdomain(name);
    if !wrong.is_empty() {
        return Some(Error::invalid(path, name, wrong.join(",")));
    }
    if !name.contains('.') {
        return Some(Error::invalid(path, name, "should be a domain with at least two segments separated by dots"));
    }
    name.split('.').find_map(|label| {
        let wrong = names::dns_label(label);
        (!wrong.is_empty()).then(|| Error::invalid(path, label, wrong.join(",")))
    })
}

fn validate_slice_address(address: &str, kind: &str, list: &Path, at: &Path) -> ErrorList {
    if let Some(error) = validate::address(address, at) {
        return vec![error];
    }
    let is_v4 = !address.contains(':');
    let mut errors = ErrorList::new();
    if is_v4 != (kind == "IPv4") {
        errors.push(Error::invalid(list, address, format!("must be an {kind} address")));
    }
    errors.extend(validate::endpoint_address(address, at));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(slice: Value) -> Vec<String> {
        validate_slice(&slice).iter().map(Error::to_string).collect()
    }

    #[test]
    fn addresses_of_either_family_are_shown_with_their_ports() {
        let subset = json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]});
        assert_eq!(addresses(&json!({"subsets": [subset]})), "10.0.0.1:80,[fd00::1]:80");
    }

    #[test]
    fn what_has_no_text_is_shown_as_unset() {
        for (ports, want) in [
            (json!([]), "<unset>"),
            (json!([{"name": ""}]), "<unset>"),
            (json!([{"name": ""}, {"port": 80}, {}]), ",80,*"),
            (json!([{"name": ""}, {"name": ""}, {"name": ""}, {"port": 80}]), ",, + 1 more..."),
        ] {
            assert_eq!(slice_ports(&json!({"ports": ports})), want);
        }
    }

    #[test]
    fn hints_name_each_zone_and_node_once() {
        let slice =
            |hints: Value| json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]});
        let zone = json!({"name": "a"});
        assert_eq!(told(slice(json!({"forZones": [zone], "forNodes": [zone]}))), [""; 0]);
        assert_eq!(
            told(slice(json!({"forZones": [zone, zone]}))),
            ["endpoints[0].hints.forZones[1].name: Duplicate value: \"a\""]
        );
        let many = told(slice(json!({"forNodes": vec![zone; 9]})));
        assert_eq!(many, ["endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items"]);
        assert!(told(slice(json!({"forNodes": [{"name": "A"}]})))[0].contains("RFC 1123 subdomain"));
    }

    #[test]
    fn domains_have_two_labels_at_least() {
        let domain = |name: &str| told(json!({"addressType": "FQDN", "endpoints": [{"addresses": [name]}]}));
        assert_eq!(["a.b", "a.b."].map(domain), [const { Vec::<String>::new() }; 2]);
        let why = "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots";
        assert_eq!(domain("a"), [why]);
        assert_eq!(domain(""), ["endpoints[0].addresses[0]: Required value"]);
    }

    #[test]
    fn a_protocol_is_left_out_or_named() {
        let slice = |port: Value| {
            let mut slice = json!({"addressType": "IPv4", "ports": [port]});
            (SLICE.default)(&mut slice);
            told(slice)
        };
        assert_eq!(slice(json!({"port": 1})), [""; 0]);
        let why = "ports[0].protocol: Unsupported value: \"\": supported values: \"SCTP\", \"TCP\", \"UDP\"";
        assert_eq!(slice(json!({"port": 1, "protocol": ""})), [why]);
    }

    #[test]
    fn topology_goes_unless_nothing_changed() {
        let old = json!({"endpoints": [{"addresses": ["a"], "deprecatedTopology": {"x": "y"}}]});
        let mut same = old.clone();
        (SLICE.prepare_update)(&mut same, &old);
        assert_eq!(same, old);
        let mut new = old.clone();
        new["endpoints"][0]["addresses"] = json!(["b"]);
        (SLICE.prepare_update)(&mut new, &old);
        assert_eq!(new, json!({"endpoints": [{"addresses": ["b"]}]}));
    }
}
