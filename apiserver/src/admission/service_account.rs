//! `ServiceAccount`: every pod runs as one, and finds its token mounted.
//!
//! Kubernetes concept: "Service Accounts"; task: "Configure Service Accounts for Pods", projected token volumes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use machinery::meta;
use machinery::pod_references;
use machinery::status::Status;
use serde_json::{Value, json};

use super::mountable_secrets::Limit;
use super::request::bare_error;
use super::{Operation, Plugin, Request};
use crate::kinds::pod::TOKEN_VOLUME_PREFIX;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// An hour and seven seconds: upstream marks by it tokens whose expiry is extended for old clients.
const TOKEN_EXPIRATION_SECONDS: i64 = 3607;
/// The controller makes a namespace's `default` account a moment after the namespace.
const DEFAULT_ACCOUNT_WAIT: Duration = Duration::from_secs(2);

pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.creates("", "pods") {
            return Ok(());
        }
        if meta::annotation(pod, MIRROR).is_some() {
            return check_mirror(request, pod);
        }
        let spec = meta::object_mut(pod, "spec");
        let named = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default();
        let name = if named.is_empty() { "default" } else { named }.to_owned();
        spec.insert("serviceAccountName".into(), name.clone().into());
        // The old name of the field, kept in step.
        spec.insert("serviceAccount".into(), name.clone().into());
        let account = find(request, pod, &name).await?;
        if automounts(&account, pod) {
            mount_token(
                pod,
                &format!("{TOKEN_VOLUME_PREFIX}{}", crate::rest::system::suffix(request.api.random.u64())),
            );
        }
        let secrets = meta::list(&account, "imagePullSecrets");
        if meta::list(pod, "spec.imagePullSecrets").is_empty() && !secrets.is_empty() {
            pod["spec"]["imagePullSecrets"] = json!(secrets);
        }
        match Limit::of(&account).and_then(|limit| limit.refusal(pod)) {
            Some(why) => Err(request.forbidden_object(pod, &why)),
            None => Ok(()),
        }
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if request.operation != Operation::Update || !request.is("", "pods", "ephemeralcontainers") {
            return Ok(());
        }
        let account = find(request, pod, meta::text(pod, "spec.serviceAccountName")).await?;
        match Limit::of(&account).and_then(|limit| limit.refusal_of_ephemeral(pod)) {
            Some(why) => Err(bare_error(why)),
            None => Ok(()),
        }
    }
}

async fn find(request: &Request<'_>, pod: &Value, name: &str) -> Result<Arc<Value>, Status> {
    let namespace = &request.info().namespace;
    let served = request.api.catalogue.find("", "v1", "serviceaccounts");
    let served = served.ok_or_else(|| Status::internal_error("serviceaccounts are not served"))?;
    if let Some(found) = request.api.peek_shared(served, namespace, name)? {
        return Ok(found);
    }
    let found = match name {
        "default" => request.api.await_object(served, namespace, name, DEFAULT_ACCOUNT_WAIT).await?,
        _ => request.api.read(served, namespace, name).await?,
    };
    found.map(|found| Arc::new(found.object)).ok_or_else(|| {
        let quoted = machinery::field::quote(name);
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {quoted} not found");
        request.forbidden_object(pod, &why)
    })
}

/// A mirror pod only shows what a kubelet runs from its own files: it must need nothing of the API.
fn check_mirror(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    if !meta::text(pod, "spec.serviceAccountName").is_empty() {
        return Err(request.forbidden_object(pod, "a mirror pod may not reference service accounts"));
    }
    if pod_references::secrets(pod).next().is_some() {
        return Err(request.forbidden_object(pod, "a mirror pod may not reference secrets"));
    }
    let tokens = |volume: &Value| {
        meta::list(volume, "projected.sources").iter().any(|source| !source["serviceAccountToken"].is_null())
    };
    if meta::list(pod, "spec.volumes").iter().any(tokens) {
        let why = "a mirror pod may not use ServiceAccountToken volume projections";
        return Err(request.forbidden_object(pod, why));
    }
    Ok(())
}

/// The pod's word goes before the account's.
fn automounts(account: &Value, pod: &Value) -> bool {
    meta::at(pod, "spec.automountServiceAccountToken")
        .as_bool()
        .or_else(|| account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true)
}

fn mount_token(pod: &mut Value, new_name: &str) {
    let existing = meta::list(pod, "spec.volumes")
        .iter()
        .filter_map(|volume| volume["name"].as_str())
        .find(|name| name.starts_with(TOKEN_VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.as_deref().unwrap_or(new_name).to_owned();
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let taken = meta::list(container, "volumeMounts").iter().any(|mount| mount["mountPath"] == MOUNT_PATH);
            if !taken {
                push(container, "volumeMounts", mount.clone());
                needed = true;
            }
        }
    }
    if needed && existing.is_none() {
        let mut volume = json!({"name": name});
        volume["projected"] = TOKEN_VOLUME.clone();
        push(&mut pod["spec"], "volumes", volume);
    }
}

fn push(object: &mut Value, field: &str, item: Value) {
    if let Some(items) = object.get_mut(field).and_then(Value::as_array_mut) {
        items.push(item);
    } else if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), Value::Array(vec![item]));
    }
}

/// The same for every pod.
static TOKEN_VOLUME: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_EXPIRATION_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ],
    })
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_once_and_leaves_own_mounts_alone() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "mine", "mountPath": MOUNT_PATH}]},
        ]}});
        mount_token(&mut pod, "kube-api-access-x");
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-x");
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        mount_token(&mut pod, "kube-api-access-y");
        assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn the_pod_decides_before_its_account() {
        let account = json!({"automountServiceAccountToken": false});
        assert!(!automounts(&account, &json!({"spec": {}})));
        assert!(automounts(&account, &json!({"spec": {"automountServiceAccountToken": true}})));
        assert!(automounts(&json!({}), &json!({"spec": {}})));
    }
}
