//! What pods ask of the machine itself, over a real runtime: devices, mounts, namespaces, measures. And what becomes of
//! them when it runs short of disk, goes down, and comes back.
//!
//! One cluster for all: the kubelet is a process of its own, with a small disk for its folder and a drop-in.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{Cluster, SOON, eventually};

use crate::metrics;
use crate::support::SKIFF;

const DROP_IN: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
    evictionPressureTransitionPeriod: 1s\nshutdownGracePeriod: 20s\nshutdownGracePeriodCriticalPods: 10s\n\
    enableSystemLogQuery: true\n";

/// The kubelet's disk; 2 % of it, the threshold, is under 2 MiB.
const DISK: &str = "96M";
/// What [`fill`] leaves of it.
const LEFT_MIB: i64 = 1;

#[test]
fn pods_get_what_they_ask_of_the_machine() -> Result<()> {
    let Some(cluster) = Cluster::prepare("machine", SKIFF)? else { return Ok(()) };
    let paths = prepare(&cluster)?;
    cluster.skiff_up(&["--without=kubelet"])?;
    let kubelet = start(&cluster)?;
    eventually("the node is Ready", SOON, || {
        let nodes = cluster.kubectl(&["get", "nodes", "--no-headers"])?;
        ensure!(nodes.contains(" Ready "), "{nodes}");
        Ok(())
    })?;
    cluster.apply(&pods(&paths))?;
    devices_are_handed_on(&cluster)?;
    local_volumes_belong_to_the_pods_group(&cluster)?;
    mounts_are_seen_where_they_may_be(&cluster)?;
    read_only_goes_no_deeper_than_the_runtime_can(&cluster)?;
    namespaces_are_shared(&cluster)?;
    node_logs_are_queried(&cluster)?;
    metrics::tops_are_told(&cluster)?;
    a_full_disk_costs_a_pod(&cluster)?;
    let kubelet = the_important_end_last(&cluster, kubelet)?;
    pods_come_back_with_the_machine(&cluster, kubelet)
}

struct Paths {
    /// A loop device of the bed's own; it goes with the mount that holds it.
    device: String,
    /// A folder of the node that is a volume.
    local: String,
}

/// The disks, a folder whose mounts are shared, and the drop-in.
fn prepare(cluster: &Cluster) -> Result<Paths> {
    let (folder, data) = (cluster.bed.folder().display().to_string(), cluster.data().display().to_string());
    let script = format!(
        "set -e; cd {folder}; mkdir -p {data}/kubelet block local conf.d
        truncate -s {DISK} kubelet.ext4; mkfs.ext4 -q -m 0 kubelet.ext4; mount -o loop kubelet.ext4 {data}/kubelet
        truncate -s 16M block.ext4; mkfs.ext4 -q block.ext4; mount -o loop block.ext4 block
        mkdir /run/shared; mount -t tmpfs shared /run/shared; mount --make-shared /run/shared
        echo seed >local/seed; chmod 600 local/seed; echo 'the node speaks' >/var/log/story.log
        losetup --noheadings --output NAME --associated block.ext4"
    );
    let device = cluster.bed.run(&["sh", "-c", &script])?.trim().to_owned();
    ensure!(device.starts_with("/dev/loop"), "a loop device: {device}");
    std::fs::write(cluster.bed.folder().join("conf.d/10-test.conf"), DROP_IN)?;
    Ok(Paths { device, local: format!("{folder}/local") })
}

fn start(cluster: &Cluster) -> Result<Child> {
    let flags = std::fs::read_to_string(cluster.data().join("flags/kubelet"))?;
    let mut command = cluster.bed.command(SKIFF);
    command.arg("kubelet").args(flags.lines());
    command.arg(format!("--config-dir={}", cluster.bed.folder().join("conf.d").display()));
    cluster.bed.start("kubelet", &mut command)
}

fn signal(cluster: &Cluster, signal: &str) -> Result<()> {
    cluster.bed.run(&["pkill", "--signal", signal, "--full", "skiff kubelet --"]).map(drop)
}

