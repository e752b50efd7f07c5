//! ResourceClaims of pods, and devices with taints, over the API server in memory: what is done, and what is told of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use serde_json::Value;

use super::*;
use crate::{devicetainteviction, resourceclaim};

const API: &str = "resource.k8s.io/v1";

fn pod(spec: Value, status: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": []}, "status": status});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

fn told(fake: &FakeApi) -> Vec<(String, String)> {
    let words = |event: Event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
    fake.list::<Event>().into_iter().map(words).collect()
}

fn from_template() -> Value {
    json!({"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]})
}

fn template() -> Value {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
    json!({"apiVersion": API, "kind": "ResourceClaimTemplate", "metadata": {"name": "t", "namespace": "n"},
        "spec": {"spec": {"devices": {"requests": [request]}}}})
}

#[tokio::test]
async fn why_a_claim_is_not_made() {
    let world = World::new();
    tokio::spawn(resourceclaim::run(world.ctx.clone(), 1));
    world.fake.put(&pod(from_template(), json!({})));
    let tells = |message: &'static str| {
        move |f: &FakeApi| told(f).contains(&("FailedResourceClaimCreation".to_owned(), message.to_owned()))
    };
    let missing =
        "PodResourceClaim gpu: resource claim template \"t\": resourceclaimtemplate.resource.k8s.io \"t\" not found";
    world.until("told what is missing", tells(missing)).await;
    world.fake.fail("create", "resourceclaims", 1, 403, "Forbidden");
    world.fake.put(&template());
    let refused = "PodResourceClaim gpu: create ResourceClaim : a scripted failure";
    world.until("told what is refused", tells(refused)).await;
    world.until("made in the end", |f| f.list::<ResourceClaim>().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_needs_no_claim_gets_none() {
    let world = World::new();
    tokio::spawn(resourceclaim::run(world.ctx.clone(), 1));
    world.fake.put(&template());
    world.fake.put(&pod(from_template(), json!({"resourceClaimStatuses": [{"name": "gpu"}]})));
    // One that needs a claim comes later, and gets it: then the first was looked at.
    let mut other = pod(from_template(), json!({}));
    other["metadata"] = json!({"name": "q", "namespace": "n", "uid": "v"});
    world.fake.put(&other);
    world.until("the other has its claim", |f| claims_told(f, "q").contains_key("gpu")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let made = world.fake.list::<ResourceClaim>();
    let owners = made.iter().flat_map(|claim| claim.metadata.owner_references.iter().flatten());
    assert_eq!(owners.map(|owner| &*owner.name).collect::<Vec<_>>(), ["q"]);
}

/// By the pod's names for them.
fn claims_told(fake: &FakeApi, pod: &str) -> BTreeMap<String, String> {
    let status = fake.get::<Pod>("n", pod).and_then(|pod| pod.status);
    let told = status.and_then(|status| status.resource_claim_statuses).into_iter().flatten();
    told.filter_map(|told| Some((told.name, told.resource_claim_name?))).collect()
}

#[tokio::test]
async fn a_claim_that_is_made_again_does_not_take_the_others_off_the_pod() {
    let world = World::new();
    tokio::spawn(resourceclaim::run(world.ctx.clone(), 1));
    world.fake.put(&template());
    let entry = |name: &str| json!({"name": name, "resourceClaimTemplateName": "t"});
    world.fake.put(&pod(json!({"resourceClaims": [entry("gpu"), entry("net")]}), json!({})));
    world.until("both are told", |f| claims_told(f, "p").len() == 2).await;
    let first = claims_told(&world.fake, "p");
    world.fake.remove::<ResourceClaim>("n", &first["gpu"]);
    let net = first["net"].clone();
    let is_new = move |told: &BTreeMap<String, String>| told["gpu"] != first["gpu"] && told["net"] == net;
    world
        .until("told anew", |f| Some(claims_told(f, "p")).filter(|told| told.len() == 2).is_some_and(|t| is_new(&t)))
        .await;
}

fn claim(allocated: bool) -> Value {
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "gpu"});
    let allocation = allocated.then(|| json!({"devices": {"results": [result]}}));
    json!({"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "c", "namespace": "n", "uid": "c"},
        "spec": {}, "status": {"allocation": allocation}})
}

fn named() -> Value {
    json!({"nodeName": "node", "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]})
}

fn users(fake: &FakeApi) -> Vec<String> {
    let status = fake.get::<ResourceClaim>("n", "c").and_then(|claim| claim.status);
    status.and_then(|status| status.reserved_for).into_iter().flatten().map(|user| user.uid).collect()
}

#[tokio::test]
async fn a_claim_is_reserved_for_a_pod_that_was_placed_past_the_scheduler() {
    let world = World::new();
    tokio::spawn(resourceclaim::run(world.ctx.clone(), 1));
    world.fake.put(&claim(false));
    world.fake.put(&pod(named(), json!({"phase": "Pending"})));
    world.fake.put(&claim(true));
    world.until("reserved", |f| users(f) == ["u"]).await;
}

/// A device, tainted for so many seconds that its user tolerates it.
fn slice(tainted: bool) -> Value {
    let taint = json!({"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
    let taints = if tainted { json!([taint]) } else { json!([]) };
    json!({"apiVersion": API, "kind": "ResourceSlice", "metadata": {"name": "s"}, "spec": {"driver": "d.example.com",
        "nodeName": "node", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu", "taints": taints}]}})
}

#[tokio::test(start_paused = true)]
async fn a_taint_marks_pods_and_its_going_lets_them_stay() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let tolerant = |toleration_seconds: u64| {
        let mut claim = claim(true);
        claim["status"]["reservedFor"] = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
        claim["status"]["allocation"]["devices"]["results"][0]["tolerations"] =
            json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": toleration_seconds}]);
        claim
    };
    fake.put(&tolerant(60));
    fake.put(&pod(named(), json!({"phase": "Running"})));
    fake.put(&slice(true));
    tokio::spawn(devicetainteviction::run(ctx.clone(), 1));
    seconds(5).await;
    assert!(told(&fake).is_empty(), "it is tolerated for a minute");
    fake.put(&slice(false));
    seconds(5).await;
    let event = |message: &str| ("DeviceTaintManagerEviction".to_owned(), message.to_owned());
    assert_eq!(told(&fake), [event("Cancelling deletion")]);
    fake.remove::<Event>("n", &fake.list::<Event>()[0].metadata.name.clone().unwrap());

    let mut going = pod(named(), json!({"phase": "Running"}));
    going["metadata"]["finalizers"] = json!(["example.com/stay"]);
    fake.put(&going);
    fake.fail("delete", "pods", 3, 500, "InternalError");
    fake.put(&slice(true));
    seconds(60).await;
    assert_eq!(told(&fake), [event("Marking for deletion")]);
    assert_eq!(fake.list::<Event>()[0].count, Some(1), "tried again, not told again");
    let pod = fake.get::<Pod>("n", "p").unwrap();
    assert!(pod.metadata.deletion_timestamp.is_some());
    let condition = pod.status.unwrap().conditions.unwrap().remove(0);
    let shown = (condition.type_, condition.reason.unwrap(), condition.message.unwrap(), condition.observed_generation);
    let why = "Device Taint manager: deleting due to NoExecute taint";
    assert_eq!(shown, ("DisruptionTarget".into(), "DeletionByDeviceTaintManager".into(), why.into(), None));
    fake.put(&slice(false));
    fake.remove::<ResourceSlice>("", "s");
    seconds(5).await;
    assert_eq!(told(&fake).len(), 1, "there is nothing to cancel any more");
    ctx.shutdown.trigger();
}
