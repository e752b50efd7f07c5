//! What is left of pods that no source has any more: containers, folders, cgroups.

use std::{collections::HashSet, fs, path::PathBuf, sync::Arc};

use component::removal::remove_tree;
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Lifecycle, Pod, PodSpec};

use crate::{
    log_rotation,
    paths::Paths,
    pod::node::Node,
    runtime::labels::{
        CONTAINER_NAME, Identity, POD_DELETION_GRACE_PERIOD, POD_TERMINATION_GRACE_PERIOD, PRE_STOP_HANDLER,
    },
};

/// A pod object from the labels and annotations of its containers: enough to stop them with their grace and hooks.
pub fn restored(identity: &Identity, containers: &[v1::Container]) -> Pod {
    let own = || containers.iter().filter(|it| Identity::from_labels(&it.labels).as_ref() == Some(identity));
    let number = |key: &str| own().find_map(|it| it.annotations.get(key)?.parse::<i64>().ok());
    let mut pod = Pod::default();
    pod.metadata.name = Some(identity.name.clone());
    pod.metadata.namespace = Some(identity.namespace.clone());
    pod.metadata.uid = Some(identity.uid.clone());
    pod.metadata.deletion_grace_period_seconds = number(POD_DELETION_GRACE_PERIOD);
    let mut names = HashSet::new();
    let restored = own().filter_map(|it| {
        let name = it.labels.get(CONTAINER_NAME)?.clone();
        if !names.insert(name.clone()) {
            return None;
        }
        let pre_stop = it.annotations.get(PRE_STOP_HANDLER).and_then(|text| serde_json::from_str(text).ok());
        Some(Container {
            name,
            lifecycle: pre_stop.map(|handler| Lifecycle { pre_stop: Some(handler), ..Lifecycle::default() }),
            ..Container::default()
        })
    });
    pod.spec = Some(PodSpec {
        containers: restored.collect(),
        termination_grace_period_seconds: number(POD_TERMINATION_GRACE_PERIOD),
        ..PodSpec::default()
    });
    pod
}

/// Removes folders and cgroups of pods that have no worker. Each failure is told; none stops the others.
///
/// `is_living` is asked right before anything of a pod goes: to take down what others left takes seconds, and pods come
/// meanwhile. Whoever asked before them would stop the slices that they run in.
pub async fn clear(node: &Arc<Node>, is_living: impl Fn(&str) -> bool + Send + Sync) {
    let entries = fs::read_dir(node.facts.paths.pods()).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for uid in folders.filter(|uid| !is_living(uid)) {
        tracing::info!(pod_uid = uid, "removing the folder of a pod that is gone");
        if let Err(error) = node.volumes.tear_down(&uid).await {
            tracing::warn!(pod_uid = uid, %error, "the folder of a pod that is gone cannot be removed");
        }
    }
    if let Some(cgroups) = &node.cgroups {
        for (class, uid) in cgroups.pods().into_iter().filter(|(_, uid)| !is_living(uid)) {
            if let Err(error) = cgroups.remove_pod(class, &uid).await {
                tracing::warn!(pod_uid = uid, %error, "the cgroup of a pod that is gone cannot be removed");
            }
        }
    }
    clear_logs(node, is_living);
    clear_links(node).await;
}

/// Links to logs of this kubelet's that are gone for good. A log that is just rotated has no file for a moment: the link
/// of a container that has not ended stays, for nobody would make it again.
async fn clear_links(node: &Arc<Node>) {
    let paths = &node.facts.paths;
    let dead = dead_links(paths);
    if dead.is_empty() {
        return;
    }
    let containers = match node.runtime.list_containers(None).await {
        Ok(containers) => containers,
        Err(error) => {
            tracing::warn!(%error, "containers cannot be listed to clear links to logs");
            return;
        }
    };
    let has_ended = |it: &v1::Container| it.state == v1::ContainerState::ContainerExited as i32;
    let living = containers.iter().filter(|it| !has_ended(it)).filter_map(|it| log_rotation::path(paths, it));
    let living: HashSet<PathBuf> = living.collect();
    for (link, _) in dead.iter().filter(|(_, log)| !living.contains(log)) {
        if let Err(error) = fs::remove_file(link) {
            tracing::warn!(%error, link = %link.display(), "a link to a log that is gone cannot be removed");
        }
    }
}

