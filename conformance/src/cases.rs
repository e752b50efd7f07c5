//! The cases. Each starts in an empty namespace and returns what it found wrong.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::cluster::Namespace;

pub(crate) type Case = fn(&Namespace) -> Result<()>;

/// By name: what must hold.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("api: the version is told", version),
    ("api: discovery names the core kinds", discovery),
    ("api: an object can be created, read, changed and deleted", life),
    ("api: a name that is taken is refused", taken),
    ("api: a stale write is refused", stale),
    ("api: labels select", labels),
    ("api: a patch of each kind changes what it says", patches),
    ("api: a dry run stores nothing", dry_run),
    ("namespace: has a default ServiceAccount and the root certificate", namespace_contents),
    ("deployment: makes its pods, and they become ready", deployment),
    ("deployment: deleting it deletes what it made", cascade),
    ("service: gets an address and the endpoints of its pods", service),
];

fn config_map(data: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"set": "a"}}, "data": {"key": data}})
        .to_string()
}

fn version(namespace: &Namespace) -> Result<()> {
    let text = namespace.kubectl(&["get", "--raw", "/version"])?;
    let version: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(version["gitVersion"].as_str().is_some_and(|version| version.starts_with("v1.")), "{text}");
    Ok(())
}

fn discovery(namespace: &Namespace) -> Result<()> {
    let kinds = namespace.kubectl(&["api-resources", "--no-headers"])?;
    for resource in
        ["configmaps", "deployments", "endpointslices", "leases", "namespaces", "nodes", "pods", "secrets", "services"]
    {
        ensure!(kinds.lines().any(|line| line.starts_with(&format!("{resource} "))), "no {resource} in:\n{kinds}");
    }
    Ok(())
}

fn life(namespace: &Namespace) -> Result<()> {
    let created = namespace.apply("create", &config_map("first"))?;
    ensure!(
        created["metadata"]["uid"].is_string() && created["metadata"]["creationTimestamp"].is_string(),
        "{created}"
    );
    let changed = namespace.apply("replace", &config_map("second"))?;
    ensure!(changed["data"]["key"] == "second", "{changed}");
    ensure!(changed["metadata"]["uid"] == created["metadata"]["uid"], "the same object");
    ensure!(changed["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"], "a new version");
    namespace.kubectl(&["delete", "configmap", "one"])?;
    let error = namespace.refused(&["get", "configmap", "one"])?;
    ensure!(error.contains("(NotFound)"), "{error}");
    Ok(())
}

fn taken(namespace: &Namespace) -> Result<()> {
    namespace.apply("create", &config_map("first"))?;
    let error = namespace.refused(&["create", "configmap", "one"])?;
    ensure!(error.contains("already exists"), "{error}");
    Ok(())
}

fn stale(namespace: &Namespace) -> Result<()> {
    let mut old = namespace.apply("create", &config_map("first"))?;
    namespace.apply("replace", &config_map("second"))?;
    old["data"]["key"] = "third".into();
    let refused = namespace.apply("replace", &old.to_string());
    let error = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(error.contains("the object has been modified"), "{error}");
    Ok(())
}

fn labels(namespace: &Namespace) -> Result<()> {
    namespace.apply("create", &config_map("first"))?;
    let count = |selector: &str| -> Result<usize> {
        Ok(namespace.kubectl(&["get", "configmaps", "-l", selector, "-o", "name"])?.lines().count())
    };
    ensure!(count("set=a")? == 1 && count("set=b")? == 0 && count("set in (a,b)")? == 1, "equality and sets");
    ensure!(count("set!=b,set notin (b,c)")? >= 1, "inequality");
    Ok(())
}

fn patches(namespace: &Namespace) -> Result<()> {
    namespace.apply("create", &config_map("first"))?;
    for (kind, patch) in [
        ("strategic", r#"{"data":{"strategic":"yes"}}"#),
        ("merge", r#"{"data":{"merge":"yes","key":null}}"#),
        ("json", r#"[{"op":"add","path":"/data/json","value":"yes"}]"#),
    ] {
        namespace.kubectl(&["patch", "configmap", "one", "--type", kind, "--patch", patch])?;
    }
    let data = namespace.get("configmap/one")?["data"].clone();
    ensure!(data == json!({"strategic": "yes", "merge": "yes", "json": "yes"}), "{data}");
    Ok(())
}

fn dry_run(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["create", "configmap", "dry", "--dry-run=server"])?;
    namespace.refused(&["get", "configmap", "dry"]).map(|_| ())
}

fn namespace_contents(namespace: &Namespace) -> Result<()> {
    for object in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
        namespace.kubectl(&["wait", "--for=create", object, "--timeout=30s"])?;
    }
    let authority = namespace.get("configmap/kube-root-ca.crt")?["data"]["ca.crt"].clone();
    ensure!(authority.as_str().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")), "{authority}");
    Ok(())
}

/// The smallest that any cluster can pull.
const IMAGE: &str = "--image=nginx";

fn deployment(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["create", "deployment", "web", IMAGE, "--replicas=2"])?;
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let status = namespace.get("deployment/web")?["status"].clone();
    ensure!(status["readyReplicas"] == 2 && status["availableReplicas"] == 2, "{status}");
    Ok(())
}

fn cascade(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["create", "deployment", "web", IMAGE])?;
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    namespace.kubectl(&["delete", "deployment", "web", "--cascade=foreground"])?;
    namespace.kubectl(&["wait", "--for=delete", "pods", "-l", "app=web", "--timeout=60s"])?;
    let left = namespace.kubectl(&["get", "replicasets,pods", "-o", "name"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn service(namespace: &Namespace) -> Result<()> {
    namespace.kubectl(&["create", "deployment", "web", IMAGE, "--replicas=2"])?;
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    namespace.kubectl(&["expose", "deployment", "web", "--port=80"])?;
    let service = namespace.get("service/web")?;
    ensure!(service["spec"]["clusterIP"].as_str().is_some_and(|address| address != "None"), "{service}");
    let ready = "--for=jsonpath={.endpoints[1].conditions.ready}=true";
    namespace.kubectl(&["wait", ready, "endpointslices", "-l", "kubernetes.io/service-name=web", "--timeout=30s"])?;
    ensure!(namespace.get("service/web")?["metadata"]["namespace"] == namespace.name(), "in its namespace");
    Ok(())
}
