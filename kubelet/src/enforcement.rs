//! `enforceNodeAllocatable`: what all pods together, the system and Kubernetes itself may use, written into their cgroups.

use std::{collections::BTreeMap, path::Path};

use component::recorder::Type;
use machinery::quantity::Quantity;

use crate::{
    cgroups::{Cgroups, Error, Hierarchy, Limits, naming::Driver, systemd::Systemd},
    config::KubeletConfiguration,
    node::{
        capacity::{self, Amounts},
        object::Identity,
    },
    pod::configs::{NodeFacts, resources::cpu_shares},
    reporting::Reporter,
};

/// Makes the cgroups of pods where the configuration wants them, with their limits. `root` is where /run is.
///
/// # Errors
/// That systemd is to make them and is not there; the first cgroup that could not be made or written.
pub(crate) async fn cgroups(
    c: &KubeletConfiguration,
    (root, hierarchy): (&Path, Hierarchy),
    facts: &NodeFacts,
    identity: &Identity,
    reporter: &Reporter,
) -> Result<Option<Cgroups>, Error> {
    if !c.cgroups_per_qos {
        return Ok(None);
    }
    let sizes_kib = identity.machine.hugepages.iter().map(|(size_kib, _)| *size_kib);
    let mut cgroups = Cgroups::new(hierarchy, facts.cgroups.clone(), facts.cpu_period_us).with_huge_pages(sizes_kib);
    if facts.cgroups.driver == Driver::Systemd {
        cgroups = cgroups.with_systemd(Systemd::connect(root).await?);
    }
    enforce(&cgroups, c, (&identity.capacity, &identity.machine.cpus_online), reporter).await?;
    Ok(Some(cgroups))
}

/// Makes the cgroups of pods, and holds all of them to their share.
///
/// # Errors
/// The first cgroup that could not be made or written.
async fn enforce(
    cgroups: &Cgroups,
    c: &KubeletConfiguration,
    (capacity, cpus): (&Amounts, &str),
    reporter: &Reporter,
) -> Result<(), Error> {
    let is_wanted = |option: &str| c.enforce_node_allocatable.iter().any(|it| it == option);
    // Eviction thresholds are not taken off here: pods are ended before they reach this limit.
    let reserved = [&c.kube_reserved, &c.system_reserved];
    let share = if is_wanted("pods") { capacity::less_reserved(capacity, reserved) } else { capacity.clone() };
    // systemd takes a controller away from a cgroup that it has no word of: it is told of all CPUs.
    let cpus = (!cpus.is_empty()).then(|| cpus.to_owned());
    cgroups.ensure_top(&Limits { cpus: cpus.clone(), ..limits(&share, cgroups) }).await?;
    reporter.node(Type::Normal, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
    for (option, words, name, reserved) in [
        ("system-reserved", "system", &c.system_reserved_cgroup, &c.system_reserved),
        ("kube-reserved", "kube", &c.kube_reserved_cgroup, &c.kube_reserved),
    ] {
        let limits = match (is_wanted(option), is_wanted(&format!("{option}-compressible"))) {
            (true, _) => limits(&parsed(reserved), cgroups),
            (_, true) => Limits { cpu_shares: limits(&parsed(reserved), cgroups).cpu_shares, ..Limits::default() },
            (false, false) => continue,
        };
        cgroups.hold(name, &Limits { cpus: cpus.clone(), ..limits }).await?;
        let message = format!("Updated limits on {words} reserved cgroup {name}");
        reporter.node(Type::Normal, "NodeAllocatableEnforced", message);
    }
    Ok(())
}

fn parsed(amounts: &BTreeMap<String, String>) -> Amounts {
    amounts.iter().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text).ok()?))).collect()
}

fn limits(amounts: &Amounts, cgroups: &Cgroups) -> Limits {
    let each = amounts.iter().map(|(name, amount)| (name.as_str(), amount.value()));
    Limits {
        cpu_shares: amounts.get("cpu").map(|cpu| cpu_shares(cpu.milli_value())),
        memory_bytes: amounts.get("memory").map(Quantity::value),
        pids_max: amounts.get("pid").map(Quantity::value),
        huge_pages: cgroups.huge_pages().of_amounts(each),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use component::recorder::Recorder;
    use machinery::quantity::Format;

    use super::*;
    use crate::cgroups::naming::Naming;

    #[tokio::test]
    async fn each_share_is_written_where_it_is_asked_for() {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["cpu/system", "memory/system", "cpu/kube", "memory/kube"] {
            fs::create_dir_all(root.path().join(folder)).expect("folders");
        }
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap_or_default();
        let amounts = |cpu: &str, memory: &str| {
            [("cpu", cpu), ("memory", memory)].map(|(name, text)| (name.to_owned(), text.to_owned())).into()
        };
        let mut c = KubeletConfiguration {
            system_reserved: amounts("500m", "1Mi"),
            kube_reserved: amounts("250m", "2Mi"),
            system_reserved_cgroup: "/system".into(),
            kube_reserved_cgroup: "/kube".into(),
            ..KubeletConfiguration::default()
        };
        let capacity = Amounts::from([
            ("cpu".to_owned(), Quantity::new(2, Format::DecimalSi)),
            ("memory".to_owned(), Quantity::new(10 << 20, Format::BinarySi)),
        ]);
        let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Cgroupfs, ""), None);
        let reporter = Reporter::new(Recorder::silent(), "node-1");
        enforce(&cgroups, &c, (&capacity, "0-1"), &reporter).await.expect("by default on pods");
        let of_pods = || (read("cpu/kubepods/cpu.shares"), read("memory/kubepods/memory.limit_in_bytes"));
        assert_eq!(of_pods(), ("1280".into(), (7 << 20).to_string()));
        assert_eq!(read("cpu/system/cpu.shares"), "", "not asked for");
        c.enforce_node_allocatable = vec!["system-reserved".into(), "kube-reserved-compressible".into()];
        enforce(&cgroups, &c, (&capacity, "0-1"), &reporter).await.expect("on the others");
        assert_eq!(of_pods(), ("2048".into(), (10 << 20).to_string()));
        assert_eq!(
            (read("cpu/system/cpu.shares"), read("memory/system/memory.limit_in_bytes")),
            ("512".into(), "1048576".into())
        );
        assert_eq!((read("cpu/kube/cpu.shares"), read("memory/kube/memory.limit_in_bytes")), ("256".into(), "".into()));
        c.kube_reserved_cgroup = "/none".into();
        assert!(enforce(&cgroups, &c, (&capacity, "0-1"), &reporter).await.is_err());
    }
}
