//! The CRI configuration of a container. Pure; mounts and environment come ready made.

use std::collections::HashMap;

use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{NodeFacts, resources, security};
use crate::{
    env::expand,
    images::Image,
    paths::Paths,
    pod::{plan, spec},
    runtime::labels,
};

/// What the worker has made ready for one container.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    pub attempt: u32,
    pub restart_count: i32,
    pub image: Image,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<v1::Mount>,
    pub devices: Vec<v1::Device>,
    /// The container that an ephemeral one aims at.
    pub target_id: Option<String>,
    /// The groups of the pod's volumes.
    pub volume_groups: Vec<i64>,
}

/// The configuration of `container`.
///
/// # Errors
/// What makes the configuration impossible, for the waiting reason `CreateContainerConfigError`.
pub fn config(
    pod: &Pod,
    container: &Container,
    prepared: Prepared,
    facts: &NodeFacts,
) -> Result<v1::ContainerConfig, String> {
    let identity = spec::identity(pod);
    let env: HashMap<&str, &str> = prepared.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let lookup = |name: &str| env.get(name).map(|&value| value.to_owned());
    let expanded = |words: &Option<Vec<String>>| {
        words.iter().flatten().map(|word| expand::expand(word, lookup)).collect::<Vec<_>>()
    };
    let mut security_context =
        security::of_container(pod, container, &prepared.image.user, prepared.target_id.as_deref(), facts)?;
    let groups = &mut security_context.supplemental_groups;
    for group in prepared.volume_groups {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut container_labels = HashMap::from([(labels::CONTAINER_NAME.to_owned(), container.name.clone())]);
    identity.write(&mut container_labels);
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: prepared.attempt }),
        image: Some(v1::ImageSpec {
            image: prepared.image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        annotations: annotations(pod, container, prepared.restart_count),
        envs: prepared.env.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: prepared.mounts,
        devices: prepared.devices,
        labels: container_labels,
        log_path: Paths::log_file(&container.name, prepared.restart_count).to_string_lossy().into_owned(),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::of_container(pod, container, facts)),
            security_context: Some(security_context),
        }),
        ..v1::ContainerConfig::default()
    })
}

/// What a later kubelet must find again on the container, even when the pod's object is gone by then.
fn annotations(pod: &Pod, container: &Container, restart_count: i32) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (labels::CONTAINER_HASH.to_owned(), plan::container_hash(container)),
        (labels::RESTART_COUNT.to_owned(), restart_count.to_string()),
        (labels::TERMINATION_MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (
            labels::TERMINATION_MESSAGE_POLICY.to_owned(),
            container.termination_message_policy.clone().unwrap_or_default(),
        ),
        (labels::POD_TERMINATION_GRACE_PERIOD.to_owned(), spec::termination_grace_period_seconds(pod).to_string()),
    ]);
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(labels::POD_DELETION_GRACE_PERIOD.to_owned(), grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let texts = [
        (labels::PRE_STOP_HANDLER, pre_stop.and_then(|it| serde_json::to_string(it).ok())),
        (labels::PORTS, container.ports.as_ref().and_then(|it| serde_json::to_string(it).ok())),
    ];
    annotations.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))));
    annotations
}
