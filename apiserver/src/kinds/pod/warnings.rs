//! What is allowed in a pod and yet most likely a mistake, in upstream's words. The same for templates.

use std::collections::HashMap;

use machinery::field::{Path, quote};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::paths;
use crate::kinds::ip::address_warning;
use crate::kinds::node_labels;
use crate::kinds::volume::claim;

/// `pod` has `metadata` and `spec`; `path` is that of the template, the root for a pod.
pub fn of(pod: &Value, path: &Path) -> Vec<String> {
    let (spec, at) = (&pod["spec"], path.child("spec"));
    let mut warnings = old_labels(spec, &at);
    warnings.extend(annotations(pod, &path.child("metadata").child("annotations")));
    warnings.extend(volumes(spec, &at.child("volumes")));
    warnings.extend(paths::warnings(spec));
    warnings.extend(selectors(spec, &at));
    warnings.extend(duplicates(spec, &at));
    let containers = containers(spec, &at);
    for (container, path) in &containers {
        for kind in ["limits", "requests"] {
            let amounts = &container["resources"][kind];
            warnings.extend(fractions(amounts, &path.child("resources").child(kind)));
        }
        warnings.extend(environment(container, &path.child("env")));
    }
    warnings.extend(fractions(&spec["overhead"], &at.child("overhead")));
    warnings.extend(profiles(pod, &containers, path));
    warnings.extend(ports(&containers));
    warnings.extend(addresses(spec, &at));
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let at = at.child("terminationGracePeriodSeconds");
        warnings.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    warnings
}

/// Labels of nodes that have newer names, and values that no label has.
fn old_labels(spec: &Value, path: &Path) -> Vec<String> {
    let old = |label: &str| node_labels::deprecation(label);
    let at = path.child("nodeSelector");
    let chosen = meta::map(spec, "nodeSelector").keys();
    let mut warnings: Vec<String> =
        chosen.filter_map(|label| Some(format!("{}: {}", at.key(label), old(label)?))).collect();
    let (affinity, at) = (&spec["affinity"]["nodeAffinity"], path.child("affinity").child("nodeAffinity"));
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = at.child(required).child("nodeSelectorTerms");
    for (position, term) in meta::list(&affinity[required], "nodeSelectorTerms").iter().enumerate() {
        warnings.extend(node_labels::expression_warnings(term, &terms.index(position)));
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (position, weighted) in meta::list(affinity, preferred).iter().enumerate() {
        let at = at.child(preferred).index(position).child("preference");
        warnings.extend(node_labels::expression_warnings(&weighted["preference"], &at));
        warnings.extend(odd_values(&weighted["preference"], &at));
    }
    for (position, spread) in meta::list(spec, "topologySpreadConstraints").iter().enumerate() {
        let key = meta::text(spread, "topologyKey");
        let at = path.child("topologySpreadConstraints").index(position).child("topologyKey");
        warnings.extend(old(key).map(|why| format!("{at}: {key} is {why}")));
    }
    warnings
}

fn odd_values(term: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (position, expression) in meta::list(term, "matchExpressions").iter().enumerate() {
        let at = path.child("matchExpressions").index(position).child("values");
        for (index, value) in meta::list(expression, "values").iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::label_value(value).into_iter();
            warnings.extend(wrong.map(|why| format!("{}: {value} is invalid, {why}", at.index(index))));
        }
    }
    warnings
}

