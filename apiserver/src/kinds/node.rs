//! Nodes (Kubernetes concept: "Nodes").

use std::cmp::Ordering;

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::defaults::round_amounts;
use super::{Column, Hooks, MetadataRounds, ip, resource_names, validate};
use crate::rest::table::{AGE, NAME, age};

const fn column(name: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind: "string", priority, description }
}

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    warnings: super::warnings::node,
    // What was removed is kept where it was, and nowhere else.
    prepare_create: |node| {
        for (part, field) in [("spec", "configSource"), ("status", "config")] {
            node[part].as_object_mut().map(|fields| fields.remove(field));
        }
    },
    // On an update too, but where it was before.
    prepare_update: |new, old| drop_unless_kept(new, old, "spec", "configSource"),
    prepare_status: |new, old| drop_unless_kept(new, old, "status", "config"),
    // The old single CIDR and the list are kept in step, and all of a node can be had where it says nothing else.
    default: |node| {
        let status = &node["status"];
        if status["allocatable"].is_null() && status["capacity"].is_object() {
            node["status"]["allocatable"] = status["capacity"].clone();
        }
        if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut) {
            ["capacity", "allocatable"].iter().for_each(|amounts| round_amounts(status, amounts));
        }
        let cidr = meta::text(node, "spec.podCIDR").to_owned();
        let listed = meta::list(node, "spec.podCIDRs").to_vec();
        if !cidr.is_empty() && listed.first().is_none_or(|first| *first != cidr) {
            node["spec"]["podCIDRs"] = json!([cidr]);
        } else if let (true, Some(first)) = (cidr.is_empty(), listed.first()) {
            node["spec"]["podCIDR"] = first.clone();
        }
    },
    validate: validate_node,
    validate_update,
    // Upstream judges the whole node again.
    validate_status: validate_update,
    fields: &[("spec.unschedulable", "spec.unschedulable")],
    columns: &[
        NAME,
        column("Status", 0, "The status of the node"),
        column("Roles", 0, "The roles of the node"),
        AGE,
        column("Version", 0, "Kubelet Version reported by the node."),
        column("Internal-IP", 1, "Address of the node inside the cluster."),
        column("External-IP", 1, "Address of the node outside the cluster."),
        column("OS-Image", 1, "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy))."),
        column("Kernel-Version", 1, "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64)."),
        column(
            "Container-Runtime",
            1,
            "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
        ),
    ],
    cells,
    ..Hooks::PLAIN
};

fn drop_unless_kept(new: &mut Value, old: &Value, part: &str, field: &str) {
    if old[part][field].is_null() {
        new[part].as_object_mut().map(|fields| fields.remove(field));
    }
}

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

fn cells(node: &Value, now: i64) -> Vec<Value> {
    let address = |kind: &str| {
        let found = meta::list(node, "status.addresses").iter().find(|address| address["type"] == kind);
        Value::from(found.and_then(|address| address["address"].as_str()).unwrap_or("<none>"))
    };
    let info = |field: &str| {
        let text = meta::text(&node["status"]["nodeInfo"], field);
        if text.is_empty() { "<unknown>" } else { text }
    };
    let kernel = match meta::text(node, "status.nodeInfo.architecture") {
        "" => info("kernelVersion").to_owned(),
        architecture => format!("{} ({architecture})", info("kernelVersion")),
    };
    vec![
        meta::name(node).into(),
        status(node).into(),
        roles(node).into(),
        age(node, now).into(),
        meta::text(node, "status.nodeInfo.kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage").into(),
        kernel.into(),
        info("containerRuntimeVersion").into(),
    ]
}

fn status(node: &Value) -> String {
    let ready = meta::list(node, "status.conditions").iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready.and_then(|condition| condition["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if meta::is_true(node, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let roles: Vec<&str> = meta::map(node, "metadata.labels")
        .iter()
        .filter_map(|(label, value)| match label.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => Some(role),
            _ if label == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
            _ => None,
        })
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn validate_node(node: &Value) -> ErrorList {
    // Upstream looks for the taints below the metadata.
    let mut errors = validate_taints(node, &validate::path(&["metadata", "taints"]));
    errors.extend(validate_resources(node));
    errors.extend(swap(node));
    errors.extend(declared_features(node));
    let cidrs: Vec<&str> = meta::list(node, "spec.podCIDRs").iter().filter_map(Value::as_str).collect();
    let path = validate::path(&["spec", "podCIDRs"]);
    for (position, cidr) in cidrs.iter().enumerate() {
        errors.extend(ip::legacy_cidr(cidr, &[], &path.index(position)));
    }
    if let Some((place, cidr)) =
        cidrs.iter().enumerate().find(|(_, cidr)| cidrs.len() > 1 && ip::parse_sloppy_range(cidr).is_none())
    {
        let why = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{place}]: <nil> (invalid CIDR address: {cidr})"
        );
        errors.push(Error::internal(&path, why));
        errors.push(Error::invalid(&path, json!(cidrs), "may specify no more than one CIDR for each IP family"));
    } else if cidrs.len() > 2 || (cidrs.len() == 2 && ip::is_one_family(&cidrs)) {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(Error::invalid(&path, json!(cidrs), why));
    }
    errors
}

