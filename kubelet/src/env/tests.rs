//! Environments as tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Pod, Secret, Service},
};
use serde_json::{Value, json};

use super::{Inputs, Sources, downward, services, variables};
use crate::pod::configs::{NodeFacts, tests::facts};

/// ConfigMaps and Secrets by name, of any namespace.
#[derive(Default)]
pub(crate) struct FakeSources {
    pub(crate) config_maps: HashMap<String, Arc<ConfigMap>>,
    pub(crate) secrets: HashMap<String, Arc<Secret>>,
}

impl FakeSources {
    pub(crate) fn with(data: &[(&str, &str)]) -> Self {
        let pairs = || data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let map = ConfigMap { data: Some(pairs().collect()), ..ConfigMap::default() };
        let bytes = pairs().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect();
        let secret = Secret { data: Some(bytes), ..Secret::default() };
        Self {
            config_maps: [("cm".to_owned(), Arc::new(map))].into(),
            secrets: [("sec".to_owned(), Arc::new(secret))].into(),
        }
    }
}

impl Sources for FakeSources {
    fn config_map(&self, _: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        Ok(self.config_maps.get(name).cloned())
    }

    fn secret(&self, _: &str, name: &str) -> Result<Option<Arc<Secret>>, String> {
        Ok(self.secrets.get(name).cloned())
    }
}

fn pod(container: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "say \"hi\""},
            "annotations": {"mykey": "value"}},
        "spec": {"serviceAccountName": "sa", "enableServiceLinks": false, "containers": [container]}
    }))
    .expect("a pod")
}

fn env(container: Value) -> Result<BTreeMap<String, String>, String> {
    let pod = pod(container);
    let facts: NodeFacts = facts();
    let container = &pod.spec.as_ref().expect("a spec").containers[0];
    let sources = FakeSources::with(&[("key", "value"), ("other", "more")]);
    let read_file = |volume: &str, path: &str| match (volume, path) {
        ("config", "env") => Ok("COLOUR='blue'\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let inputs = Inputs {
        pod: &pod,
        container,
        pod_ips: &["10.0.0.2".into()],
        services: &[],
        sources: &sources,
        facts: &facts,
        read_file: &read_file,
    };
    variables(&inputs).map(|list| list.into_iter().collect())
}

#[test]
fn values_compose_and_override() {
    let found = env(json!({"name": "c",
    "envFrom": [{"prefix": "p-", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "sec"}},
        {"configMapRef": {"name": "none", "optional": true}}],
    "env": [
        {"name": "FOO", "value": "foo"},
        {"name": "BAR", "value": "$(FOO)-$(p-key)-$(NONE)-$$(FOO)"},
        {"name": "key", "value": "own"},
        {"name": "EMPTY"},
        {"name": "OPTIONAL", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "none", "optional": true}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "other"}}},
    ]}))
    .expect("an environment");
    let wanted = [
        ("BAR", "foo-value-$(NONE)-$(FOO)"),
        ("EMPTY", ""),
        ("FOO", "foo"),
        ("SECRET", "more"),
        ("key", "own"),
        ("other", "more"),
        ("p-key", "value"),
        ("p-other", "more"),
    ];
    assert_eq!(found, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#[test]
fn what_is_missing_is_named() {
    for (source, wanted) in [
        (json!({"configMapKeyRef": {"name": "none", "key": "k"}}), "configmap \"none\" not found"),
        (json!({"configMapKeyRef": {"name": "cm", "key": "k"}}), "couldn't find key k in ConfigMap ns/cm"),
        (json!({"secretKeyRef": {"name": "none", "key": "k"}}), "secret \"none\" not found"),
        (json!({"secretKeyRef": {"name": "sec", "key": "k"}}), "couldn't find key k in Secret ns/sec"),
        (json!({"fieldRef": {"fieldPath": "spec.nothing"}}), "unsupported fieldPath: spec.nothing"),
    ] {
        let found = env(json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]}));
        assert_eq!(found, Err(wanted.to_owned()));
    }
}

#[test]
fn fields_are_read() {
    let pod = pod(json!({"name": "c"}));
    let ips = ["10.0.0.2".to_owned(), "fd00::2".to_owned()];
    for (path, wanted) in [
        ("metadata.name", "p"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels", "a=\"say \\\"hi\\\"\"\nb=\"2\""),
        ("metadata.annotations['mykey']", "value"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "sa"),
        ("status.hostIP", "192.0.2.1"),
        ("status.podIP", "10.0.0.2"),
        ("status.podIPs", "10.0.0.2,fd00::2"),
    ] {
        assert_eq!(downward::field(path, &pod, &ips, &facts()).as_deref(), Ok(wanted), "{path}");
    }
}

