//! PersistentVolumeClaims bound to volumes that lie on this node: hostPath and local. Others are refused by their type.
//!
//! Enter at [`Claims::resolve`]. What a volume comes to is decided by [`judge`], which is pure.

use std::collections::BTreeSet;

use component::{client::shown, scheduling::node_affinity};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Api, Client};

use crate::pod::spec;

const GROUP: &str = "pv.beta.kubernetes.io/gid";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Where the data of a claim lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The PersistentVolume's name, which the folder of the mount carries.
    pub volume: String,
    pub place: Place,
    pub is_read_only: bool,
    /// `volumeMode: Block`: a device, not a folder.
    pub is_block: bool,
    /// One pod at a time (ReadWriteOncePod, and no other mode).
    pub is_for_one_pod: bool,
    /// The group that all processes of its pods belong to besides their own.
    pub group: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    HostPath {
        path: String,
        type_: String,
    },
    /// A folder, or a device with a file system (`fs_type` where it is named); `options` are those of the mount.
    Local {
        path: String,
        fs_type: Option<String>,
        options: Vec<String>,
    },
}

/// Asks the API for claims and volumes. Cheap to clone.
#[derive(Clone)]
pub struct Claims {
    client: Option<Client>,
}

/// The claim that a volume of a pod names, and whether it must be the pod's own (a generic ephemeral volume).
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), source.read_only.unwrap_or(false), false));
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| (format!("{name}-{}", volume.name), false, true))
}

impl Claims {
    pub fn new(client: Option<Client>) -> Self {
        Self { client }
    }