/// Annotations that once stood for profiles of a security context.
fn profiles(pod: &Value, containers: &[(&Value, Path)], path: &Path) -> Vec<String> {
    const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
    let at = path.child("metadata").child("annotations");
    let told = |name: &str, why: &str| {
        let given = meta::annotation(pod, name);
        given.map(|_| format!("{}: {why}", at.key(name)))
    };
    let has = |of: &Value, profile: &str| of["securityContext"][profile].is_object();
    let mut warnings = Vec::new();
    if !has(&pod["spec"], "seccompProfile") {
        warnings.extend(told("seccomp.security.alpha.kubernetes.io/pod", SECCOMP));
    }
    // Of a pod itself the annotation is turned into the field.
    let is_template = path.to_string() != Path::root().to_string();
    for (container, _) in containers {
        let name = meta::text(container, "name");
        if !has(container, "seccompProfile") {
            warnings.extend(told(&format!("container.seccomp.security.alpha.kubernetes.io/{name}"), SECCOMP));
        }
        if is_template && !has(container, "appArmorProfile") && !has(&pod["spec"], "appArmorProfile") {
            warnings.extend(told(&format!("container.apparmor.security.beta.kubernetes.io/{name}"), APP_ARMOR));
        }
    }
    warnings
}

fn addresses(spec: &Value, path: &Path) -> Vec<String> {
    let (servers, aliases) = (path.child("dnsConfig").child("nameservers"), path.child("hostAliases"));
    let servers = meta::list(spec, "dnsConfig.nameservers").iter().enumerate().filter_map(|(position, server)| {
        address_warning(server.as_str().unwrap_or_default(), &servers.index(position))
    });
    let aliases = meta::list(spec, "hostAliases")
        .iter()
        .enumerate()
        .filter_map(|(position, alias)| address_warning(meta::text(alias, "ip"), &aliases.index(position).child("ip")));
    servers.chain(aliases).collect()
}

fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let each = lists.into_iter().flat_map(|list| {
        let containers = meta::list(spec, list).iter().enumerate();
        containers.map(move |(position, container)| (container, path.child(list).index(position)))
    });
    each.collect()
}

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

fn annotations(pod: &Value, path: &Path) -> Vec<String> {
    let given = ANNOTATIONS.iter().filter(|(name, _)| meta::annotation(pod, name).is_some());
    given.map(|(name, why)| format!("{}: {why}", path.key(name))).collect()
}

const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn volumes(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (position, volume) in meta::list(spec, "volumes").iter().enumerate() {
        for (source, why) in VOLUMES.iter().filter(|(source, _)| volume[*source].is_object()) {
            // Upstream names this one as its own form does.
            let shown = if *source == "storageos" { "storageOS" } else { source };
            warnings.push(format!("{}: {why}", path.index(position).child(shown)));
        }
        let at = path.index(position).child("ephemeral").child("volumeClaimTemplate").child("spec");
        warnings.extend(claim::spec_warnings(&volume["ephemeral"]["volumeClaimTemplate"]["spec"], &at));
    }
    warnings
}

const NO_POD: &str = "a null labelSelector results in matching no pod";

fn selectors(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut judge = |list: &Value, path: &Path, within: &[&str]| {
        for (position, term) in list.as_array().into_iter().flatten().enumerate() {
            let (term, at) =
                within.iter().fold((term, path.index(position)), |(term, path), name| (&term[*name], path.child(name)));
            if term["labelSelector"].is_null() {
                warnings.push(format!("{}: {NO_POD}", at.child("labelSelector")));
            }
        }
    };
    judge(&spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"), &[]);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, at) = (&spec["affinity"][kind], path.child("affinity").child(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        judge(&affinity[required], &at.child(required), &[]);
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        judge(&affinity[preferred], &at.child(preferred), &["podAffinityTerm"]);
    }
    warnings
}

fn duplicates(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen: Vec<&str> = Vec::new();
        for (position, item) in meta::list(spec, list).iter().enumerate() {
            let (text, at) = (meta::text(item, field), path.child(list).index(position).child(field));
            if seen.contains(&text) {
                warnings.push(format!("{at}: duplicate {field} {}", quote(text)));
            }
            seen.push(text);
            if list == "imagePullSecrets" && text.is_empty() {
                warnings.push(format!("{at}: invalid empty name \"\""));
            }
        }
    }
    warnings
}

