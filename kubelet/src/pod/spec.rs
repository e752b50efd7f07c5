//! Questions to a pod spec that many parts ask. Pure; knows no runtime state.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{Container, ContainerRestartRule, EphemeralContainer, Pod, PodSpec, Volume},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::Quantity;

use crate::runtime::labels::Identity;

/// Where a static pod came from, its hash, and its mirror's mark (`pkg/kubelet/types/pod_update.go`).
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

static EMPTY_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

/// Which list of the spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Regular,
    Ephemeral,
}

/// The spec, empty when the object has none.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY_SPEC)
}

pub fn identity(pod: &Pod) -> Identity {
    Identity {
        uid: uid(pod).to_owned(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// As messages name a pod.
pub fn shown(pod: &Pod) -> String {
    let Identity { uid, namespace, name } = identity(pod);
    format!("{name}_{namespace}({uid})")
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// A pod that this kubelet read from a file or URL.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE).is_some_and(|source| source != "api")
}

/// The API's image of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, CONFIG_MIRROR).is_some()
}

/// The API's image of this static pod, and of no other version of it.
pub fn is_mirror_of(mirror: &Pod, pod: &Pod) -> bool {
    mirror.metadata.name == pod.metadata.name
        && mirror.metadata.namespace == pod.metadata.namespace
        && annotation(mirror, CONFIG_MIRROR) == annotation(pod, CONFIG_HASH)
}

/// Static and mirror pods, and those of system priority: the node is kept going for them.
pub fn is_critical(pod: &Pod) -> bool {
    const SYSTEM_PRIORITY_MIN: i32 = 2_000_000_000;
    is_static(pod) || is_mirror(pod) || spec(pod).priority.is_some_and(|priority| priority >= SYSTEM_PRIORITY_MIN)
}

/// Nothing of the pod runs, or will.
pub fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

pub fn is_host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn ephemeral_containers(pod: &Pod) -> Vec<Container> {
    spec(pod).ephemeral_containers.iter().flatten().map(ephemeral_as_container).collect()
}

/// Every container of the spec with its role; ephemeral ones as plain containers.
pub fn containers(pod: &Pod) -> Vec<(Role, Container)> {
    let init = init_containers(pod)
        .iter()
        .map(|container| (if is_sidecar(container) { Role::Sidecar } else { Role::Init }, container.clone()));
    let regular = spec(pod).containers.iter().map(|container| (Role::Regular, container.clone()));
    let ephemeral = ephemeral_containers(pod).into_iter().map(|container| (Role::Ephemeral, container));
    init.chain(regular).chain(ephemeral).collect()
}

/// Names of the volumes that containers mount, and of those that they get as devices.
pub fn volume_uses(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let all = containers(pod);
    let mounts = all.iter().flat_map(|(_, container)| container.volume_mounts.iter().flatten());
    let devices = all.iter().flat_map(|(_, container)| container.volume_devices.iter().flatten());
    (mounts.map(|mount| mount.name.clone()).collect(), devices.map(|device| device.name.clone()).collect())
}

/// The volumes that a container uses. Others are nobody's, and need not even be possible.
pub fn used_volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let (mounts, devices) = volume_uses(pod);
    let volumes = spec(pod).volumes.iter().flatten();
    volumes.filter(move |volume| mounts.contains(&volume.name) || devices.contains(&volume.name))
}

pub fn used_volume_names(pod: &Pod) -> BTreeSet<String> {
    used_volumes(pod).map(|volume| volume.name.clone()).collect()
}

pub fn find_container(pod: &Pod, name: &str) -> Option<(Role, Container)> {
    containers(pod).into_iter().find(|(_, container)| container.name == name)
}

/// Does a container that ended with `exit_code` start again? Container level rules come before the pod's policy.
pub fn restarts_after(container: &Container, role: Role, pod: &Pod, exit_code: i32) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    // The API server lets rules stand only beside a policy of the container's own; the first that matches counts.
    if container.restart_policy.is_some() && matching_rule(container, exit_code).is_some() {
        return true;
    }
    let policy = container.restart_policy.as_deref().or(spec(pod).restart_policy.as_deref());
    match policy.unwrap_or("Always") {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        // An init container that succeeded is done whatever the pod's policy says.
        _ => role != Role::Init || exit_code != 0,
    }
}

/// The first rule that an exit code matches.
fn matching_rule(container: &Container, exit_code: i32) -> Option<&ContainerRestartRule> {
    container.restart_policy_rules.iter().flatten().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    })
}

/// Does a container that ended with `exit_code` take all others of its pod with it?
pub fn restarts_all_after(container: &Container, exit_code: i32) -> bool {
    container.restart_policy.is_some()
        && matching_rule(container, exit_code).is_some_and(|rule| rule.action == "RestartAllContainers")
}

/// Has the pod a rule by which all of its containers may be restarted?
pub fn may_restart_all(pod: &Pod) -> bool {
    let all = init_containers(pod).iter().chain(&spec(pod).containers);
    all.flat_map(|it| it.restart_policy_rules.iter().flatten()).any(|rule| rule.action == "RestartAllContainers")
}

/// Is a container that a probe had killed started again? No exit code is known by then, so no rule counts.
pub fn restarts_after_probe(container: &Container, pod: &Pod) -> bool {
    container.restart_policy.as_deref().or(spec(pod).restart_policy.as_deref()) != Some("Never")
}

/// May anything in the pod ever start again after a failure?
pub fn restarts_on_failure(pod: &Pod) -> bool {
    spec(pod).restart_policy.as_deref() != Some("Never")
        || spec(pod).containers.iter().any(|container| {
            container.restart_policy.as_deref().is_some_and(|policy| policy != "Never")
                || container.restart_policy_rules.as_ref().is_some_and(|rules| !rules.is_empty())
        })
}

/// The period of the pod's spec, 30 s where the API server had no chance to default it.
pub fn termination_grace_period_seconds(pod: &Pod) -> i64 {
    spec(pod).termination_grace_period_seconds.unwrap_or(30)
}

/// A quantity of the API, parsed; None where it is broken (the API server lets none such pass).
pub fn quantity(value: &ApiQuantity) -> Option<Quantity> {
    Quantity::parse(&value.0).ok()
}

/// An ephemeral container has all fields of a container but `target_container_name`.
fn ephemeral_as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        lifecycle: None,
        liveness_probe: None,
        name: from.name,
        ports: None,
        readiness_probe: None,
        resize_policy: None,
        resources: from.resources,
        restart_policy: None,
        restart_policy_rules: None,
        security_context: from.security_context,
        startup_probe: None,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
    }
}
