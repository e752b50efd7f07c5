//! What a pod, and a volume that it uses, refer to. Pure.

use machinery::meta;
use machinery::pod_references::{self, WITH_SECRET_REF};
use serde_json::Value;

use crate::request::RequestInfo;

/// Secrets of a CSI driver that its node needs. Those of its controller are none of a node's.
const OF_CSI: [&str; 3] = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];

/// Whether a pod refers to what is asked for, which is in its namespace.
pub fn in_pod(pod: &Value, info: &RequestInfo) -> bool {
    let name = info.name.as_str();
    match info.resource.as_str() {
        "serviceaccounts" => meta::text(pod, "spec.serviceAccountName") == name,
        "secrets" => pod_references::secrets(pod).any(|secret| secret == name),
        "configmaps" => pod_references::config_maps(pod).any(|map| map == name),
        "persistentvolumeclaims" => claims(pod).iter().any(|claim| claim == name),
        "resourceclaims" => {
            meta::list(pod, "spec.resourceClaims").iter().any(|claim| claim["resourceClaimName"] == name)
                || ["status.resourceClaimStatuses", "status.extendedResourceClaimStatus"].iter().any(|path| {
                    let told = meta::at(pod, path);
                    let many = told.as_array().map_or(std::slice::from_ref(told), Vec::as_slice);
                    many.iter().any(|claim| claim["resourceClaimName"] == name)
                })
        }
        _ => false,
    }
}

/// The names of the claims whose volumes a pod uses.
pub fn claims(pod: &Value) -> Vec<String> {
    let volumes = meta::list(pod, "spec.volumes").iter();
    let named = volumes.filter_map(|volume| match volume["ephemeral"].is_object() {
        true => Some(format!("{}-{}", meta::name(pod), meta::text(volume, "name"))),
        false => volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned),
    });
    named.collect()
}

/// Whether a PersistentVolume, bound to a claim in `claim_namespace`, names the secret for its node.
pub fn in_volume(volume: &Value, claim_namespace: &str, namespace: &str, name: &str) -> bool {
    let spec = &volume["spec"];
    let is = |reference: &Value| {
        let home = reference["namespace"].as_str().filter(|home| !home.is_empty()).unwrap_or(claim_namespace);
        reference["name"] == name && home == namespace
    };
    let azure = &spec["azureFile"];
    let azure_home = azure["secretNamespace"].as_str().filter(|home| !home.is_empty()).unwrap_or(claim_namespace);
    (azure["secretName"] == name && azure_home == namespace)
        || WITH_SECRET_REF.iter().any(|kind| is(&spec[*kind]["secretRef"]))
        || OF_CSI.iter().any(|field| is(&spec["csi"][*field]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(resource: &str, name: &str) -> RequestInfo {
        RequestInfo { resource: resource.into(), name: name.into(), ..RequestInfo::default() }
    }

    #[test]
    fn finds_every_way_to_refer() {
        let pod = json!({"spec": {
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"secret": {"secretName": "vol"}},
                {"projected": {"sources": [{"configMap": {"name": "root"}}]}},
            ],
            "containers": [{
                "env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}],
                "envFrom": [{"configMapRef": {"name": "all"}}],
            }],
        }});
        for (resource, name) in [
            ("serviceaccounts", "sa"),
            ("secrets", "pull"),
            ("secrets", "vol"),
            ("secrets", "env"),
            ("configmaps", "root"),
            ("configmaps", "all"),
        ] {
            assert!(in_pod(&pod, &ask(resource, name)), "{resource}/{name}");
        }
        assert!(!in_pod(&pod, &ask("secrets", "root")));
    }

    #[test]
    fn finds_claims_and_secrets_of_volumes() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "resourceClaims": [{"name": "a", "resourceClaimName": "named"}, {"name": "b"}],
            "volumes": [
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
                {"csi": {"nodePublishSecretRef": {"name": "csi"}}},
                {"iscsi": {"secretRef": {"name": "iscsi"}}},
                {"azureFile": {"secretName": "azure"}},
            ],
        }, "status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "made"}]}});
        for (resource, name) in [
            ("persistentvolumeclaims", "claim"),
            ("persistentvolumeclaims", "p-e"),
            ("resourceclaims", "named"),
            ("resourceclaims", "made"),
            ("secrets", "csi"),
            ("secrets", "iscsi"),
            ("secrets", "azure"),
        ] {
            assert!(in_pod(&pod, &ask(resource, name)), "{resource}/{name}");
        }
        assert!(!in_pod(&pod, &ask("resourceclaims", "other")));
    }

    #[test]
    fn a_volume_names_the_secrets_of_its_node() {
        let csi = json!({"spec": {"csi": {
            "nodeStageSecretRef": {"name": "stage", "namespace": "n"},
            "controllerPublishSecretRef": {"name": "controller", "namespace": "n"},
        }}});
        assert!(in_volume(&csi, "claims", "n", "stage"));
        assert!(!in_volume(&csi, "claims", "claims", "stage"));
        assert!(!in_volume(&csi, "claims", "n", "controller"));
        let rbd = json!({"spec": {"rbd": {"secretRef": {"name": "s"}}}});
        assert!(in_volume(&rbd, "claims", "claims", "s"));
    }
}
