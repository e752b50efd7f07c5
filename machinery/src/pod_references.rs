//! Which objects of the API a pod names: those that its node must read for it, and that a pod may not need which runs
//! without the API.

use serde_json::Value;

use crate::field::quote;
use crate::meta;

/// Kinds of volumes whose `secretRef` names a secret.
pub const WITH_SECRET_REF: [&str; 7] = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];

/// The names of its secrets: those for images, of variables, and of volumes.
pub fn secrets(pod: &Value) -> impl Iterator<Item = &str> {
    let for_images = meta::list(pod, "spec.imagePullSecrets").iter().map(|secret| &secret["name"]);
    let of_volumes = meta::list(pod, "spec.volumes").iter().flat_map(|volume| {
        let refs = WITH_SECRET_REF.iter().map(|kind| &volume[*kind]["secretRef"]["name"]);
        let direct = [
            &volume["secret"]["secretName"],
            &volume["azureFile"]["secretName"],
            &volume["csi"]["nodePublishSecretRef"]["name"],
        ];
        direct.into_iter().chain(refs).chain(of_projections(volume, "secret"))
    });
    given(for_images.chain(of_variables(pod, "secretKeyRef", "secretRef")).chain(of_volumes))
}

/// The names of its ConfigMaps: those of variables, and of volumes.
pub fn config_maps(pod: &Value) -> impl Iterator<Item = &str> {
    let of_volumes = meta::list(pod, "spec.volumes")
        .iter()
        .flat_map(|volume| std::iter::once(&volume["configMap"]["name"]).chain(of_projections(volume, "configMap")));
    given(of_variables(pod, "configMapKeyRef", "configMapRef").chain(of_volumes))
}

fn given<'a>(names: impl Iterator<Item = &'a Value>) -> impl Iterator<Item = &'a str> {
    names.filter_map(Value::as_str).filter(|name| !name.is_empty())
}

/// One variable, or a whole environment, of whichever container.
fn of_variables<'a>(pod: &'a Value, key: &'static str, whole: &'static str) -> impl Iterator<Item = &'a Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    lists.flat_map(|list| meta::list(&pod["spec"], list)).flat_map(move |container| {
        let each = meta::list(container, "env").iter().map(move |variable| &variable["valueFrom"][key]["name"]);
        each.chain(meta::list(container, "envFrom").iter().map(move |source| &source[whole]["name"]))
    })
}

fn of_projections<'a>(volume: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    meta::list(volume, "projected.sources").iter().map(move |source| &source[kind]["name"])
}

/// The first kind of objects that it names, in upstream's words and order (`HasAPIObjectReference`).
///
/// # Errors
/// A volume of which nobody knows what it needs.
pub fn first_kind(pod: &Value) -> Result<Option<&'static str>, String> {
    let account = ["spec.serviceAccountName", "spec.serviceAccount"];
    let named = [
        (account.iter().any(|path| !meta::text(pod, path).is_empty()), "serviceaccounts"),
        (secrets(pod).next().is_some(), "secrets"),
        (config_maps(pod).next().is_some(), "configmaps"),
        (!meta::list(pod, "spec.resourceClaims").is_empty(), "resourceclaims"),
    ];
    if let Some((_, kind)) = named.into_iter().find(|(is_named, _)| *is_named) {
        return Ok(Some(kind));
    }
    for volume in meta::list(pod, "spec.volumes") {
        if let Some(kind) = of_volume(volume)? {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

const OF_VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];
const OF_PROJECTIONS: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];
/// Kinds of volumes that need nothing of the API, but for secrets that they may name.
const FREE: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn of_volume(volume: &Value) -> Result<Option<&'static str>, String> {
    if let Some(kind) = first_of(volume, &OF_VOLUMES) {
        return Ok(Some(kind));
    }
    let name = quote(meta::text(volume, "name"));
    for source in meta::list(volume, "projected.sources") {
        match first_of(source, &OF_PROJECTIONS) {
            None if source["downwardAPI"].is_null() => {
                return Err(format!("unknown source for projected volume {name}"));
            }
            None => {}
            found => return Ok(found),
        }
    }
    // What says no kind is an empty folder.
    let is_known = |field: &str| matches!(field, "name" | "projected") || FREE.contains(&field);
    match volume.as_object().is_none_or(|fields| fields.keys().all(|field| is_known(field))) {
        true => Ok(None),
        false => Err(format!("unknown volume type for volume  {name}")),
    }
}

fn first_of(value: &Value, kinds: &[(&str, &'static str)]) -> Option<&'static str> {
    kinds.iter().find_map(|(field, kind)| (!value[*field].is_null()).then_some(*kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(list: &str, container: &Value) -> Value {
        json!({list: [container]})
    }

    fn volume(kind: &str, source: &Value) -> Value {
        json!({"volumes": [{"name": "e", "emptyDir": {}}, {"name": "v", kind: source}]})
    }

    #[test]
    fn the_first_kind_is_told() {
        let projected = |source: Value| volume("projected", &json!({"sources": [{"downwardAPI": {}}, source]}));
        for (spec, kind) in [
            (json!({"serviceAccountName": "a"}), "serviceaccounts"),
            (json!({"serviceAccount": "a"}), "serviceaccounts"),
            (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
            (container("containers", &json!({"envFrom": [{"configMapRef": {"name": "c"}}]})), "configmaps"),
            (container("initContainers", &json!({"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]})), "secrets"),
            (container("ephemeralContainers", &json!({"envFrom": [{"secretRef": {"name": "s"}}]})), "secrets"),
            (json!({"resourceClaims": [{"name": "r"}]}), "resourceclaims"),
            (volume("secret", &json!({"secretName": "s"})), "secrets"),
            (volume("configMap", &json!({"name": "c"})), "configmaps"),
            (volume("iscsi", &json!({"secretRef": {"name": "s"}})), "secrets"),
            (volume("azureFile", &json!({"secretName": "s"})), "secrets"),
            (volume("csi", &json!({"driver": "d"})), "csidrivers (via CSI volumes)"),
            (volume("glusterfs", &json!({})), "endpoints (via glusterFS volumes)"),
            (volume("persistentVolumeClaim", &json!({"claimName": "c"})), "persistentvolumeclaims"),
            (volume("ephemeral", &json!({})), "persistentvolumeclaims (via ephemeral volumes)"),
            (projected(json!({"secret": {"name": "s"}})), "secrets"),
            (projected(json!({"serviceAccountToken": {"path": "t"}})), "serviceaccounts (via projected volumes)"),
            (projected(json!({"clusterTrustBundle": {"path": "t"}})), "clustertrustbundles"),
        ] {
            assert_eq!(first_kind(&json!({"spec": spec})), Ok(Some(kind)), "{spec}");
        }
        for spec in [json!({}), volume("hostPath", &json!({"path": "/"})), projected(json!({"downwardAPI": {}}))] {
            assert_eq!(first_kind(&json!({"spec": spec})), Ok(None), "{spec}");
        }
        for (spec, why) in [
            (projected(json!({"new": {}})), r#"unknown source for projected volume "v""#),
            (volume("new", &json!({})), r#"unknown volume type for volume  "v""#),
        ] {
            assert_eq!(first_kind(&json!({"spec": spec})), Err(why.to_owned()), "{spec}");
        }
    }
}
