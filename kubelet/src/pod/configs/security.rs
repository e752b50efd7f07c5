//! Security contexts as CRI takes them. Pure.

use k8s_cri::v1;
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};

use super::NodeFacts;
use crate::pod::spec;

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user that an image was made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    pub name: String,
}

/// The security context of a pod's sandbox.
pub fn of_sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let own = pod_context(pod);
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: own.se_linux_options.as_ref().map(selinux),
        run_as_user: own.run_as_user.map(int64),
        run_as_group: own.run_as_group.map(int64),
        supplemental_groups: supplemental_groups(&own),
        supplemental_groups_policy: groups_policy(&own),
        privileged: spec::containers(pod).iter().any(|(_, container)| is_privileged(container)),
        // The pause process has no business with unusual system calls, whatever the containers need.
        seccomp: Some(v1::SecurityProfile::default()),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// The security context of a container. `target` is the container whose processes an ephemeral one joins.
///
/// # Errors
/// `runAsNonRoot` that cannot be kept, or a seccomp profile of the node without its name, in upstream's words.
pub fn of_container(
    pod: &Pod,
    container: &Container,
    image_user: &ImageUser,
    target: Option<&str>,
    facts: &NodeFacts,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let of_pod = pod_context(pod);
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        verify_non_root(pod, container, run_as_user, image_user)?;
    }
    let is_unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| -> Vec<String> { list.iter().filter(|_| !is_unmasked).map(|&it| it.to_owned()).collect() };
    let heat_paths = facts.heat_paths.iter().filter(|_| !is_unmasked).cloned();
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|capabilities| v1::Capability {
            add_capabilities: capabilities.add.clone().unwrap_or_default(),
            drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
            ..v1::Capability::default()
        }),
        privileged: own.privileged.unwrap_or(false),
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(selinux),
        run_as_user: run_as_user.or(image_user.uid).map(int64),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(int64),
        run_as_username: if run_as_user.is_none() { image_user.name.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: supplemental_groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS).into_iter().chain(heat_paths).collect(),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(&own, &of_pod, facts)?),
        apparmor: own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()).map(apparmor),
        ..v1::LinuxContainerSecurityContext::default()
    })
}

/// Which namespaces are shared with the node, the pod, or (ephemeral containers) one other container.
pub fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let pod_spec = spec::spec(pod);
    let node_or_pod = |host: Option<bool>| {
        if host == Some(true) { v1::NamespaceMode::Node as i32 } else { v1::NamespaceMode::Pod as i32 }
    };
    let pid = match (pod_spec.host_pid, pod_spec.share_process_namespace, target) {
        (_, _, Some(_)) => v1::NamespaceMode::Target,
        (Some(true), _, None) => v1::NamespaceMode::Node,
        (_, Some(true), None) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: node_or_pod(pod_spec.host_network),
        ipc: node_or_pod(pod_spec.host_ipc),
        pid: pid as i32,
        target_id: target.unwrap_or_default().to_owned(),
        userns_options: None,
    }
}

pub fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|it| it.privileged).unwrap_or(false)
}

fn pod_context(pod: &Pod) -> PodSecurityContext {
    spec::spec(pod).security_context.clone().unwrap_or_default()
}

fn verify_non_root(pod: &Pod, container: &Container, user: Option<i64>, image: &ImageUser) -> Result<(), String> {
    let identity = spec::identity(pod);
    let at =
        format!("(pod: \"{}_{}({})\", container: {})", identity.name, identity.namespace, identity.uid, container.name);
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {at}")),
        (Some(_), _) => Ok(()),
        (None, _) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {at}",
            image.name
        )),
        (None, Some(0) | None) => Err(format!("container has runAsNonRoot and image will run as root {at}")),
        (None, Some(_)) => Ok(()),
    }
}

fn seccomp(
    own: &SecurityContext,
    of_pod: &PodSecurityContext,
    facts: &NodeFacts,
) -> Result<v1::SecurityProfile, String> {
    use v1::security_profile::ProfileType;
    let profile: Option<&SeccompProfile> = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let (kind, localhost_ref) = match profile.map(|profile| (profile.type_.as_str(), &profile.localhost_profile)) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", path)) => {
            let path = path.as_deref().filter(|path| !path.is_empty());
            let path = path.ok_or("localhostProfile must be set if seccompProfile type is Localhost.")?;
            let path = facts.paths.root.join("seccomp").join(path);
            (ProfileType::Localhost, path.to_string_lossy().into_owned())
        }
        None if facts.seccomp_default => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    Ok(v1::SecurityProfile { profile_type: kind as i32, localhost_ref })
}

fn apparmor(profile: &AppArmorProfile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let kind = match profile.type_.as_str() {
        "Localhost" => ProfileType::Localhost,
        "Unconfined" => ProfileType::Unconfined,
        _ => ProfileType::RuntimeDefault,
    };
    v1::SecurityProfile {
        profile_type: kind as i32,
        localhost_ref: profile.localhost_profile.clone().unwrap_or_default(),
    }
}

fn supplemental_groups(of_pod: &PodSecurityContext) -> Vec<i64> {
    of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group).collect()
}

fn groups_policy(of_pod: &PodSecurityContext) -> i32 {
    match of_pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict as i32,
        _ => v1::SupplementalGroupsPolicy::Merge as i32,
    }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    v1::SeLinuxOption {
        user: text(&options.user),
        role: text(&options.role),
        r#type: text(&options.type_),
        level: text(&options.level),
    }
}

fn int64(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}
