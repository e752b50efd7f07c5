//! The whole scheduler against an API server in memory, with time that only passes when nothing else happens.

use std::time::Duration;

use component::clock::Clock;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::testing::{FakeApi, Received};
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

mod devices;
mod extenders;

use super::*;
use crate::extender::Extender;
use crate::framework::Profile;
use crate::queue::Backoff;
use crate::testkit::merge;

struct Cluster {
    fake: FakeApi,
    shutdown: Shutdown,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Cluster {
    fn start(objects: &[Value]) -> Self {
        Self::start_with(objects, Vec::new())
    }

    fn start_with(objects: &[Value], extenders: Vec<Extender>) -> Self {
        Self::start_as("default-scheduler", objects, extenders)
    }

    fn start_as(profile: &str, objects: &[Value], extenders: Vec<Extender>) -> Self {
        let (fake, shutdown) = (FakeApi::new(), Shutdown::new());
        objects.iter().for_each(|object| fake.put(object));
        fake.react(discovery);
        let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
        let source = Source::new("default-scheduler");
        let context = Context::with(fake.client(), source, clock, Random::seeded(1), shutdown.clone());
        let core = Core::new(vec![Profile::default_named(profile)], Backoff::default(), clock, 1);
        let core = core.with_extenders(extenders.iter().map(Extender::interest).collect());
        tokio::spawn(run(core, Extenders::new(extenders).unwrap(), context));
        Self { fake, shutdown }
    }

    /// Waits until the requests so far satisfy the condition.
    async fn until(&self, condition: impl FnMut(&Vec<Received>) -> bool) {
        let deadline = Duration::from_secs(60);
        if tokio::time::timeout(deadline, self.fake.until(condition)).await.is_err() {
            let told = self.fake.received().into_iter().filter(|r| !matches!(r.verb, "watch" | "list"));
            let told: Vec<_> = told.map(|r| format!("{} {}/{} {}", r.verb, r.name, r.subresource, r.body)).collect();
            panic!("not in time; the requests were:\n{}", told.join("\n"));
        }
    }

    async fn until_event(&self, reason: &str) -> String {
        let told = |received: &Received| received.resource == "events" && received.body["reason"] == reason;
        self.until(|all| all.iter().any(told)).await;
        let all = self.fake.received();
        let event = all.iter().find(|received| told(received)).expect("an event");
        event.body["message"].as_str().unwrap_or_default().to_owned()
    }

    fn node_of(&self, pod: &str) -> Option<String> {
        self.fake.get::<api::Pod>("default", pod)?.spec?.node_name
    }

    async fn until_bound(&self, pod: &str) {
        let binding = |received: &Received| received.subresource == "binding" && received.name == pod;
        self.until(|all| all.iter().any(binding)).await;
    }
}

/// StatefulSets are not served: scheduling goes on without them.
fn discovery(request: &Received) -> Option<(u16, Value)> {
    let resources: &[&str] = match &*request.group {
        _ if !request.resource.is_empty() => return None,
        "" => &[
            "pods",
            "nodes",
            "namespaces",
            "services",
            "replicationcontrollers",
            "persistentvolumes",
            "persistentvolumeclaims",
        ],
        "apps" => &["replicasets"],
        "storage.k8s.io" => &["storageclasses"],
        "resource.k8s.io" => &["deviceclasses", "resourceclaims", "resourceslices"],
        _ => return Some((404, json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}))),
    };
    let resource = |name: &&str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "", "verbs": []});
    let resources: Vec<Value> = resources.iter().map(resource).collect();
    Some((200, json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})))
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    })
}

