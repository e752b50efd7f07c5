//! Tables for the binder's core.

use std::path::Path;
use std::sync::Arc;

use component::random::Random;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::super::{facts, matching};
use super::bind::{bound_claim, bound_volume, claim_status};
use super::claim::{self, World};
use super::plugins::{self, Deleter, Provisioner};
use super::recycle::{self, Step, Timeout};
use super::volume;
use crate::common::pod::Pod;

/// A value with more fields in it.
fn with(mut base: Value, more: Value) -> Value {
    match (&mut base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                let old = base.remove(&key).unwrap_or(json!({}));
                base.insert(key, if value.is_object() { with(old, value) } else { value });
            }
        }
        (base, more) => *base = more,
    }
    base
}

fn claim(more: Value) -> PersistentVolumeClaim {
    let base = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "status": {"phase": "Pending"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}});
    serde_json::from_value(with(base, more)).unwrap()
}

fn volume(name: &str, storage: &str, more: Value) -> Arc<PersistentVolume> {
    let base = json!({"metadata": {"name": name}, "status": {"phase": "Available"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": storage}, "persistentVolumeReclaimPolicy": "Retain"}});
    Arc::new(serde_json::from_value(with(base, more)).unwrap())
}

fn class(name: &str, more: Value) -> Arc<StorageClass> {
    let base = json!({"metadata": {"name": name}, "provisioner": "example.com/p", "volumeBindingMode": "Immediate"});
    Arc::new(serde_json::from_value(with(base, more)).unwrap())
}

fn bound_to(uid: &str) -> Value {
    json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": uid}}})
}

#[track_caller]
fn best(more: Value, volumes: &[Arc<PersistentVolume>], want: Option<&str>) {
    let found = matching::best(&claim(more.clone()), volumes, false);
    assert_eq!(found.and_then(|v| v.metadata.name.clone()).as_deref(), want, "{more}");
}

#[test]
fn the_smallest_that_fits() {
    let class = |name: &str| json!({"spec": {"storageClassName": name}});
    let volumes = [
        volume("small", "1Gi", json!({})),
        volume("large", "50Gi", json!({})),
        volume("right", "8Gi", json!({})),
        volume("fast", "6Gi", class("fast")),
        volume("taken", "5Gi", bound_to("other")),
        volume("block", "5Gi", json!({"spec": {"volumeMode": "Block"}})),
        volume("many", "5Gi", json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}})),
        volume("released", "5Gi", json!({"status": {"phase": "Released"}})),
        volume("going", "5Gi", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        volume("labelled", "9Gi", json!({"metadata": {"labels": {"disk": "ssd"}}})),
    ];
    best(json!({}), &volumes, Some("right"));
    best(json!({"spec": {"resources": {"requests": {"storage": "10Gi"}}}}), &volumes, Some("large"));
    best(json!({"spec": {"resources": {"requests": {"storage": "100Gi"}}}}), &volumes, None);
    best(json!({"spec": {"storageClassName": "fast"}}), &volumes, Some("fast"));
    best(
        json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "fast"}}}),
        &volumes,
        Some("fast"),
    );
    best(json!({"spec": {"storageClassName": "none"}}), &volumes, None);
    best(json!({"spec": {"volumeMode": "Block"}}), &volumes, Some("block"));
    best(json!({"spec": {"accessModes": ["ReadWriteMany"]}}), &volumes, Some("many"));
    best(json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), &volumes, None);
    best(json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}), &volumes, Some("labelled"));
    best(json!({"spec": {"volumeAttributesClassName": "gold"}}), &volumes, None);
}

#[test]
fn a_reserved_volume_comes_first() {
    let reserved = volume("reserved", "50Gi", bound_to(""));
    let volumes = [volume("right", "5Gi", json!({})), reserved.clone()];
    best(json!({}), &volumes, Some("reserved"));
    best(json!({"metadata": {"name": "other"}}), &volumes, Some("right"));
    // A claim that waits for its pod leaves free volumes to the scheduler.
    let waits =
        |volumes: &[_]| matching::best(&claim(json!({})), volumes, true).map(|v| v.metadata.name.clone().unwrap());
    assert_eq!((waits(&volumes), waits(&volumes[..1])), (Some("reserved".into()), None));
}

