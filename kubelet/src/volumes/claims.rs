//! PersistentVolumeClaims bound to volumes that lie on this node: hostPath and local. Others are refused by their type.
//!
//! Enter at [`Claims::resolve`]. What a volume comes to is decided by [`judge`], which is pure.

use std::collections::BTreeSet;

use component::{client::shown, scheduling::node_affinity};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Api, Client};

use super::error::Problem;
use crate::pod::spec;

/// Keeps a claim that is being deleted until no pod uses it.
const PROTECTION: &str = "kubernetes.io/pvc-protection";
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
    pub async fn resolve(&self, pod: &Pod, volume: &Volume, node_name: &str) -> Result<Found, Problem> {
        let Some((name, read_only, is_own)) = claim_of(pod, volume) else {
            return Err(Problem::Unknown(format!("volume {:?} names no claim", volume.name)));
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let failed = |problem: String| Problem::Unknown(format!("error processing PVC {namespace}/{name}: {problem}"));
        let Some(client) = &self.client else {
            return Err(failed("failed to fetch PVC from API server: there is none".into()));
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let claim = claims
            .get(&name)
            .await
            .map_err(|error| failed(format!("failed to fetch PVC from API server: {}", shown(&error))))?;
        let bound = bound_volume(&claim).map_err(failed)?;
        if is_own {
            is_for_pod(pod, &claim).map_err(Problem::Unknown)?;
        }
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let found = volumes.get(&bound).await;
        let found =
            found.map_err(|error| failed(format!("failed to fetch PV {bound} from API server: {}", shown(&error))))?;
        points_to(&found, &claim).map_err(failed)?;
        fits_use(pod, &volume.name, &found).map_err(Problem::Unknown)?;
        let node = Api::<Node>::all(client.clone()).get(node_name).await;
        let node = node.map_err(|error| {
            let message = format!("failed to fetch node {node_name:?}: {}", shown(&error));
            Problem::Step { step: AFFINITY, volume: Some(bound.clone()), message }
        })?;
        judge(&found, &node, read_only)
    }
}

const AFFINITY: &str = "MountVolume.NodeAffinity check";

/// The volume's name, where the claim may be used at all. One that is deleted and protected is in use, perhaps by this very
/// pod, when the kubelet comes back.
fn bound_volume(claim: &PersistentVolumeClaim) -> Result<String, String> {
    let is_protected = claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == PROTECTION);
    if claim.metadata.deletion_timestamp.is_some() && !is_protected {
        return Err("PVC is being deleted".into());
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Bound") {
        return Err("PVC is not bound".into());
    }
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    name.ok_or_else(|| "PVC has empty pvc.Spec.VolumeName".into())
}

/// The claim of a generic ephemeral volume is its pod's own.
fn is_for_pod(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    if owners.any(|owner| owner.uid == spec::uid(pod) && owner.controller == Some(true)) {
        return Ok(());
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    Err(format!("PVC {namespace}/{name} was not created for pod {} (pod is not owner)", spec::identity(pod)))
}

fn points_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    if reference.uid == claim.metadata.uid {
        return Ok(());
    }
    let [theirs, ours] = [&reference.uid, &claim.metadata.uid].map(|uid| uid.as_deref().unwrap_or_default());
    Err(format!("found PV object {name} but its pv.Spec.ClaimRef.UID {theirs} does not point to claim.UID {ours}"))
}

/// A device is no folder, and a folder no device. `name` is the pod's for the volume.
fn fits_use(pod: &Pod, name: &str, volume: &PersistentVolume) -> Result<(), String> {
    let is_block = volume.spec.as_ref().is_some_and(|spec| spec.volume_mode.as_deref() == Some("Block"));
    let (mounts, devices) = spec::volume_uses(pod);
    match is_block {
        true if mounts.contains(name) => {
            Err(format!("volume {name} has volumeMode Block, but is specified in volumeMounts"))
        }
        false if devices.contains(name) => {
            Err(format!("volume {name} has volumeMode Filesystem, but is specified in volumeDevices"))
        }
        _ => Ok(()),
    }
}

