//! What the controller manager itself can make, delete and clean: directories of its own machine, for a cluster of one.
//!
//! All else is the business of external provisioners, which watch for their name.

use std::path::{Component, Path, PathBuf};

use component::random::Random;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::facts;

pub(super) const HOST_PATH: &str = "kubernetes.io/host-path";
const IN_TREE: &str = "kubernetes.io/";
/// Known, and of no use here.
const NOT_PROVISIONING: [&str; 2] = ["kubernetes.io/nfs", "kubernetes.io/iscsi"];

/// What was once part of Kubernetes and is a CSI driver now, which provisions by its own name.
const MOVED: [(&str, &str); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

/// Who is to make a volume of a class.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Provisioner {
    HostPath,
    /// By this name.
    External(String),
    /// Nobody, and why.
    None(String),
}

pub(super) fn provisioner_of(class: &StorageClass) -> Provisioner {
    if let Some((_, driver)) = MOVED.iter().find(|(moved, _)| *moved == class.provisioner) {
        return Provisioner::External((*driver).to_owned());
    }
    match class.provisioner.as_str() {
        HOST_PATH => Provisioner::HostPath,
        name if NOT_PROVISIONING.contains(&name) => Provisioner::None("no provisionable volume plugin matched".into()),
        name if name.starts_with(IN_TREE) => Provisioner::None(format!("no volume plugin matched name: {name}")),
        name => Provisioner::External(name.to_owned()),
    }
}

/// Who is to delete what lies behind a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deleter {
    HostPath(PathBuf),
    External,
    /// Nobody can, and why.
    None(String),
}

pub(super) fn deleter_of(volume: &PersistentVolume) -> Deleter {
    let spec = volume.spec.clone().unwrap_or_default();
    let provisioner = crate::common::map(&volume.metadata.annotations).get(facts::PROVISIONED_BY).cloned();
    let host_path = spec.host_path.map(|h| PathBuf::from(h.path));
    match (provisioner.as_deref().filter(|p| !p.is_empty()), host_path) {
        (Some(HOST_PATH) | None, Some(path)) => Deleter::HostPath(path),
        (Some(HOST_PATH), None) => Deleter::None("spec.PersistentVolumeSource.HostPath is nil".into()),
        (Some(name), _) if name.starts_with(IN_TREE) => Deleter::None(format!("no volume plugin matched name: {name}")),
        (Some(_), _) => Deleter::External,
        (None, None) if spec.csi.is_some() || facts::has_annotation(volume, facts::MIGRATED_TO) => Deleter::External,
        (None, None) => {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let why =
                if spec.nfs.is_some() { "no deletable volume plugin matched" } else { "no volume plugin matched" };
            Deleter::None(format!("error getting deleter volume plugin for volume {name:?}: {why}"))
        }
    }
}

/// Makes a directory below `root`, and the volume that is it.
pub(super) fn provision_host_path(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    root: &Path,
    random: &Random,
) -> Result<PersistentVolume, String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("{HOST_PATH} does not support block volume provisioning"));
    }
    let path = root.join(uuid(random));
    std::fs::create_dir_all(&path).map_err(|e| format!("mkdir {}: {e}", path.display()))?;
    let requests = spec.resources.and_then(|r| r.requests).unwrap_or_default();
    let capacity = requests.into_iter().filter(|(name, _)| name == "storage").collect();
    let created_by = ("kubernetes.io/createdby".to_owned(), "hostpath-dynamic-provisioner".to_owned());
    Ok(PersistentVolume {
        metadata: ObjectMeta { annotations: Some([created_by].into()), ..Default::default() },
        spec: Some(PersistentVolumeSpec {
            persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".into())),
            access_modes: Some(spec.access_modes.unwrap_or_else(|| vec!["ReadWriteOnce".into()])),
            capacity: Some(capacity),
            host_path: Some(HostPathVolumeSource { path: path.to_string_lossy().into_owned(), type_: None }),
            ..Default::default()
        }),
        status: None,
    })
}

fn uuid(random: &Random) -> String {
    let (high, low) = (random.u64(), random.u64());
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", (low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff)
}

/// Deletes a directory, for which only what lies below /tmp is taken, by no way around.
pub(super) fn delete_host_path(path: &Path) -> Result<(), String> {
    let below = path.strip_prefix("/tmp").is_ok_and(|rest| {
        rest.components().next().is_some() && rest.components().all(|c| matches!(c, Component::Normal(_)))
    });
    if !below {
        return Err(format!("host_path deleter only supports /tmp/.+ but received provided {}", path.display()));
    }
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("delete {}: {e}", path.display())),
        _ => Ok(()),
    }
}
