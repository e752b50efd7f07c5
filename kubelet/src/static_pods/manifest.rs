//! A manifest as a pod: decoded strictly, defaulted as the API server would, named and marked as this node's. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use machinery::{
    gvk::Gvk,
    pod_references,
    schema::{self, Decoded},
};

use super::validate;
use crate::pod::spec::{CONFIG_HASH, CONFIG_SEEN, CONFIG_SOURCE};

/// Reads YAML or JSON. `source` is the file's path: with the content and the node it makes the pod's UID.
///
/// # Errors
/// What is wrong with the manifest.
pub(super) fn parse(text: &str, source: &str, node_name: &str) -> Result<Pod, String> {
    let gvk = Gvk { group: String::new(), version: "v1".into(), kind: "Pod".into() };
    let schema = schema::builtin(&gvk).ok_or("the schema has no v1 Pod")?;
    let meta = schema::type_meta_yaml(text.as_bytes()).map_err(|error| error.to_string())?;
    if (meta.api_version.as_str(), meta.kind.as_str()) != ("v1", "Pod") {
        return Err(format!("static pods must be v1 Pod, not {:?} {:?}", meta.api_version, meta.kind));
    }
    let Decoded { mut object, strict, .. } =
        schema::decode_yaml(schema, text.as_bytes()).map_err(|error| error.to_string())?;
    if !strict.is_empty() {
        return Err(format!("strict decoding error: {}", strict.join(", ")));
    }
    schema::default_static(schema, &mut object);
    let mut pod: Pod = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let Some(name) = pod.metadata.name.clone().filter(|name| !name.is_empty()) else {
        return Err("invalid pod: name is needed for the pod".into());
    };
    let uid = pod.metadata.uid.clone().filter(|uid| !uid.is_empty());
    let uid = uid.unwrap_or_else(|| hash(&[text, source, node_name]));
    pod.metadata.name = Some(format!("{name}-{node_name}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_HASH.into(), uid.clone());
    annotations.insert(CONFIG_SOURCE.into(), "file".into());
    annotations.entry(CONFIG_SEEN.into()).or_insert_with(|| "1970-01-01T00:00:00Z".into());
    pod.metadata.uid = Some(uid);
    pod.status = None;
    complete(pod.spec.get_or_insert_default(), node_name);
    let whole = serde_json::to_value(&pod).map_err(|error| error.to_string())?;
    let errors: Vec<String> = validate::all(&whole).iter().map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(format!("invalid pod: [{}]", errors.join(" ")));
    }
    match pod_references::first_kind(&whole)? {
        Some(objects) => Err(format!("static pods may not reference {objects}")),
        None => Ok(pod),
    }
}

/// The defaults that look at more than one field.
fn complete(spec: &mut PodSpec, node_name: &str) {
    spec.node_name = Some(node_name.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    let tolerations = spec.tolerations.get_or_insert_default();
    let always =
        Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Toleration::default() };
    if !tolerations.contains(&always) {
        tolerations.push(always);
    }
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    containers.for_each(complete_container);
}

fn complete_container(container: &mut Container) {
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    container.termination_message_policy.get_or_insert_with(|| "File".into());
    // Limits count as requests where there are none.
    if let Some(resources) = &mut container.resources
        && let Some(limits) = resources.limits.clone()
    {
        let requests = resources.requests.get_or_insert_default();
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// FNV-1a of 128 bits, in hexadecimal: the length of upstream's UIDs of static pods.
fn hash(parts: &[&str]) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: i}]}}";

    #[test]
    fn manifests_become_pods_of_this_node() {
        let pod = parse(MANIFEST, "/etc/pods/web.yaml", "node-1").expect("a pod");
        assert_eq!(pod.metadata.name.as_deref(), Some("web-node-1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(pod.metadata.uid.as_ref().map(String::len), Some(32));
        let spec = pod.spec.as_ref().expect("a spec");
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
        assert_eq!(spec.containers[0].termination_message_path.as_deref(), Some("/dev/termination-log"));
        let again = parse(MANIFEST, "/etc/pods/web.yaml", "node-1").expect("a pod");
        assert_eq!(pod.metadata.uid, again.metadata.uid, "the same manifest is the same pod");
        let changed = parse(&MANIFEST.replace("image: i", "image: j"), "/etc/pods/web.yaml", "node-1").expect("a pod");
        assert_ne!(pod.metadata.uid, changed.metadata.uid);
    }

    /// What is wrong with a pod of this spec; empty where it may run.
    fn of(spec: &str) -> String {
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{{spec}}}}}");
        parse(&text, "f", "n").err().unwrap_or_default()
    }

    #[test]
    fn what_could_not_run_is_told_as_the_api_server_would() {
        let c = "name: c, image: i";
        for (spec, wanted) in [
            (format!("containers: [{{{c}}}, {{{c}}}]"), "spec.containers[1].name: Duplicate value: \"c\""),
            (
                format!("containers: [{{{c}}}], initContainers: [{{{c}}}]"),
                "spec.initContainers[0].name: Duplicate value",
            ),
            ("containers: []".into(), "spec.containers: Required value"),
            ("containers: [{name: C, image: i}]".into(), "spec.containers[0].name: Invalid value: \"C\": a lowercase"),
            ("containers: [{name: c}]".into(), "spec.containers[0].image: Required value"),
            (
                format!("containers: [{{{c}, volumeMounts: [{{name: v, mountPath: /v}}]}}]"),
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
            ),
            (
                format!(
                    "volumes: [{{name: v, emptyDir: {{}}}}], containers: [{{{c}, volumeMounts: [{{name: v, mountPath: /v}}, \
                {{name: v, mountPath: /v}}]}}]"
                ),
                "volumeMounts[1].mountPath: Invalid value: \"/v\": must be unique",
            ),
            (
                format!("containers: [{{{c}, ports: [{{containerPort: 70000}}]}}]"),
                "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                format!("containers: [{{{c}, ports: [{{containerPort: 1, protocol: IP}}]}}]"),
                "ports[0].protocol: Unsupported value: \"IP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ),
            (
                format!(
                    "containers: [{{{c}, ports: [{{containerPort: 1, hostPort: 9}}, {{containerPort: 2, hostPort: 9}}]}}]"
                ),
                "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\"",
            ),
            (format!("restartPolicy: Sometimes, containers: [{{{c}}}]"), "spec.restartPolicy: Unsupported value"),
            (format!("containers: [{{{c}, imagePullPolicy: Now}}]"), "spec.containers[0].imagePullPolicy: Unsupported"),
            (
                format!("containers: [{{{c}, livenessProbe: {{periodSeconds: 1}}}}]"),
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ),
            (
                format!("containers: [{{{c}, resources: {{requests: {{cpu: 2}}, limits: {{cpu: 1}}}}}}]"),
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (format!("containers: [{{{c}, env: [{{name: 'a=b', value: c}}]}}]"), "env[0].name: Invalid value: \"a=b\""),
        ] {
            let found = of(&spec);
            assert!(found.starts_with("invalid pod: [") && found.contains(wanted), "{spec}: {found}");
        }
        assert_eq!(of(&format!("containers: [{{{c}, ports: [{{containerPort: 80, name: http}}]}}]")), "");
    }

    #[test]
    fn ports_of_the_node_are_taken_once_by_what_runs_together() {
        let port = "{containerPort: 1, hostPort: 9}";
        let c = format!("containers: [{{name: c, image: i, ports: [{port}]}}]");
        let one_after_the_other = format!(
            "initContainers: [{{name: i, image: i, ports: [{port}]}}, {{name: j, image: i, ports: [{port}]}}], {c}"
        );
        assert_eq!(of(&one_after_the_other), "");
        let twice = format!("initContainers: [{{name: i, image: i, ports: [{port}, {port}]}}], {c}");
        assert_eq!(of(&twice), "invalid pod: [spec.initContainers[0].ports[1].hostPort: Duplicate value: \"TCP//9\"]");
    }

    #[test]
    fn errors_are_listed_as_go_does() {
        let found = of("containers: [{name: c, image: i, livenessProbe: {exec: {}}}, {name: d}]");
        let wanted =
            "[spec.containers[0].livenessProbe.exec.command: Required value spec.containers[1].image: Required value]";
        assert_eq!(found, format!("invalid pod: {wanted}"));
    }

    #[test]
    fn broken_manifests_are_refused() {
        for text in [
            "not: [yaml",
            "{apiVersion: v1, kind: Service, metadata: {name: x}}",
            "{apiVersion: v1, kind: Pod, metadata: {name: x}}",
            "{apiVersion: v1, kind: Pod, metadata: {}, spec: {containers: [{name: c}]}}",
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, imagge: i}]}}",
        ] {
            assert!(parse(text, "f", "n").is_err(), "{text}");
        }
        let named = MANIFEST.replace("image: i}]", "image: i}], serviceAccountName: a");
        assert_eq!(parse(&named, "f", "n"), Err("static pods may not reference serviceaccounts".to_owned()));
    }
}
