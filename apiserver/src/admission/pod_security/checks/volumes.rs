//! Rules about volumes.

use std::collections::BTreeSet;

use machinery::meta;
use serde_json::Value;

use super::{Violation, name, plural, quoted};

pub(super) fn host_path(pod: &Value) -> Option<Violation> {
    let volumes = meta::list(pod, "spec.volumes").iter().filter(|volume| !volume["hostPath"].is_null());
    let bad: Vec<&str> = volumes.map(name).collect();
    let told = || format!("{} {}", plural("volume", "volumes", bad.len()), quoted(bad.iter().copied()));
    (!bad.is_empty()).then(|| Violation::new("hostPath volumes", told()))
}

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Known sources, in the order in which upstream looks for them.
const REFUSED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn restricted(pod: &Value) -> Option<Violation> {
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in meta::list(pod, "spec.volumes") {
        let has = |kind: &&&str| !volume[**kind].is_null();
        if !ALLOWED.iter().any(|kind| has(&kind)) {
            bad.push(name(volume));
            kinds.insert(REFUSED.iter().find(has).copied().unwrap_or("unknown"));
        }
    }
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", bad.len()),
            quoted(bad.iter().copied()),
            plural("uses", "use", bad.len()),
            plural("restricted volume type", "restricted volume types", kinds.len()),
            quoted(kinds.iter().copied())
        );
        Violation::new("restricted volume types", detail)
    })
}
