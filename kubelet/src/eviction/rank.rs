//! Who goes first, and in what words. Pure.

use std::cmp::Reverse;

use component::scheduling::taints;
use k8s_openapi::api::core::v1::{Container, Pod, Taint};
use machinery::quantity::{Format, Quantity};

use super::{
    signal::{Pressure, Signal},
    state::Starving,
};
use crate::{
    pod::{
        admission::Refusal,
        configs::resources::{self, amount},
        spec,
    },
    status::qos,
    usage::Usage,
};

/// The reason of every eviction, in the pod's status and in events.
pub const REASON: &str = "Evicted";

/// The first pod to evict; critical ones stay whatever happens. Over its requests before others, then the less important, then the one
/// that takes the most beyond its requests. `usage` answers what a pod takes.
pub fn first<'a>(
    pods: impl Iterator<Item = (&'a Pod, Option<&'a Usage>)>,
    signal: Signal,
) -> Option<(&'a Pod, Option<&'a Usage>)> {
    let key = |(pod, usage): &(&Pod, Option<&Usage>)| {
        let taken = usage.map_or(i64::MAX, |usage| taken(usage, signal));
        let requested = requested(pod, signal);
        // Processes are asked for by nobody: there only importance and number count.
        let is_over = signal == Signal::PidAvailable || taken > requested;
        (Reverse(is_over), spec::spec(pod).priority.unwrap_or(0), Reverse(taken.saturating_sub(requested)))
    };
    pods.filter(|(pod, _)| !spec::is_critical(pod)).min_by_key(key)
}

fn taken(usage: &Usage, signal: Signal) -> i64 {
    match signal {
        Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable => usage.memory_bytes(),
        Signal::NodefsAvailable | Signal::ImagefsAvailable => usage.disk_bytes(),
        Signal::NodefsInodesFree | Signal::ImagefsInodesFree => usage.inodes(),
        Signal::PidAvailable => usage.processes,
    }
}

fn requested(pod: &Pod, signal: Signal) -> i64 {
    match signal {
        Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable => {
            resources::PodTotal::of(pod).memory_request_bytes
        }
        Signal::NodefsAvailable | Signal::ImagefsAvailable => of_containers(pod, |it| request(it, "ephemeral-storage")),
        _ => 0,
    }
}

fn of_containers(pod: &Pod, value: impl Fn(&Container) -> i64) -> i64 {
    spec::spec(pod).containers.iter().map(value).sum()
}

fn request(container: &Container, name: &str) -> i64 {
    let requests = container.resources.as_ref().and_then(|it| it.requests.clone());
    amount(&requests, name).map_or(0, |it| it.value())
}

/// The words of an eviction for want of a resource.
pub fn message(pod: &Pod, usage: Option<&Usage>, starving: &Starving) -> String {
    let signal = starving.threshold.signal;
    let resource = signal.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        signal.shown(starving.limit),
        signal.shown(starving.available)
    );
    let Some(usage) = usage else { return text };
    for container in spec::spec(pod).containers.iter().chain(spec::init_containers(pod)) {
        let Some(own) = usage.containers.get(&container.name) else { continue };
        let (taken, name) = match signal {
            Signal::MemoryAvailable | Signal::AllocatableMemoryAvailable => (own.memory_bytes, "memory"),
            Signal::NodefsAvailable | Signal::ImagefsAvailable => {
                (own.rootfs_bytes + own.log_bytes, "ephemeral-storage")
            }
            _ => continue,
        };
        let requested = request(container, name);
        if taken > requested {
            let shown = |bytes| Quantity::new(bytes, Format::BinarySi).to_string();
            text.push_str(&format!(
                "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
                container.name,
                shown(taken),
                if requested == 0 { "0".to_owned() } else { shown(requested) },
            ));
        }
    }
    text
}

/// More local storage than a pod may take: what it is counted as (`kubelet_evictions`), and the words for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Excess {
    pub signal: &'static str,
    pub message: String,
}

