//! Claims and volumes, from being bound to being given back.

use serde_json::{Value, json};

use crate::support::{Object, Place, condition, story, template};

async fn volume(place: &Place, name: &str, class: &str, policy: &str) -> Object {
    place
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "persistentVolumeReclaimPolicy": policy, "hostPath": {"path": "/tmp/nothing"}}}))
        .await
}

/// The attachments of one volume to two nodes: `printf 'disk-1disk.example.comnode-0' | sha256sum`.
const FIRST: &str = "csi-89a9c3b1701e833aa820cad47946da6f9c0477671df649f6744f5b24e3b07e97";
const SECOND: &str = "csi-fef76f1b6698cc024f3400337510108c0f70e220749e22a86ec5b659f35eb832";

fn claim_spec(class: &str) -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "500Mi"}}})
}

async fn claim(place: &Place, name: &str, class: &str) -> Object {
    let metadata = json!({"name": name});
    place
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim_spec(class)}))
        .await
}

fn pod_with_claim(name: &str, claim: &str) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    let template = template(name, "Running");
    pod["metadata"] = template["metadata"].clone();
    pod["metadata"]["name"] = name.into();
    pod["spec"] = template["spec"].clone();
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    pod
}

fn phase(expected: &str) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["phase"] == expected
}

#[test]
fn a_claim_gets_a_volume_and_keeps_it_while_a_pod_uses_it() {
    story("claims", async |place: &Place| {
        let volume = volume(place, "static", "by-hand", "Retain").await;
        volume.until("to be had", phase("Available")).await;
        let claim = claim(place, "data", "by-hand").await;
        let bound = claim.until("bound", phase("Bound")).await;
        assert_eq!(bound["spec"]["volumeName"], "static");
        assert_eq!(bound["status"]["capacity"]["storage"], "1Gi");
        assert_eq!(volume.until("bound", phase("Bound")).await["spec"]["claimRef"]["name"], "data");

        let pod = place.create(pod_with_claim("user", "data")).await;
        pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        claim.delete().await;
        let held = claim.get().await;
        assert_eq!(held["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        pod.delete().await;
        claim.until_gone().await;
        volume.until("kept for its owner", phase("Released")).await;
        volume.delete().await;
        volume.until_gone().await;
    });
}

#[test]
fn a_class_may_wait_for_the_first_consumer() {
    story("consumers", async |place: &Place| {
        place
            .create(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "later"},
                "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}))
            .await;
        let volume = volume(place, "later-1", "later", "Retain").await;
        volume.until("to be had", phase("Available")).await;
        let claim = claim(place, "data", "later").await;
        claim.until("waiting", phase("Pending")).await;
        let pod = place.create(pod_with_claim("first", "data")).await;
        pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        assert_eq!(claim.get().await["spec"]["volumeName"], "later-1");
        volume.until("bound", phase("Bound")).await;
    });
}

#[test]
fn a_stateful_set_makes_claims_and_takes_them_away_where_its_policy_says_so() {
    story("templates", async |place: &Place| {
        for name in ["for-0", "for-1"] {
            volume(place, name, "of-sets", "Retain").await.until("to be had", phase("Available")).await;
        }
        let mut template = template("db", "Running");
        template["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        let set = place
            .create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "db"}}, "template": template,
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim_spec("of-sets")}]}}))
            .await;
        set.until("two ready", |set| set["status"]["readyReplicas"] == 2).await;
        let [first, second] = ["data-db-0", "data-db-1"].map(|name| place.object("v1", "PersistentVolumeClaim", name));
        second.until("bound", phase("Bound")).await;
        set.merge(json!({"spec": {"replicas": 1}})).await;
        second.until_gone().await;
        set.delete().await;
        place.pod("db-0").until_gone().await;
        assert!(first.get().await["metadata"]["deletionTimestamp"].is_null());
    });
}

#[test]
fn an_ephemeral_volume_lives_as_long_as_its_pod() {
    story("ephemeral", async |place: &Place| {
        volume(place, "short-lived", "ephemeral", "Retain").await.until("to be had", phase("Available")).await;
        let mut pod = pod_with_claim("user", "none");
        let template = json!({"spec": claim_spec("ephemeral")});
        pod["spec"]["volumes"] = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]);
        let pod = place.create(pod).await;
        pod.until("ready", |pod| condition(pod, "Ready").is_some()).await;
        let claim = place.object("v1", "PersistentVolumeClaim", "user-v");
        assert_eq!(claim.get().await["metadata"]["ownerReferences"][0]["name"], "user");
        pod.delete().await;
        claim.until_gone().await;
    });
}