    /// Finds out where the data of a claim lies, on the node of that name.
    ///
    /// # Errors
    /// Upstream's words for a claim that cannot be used (yet).
    pub async fn resolve(&self, pod: &Pod, volume: &Volume, node_name: &str) -> Result<Found, String> {
        let Some((name, read_only, is_own)) = claim_of(pod, volume) else {
            return Err(format!("volume {:?} names no claim", volume.name));
        };
        let Some(client) = &self.client else {
            return Err("persistentVolumeClaim volumes need an API server".into());
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let failed = |problem: String| format!("error processing PVC {namespace}/{name}: {problem}");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let claim = claims
            .get(&name)
            .await
            .map_err(|error| failed(format!("failed to fetch PVC from API server: {}", shown(&error))))?;
        let bound = bound_volume(pod, &claim, is_own).map_err(failed)?;
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let found = volumes.get(&bound).await;
        let found = found
            .map_err(|error| failed(format!("failed to fetch PV {bound:?} from API server: {}", shown(&error))))?;
        let node = Api::<Node>::all(client.clone()).get(node_name).await;
        let node = node.map_err(|error| failed(format!("failed to fetch node {node_name:?}: {}", shown(&error))))?;
        judge(&claim, &found, &node, read_only).map_err(failed)
    }
}

/// The volume's name, where the claim may be used at all.
fn bound_volume(pod: &Pod, claim: &PersistentVolumeClaim, is_own: bool) -> Result<String, String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    if is_own && !owners.into_iter().any(|it| it.uid == spec::uid(pod) && it.controller == Some(true)) {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("PVC {name} was not created for pod (pod is not owner)"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err("can't start pod because PVC is being deleted".into());
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    name.filter(|_| phase == Some("Bound")).ok_or_else(|| "PVC is not bound".into())
}

/// Where a bound volume lies, if it may be used by this claim, on this node, by this kubelet.
fn judge(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    node: &Node,
    read_only: bool,
) -> Result<Found, String> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    let owner = spec.claim_ref.as_ref().and_then(|reference| reference.uid.clone());
    if owner != claim.metadata.uid {
        return Err(format!("PV {name:?} spec.claimRef.uid {owner:?} does not match PVC uid {:?}", claim.metadata.uid));
    }
    let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    if required.is_some_and(|selector| !node_affinity::selects(selector, node)) {
        return Err(format!("no matching NodeSelectorTerms: PV {name:?} is not on this node"));
    }
    let is_block = spec.volume_mode.as_deref() == Some("Block");
    let options = mount_options(volume);
    let place = match (&spec.host_path, &spec.local) {
        (Some(_), _) if !options.is_empty() => {
            return Err("mount options are not supported for this volume type".into());
        }
        (Some(it), _) => Place::HostPath { path: it.path.clone(), type_: it.type_.clone().unwrap_or_default() },
        (None, Some(it)) => Place::Local { path: it.path.clone(), fs_type: it.fs_type.clone(), options },
        (None, None) => {
            return Err(format!(
                "PV {name:?} is of a type that is not supported by this kubelet; hostPath and local volumes are"
            ));
        }
    };
    let modes = spec.access_modes.unwrap_or_default();
    let group = volume.metadata.annotations.as_ref().and_then(|it| it.get(GROUP)?.parse().ok());
    Ok(Found {
        volume: name,
        place,
        is_read_only: read_only || (!modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany")),
        is_block,
        is_for_one_pod: modes == ["ReadWriteOncePod"],
        group,
    })
}

/// Sorted, each once, as upstream hands them on; the annotation that was before the field counts first.
fn mount_options(volume: &PersistentVolume) -> Vec<String> {
    let annotations = volume.metadata.annotations.as_ref();
    let given: Vec<String> = match annotations.and_then(|it| it.get(MOUNT_OPTIONS)) {
        Some(text) => text.split(',').map(str::to_owned).collect(),
        None => volume.spec.as_ref().and_then(|spec| spec.mount_options.clone()).unwrap_or_default(),
    };
    BTreeSet::from_iter(given.into_iter().filter(|option| !option.is_empty())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(phase: &str) -> PersistentVolumeClaim {
        let object = json!({"metadata": {"name": "data", "uid": "c"}, "spec": {"volumeName": "pv"},
            "status": {"phase": phase}});
        serde_json::from_value(object).expect("a claim")
    }

    fn volume(spec: Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).expect("a volume")
    }

    fn local_place(options: &[&str]) -> Place {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Place::Local { path: "/data".into(), fs_type: None, options }
    }

    #[test]
    fn claims_must_be_bound() {
        let pod = Pod::default();
        assert_eq!(bound_volume(&pod, &claim("Bound"), false), Ok("pv".to_owned()));
        assert_eq!(bound_volume(&pod, &claim("Pending"), false), Err("PVC is not bound".to_owned()));
        assert!(bound_volume(&pod, &claim("Bound"), true).is_err_and(|error| error.contains("pod is not owner")));
    }

    #[test]
    fn volumes_of_this_node_are_found_and_others_refused() {
        let node = json!({"metadata": {"labels": {"kubernetes.io/hostname": "n1"}}});
        let here: Node = serde_json::from_value(node).expect("a node");
        let on = |node: &str| {
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}})
        };
        let of = |spec: Value| judge(&claim("Bound"), &volume(spec), &here, false);
        let reference = json!({"uid": "c"});
        let local = json!({"path": "/data"});
        let found = of(json!({"claimRef": reference, "local": local, "nodeAffinity": on("n1")})).expect("found");
        assert_eq!(found.place, local_place(&[]));
        assert!(!found.is_read_only && !found.is_block);
        let options = json!(["noexec", "noatime", "noexec", ""]);
        let with = of(json!({"claimRef": reference, "local": local, "mountOptions": options})).expect("found");
        assert_eq!(with.place, local_place(&["noatime", "noexec"]));
        let folder = json!({"claimRef": reference, "hostPath": {"path": "/data"}, "mountOptions": ["noexec"]});
        assert_eq!(of(folder), Err("mount options are not supported for this volume type".to_owned()));
        let mut older = volume(json!({"claimRef": reference, "local": local, "mountOptions": ["noexec"]}));
        older.metadata.annotations = Some([(MOUNT_OPTIONS.to_owned(), "nodev,noatime".to_owned())].into());
        older.metadata.annotations.get_or_insert_default().insert(GROUP.to_owned(), "1234".to_owned());
        older.spec.get_or_insert_default().access_modes = Some(vec!["ReadWriteOncePod".to_owned()]);
        let found = judge(&claim("Bound"), &older, &here, false).expect("found");
        assert_eq!(found.place, local_place(&["noatime", "nodev"]));
        assert_eq!((found.group, found.is_for_one_pod), (Some(1234), true));
        let elsewhere = of(json!({"claimRef": reference, "local": local, "nodeAffinity": on("n2")}));
        assert!(elsewhere.is_err_and(|error| error.contains("not on this node")));
        assert!(
            of(json!({"claimRef": {"uid": "x"}, "local": local})).is_err_and(|error| error.contains("does not match"))
        );
        assert!(of(json!({"claimRef": reference, "nfs": {"server": "s", "path": "/"}})).is_err());
        let block =
            json!({"claimRef": reference, "local": local, "volumeMode": "Block", "accessModes": ["ReadOnlyMany"]});
        assert!(of(block).is_ok_and(|found| found.is_block && found.is_read_only));
    }
}