/// None while a pod keeps to its limits of local storage.
pub fn over_limits(pod: &Pod, usage: &Usage, has_own_image_disk: bool) -> Option<Excess> {
    let excess = |signal, message| Some(Excess { signal, message });
    for volume in spec::spec(pod).volumes.iter().flatten() {
        let limit = volume.empty_dir.as_ref().and_then(|it| it.size_limit.as_ref());
        let (Some(limit), Some(used)) = (limit, usage.volumes.get(&volume.name)) else { continue };
        if spec::quantity(limit).is_some_and(|it| it.sign() > 0 && used.bytes > it.value()) {
            let message = format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, limit.0);
            return excess("emptydirfs.limit", message);
        }
    }
    // Containers without a limit of their own share in what the others have.
    if let Some(total) = storage_limit(pod).filter(|total| usage.disk_bytes() > *total) {
        let shown = Quantity::new(total, Format::BinarySi);
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {shown}. ");
        return excess("ephemeralpodfs.limit", message);
    }
    spec::spec(pod).containers.iter().find_map(|container| {
        let own = usage.containers.get(&container.name)?;
        let limit = own_storage_limit(container).filter(|limit| *limit > 0)?;
        let used = own.log_bytes + if has_own_image_disk { 0 } else { own.rootfs_bytes };
        let shown = Quantity::new(limit, Format::BinarySi).to_string();
        let message = format!("Container {} exceeded its local ephemeral storage limit {shown:?}. ", container.name);
        excess("ephemeralcontainerfs.limit", message).filter(|_| used > limit)
    })
}

fn own_storage_limit(container: &Container) -> Option<i64> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    spec::quantity(limits.get("ephemeral-storage")?).map(|it| it.value())
}

/// What a whole pod may take of local storage: its containers and sidecars together, or the most that they and one
/// ordinary init container take while it runs. None where nothing limits it.
fn storage_limit(pod: &Pod) -> Option<i64> {
    let add = |sum: Option<i64>, own: Option<i64>| sum.into_iter().chain(own).reduce(i64::saturating_add);
    let (mut sidecars, mut initial) = (None, None);
    for container in spec::init_containers(pod) {
        let own = own_storage_limit(container);
        let together = add(sidecars, own);
        if spec::is_sidecar(container) {
            sidecars = together;
        }
        initial = initial.max(together);
    }
    let regular = spec::spec(pod).containers.iter().map(own_storage_limit).fold(sidecars, add);
    regular.max(initial)
}

/// Does the pod have any limit of local storage? Only then is it measured while nothing is short.
pub fn has_storage_limits(pod: &Pod) -> bool {
    let pod_spec = spec::spec(pod);
    let of_volume = pod_spec.volumes.iter().flatten().any(|volume| {
        volume.empty_dir.as_ref().is_some_and(|it| it.size_limit.is_some() && it.medium.as_deref() != Some("Memory"))
    });
    of_volume || storage_limit(pod).is_some()
}

