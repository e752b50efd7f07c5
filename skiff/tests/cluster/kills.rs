//! `kill -9` of the kubelet at every CRI call that changes something, on a real runtime: the next kubelet brings the pod to
//! where the API wants it, starts nothing twice and leaves nothing behind.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use testbed::{Bed, Cluster, SOON, eventually};

use crate::go_between::{Cut, GoBetween};
use crate::support::SKIFF;

/// More calls than a pod's life makes: the loops below end when the kubelet lives through one.
const CALLS_MAX: usize = 60;
/// As many as the life of [`POD`] makes at least: a pull, a sandbox, four containers, two hooks, a resize, and the ends.
const CALLS_MIN: usize = 20;
/// Those of them until its containers run: a sandbox, a pull, and a creation and a start each.
const CALLS_TO_START: usize = 10;
/// What each container writes to `MARKS` when it starts.
const STARTS: [&str; 4] = ["a", "b", "init", "side"];

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 5
  initContainers:
  - {name: init, image: busybox, imagePullPolicy: Always, command: [sh, -c, "echo init >> /marks/starts"], volumeMounts: [{name: marks, mountPath: /marks}]}
  - name: side
    image: busybox
    imagePullPolicy: IfNotPresent
    restartPolicy: Always
    command: &stay [sh, -c, "trap 'exit 0' TERM; echo $NAME >> /marks/starts; sleep 1000 & wait"]
    env: [{name: NAME, value: side}]
    volumeMounts: [{name: marks, mountPath: /marks}]
  containers:
  - name: a
    image: busybox
    imagePullPolicy: IfNotPresent
    command: *stay
    env: [{name: NAME, value: a}]
    ports: [{containerPort: 80, hostPort: 8088}]
    resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}
    lifecycle: {postStart: {exec: {command: ["true"]}}, preStop: {exec: {command: ["true"]}}}
    volumeMounts: [{name: marks, mountPath: /marks}, {name: memory, mountPath: /memory}, {name: memory, mountPath: /part, subPath: part}]
  - name: b
    image: busybox
    imagePullPolicy: IfNotPresent
    command: *stay
    env: [{name: NAME, value: b}]
    volumeMounts: [{name: marks, mountPath: /marks}]
  volumes:
  - {name: marks, hostPath: {path: MARKS}}
  - {name: memory, emptyDir: {medium: Memory}}
"#;
const LARGER: &str = r#"{"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "200m"}}}]}}"#;

#[test]
fn a_kubelet_killed_at_any_call_leaves_nothing() -> Result<()> {
    let Some(cluster) = Cluster::prepare("kills", SKIFF)? else { return Ok(()) };
    cluster.skiff_up(&["--without=kubelet"])?;
    let near = cluster.bed.folder().join("cri.sock");
    let between = GoBetween::start(&near, &cluster.data().join("containerd/containerd.sock"))?;
    let flags = std::fs::read_to_string(cluster.data().join("flags/kubelet"))?;
    let endpoint = format!("--container-runtime-endpoint=unix://{}", near.display());
    let kubelet: Vec<&str> = [SKIFF, "kubelet"].into_iter().chain(flags.lines()).chain([endpoint.as_str()]).collect();
    let _kubelet = keep(&cluster.bed, &kubelet)?;
    let marks = cluster.bed.folder().join("marks");
    std::fs::create_dir(&marks)?;
    let pod = POD.replace("MARKS", &marks.display().to_string());

    let story = Story { cluster: &cluster, between: &between, pod, starts: marks.join("starts") };
    for cut in [Cut::Before, Cut::During, Cut::After] {
        let mut calls = 0;
        while let Some(call) = story.whole_life(calls, cut).with_context(|| story.told(calls, cut))? {
            println!("{cut:?} {calls} {call}");
            calls += 1;
            ensure!(calls < CALLS_MAX, "a pod's life has an end");
        }
        ensure!(calls >= CALLS_MIN, "a pod's life makes more calls than {calls}");
    }
    for cut in [Cut::During, Cut::After] {
        for calls in 0..CALLS_TO_START {
            story.short_life(calls, cut).with_context(|| format!("{}, and deleted", story.told(calls, cut)))?;
        }
    }
    Ok(())
}

