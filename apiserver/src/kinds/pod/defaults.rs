//! What a pod's spec means where it says nothing (upstream's `SetDefaults_PodSpec` and kin).

use serde_json::{Map, Value, json};

use super::image::is_latest;
use super::together;
use crate::kinds::defaults::{each, round_amounts, round_resources, round_told, set, set_absent, set_number, within};
use crate::kinds::volume::{claim, defaults as sources};

type Fields = Map<String, Value>;

/// A pod itself has defaults that a template has not: a template says what was asked for.
pub fn pod(spec: &mut Fields) {
    self::spec(spec);
    set(spec, "enableServiceLinks", true);
    let on_host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            requests(container);
            if on_host {
                host_ports(container);
            }
        }
    }
    together::default(spec);
    // A time below zero is from older days, and means the shortest.
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".into(), 1.into());
    }
}

pub fn status(status: &mut Fields) {
    round_told(status);
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        each(status, list).for_each(round_told);
    }
}

/// The spec of a pod or of a template.
pub fn spec(spec: &mut Fields) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "schedulerName", "default-scheduler");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "securityContext", json!({}));
    service_account(spec);
    round_amounts(spec, "overhead");
    round_resources(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(container);
    }
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
}

/// The field's old name is kept in step with the new one.
fn service_account(spec: &mut Fields) {
    let name = ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|field| spec.get(*field)?.as_str())
        .find(|name| !name.is_empty())
        .map(str::to_owned);
    if let Some(name) = name {
        spec.insert("serviceAccountName".into(), name.clone().into());
        spec.insert("serviceAccount".into(), name.into());
    }
}

fn container(container: &mut Fields) {
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    round_resources(container);
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", policy);
    for port in each(container, "ports") {
        set(port, "protocol", "TCP");
    }
    for env in each(container, "env") {
        let Some(from) = within(env, "valueFrom") else { continue };
        if let Some(field) = within(from, "fieldRef") {
            set(field, "apiVersion", "v1");
        }
        if let Some(key) = within(from, "fileKeyRef") {
            set_absent(key, "optional", false);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = within(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = within(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = within(lifecycle, hook).and_then(|hook| within(hook, "httpGet")) {
                http_get(get);
            }
        }
    }
}

/// A limit without a request is also the request.
fn requests(container: &mut Fields) {
    let Some(resources) = within(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

/// On the node's network a port is the node's.
fn host_ports(container: &mut Fields) {
    for port in each(container, "ports") {
        let number = port.get("containerPort").and_then(Value::as_i64).unwrap_or(0);
        set_number(port, "hostPort", number);
    }
}

fn probe(probe: &mut Fields) {
    set_number(probe, "timeoutSeconds", 1);
    set_number(probe, "periodSeconds", 10);
    set_number(probe, "successThreshold", 1);
    set_number(probe, "failureThreshold", 3);
    if let Some(get) = within(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = within(probe, "grpc") {
        set_absent(grpc, "service", "");
    }
}

fn http_get(get: &mut Fields) {
    set(get, "path", "/");
    set(get, "scheme", "HTTP");
}

const MODE: i64 = 0o644;

fn volume(volume: &mut Fields) {
    let named_sources = volume.iter().any(|(name, value)| name != "name" && !value.is_null());
    if !named_sources {
        volume.insert("emptyDir".into(), json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = within(volume, name) {
            set(source, "defaultMode", MODE);
            for item in each(source, "items") {
                downward_item(item);
            }
        }
    }
    sources::source(volume);
    if let Some(image) = within(volume, "image") {
        let reference = image.get("reference").and_then(Value::as_str).unwrap_or_default();
        let policy = if is_latest(reference) { "Always" } else { "IfNotPresent" };
        set(image, "pullPolicy", policy);
    }
    if let Some(template) = within(volume, "ephemeral").and_then(|source| within(source, "volumeClaimTemplate"))
        && let Some(spec) = template.entry("spec").or_insert_with(|| json!({})).as_object_mut()
    {
        claim::default_spec(spec);
    }
    if let Some(projected) = within(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = within(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = within(source, "downwardAPI") {
                each(downward, "items").for_each(downward_item);
            }
        }
    }
}

fn downward_item(item: &mut Fields) {
    if let Some(field) = within(item, "fieldRef") {
        set(field, "apiVersion", "v1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_idempotent() {
        let mut once = json!({"containers": [{"image": "a", "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "x"}]});
        pod(once.as_object_mut().unwrap());
        let mut twice = once.clone();
        pod(twice.as_object_mut().unwrap());
        assert_eq!(once, twice);
        assert_eq!(once["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(once["volumes"][0]["emptyDir"], json!({}));
    }

    #[test]
    fn what_a_status_tells_of_resources_is_rounded() {
        let told =
            |amount: &str| json!({"allocatedResources": {"cpu": amount}, "resources": {"limits": {"cpu": amount}}});
        let status = |amount: &str| {
            let mut status = told(amount);
            for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
                status[list] = json!([told(amount)]);
            }
            status
        };
        let mut fine = status("100u");
        super::status(fine.as_object_mut().unwrap());
        assert_eq!(fine, status("1m"));
    }

    /// Upstream's `SetDefaults_Pod` is for pods alone.
    #[test]
    fn a_template_keeps_what_was_asked_for() {
        let mut template = json!({"hostNetwork": true, "containers": [{"image": "a", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}}]});
        spec(template.as_object_mut().unwrap());
        let container = &template["containers"][0];
        assert_eq!(container["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(container["ports"][0], json!({"containerPort": 80, "protocol": "TCP"}));
        assert_eq!(template["enableServiceLinks"], Value::Null);
        pod(template.as_object_mut().unwrap());
        assert_eq!(template["containers"][0]["ports"][0]["hostPort"], 80);
    }
}