/// Why a pod that has just come may not run on a node under pressure.
pub fn refuse(pod: &Pod, pressures: &std::collections::BTreeSet<Pressure>) -> Option<Refusal> {
    if pressures.is_empty() || spec::is_critical(pod) {
        return None;
    }
    if pressures.iter().all(|it| *it == Pressure::Memory)
        && (qos::of_pod(pod) != qos::BEST_EFFORT || tolerates_memory_pressure(pod))
    {
        return None;
    }
    let names: Vec<&str> = pressures.iter().map(|it| it.name()).collect();
    Some(Refusal::new(REASON, format!("The node had condition: [{}]. ", names.join(" "))))
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let taint =
        Taint { key: "node.kubernetes.io/memory-pressure".into(), effect: "NoSchedule".into(), ..Taint::default() };
    spec::spec(pod).tolerations.iter().flatten().any(|it| taints::tolerates(it, &taint))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{signal::Limit, signal::Threshold},
        *,
    };
    use crate::usage::{ContainerUsage, VolumeUsage};

    fn pod(name: &str, priority: i32, memory: &str, spec: Value) -> Pod {
        let mut object = json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority, "containers":
            [{"name": "c", "resources": {"requests": {"memory": memory}}}]}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).expect("a pod")
    }

    fn using(memory_mib: i64) -> Usage {
        let own = ContainerUsage { memory_bytes: memory_mib << 20, ..ContainerUsage::default() };
        Usage { containers: [("c".to_owned(), own)].into(), ..Usage::default() }
    }

    #[test]
    fn the_greediest_of_the_least_important_goes() {
        let first_of = |pods: &[(Pod, Usage)]| {
            let list = pods.iter().map(|(pod, usage)| (pod, Some(usage)));
            first(list, Signal::MemoryAvailable).and_then(|(pod, _)| pod.metadata.name.clone()).unwrap_or_default()
        };
        let none = || json!({});
        let modest = || (pod("modest", 0, "100Mi", none()), using(50));
        let over = || (pod("over", 10, "100Mi", none()), using(150));
        let more = || (pod("more", 10, "100Mi", none()), using(200));
        let unimportant = || (pod("unimportant", 1, "100Mi", none()), using(120));
        let critical = || (pod("critical", 2_000_000_000, "1Mi", none()), using(900));
        assert_eq!(first_of(&[modest(), over()]), "over");
        assert_eq!(first_of(&[over(), more()]), "more");
        assert_eq!(first_of(&[over(), more(), unimportant()]), "unimportant");
        assert_eq!(first_of(&[critical(), modest()]), "modest");
        assert_eq!(first_of(&[critical()]), "");
    }

    #[test]
    fn messages_are_upstreams() {
        let threshold = Threshold {
            signal: Signal::MemoryAvailable,
            limit: Limit::Amount(100 << 20),
            grace: None,
            min_reclaim: None,
        };
        let starving = Starving { threshold, limit: 100 << 20, available: 50 << 20 };
        assert_eq!(
            message(&pod("p", 0, "100Mi", json!({})), Some(&using(150)), &starving),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
             Container c was using 150Mi, request is 100Mi, has larger consumption of memory. "
        );
    }

    #[test]
    fn local_storage_has_limits() {
        let volumes = json!([{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]);
        let pod = pod("p", 0, "1Mi", json!({"volumes": volumes}));
        assert!(has_storage_limits(&pod));
        let with = |bytes| Usage {
            volumes: [("scratch".to_owned(), VolumeUsage { bytes, inodes: 1 })].into(),
            ..Usage::default()
        };
        assert_eq!(over_limits(&pod, &with(1 << 20), false), None);
        let excess = |signal, message: &str| Some(Excess { signal, message: message.to_owned() });
        assert_eq!(
            over_limits(&pod, &with((1 << 20) + 1), false),
            excess("emptydirfs.limit", "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". ")
        );
        let limited = serde_json::from_value(json!({"metadata": {}, "spec": {"containers":
            [{"name": "c", "resources": {"limits": {"ephemeral-storage": "1Mi"}}}]}}));
        let own = ContainerUsage { log_bytes: 2 << 20, ..ContainerUsage::default() };
        let usage = Usage { containers: [("c".to_owned(), own)].into(), ..Usage::default() };
        assert_eq!(
            over_limits(&limited.expect("a pod"), &usage, false),
            excess(
                "ephemeralpodfs.limit",
                "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
            )
        );
        let two = [
            json!({"name": "c", "resources": {"limits": {"ephemeral-storage": "1Mi"}}}),
            json!({"name": "d", "resources": {"limits": {"ephemeral-storage": "4Mi"}}}),
        ];
        let two = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": two}}));
        assert_eq!(
            over_limits(&two.expect("a pod"), &usage, false),
            excess("ephemeralcontainerfs.limit", "Container c exceeded its local ephemeral storage limit \"1Mi\". ")
        );
    }

    #[test]
    fn init_containers_count_for_local_storage_while_they_run() {
        let one = |name: &str, mib: i64, policy: Option<&str>| {
            let limits = match mib {
                0 => json!({}),
                mib => json!({"ephemeral-storage": format!("{mib}Mi")}),
            };
            json!({"name": name, "restartPolicy": policy, "resources": {"limits": limits}})
        };
        let (init, side) = (|mib| one("i", mib, None), |mib| one("s", mib, Some("Always")));
        for (containers, initial, wanted) in [
            (vec![one("c", 0, None)], vec![], None),
            (vec![one("c", 1, None), one("d", 2, None)], vec![], Some(3)),
            (vec![one("c", 4, None)], vec![init(3), init(2)], Some(4)),
            (vec![one("c", 1, None)], vec![init(3), init(2)], Some(3)),
            (vec![one("c", 1, None)], vec![side(2)], Some(3)),
            (vec![one("c", 1, None)], vec![init(3), side(2), init(3)], Some(5)),
            (vec![one("c", 0, None)], vec![init(3)], Some(3)),
        ] {
            let object = json!({"spec": {"containers": containers, "initContainers": initial}});
            let pod: Pod = serde_json::from_value(object.clone()).expect("a pod");
            assert_eq!(storage_limit(&pod), wanted.map(|mib: i64| mib << 20), "{object}");
            assert_eq!(has_storage_limits(&pod), wanted.is_some(), "{object}");
        }
    }

    #[test]
    fn pods_that_come_under_pressure_are_refused() {
        let memory = [Pressure::Memory].into();
        let both = [Pressure::Memory, Pressure::Disk].into();
        let best_effort: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "c"}]}})).expect("a pod");
        let message = refuse(&best_effort, &memory).map(|it| it.message);
        assert_eq!(message.as_deref(), Some("The node had condition: [MemoryPressure]. "));
        assert!(refuse(&pod("p", 0, "1Mi", json!({})), &memory).is_none(), "it has a request");
        assert!(refuse(&pod("p", 0, "1Mi", json!({})), &both).is_some());
        let tolerations = json!({"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c"}]});
        assert!(refuse(&pod("p", 0, "1Mi", tolerations), &memory).is_none());
    }
}