#[test]
fn resources_round_up_and_fall_back_to_the_node() {
    let pod = pod(json!({"name": "c", "resources": {
        "limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}}));
    for (resource, divisor, wanted) in [
        ("limits.cpu", None, "2"),
        ("limits.cpu", Some("1m"), "1250"),
        ("requests.cpu", None, "1"),
        ("limits.memory", None, "67108864"),
        ("limits.memory", Some("1Mi"), "64"),
        ("requests.memory", None, "33554432"),
        ("requests.ephemeral-storage", None, "0"),
        ("limits.ephemeral-storage", None, "1000"),
    ] {
        let selector = json!({"resource": resource, "divisor": divisor});
        let selector = serde_json::from_value(selector).expect("a selector");
        assert_eq!(downward::resource(&selector, &pod, "c", &facts()).as_deref(), Ok(wanted), "{resource}");
    }
}

#[test]
fn a_limit_that_is_not_set_is_the_pods() {
    let mut pod = pod(json!({"name": "c", "resources": {"limits": {"memory": "64Mi"}}}));
    let own = json!({"limits": {"cpu": "1500m", "memory": "1Gi", "hugepages-2Mi": "2Mi"}});
    pod.spec.get_or_insert_default().resources = serde_json::from_value(own).expect("resources");
    for (resource, wanted) in [
        ("limits.cpu", "2"),
        ("limits.memory", "67108864"),
        ("requests.cpu", "0"),
        ("limits.ephemeral-storage", "1000"),
    ] {
        let selector = serde_json::from_value(json!({"resource": resource})).expect("a selector");
        assert_eq!(downward::resource(&selector, &pod, "c", &facts()).as_deref(), Ok(wanted), "{resource}");
    }
}

#[test]
fn services_are_told() {
    let service = |namespace: &str, name: &str, ip: &str| -> Arc<Service> {
        let object = json!({"metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": ip, "ports": [{"port": 8765, "protocol": "TCP", "name": "web-ui"}]}});
        Arc::new(serde_json::from_value(object).expect("a service"))
    };
    let all = [
        service("ns", "foo-service", "10.0.0.9"),
        service("ns", "headless", "None"),
        service("else", "other", "10.0.0.8"),
        service("default", "kubernetes", "10.0.0.1"),
    ];
    let found = services::variables(&all, "ns", true);
    for (name, wanted) in [
        ("FOO_SERVICE_SERVICE_HOST", "10.0.0.9"),
        ("FOO_SERVICE_SERVICE_PORT", "8765"),
        ("FOO_SERVICE_SERVICE_PORT_WEB_UI", "8765"),
        ("FOO_SERVICE_PORT", "tcp://10.0.0.9:8765"),
        ("FOO_SERVICE_PORT_8765_TCP", "tcp://10.0.0.9:8765"),
        ("FOO_SERVICE_PORT_8765_TCP_PROTO", "tcp"),
        ("FOO_SERVICE_PORT_8765_TCP_PORT", "8765"),
        ("FOO_SERVICE_PORT_8765_TCP_ADDR", "10.0.0.9"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(wanted), "{name}");
    }
    assert!(!found.keys().any(|name| name.starts_with("HEADLESS") || name.starts_with("OTHER")));
    let without = services::variables(&all, "ns", false);
    assert!(without.keys().all(|name| name.starts_with("KUBERNETES_")));
}

#[test]
fn files_of_volumes_give_variables() {
    let from = |path: &str, key: &str, optional: bool| {
        let reference = json!({"volumeName": "config", "path": path, "key": key, "optional": optional});
        env(json!({"name": "c", "env": [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]}))
    };
    assert_eq!(from("env", "COLOUR", false).map(|all| all.get("A").cloned()), Ok(Some("blue".to_owned())));
    assert_eq!(from("env", "SIZE", true).map(|all| all.get("A").cloned()), Ok(None));
    assert!(from("env", "SIZE", false).is_err_and(|error| error.contains("not found in file")));
    assert!(from("other", "COLOUR", false).is_err_and(|error| error.contains("couldn't parse env file")));
}
