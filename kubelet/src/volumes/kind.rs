//! What kind of volume a pod asks for, and which are not built. Pure.

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume};

/// The kind of a volume, with what is needed to make it.
pub(crate) enum Kind<'a> {
    EmptyDir(&'a EmptyDirVolumeSource),
    HostPath {
        path: &'a str,
        type_: &'a str,
    },
    /// Files made from API objects: the plugin's name, and whether they stay in memory.
    Files {
        plugin: &'static str,
        in_memory: bool,
    },
    /// Data that outlives the pod; where it lies the API says.
    Claim,
    Image,
    Unsupported(&'static str),
}

pub(crate) fn kind(volume: &Volume) -> Kind<'_> {
    let files = |plugin, in_memory| Kind::Files { plugin, in_memory };
    if let Some(source) = &volume.empty_dir {
        return Kind::EmptyDir(source);
    }
    if let Some(source) = &volume.host_path {
        return Kind::HostPath { path: &source.path, type_: source.type_.as_deref().unwrap_or_default() };
    }
    if volume.config_map.is_some() {
        return files("kubernetes.io/configmap", false);
    }
    if volume.secret.is_some() {
        return files("kubernetes.io/secret", true);
    }
    if volume.downward_api.is_some() {
        return files("kubernetes.io/downward-api", true);
    }
    if volume.projected.is_some() {
        return files("kubernetes.io/projected", true);
    }
    if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
        return Kind::Claim;
    }
    if volume.image.is_some() {
        return Kind::Image;
    }
    let others = [
        (volume.csi.is_some(), "csi"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.fc.is_some(), "fc"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.cinder.is_some(), "cinder"),
        (volume.flocker.is_some(), "flocker"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
    ];
    Kind::Unsupported(others.into_iter().find(|(is, _)| *is).map_or("of no known type", |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn storage_drivers_are_refused_by_their_type() {
        for (name, source) in [
            ("csi", json!({"driver": "csi.example.com"})),
            ("nfs", json!({"server": "s", "path": "/"})),
            ("iscsi", json!({"targetPortal": "t", "iqn": "i", "lun": 0})),
            ("fc", json!({})),
            ("gitRepo", json!({"repository": "r"})),
            ("flexVolume", json!({"driver": "d"})),
            ("cephfs", json!({"monitors": []})),
            ("rbd", json!({"monitors": [], "image": "i"})),
            ("glusterfs", json!({"endpoints": "e", "path": "p"})),
            ("awsElasticBlockStore", json!({"volumeID": "v"})),
            ("azureDisk", json!({"diskName": "d", "diskURI": "u"})),
            ("azureFile", json!({"secretName": "s", "shareName": "n"})),
            ("cinder", json!({"volumeID": "v"})),
            ("flocker", json!({})),
            ("gcePersistentDisk", json!({"pdName": "p"})),
            ("photonPersistentDisk", json!({"pdID": "p"})),
            ("portworxVolume", json!({"volumeID": "v"})),
            ("quobyte", json!({"registry": "r", "volume": "v"})),
            ("scaleIO", json!({"gateway": "g", "system": "s", "secretRef": {}})),
            ("storageos", json!({})),
            ("vsphereVolume", json!({"volumePath": "v"})),
        ] {
            let volume: Volume = serde_json::from_value(json!({"name": "v", name: source})).expect(name);
            assert!(matches!(kind(&volume), Kind::Unsupported(told) if told == name), "{name}");
        }
    }
}
