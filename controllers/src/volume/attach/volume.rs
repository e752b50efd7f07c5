//! Which volumes are attached to nodes, and how they are named there.
//!
//! Pure. Names are upstream's: kubelets compare them. Volumes of cloud providers that upstream turns into volumes of their
//! CSI drivers are not known here.

use k8s_openapi::api::core::v1::{FCVolumeSource, PersistentVolume, PersistentVolumeSpec};
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::super::facts;
use crate::common::pod::Volume as PodVolume;

const CSI: &str = "kubernetes.io/csi";
const FC: &str = "kubernetes.io/fc";
const ISCSI: &str = "kubernetes.io/iscsi";

/// A volume that a node has to be given before its kubelet may mount it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// As it stands in the status of nodes: plugin and volume.
    pub(super) unique: String,
    /// As people know it: the PersistentVolume's name, or that of the pod's volume.
    pub(super) name: String,
    /// Whom a VolumeAttachment asks; without one it is attached as soon as it is wanted.
    pub(super) csi: Option<Csi>,
    /// It may be attached to one node only.
    pub(super) exclusive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Csi {
    pub(super) driver: String,
    pub(super) handle: String,
}

impl Csi {
    /// The VolumeAttachment for a node.
    pub(super) fn attachment_name(&self, node: &str) -> String {
        let hash = Sha256::digest(format!("{}{}{node}", self.handle, self.driver));
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("csi-{digits}")
    }

    /// From the name in a node's status.
    pub(super) fn of_unique(unique: &str) -> Option<Self> {
        let (driver, handle) = unique.strip_prefix(CSI)?.strip_prefix('/')?.split_once('^')?;
        Some(Csi { driver: driver.to_owned(), handle: handle.to_owned() })
    }

    fn unique(&self) -> String {
        format!("{CSI}/{}^{}", self.driver, self.handle)
    }
}

/// None for a volume that no node has to be given. `is_attached` tells of a driver whether it attaches volumes at all.
pub(super) fn of_persistent(volume: &PersistentVolume, is_attached: impl Fn(&str) -> bool) -> Option<Volume> {
    let spec = volume.spec.as_ref()?;
    let csi = spec.csi.as_ref().map(|csi| Csi { driver: csi.driver.clone(), handle: csi.volume_handle.clone() });
    let unique = match &csi {
        Some(csi) if is_attached(&csi.driver) => csi.unique(),
        Some(_) => return None,
        None => of_fabric(spec)?,
    };
    let modes = facts::access_modes(volume);
    let is_shared = |mode: &String| matches!(mode.as_str(), "ReadWriteMany" | "ReadOnlyMany");
    let exclusive = !modes.is_empty() && !modes.iter().any(is_shared);
    Some(Volume { unique, name: volume.name_any(), csi, exclusive })
}

fn of_fabric(spec: &PersistentVolumeSpec) -> Option<String> {
    let iscsi = spec.iscsi.as_ref().map(|iscsi| target(&iscsi.target_portal, &iscsi.iqn, iscsi.lun));
    iscsi.or_else(|| spec.fc.as_ref().and_then(fibre))
}

/// One that a pod brings without a claim.
pub(super) fn of_pod(volume: &PodVolume) -> Option<Volume> {
    let iscsi = volume.iscsi.as_ref().map(|iscsi| target(&iscsi.target_portal, &iscsi.iqn, iscsi.lun));
    let unique = iscsi.or_else(|| volume.fc.as_ref().and_then(fibre))?;
    Some(Volume { unique, name: volume.name.clone(), csi: None, exclusive: false })
}

fn target(portal: &str, iqn: &str, lun: i32) -> String {
    format!("{ISCSI}/{portal}:{iqn}:{lun}")
}

/// Lists as Go writes them.
fn fibre(source: &FCVolumeSource) -> Option<String> {
    let list = |names: &Option<Vec<String>>| names.clone().filter(|names| !names.is_empty()).map(|n| n.join(" "));
    let by_target = list(&source.target_wwns).zip(source.lun).map(|(names, lun)| format!("{FC}/[{names}]:{lun}"));
    by_target.or_else(|| list(&source.wwids).map(|names| format!("{FC}/[{names}]")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn names() {
        let csi = |driver: &str| json!({"driver": driver, "volumeHandle": "h^1"});
        let iscsi = json!({"targetPortal": "10.0.0.1:3260", "iqn": "iqn.x", "lun": 3});
        let rows: [(Value, Option<(&str, bool)>); 9] = [
            (json!({"csi": csi("d"), "accessModes": ["ReadWriteOnce"]}), Some(("kubernetes.io/csi/d^h^1", true))),
            (json!({"csi": csi("d"), "accessModes": ["ReadWriteOncePod"]}), Some(("kubernetes.io/csi/d^h^1", true))),
            (
                json!({"csi": csi("d"), "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}),
                Some(("kubernetes.io/csi/d^h^1", false)),
            ),
            (json!({"csi": csi("d")}), Some(("kubernetes.io/csi/d^h^1", false))),
            (json!({"csi": csi("files")}), None),
            (json!({"hostPath": {"path": "/x"}}), None),
            (json!({"iscsi": iscsi}), Some(("kubernetes.io/iscsi/10.0.0.1:3260:iqn.x:3", false))),
            (json!({"fc": {"targetWWNs": ["a", "b"], "lun": 1}}), Some(("kubernetes.io/fc/[a b]:1", false))),
            (json!({"fc": {"wwids": ["a"]}}), Some(("kubernetes.io/fc/[a]", false))),
        ];
        for (spec, want) in rows {
            let volume = serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap();
            let got = of_persistent(&volume, |driver| driver != "files");
            assert_eq!(got.as_ref().map(|v| (v.unique.as_str(), v.exclusive)), want, "{spec}");
        }
        let csi = Csi::of_unique("kubernetes.io/csi/d^h^1").unwrap();
        assert_eq!((csi.driver.as_str(), csi.handle.as_str()), ("d", "h^1"));
        // printf 'h^1dn' | sha256sum
        let name = "csi-271ea201d43b4a99a1abc957e5070636078019a64a29efbb4e24601704417433";
        assert_eq!(csi.attachment_name("n"), name);
        assert_eq!(Csi::of_unique("kubernetes.io/iscsi/x"), None);
    }
}