#[test]
fn why_a_named_volume_is_refused() {
    let rows = [
        (json!({}), None),
        (
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            Some("the volume is marked for deletion \"v\""),
        ),
        (json!({"spec": {"capacity": {"storage": "1Gi"}}}), Some("requested PV is too small")),
        (json!({"spec": {"storageClassName": "x"}}), Some("storageClassName does not match")),
        (json!({"spec": {"volumeAttributesClassName": "x"}}), Some("volumeAttributesClassName does not match")),
        (json!({"spec": {"volumeMode": "Block"}}), Some("incompatible volumeMode")),
        (json!({"spec": {"accessModes": ["ReadOnlyMany"]}}), Some("incompatible accessMode")),
    ];
    for (more, want) in rows {
        assert_eq!(matching::mismatch(&claim(json!({})), &volume("v", "5Gi", more.clone())).as_deref(), want, "{more}");
    }
}

/// One word for a decision, and its message.
fn word(decision: claim::Decision) -> String {
    use claim::Decision::*;
    match decision {
        Wait(None) => "wait".into(),
        Wait(Some((_, reason, message))) => format!("wait {reason}: {message}"),
        AssignClass(class) => format!("class {class}"),
        Bind(volume) => format!("bind {}", volume.metadata.name.clone().unwrap()),
        Provision => "provision".into(),
        Lost((_, reason, _)) => format!("lost {reason}"),
        Refuse((_, reason, message)) => format!("refuse {reason}: {message}"),
    }
}

#[track_caller]
fn decides(more: Value, volumes: &[Arc<PersistentVolume>], pods: &[&str], want: &str) {
    let default = json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
    let classes = [class("standard", default), class("late", late)];
    let pods: Vec<String> = pods.iter().map(|p| p.to_string()).collect();
    let world = World { volumes, classes: &classes, waiting_pods: &pods };
    assert_eq!(word(claim::decide(&claim(more.clone()), &world)), want, "{more}");
}

#[test]
fn claims_that_are_not_bound() {
    let named = |more: Value| with(json!({"spec": {"volumeName": "v"}}), more);
    let late = || json!({"spec": {"storageClassName": "late"}});
    decides(json!({}), &[volume("v", "5Gi", json!({}))], &[], "bind v");
    decides(json!({}), &[], &[], "class standard");
    decides(json!({"spec": {"storageClassName": "standard"}}), &[], &[], "provision");
    decides(json!({"spec": {"storageClassName": "missing"}}), &[], &[], "provision");
    let none = "wait FailedBinding: no persistent volumes available for this claim and no storage class is set";
    decides(json!({"spec": {"storageClassName": ""}}), &[], &[], none);
    decides(late(), &[], &[], "wait WaitForFirstConsumer: waiting for first consumer to be created before binding");
    decides(late(), &[], &["p"], "wait WaitForPodScheduled: waiting for pod p to be scheduled");
    decides(late(), &[], &["p", "q"], "wait WaitForPodScheduled: waiting for pods p,q to be scheduled");
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}});
    decides(with(late(), chosen), &[], &[], "provision");
    decides(named(json!({})), &[], &[], "wait");
    decides(named(json!({})), &[volume("v", "5Gi", json!({}))], &[], "bind v");
    decides(named(json!({})), &[volume("v", "5Gi", bound_to("u"))], &[], "bind v");
    let small = "wait VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small";
    decides(named(json!({})), &[volume("v", "1Gi", json!({}))], &[], small);
    let taken = "FailedBinding: volume \"v\" already bound to a different claim.";
    decides(named(json!({})), &[volume("v", "5Gi", bound_to("other"))], &[], &format!("wait {taken}"));
    let ours = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}});
    decides(named(ours), &[volume("v", "5Gi", bound_to("other"))], &[], &format!("refuse {taken}"));
}

