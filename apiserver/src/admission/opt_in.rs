//! Small plug-ins that run only when they are asked for (Kubernetes reference: "Admission Controllers").

use std::collections::BTreeSet;

use async_trait::async_trait;
use machinery::field::{Error, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Request};
use crate::bootstrap::own_call;
use crate::rest::create::create_object;
use crate::rest::params::WriteOptions;

/// Deprecated upstream, and still named in old command lines.
pub struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {}

pub struct AlwaysDeny;

#[async_trait]
impl Plugin for AlwaysDeny {
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        self.validate(request, object).await
    }

    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        Err(request.forbidden_object(object, "admission control is denying all modifications"))
    }
}

/// Whoever may make something in a namespace gets the namespace too.
pub struct NamespaceAutoProvision;

#[async_trait]
impl Plugin for NamespaceAutoProvision {
    async fn mutate(&self, request: &Request<'_>, _object: &mut Value) -> Result<(), Status> {
        let (api, name) = (request.api, request.namespace());
        if request.operation != Operation::Create || request.dry_run || name.is_empty() {
            return Ok(());
        }
        if request.find("", "namespaces", name).await?.is_some() {
            return Ok(());
        }
        let Some(served) = api.catalogue.find("", "v1", "namespaces") else { return Ok(()) };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let call = own_call(served, "create", "", "");
        match create_object(api, &call, namespace, &WriteOptions::default()).await {
            Err(status) if status.reason != "AlreadyExists" => Err(request.forbidden(&status.message)),
            _ => Ok(()),
        }
    }
}

pub struct NamespaceExists;

#[async_trait]
impl Plugin for NamespaceExists {
    async fn validate(&self, request: &Request<'_>, _object: &Value) -> Result<(), Status> {
        let namespace = request.namespace();
        if namespace.is_empty() || request.operation == Operation::Connect {
            return Ok(());
        }
        let missing =
            || Status::not_found(machinery::status::GroupResource { group: "", resource: "namespaces" }, namespace);
        request.find("", "namespaces", namespace).await?.ok_or_else(missing).map(drop)
    }
}

/// Whoever may not pull an image may not use it because it is on the node already.
pub struct AlwaysPullImages;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

#[async_trait]
impl Plugin for AlwaysPullImages {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.writes() || !request.is("", "pods", "") || request.old.is_some_and(|old| !has_new_image(pod, old)) {
            return Ok(());
        }
        for list in LISTS {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            containers.into_iter().flatten().for_each(|container| container["imagePullPolicy"] = json!("Always"));
        }
        let volumes = pod["spec"].get_mut("volumes").and_then(Value::as_array_mut);
        for image in volumes.into_iter().flatten().filter_map(|volume| volume.get_mut("image")) {
            image["pullPolicy"] = json!("Always");
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if !request.writes() || !request.is("", "pods", "") || request.old.is_some_and(|old| !has_new_image(pod, old)) {
            return Ok(());
        }
        let path = Path::new("spec");
        for list in LISTS {
            for (position, container) in meta::list(&pod["spec"], list).iter().enumerate() {
                let policy = container["imagePullPolicy"].as_str().unwrap_or_default();
                if policy != "Always" {
                    let at = path.child(list).index(position).child("imagePullPolicy");
                    let why = Error::not_supported(&at, policy, &["Always"]).to_string();
                    return Err(request.forbidden_object(pod, &why));
                }
            }
        }
        Ok(())
    }
}

fn has_new_image(pod: &Value, old: &Value) -> bool {
    let images = |pod: &Value| -> BTreeSet<String> {
        let containers = LISTS.iter().flat_map(|list| meta::list(&pod["spec"], list).to_vec());
        containers.map(|container| container["image"].as_str().unwrap_or_default().to_owned()).collect()
    };
    !images(pod).is_subset(&images(old))
}

pub struct DenyServiceExternalIPs;

#[async_trait]
impl Plugin for DenyServiceExternalIPs {
    async fn validate(&self, request: &Request<'_>, service: &Value) -> Result<(), Status> {
        if !request.writes() || !request.is("", "services", "") {
            return Ok(());
        }
        let had = request.old.map(|old| meta::list(old, "spec.externalIPs")).unwrap_or_default();
        match meta::list(service, "spec.externalIPs").iter().all(|address| had.contains(address)) {
            true => Ok(()),
            false => Err(request.forbidden_object(service, "Use of external IPs is denied by admission control")),
        }
    }
}

pub struct LimitPodHardAntiAffinityTopology;

#[async_trait]
impl Plugin for LimitPodHardAntiAffinityTopology {
    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        const ALLOWED: &str = "kubernetes.io/hostname";
        if !request.writes() || !request.is("", "pods", "") {
            return Ok(());
        }
        let path = "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution";
        let mut keys = meta::list(pod, path).iter().map(|term| meta::text(term, "topologyKey"));
        let Some(key) = keys.find(|key| *key != ALLOWED) else { return Ok(()) };
        let why = format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {ALLOWED} is allowed"
        );
        Err(request.forbidden_object(pod, &why))
    }
}

/// Pods that ask for a device tolerate the nodes that are kept for those which do.
pub struct ExtendedResourceToleration;

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if request.writes() && request.is("", "pods", "") {
            tolerate_devices(pod);
        }
        Ok(())
    }
}

fn tolerate_devices(pod: &mut Value) {
    let containers = LISTS[..2].iter().flat_map(|list| meta::list(&pod["spec"], list));
    let asked: BTreeSet<String> = containers
        .flat_map(|container| meta::map(container, "resources.requests").keys())
        .filter(|name| machinery::quota::is_extended_resource(name))
        .cloned()
        .collect();
    if asked.is_empty() {
        return;
    }
    let mut tolerations = meta::list(pod, "spec.tolerations").to_vec();
    for name in asked {
        let toleration = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    meta::object_mut(pod, "spec").insert("tolerations".into(), Value::Array(tolerations));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_tolerated_once() {
        let requests = json!({"example.com/gpu": "1", "cpu": "1"});
        let mut pod = json!({"spec": {"containers": [{"resources": {"requests": requests}}]}});
        tolerate_devices(&mut pod);
        tolerate_devices(&mut pod);
        let toleration = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
        assert_eq!(pod["spec"]["tolerations"], json!([toleration]));
    }

    #[test]
    fn only_other_images_count_as_new() {
        let pod = |image: &str| json!({"spec": {"containers": [{"image": image}], "initContainers": [{"image": "i"}]}});
        assert!(has_new_image(&pod("b"), &pod("a")));
        assert!(!has_new_image(&pod("i"), &pod("a")));
    }
}
