//! Rules of volumes and claims as tables: what is told of which object.

use super::*;

fn told(errors: ErrorList) -> Vec<String> {
    errors.iter().map(Error::to_string).collect()
}

fn volume(source: Value) -> Value {
    let mut volume =
        json!({"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}});
    for (kind, source) in source.as_object().unwrap() {
        volume["spec"][kind] = source.clone();
    }
    (HOOKS.default)(&mut volume);
    volume
}

#[test]
fn sources_good_and_bad() {
    for (source, want) in [
        (json!({"hostPath": {"path": "/x"}}), vec![]),
        (json!({}), vec!["spec: Required value: must specify a volume type"]),
        (
            json!({"hostPath": {"path": "/../x", "type": "No"}}),
            vec![
                "spec.hostPath.path: Invalid value: \"/../x\": must not contain '..'",
                "spec.hostPath.type: Unsupported value: \"No\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            json!({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
            vec!["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (
            json!({"hostPath": {"path": "/x"}, "nfs": {"server": "s", "path": "/"}}),
            vec!["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"nfs": {"path": "x"}}),
            vec!["spec.nfs.server: Required value", "spec.nfs.path: Invalid value: \"x\": must be an absolute path"],
        ),
        (
            json!({"local": {"path": "/x"}}),
            vec!["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (
            json!({"local": {"path": "/x"}, "nodeAffinity": {}}),
            vec!["spec.nodeAffinity.required: Required value: must specify required node constraints"],
        ),
        (
            json!({"csi": {"driver": "d", "nodeStageSecretRef": {}, "nodePublishSecretRef": {"name": "a"}}}),
            vec!["spec.csi.volumeHandle: Required value", "spec.csi.nodePublishSecretRef.namespace: Required value"],
        ),
        (
            json!({"gcePersistentDisk": {"pdName": "d", "partition": 256}}),
            vec!["spec.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive"],
        ),
        (json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:storage", "lun": 0}}), vec![]),
        (
            json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.x", "lun": 256, "chapAuthSession": true}}),
            vec![
                "spec.iscsi.iqn: Invalid value: \"iqn.x\": must be valid format",
                "spec.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                "spec.iscsi.secretRef: Required value",
            ],
        ),
        (json!({"fc": {"wwids": ["a"]}}), vec![]),
        (
            json!({"fc": {"targetWWNs": ["a"]}}),
            vec!["spec.fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            json!({"flexVolume": {"driver": "d", "options": {"a.k8s.io/b": "c"}}}),
            vec![
                "spec.flexVolume.options[a.k8s.io/b]: Invalid value: \"a.k8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (json!({"cephfs": {}}), vec!["spec.cephfs.monitors: Required value"]),
        (
            json!({"hostPath": {"path": "/x"}, "volumeAttributesClassName": "a"}),
            vec!["spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
        ),
    ] {
        assert_eq!(told(validate_volume(&volume(source.clone()))), want, "{source}");
    }
}

#[test]
fn amounts_and_modes() {
    let mut wrong = volume(json!({"hostPath": {"path": "/x"}}));
    wrong["spec"]["capacity"] = json!({"storage": "0"});
    wrong["spec"]["accessModes"] = json!(["ReadWriteOncePod", "ReadWriteOnce", "X"]);
    assert_eq!(
        told(validate_volume(&wrong)),
        [
            "spec.accessModes: Unsupported value: \"X\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
        ]
    );
}

#[test]
fn a_volume_stays_where_it_is() {
    let old = volume(json!({"csi": {"driver": "d", "volumeHandle": "h"}}));
    let mut new = old.clone();
    new["spec"]["csi"]["controllerExpandSecretRef"] = json!({"name": "a", "namespace": "b"});
    assert_eq!(told(validate_update(&new, &old)), [""; 0]);
    new["spec"]["csi"]["volumeHandle"] = json!("other");
    new["spec"]["volumeMode"] = json!("Block");
    assert_eq!(
        told(validate_update(&new, &old)),
        [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n\
             @@ -22,7 +22,7 @@\n  \"StorageOS\": null,\n  \"CSI\": {\n   \"Driver\": \"d\",\n-  \"VolumeHandle\": \"h\",\n+  \"VolumeHandle\": \"other\",\n   \"ReadOnly\": false,\n   \"FSType\": \"\",\n   \"VolumeAttributes\": null,\n",
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ]
    );
    let affinity = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}});
    let at = |key: &str| volume(json!({"hostPath": {"path": "/x"}, "nodeAffinity": affinity(key)}));
    let (beta, stable) = (at("beta.kubernetes.io/os"), at("kubernetes.io/os"));
    assert_eq!(told(validate_update(&stable, &beta)), [""; 0]);
    assert_eq!(told(validate_update(&beta, &stable)).len(), 1);
}

#[test]
fn an_update_tells_what_is_wrong_with_a_volume_once_more() {
    let (old, wrong) = (volume(json!({})), volume(json!({"accessModes": ["X"]})));
    let more =
        told(validate_update(&wrong, &old)).into_iter().filter(|text| text.starts_with("spec.accessModes")).count();
    assert_eq!(more, 1);
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchFields": [{"key": "a", "operator": "Exists"}]}]}});
    let told = told(validate_update(&volume(json!({})), &volume(json!({"nodeAffinity": affinity}))));
    assert!(
        told.contains(
            &"nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA"
                .to_owned()
        ),
        "{told:?}"
    );
}

#[test]
fn phases_have_times() {
    let old = json!({"status": {"phase": "Pending", "lastPhaseTransitionTime": "a"}});
    for (status, want) in [
        (json!({"phase": "Pending"}), "a"),
        (json!({"phase": "Bound"}), "now"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "a"}), "now"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "b"}), "b"),
    ] {
        let mut new = json!({"status": status});
        stamp_phase(&mut new, &old, "now");
        assert_eq!(new["status"]["lastPhaseTransitionTime"], want);
    }
}

fn claim(spec: Value) -> Value {
    let mut claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}});
    for (name, value) in spec.as_object().unwrap() {
        claim["spec"][name] = value.clone();
    }
    claim
}

#[test]
fn sources_of_claims_are_joined() {
    let joined = |spec: Value| {
        let mut claim = claim(spec);
        (claim::HOOKS.prepare_create)(&mut claim);
        (claim["spec"]["dataSource"].clone(), claim["spec"]["dataSourceRef"].clone())
    };
    let other = json!({"kind": "PersistentVolumeClaim", "name": "c"});
    assert_eq!(joined(json!({"dataSource": other})), (other.clone(), other.clone()));
    assert_eq!(joined(json!({"dataSourceRef": other})), (other.clone(), other.clone()));
    assert_eq!(joined(json!({"dataSource": {"kind": "Odd", "name": "c"}})), (Value::Null, Value::Null));
    let far = json!({"kind": "PersistentVolumeClaim", "name": "c", "namespace": "n"});
    assert_eq!(joined(json!({"dataSourceRef": far})), (Value::Null, Value::Null));
}

#[test]
fn what_a_claim_asks_for_stays() {
    let check = |new: Value, old: Value, status: Value| {
        let (mut new, mut old) = (claim(new), claim(old));
        new["status"] = status.clone();
        old["status"] = status;
        told((claim::HOOKS.validate_update)(&new, &old))
    };
    let bound = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    let asks = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    let immutable = |difference: &str| {
        format!(
            "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{difference}"
        )
    };
    let other_volume = "@@ -9,7 +9,7 @@\n    \"storage\": \"2Gi\"\n   }\n  },\n- \"VolumeName\": \"w\",\n+ \"VolumeName\": \"v\",\n  \"StorageClassName\": null,\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n";
    let other_class = "@@ -10,7 +10,7 @@\n   }\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"t\",\n+ \"StorageClassName\": \"s\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n";
    let other_size = "@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"2Gi\"\n+   \"storage\": \"3Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n";
    assert_eq!(check(json!({"volumeName": "v"}), json!({}), bound.clone()), [""; 0]);
    assert_eq!(check(json!({"volumeName": "v"}), json!({"volumeName": "w"}), bound.clone()), [immutable(other_volume)]);
    assert_eq!(check(json!({"storageClassName": "s"}), json!({}), bound.clone()), [""; 0]);
    assert_eq!(
        check(json!({"storageClassName": "s"}), json!({"storageClassName": "t"}), bound.clone()),
        [immutable(other_class)]
    );
    assert_eq!(check(asks("3Gi"), asks("2Gi"), bound.clone()), [""; 0]);
    assert_eq!(check(asks("3Gi"), asks("2Gi"), json!({"phase": "Pending"})), [immutable(other_size)]);
    assert_eq!(
        check(asks("1Gi"), asks("2Gi"), bound),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
}

#[test]
fn what_a_claim_is_said_to_hold() {
    let new = json!({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {
        "capacity": {"storage": "-1"}, "allocatedResources": {"cpu": "1"}, "allocatedResourceStatuses": {"storage": "No"},
    }});
    assert_eq!(
        told((claim::HOOKS.validate_status)(&new, &Value::Null)),
        [
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        ]
    );
}

#[test]
fn modes_are_shown_in_upstreams_order() {
    let modes = [json!("ReadWriteMany"), json!("ReadWriteOnce"), json!("ReadWriteOnce")];
    assert_eq!(shown_modes(&modes), "RWO,RWX");
}
