//! What is counted of probes, and for how long it is told.

use std::sync::Arc;

use component::{clock::Clock, random::Random};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;

use super::{Kind, PodProbes, Prober, figures::Figures, handlers::Outcome};
use crate::{
    pod::{
        inbox::Inbox,
        worker_tests::{Bed, until},
    },
    runtime::{ContainerRecord, ContainerState, Observed, labels::Identity},
};

fn lines(figures: &Figures) -> Vec<String> {
    let text = String::from_utf8(figures.text()).expect("text");
    text.lines().filter(|line| line.starts_with("prober_")).map(str::to_owned).collect()
}

#[test]
fn results_are_counted_and_the_time_of_successes() {
    let figures = Figures::default();
    let pod = Identity { uid: "u".into(), namespace: "ns".into(), name: "p".into() };
    let series = figures.series(&pod, "c", Kind::Readiness);
    for (outcome, seconds) in [
        (Outcome::Success, 0.02),
        (Outcome::Warning("redirected".into()), 3.0),
        (Outcome::Failure("no".into()), 1.0),
        (Outcome::Errored("no such port".into()), 1.0),
    ] {
        series.count(&outcome, seconds);
    }
    let text = String::from_utf8(figures.text()).expect("text");
    let labels = "container=\"c\",namespace=\"ns\",pod=\"p\"";
    for wanted in [
        "# HELP prober_probe_duration_seconds [ALPHA] Duration in seconds for a probe response.\n\
         # TYPE prober_probe_duration_seconds histogram\n"
            .to_owned(),
        format!("prober_probe_duration_seconds_bucket{{{labels},probe_type=\"Readiness\",le=\"0.01\"}} 0\n"),
        format!("prober_probe_duration_seconds_bucket{{{labels},probe_type=\"Readiness\",le=\"0.025\"}} 1\n"),
        format!("prober_probe_duration_seconds_bucket{{{labels},probe_type=\"Readiness\",le=\"2.5\"}} 1\n"),
        format!("prober_probe_duration_seconds_count{{{labels},probe_type=\"Readiness\"}} 2\n"),
        "# HELP prober_probe_total [BETA] Cumulative number of a liveness, readiness or startup probe for a container by \
         result.\n# TYPE prober_probe_total counter\n"
            .to_owned(),
        format!("prober_probe_total{{{labels},pod_uid=\"u\",probe_type=\"Readiness\",result=\"successful\"}} 2\n"),
        format!("prober_probe_total{{{labels},pod_uid=\"u\",probe_type=\"Readiness\",result=\"failed\"}} 1\n"),
        "# TYPE process_start_time_seconds gauge\n".to_owned(),
    ] {
        assert!(text.contains(&wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("unknown"), "{text}");
    drop(series);
    assert_eq!(lines(&figures), Vec::<String>::new(), "a probe that is gone is told no more");
}

struct Probed {
    bed: Bed,
    prober: Prober,
    probes: PodProbes,
    pod: Arc<Pod>,
}

impl Probed {
    /// A pod whose container is alive and well, and not ready. A run of it is asked once: what is counted twice went on.
    fn new(restart_policy: &str) -> Self {
        let bed = Bed::new();
        let prober = Prober::new(Clock::system(), Random::seeded(1));
        let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
            "restartPolicy": restart_policy, "containers": [{"name": "c",
            "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 3600},
            "readinessProbe": {"tcpSocket": {"host": "127.0.0.1", "port": 1}, "periodSeconds": 3600}}]}});
        let pod = Arc::new(serde_json::from_value(object).expect("a pod"));
        let probes = prober.of_pod(Inbox::default());
        Self { bed, prober, probes, pod }
    }

    fn tend(&mut self, id: &str, state: ContainerState, stopping: bool) {
        let mut record = ContainerRecord::for_test("c", state);
        record.id = id.to_owned();
        record.started_at_ns = i64::try_from(Timestamp::now().as_nanosecond()).expect("in range");
        self.tend_all(vec![record], stopping);
    }

    fn tend_all(&mut self, containers: Vec<ContainerRecord>, stopping: bool) {
        let observed = Observed { sandboxes: Vec::new(), containers };
        self.probes.tend(&self.bed.node(), &self.pod, &PodStatus::default(), &observed, stopping);
    }

    /// The results that are told, as `<type> <result> <number>`.
    fn told(&self) -> Vec<String> {
        let value = |line: &str, label: &str| {
            let (_, rest) = line.split_once(&format!("{label}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let all = lines(&self.prober.figures).into_iter().filter(|line| line.starts_with("prober_probe_total"));
        all.filter_map(|line| {
            let count = line.rsplit_once(' ')?.1;
            Some(format!("{} {} {count}", value(&line, "probe_type")?, value(&line, "result")?))
        })
        .collect()
    }
}

#[tokio::test]
async fn numbers_outlive_a_containers_runs_and_go_with_the_probe() {
    let mut probed = Probed::new("Always");
    probed.tend("one", ContainerState::Running, false);
    until("both are asked", || probed.told() == ["Liveness successful 1", "Readiness failed 1"]).await;
    probed.tend("one", ContainerState::Exited, false);
    assert_eq!(probed.told(), ["Liveness successful 1", "Readiness failed 1"], "it is to run again");
    probed.tend("two", ContainerState::Running, false);
    until("both are asked again", || probed.told() == ["Liveness successful 2", "Readiness failed 2"]).await;
    probed.tend("two", ContainerState::Running, true);
    until("only readiness goes on", || probed.told() == ["Readiness failed 2"]).await;
    probed.tend("two", ContainerState::Exited, true);
    until("the pod has ended", || probed.told().is_empty()).await;
}

#[tokio::test]
async fn numbers_go_with_a_container_that_does_not_run_again_and_with_the_pod() {
    let mut probed = Probed::new("Never");
    probed.tend("one", ContainerState::Running, false);
    until("both are asked", || probed.told().len() == 2).await;
    probed.tend("one", ContainerState::Exited, false);
    until("it is over", || probed.told().is_empty()).await;
    probed.tend("two", ContainerState::Running, false);
    until("both are asked", || probed.told().len() == 2).await;
    probed.probes = probed.prober.of_pod(Inbox::default());
    until("the pod is gone", || probed.told().is_empty()).await;
}

/// The probed container is killed for another's sake, and would not start again on its own.
#[tokio::test]
async fn numbers_outlive_a_restart_of_all_containers() {
    let mut probed = Probed::new("Never");
    let mut pod = (*probed.pod).clone();
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let source = json!({"name": "source", "restartPolicy": "Never", "restartPolicyRules": rules});
    pod.spec.get_or_insert_default().containers.push(serde_json::from_value(source).expect("a container"));
    probed.pod = Arc::new(pod);
    let exited = |name: &str, exit_code| ContainerRecord {
        exit_code,
        ..ContainerRecord::for_test(name, ContainerState::Exited)
    };
    probed.tend("one", ContainerState::Running, false);
    until("both are asked", || probed.told() == ["Liveness successful 1", "Readiness failed 1"]).await;
    for containers in [vec![exited("c", 137), exited("source", 42)], vec![exited("source", 42)], vec![]] {
        probed.tend_all(containers, false);
        assert_eq!(probed.told(), ["Liveness successful 1", "Readiness failed 1"], "it is to run again");
    }
    probed.tend("two", ContainerState::Running, false);
    until("both are asked again", || probed.told() == ["Liveness successful 2", "Readiness failed 2"]).await;
    probed.tend_all(vec![exited("c", 137), exited("source", 1)], false);
    until("it is over", || probed.told().is_empty()).await;
}
