//! Tables for the plan of a node, and a volume's way over a small API server.

use std::time::Duration;

use component::clock::Clock;
use component::context::Context;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::testing::FakeApi;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::plan::{Elsewhere, World, plan, taken_by};
use super::volume::Volume;
use super::*;

const UNIQUE: &str = "kubernetes.io/csi/d^h";
const SECOND: i64 = 1_767_225_600;

fn now() -> Timestamp {
    Timestamp::from_second(SECOND).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn volume(exclusive: bool) -> Volume {
    let csi = volume::Csi { driver: "d".into(), handle: "h".into() };
    Volume { unique: UNIQUE.into(), name: "pv".into(), csi: Some(csi), exclusive }
}

/// A node in words: `ready`, `out`, `in-use`, `listed`.
fn node(words: &str) -> Node {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let listed = json!([{"name": UNIQUE, "devicePath": ""}]);
    let status = json!({"conditions": [{"type": "Ready", "status": if has("ready") { "True" } else { "Unknown" }}],
        "volumesAttached": if has("listed") { listed } else { Value::Null },
        "volumesInUse": if has("in-use") { json!([UNIQUE]) } else { Value::Null }});
    let taints = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    let spec = json!({"taints": if has("out") { taints } else { Value::Null }});
    serde_json::from_value(json!({"metadata": {"name": "n", "uid": "n",
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}}, "spec": spec, "status": status}))
    .unwrap()
}

/// An attachment in words: `attached`, `going`, `failed`, `old`.
fn attachment(words: &str) -> Arc<VolumeAttachment> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let created = if has("old") { ago(120) } else { ago(20) };
    let mut object = json!({"metadata": {"name": "csi-x", "creationTimestamp": created.to_string()},
        "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
        "status": {"attached": has("attached")}});
    if has("going") {
        object["metadata"]["deletionTimestamp"] = ago(1).to_string().into();
    }
    if has("failed") {
        object["status"]["attachError"] = json!({"message": "no room"});
    }
    Arc::new(serde_json::from_value(object).unwrap())
}

struct Case<'a> {
    node: Option<&'a str>,
    wanted: bool,
    attachment: Option<&'a str>,
    elsewhere: Elsewhere,
    /// Whether a driver is asked.
    csi: bool,
    /// Whether the node that is gone used it last.
    last_in_use: Option<bool>,
    /// Seconds since when it is to go.
    going: Option<i64>,
}

const PLAIN: Case<'_> = Case {
    node: Some("ready"),
    wanted: true,
    attachment: None,
    elsewhere: Elsewhere::Nothing,
    csi: true,
    last_in_use: None,
    going: None,
};

/// The plan in words.
fn check(case: &Case<'_>, want: &str) {
    let node = case.node.map(node);
    let mut wanted = BTreeMap::new();
    if case.wanted {
        let mut volume = volume(true);
        volume.csi = volume.csi.filter(|_| case.csi);
        wanted.insert(UNIQUE.to_owned(), Wanted { volume, pods: Vec::new() });
    }
    let attachments = case.attachment.map(|words| (UNIQUE.to_owned(), attachment(words))).into_iter().collect();
    let going_since = case.going.map(|seconds| (UNIQUE.to_owned(), ago(seconds))).into_iter().collect();
    let used = case.last_in_use.map(|used| used.then(|| UNIQUE.to_owned()).into_iter().collect());
    let plan = plan(&World {
        last_in_use: used.as_ref(),
        node: node.as_ref(),
        wanted: &wanted,
        attachments: &attachments,
        elsewhere: &|_| case.elsewhere,
        going_since: &going_since,
        forces_by_time: true,
        now: now(),
    });
    let mut words: Vec<String> = plan.attached.iter().map(|_| "listed".to_owned()).collect();
    words.extend(plan.attach.iter().map(|_| "attach".to_owned()));
    words.extend(plan.detach.iter().map(|detach| {
        let verify = if detach.verify { "verified" } else { detach.forced.unwrap_or("?") };
        if detach.attachment.is_some() { format!("detach({verify})") } else { format!("forget({verify})") }
    }));
    words.extend(plan.news.iter().map(|(_, news)| format!("{news:?}")));
    words.extend(plan.again_in.map(|wait| format!("again in {}", wait.as_secs())));
    assert_eq!(words.join(" "), want, "{:?} {:?}", case.node, case.attachment);
}

