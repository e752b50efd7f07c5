//! The machine goes down: pods are ended in the order of their importance, each group with a grace of its own
//! (`pkg/kubelet/nodeshutdown`).
//!
//! Enter at [`NodeShutdown`]: [`NodeShutdown::follow_logind`], and [`NodeShutdown::end_pods`] when the kubelet was told to stop.
//! Whether the machine goes down then, or only the kubelet is started anew, is asked of systemd; without systemd it is taken
//! to go down.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use component::{recorder::Type, shutdown::Shutdown};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Mutex, watch};

use crate::{
    config::{KubeletConfiguration, PeriodByPriority},
    dispatch::Dispatcher,
    logind,
    node::conditions::Health,
    pod::{inbox::Eviction, node::Node, spec},
};

const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// The most of a group's period that is kept for the API to hear of its end.
const TELL_SECONDS_MAX: i64 = 2;
const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// The periods by priority, the lowest first; none where graceful shutdown is off.
pub(crate) fn periods(c: &KubeletConfiguration) -> Vec<PeriodByPriority> {
    let mut by_priority = c.shutdown_grace_period_by_pod_priority.clone();
    if by_priority.is_empty() {
        let whole = c.shutdown_grace_period.0.as_secs();
        let critical = c.shutdown_grace_period_critical_pods.0.as_secs();
        if whole == 0 || critical > whole {
            return Vec::new();
        }
        let of = |priority, seconds: u64| PeriodByPriority {
            priority,
            shutdown_grace_period_seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        };
        by_priority = vec![of(0, whole - critical), of(SYSTEM_CRITICAL_PRIORITY, critical)];
    }
    by_priority.sort_by_key(|period| period.priority);
    by_priority
}

/// Graceful shutdown, by whichever word comes: logind's, or the one to stop.
pub(crate) struct NodeShutdown {
    periods: Vec<PeriodByPriority>,
    node: Arc<Node>,
    dispatch: Dispatcher,
    health: watch::Sender<Health>,
    /// Whether the pods have been ended. Held meanwhile: of two words the second waits for the work on the first.
    is_done: Mutex<bool>,
}

impl NodeShutdown {
    /// None where it is off.
    pub(crate) fn new(
        periods: Vec<PeriodByPriority>,
        (node, dispatch): (Arc<Node>, Dispatcher),
        health: watch::Sender<Health>,
    ) -> Option<Arc<Self>> {
        if periods.is_empty() {
            return None;
        }
        Some(Arc::new(Self { periods, node, dispatch, health, is_done: Mutex::default() }))
    }

    /// Ends all pods when logind says that the machine goes down, which waits for it. Until shutdown.
    pub(crate) async fn follow_logind(self: Arc<Self>, root: PathBuf, shutdown: Shutdown) {
        let whole: i64 = self.periods.iter().map(|period| period.shutdown_grace_period_seconds).sum();
        let period = Duration::from_secs(u64::try_from(whole).unwrap_or(0));
        logind::keep(period, root, self.on_word(), shutdown).await;
    }

    fn on_word(self: Arc<Self>) -> logind::OnWord {
        Box::new(move |is_going_down| {
            self.health.send_modify(|health| health.is_shutting_down = is_going_down);
            let shutdown = self.clone();
            Box::pin(async move {
                if is_going_down {
                    return shutdown.end_all().await;
                }
                *shutdown.is_done.lock().await = false;
                let message = "Shutdown manager detected shutdown cancellation";
                shutdown.node.reporter.node(Type::Normal, "Shutdown", message);
            })
        })
    }

    /// The kubelet was told to stop: ends all pods if the machine goes down, unless logind's word has had them ended.
    pub(crate) async fn end_pods(&self) {
        let is_known = self.health.borrow().is_shutting_down;
        self.health.send_modify(|health| health.is_shutting_down = true);
        if is_known || is_machine_going_down().await {
            self.end_all().await;
        }
    }

    async fn end_all(&self) {
        let mut is_done = self.is_done.lock().await;
        if *is_done {
            return;
        }
        tracing::info!("the machine goes down: pods are ended in the order of their priority");
        self.node.reporter.node(Type::Normal, "Shutdown", "Shutdown manager detected shutdown event");
        end_groups(&self.periods, &self.node, &self.dispatch).await;
        *is_done = true;
    }
}

/// What the pods of a group have of its period: systemd waits no longer than all periods together, so that what the API
/// needs to hear of their end is a part of it.
fn grace_of(period_seconds: i64) -> i64 {
    period_seconds - (period_seconds / 5).min(TELL_SECONDS_MAX)
}