fn validate_taints(node: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = Vec::new();
    for (position, taint) in meta::list(node, "spec.taints").iter().enumerate() {
        let at = path.index(position);
        let text = |field: &str| meta::text(taint, field);
        let (key, value, effect) = (text("key"), text("value"), text("effect"));
        errors.extend(validate::named(key, names::qualified_name, &at.child("key")));
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&at.child("value"), value, wrong.join(";")));
        }
        if effect.is_empty() {
            errors.push(Error::required(&at.child("effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(Error::not_supported(&at.child("effect"), effect, &EFFECTS));
        }
        if known.contains(&(key, effect)) {
            let text = |text: &str| quote(text);
            let (key, value, effect) = (text(key), text(value), text(effect));
            let shown =
                format!("{{\"Key\":{key},\"Value\":{value},\"Effect\":{effect},\"TimeAdded\":{}}}", taint["timeAdded"]);
            let mut error = Error::duplicate(&at, taint.clone()).showing(shown);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        known.push((key, effect));
    }
    errors
}

fn validate_resources(node: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["capacity", "allocatable"] {
        let path = validate::path(&["status", list]);
        for (name, amount) in meta::map(&node["status"], list) {
            errors.extend(resource_names::amount(name, amount, &path.child(name)));
        }
    }
    errors
}

/// Upstream looks for it below the metadata, too.
fn swap(node: &Value) -> Option<Error> {
    let capacity = meta::at(node, "status.nodeInfo.swap.capacity").as_i64().filter(|capacity| *capacity <= 0)?;
    let path = validate::path(&["metadata", "nodeSwapStatus", "capacity"]);
    Some(Error::invalid(&path, capacity, "must be greater than zero"))
}

/// Names in order, each once.
fn declared_features(node: &Value) -> ErrorList {
    let path = validate::path(&["status", "declaredFeatures"]);
    let features: Vec<&str> = meta::list(node, "status.declaredFeatures").iter().filter_map(Value::as_str).collect();
    let mut errors = ErrorList::new();
    for (position, feature) in features.iter().enumerate() {
        if let Some(why) = wrong_feature_name(feature) {
            errors.push(Error::invalid(&path.index(position), *feature, why));
        }
        let Some(next) = features.get(position + 1) else { continue };
        let at = path.index(position + 1);
        match feature.cmp(next) {
            Ordering::Less => {}
            Ordering::Equal => errors.push(Error::duplicate(&at, *next)),
            Ordering::Greater => errors.push(Error::invalid(&at, *next, "list must be sorted alphabetically")),
        }
    }
    errors
}

fn wrong_feature_name(name: &str) -> Option<String> {
    const LENGTH_MAX: usize = 253;
    let shown = quote(name);
    if name.len() > LENGTH_MAX {
        return Some(format!("invalid feature name {shown}: must be no more than {LENGTH_MAX} characters"));
    }
    let is_segment = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphabetic()) && segment.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let is_good = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(is_segment);
    (!is_good).then(|| {
        format!(
            "invalid feature name {shown}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
        )
    })
}

/// Addresses of pods and the provider's name stay once they are set.
fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("spec");
    // Upstream judges some of this twice.
    let mut errors = validate_resources(new);
    errors.extend(declared_features(new));
    let addresses = meta::list(new, "status.addresses");
    for (position, address) in addresses.iter().enumerate().filter(|(at, one)| addresses[..*at].contains(one)) {
        let at = validate::path(&["status", "addresses"]).index(position);
        let part = |field: &str| quote(meta::text(address, field));
        let shown = format!("{{\"Type\":{},\"Address\":{}}}", part("type"), part("address"));
        errors.push(Error::duplicate(&at, address.clone()).showing(shown));
    }
    let (before, now) = (meta::list(old, "spec.podCIDRs"), meta::list(new, "spec.podCIDRs"));
    let changed = match before.len() == now.len() {
        true => before.iter().zip(now).filter(|(before, now)| before != now).count(),
        false => usize::from(!before.is_empty()),
    };
    for _ in 0..changed {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("podCIDRs"), why));
    }
    errors.extend(provider(new, old, &path));
    errors.extend(validate_taints(new, &validate::path(&["metadata", "taints"])));
    if meta::text(new, "spec.externalID") != meta::text(old, "spec.externalID") {
        errors.push(Error::forbidden(&path.child("externalID"), "may not be updated"));
    }
    errors
}

