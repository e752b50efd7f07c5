//! The pods that the runtime makes alone: as the kubelet asks for those of the bench's Deployment, without the kubelet.
//!
//! What costs the runtime time is the same: the sandbox's system call filter, masked paths, the mounts that every pod has,
//! a cgroup of its own, environment and labels of the same size.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, DnsConfig, ImageSpec, KeyValue, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, SecurityProfile, security_profile::ProfileType,
};

const MASKED_PATHS: [&str; 6] =
    ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/sys/devices/virtual/powercap"];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Makes pods that differ by a number.
pub(crate) struct Mold {
    folder: PathBuf,
}

pub(crate) struct PodConfig {
    pub(crate) sandbox: PodSandboxConfig,
    pub(crate) container: ContainerConfig,
}

impl Mold {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("share");
        std::fs::create_dir_all(folder.join("token")).context("make a folder to mount")?;
        for name in ["hosts", "termination-log", "token/token"] {
            std::fs::write(folder.join(name), name).context("make a file to mount")?;
        }
        Ok(Self { folder })
    }

    pub(crate) fn pod(&self, index: usize) -> PodConfig {
        let name = format!("share-{index}");
        // Not the kubelet's own labels: it would end what no API server knows.
        let labels: HashMap<String, String> =
            ["name", "namespace", "uid", "app"].map(|key| (format!("bench.pod.{key}"), name.clone())).into();
        PodConfig { sandbox: sandbox(&name, labels.clone()), container: self.container(labels) }
    }

    fn container(&self, labels: HashMap<String, String>) -> ContainerConfig {
        let mount = |file: &str, container_path: &str, readonly: bool| Mount {
            host_path: self.folder.join(file).display().to_string(),
            container_path: container_path.into(),
            readonly,
            ..Default::default()
        };
        let variable = |key: &str| KeyValue { key: format!("KUBERNETES_{key}"), value: "tcp://10.96.0.1:443".into() };
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "web".into(), attempt: 0 }),
            image: Some(ImageSpec { image: "docker.io/library/nginx:latest".into(), ..Default::default() }),
            log_path: "web.log".into(),
            labels,
            envs: ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_443_TCP"].map(variable).into(),
            mounts: vec![
                mount("token", "/var/run/secrets/kubernetes.io/serviceaccount", true),
                mount("hosts", "/etc/hosts", false),
                mount("termination-log", "/dev/termination-log", false),
            ],
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources { cpu_shares: 2, oom_score_adj: 1000, ..Default::default() }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    masked_paths: MASKED_PATHS.map(str::to_owned).into(),
                    readonly_paths: READONLY_PATHS.map(str::to_owned).into(),
                    seccomp: Some(filter(ProfileType::Unconfined)),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }
}

fn sandbox(name: &str, labels: HashMap<String, String>) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            uid: name.into(),
            namespace: "bench".into(),
            attempt: 0,
        }),
        hostname: name.into(),
        log_directory: format!("/var/log/pods/{name}"),
        dns_config: Some(DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["default.svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        }),
        labels,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/share/{name}"),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(filter(ProfileType::RuntimeDefault)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod as i32,
        pid: NamespaceMode::Container as i32,
        ipc: NamespaceMode::Pod as i32,
        ..Default::default()
    }
}

fn filter(profile: ProfileType) -> SecurityProfile {
    SecurityProfile { profile_type: profile as i32, localhost_ref: String::new() }
}
