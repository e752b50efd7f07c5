//! What is allowed in a pod and yet most likely a mistake, in upstream's words. The same for templates.

use machinery::field::{Path, quote};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use super::{paths, ports, profiles};
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
    warnings.extend(duplicates(spec, &at));
    for name in BYTES {
        warnings.extend(fraction(&spec["overhead"], name, &at.child("overhead")));
    }
    warnings.extend(profiles::of_pod(pod, path));
    let containers = containers(spec, &at);
    for (container, at) in &containers {
        warnings.extend(profiles::of_container(pod, container, path));
        let resources = at.child("resources");
        let amounts = ["limits", "requests"].map(|kind| (&container["resources"][kind], resources.child(kind)));
        for name in BYTES {
            warnings.extend(amounts.iter().filter_map(|(amounts, at)| fraction(amounts, name, at)));
        }
        warnings.extend(environment(container, &at.child("env")));
    }
    warnings.extend(ports::of(&containers));
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let at = at.child("terminationGracePeriodSeconds");
        warnings.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    warnings.extend(selectors(spec, &at.child("affinity")));
    warnings.extend(addresses(spec, &at));
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
        let at = path.child("topologySpreadConstraints").index(position);
        warnings.extend(old(key).map(|why| format!("{}: {key} is {why}", at.child("topologyKey"))));
        warnings.extend(without_selector(spread, &at));
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
        let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        if claim.is_object() {
            let at = path.index(position).child("ephemeral").child("volumeClaimTemplate").child("spec");
            warnings.extend(claim::spec_warnings(claim, &at));
        }
    }
    warnings
}

const NO_POD: &str = "a null labelSelector results in matching no pod";

fn without_selector(term: &Value, path: &Path) -> Option<String> {
    term["labelSelector"].is_null().then(|| format!("{}: {NO_POD}", path.child("labelSelector")))
}

/// Affinities to pods that are none.
fn selectors(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, at) = (&spec["affinity"][kind], path.child(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (position, term) in meta::list(affinity, required).iter().enumerate() {
            warnings.extend(without_selector(term, &at.child(required).index(position)));
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (position, term) in meta::list(affinity, preferred).iter().enumerate() {
            let at = at.child(preferred).index(position).child("podAffinityTerm");
            warnings.extend(without_selector(&term["podAffinityTerm"], &at));
        }
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
        }
    }
    let secrets = meta::list(spec, "imagePullSecrets").iter().enumerate();
    let nameless = secrets.filter(|(_, secret)| meta::text(secret, "name").is_empty());
    let at = path.child("imagePullSecrets");
    warnings
        .extend(nameless.map(|(position, _)| format!("{}: invalid empty name \"\"", at.index(position).child("name"))));
    warnings
}

/// Resources that are counted in whole bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// Parts of a byte.
fn fraction(amounts: &Value, name: &str, path: &Path) -> Option<String> {
    let amount = Quantity::from_value(amounts.get(name)?).ok()?;
    let shown = amount.is_fractional().then(|| quote(&amount.to_string()))?;
    Some(format!("{}: fractional byte value {shown} is invalid, must be an integer", path.key(name)))
}

/// A variable that is set twice, and not by what it was.
fn environment(container: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (position, variable) in meta::list(container, "env").iter().enumerate() {
        let (name, value) = (meta::text(variable, "name"), meta::text(variable, "value"));
        let builds_on = || {
            let itself = format!("$({name})");
            variable["valueFrom"].is_null() && value != itself && value.contains(&itself)
        };
        if seen.contains(&name) && !builds_on() {
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
                one(json!({"ports": [{"name": "web", "containerPort": 80, "protocol": "TCP", "hostIP": "10.0.0.1"}]})),
                vec![
                    "spec.containers[0].ports[0]: hostIP set without hostPort: {Name:web HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}",
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