#[test]
fn claims_that_were_bound() {
    let done = |name: &str| json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": name}});
    decides(done(""), &[], &[], "lost ClaimLost");
    decides(done("v"), &[], &[], "lost ClaimLost");
    decides(done("v"), &[volume("v", "5Gi", bound_to("other"))], &[], "lost ClaimMisbound");
    decides(done("v"), &[volume("v", "5Gi", bound_to("u"))], &[], "bind v");
    decides(done("v"), &[volume("v", "5Gi", json!({}))], &[], "bind v");
}

#[test]
fn volumes_by_what_became_of_their_claim() {
    use volume::Decision::*;
    let named = |name: &str| claim(json!({"spec": {"volumeName": name}}));
    let mine = || bound_to("u");
    let made = json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/host-path"}},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    let rows = [
        (json!({}), None, Phase("Available")),
        (bound_to(""), Some(named("")), Phase("Available")),
        (mine(), None, Release),
        (mine(), Some(named("")), WakeClaim),
        (mine(), Some(named("v")), Phase("Bound")),
        (mine(), Some(named("other")), Unbind),
        (with(mine(), made), Some(named("other")), Release),
    ];
    for (more, claim, want) in rows {
        assert_eq!(volume::decide(&volume("v", "5Gi", more.clone()), claim.as_ref()), want, "{more}");
    }
    let block = with(mine(), json!({"spec": {"volumeMode": "Block"}}));
    assert!(matches!(volume::decide(&volume("v", "5Gi", block), Some(&named(""))), Mismatch(..)));
}

#[test]
fn binding_and_unbinding() {
    let (free, claim) = (volume("v", "8Gi", json!({})), claim(json!({})));
    let bound = bound_volume(&free, &claim).unwrap();
    assert_eq!(facts::claim_ref(&bound).unwrap().uid.as_deref(), Some("u"));
    assert!(facts::has_annotation(&bound, facts::BOUND_BY_CONTROLLER));
    assert_eq!(bound_volume(&bound, &claim), None, "once is enough");
    let reserved = volume("v", "8Gi", bound_to(""));
    let by_user = bound_volume(&reserved, &claim).unwrap();
    assert!(!facts::has_annotation(&by_user, facts::BOUND_BY_CONTROLLER));
    assert_eq!(volume::unbound(&by_user).spec.unwrap().claim_ref.unwrap().uid, None, "it stays reserved");
    assert_eq!(volume::unbound(&bound).spec.unwrap().claim_ref, None);
    let claimed = bound_claim(&claim, &bound).unwrap();
    assert_eq!(facts::volume_name(&claimed), "v");
    assert!(
        facts::has_annotation(&claimed, facts::BIND_COMPLETED)
            && facts::has_annotation(&claimed, facts::BOUND_BY_CONTROLLER)
    );
    assert_eq!(bound_claim(&claimed, &bound), None);
    let status = claim_status(&claim, "Bound", Some(&bound));
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "8Gi"}})
    );
    let resized = PersistentVolumeClaim { status: Some(status), ..claim };
    let grown = volume("v", "9Gi", json!({}));
    assert_eq!(
        claim_status(&resized, "Bound", Some(&grown)),
        resized.status.unwrap(),
        "a bound claim keeps its capacity"
    );
}

#[test]
fn finalizers_of_provisioned_volumes() {
    let of = |provisioner: &str, policy: &str, finalizers: Value| {
        volume::finalizers(&volume(
            "v",
            "5Gi",
            json!({"spec": {"persistentVolumeReclaimPolicy": policy},
            "metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": provisioner}, "finalizers": finalizers}}),
        ))
    };
    let (here, in_tree) = ("kubernetes.io/host-path", "kubernetes.io/pv-controller");
    assert_eq!(of(here, "Delete", json!([])), Some(vec![in_tree.into()]));
    assert_eq!(of(here, "Delete", json!([in_tree])), None);
    assert_eq!(of(here, "Retain", json!([in_tree, "x"])), Some(vec!["x".into()]));
    assert_eq!(of("example.com/p", "Delete", json!([])), None);
    assert_eq!(volume::finalizers(&volume("v", "5Gi", json!({}))), None);
}