/// Group by group, none longer than its period. A group that has no pods is not waited for.
async fn end_groups(periods: &[PeriodByPriority], node: &Node, dispatch: &Dispatcher) {
    for (period, pods) in groups(periods, node.running.list()) {
        let end = tokio::time::Instant::now() + Duration::from_secs(u64::try_from(period).unwrap_or(0));
        for pod in &pods {
            let grace_period_seconds = grace_of(period).min(spec::termination_grace_period_seconds(pod));
            let (reason, message) = (REASON.to_owned(), MESSAGE.to_owned());
            let eviction = Eviction { reason, message, grace_period_seconds };
            dispatch.tell(spec::uid(pod), |news| news.evict = Some(eviction));
        }
        let has_ended = |uid: &str| node.running.get(uid).is_none_or(|now| spec::is_over(&now) && !has_running(&now));
        if tokio::time::timeout_at(end, all(node, &pods, has_ended)).await.is_err() {
            tracing::warn!(seconds = period, "pods have outlasted the grace of their group");
        }
        // The kubelet goes with the machine: nobody else tells how these pods ended.
        if tokio::time::timeout_at(end, all(node, &pods, |uid| node.running.is_told(uid))).await.is_err() {
            tracing::warn!("the API has not heard of the end of all pods");
        }
    }
}

/// Until it is so of all of these pods, by their UIDs.
async fn all(node: &Node, pods: &[Arc<Pod>], is_so: impl Fn(&str) -> bool) {
    let mut room = node.running.room();
    while !pods.iter().all(|pod| is_so(spec::uid(pod))) && room.changed().await.is_ok() {}
}