#[test]
fn what_is_wanted() {
    check(&PLAIN, "attach");
    check(&Case { elsewhere: Elsewhere::Attached, ..PLAIN }, "Exclusive");
    check(&Case { elsewhere: Elsewhere::Moving, ..PLAIN }, "");
    check(&Case { attachment: Some(""), ..PLAIN }, "again in 100");
    check(&Case { attachment: Some("attached"), ..PLAIN }, "listed Attached");
    check(&Case { attachment: Some("attached"), node: Some("ready listed"), ..PLAIN }, "listed");
    check(&Case { attachment: Some("attached going"), node: Some("ready listed"), ..PLAIN }, "");
    check(&Case { attachment: Some("failed"), ..PLAIN }, "Failed(\"no room\")");
    let silent = "Failed(\"timed out waiting for external-attacher of d CSI driver to attach volume h\")";
    check(&Case { attachment: Some("old"), ..PLAIN }, silent);
    let unasked = Case { csi: false, ..PLAIN };
    check(&unasked, "listed Attached");
    check(&Case { elsewhere: Elsewhere::Attached, ..unasked }, "Exclusive");
    check(&Case { elsewhere: Elsewhere::Attached, node: Some("ready listed"), ..unasked }, "listed");
}

#[test]
fn what_is_not_wanted_any_more() {
    let none = Case { wanted: false, attachment: Some("attached"), ..PLAIN };
    check(&Case { node: Some("ready listed"), ..none }, "detach(verified)");
    check(&Case { node: Some("ready listed in-use"), ..none }, "listed again in 360");
    check(&Case { node: Some("ready listed in-use"), going: Some(100), ..none }, "listed again in 260");
    check(&Case { node: Some("ready listed in-use"), going: Some(400), ..none }, "listed");
    check(&Case { node: Some("listed in-use"), going: Some(100), ..none }, "listed again in 260");
    check(&Case { node: Some("listed in-use"), going: Some(400), ..none }, "detach(timeout)");
    check(&Case { node: Some("listed in-use out"), ..none }, "detach(out-of-service)");
    check(&Case { node: Some("ready listed"), attachment: Some("attached going"), ..none }, "");
    check(&Case { node: Some("ready"), attachment: Some(""), ..none }, "detach(verified)");
    check(&Case { node: Some("ready listed"), attachment: None, ..none }, "forget(verified)");
    check(&Case { node: None, ..none }, "listed again in 360");
    check(&Case { node: None, going: Some(360), ..none }, "detach(timeout)");
    check(&Case { node: None, last_in_use: Some(true), ..none }, "listed again in 360");
    check(&Case { node: None, last_in_use: Some(false), ..none }, "detach(verified)");
    check(&Case { node: Some("ready"), attachment: None, ..none }, "");
}

#[test]
fn who_has_it_is_told_within_the_namespace() {
    let pod = |namespace: &str, name: &str| {
        Arc::new(serde_json::from_value::<Pod>(json!({"metadata": {"namespace": namespace, "name": name}})).unwrap())
    };
    let (a, b, other) = (pod("n", "a"), pod("n", "b"), pod("m", "c"));
    let rows = [
        (vec![], "Volume is already exclusively attached to one node and can't be attached to another"),
        (vec![a.clone(), b], "Volume is already used by pod(s) a, b"),
        (vec![other.clone()], "Volume is already used by 1 pod(s) in different namespaces"),
        (vec![a, other], "Volume is already used by pod(s) a and 1 pod(s) in different namespaces"),
    ];
    for (users, want) in rows {
        assert_eq!(taken_by(&users, Some("n")), want);
    }
}