fn pod(name: &str, cpu: &str, fields: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"schedulerName": "default-scheduler",
                 "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    merge(&mut pod, fields);
    pod
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_its_node() {
    let cluster = Cluster::start(&[node("n", "2"), pod("p", "1", json!({}))]);
    assert_eq!(cluster.until_event("Scheduled").await, "Successfully assigned default/p to n");
    assert_eq!(cluster.node_of("p").as_deref(), Some("n"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_says_why_and_goes_when_there_is_one() {
    let cluster = Cluster::start(&[node("small", "1"), pod("p", "2", json!({}))]);
    let message = cluster.until_event("FailedScheduling").await;
    let start = "0/1 nodes are available: 1 Insufficient cpu. The nearest node, small, lacks 1 cpu. preemption: ";
    assert!(message.starts_with(start), "{message}");
    cluster.until(|all| all.iter().any(|r| r.verb == "patch" && r.subresource == "status")).await;
    let status = cluster.fake.get::<api::Pod>("default", "p").unwrap().status.unwrap();
    let condition = &status.conditions.unwrap()[0];
    assert_eq!((&*condition.type_, &*condition.status), ("PodScheduled", "False"));
    assert_eq!((condition.reason.as_deref(), condition.message.as_ref()), (Some("Unschedulable"), Some(&message)));
    cluster.fake.put(&node("large", "4"));
    cluster.until_bound("p").await;
    assert_eq!(cluster.node_of("p").as_deref(), Some("large"));
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_fails_is_tried_again_after_a_pause() {
    let cluster = Cluster::start(&[node("n", "2")]);
    let mut failures = 1;
    cluster.fake.react(move |request| {
        let hit = request.subresource == "binding" && failures > 0;
        failures -= u32::from(hit);
        hit.then(|| {
            (
                500,
                json!({"kind": "Status", "status": "Failure", "code": 500, "message": "no", "reason": "InternalError"}),
            )
        })
    });
    cluster.fake.put(&pod("p", "1", json!({})));
    let begun = tokio::time::Instant::now();
    cluster.until(|all| all.iter().filter(|r| r.subresource == "binding").count() == 2).await;
    assert!((1000..1100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(cluster.node_of("p").as_deref(), Some("n"));
    let why = "running Bind plugin \"DefaultBinder\": no";
    assert_eq!(cluster.until_event("FailedScheduling").await, why);
    let told = |r: &Received| {
        let condition = &r.body["status"]["conditions"][0];
        r.name == "p" && condition["reason"] == "SchedulerError" && condition["message"] == why
    };
    assert!(cluster.fake.received().iter().any(told));
}

#[tokio::test(start_paused = true)]
async fn lower_priority_makes_room() {
    let low = pod("low", "2", json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running"}}));
    let cluster = Cluster::start(&[node("n", "2"), low, pod("high", "1", json!({"spec": {"priority": 10}}))]);
    assert_eq!(cluster.until_event("Preempted").await, "Preempted by pod high on node n");
    let patched = |name: &str, field: &str| {
        let all = cluster.fake.received();
        let patch = all.iter().find(|r| r.verb == "patch" && r.name == name);
        patch.map(|r| r.body["status"][field].clone()).unwrap_or_default()
    };
    assert_eq!(patched("low", "conditions")[0]["reason"], "PreemptionByScheduler");
    assert_eq!(patched("high", "nominatedNodeName"), "n");
    // What the node's kubelet does once the containers have ended.
    cluster.fake.remove::<api::Pod>("default", "low");
    cluster.until_bound("high").await;
    assert_eq!(cluster.node_of("high").as_deref(), Some("n"));
}

/// A node, a class that waits, and a pod with a claim of it.
fn waiting(provisioner: &str) -> Vec<Value> {
    let claims = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    vec![
        node("n", "2"),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"},
            "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "default", "uid": "c"},
            "spec": {"storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}}),
        pod("p", "1", claims),
    ]
}

/// What the binder of the controller manager does in the end.
fn complete(fake: &FakeApi, volume: &str) {
    let mut claim = serde_json::to_value(fake.get::<api::PersistentVolumeClaim>("default", "c").unwrap()).unwrap();
    claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
    claim["spec"]["volumeName"] = json!(volume);
    fake.put(&claim);
}

fn volume(phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "status": {"phase": phase},
        "spec": {"storageClassName": "late", "capacity": {"storage": "1Gi"}}})
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_bound_before_its_pod() {
    let mut objects = waiting("kubernetes.io/no-provisioner");
    objects.push(volume("Available"));
    let cluster = Cluster::start(&objects);
    cluster.until(|all| all.iter().any(|r| r.verb == "patch" && r.resource == "persistentvolumes")).await;
    let reserved = cluster.fake.get::<api::PersistentVolume>("", "v").unwrap();
    assert_eq!(reserved.spec.unwrap().claim_ref.unwrap().uid.as_deref(), Some("c"));
    assert_eq!(reserved.metadata.annotations.unwrap()["pv.kubernetes.io/bound-by-controller"], "yes");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.node_of("p"), None, "its claim is not bound yet");
    complete(&cluster.fake, "v");
    cluster.until_bound("p").await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_provisioned_for_the_chosen_node_and_given_up_in_the_end() {
    let cluster = Cluster::start(&waiting("example.com/p"));
    let selected = |f: &FakeApi| {
        let annotations = f.get::<api::PersistentVolumeClaim>("default", "c")?.metadata.annotations?;
        annotations.get("volume.kubernetes.io/selected-node").cloned()
    };
    cluster.until(|_| selected(&cluster.fake).as_deref() == Some("n")).await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    let message = cluster.until_event("FailedScheduling").await;
    let late = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";
    assert_eq!(message, late);
    cluster.fake.put(&volume("Bound"));
    complete(&cluster.fake, "v");
    cluster.until_bound("p").await;
}

#[tokio::test(start_paused = true)]
async fn broken_watches_lose_nothing() {
    let cluster = Cluster::start(&[node("n", "2"), pod("a", "1", json!({}))]);
    cluster.until_bound("a").await;
    cluster.fake.break_watches();
    cluster.fake.compact();
    cluster.fake.put(&pod("b", "1", json!({})));
    cluster.until_bound("b").await;
    cluster.fake.remove::<api::Pod>("default", "a");
    cluster.fake.put(&pod("c", "1", json!({})));
    cluster.until_bound("c").await;
    assert_eq!(cluster.node_of("c").as_deref(), Some("n"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_while_nothing_happens() {
    let cluster = Cluster::start(&[node("n", "1"), pod("p", "2", json!({}))]);
    cluster.until_event("FailedScheduling").await;
    cluster.until(|all| all.iter().any(|r| r.verb == "patch" && r.subresource == "status")).await;
    let ours = |all: &[Received]| all.iter().filter(|r| !matches!(r.verb, "watch" | "list")).count();
    let before = ours(&cluster.fake.received());
    tokio::time::sleep(Duration::from_secs(240)).await;
    assert_eq!(ours(&cluster.fake.received()), before);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_when_they_are_over() {
    let fields = json!({"spec": {"schedulerName": "counted"}});
    let objects = [node("n", "2"), pod("fits", "1", fields.clone()), pod("large", "4", fields)];
    let cluster = Cluster::start_as("counted", &objects, Vec::new());
    let mut failures = 1;
    cluster.fake.react(move |request| {
        let hit = request.subresource == "binding" && failures > 0;
        failures -= u32::from(hit);
        let status =
            json!({"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "no"});
        hit.then_some((500, status))
    });
    cluster.until_event("Scheduled").await;
    cluster.until_event("FailedScheduling").await;
    let text = String::from_utf8(component::metrics::text()).unwrap();
    for line in [
        "scheduler_schedule_attempts_total{profile=\"counted\",result=\"error\"} 1",
        "scheduler_schedule_attempts_total{profile=\"counted\",result=\"scheduled\"} 1",
        "scheduler_scheduling_attempt_duration_seconds_bucket{profile=\"counted\",result=\"scheduled\",le=\"16.384\"} 1",
        "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"Bind\",profile=\"counted\",status=\"Error\"} 1",
        "scheduler_framework_extension_point_duration_seconds_count{extension_point=\"PostFilter\",profile=\"counted\",status=\"Unschedulable\"}",
        "scheduler_framework_extension_point_duration_seconds_bucket{extension_point=\"Filter\",profile=\"counted\",status=\"Success\",le=\"0.2048\"}",
        "scheduler_pod_scheduling_sli_duration_seconds_bucket{attempts=\"2\",le=\"5242.88\"}",
        "scheduler_queue_incoming_pods_total{event=\"UnschedulablePodAdd\",queue=\"active\"}",
        "scheduler_queue_incoming_pods_total{event=\"ScheduleAttemptFailure\",queue=\"unschedulable\"}",
        "scheduler_queue_incoming_pods_total{event=\"ScheduleAttemptFailure\",queue=\"backoff\"}",
        "scheduler_pending_pods{queue=\"unschedulable\"}",
        "scheduler_preemption_attempts_total ",
        "scheduler_preemption_victims_bucket{le=\"64\"}",
        "scheduler_pod_scheduling_attempts_bucket{le=\"16\"}",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("{profile=\"counted\",result=\"unschedulable\"}"), "{text}");
}
