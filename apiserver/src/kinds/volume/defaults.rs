//! What sources of volumes say when they say nothing, in a PersistentVolume and in a pod.

use serde_json::{Map, Value};

use crate::kinds::defaults::{set, set_absent, within};

pub fn source(fields: &mut Map<String, Value>) {
    if let Some(path) = within(fields, "hostPath") {
        set_absent(path, "type", "");
    }
    if let Some(target) = within(fields, "iscsi") {
        set(target, "iscsiInterface", "default");
    }
    if let Some(image) = within(fields, "rbd") {
        set(image, "pool", "rbd");
        set(image, "user", "admin");
        set(image, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = within(fields, "azureDisk") {
        set_absent(disk, "cachingMode", "ReadWrite");
        set_absent(disk, "fsType", "ext4");
        set_absent(disk, "readOnly", false);
        set_absent(disk, "kind", "Shared");
    }
    if let Some(volume) = within(fields, "scaleIO") {
        set(volume, "storageMode", "ThinProvisioned");
        set(volume, "fsType", "xfs");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_stays() {
        for (given, want) in [
            (json!({"hostPath": {"path": "/a"}}), json!({"hostPath": {"path": "/a", "type": ""}})),
            (json!({"iscsi": {}}), json!({"iscsi": {"iscsiInterface": "default"}})),
            (
                json!({"rbd": {"pool": "p"}}),
                json!({"rbd": {"pool": "p", "user": "admin", "keyring": "/etc/ceph/keyring"}}),
            ),
            (
                json!({"azureDisk": {"kind": "Managed", "readOnly": true}}),
                json!({"azureDisk": {"kind": "Managed", "readOnly": true, "cachingMode": "ReadWrite", "fsType": "ext4"}}),
            ),
            (
                json!({"scaleIO": {"fsType": ""}}),
                json!({"scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"}}),
            ),
            (json!({"nfs": {"path": "/a"}}), json!({"nfs": {"path": "/a"}})),
        ] {
            let mut fields = given.as_object().unwrap().clone();
            source(&mut fields);
            assert_eq!(Value::from(fields), want);
        }
    }
}