/// Where a bound volume lies, if it may be used on this node, by this kubelet.
fn judge(volume: &PersistentVolume, node: &Node, read_only: bool) -> Result<Found, Problem> {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    let refused = |step, message: &str| Problem::Step { step, volume: Some(name.clone()), message: message.to_owned() };
    let is_block = spec.volume_mode.as_deref() == Some("Block");
    if is_block && spec.host_path.is_some() {
        let message = "failed to find BlockVolumeMapper plugin. Volume plugin is nil.";
        return Err(refused("MapVolume.FindMapperPluginBySpec", message));
    }
    let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    if required.is_some_and(|selector| !node_affinity::selects(selector, node)) {
        let step = if is_block { "MapVolume.NodeAffinity check" } else { AFFINITY };
        return Err(refused(step, "no matching NodeSelectorTerms"));
    }
    let options = mount_options(volume);
    let place = match (&spec.host_path, &spec.local) {
        (Some(_), _) if !options.is_empty() => {
            let step = "MountVolume.MountOptionSupport check";
            return Err(refused(step, "mount options are not supported for this volume type"));
        }
        (Some(it), _) => Place::HostPath { path: it.path.clone(), type_: it.type_.clone().unwrap_or_default() },
        (None, Some(it)) => Place::Local { path: it.path.clone(), fs_type: it.fs_type.clone(), options },
        (None, None) => {
            return Err(Problem::Unknown(format!(
                "PV {name} is of a type that is not supported by this kubelet; hostPath and local volumes are"
            )));
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
        assert_eq!(bound_volume(&claim("Bound")), Ok("pv".to_owned()));
        assert_eq!(bound_volume(&claim("Pending")), Err("PVC is not bound".to_owned()));
        let mut nameless = claim("Bound");
        nameless.spec.get_or_insert_default().volume_name = None;
        assert_eq!(bound_volume(&nameless), Err("PVC has empty pvc.Spec.VolumeName".to_owned()));
        let deleted = |finalizers: Value| -> PersistentVolumeClaim {
            let mut object = serde_json::to_value(claim("Bound")).expect("JSON");
            object["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
            object["metadata"]["finalizers"] = finalizers;
            serde_json::from_value(object).expect("a claim")
        };
        assert_eq!(bound_volume(&deleted(json!(["x"]))), Err("PVC is being deleted".to_owned()));
        assert_eq!(bound_volume(&deleted(json!([PROTECTION]))), Ok("pv".to_owned()), "a pod has it");
    }

    #[test]
    fn claims_belong_to_their_pods_and_volumes_to_their_claims() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}})).expect("a pod");
        let not_owner = "PVC /data was not created for pod ns/p (pod is not owner)";
        assert_eq!(is_for_pod(&pod, &claim("Bound")), Err(not_owner.to_owned()));
        let of = |reference: Value| points_to(&volume(json!({"claimRef": reference})), &claim("Bound"));
        assert_eq!(of(json!({"uid": "c"})), Ok(()));
        let other = "found PV object pv but its pv.Spec.ClaimRef.UID x does not point to claim.UID c";
        assert_eq!(of(json!({"uid": "x"})), Err(other.to_owned()));
        assert!(of(Value::Null).is_err_and(|error| error.contains("has a nil pv.Spec.ClaimRef")));
    }

    #[test]
    fn devices_are_no_folders() {
        let pod = |uses: &str| -> Pod {
            let container = json!({"name": "c", uses: [{"name": "data"}]});
            let object = json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}});
            serde_json::from_value(object).expect("a pod")
        };
        let of = |uses: &str, mode: &str| fits_use(&pod(uses), "data", &volume(json!({"volumeMode": mode})));
        assert_eq!((of("volumeMounts", "Filesystem"), of("volumeDevices", "Block")), (Ok(()), Ok(())));
        let words =
            |mode: &str, uses: &str| Err(format!("volume data has volumeMode {mode}, but is specified in {uses}"));
        assert_eq!(of("volumeMounts", "Block"), words("Block", "volumeMounts"));
        assert_eq!(of("volumeDevices", "Filesystem"), words("Filesystem", "volumeDevices"));
    }

    #[test]
    fn volumes_of_this_node_are_found_and_others_refused() {
        let node = json!({"metadata": {"labels": {"kubernetes.io/hostname": "n1"}}});
        let here: Node = serde_json::from_value(node).expect("a node");
        let on = |node: &str| {
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
                [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}})
        };
        let of = |spec: Value| judge(&volume(spec), &here, false);
        let says = |of: Result<Found, Problem>| {
            super::super::error::told(vec![("v".into(), of.expect_err("refused"))])[0].to_string()
        };
        let reference = json!({"uid": "c"});
        let local = json!({"path": "/data"});
        let found = of(json!({"claimRef": reference, "local": local, "nodeAffinity": on("n1")})).expect("found");
        assert_eq!(found.place, local_place(&[]));
        assert!(!found.is_read_only && !found.is_block);
        let options = json!(["noexec", "noatime", "noexec", ""]);
        let with = of(json!({"claimRef": reference, "local": local, "mountOptions": options})).expect("found");
        assert_eq!(with.place, local_place(&["noatime", "noexec"]));
        let folder = json!({"claimRef": reference, "hostPath": {"path": "/data"}, "mountOptions": ["noexec"]});
        let words = "MountVolume.MountOptionSupport check failed for volume \"pv\" : mount options are not supported for this volume type";
        assert_eq!(says(of(folder)), words);
        let mut older = volume(json!({"claimRef": reference, "local": local, "mountOptions": ["noexec"]}));
        older.metadata.annotations = Some([(MOUNT_OPTIONS.to_owned(), "nodev,noatime".to_owned())].into());
        older.metadata.annotations.get_or_insert_default().insert(GROUP.to_owned(), "1234".to_owned());
        older.spec.get_or_insert_default().access_modes = Some(vec!["ReadWriteOncePod".to_owned()]);
        let found = judge(&older, &here, false).expect("found");
        assert_eq!(found.place, local_place(&["noatime", "nodev"]));
        assert_eq!((found.group, found.is_for_one_pod), (Some(1234), true));
        let elsewhere = of(json!({"claimRef": reference, "local": local, "nodeAffinity": on("n2")}));
        let words = "MountVolume.NodeAffinity check failed for volume \"pv\" : no matching NodeSelectorTerms";
        assert_eq!(says(elsewhere), words);
        assert!(of(json!({"claimRef": reference, "nfs": {"server": "s", "path": "/"}})).is_err());
        let block =
            json!({"claimRef": reference, "local": local, "volumeMode": "Block", "accessModes": ["ReadOnlyMany"]});
        assert!(of(block).is_ok_and(|found| found.is_block && found.is_read_only));
        let folder = json!({"claimRef": reference, "hostPath": {"path": "/dev/sda"}, "volumeMode": "Block"});
        let words = "MapVolume.FindMapperPluginBySpec failed for volume \"pv\" : failed to find BlockVolumeMapper plugin. Volume plugin is nil.";
        assert_eq!(says(of(folder)), words);
    }
}
