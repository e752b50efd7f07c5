//! How many pods this kubelet works on, under upstream's names.
//!
//! Enter at [`follow`]: gauges are set when they are asked for. [`tally`] is pure.

use std::{collections::BTreeMap, sync::LazyLock};

use component::metrics;
use prometheus::{IntCounterVec, IntGaugeVec};

use crate::{dispatch::Dispatcher, pod::inbox::Stage};

static WORKING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of pods the kubelet is actually running, broken down by lifecycle phase, whether the pod is desired, \
                orphaned, or runtime only (also orphaned), and whether the pod is static. An orphaned pod has been removed \
                from local configuration or force deleted in the API and consumes resources that are not otherwise visible.";
    metrics::int_gauge("kubelet_working_pods", help, &["lifecycle", "config", "static"])
});
static DESIRED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the \
                apiserver.";
    metrics::int_gauge("kubelet_desired_pods", help, &["static"])
});
static ACTIVE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "The number of pods the kubelet considers active and which are being considered when admitting new pods. \
                static is true if the pod is not from the apiserver.";
    metrics::int_gauge("kubelet_active_pods", help, &["static"])
});
static MIRRORS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "The number of mirror pods the kubelet will try to create (one per admitted static pod)";
    metrics::int_gauge("kubelet_mirror_pods", help, &[])
});
static RESTARTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of pods that have been restarted because they were deleted and recreated with the same UID while the \
                kubelet was watching them (common for static pods, extremely uncommon for API pods)";
    metrics::counter("kubelet_restarted_pods_total", help, &["static"])
});
static ORPHANED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of pods that have been detected in the container runtime without being already known to the pod \
                worker. This typically indicates the kubelet was restarted while a pod was force deleted in the API or in \
                the local configuration, which is unusual.";
    metrics::counter("kubelet_orphaned_runtime_pods_total", help, &[])
});

/// One pod that has a worker.
pub(crate) struct Counted {
    pub(crate) is_static: bool,
    pub(crate) is_leaving: bool,
    pub(crate) is_runtime_only: bool,
    /// It, or another of its name, is to run after its end.
    pub(crate) has_next: bool,
    pub(crate) stage: Stage,
}

type Labels = (&'static str, &'static str, &'static str);

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// By lifecycle, config and static.
    working: BTreeMap<Labels, i64>,
    desired: BTreeMap<&'static str, i64>,
    active: BTreeMap<&'static str, i64>,
}

/// Counts the pods of `dispatch` whenever metrics are asked for, as long as it is there.
pub(crate) fn follow(dispatch: &Dispatcher) {
    let dispatch = dispatch.if_there();
    for is_static in [false, true] {
        RESTARTED.with_label_values(&[flag(is_static)]).inc_by(0);
    }
    ORPHANED.with_label_values::<&str>(&[]).inc_by(0);
    metrics::before_scrape(move || {
        let Some(dispatch) = dispatch() else { return false };
        let (pods, mirrors) = dispatch.counted();
        let tally = tally(&pods);
        for ((lifecycle, config, is_static), count) in tally.working {
            WORKING.with_label_values(&[lifecycle, config, is_static]).set(count);
        }
        for (family, counts) in [(&DESIRED, tally.desired), (&ACTIVE, tally.active)] {
            counts.into_iter().for_each(|(is_static, count)| family.with_label_values(&[is_static]).set(count));
        }
        MIRRORS.with_label_values::<&str>(&[]).set(i64::try_from(mirrors).unwrap_or(i64::MAX));
        true
    });
}

/// A pod runs again under the UID that it had.
pub(crate) fn restarted(is_static: bool) {
    RESTARTED.with_label_values(&[flag(is_static)]).inc();
}

/// The runtime holds a pod that no source has.
pub(crate) fn orphaned() {
    ORPHANED.with_label_values::<&str>(&[]).inc();
}

fn flag(is_static: bool) -> &'static str {
    if is_static { "true" } else { "" }
}

fn tally(pods: &[Counted]) -> Tally {
    let mut tally = Tally::default();
    for lifecycle in ["sync", "terminating", "terminated"] {
        for (config, is_static) in
            [("desired", ""), ("desired", "true"), ("orphan", ""), ("orphan", "true"), ("runtime_only", "unknown")]
        {
            tally.working.insert((lifecycle, config, is_static), 0);
        }
    }
    for counts in [&mut tally.desired, &mut tally.active] {
        counts.extend([("", 0), ("true", 0)]);
    }
    for pod in pods {
        let (config, is_static) = match (pod.is_runtime_only, pod.is_leaving) {
            (true, _) => ("runtime_only", "unknown"),
            (false, true) => ("orphan", flag(pod.is_static)),
            (false, false) => ("desired", flag(pod.is_static)),
        };
        let lifecycle = match pod.stage {
            Stage::Sync => "sync",
            Stage::Terminating => "terminating",
            Stage::Terminated => "terminated",
        };
        *tally.working.entry((lifecycle, config, is_static)).or_default() += 1;
        let is_active = pod.has_next || (!pod.is_leaving && pod.stage != Stage::Terminated);
        *tally.desired.entry(flag(pod.is_static)).or_default() += i64::from(pod.has_next || !pod.is_leaving);
        *tally.active.entry(flag(pod.is_static)).or_default() += i64::from(is_active);
    }
    tally
}

#[test]
fn pods_are_counted_by_where_they_come_from_and_how_far_they_are() {
    let pod = |is_static, is_leaving, has_next, stage| Counted {
        is_static,
        is_leaving,
        is_runtime_only: false,
        has_next,
        stage,
    };
    let orphan = Counted { is_runtime_only: true, ..pod(false, true, false, Stage::Terminating) };
    let told = tally(&[
        pod(false, false, false, Stage::Sync),
        pod(false, false, false, Stage::Terminated),
        pod(true, true, false, Stage::Terminating),
        pod(true, true, true, Stage::Terminating),
        orphan,
    ]);
    let mut working = told.working.clone();
    working.retain(|_, count| *count > 0);
    let wanted = [
        (("sync", "desired", ""), 1),
        (("terminated", "desired", ""), 1),
        (("terminating", "orphan", "true"), 2),
        (("terminating", "runtime_only", "unknown"), 1),
    ];
    assert_eq!(working, wanted.into());
    assert_eq!(told.working.len(), 15, "what there is none of is told, too");
    assert_eq!((told.desired, told.active), ([("", 2), ("true", 1)].into(), [("", 1), ("true", 1)].into()));
}
