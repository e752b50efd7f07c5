//! What a configuration must not say: values out of range, and what is not built. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
    time::Duration,
};

use machinery::quantity::Quantity;

use super::{KubeletConfiguration, gates, refused};
use crate::{eviction::signal as eviction, images::access::Policy};

const ENFORCEMENTS: [&str; 6] =
    ["pods", "system-reserved", "system-reserved-compressible", "kube-reserved", "kube-reserved-compressible", "none"];

/// Everything that is wrong, in one list.
pub fn validate(configuration: &KubeletConfiguration) -> Vec<String> {
    let mut problems = refused::problems(configuration);
    problems.extend(gates::problems(&configuration.feature_gates));
    match configuration.authorization.mode.as_deref().unwrap_or("AlwaysAllow") {
        "AlwaysAllow" | "Webhook" | "" => {}
        mode => problems.push(format!("unknown authorization mode {mode}")),
    }
    problems.extend(eviction::thresholds(&configuration.evictions()).err().unwrap_or_default());
    let rows = [
        node(configuration),
        images(configuration),
        logs(configuration),
        times(configuration),
        enforcement(configuration),
    ];
    problems.extend(rows.into_iter().flatten().map(|problem| format!("invalid configuration: {problem}")));
    problems.extend(amounts("kubeReserved", &configuration.kube_reserved));
    problems.extend(amounts("systemReserved", &configuration.system_reserved));
    for address in &configuration.cluster_dns {
        if address.parse::<std::net::IpAddr>().is_err() {
            problems.push(format!("invalid IP: {address}"));
        }
    }
    problems
}

type Rows = Vec<String>;

fn wrong<const N: usize>(rows: [(bool, String); N]) -> Rows {
    rows.into_iter().filter(|(is, _)| *is).map(|(_, problem)| problem).collect()
}

fn node(c: &KubeletConfiguration) -> Rows {
    let hairpin = c.hairpin_mode.as_str();
    let strategy = c.config_map_and_secret_change_detection_strategy.as_str();
    wrong([
        (
            !matches!(c.cgroup_driver.as_str(), "cgroupfs" | "systemd"),
            format!("cgroupDriver {:?} must be \"cgroupfs\" or \"systemd\"", c.cgroup_driver),
        ),
        (
            c.node_lease_duration_seconds <= 0,
            format!("nodeLeaseDurationSeconds must be greater than 0, got {}", c.node_lease_duration_seconds),
        ),
        (c.max_pods < 0, format!("maxPods (--max-pods) {} must not be a negative number", c.max_pods)),
        (
            c.pods_per_core < 0,
            format!("podsPerCore (--pods-per-core) {} must not be a negative number", c.pods_per_core),
        ),
        (
            c.max_open_files.is_some_and(|files| files < 0),
            "maxOpenFiles (--max-open-files) must not be a negative number".to_owned(),
        ),
        (
            c.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)),
            "oomScoreAdj (--oom-score-adj) must be between -1000 and 1000, inclusive".to_owned(),
        ),
        (
            c.event_record_qps.is_some_and(|qps| qps < 0) || c.event_burst < 0,
            "eventRecordQPS (--event-qps) and eventBurst (--event-burst) must not be negative numbers".to_owned(),
        ),
        (
            !matches!(hairpin, "" | "hairpin-veth" | "promiscuous-bridge" | "none"),
            format!(
                "option {hairpin:?} specified for hairpinMode (--hairpin-mode). Valid options are \"none\", \
                 \"hairpin-veth\" or \"promiscuous-bridge\""
            ),
        ),
        (
            !matches!(strategy, "" | "Get" | "Cache" | "Watch"),
            format!("unknown configmap and secret manager mode {strategy:?}"),
        ),
    ])
}

fn images(c: &KubeletConfiguration) -> Rows {
    let (high, low) = (c.image_gc_high_threshold_percent, c.image_gc_low_threshold_percent);
    let (youngest, oldest) = (c.image_minimum_gc_age.0, c.image_maximum_gc_age.0);
    let allowed = &c.preloaded_images_verification_allowlist;
    let access = Policy::parse(&c.image_pull_credentials_verification_policy, allowed);
    let mut problems = wrong([
        (!(0..=100).contains(&high), format!("imageGCHighThresholdPercent {high} must be between 0 and 100, inclusive")),
        (!(0..=100).contains(&low), format!("imageGCLowThresholdPercent {low} must be between 0 and 100, inclusive")),
        (low >= high, format!("imageGCLowThresholdPercent {low} must be less than imageGCHighThresholdPercent {high}")),
        (
            !oldest.is_zero() && oldest <= youngest,
            format!("imageMaximumGCAge {oldest:?} must be greater than imageMinimumGCAge {youngest:?}"),
        ),
        (c.node_status_max_images < -1, "nodeStatusMaxImages (--node-status-max-images) must be -1 or greater".into()),
        (c.max_parallel_image_pulls == Some(0), "maxParallelImagePulls 0 must be a positive number".to_owned()),
        (
            c.serialize_image_pulls && c.max_parallel_image_pulls.is_some_and(|most| most > 1),
            "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set \
             to false"
                .to_owned(),
        ),
        (
            c.registry_pull_qps.is_some_and(|qps| qps < 0) || c.registry_burst < 0,
            "registryPullQPS (--registry-qps) and registryBurst (--registry-burst) must not be negative numbers".into(),
        ),
    ]);
    problems.extend(access.err());
    problems
}