fn provider(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let provider = meta::text(old, "spec.providerID");
    let why = "node updates may not change providerID except from \"\" to valid";
    (!provider.is_empty() && meta::text(new, "spec.providerID") != provider)
        .then(|| Error::forbidden(&path.child("providerID"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(new: Value, old: Value) -> Vec<String> {
        validate_update(&new, &old).iter().map(Error::to_string).collect()
    }

    #[test]
    fn features_are_named_in_order() {
        let told = |features: Value| -> Vec<String> {
            let node = json!({"status": {"declaredFeatures": features}});
            declared_features(&node).iter().map(Error::to_string).collect()
        };
        assert_eq!(told(json!(["A", "A/b", "Bc1/D"])), [""; 0]);
        assert_eq!(
            told(json!(["B", "A", "A"])),
            [
                "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                "status.declaredFeatures[2]: Duplicate value: \"A\"",
            ]
        );
        for wrong in ["a", "", "A/", "A/1", "A b", &"A".repeat(254)] {
            assert_eq!(told(json!([wrong])).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_kernel_is_shown_with_its_architecture() {
        let kernel = |info: Value| cells(&json!({"status": {"nodeInfo": info}}), 0).swap_remove(8);
        assert_eq!(kernel(json!({"kernelVersion": "6.1", "architecture": "arm64"})), "6.1 (arm64)");
        assert_eq!(kernel(json!({"kernelVersion": "6.1", "architecture": ""})), "6.1");
        assert_eq!(kernel(json!({"architecture": "arm64"})), "<unknown> (arm64)");
    }

    #[test]
    fn swap_is_more_than_nothing() {
        let told = |capacity: i64| swap(&json!({"status": {"nodeInfo": {"swap": {"capacity": capacity}}}}));
        assert!(told(1).is_none());
        let why = "metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero";
        assert_eq!(told(0).map(|error| error.to_string()).as_deref(), Some(why));
    }

    #[test]
    fn what_stays_once_it_is_set() {
        let node = |spec: Value| json!({"spec": spec});
        assert_eq!(told(node(json!({"podCIDRs": ["10.0.0.0/24"], "providerID": "x"})), node(json!({}))), [""; 0]);
        let old = json!({"podCIDRs": ["10.0.0.0/24"], "providerID": "x"});
        assert_eq!(
            told(node(json!({"podCIDRs": ["10.0.1.0/24"], "providerID": "y", "externalID": "z"})), node(old)),
            [
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
                "spec.externalID: Forbidden: may not be updated",
            ]
        );
    }

    #[test]
    fn what_was_removed_stays_where_it_was() {
        let old = json!({"spec": {}, "status": {"config": {"error": "x"}}});
        let mut new = json!({"spec": {"configSource": {}}, "status": {"config": {"error": "y"}}});
        (HOOKS.prepare_update)(&mut new, &old);
        (HOOKS.prepare_status)(&mut new, &old);
        assert_eq!(new, json!({"spec": {}, "status": {"config": {"error": "y"}}}));
    }

    #[test]
    fn what_is_left_open_follows_from_the_rest() {
        let mut node = json!({
            "spec": {"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.1.0.0/24"]}, "status": {"capacity": {"cpu": "4"}},
        });
        (HOOKS.default)(&mut node);
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.2.0.0/24"]));
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "4"}));
    }

    #[test]
    fn a_status_has_good_amounts_and_each_address_once() {
        let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
        let status = json!({"capacity": {"cpu": "-1"}, "addresses": [address, address]});
        let told = told(json!({"status": status}), json!({}));
        assert!(
            told[0].starts_with("status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0"),
            "{told:?}"
        );
        assert_eq!(told[1], "status.addresses[1]: Duplicate value: {\"Type\":\"InternalIP\",\"Address\":\"10.0.0.1\"}");
    }
}
