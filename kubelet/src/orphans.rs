//! What is left of pods that no source has any more: containers, folders, cgroups.

use std::{collections::HashSet, fs, sync::Arc};

use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Lifecycle, Pod, PodSpec};

use crate::{
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
pub async fn clear(node: &Arc<Node>, living: &HashSet<String>) {
    let entries = fs::read_dir(node.facts.paths.pods()).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for uid in folders.filter(|uid| !living.contains(uid)) {
        tracing::info!(pod_uid = uid, "removing the folder of a pod that is gone");
        if let Err(error) = node.volumes.tear_down(&uid).await {
            tracing::warn!(pod_uid = uid, %error, "the folder of a pod that is gone cannot be removed");
        }
    }
    if let Some(cgroups) = &node.cgroups {
        for (class, uid) in cgroups.pods().into_iter().filter(|(_, uid)| !living.contains(uid)) {
            if let Err(error) = cgroups.remove_pod(class, &uid) {
                tracing::warn!(pod_uid = uid, %error, "the cgroup of a pod that is gone cannot be removed");
            }
        }
    }
    clear_logs(node, living);
    clear_links(node);
}

/// Links to logs of this kubelet's that are gone.
fn clear_links(node: &Arc<Node>) {
    let paths = &node.facts.paths;
    for link in fs::read_dir(&paths.container_logs).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_dead = fs::read_link(&link).is_ok_and(|log| log.starts_with(&paths.pod_logs) && !log.exists());
        if is_dead && let Err(error) = fs::remove_file(&link) {
            tracing::warn!(%error, link = %link.display(), "a link to a log that is gone cannot be removed");
        }
    }
}

/// Log folders are named `<namespace>_<name>_<uid>`.
fn clear_logs(node: &Arc<Node>, living: &HashSet<String>) {
    for entry in fs::read_dir(&node.facts.paths.pod_logs).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.splitn(3, '_');
        let (Some(_), Some(_), Some(uid)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if !living.contains(uid)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(pod_uid = uid, %error, "the logs of a pod that is gone cannot be removed");
        }
    }
}