#[test]
fn a_pod_gets_the_claims_of_its_templates_and_they_go_with_it() {
    story("devices", async |place: &Place| {
        let requests = json!([{"name": "one", "exactly": {"deviceClassName": "example.com"}}]);
        let spec = json!({"spec": {"devices": {"requests": requests}}});
        place
            .create(json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "gpu"}, "spec": spec}))
            .await;
        let mut pod = pod_with_claim("user", "none");
        pod["spec"]["volumes"] = json!([]);
        pod["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "gpu"}]);
        let pod = place.create(pod).await;
        let told = pod
            .until("its claim", |pod| pod["status"]["resourceClaimStatuses"][0]["resourceClaimName"].is_string())
            .await;
        let name = told["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap().to_owned();
        assert!(name.starts_with("user-gpu-"), "{name}");
        let claim = place.object("resource.k8s.io/v1", "ResourceClaim", &name);
        assert_eq!(claim.get().await["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"], "gpu");
        let waits = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| {
                c["reason"] == "Unschedulable"
                    && c["message"].to_string().contains("request one: device class example.com does not exist")
            })
        };
        pod.until("told why it waits", waits).await;
        pod.delete().await;
        claim.until_gone().await;
    });
}

/// Nodes here have no drivers: what one would say of an attachment is written by hand.
#[test]
fn a_volume_is_attached_where_its_pod_is_and_moves_with_it() {
    story("attaching", async |place: &Place| {
        let volume = place
            .create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "attached"}, "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "disks",
                "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "disk.example.com", "volumeHandle": "disk-1"}}}))
            .await;
        let claim = claim(place, "data", "disks").await;
        claim.until("bound", phase("Bound")).await;
        volume.until("bound", phase("Bound")).await;
        let nodes = ["node-0", "node-1"].map(|name| place.object("v1", "Node", name));
        for node in &nodes {
            node.merge(json!({"metadata": {"annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}})).await;
        }
        let on = |name: &str, node: &str| {
            let mut pod = pod_with_claim(name, "data");
            pod["spec"]["nodeName"] = node.into();
            pod
        };
        let [first, second] = [FIRST, SECOND].map(|name| place.object("storage.k8s.io/v1", "VolumeAttachment", name));
        let user = place.create(on("user", "node-0")).await;
        first.until("asked for", |attachment| attachment["spec"]["attacher"] == "disk.example.com").await;
        first.merge_subresource("status", json!({"status": {"attached": true}})).await;
        let listed =
            |node: &Value| node["status"]["volumesAttached"][0]["name"] == "kubernetes.io/csi/disk.example.com^disk-1";
        nodes[0].until("told", listed).await;
        place.until_told("user", "SuccessfulAttachVolume").await;
        // The kubelet's word: it is mounted.
        let used = json!({"status": {"volumesInUse": ["kubernetes.io/csi/disk.example.com^disk-1"]}});
        nodes[0].merge_subresource("status", used).await;
        place.create(on("next", "node-1")).await;
        place.until_told("next", "FailedAttachVolume").await;
        user.delete().await;
        user.until_gone().await;
        assert!(first.exists().await && listed(&nodes[0].get().await), "it is still mounted");
        nodes[0].merge_subresource("status", json!({"status": {"volumesInUse": null}})).await;
        first.until_gone().await;
        second.until("asked for", |attachment| attachment["spec"]["nodeName"] == "node-1").await;
        assert!(nodes[0].get().await["status"]["volumesAttached"].is_null());
        // A node that will not come back loses what it has, mounted or not.
        second.merge_subresource("status", json!({"status": {"attached": true}})).await;
        nodes[1].until("told", listed).await;
        let used = json!({"status": {"volumesInUse": ["kubernetes.io/csi/disk.example.com^disk-1"]}});
        nodes[1].merge_subresource("status", used).await;
        let next = place.pod("next");
        next.delete().await;
        next.until_gone().await;
        assert!(second.exists().await);
        nodes[1]
            .merge(json!({"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}))
            .await;
        second.until_gone().await;
        nodes[1].merge(json!({"spec": {"taints": null}})).await;
    });
}
