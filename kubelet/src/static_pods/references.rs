//! What of the API a static pod would need: it must run without, so a manifest that names such objects is refused. Pure.

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, Pod, PodSpec, Volume, VolumeProjection};

/// The first kind of objects that the pod names, in upstream's words and order (`HasAPIObjectReference`).
pub(super) fn first(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    if account.is_some_and(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    if names_secrets(spec) {
        return Some("secrets");
    }
    if names_config_maps(spec) {
        return Some("configmaps");
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Some("resourceclaims");
    }
    spec.volumes.iter().flatten().find_map(of_volume)
}

fn names_secrets(spec: &PodSpec) -> bool {
    let of_image = spec.image_pull_secrets.iter().flatten().any(|secret| !secret.name.is_empty());
    let set = |from: &EnvFromSource| from.secret_ref.as_ref().is_some_and(|it| !it.name.is_empty());
    let key = |variable: &EnvVar| {
        let key = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        key.is_some_and(|it| !it.name.is_empty())
    };
    let volumes = spec.volumes.iter().flatten();
    let mut of_volumes = volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.as_ref());
    of_image
        || variables(spec, set, key)
        || of_volumes.any(|name| !name.is_empty())
        || projections(spec).any(|source| source.secret.as_ref().is_some_and(|it| !it.name.is_empty()))
}

fn names_config_maps(spec: &PodSpec) -> bool {
    let set = |from: &EnvFromSource| from.config_map_ref.as_ref().is_some_and(|it| !it.name.is_empty());
    let key = |variable: &EnvVar| {
        let key = variable.value_from.as_ref().and_then(|from| from.config_map_key_ref.as_ref());
        key.is_some_and(|it| !it.name.is_empty())
    };
    let volumes = spec.volumes.iter().flatten();
    let mut of_volumes = volumes.filter_map(|volume| volume.config_map.as_ref());
    variables(spec, set, key)
        || of_volumes.any(|map| !map.name.is_empty())
        || projections(spec).any(|source| source.config_map.as_ref().is_some_and(|it| !it.name.is_empty()))
}

fn variables(spec: &PodSpec, set: impl Fn(&EnvFromSource) -> bool, key: impl Fn(&EnvVar) -> bool) -> bool {
    let of = |container: &Container| {
        container.env_from.iter().flatten().any(&set) || container.env.iter().flatten().any(&key)
    };
    spec.init_containers.iter().flatten().chain(&spec.containers).any(of)
}

fn projections(spec: &PodSpec) -> impl Iterator<Item = &VolumeProjection> {
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    volumes.flat_map(|projected| projected.sources.iter().flatten())
}

fn of_volume(volume: &Volume) -> Option<&'static str> {
    if volume.config_map.is_some() {
        return Some("configmaps (via configmap volumes)");
    }
    if volume.secret.is_some() {
        return Some("secrets (via secret volumes)");
    }
    if volume.csi.is_some() {
        return Some("csidrivers (via CSI volumes)");
    }
    if volume.glusterfs.is_some() {
        return Some("endpoints (via glusterFS volumes)");
    }
    if volume.persistent_volume_claim.is_some() {
        return Some("persistentvolumeclaims");
    }
    if volume.ephemeral.is_some() {
        return Some("persistentvolumeclaims (via ephemeral volumes)");
    }
    if volume.azure_file.is_some() {
        return Some("secrets (via azureFile volumes)");
    }
    volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()).find_map(of_projection)
}

fn of_projection(source: &VolumeProjection) -> Option<&'static str> {
    let kinds = [
        (source.config_map.is_some(), "configmaps (via projected volumes)"),
        (source.secret.is_some(), "secrets (via projected volumes)"),
        (source.service_account_token.is_some(), "serviceaccounts (via projected volumes)"),
        (source.cluster_trust_bundle.is_some(), "clustertrustbundles"),
        (source.pod_certificate.is_some(), "podcertificates"),
    ];
    kinds.into_iter().find_map(|(is, kind)| is.then_some(kind))
}

#[test]
fn objects_of_the_api_are_found() {
    for (spec, wanted) in [
        (serde_json::json!({"serviceAccountName": "a"}), Some("serviceaccounts")),
        (serde_json::json!({"serviceAccount": "a"}), Some("serviceaccounts")),
        (serde_json::json!({"imagePullSecrets": [{"name": "s"}]}), Some("secrets")),
        (serde_json::json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), Some("secrets")),
        (serde_json::json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}), Some("configmaps")),
        (
            serde_json::json!({"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "c"}}]}]}),
            Some("configmaps"),
        ),
        (
            serde_json::json!({"initContainers": [{"name": "c", "env": [{"name": "A",
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
            Some("secrets"),
        ),
        (serde_json::json!({"resourceClaims": [{"name": "r"}]}), Some("resourceclaims")),
        (
            serde_json::json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
            Some("persistentvolumeclaims"),
        ),
        (
            serde_json::json!({"volumes": [{"name": "v", "projected": {"sources": [{"downwardAPI": {}},
                {"serviceAccountToken": {"path": "t"}}]}}]}),
            Some("serviceaccounts (via projected volumes)"),
        ),
        (
            serde_json::json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/"}}]}),
            None,
        ),
    ] {
        let pod = serde_json::json!({"spec": spec});
        assert_eq!(first(&serde_json::from_value(pod).expect("a pod")), wanted, "{spec}");
    }
}