/// Parts of bytes.
fn fractions(amounts: &Value, path: &Path) -> Vec<String> {
    let broken = ["memory", "ephemeral-storage"].into_iter().filter_map(|name| {
        let amount = Quantity::from_value(amounts.get(name)?).ok()?;
        (amount.milli_value() % 1000 != 0).then(|| {
            let shown = quote(&amount.to_string());
            format!("{}: fractional byte value {shown} is invalid, must be an integer", path.key(name))
        })
    });
    broken.collect()
}

/// A variable that is set twice, and not by what it was.
fn environment(container: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (position, variable) in meta::list(container, "env").iter().enumerate() {
        let (name, value) = (meta::text(variable, "name"), meta::text(variable, "value"));
        let itself = format!("$({name})");
        let builds_on = variable["valueFrom"].is_null() && value != itself && value.contains(&itself);
        if seen.contains(&name) && !builds_on {
            let at = path.index(position);
            warnings.push(format!(
                "{at}: hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            ));
        }
        seen.push(name);
    }
    warnings
}

fn ports(containers: &[(&Value, Path)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut by_number: HashMap<(i64, &str), Vec<(&Value, Path)>> = HashMap::new();
    let mut by_name: HashMap<&str, Path> = HashMap::new();
    let ports = containers.iter().flat_map(|(container, path)| {
        let ports = meta::list(container, "ports").iter().enumerate();
        ports.map(move |(position, port)| (port, path.child("ports").index(position)))
    });
    for (port, at) in ports {
        let key = (port["containerPort"].as_i64().unwrap_or(0), meta::text(port, "protocol"));
        let others = by_number.entry(key).or_default();
        warnings.extend(
            others.iter().filter_map(|(other, other_at)| Some(format!("{at}: {} {other_at}", clash(port, other)?))),
        );
        others.push((port, at.clone()));
        let name = meta::text(port, "name");
        match by_name.get(name) {
            _ if name.is_empty() => {}
            Some(other) => warnings.push(format!(
                "{at}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                quote(name)
            )),
            None => {
                by_name.insert(name, at);
            }
        }
    }
    warnings
}

/// How two definitions of one port are at odds.
fn clash(port: &Value, other: &Value) -> Option<&'static str> {
    let host = |port: &Value| port["hostPort"].as_i64().unwrap_or(0);
    let (address, other_address) = (meta::text(port, "hostIP"), meta::text(other, "hostIP"));
    if address == other_address && host(port) == host(other) {
        Some("duplicate port definition with")
    } else if host(port) == 0 || host(other) == 0 {
        Some("overlapping port definition with")
    } else if host(port) == host(other) && address.is_empty() != other_address.is_empty() {
        Some("dangerously ambiguous port definition with")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: Value) -> Vec<String> {
        of(&json!({"metadata": {}, "spec": spec}), &Path::root())
    }

    #[test]
    fn likely_mistakes_are_told() {
        let one = |container: Value| json!({"containers": [container]});
        for (spec, want) in [
            (one(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]})), vec![]),
            (
                one(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})),
                vec![
                    "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                ],
            ),
            (
                one(
                    json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 80, "hostPort": 1, "name": "a"}]}),
                ),
                vec![
                    "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
                    "spec.containers[0].ports[1]: duplicate port name \"a\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
                ],
            ),
            (
                one(json!({"resources": {"limits": {"memory": "100m"}}})),
                vec![
                    "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                ],
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "zone"}]}),
                vec![
                    "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                ],
            ),
            (
                json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
                vec!["spec.imagePullSecrets[1].name: duplicate name \"a\""],
            ),
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "hostAliases": [{"ip": "::FFFF:1.2.3.4"}]}),
                vec![
                    "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                    "spec.hostAliases[0].ip: non-standard IP address \"::FFFF:1.2.3.4\" is invalid: use \"1.2.3.4\"",
                ],
            ),
            (
                json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"preference": {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "values": ["a b"]}]}}]}}}),
                vec![
                    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
                    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: a b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                ],
            ),
            (
                json!({"volumes": [{"rbd": {}}]}),
                vec!["spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"],
            ),
        ] {
            assert_eq!(told(spec.clone()), want, "{spec}");
        }
    }
}
