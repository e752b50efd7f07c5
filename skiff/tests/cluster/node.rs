//! What pods ask of their kubelet, over a real runtime: sidecars and hooks, probes, volumes of every kind, resizes, and
//! clear words for what cannot be.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::{Cluster, SOON, eventually};

use crate::bad_pods;
use crate::support::SKIFF;

#[test]
fn pods_get_what_they_ask_of_their_kubelet() -> Result<()> {
    let Some(cluster) = Cluster::up("node", SKIFF, &[])? else { return Ok(()) };
    cluster.apply(PODS)?;
    sidecars_start_before_and_end_after(&cluster)?;
    probes_restart_what_fails(&cluster)?;
    images_are_volumes(&cluster)?;
    resizes_reach_the_kernel(&cluster)?;
    the_unsafe_is_refused(&cluster)?;
    bad_pods::what_cannot_be_is_told(&cluster)?;
    who_names_the_node_is_judged_by_it(&cluster)?;
    static_pods_have_mirrors(&cluster)?;
    pods_vanish(&cluster)
}

/// All at once: the parts of the test below wait for each in turn.
const PODS: &str = r#"
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hooked"}, "spec": {
  "terminationGracePeriodSeconds": 10,
  "initContainers": [
    {"name": "side", "image": "busybox", "restartPolicy": "Always", "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
      "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
      "volumeMounts": [{"name": "www", "mountPath": "/www"}]},
    {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo from-init >/www/init"],
      "volumeMounts": [{"name": "www", "mountPath": "/www"}]}],
  "containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
    "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo from-hook >/www/hook"]}},
      "preStop": {"sleep": {"seconds": 1}}},
    "volumeMounts": [{"name": "www", "mountPath": "/www"}]}],
  "volumes": [{"name": "www", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}}
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "failing"}, "spec": {"terminationGracePeriodSeconds": 1,
  "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"],
    "livenessProbe": {"exec": {"command": ["sh", "-c", "test \"$(FAIL)\" != yes"]}, "periodSeconds": 1, "failureThreshold": 1},
    "env": [{"name": "FAIL", "value": "yes"}]}]}}
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "image"}, "spec": {"terminationGracePeriodSeconds": 1,
  "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"],
    "volumeMounts": [{"name": "other", "mountPath": "/other"}, {"name": "other", "mountPath": "/conf", "subPath": "etc/nginx"}]}],
  "volumes": [{"name": "other", "image": {"reference": "nginx", "pullPolicy": "Always"}}]}}
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sized"}, "spec": {"terminationGracePeriodSeconds": 1,
  "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"],
    "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}}]}}
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unsafe"}, "spec": {"restartPolicy": "Never",
  "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]},
  "containers": [{"name": "c", "image": "busybox", "command": ["true"]}]}}
"#;

fn sidecars_start_before_and_end_after(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["wait", "pod/hooked", "--for=condition=Ready", "--timeout=90s"])?;
    let files =
        cluster.kubectl(&["exec", "hooked", "-c", "main", "--", "sh", "-c", "cat /www/init /www/hook; mount"])?;
    ensure!(files.starts_with("from-init\nfrom-hook\n"), "{files}");
    ensure!(files.contains("on /www type tmpfs") && files.contains("size=1024k"), "{files}");
    let started =
        |list: &str, index: usize| cluster.value("pod/hooked", &format!(".status.{list}[{index}].state..startedAt"));
    ensure!(started("initContainerStatuses", 0)? <= started("containerStatuses", 0)?, "the sidecar was first");
    cluster.kubectl(&["delete", "pod", "hooked", "--timeout=60s"]).map(drop)
}

/// The probe's command sees the variable by `$(FAIL)`, and the container is killed for it.
fn probes_restart_what_fails(cluster: &Cluster) -> Result<()> {
    eventually("the failing probe restarts its container", SOON, || {
        let count = cluster.value("pod/failing", ".status.containerStatuses[0].restartCount")?;
        ensure!(count.parse::<u32>()? >= 1, "{count} restarts");
        Ok(())
    })?;
    eventually("and it is told", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector=involvedObject.name=failing"])?;
        ensure!(events.contains("Liveness probe failed") && events.contains("will be restarted"), "{events}");
        Ok(())
    })?;
    cluster.kubectl(&["delete", "pod", "failing", "--timeout=60s"]).map(drop)
}

