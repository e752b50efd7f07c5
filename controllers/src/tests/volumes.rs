//! Claims and volumes, from the claim to the end of the volume.

use std::path::Path;

use component::testing::FakeApi;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::{Value, json};

use super::World;
use crate::volume::{binder, classes, ephemeral, expand, protection};

fn settings(root: Option<&Path>) -> binder::Settings {
    let timeout = binder::Timeout { minimum_seconds: 60, increment_seconds: 30 };
    let host_path_root = root.map(Into::into);
    binder::Settings { dynamic: true, host_path_root, recycle_host_path: timeout, recycle_nfs: timeout }
}

fn volume(name: &str, storage: &str, policy: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": storage}, "persistentVolumeReclaimPolicy": policy,
            "storageClassName": "manual", "hostPath": {"path": format!("/tmp/skiff-no-such/{name}")}}})
}

fn claim(name: &str, class: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "n"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class},
        "status": {"phase": "Pending"}})
}

fn class(name: &str, provisioner: &str, mode: &str, default: bool) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": provisioner, "volumeBindingMode": mode,
        "reclaimPolicy": "Delete",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}}})
}

fn phase_of(world: &World, name: &str) -> String {
    let volume = world.fake.get::<PersistentVolume>("", name);
    volume.and_then(|v| v.status).and_then(|s| s.phase).unwrap_or_default()
}

fn claim_of(world: &World, name: &str) -> PersistentVolumeClaim {
    world.fake.get::<PersistentVolumeClaim>("n", name).unwrap()
}

fn is_bound(world: &World, name: &str) -> bool {
    claim_of(world, name).status.and_then(|s| s.phase).as_deref() == Some("Bound")
}

#[tokio::test]
async fn each_claim_gets_a_volume_of_its_own() {
    let world = World::new();
    for n in 0..6 {
        world.fake.put(&volume(&format!("v{n}"), "2Gi", "Retain"));
        world.fake.put(&claim(&format!("c{n}"), json!("manual")));
    }
    tokio::spawn(binder::run(world.ctx.clone(), settings(None)));
    world
        .until("all bound", |_| {
            (0..6).all(|n| is_bound(&world, &format!("c{n}")) && phase_of(&world, &format!("v{n}")) == "Bound")
        })
        .await;
    let mut names: Vec<_> =
        (0..6).map(|n| claim_of(&world, &format!("c{n}")).spec.unwrap().volume_name.unwrap()).collect();
    names.sort();
    assert_eq!(names, ["v0", "v1", "v2", "v3", "v4", "v5"]);
    // A late volume for a claim that waits.
    world.fake.put(&claim("late", json!("manual")));
    world.fake.put(&volume("later", "1Gi", "Retain"));
    world.until("the late one", |_| is_bound(&world, "late")).await;
}

#[tokio::test]
async fn volumes_are_reclaimed_by_their_policy() {
    let world = World::new();
    for policy in ["Retain", "Delete", "Recycle"] {
        let name = policy.to_lowercase();
        let mut volume = volume(&name, "2Gi", policy);
        volume["spec"]["claimRef"] = json!({"namespace": "n", "name": name});
        world.fake.put(&volume);
        world.fake.put(&claim(&name, json!("manual")));
    }
    tokio::spawn(binder::run(world.ctx.clone(), settings(None)));
    let names = ["retain", "delete", "recycle"];
    world
        .until("all bound", |_| names.iter().all(|name| phase_of(&world, name) == "Bound" && is_bound(&world, name)))
        .await;
    names.iter().for_each(|name| world.fake.remove::<PersistentVolumeClaim>("n", name));
    world.until("released", |_| phase_of(&world, "retain") == "Released").await;
    world.until("deleted", |f| f.get::<PersistentVolume>("", "delete").is_none()).await;
    world.until("a cleaner", |f| f.get::<Pod>("default", "recycler-for-recycle").is_some()).await;
    let mut cleaner = serde_json::to_value(world.fake.get::<Pod>("default", "recycler-for-recycle")).unwrap();
    cleaner["status"] = json!({"phase": "Succeeded"});
    world.fake.put(&cleaner);
    world.until("free again", |_| phase_of(&world, "recycle") == "Available").await;
    let reference = world.fake.get::<PersistentVolume>("", "recycle").unwrap().spec.unwrap().claim_ref;
    assert_eq!(reference.and_then(|r| r.uid), None);
}