fn objects() -> Vec<Value> {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "n", "uid": "c"},
        "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}});
    let reference = json!({"namespace": "n", "name": "c", "uid": "c"});
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "claimRef": reference, "csi": {"driver": "d", "volumeHandle": "h"}});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec});
    let mut all = vec![claim, volume];
    for name in ["n", "m"] {
        let mut node = serde_json::to_value(node("ready")).unwrap();
        node["metadata"]["name"] = name.into();
        node["metadata"]["uid"] = name.into();
        all.push(node);
    }
    all
}

fn user(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "c"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}})
}

fn only_attachment(fake: &FakeApi, node: &str) -> Option<VolumeAttachment> {
    let all = fake.list::<VolumeAttachment>();
    (all.len() == 1).then(|| all.into_iter().find(|attachment| attachment.spec.node_name == node)).flatten()
}

fn is_listed(fake: &FakeApi, name: &str) -> bool {
    plan::attached(fake.get::<Node>("", name).as_ref()).any(|unique| unique == UNIQUE)
}

/// The controller over a small API server.
struct Running {
    fake: FakeApi,
    shutdown: Shutdown,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

impl Running {
    fn start(fake: FakeApi, pods: &[Value]) -> Self {
        let (random, shutdown) = (Random::seeded(1), Shutdown::new());
        let source = Source::new("attachdetach-controller");
        let ctx = Context::with(fake.client(), source, Clock::system(), random, shutdown.clone());
        objects().iter().chain(pods).for_each(|object| fake.put(object));
        tokio::spawn(run(ctx, true));
        Self { fake, shutdown }
    }

    async fn until(&self, what: &str, met: &dyn Fn() -> bool) {
        let seen = tokio::time::timeout(Duration::from_secs(20), self.fake.until(|_| met())).await;
        assert!(seen.is_ok(), "never: {what}");
    }