fn images_are_volumes(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["wait", "pod/image", "--for=condition=Ready", "--timeout=90s"])?;
    let seen = cluster.kubectl(&["exec", "image", "--", "sh", "-c", "ls /other/etc/nginx; ls /conf; touch /other/x"]);
    let words = seen.expect_err("the image is read-only").to_string();
    ensure!(words.matches("nginx.conf").count() == 2 && words.contains("Read-only file system"), "{words}");
    Ok(())
}

fn resizes_reach_the_kernel(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["wait", "pod/sized", "--for=condition=Ready", "--timeout=90s"])?;
    let resources = r#"{"requests": {"cpu": "200m", "memory": "48Mi"}, "limits": {"cpu": "400m", "memory": "128Mi"}}"#;
    let patch = format!(r#"{{"spec": {{"containers": [{{"name": "c", "resources": {resources}}}]}}}}"#);
    cluster.kubectl(&["patch", "pod", "sized", "--subresource=resize", "--patch", &patch])?;
    let told = ".status.containerStatuses[0].resources.limits.cpu";
    eventually("the new limits are told", SOON, || {
        let limit = cluster.value("pod/sized", told)?;
        ensure!(limit == "400m", "{limit}");
        Ok(())
    })?;
    let read = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || \
                cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max";
    let limits = cluster.kubectl(&["exec", "sized", "--", "sh", "-c", read])?;
    ensure!(limits.contains("40000") && limits.contains("134217728"), "{limits}");
    let restarts = cluster.value("pod/sized", ".status.containerStatuses[0].restartCount")?;
    let conditions = cluster.value("pod/sized", ".status.conditions[*].type")?;
    ensure!(restarts == "0" && !conditions.contains("Resize"), "{restarts} restarts, {conditions}");
    let allocated = cluster.value("pod/sized", ".status.containerStatuses[0].allocatedResources.memory")?;
    ensure!(allocated == "48Mi", "{allocated}");
    // More than the machine has: it waits, and says so.
    let patch = r#"{"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "900"}, "limits": {"cpu": "900"}}}]}}"#;
    cluster.kubectl(&["patch", "pod", "sized", "--subresource=resize", "--patch", patch])?;
    eventually("the resize waits", SOON, || {
        let reason = cluster.value("pod/sized", r#".status.conditions[?(@.type=="PodResizePending")].reason"#)?;
        ensure!(reason == "Deferred" || reason == "Infeasible", "{reason:?}");
        Ok(())
    })
}

fn the_unsafe_is_refused(cluster: &Cluster) -> Result<()> {
    eventually("the unsafe sysctl is refused", SOON, || {
        let status = cluster.value("pod/unsafe", ".status.phase")? + &cluster.value("pod/unsafe", ".status.reason")?;
        ensure!(status == "FailedSysctlForbidden", "{status}");
        Ok(())
    })
}

/// No scheduler has looked at these.
fn who_names_the_node_is_judged_by_it(cluster: &Cluster) -> Result<()> {
    let pod = |name: &str, more: &str, container: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{"nodeName": "node"{more},
                "terminationGracePeriodSeconds": 1,
                "containers": [{{"name": "c", "image": "busybox", "command": ["sleep", "3600"]{container}}}]}}}}"#
        )
    };
    let requests = |amounts: &str| format!(r#", "resources": {{"requests": {{{amounts}}}}}"#);
    for (name, more, container, wanted) in [
        ("elsewhere", r#", "nodeSelector": {"disk": "slow"}"#, String::new(), "NodeAffinity"),
        ("huge", "", requests(r#""cpu": "900""#), "OutOfcpu"),
        ("full", "", requests(r#""ephemeral-storage": "900Ti""#), "OutOfephemeral-storage"),
    ] {
        cluster.create(&pod(name, more, &container))?;
        eventually("it is refused", SOON, || {
            let object = format!("pod/{name}");
            let status = cluster.value(&object, ".status.phase")? + " " + &cluster.value(&object, ".status.reason")?;
            ensure!(status == format!("Failed {wanted}"), "{name}: {status}");
            let about = format!("--field-selector=involvedObject.name={name}");
            let events = cluster.kubectl(&["get", "events", &about])?;
            ensure!(events.contains(wanted), "{events}");
            Ok(())
        })?;
    }
    // The kubelet may not have heard of the label yet.
    cluster.kubectl(&["label", "node", "node", "disk=fast"])?;
    cluster.create(&pod("here", r#", "nodeSelector": {"disk": "fast"}"#, ""))?;
    cluster.kubectl(&["wait", "pod/here", "--for=condition=Ready", "--timeout=90s"]).map(drop)
}

/// What the static pod below takes to end.
const ENDING: Duration = Duration::from_secs(2);

fn static_pods_have_mirrors(cluster: &Cluster) -> Result<()> {
    let manifest = cluster.data().join("manifests/static.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: static}\nspec:\n  terminationGracePeriodSeconds: 10\n  \
               containers: [{name: c, image: busybox, command: [sh, -c, \"trap 'sleep 2; exit' TERM; while :; do sleep 1; done\"]}]\n";
    std::fs::write(&manifest, pod)?;
    let started = || cluster.value("pod/static-node", ".status.containerStatuses[0].state.running.startedAt");
    let first = eventually("its mirror says that it runs", SOON, || {
        let started = started()?;
        ensure!(!started.is_empty(), "it does not run yet");
        Ok(started)
    })?;
    let owner = cluster.value("pod/static-node", ".metadata.ownerReferences[0].kind")?;
    ensure!(owner == "Node", "it is the node's: {owner}");
    let uid = cluster.value("pod/static-node", ".metadata.uid")?;
    cluster.kubectl(&["delete", "pod", "static-node", "--wait=false"])?;
    eventually("the mirror is made anew, and the pod has run on", SOON, || {
        ensure!(cluster.value("pod/static-node", ".metadata.uid")? != uid, "still the old one");
        ensure!(started()? == first, "the container was not touched");
        Ok(())
    })?;
    let uid = cluster.value("pod/static-node", ".metadata.uid")?;
    std::fs::remove_file(&manifest)?;
    std::fs::write(&manifest, pod)?;
    eventually("a manifest made again is its pod started again", SOON, || {
        let restarts = cluster.value("pod/static-node", ".status.containerStatuses[0].restartCount")?;
        ensure!(restarts == "1" && !started()?.is_empty(), "{restarts} restarts");
        ensure!(cluster.value("pod/static-node", ".metadata.uid")? == uid, "another mirror");
        Ok(())
    })?;
    let removed_at = Instant::now();
    std::fs::remove_file(&manifest)?;
    eventually("both go with the manifest", SOON, || {
        let left = cluster.kubectl(&["get", "pod", "static-node", "--ignore-not-found"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    ensure!(removed_at.elapsed() >= ENDING, "the mirror went before its pod had ended");
    Ok(())
}

/// With everything that was mounted for them.
fn pods_vanish(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["delete", "pod", "--all", "--timeout=60s"])?;
    eventually("nothing stays mounted", SOON, || {
        let mounts = cluster.bed.run(&["cat", "/proc/self/mountinfo"])?;
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains("/volumes/kubernetes.io~image")).collect();
        ensure!(left.is_empty(), "{left:?}");
        let socket = cluster.data().join("containerd/containerd.sock").display().to_string();
        let list = ["ctr", "--address", &socket, "--namespace", "k8s.io", "snapshots", "list"];
        let snapshots = cluster.bed.run(&list)?;
        ensure!(!snapshots.contains("kubelet-volume-"), "{snapshots}");
        Ok(())
    })?;
    Ok(())
}