/// Links that lead nowhere, with the logs that they name.
fn dead_links(paths: &Paths) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(&paths.container_logs).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| Some((entry.path(), fs::read_link(entry.path()).ok()?)));
    links.filter(|(_, log)| log.starts_with(&paths.pod_logs) && !log.exists()).collect()
}

/// Log folders are named `<namespace>_<name>_<uid>`.
fn clear_logs(node: &Arc<Node>, is_living: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(&node.facts.paths.pod_logs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.splitn(3, '_');
        let (Some(_), Some(_), Some(uid)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if !is_living(uid)
            && let Err(error) = remove_tree(&entry.path())
        {
            tracing::warn!(pod_uid = uid, %error, "the logs of a pod that is gone cannot be removed");
        }
    }
}

#[tokio::test]
async fn the_link_of_a_container_that_runs_outlives_a_rotation() {
    use crate::{
        pod::worker_tests::Bed,
        runtime::labels::{POD_NAME, POD_NAMESPACE, POD_UID, RESTART_COUNT},
    };
    let bed = Bed::new();
    let node = bed.node();
    let paths = &node.facts.paths;
    let labels = [(POD_NAMESPACE, "ns"), (POD_NAME, "p"), (POD_UID, "u"), (CONTAINER_NAME, "c")];
    let status = v1::ContainerStatus {
        id: "1".into(),
        state: v1::ContainerState::ContainerRunning as i32,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        annotations: [(RESTART_COUNT.to_owned(), "0".to_owned())].into(),
        ..v1::ContainerStatus::default()
    };
    bed.runtime.state().containers.insert("1".into(), ("s".into(), status));
    fs::create_dir_all(&paths.container_logs).expect("a folder");
    let (own, other) = (paths.container_logs.join("p_ns_c-1.log"), paths.container_logs.join("q_ns_c-2.log"));
    for (link, log) in [(&own, "ns_p_u/c/0.log"), (&other, "ns_q_v/c/0.log")] {
        std::os::unix::fs::symlink(paths.pod_logs.join(log), link).expect("a link");
    }
    clear_links(&node).await;
    assert!(own.is_symlink() && !other.is_symlink(), "its log is between two names");
    bed.runtime.exit("1", 0);
    clear_links(&node).await;
    assert!(!own.is_symlink());
}

#[tokio::test]
async fn a_pod_that_comes_while_others_are_cleared_away_keeps_its_own() {
    use std::sync::Mutex;

    use crate::{
        cgroups::{
            Cgroups, Hierarchy,
            naming::{Driver, Naming},
        },
        pod::worker_tests::Bed,
    };
    let mut bed = Bed::new();
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("cpu")).expect("a folder");
    let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Cgroupfs, ""), None);
    bed.cgroups = Some(cgroups);
    let node = bed.node();
    let paths = node.facts.paths.clone();
    let of = |uid: &str| {
        let cgroup = root.path().join("cpu/kubepods/besteffort").join(format!("pod{uid}"));
        [cgroup, paths.pod(uid), paths.pod_logs.join(format!("ns_p_{uid}"))]
    };
    let come = |uid: &str| of(uid).iter().for_each(|it| fs::create_dir_all(it).expect("a folder"));
    let living = Mutex::new(HashSet::from(["old".to_owned()]));
    come("old");
    come("gone");
    clear(&node, |uid| {
        let mut living = living.lock().expect("a lock");
        if uid == "gone" && living.insert("new".into()) {
            come("new");
        }
        living.contains(uid)
    })
    .await;
    let left = |uid: &str| of(uid).map(|it| it.exists());
    assert_eq!((left("old"), left("new"), left("gone")), ([true; 3], [true; 3], [false; 3]));
}