fn has_running(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let mut statuses = lists.into_iter().flat_map(|list| list.iter().flatten());
    statuses.any(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Each pod goes with the highest period that is not above its own priority; below all of them with the lowest.
fn groups(periods: &[PeriodByPriority], pods: Vec<Arc<Pod>>) -> Vec<(i64, Vec<Arc<Pod>>)> {
    let mut groups: Vec<(i64, Vec<Arc<Pod>>)> =
        periods.iter().map(|period| (period.shutdown_grace_period_seconds, Vec::new())).collect();
    for pod in pods.into_iter().filter(|pod| !spec::is_over(pod)) {
        let priority = spec::spec(&pod).priority.unwrap_or(0);
        let place = periods.iter().rposition(|period| period.priority <= priority).unwrap_or(0);
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(pod);
        }
    }
    groups.retain(|(_, pods)| !pods.is_empty());
    groups
}

/// A kubelet that systemd only starts anew must end no pods.
async fn is_machine_going_down() -> bool {
    if !Path::new("/run/systemd/system").exists() {
        return true;
    }
    let asked = tokio::process::Command::new("systemctl").arg("is-system-running").output().await;
    asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).trim() == "stopping")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::GoDuration,
        pod::worker_tests::{Bed, status, until},
    };

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        let object = json!({"metadata": {"name": name}, "spec": {"priority": priority, "containers": []}});
        Arc::new(serde_json::from_value(object).expect("a pod"))
    }

    #[test]
    fn two_periods_part_critical_pods_from_the_others() {
        let mut c = KubeletConfiguration::default();
        assert!(periods(&c).is_empty(), "off unless asked for");
        c.shutdown_grace_period = GoDuration::seconds(30);
        c.shutdown_grace_period_critical_pods = GoDuration::seconds(10);
        let found: Vec<(i32, i64)> =
            periods(&c).iter().map(|it| (it.priority, it.shutdown_grace_period_seconds)).collect();
        assert_eq!(found, [(0, 20), (SYSTEM_CRITICAL_PRIORITY, 10)]);
    }

    #[test]
    fn pods_go_with_the_period_below_them() {
        let of = |priority, seconds| PeriodByPriority { priority, shutdown_grace_period_seconds: seconds };
        let periods = [of(0, 30), of(1000, 20), of(SYSTEM_CRITICAL_PRIORITY, 10)];
        let pods = vec![
            pod("plain", 0),
            pod("below", -5),
            pod("middle", 1500),
            pod("edge", 1000),
            pod("system", 2_000_001_000),
        ];
        let found: Vec<(i64, Vec<String>)> = groups(&periods, pods)
            .into_iter()
            .map(|(seconds, pods)| {
                (seconds, pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>())
            })
            .collect();
        let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [(30, names(&["plain", "below"])), (20, names(&["middle", "edge"])), (10, names(&["system"]))]
        );
    }

    #[test]
    fn the_api_hears_within_the_period() {
        let graces = [0, 1, 4, 5, 10, 20, 600].map(grace_of);
        assert_eq!(graces, [0, 1, 4, 4, 8, 18, 598]);
    }

    /// The first group has a pod that does not end, the second one of whose end the API never hears.
    #[tokio::test(start_paused = true)]
    async fn no_group_takes_longer_than_its_period() {
        let mut bed = Bed::new();
        let (node, dispatch) = bed.dispatcher();
        let in_phase = |name: &str, priority: i32, phase: &str| {
            let mut object = (*pod(name, priority)).clone();
            object.metadata.uid = Some(name.into());
            object.status = Some(serde_json::from_value(json!({"phase": phase})).expect("a status"));
            Arc::new(object)
        };
        node.running.put(in_phase("deaf", 0, "Running"));
        node.running.put(in_phase("untold", SYSTEM_CRITICAL_PRIORITY, "Running"));
        node.running.note_told("untold", false);
        let of = |priority, seconds| PeriodByPriority { priority, shutdown_grace_period_seconds: seconds };
        let begun = tokio::time::Instant::now();
        let ends = async {
            tokio::time::sleep_until(begun + Duration::from_secs(22)).await;
            node.running.put(in_phase("untold", SYSTEM_CRITICAL_PRIORITY, "Failed"));
        };
        let periods = [of(0, 20), of(SYSTEM_CRITICAL_PRIORITY, 10)];
        let groups = async {
            end_groups(&periods, &node, &dispatch).await;
            begun.elapsed().as_secs()
        };
        let (taken, ()) = tokio::join!(groups, ends);
        assert_eq!(taken, 30, "all periods, and no more");
    }

    #[tokio::test]
    async fn the_important_go_last_and_say_why() {
        let mut bed = Bed::new();
        let (node, dispatch) = bed.dispatcher();
        let with = |name: &str, priority: i32| -> Arc<Pod> {
            let object = json!({"metadata": {"name": name, "namespace": "ns", "uid": name}, "spec":
                {"priority": priority, "containers": [{"name": name, "image": "i:1"}]}});
            Arc::new(serde_json::from_value(object).expect("a pod"))
        };
        let names = ["system", "plain", "middle"];
        for (name, priority) in names.into_iter().zip([SYSTEM_CRITICAL_PRIORITY, 0, 1000]) {
            dispatch.put(with(name, priority));
            until("the pod runs", || status(&node, name) == "Running").await;
        }
        let of = |priority, seconds| PeriodByPriority { priority, shutdown_grace_period_seconds: seconds };
        end_groups(&[of(0, 20), of(1000, 20), of(SYSTEM_CRITICAL_PRIORITY, 20)], &node, &dispatch).await;
        let mut ends: Vec<(i64, String)> = bed
            .runtime
            .state()
            .containers
            .values()
            .map(|(_, it)| (it.finished_at, it.metadata.as_ref().map(|it| it.name.clone()).unwrap_or_default()))
            .collect();
        ends.sort();
        assert_eq!(ends.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["plain", "middle", "system"]);
        for name in names {
            assert_eq!(status(&node, name), "Failed Terminated");
            let told = node.running.get(name).and_then(|pod| pod.status.clone()).expect("a status");
            assert_eq!(told.message.as_deref(), Some(MESSAGE));
            assert!(told.conditions.iter().flatten().any(|it| it.type_ == "DisruptionTarget" && it.status == "True"));
        }
    }
    #[tokio::test]
    async fn logind_has_pods_ended_and_may_take_its_word_back() {
        let mut bed = Bed::new();
        let (node, dispatch) = bed.dispatcher();
        let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec":
            {"containers": [{"name": "c", "image": "i:1"}]}});
        dispatch.put(Arc::new(serde_json::from_value(object).expect("a pod")));
        until("the pod runs", || status(&node, "u") == "Running").await;
        let (health, seen) = watch::channel(Health::default());
        let periods = vec![PeriodByPriority { priority: 0, shutdown_grace_period_seconds: 20 }];
        let on_word = NodeShutdown::new(periods, (node.clone(), dispatch), health).expect("it is on").on_word();
        let word = on_word(true);
        assert!(seen.borrow().is_shutting_down, "said at once: no pod may come any more");
        word.await;
        assert_eq!(status(&node, "u"), "Failed Terminated");
        on_word(false).await;
        assert!(!seen.borrow().is_shutting_down);
    }

    #[tokio::test(start_paused = true)]
    async fn the_word_to_stop_waits_for_the_work_on_loginds() {
        let mut bed = Bed::new();
        let (node, dispatch) = bed.dispatcher();
        let mut deaf = (*pod("deaf", 0)).clone();
        deaf.metadata.uid = Some("deaf".into());
        node.running.put(Arc::new(deaf));
        let periods = vec![PeriodByPriority { priority: 0, shutdown_grace_period_seconds: 20 }];
        let shutdown = NodeShutdown::new(periods, (node, dispatch), watch::channel(Health::default()).0);
        let shutdown = shutdown.expect("it is on");
        let begun = tokio::time::Instant::now();
        let word = shutdown.clone().on_word()(true);
        let stop = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            shutdown.end_pods().await;
            begun.elapsed().as_secs()
        };
        let ((), ended_at) = tokio::join!(word, stop);
        assert_eq!(ended_at, 20, "the pods have one grace, not one more from the second word on");
    }
}