    fn told(&self, words: &str) -> bool {
        self.fake.received().iter().any(|request| request.body.to_string().contains(words))
    }
}

#[tokio::test]
async fn a_volume_moves_with_its_pod() {
    let running = Running::start(FakeApi::new(), &[user("first", "n")]);
    let fake = &running.fake;
    let until = async |what: &str, met: &dyn Fn() -> bool| running.until(what, met).await;
    until("asked for", &|| only_attachment(fake, "n").is_some()).await;
    let mut attachment = serde_json::to_value(only_attachment(fake, "n").unwrap()).unwrap();
    assert_eq!(attachment["spec"], json!({"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}));
    attachment["status"] = json!({"attached": true});
    fake.put(&attachment);
    until("told to the kubelet", &|| is_listed(fake, "n")).await;
    fake.put(&user("second", "m"));
    let told = |words: &str| running.told(words);
    until("told why it waits", &|| {
        told("Multi-Attach error for volume \\\"pv\\\" Volume is already used by pod(s) first")
    })
    .await;
    assert!(told("AttachVolume.Attach succeeded for volume \\\"pv\\\" "));
    fake.remove::<k8s_openapi::api::core::v1::Pod>("n", "first");
    until("given to the other node", &|| only_attachment(fake, "m").is_some() && !is_listed(fake, "n")).await;
}

#[tokio::test]
async fn of_two_pods_made_together_the_second_is_told() {
    let running = Running::start(FakeApi::new(), &[user("first", "n"), user("second", "m")]);
    let all = || running.fake.list::<VolumeAttachment>();
    running.until("asked for", &|| all().len() == 1).await;
    let mut attachment = serde_json::to_value(all().remove(0)).unwrap();
    attachment["status"] = json!({"attached": true});
    running.fake.put(&attachment);
    running.until("told why it waits", &|| running.told("Multi-Attach error for volume \\\"pv\\\"")).await;
}

#[tokio::test]
async fn a_volume_that_no_driver_attaches_is_at_one_node_at_a_time() {
    let fake = FakeApi::new();
    let running = Running::start(fake, &[]);
    let fake = &running.fake;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "claimRef": {"namespace": "n", "name": "c", "uid": "c"},
        "iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.x", "lun": 3}});
    fake.put(&json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": spec}));
    let is_listed = |name: &str| plan::attached(fake.get::<Node>("", name).as_ref()).count() == 1;
    fake.put(&user("first", "n"));
    running.until("told to the kubelet", &|| is_listed("n")).await;
    fake.put(&user("second", "m"));
    let why = "Multi-Attach error for volume \\\"pv\\\" Volume is already used by pod(s) first";
    running.until("told why it waits", &|| running.told(why)).await;
    assert!(!is_listed("m"));
    fake.remove::<k8s_openapi::api::core::v1::Pod>("n", "first");
    running.until("given to the other node", &|| is_listed("m") && !is_listed("n")).await;
}

#[tokio::test]
async fn what_a_deleted_node_did_not_use_is_detached_at_once() {
    let running = Running::start(FakeApi::new(), &[user("first", "n")]);
    let fake = &running.fake;
    running.until("asked for", &|| only_attachment(fake, "n").is_some()).await;
    let mut attachment = serde_json::to_value(only_attachment(fake, "n").unwrap()).unwrap();
    attachment["status"] = json!({"attached": true});
    fake.put(&attachment);
    running.until("told to the kubelet", &|| is_listed(fake, "n")).await;
    fake.remove::<Node>("", "n");
    running.until("detached", &|| fake.list::<VolumeAttachment>().is_empty()).await;
}

#[tokio::test]
async fn what_was_asked_for_in_vain_is_nobodys() {
    let fake = FakeApi::new();
    fake.react(|request| {
        let is_lost = request.verb == "create" && request.body["spec"]["nodeName"] == "n";
        (is_lost && request.resource == "volumeattachments").then(|| (500, json!({"kind": "Status", "code": 500})))
    });
    let running = Running::start(fake, &[user("first", "n")]);
    let asked = |all: &[component::testing::Received]| {
        all.iter().any(|request| request.verb == "create" && request.resource == "volumeattachments")
    };
    running.until("asked for", &|| asked(&running.fake.received())).await;
    running.fake.put(&user("second", "m"));
    running.fake.remove::<k8s_openapi::api::core::v1::Pod>("n", "first");
    running.until("given to the other node", &|| only_attachment(&running.fake, "m").is_some()).await;
}

#[tokio::test]
async fn what_the_node_is_still_told_of_stays() {
    let fake = FakeApi::new();
    let mut behind = serde_json::to_value(node("ready listed")).unwrap();
    behind["apiVersion"] = "v1".into();
    behind["kind"] = "Node".into();
    let mut once = Some(behind);
    fake.react(move |request| {
        let is_asked = request.verb == "get" && request.resource == "nodes";
        is_asked.then(|| once.take()).flatten().map(|node| (200, node))
    });
    let mut held = serde_json::to_value(&*attachment("attached")).unwrap();
    held["apiVersion"] = "storage.k8s.io/v1".into();
    held["kind"] = "VolumeAttachment".into();
    fake.put(&held);
    let running = Running::start(fake, &[]);
    let all = || running.fake.received();
    running.until("detached", &|| all().iter().any(|request| request.verb == "delete")).await;
    let looks = all().iter().filter(|request| request.verb == "get" && request.resource == "nodes").count();
    assert_eq!(looks, 2, "the first still lists it");
}

#[test]
fn volumes_of_a_pod_that_goes_stay_while_any_container_runs() {
    let going = |state: Value| {
        let status =
            json!({"name": "d", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let ended = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0}}});
        let pod = json!({"metadata": {"name": "p", "deletionTimestamp": now().to_string()}, "spec": {"containers": []},
            "status": {"containerStatuses": [ended], "ephemeralContainerStatuses": [status]}});
        world::is_over(&serde_json::from_value::<Pod>(pod).unwrap())
    };
    assert!(!going(json!({"running": {}})));
    assert!(going(json!({"terminated": {"exitCode": 0}})));
}
