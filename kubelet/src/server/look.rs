//! Where containers stand in the cgroup tree, and what they use: by the kernel, or by what the runtime tells.

use std::path::{Path, PathBuf};

use k8s_cri::v1::{ContainerStats, UInt64Value};

use crate::{
    cgroups::figures::{Cpu, Figures, Memory},
    pod::node::Node,
    runtime::labels::Identity,
    status::qos,
};

pub(super) fn number(value: &Option<UInt64Value>) -> Option<u64> {
    value.as_ref().map(|value| value.value)
}

/// None without cgroups by class of service, and for what is not there.
pub(super) fn figures(node: &Node, folder: &Path) -> Option<Figures> {
    node.cgroups.as_ref()?.hierarchy().figures(folder)
}

pub(super) fn container_folder(node: &Node, identity: &Identity, id: &str) -> Option<PathBuf> {
    node.cgroups.as_ref()?.folder_of_container(&pod_folder(node, identity), id)
}

pub(super) fn pod_folder(node: &Node, identity: &Identity) -> PathBuf {
    let pod = node.running.get(&identity.uid);
    let class = pod.as_ref().map_or(qos::BURSTABLE, |pod| qos::of_pod(pod));
    node.facts.cgroups.pod(class, &identity.uid).folder()
}

/// What CRI tells, where the container's cgroup was not found.
pub(super) fn of_runtime(stats: &ContainerStats) -> Figures {
    let cpu = stats
        .cpu
        .as_ref()
        .and_then(|cpu| Some(Cpu { usage_ns: number(&cpu.usage_core_nano_seconds)?, ..Cpu::default() }));
    let memory = stats.memory.as_ref().and_then(|memory| {
        Some(Memory {
            working_set: number(&memory.working_set_bytes)?,
            usage: number(&memory.usage_bytes),
            rss: number(&memory.rss_bytes),
            page_faults: number(&memory.page_faults),
            major_page_faults: number(&memory.major_page_faults),
            ..Memory::default()
        })
    });
    Figures { cpu, memory, ..Figures::default() }
}

#[test]
fn the_runtime_is_asked_where_the_kernel_cannot_be() {
    use k8s_cri::v1::{CpuUsage, MemoryUsage};
    let value = |value| Some(UInt64Value { value });
    let stats = ContainerStats {
        cpu: Some(CpuUsage { usage_core_nano_seconds: value(7), ..CpuUsage::default() }),
        memory: Some(MemoryUsage { working_set_bytes: value(9), rss_bytes: value(5), ..MemoryUsage::default() }),
        ..ContainerStats::default()
    };
    let found = of_runtime(&stats);
    assert_eq!(found.cpu.map(|cpu| cpu.usage_ns), Some(7));
    let memory = found.memory.expect("it tells");
    assert_eq!((memory.working_set, memory.rss, memory.cache), (9, Some(5), None));
}