/// All at once: each story waits for its own.
fn pods(paths: &Paths) -> String {
    let sleeping = |name: &str, spec: &str, container: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{
                "terminationGracePeriodSeconds": 1, {spec} "containers": [
                {{"name": "c", "image": "busybox", "command": ["sleep", "3600"]{container}}}]}}}}"#
        )
    };
    let claimed = |name: &str, path: &str, mode: &str, options: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {{"name": "{name}"}}, "spec": {{
                "capacity": {{"storage": "16Mi"}}, "accessModes": ["ReadWriteOnce"], "volumeMode": "{mode}", {options}
                "storageClassName": "by-hand", "local": {{"path": "{path}"}}, "nodeAffinity": {{"required": {{
                "nodeSelectorTerms": [{{"matchExpressions": [{{"key": "kubernetes.io/hostname", "operator": "In",
                "values": ["node"]}}]}}]}}}}}}}}
            {{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {{"name": "{name}"}}, "spec": {{
                "accessModes": ["ReadWriteOnce"], "volumeMode": "{mode}", "storageClassName": "by-hand",
                "volumeName": "{name}", "resources": {{"requests": {{"storage": "16Mi"}}}}}}}}"#
        )
    };
    let claim =
        |name: &str| format!(r#""volumes": [{{"name": "data", "persistentVolumeClaim": {{"claimName": "{name}"}}}}],"#);
    let shared = r#""volumes": [{"name": "data", "hostPath": {"path": "/run/shared"}}],"#;
    let mount = |more: &str| format!(r#", "volumeMounts": [{{"name": "data", "mountPath": "/data"{more}}}]"#);
    let of_group = format!(r#""securityContext": {{"runAsUser": 1000, "fsGroup": 2000}}, {}"#, claim("local"));
    let privileged =
        format!(r#", "securityContext": {{"privileged": true}}{}"#, mount(r#", "mountPropagation": "Bidirectional""#));
    [
        claimed("block", &paths.device, "Block", ""),
        claimed("local", &paths.local, "Filesystem", r#""mountOptions": ["noexec", "noatime"],"#),
        claimed("disk", &paths.device, "Filesystem", r#""mountOptions": ["nodev", "commit=7"],"#),
        sleeping("block", &claim("block"), r#", "volumeDevices": [{"name": "data", "devicePath": "/dev/disk"}]"#),
        sleeping("local", &of_group, &mount("")),
        sleeping("disk", &claim("disk"), &mount("")),
        sleeping("both", shared, &privileged),
        sleeping("sees", shared, &mount(r#", "mountPropagation": "HostToContainer""#)),
        sleeping("blind", shared, &mount("")),
        sleeping("deep", shared, &mount(r#", "readOnly": true, "recursiveReadOnly": "Enabled""#)),
        sleeping("shallow", shared, &mount(r#", "readOnly": true, "recursiveReadOnly": "IfPossible""#)),
        sleeping("host", r#""hostPID": true, "hostIPC": true,"#, ""),
        sleeping(
            "together",
            r#""shareProcessNamespace": true, "initContainers": [{"name": "side", "image": "busybox",
                "restartPolicy": "Always", "command": ["sleep", "3601"]}],"#,
            "",
        ),
    ]
    .join("\n")
}

fn run(cluster: &Cluster, pod: &str, script: &str) -> Result<String> {
    cluster.kubectl(&["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=90s"])?;
    cluster.kubectl(&["exec", pod, "-c", "c", "--", "sh", "-c", script])
}

fn devices_are_handed_on(cluster: &Cluster) -> Result<()> {
    let read = run(cluster, "block", "test -b /dev/disk && dd if=/dev/disk bs=1 skip=1080 count=2 | od -An -tx1")?;
    ensure!(read.trim() == "53 ef", "the mark of the file system on the device: {read}");
    let mounted = run(cluster, "disk", "mount | grep ' /data ' && ls /data")?;
    ensure!(mounted.contains("type ext4") && mounted.contains("lost+found"), "the device's file system: {mounted}");
    ensure!(mounted.contains("nodev") && !mounted.contains("noexec"), "and its options: {mounted}");
    Ok(())
}

fn local_volumes_belong_to_the_pods_group(cluster: &Cluster) -> Result<()> {
    let script =
        "touch /data/new && stat -c '%n %g %a' /data /data/seed && stat -c '%u:%g' /data/new && cat /data/seed";
    let seen = run(cluster, "local", script)?;
    ensure!(seen == "/data 2000 2775\n/data/seed 2000 660\n1000:2000\nseed\n", "{seen}");
    let mounted = run(cluster, "local", "mount | grep ' /data '")?;
    ensure!(mounted.contains("noexec") && mounted.contains("noatime"), "mountOptions: {mounted}");
    Ok(())
}

fn mounts_are_seen_where_they_may_be(cluster: &Cluster) -> Result<()> {
    let list = |pod: &str| run(cluster, pod, "ls /data/inner /data/outer 2>/dev/null; true");
    list("sees")?;
    list("blind")?;
    run(cluster, "both", "mkdir /data/inner && mount -t tmpfs inner /data/inner && touch /data/inner/of-the-pod")?;
    cluster.bed.run(&["test", "-e", "/run/shared/inner/of-the-pod"]).context("the node sees the pod's mount")?;
    let script =
        "mkdir /run/shared/outer && mount -t tmpfs outer /run/shared/outer && touch /run/shared/outer/of-the-node";
    cluster.bed.run(&["sh", "-c", script])?;
    for (pod, wanted) in [("both", true), ("sees", true), ("blind", false)] {
        let seen = list(pod)?;
        ensure!(seen.contains("of-the-pod") == wanted && seen.contains("of-the-node") == wanted, "{pod}: {seen}");
    }
    Ok(())
}

/// containerd before 2.0 cannot: who insists is told so, and who does not gets what there is.
fn read_only_goes_no_deeper_than_the_runtime_can(cluster: &Cluster) -> Result<()> {
    let can =
        cluster.value("node/node", ".status.runtimeHandlers[?(@.name==\"\")].features.recursiveReadOnlyMounts")?;
    if can == "true" {
        return run(cluster, "deep", "true").map(drop);
    }
    eventually("the pod is told why it waits", SOON, || {
        let waiting = cluster.value("pod/deep", ".status.containerStatuses[0].state.waiting")?;
        ensure!(waiting.contains("CreateContainerConfigError"), "{waiting}");
        ensure!(
            waiting.contains("requested recursive read-only mode, but it is not supported by the runtime"),
            "{waiting}"
        );
        Ok(())
    })?;
    let denied = run(cluster, "shallow", "touch /data/x").expect_err("it is read-only").to_string();
    ensure!(denied.contains("Read-only file system"), "{denied}");
    let told = cluster.value("pod/shallow", ".status.containerStatuses[0].volumeMounts[0].recursiveReadOnly")?;
    ensure!(told == "Disabled", "the status says what it came to: {told}");
    Ok(())
}

fn namespaces_are_shared(cluster: &Cluster) -> Result<()> {
    let node_first = cluster.bed.run(&["cat", "/proc/1/cmdline"])?;
    let seen = run(cluster, "host", "cat /proc/1/cmdline")?;
    ensure!(seen == node_first, "the node's first process: {seen}");
    cluster.bed.run(&["ipcmk", "--shmem", "4096"])?;
    let segments = |pod: &str| -> Result<usize> { Ok(run(cluster, pod, "cat /proc/sysvipc/shm")?.lines().count()) };
    ensure!((segments("host")?, segments("together")?) == (2, 1), "only the first has the node's IPC");
    let together = run(cluster, "together", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
    ensure!(together.contains("pause") && together.contains("sleep 3601"), "all of the pod's processes: {together}");
    let alone = run(cluster, "sees", "cat /proc/1/cmdline | tr '\\0' ' '")?;
    ensure!(alone.starts_with("sleep 3600"), "its own are the first elsewhere: {alone}");
    Ok(())
}

fn node_logs_are_queried(cluster: &Cluster) -> Result<()> {
    let get =
        |query: &str| cluster.kubectl_output(&["get", "--raw", &format!("/api/v1/nodes/node/proxy/logs/{query}")]);
    let story = get("?query=story")?;
    ensure!(story.stdout == "the node speaks\n", "{story:?}");
    // Collectors of logs look here.
    let links =
        cluster.bed.run(&["sh", "-c", "ls /var/log/containers | grep -c '^together_default_\\(c\\|side\\)-'"])?;
    ensure!(links.trim() == "2", "a link to each container's log: {links}");
    let wrong = get("?query=story&boot=1")?;
    ensure!(!wrong.success && wrong.stderr.contains("must be less than 1"), "{wrong:?}");
    Ok(())
}

/// Fills the kubelet's disk from inside a pod, all but a little.
fn fill(data: &str) -> String {
    format!(
        "dd if=/dev/zero of={data}/fill bs=1M count=$(($(df -m {data} | tail -1 | awk '{{print $4}}') - {LEFT_MIB}))"
    )
}

fn a_full_disk_costs_a_pod(cluster: &Cluster) -> Result<()> {
    let script = format!("{} 2>/dev/null; sleep 3600", fill("/data"));
    cluster.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "hog"}}, "spec": {{
            "terminationGracePeriodSeconds": 1, "volumes": [{{"name": "data", "emptyDir": {{}}}}], "containers": [
            {{"name": "c", "image": "busybox", "command": ["sh", "-c", "{}"],
              "volumeMounts": [{{"name": "data", "mountPath": "/data"}}]}}]}}}}"#,
        script.replace('"', "\\\"")
    ))?;
    eventually("the pod is evicted", SOON, || {
        let status = cluster.value("pod/hog", ".status.phase")? + " " + &cluster.value("pod/hog", ".status.reason")?;
        ensure!(status == "Failed Evicted", "{status}");
        Ok(())
    })?;
    let message = cluster.value("pod/hog", ".status.message")?;
    let words = "The node was low on resource: ephemeral-storage. Threshold quantity: ";
    ensure!(message.starts_with(words) && message.contains(", available: "), "{message}");
    let why = cluster.value("pod/hog", ".status.conditions[?(@.type==\"DisruptionTarget\")].reason")?;
    ensure!(why == "TerminationByKubelet", "{why}");
    for (reason, wanted) in [("EvictionThresholdMet", "Attempting to reclaim ephemeral-storage"), ("Evicted", words)] {
        let selector = format!("--field-selector=reason={reason}");
        eventually("the event is told", SOON, || {
            let events = cluster.kubectl(&["get", "events", &selector])?;
            ensure!(events.contains(wanted), "{events}");
            Ok(())
        })?;
    }
    eventually("the node tells of the pressure", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector=involvedObject.kind=Node"])?;
        ensure!(events.contains("NodeHasDiskPressure"), "{events}");
        Ok(())
    })?;
    eventually("the pressure has come and gone, and its taint with it", SOON, || {
        let condition = cluster.value("node/node", ".status.conditions[?(@.type==\"DiskPressure\")]")?;
        ensure!(condition.contains("\"status\":\"False\""), "{condition}");
        let taints = cluster.value("node/node", ".spec.taints")?;
        ensure!(taints.is_empty(), "{taints}");
        Ok(())
    })?;
    for pod in ["block", "local", "sees"] {
        let phase = cluster.value(&format!("pod/{pod}"), ".status.phase")?;
        ensure!(phase == "Running", "{pod} was spared: {phase}");
    }
    cluster.kubectl(&["delete", "pod", "--all", "--timeout=60s"])?;
    eventually("no link stays without its log", SOON, || {
        let links = cluster.bed.run(&["sh", "-c", "ls /var/log/containers | grep _default_ || true"])?;
        ensure!(links.is_empty(), "{links}");
        Ok(())
    })
}

/// SIGTERM with periods of grace: plain pods first, critical ones after them, then the kubelet.
fn the_important_end_last(cluster: &Cluster, mut kubelet: Child) -> Result<Child> {
    let pod = |name: &str, class: &str, script: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "namespace": "kube-system"}}, "spec": {{
                {class} "containers": [{{"name": "c", "image": "busybox", "command": ["sh", "-c",
                "trap '{script}' TERM; while :; do sleep 0.1; done"]}}]}}}}"#
        )
    };
    let critical = r#""priorityClassName": "system-node-critical","#;
    cluster.apply(&(pod("plain", "", "sleep 2; exit 1") + &pod("critical", critical, "exit 0")))?;
    let wait =
        ["wait", "pod/plain", "pod/critical", "--namespace=kube-system", "--for=condition=Ready", "--timeout=90s"];
    cluster.kubectl(&wait)?;
    signal(cluster, "TERM")?;
    ensure!(kubelet.wait()?.success(), "the kubelet ends well");
    let of = |pod: &str, path: &str| {
        cluster.kubectl(&["get", "pod", pod, "--namespace=kube-system", "-o", &format!("jsonpath={{.status{path}}}")])
    };
    // What ended well when it was asked to has not failed.
    let words = "Failed Terminated: Pod was terminated in response to imminent node shutdown.";
    for (pod, words) in [("plain", words), ("critical", "Succeeded : ")] {
        let told = of(pod, ".phase")? + " " + &of(pod, ".reason")? + ": " + &of(pod, ".message")?;
        ensure!(told == words, "{pod}: {told}");
        let condition = of(pod, ".conditions[?(@.type==\"DisruptionTarget\")].reason")?;
        ensure!(condition == "TerminationByKubelet", "{pod}: {condition}");
    }
    let ended = |pod: &str| of(pod, ".containerStatuses[0].state.terminated.finishedAt");
    let (plain, important) = (ended("plain")?, ended("critical")?);
    ensure!(!plain.is_empty() && plain <= important, "{plain} and {important}");
    let ready = cluster.value("node/node", ".status.conditions[?(@.type==\"Ready\")]")?;
    ensure!(ready.contains("node is shutting down"), "{ready}");
    cluster.kubectl(&["delete", "pod", "plain", "critical", "--namespace=kube-system", "--wait=false"])?;
    start(cluster)
}