fn logs(c: &KubeletConfiguration) -> Rows {
    let folder = Path::new(&c.pod_logs_dir);
    let is_clean = !folder.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir));
    wrong([
        (c.container_log_max_files < 2, "containerLogMaxFiles must be greater than 1".to_owned()),
        (
            c.container_log_max_workers == Some(0),
            "containerLogMaxWorkers must be greater than or equal to 1".to_owned(),
        ),
        (
            c.container_log_monitor_interval.0 < Duration::from_secs(3),
            "containerLogMonitorInterval must be a positive time duration greater than or equal to 3s".to_owned(),
        ),
        (
            Quantity::parse(&c.container_log_max_size).map_or(true, |size| size.sign() <= 0),
            format!("containerLogMaxSize {:?} must be a positive quantity", c.container_log_max_size),
        ),
        (!folder.is_absolute(), format!("pod logs path {:?} must be absolute path", c.pod_logs_dir)),
        (!is_clean, format!("pod logs path {:?} must be normalized", c.pod_logs_dir)),
        (
            c.enable_system_log_query && !c.enable_system_log_handler,
            "enableSystemLogHandler is required for enableSystemLogQuery".to_owned(),
        ),
    ])
}

fn times(c: &KubeletConfiguration) -> Rows {
    let restart = c.crash_loop_back_off.max_container_restart_period.map(|it| it.0);
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
    let (shutdown, critical) = (c.shutdown_grace_period.0, c.shutdown_grace_period_critical_pods.0);
    let by_priority = !c.shutdown_grace_period_by_pod_priority.is_empty();
    let is_short = |period: Duration| !period.is_zero() && period < least;
    wrong([
        (critical > shutdown, "shutdownGracePeriodCriticalPods must be <= shutdownGracePeriod".to_owned()),
        (
            is_short(shutdown) || is_short(critical),
            "shutdownGracePeriod and shutdownGracePeriodCriticalPods must be either zero or otherwise >= 1 sec".into(),
        ),
        (
            !shutdown.is_zero() && by_priority,
            "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time".to_owned(),
        ),
        (
            by_priority && !gates::has_shutdown_by_priority(&c.feature_gates),
            "Specifying shutdownGracePeriodByPodPriority requires feature gate GracefulNodeShutdownBasedOnPodPriority"
                .to_owned(),
        ),
        (
            restart.is_some_and(|period| !(least..=most).contains(&period)),
            "crashLoopBackOff.maxContainerRestartPeriod must be between 1s and 300s".to_owned(),
        ),
        (
            !(Duration::from_millis(1)..=least).contains(&c.cpu_cfs_quota_period.0),
            format!(
                "cpuCFSQuotaPeriod (--cpu-cfs-quota-period) {:?} must be between 1ms and 1sec, inclusive",
                c.cpu_cfs_quota_period.0
            ),
        ),
    ])
}

/// `enforceNodeAllocatable`, and the cgroups that it is enforced on.
fn enforcement(c: &KubeletConfiguration) -> Rows {
    let field = "enforceNodeAllocatable (--enforce-node-allocatable)";
    let given: BTreeSet<&str> = c.enforce_node_allocatable.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    if given.len() < c.enforce_node_allocatable.len() {
        problems.push(format!("duplicated enforcements in {field}"));
    }
    if given.contains("none") && given.len() > 1 {
        problems.push(format!("{field} may not contain additional enforcements when \"none\" is specified"));
    }
    for (reserved, cgroup, name) in [
        ("system-reserved", &c.system_reserved_cgroup, "systemReservedCgroup (--system-reserved-cgroup)"),
        ("kube-reserved", &c.kube_reserved_cgroup, "kubeReservedCgroup (--kube-reserved-cgroup)"),
    ] {
        let compressible = format!("{reserved}-compressible");
        let both = (given.contains(reserved), given.contains(compressible.as_str()));
        if both == (true, true) {
            problems.push(format!("both {reserved:?} and {compressible:?} cannot be specified together in {field}"));
        }
        if both != (false, false) && cgroup.is_empty() {
            problems
                .push(format!("{name} must be specified when {reserved:?} or {compressible:?} included in {field}"));
        }
    }
    for option in given.iter().filter(|option| **option != "none") {
        if !ENFORCEMENTS.contains(option) {
            problems.push(format!("option {option:?} specified for {field}"));
        } else if !c.cgroups_per_qos {
            problems.push(format!(
                "cgroupsPerQOS (--cgroups-per-qos) must be set to true when {option:?} contained in {field}"
            ));
        }
    }
    problems
}

fn amounts(field: &str, amounts: &BTreeMap<String, String>) -> Vec<String> {
    let check = |(name, text): (&String, &String)| {
        if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pid") {
            return Some(format!("cannot reserve {name:?} resource in {field}"));
        }
        let quantity = Quantity::parse(text).ok().filter(|quantity| quantity.sign() >= 0);
        quantity.is_none().then(|| format!("failed to parse quantity {text:?} for {name:?} resource in {field}"))
    };
    amounts.iter().filter_map(check).collect()
}