struct Story<'a> {
    cluster: &'a Cluster,
    between: &'a GoBetween,
    pod: String,
    /// What the containers write at their starts.
    starts: PathBuf,
}

impl Story<'_> {
    fn told(&self, calls: usize, cut: Cut) -> String {
        format!("killed {cut:?} call {calls}, {:?}", self.between.was_cut())
    }

    /// A pod that comes, is resized, and goes; the call at which the kubelet was killed on the way, if there was one.
    fn whole_life(&self, calls: usize, cut: Cut) -> Result<Option<String>> {
        self.between.cut(calls, cut);
        self.cluster.create(&self.pod)?;
        let restarts = run(self.cluster)?;
        self.cluster.would_find_leftovers()?;
        self.cluster.kubectl(&["delete", "pod", "p", "--timeout=90s"])?;
        let started = std::fs::read_to_string(&self.starts)?;
        std::fs::remove_file(&self.starts)?;
        let call = self.between.was_cut();
        let may_be_undone = cut == Cut::During && call.as_deref() == Some("StartContainer");
        each_once(&started, restarts, may_be_undone)?;
        let tells = ["RunPodSandbox", "StartContainer"];
        let is_told = cut == Cut::During && call.as_deref().is_some_and(|call| tells.contains(&call));
        ensure!(!is_told || self.between.had_begun(), "the runtime was not heard to begin");
        eventually("nothing is left", SOON, || self.cluster.has_no_leftovers())?;
        Ok(self.between.mend())
    }

    /// A pod that is deleted while the kubelet is dead: nobody will start what it left half made.
    fn short_life(&self, calls: usize, cut: Cut) -> Result<()> {
        self.between.cut(calls, cut);
        self.cluster.create(&self.pod)?;
        eventually("the kubelet is killed", SOON, || self.between.was_cut().context("it lives"))?;
        self.cluster.kubectl(&["delete", "pod", "p", "--timeout=90s"])?;
        eventually("nothing is left", SOON, || self.cluster.has_no_leftovers())?;
        self.between.mend();
        if self.starts.exists() {
            std::fs::remove_file(&self.starts)?;
        }
        Ok(())
    }
}

/// That each container was started once. One that the runtime itself ended, for nobody waited for its start any more, may
/// have come to write, and to count, before.
fn each_once(started: &str, restarts: usize, may_be_undone: bool) -> Result<()> {
    let mut lines: Vec<&str> = started.lines().collect();
    lines.sort_unstable();
    let again = lines.len() - STARTS.len().min(lines.len());
    lines.dedup();
    ensure!(lines == STARTS && again.max(restarts) <= usize::from(may_be_undone), "{restarts} restarts of {started}");
    Ok(())
}

/// Starts a program anew whenever it ends, as an init system does.
fn keep(bed: &Bed, line: &[&str]) -> Result<std::process::Child> {
    let mut shell = bed.command("sh");
    bed.start("kubelet", shell.args(["-c", r#"while :; do "$@"; done"#, "keep"]).args(line))
}

/// Until the pod is ready and resized; how often its containers were started again.
fn run(cluster: &Cluster) -> Result<usize> {
    cluster.kubectl(&["wait", "pod/p", "--for=condition=Ready", "--timeout=90s"])?;
    cluster.kubectl(&["patch", "pod", "p", "--subresource=resize", "--patch", LARGER])?;
    let limit = "--for=jsonpath={.status.containerStatuses[0].resources.limits.cpu}=200m";
    cluster.kubectl(&["wait", "pod/p", limit, "--timeout=90s"])?;
    let restarts = cluster.value("pod/p", ".status['initContainerStatuses','containerStatuses'][*].restartCount")?;
    let tasks = cluster.containers()?;
    ensure!(tasks.len() == 4, "a pause container and three that stay: {tasks:?}");
    restarts.split_whitespace().map(|count| Ok(count.parse::<usize>()?)).sum()
}