#[test]
fn who_makes_and_who_deletes() {
    let makes = |name: &str| plugins::provisioner_of(&class("c", json!({"provisioner": name})));
    assert_eq!(makes("kubernetes.io/host-path"), Provisioner::HostPath);
    assert_eq!(makes("example.com/p"), Provisioner::External("example.com/p".into()));
    assert_eq!(makes("kubernetes.io/aws-ebs"), Provisioner::External("ebs.csi.aws.com".into()));
    let none = "no volume plugin matched name: kubernetes.io/no-provisioner";
    assert_eq!(makes("kubernetes.io/no-provisioner"), Provisioner::None(none.into()));
    let deletes = |more: Value| plugins::deleter_of(&volume("v", "5Gi", more));
    assert_eq!(deletes(json!({"spec": {"hostPath": {"path": "/tmp/x"}}})), Deleter::HostPath("/tmp/x".into()));
    assert_eq!(deletes(json!({"spec": {"csi": {"driver": "d", "volumeHandle": "h"}}})), Deleter::External);
    let external = json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "example.com/p"}}});
    assert_eq!(deletes(external), Deleter::External);
    let local = "error getting deleter volume plugin for volume \"v\": no volume plugin matched";
    assert_eq!(deletes(json!({"spec": {"local": {"path": "/x"}}})), Deleter::None(local.into()));
    assert!(matches!(deletes(json!({"spec": {"nfs": {"path": "/x", "server": "s"}}})), Deleter::None(_)));
}

#[test]
fn directories_are_made_and_only_those_deleted() {
    // Elsewhere nothing is deleted.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let root = folder.path();
    let class = class("c", json!({"reclaimPolicy": "Delete"}));
    let made = plugins::provision_host_path(&claim(json!({})), &class, root, &Random::seeded(1)).unwrap();
    let spec = made.spec.unwrap();
    let path = spec.host_path.unwrap().path;
    assert!(Path::new(&path).is_dir() && Path::new(&path).starts_with(root));
    assert_eq!(
        (spec.capacity.unwrap()["storage"].0.as_str(), spec.persistent_volume_reclaim_policy.as_deref()),
        ("5Gi", Some("Delete"))
    );
    let block = claim(json!({"spec": {"volumeMode": "Block"}}));
    assert!(plugins::provision_host_path(&block, &class, root, &Random::seeded(1)).is_err());
    for wrong in ["/tmp", "/tmp/", "/etc/x", "/tmp/../etc", "/tmp/a/../../etc", "tmp/x", "/tmpx/y"] {
        let refused = plugins::delete_host_path(Path::new(wrong)).unwrap_err();
        assert_eq!(refused, format!("host_path deleter only supports /tmp/.+ but received provided {wrong}"));
    }
    plugins::delete_host_path(Path::new(&path)).unwrap();
    plugins::delete_host_path(Path::new(&path)).unwrap();
    assert!(!Path::new(&path).exists());
}

#[test]
fn cleaning() {
    let timeout = Timeout { minimum_seconds: 60, increment_seconds: 30 };
    let host_path = volume("v", "5Gi", json!({"spec": {"hostPath": {"path": "/data"}}}));
    let step = |volume: &PersistentVolume, pod: Option<Value>| {
        let pod: Option<Pod> = pod.map(|p| serde_json::from_value(p).unwrap());
        recycle::step(volume, pod.as_ref(), timeout, timeout)
    };
    let Step::Start(pod) = step(&host_path, None) else { panic!("a pod cleans it") };
    let spec = pod.spec.unwrap();
    assert_eq!((pod.metadata.name.as_deref(), spec.active_deadline_seconds), (Some("recycler-for-v"), Some(150)));
    assert_eq!(recycle::volume_of("recycler-for-v"), Some("v"));
    let phase = |phase: &str| Some(json!({"metadata": {}, "status": {"phase": phase}}));
    assert_eq!(step(&host_path, phase("Running")), Step::Wait);
    assert_eq!(step(&host_path, phase("Succeeded")), Step::Done);
    let failed = "Recycle failed: failed to recycle volume: pod failed, pod.Status.Message unknown";
    assert_eq!(step(&host_path, phase("Failed")), Step::Failed(failed.into()));
    assert_eq!(step(&volume("v", "5Gi", json!({"spec": {"local": {"path": "/x"}}})), None), Step::Unknown);
}