/// Everything that runs ends without a word, and what lay in memory is gone, as with a machine's power; its disk stays.
fn pods_come_back_with_the_machine(cluster: &Cluster, mut kubelet: Child) -> Result<()> {
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again"}, "spec": {
            "terminationGracePeriodSeconds": 1, "volumes": [{"name": "data", "emptyDir": {}}],
            "initContainers": [{"name": "first", "image": "busybox", "command": ["sh", "-c", "echo start >>/data/starts"],
              "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "3600"],
              "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}"#,
    )?;
    run(cluster, "again", "true")?;
    let first = cluster.value("pod/again", ".status.containerStatuses[0].containerID")?;
    power_off(cluster)?;
    kubelet.wait()?;
    cluster.bed.run(&[
        "sh",
        "-c",
        "cat /proc/sys/kernel/random/uuid >/run/boot && mount --bind /run/boot /proc/sys/kernel/random/boot_id",
    ])?;
    cluster.skiff_up(&["--without=kubelet"])?;
    let _kubelet = start(cluster)?;
    eventually("the pod runs again", SOON, || {
        let now = cluster.value("pod/again", ".status.containerStatuses[0].containerID")?;
        let state = cluster.value("pod/again", ".status.containerStatuses[0].state")?;
        ensure!(now != first && state.contains("running"), "{state}");
        let counts = cluster.value("pod/again", ".status.containerStatuses[*].restartCount")?;
        ensure!(counts == "1", "restarted once: {counts}");
        Ok(())
    })?;
    ensure!(
        run(cluster, "again", "cat /data/starts")? == "start\nstart\n",
        "its volume stayed, its init container ran anew"
    );
    let last = cluster.value("pod/again", ".status.containerStatuses[0].lastState.terminated.containerID")?;
    ensure!(last == first, "the run before is told: {last}");
    eventually("the machine's start is told", SOON, || {
        let events = cluster.kubectl(&["get", "events", "--field-selector=reason=Rebooted"])?;
        ensure!(events.contains("Node node has been rebooted, boot id: "), "{events}");
        Ok(())
    })?;
    let count = |command: &str| -> Result<usize> { Ok(cluster.bed.run(&["sh", "-c", command])?.trim().parse()?) };
    let networks = cluster.data().join("cni/networks/skiff").display().to_string();
    eventually("nothing is left of the run before", SOON, || {
        let addresses = count(&format!("ls {networks} | grep -c '^10\\.'"))?;
        let links = count("ip -br link | grep -c '^veth'")?;
        let folders = count(&format!("ls {}/kubelet/pods | wc -l", cluster.data().display()))?;
        ensure!(
            (addresses, links, folders) == (1, 1, 1),
            "{addresses} addresses, {links} links, {folders} pods' folders"
        );
        Ok(())
    })?;
    signal(cluster, "KILL")
}

/// Ends all programs of the bed but the tests' own, by the files that a boot would not find: shims, containers, mounts,
/// network namespaces, cgroups, and what the runtime keeps in memory.
fn power_off(cluster: &Cluster) -> Result<()> {
    let state = cluster.data().join("containerd/state").display().to_string();
    let script = format!(
        "pkill --signal KILL --exact skiff; pkill --signal KILL --exact containerd; pkill --signal KILL containerd-shim
        find /sys/fs/cgroup -path '*kubepods*' -name cgroup.procs -exec cat {{}} + | sort -u | xargs -r kill -KILL
        for mount in $(awk '{{print $2}}' /proc/self/mounts | grep -e '^{state}' -e '^/run/netns/' | sort -r); do
            umount --lazy $mount
        done
        rm -rf {state} /run/netns/*
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            find /sys/fs/cgroup -depth -type d -path '*kubepods*' -exec rmdir {{}} + 2>/dev/null && break
            sleep 0.1
        done
        true"
    );
    cluster.bed.run(&["sh", "-c", &script])?;
    eventually("the links of the pods are gone", Duration::from_secs(10), || {
        let links = cluster.bed.run(&["sh", "-c", "ip -br link | grep -c '^veth' || true"])?;
        ensure!(links.trim() == "0", "{links}");
        Ok(())
    })
}
