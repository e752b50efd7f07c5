//! Nodes, classes and volumes.

use serde_json::json;

use super::check;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_classes() {
    const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
    let node = json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "providerID": "a://b"}});
    check(vec![
        (
            "/api/v1/nodes",
            "v1/Node",
            node.clone(),
            json!({"spec": {"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.2.0.0/24"], "providerID": "a://c"}}),
            &[
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            ],
        ),
        (
            "/api/v1/nodes",
            "v1/Node",
            node,
            json!({"spec": {"unschedulable": true, "taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            &[],
        ),
        (
            CLASSES,
            "storage.k8s.io/v1/StorageClass",
            json!({"provisioner": "a.io/b"}),
            json!({"provisioner": "a.io/c", "parameters": {"a": "b"}, "reclaimPolicy": "Retain",
                "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true}),
            &[
                "parameters: Invalid value: {\"a\":\"b\"}: field is immutable",
                "provisioner: Invalid value: \"a.io/c\": field is immutable",
                "reclaimPolicy: Invalid value: \"Retain\": field is immutable",
                "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
            ],
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattributesclasses",
            "storage.k8s.io/v1/VolumeAttributesClass",
            json!({"driverName": "a.io", "parameters": {"a": "b"}}),
            json!({"driverName": "b.io", "parameters": {"a": "c"}}),
            &[
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_and_volumes() {
    check(vec![
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            "storage.k8s.io/v1/CSIDriver",
            json!({"spec": {}}),
            json!({"spec": {"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"], "storageCapacity": true}}),
            &[
                "spec.attachedRequired: Invalid value: false: field is immutable",
                "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
            ],
        ),
        (
            "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities",
            "storage.k8s.io/v1/CSIStorageCapacity",
            json!({"storageClassName": "a"}),
            json!({"storageClassName": "b", "capacity": "1Gi"}),
            &["storageClassName: Invalid value: \"b\": field is immutable"],
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            "node.k8s.io/v1/RuntimeClass",
            json!({"handler": "a"}),
            json!({"handler": "b"}),
            &["handler: Invalid value: \"b\": field is immutable"],
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            "v1/PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "s", "resources": {"requests": {"storage": "2Gi"}}}}),
            json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}),
            &["spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"2Gi\"\n+   \"storage\": \"3Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n"],
        ),
        (
            "/api/v1/persistentvolumes",
            "v1/PersistentVolume",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/a"}}}),
            json!({"spec": {"hostPath": {"path": "/b"}, "capacity": {"storage": "2Gi"}}}),
            &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n-  \"Path\": \"/a\",\n+  \"Path\": \"/b\",\n   \"Type\": \"\"\n  },\n  \"Glusterfs\": null,\n"],
        ),
    ])
    .await;
}
