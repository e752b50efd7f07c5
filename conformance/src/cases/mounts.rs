//! Volumes that are no copies of the API's objects: paths and images of the node, claims, drivers; and many at once.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::volumes::with_volume;
use super::{STAY, config_map};
use crate::cluster::{LATER, SOON, Scope, pod};
use crate::expect::{contains, equal, eventually, same};

pub(super) async fn host_paths_are_checked(scope: &Scope) -> Result<()> {
    let path = format!("/tmp/{}", scope.unique("host-path"));
    let source = |kind: &str| json!({"hostPath": {"path": path, "type": kind}});
    let script = "echo kept >>/v/file; cat /v/file";
    let made = scope.output(&with_volume(scope, "one", script, source("DirectoryOrCreate"))).await?;
    same("log", made.as_str(), "kept\n")?;
    let node = scope.pods().get("one").await?["spec"]["nodeName"].clone();
    let file = json!({"hostPath": {"path": format!("{path}/made"), "type": "FileOrCreate"}});
    let mut maker = with_volume(scope, "file", "stat -c '%F, %s bytes' /v", file);
    maker["spec"]["nodeName"] = node.clone();
    same("a file that is made", scope.output(&maker).await?.as_str(), "regular empty file, 0 bytes\n")?;
    scope.create_pod(&with_volume(scope, "two", "true", source("File"))).await?;
    let events = scope.resource("v1", "events");
    let query = "fieldSelector=involvedObject.name%3Dtwo,reason%3DFailedMount";
    let told = events.until_all_within(LATER, query, "an event FailedMount", |events| !events.is_empty()).await?;
    contains("message", told[0]["message"].as_str().unwrap_or_default(), "hostPath type check failed")?;
    let mut cleaner = with_volume(scope, "three", "ls /v; cat /v/file; rm /v/file /v/made", source("Directory"));
    cleaner["spec"]["nodeName"] = node;
    same("what is kept", scope.output(&cleaner).await?.as_str(), "file\nmade\nkept\n")
}

pub(super) async fn images_are_volumes(scope: &Scope) -> Result<()> {
    let script = "ls /v/etc/nginx; (echo x >/v/new) 2>&1 | grep -o Read-only";
    for (name, pull) in [("one", "IfNotPresent"), ("two", "Always")] {
        let source = json!({"image": {"reference": scope.cluster.images.nginx, "pullPolicy": pull}});
        let log = scope.output(&with_volume(scope, name, script, source)).await?;
        contains("files of the image", &log, "nginx.conf\n")?;
        contains("a write", &log, "Read-only")?;
    }
    Ok(())
}

pub(super) async fn claims_are_bound_and_mounted(scope: &Scope) -> Result<()> {
    let (class, volume) = (scope.unique("class"), scope.unique("volume"));
    let volumes = scope.global("v1", "persistentvolumes");
    let object = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": format!("/tmp/{volume}"), "type": "DirectoryOrCreate"}}});
    scope.create_global(&volumes, &object).await?;
    volumes.until(&volume, "it is available", |pv| pv["status"]["phase"] == "Available").await?;
    let claims = scope.resource("v1", "persistentvolumeclaims");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "500Mi"}}}});
    claims.create(&claim).await?;
    let bound = claims.until("claim", "it is bound", |claim| claim["status"]["phase"] == "Bound").await?;
    equal("volumeName", &bound["spec"]["volumeName"], &json!(volume))?;
    equal("capacity", &bound["status"]["capacity"]["storage"], &json!("1Gi"))?;
    contains("finalizers", &bound["metadata"]["finalizers"].to_string(), "kubernetes.io/pvc-protection")?;
    let source = json!({"persistentVolumeClaim": {"claimName": "claim"}});
    scope.start(&with_volume(scope, "one", STAY, source)).await?;
    scope.exec("one", "echo kept >/v/file").await?;
    claims.delete("claim").await?;
    let marked = claims.get("claim").await?;
    ensure!(marked["metadata"]["deletionTimestamp"].is_string(), "expected the claim to stay while it is used");
    scope.pods().delete("one").await?;
    claims.until_gone_within(LATER, "claim").await?;
    volumes.until(&volume, "it is released", |pv| pv["status"]["phase"] == "Released").await?;
    volumes.delete(&volume).await?;
    volumes.until_gone(&volume).await
}

pub(super) async fn inline_drivers_are_waited_for(scope: &Scope) -> Result<()> {
    let driver = format!("{}.example.com", scope.namespace);
    let drivers = scope.global("storage.k8s.io/v1", "csidrivers");
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": driver},
        "spec": {"attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": ["Ephemeral"]}});
    scope.create_global(&drivers, &object).await?;
    let source = json!({"csi": {"driver": driver, "volumeAttributes": {"a": "b"}}});
    let made = scope.create_pod(&with_volume(scope, "one", STAY, source)).await?;
    equal("driver", &made["spec"]["volumes"][0]["csi"]["driver"], &json!(driver))?;
    let query = "fieldSelector=involvedObject.name%3Done,reason%3DFailedMount";
    let told = |events: &[Value]| !events.is_empty();
    scope.resource("v1", "events").until_all_within(LATER, query, "an event FailedMount", told).await?;
    let waits = scope.pods().get("one").await?;
    equal("phase", &waits["status"]["phase"], &json!("Pending"))?;
    scope.pods().delete("one").await?;
    scope.pods().until_gone_within(LATER, "one").await
}

/// Three rounds on one node: what one pod leaves must not be in the way of the next.
pub(super) async fn many_volumes_fit_in_one_pod(scope: &Scope) -> Result<()> {
    const COUNT: usize = 50;
    for number in 0..COUNT {
        scope.config_maps().create(&config_map(&format!("map-{number}"), "a", "x")).await?;
    }
    let mut object = pod("", &scope.cluster.images.busybox, "cat /v/*/key | wc -c");
    object["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": scope.cluster.nodes[0]});
    object["spec"]["volumes"] =
        (0..COUNT).map(|n| json!({"name": format!("v-{n}"), "configMap": {"name": format!("map-{n}")}})).collect();
    object["spec"]["containers"][0]["volumeMounts"] =
        (0..COUNT).map(|n| json!({"name": format!("v-{n}"), "mountPath": format!("/v/{n}")})).collect();
    for round in 1..=3 {
        let names: Vec<String> = (1..=5).map(|number| format!("round-{round}-{number}")).collect();
        for name in &names {
            object["metadata"] = json!({"name": name});
            scope.create_pod(&object).await?;
        }
        for name in &names {
            let done = |pod: &Value| pod["status"]["phase"] == "Succeeded";
            scope.pods().until_within(LATER, name, "it has read fifty files", done).await?;
            eventually("its log", SOON, async || same("bytes", scope.log(name).await?.trim(), "50")).await?;
        }
        scope.pods().delete_collection("").await?;
        scope.pods().until_all_within(LATER, "", "the round is over", <[Value]>::is_empty).await?;
    }
    Ok(())
}