#[tokio::test]
async fn volumes_are_made_when_their_class_says_how() {
    // Elsewhere nothing is deleted.
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let world = World::new();
    world.fake.put(&class("standard", "kubernetes.io/host-path", "Immediate", true));
    world.fake.put(&class("late", "kubernetes.io/host-path", "WaitForFirstConsumer", false));
    world.fake.put(&class("outside", "example.com/p", "Immediate", false));
    world.fake.put(&claim("plain", Value::Null));
    world.fake.put(&claim("late", json!("late")));
    world.fake.put(&claim("outside", json!("outside")));
    tokio::spawn(binder::run(world.ctx.clone(), settings(Some(root.path()))));
    world.until("the default's", |_| is_bound(&world, "plain")).await;
    assert_eq!(claim_of(&world, "plain").spec.unwrap().storage_class_name.as_deref(), Some("standard"));
    let told = |key: &str| claim_of(&world, "outside").metadata.annotations.and_then(|a| a.get(key).cloned());
    world
        .until("an external one is asked", |_| {
            told("volume.kubernetes.io/storage-provisioner").as_deref() == Some("example.com/p")
        })
        .await;
    assert!(!is_bound(&world, "late"), "it waits for its pod");
    let mut chosen = serde_json::to_value(claim_of(&world, "late")).unwrap();
    chosen["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "n1"});
    world.fake.put(&chosen);
    world.until("the late one", |_| is_bound(&world, "late")).await;
    let name = claim_of(&world, "plain").spec.unwrap().volume_name.unwrap();
    let made = world.fake.get::<PersistentVolume>("", &name).unwrap();
    let path = made.spec.unwrap().host_path.unwrap().path;
    assert!(Path::new(&path).is_dir());
    world.fake.remove::<PersistentVolumeClaim>("n", "plain");
    world.until("gone with its data", |f| f.get::<PersistentVolume>("", &name).is_none()).await;
    assert!(!Path::new(&path).exists());
}

#[tokio::test]
async fn a_class_stays_as_long_as_something_names_it() {
    let world = World::new();
    for name in ["free", "named"] {
        world.fake.put(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
            "metadata": {"name": name, "uid": name}, "driverName": "example.com"}));
    }
    let mut user = claim("c", json!("manual"));
    user["spec"]["volumeAttributesClassName"] = "named".into();
    world.fake.put(&user);
    tokio::spawn(classes::run(world.ctx.clone()));
    let class = |name: &str| world.fake.get::<VolumeAttributesClass>("", name);
    let is_protected = |name: &str| {
        class(name).is_some_and(|class| class.metadata.finalizers == Some(vec!["kubernetes.io/vac-protection".into()]))
    };
    world.until("finalizers", |_| is_protected("free") && is_protected("named")).await;
    let api = kube::Api::<VolumeAttributesClass>::all(world.fake.client());
    api.delete("named", &Default::default()).await.unwrap();
    api.delete("free", &Default::default()).await.unwrap();
    world.until("the free one goes", |_| class("free").is_none()).await;
    assert!(class("named").unwrap().metadata.deletion_timestamp.is_some(), "the other is named");
    world.fake.remove::<PersistentVolumeClaim>("n", "c");
    world.until("the other goes", |_| class("named").is_none()).await;
}

