//! Kinds of volumes that were built into Kubernetes and are CSI drivers' by now: which driver has a volume, and by what name.
//!
//! Only as much as it takes to count them. Source: Kubernetes concept "Volumes", CSI migration.

use k8s_openapi::api::core::v1 as core;

const AWS: &str = "ebs.csi.aws.com";
const AZURE: &str = "disk.csi.azure.com";
const CINDER: &str = "cinder.csi.openstack.org";
const GCE: &str = "pd.csi.storage.gke.io";
const PORTWORX: &str = "pxd.portworx.com";

/// The driver that makes a class's volumes.
pub fn driver_of(provisioner: &str) -> &str {
    match provisioner {
        "kubernetes.io/aws-ebs" => AWS,
        "kubernetes.io/azure-disk" => AZURE,
        "kubernetes.io/cinder" => CINDER,
        "kubernetes.io/gce-pd" => GCE,
        "kubernetes.io/portworx-volume" => PORTWORX,
        own => own,
    }
}

/// A driver and a name that no other of its volumes has.
pub type Moved = (&'static str, Box<str>);

pub(super) fn of_pod(volume: &core::Volume) -> Option<Moved> {
    let aws = volume.aws_elastic_block_store.as_ref().map(|disk| (AWS, aws(&disk.volume_id)));
    let azure = || volume.azure_disk.as_ref().map(|disk| (AZURE, disk.disk_uri.as_str()));
    let cinder = || volume.cinder.as_ref().map(|disk| (CINDER, disk.volume_id.as_str()));
    let gce = || volume.gce_persistent_disk.as_ref().map(|disk| (GCE, disk.pd_name.as_str()));
    let portworx = || volume.portworx_volume.as_ref().map(|disk| (PORTWORX, disk.volume_id.as_str()));
    owned(aws.or_else(azure).or_else(cinder).or_else(gce).or_else(portworx))
}

pub(super) fn of_volume(spec: &core::PersistentVolumeSpec) -> Option<Moved> {
    let aws = spec.aws_elastic_block_store.as_ref().map(|disk| (AWS, aws(&disk.volume_id)));
    let azure = || spec.azure_disk.as_ref().map(|disk| (AZURE, disk.disk_uri.as_str()));
    let cinder = || spec.cinder.as_ref().map(|disk| (CINDER, disk.volume_id.as_str()));
    let gce = || spec.gce_persistent_disk.as_ref().map(|disk| (GCE, disk.pd_name.as_str()));
    let portworx = || spec.portworx_volume.as_ref().map(|disk| (PORTWORX, disk.volume_id.as_str()));
    owned(aws.or_else(azure).or_else(cinder).or_else(gce).or_else(portworx))
}

/// `aws://ZONE/ID`, or the ID alone.
fn aws(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, id)| id)
}

fn owned(found: Option<(&'static str, &str)>) -> Option<Moved> {
    found.map(|(driver, name)| (driver, name.into()))
}