#[tokio::test]
async fn what_is_used_stays() {
    let world = World::new();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"nodeName": "n1", "containers": [], "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}}]}});
    world.fake.put(&claim("c", json!("manual")));
    world.fake.put(&volume("v", "1Gi", "Retain"));
    world.fake.put(&pod);
    tokio::spawn(protection::run_claims(world.ctx.clone()));
    tokio::spawn(protection::run_volumes(world.ctx.clone()));
    tokio::spawn(ephemeral::run(world.ctx.clone(), 2));
    world.until("the pod's own claim", |f| f.get::<PersistentVolumeClaim>("n", "p-scratch").is_some()).await;
    let own = claim_of(&world, "p-scratch").metadata;
    assert_eq!((own.owner_references.unwrap()[0].uid.as_str(), own.labels.unwrap()["a"].as_str()), ("p", "b"));
    let protected =
        |name: &str| claim_of(&world, name).metadata.finalizers == Some(vec!["kubernetes.io/pvc-protection".into()]);
    let volume_protected = || {
        let volume = world.fake.get::<PersistentVolume>("", "v").unwrap();
        volume.metadata.finalizers == Some(vec!["kubernetes.io/pv-protection".into()])
    };
    world.until("finalizers", |_| protected("c") && protected("p-scratch") && volume_protected()).await;
    let api = kube::Api::<PersistentVolumeClaim>::namespaced(world.fake.client(), "n");
    api.delete("c", &Default::default()).await.unwrap();
    let volumes = kube::Api::<PersistentVolume>::all(world.fake.client());
    volumes.delete("v", &Default::default()).await.unwrap();
    world.until("the volume goes", |f| f.get::<PersistentVolume>("", "v").is_none()).await;
    assert!(claim_of(&world, "c").metadata.deletion_timestamp.is_some(), "the claim is used");
    world.fake.remove::<Pod>("n", "p");
    world.until("the claim goes", |f| f.get::<PersistentVolumeClaim>("n", "c").is_none()).await;
}

fn told(fake: &FakeApi, about: &str, reason: &str) -> Option<String> {
    let told = fake.received();
    let mut events = told.iter().filter(|r| r.resource == "events" && r.body["involvedObject"]["name"] == about);
    events.find(|r| r.body["reason"] == reason).map(|r| r.body["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_claim_that_grew_waits_for_somebody_else() {
    let world = World::new();
    for (name, asked, owner) in [("grown", "2Gi", "grown"), ("stolen", "2Gi", "thief"), ("same", "1Gi", "same")] {
        let mut claim = claim(name, json!("manual"));
        claim["metadata"]["uid"] = name.into();
        claim["spec"]["resources"]["requests"]["storage"] = asked.into();
        claim["spec"]["volumeName"] = format!("v-{name}").into();
        claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        world.fake.put(&claim);
        let mut volume = volume(&format!("v-{name}"), "1Gi", "Retain");
        volume["spec"]["claimRef"] = json!({"namespace": "n", "name": name, "uid": owner});
        world.fake.put(&volume);
    }
    tokio::spawn(expand::run(world.ctx.clone()));
    let told = |name: &str| told(&world.fake, name, "ExternalExpanding");
    world.until("the resizer is waited for", |_| told("grown").is_some()).await;
    assert_eq!(told("grown").as_deref(), Some("waiting for an external controller to expand this PVC"));
    let looks = |f: &FakeApi, volume: &str| f.received().iter().filter(|r| r.verb == "get" && r.name == volume).count();
    world.until("a volume of another is looked at again", |f| looks(f, "v-stolen") > 1).await;
    assert_eq!((told("stolen"), told("same"), looks(&world.fake, "v-same")), (None, None, 0));
    let mut given_back = volume("v-stolen", "1Gi", "Retain");
    given_back["spec"]["claimRef"] = json!({"namespace": "n", "name": "stolen", "uid": "stolen"});
    world.fake.put(&given_back);
    world.until("its own is waited for", |_| told("stolen").is_some()).await;
}

#[tokio::test]
async fn a_claim_of_somebody_else_is_not_the_pods() {
    let world = World::new();
    world.fake.put(&claim("p-scratch", json!("manual")));
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"containers": [], "volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}}));
    tokio::spawn(ephemeral::run(world.ctx.clone(), 1));
    world.until("it is told", |f| told(f, "p", "FailedBinding").is_some()).await;
    let conflict = "ephemeral volume scratch: PVC n/p-scratch was not created for pod n/p (pod is not owner)";
    assert_eq!(told(&world.fake, "p", "FailedBinding").as_deref(), Some(conflict));
    assert_eq!(claim_of(&world, "p-scratch").metadata.owner_references, None, "it stays as it is");
    world.fake.remove::<PersistentVolumeClaim>("n", "p-scratch");
    let owner = |f: &FakeApi| f.get::<PersistentVolumeClaim>("n", "p-scratch")?.metadata.owner_references?.pop();
    world.until("the pod's own", |f| owner(f).is_some_and(|owner| owner.uid == "p")).await;
}
