//! VolumeBinding, VolumeRestrictions, VolumeZone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{verdicts_in, world};
use crate::event::Event;
use crate::objects::{Claim, Node, Pod};
use crate::plugins::Plugin;
use crate::plugins::volume_binding::{self, VolumeBinding};
use crate::plugins::volume_restrictions::VolumeRestrictions;
use crate::plugins::volume_zone::VolumeZone;
use crate::snapshot::{Snapshot, VolumePlan};
use crate::testkit::{all, merge, node, on, pod};

/// A snapshot with storage in it.
pub(super) struct Storage(pub(super) Snapshot);

pub(super) fn parse<T: serde::de::DeserializeOwned>(mut base: Value, more: Value) -> Arc<T> {
    merge(&mut base, more);
    Arc::new(serde_json::from_value(base).unwrap())
}

pub(super) fn claim(name: &str, more: Value) -> Arc<Claim> {
    let base = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}, "storageClassName": "late"}});
    parse(base, more)
}

pub(super) fn bound(volume: &str) -> Value {
    json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": volume}})
}

impl Storage {
    pub(super) fn new(nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Self {
        let mut storage = Self(world(nodes, placed));
        storage.class(
            "late",
            json!({"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "kubernetes.io/no-provisioner"}),
        );
        storage.class("now", json!({"volumeBindingMode": "Immediate", "provisioner": "example.com/p"}));
        storage.class(
            "made",
            json!({"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "example.com/p",
            "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}]}),
        );
        storage
    }

    pub(super) fn class(&mut self, name: &str, more: Value) {
        self.0.volumes.set_class(name, Some(parse(json!({"metadata": {"name": name}}), more)));
    }

    pub(super) fn claim(&mut self, name: &str, more: Value) {
        self.0.volumes.set_claim("default", name, Some(claim(name, more)));
    }

    /// Free, of class `late`, with 10Gi, reachable from the nodes of one zone.
    pub(super) fn volume(&mut self, name: &str, zone: &str, more: Value) {
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}});
        let base = json!({"metadata": {"name": name}, "status": {"phase": "Available"},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}, "storageClassName": "late", "nodeAffinity": affinity}});
        self.0.volumes.set_volume(name, Some(parse(base, more)));
    }
}

pub(super) fn nodes() -> [Arc<Node>; 3] {
    ["a", "b", "c"].map(|zone| node(zone, json!({"metadata": {"labels": {"zone": zone}}})))
}

pub(super) fn using(name: &str, claims: &[&str]) -> Arc<Pod> {
    let volume = |claim: &&str| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
    pod(name, json!({"spec": {"volumes": claims.iter().map(volume).collect::<Vec<_>>()}}))
}

#[track_caller]
fn binding(storage: &Storage, pod: &Pod, want: [&str; 3]) {
    assert_eq!(verdicts_in(&VolumeBinding, pod, &nodes(), &storage.0), want);
}

const NONE: &str = "node(s) didn't find available persistent volumes to bind";
const FAR: &str = "node(s) didn't match PersistentVolume's node affinity";

#[test]
fn claims_that_no_node_helps() {
    let mut storage = Storage::new(&nodes(), &[]);
    let refused = |storage: &Storage, pod: &Pod, why: &str| binding(storage, pod, [why; 3]);
    refused(&storage, &pod("p", json!({})), "");
    refused(&storage, &using("p", &["x"]), "persistentvolumeclaim \"x\" not found");
    let own = json!({"spec": {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}});
    let waits = "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    refused(&storage, &pod("p", own.clone()), waits);
    storage.claim("p-v", json!({}));
    refused(&storage, &pod("p", own), "PVC default/p-v was not created for pod default/p (pod is not owner)");
    storage.claim("now", json!({"spec": {"storageClassName": "now"}}));
    refused(&storage, &using("p", &["now"]), "pod has unbound immediate PersistentVolumeClaims");
    storage.claim("none", json!({"spec": {"storageClassName": ""}}));
    refused(&storage, &using("p", &["none"]), "pod has unbound immediate PersistentVolumeClaims");
    storage.claim("going", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    refused(&storage, &using("p", &["going"]), "persistentvolumeclaim \"going\" is being deleted");
    storage.claim("lost", all([bound("v"), json!({"status": {"phase": "Lost"}})]));
    refused(
        &storage,
        &using("p", &["lost"]),
        "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"v\"",
    );
    storage.claim("missing", bound("v"));
    refused(
        &storage,
        &using("p", &["missing"]),
        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
    );
}

#[test]
fn bound_volumes_hold_their_pods() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.volume("v", "b", json!({}));
    storage.claim("c", bound("v"));
    binding(&storage, &using("p", &["c"]), [FAR, "", FAR]);
    assert!(volume_binding::plan(&using("p", &["c"]), &storage.0, &nodes()[1]).is_none(), "nothing is left to do");
}

fn plan(storage: &Storage, pod: &Pod, node: usize) -> VolumePlan {
    volume_binding::plan(pod, &storage.0, &nodes()[node]).expect("a plan")
}

fn named(plan: &VolumePlan) -> Vec<(String, String)> {
    plan.bindings.iter().map(|(volume, claim)| (claim.name().to_owned(), volume.name().to_owned())).collect()
}

#[test]
fn waiting_claims_get_what_the_node_reaches() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.claim("c", json!({}));
    storage.volume("far", "b", json!({}));
    storage.volume("large", "a", json!({"spec": {"capacity": {"storage": "50Gi"}}}));
    storage.volume("right", "a", json!({}));
    storage.volume("small", "c", json!({"spec": {"capacity": {"storage": "1Gi"}}}));
    storage.volume("taken", "c", json!({"spec": {"claimRef": {"namespace": "default", "name": "other"}}}));
    binding(&storage, &using("p", &["c"]), ["", "", NONE]);
    assert_eq!(named(&plan(&storage, &using("p", &["c"]), 0)), [("c".into(), "right".into())]);
    // The small claim does not take the volume that the large one needs.
    storage.claim("big", json!({"spec": {"resources": {"requests": {"storage": "20Gi"}}}}));
    let both = using("p", &["big", "c"]);
    binding(&storage, &both, ["", NONE, NONE]);
    assert_eq!(named(&plan(&storage, &both, 0)), [("c".into(), "right".into()), ("big".into(), "large".into())]);
    // A reserved one decides alone.
    storage.volume("mine", "c", json!({"spec": {"claimRef": {"namespace": "default", "name": "c"}}}));
    binding(&storage, &using("p", &["c"]), [NONE, NONE, ""]);
}

#[test]
fn waiting_claims_are_provisioned_where_the_class_reaches() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.claim("c", json!({"spec": {"storageClassName": "made"}}));
    binding(&storage, &using("p", &["c"]), ["", "", NONE]);
    assert_eq!(plan(&storage, &using("p", &["c"]), 1).provisions.len(), 1);
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "b"}}, "spec": {"storageClassName": "made"}});
    storage.claim("c", chosen);
    binding(&storage, &using("p", &["c"]), [NONE, "", NONE]);
}

#[test]
fn what_is_decided_holds_until_it_is_told() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.claim("c", json!({}));
    storage.claim("d", json!({}));
    storage.volume("v", "a", json!({}));
    let first = plan(&storage, &using("p", &["c"]), 0);
    storage.0.volumes.assume("p", first);
    binding(&storage, &using("q", &["d"]), [NONE; 3]);
    binding(&storage, &using("q", &["c"]), ["", NONE, NONE]);
    storage.0.volumes.forget("p");
    binding(&storage, &using("q", &["d"]), ["", NONE, NONE]);
    storage.claim("e", json!({"spec": {"storageClassName": "made"}}));
    let first = plan(&storage, &using("p", &["e"]), 0);
    storage.0.volumes.assume("p", first);
    binding(&storage, &using("q", &["e"]), ["", NONE, NONE]);
}

#[test]
fn events_that_help() {
    let storage = Storage::new(&nodes(), &[]);
    let waits = using("p", &["c"]);
    let wakes = |event: Event<'_>| VolumeBinding.wakes(&waits, &event, &storage.0);
    let came = |claim: &Claim| wakes(Event::Claim { old: None, new: claim });
    assert!(came(&claim("c", json!({}))) && !came(&claim("d", json!({}))));
    assert!(!came(&claim("c", json!({"metadata": {"namespace": "other"}}))));
    let [a, b, _] = nodes();
    assert!(wakes(Event::NodeAdd(&a)) && wakes(Event::NodeUpdate { old: &a, new: &b }));
    assert!(!wakes(Event::NodeUpdate { old: &a, new: &a }) && !wakes(Event::PodDelete(&waits)));
}

#[test]
fn disks_and_claims_for_one_pod() {
    let gce = |read_only: bool| json!({"gcePersistentDisk": {"pdName": "d", "readOnly": read_only}});
    let aws = || json!({"awsElasticBlockStore": {"volumeID": "d", "readOnly": true}});
    let iscsi = |read_only: bool| json!({"iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0, "readOnly": read_only}});
    let rbd = |monitor: &str| json!({"rbd": {"monitors": [monitor, "m"], "image": "i"}});
    let with = |name: &str, mut volume: Value, more: Value| {
        volume["name"] = json!("v");
        pod(name, all([json!({"spec": {"volumes": [volume]}}), more]))
    };
    let conflict = "node(s) had no available disk";
    let rows = [
        (gce(false), gce(false), conflict),
        (gce(true), gce(false), conflict),
        (gce(true), gce(true), ""),
        (aws(), aws(), conflict),
        (iscsi(true), iscsi(true), ""),
        (iscsi(false), iscsi(true), conflict),
        (rbd("x"), rbd("y"), conflict),
        (gce(false), rbd("x"), ""),
    ];
    for (new, there, want) in rows {
        let placed = [with("there", there.clone(), on("a"))];
        let snapshot = world(&nodes(), &placed);
        let new_pod = with("p", new.clone(), json!({}));
        assert_eq!(verdicts_in(&VolumeRestrictions, &new_pod, &nodes(), &snapshot), [want, "", ""], "{new} {there}");
    }
    let mut placed = Pod::clone(&using("there", &["c"]));
    placed.node_name = "a".into();
    let mut storage = Storage::new(&nodes(), &[Arc::new(placed.clone())]);
    storage.claim("c", json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}));
    let taken = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
    let waits = using("p", &["c"]);
    assert_eq!(verdicts_in(&VolumeRestrictions, &waits, &nodes(), &storage.0), [taken; 3]);
    assert!(VolumeRestrictions.wakes(&waits, &Event::PodDelete(&placed), &storage.0));
    assert!(!VolumeRestrictions.wakes(&waits, &Event::PodDelete(&using("x", &["d"])), &storage.0));
}

#[test]
fn zones() {
    let labelled = |name: &str, labels: Value| node(name, json!({"metadata": {"labels": labels}}));
    let (zone, beta) = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    let nodes = [
        labelled("a", json!({zone: "a"})),
        labelled("b", json!({zone: "b"})),
        labelled("old", json!({beta: "a"})),
        labelled("bare", json!({})),
    ];
    let far = "node(s) had no available volume zone";
    let mut storage = Storage::new(&nodes, &[]);
    storage.claim("c", bound("v"));
    for (labels, want) in [
        (json!({}), ["", "", "", ""]),
        (json!({zone: "a"}), ["", far, far, ""]),
        (json!({beta: "a"}), ["", far, "", ""]),
        (json!({zone: "a__b"}), ["", "", far, ""]),
        (json!({"topology.kubernetes.io/region": "r"}), [far, far, far, ""]),
    ] {
        storage.volume("v", "a", json!({"metadata": {"labels": labels}}));
        assert_eq!(verdicts_in(&VolumeZone, &using("p", &["c"]), &nodes, &storage.0), want, "{labels}");
    }
    storage.claim("c", json!({}));
    assert_eq!(
        verdicts_in(&VolumeZone, &using("p", &["c"]), &nodes, &storage.0),
        ["", "", "", ""],
        "it gets one there"
    );
}

#[test]
fn storage_is_made_where_its_driver_has_room() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.claim("c", json!({"spec": {"storageClassName": "made"}}));
    let pod = using("p", &["c"]);
    let elsewhere = "node(s) didn't find available persistent volumes to bind";
    let driver = |tracks: bool| {
        parse(json!({"metadata": {"name": "example.com/p"}}), json!({"spec": {"storageCapacity": tracks}}))
    };
    storage.0.volumes.set_csi_driver("example.com/p", Some(driver(false)));
    binding(&storage, &pod, ["", "", elsewhere]);
    storage.0.volumes.set_csi_driver("example.com/p", Some(driver(true)));
    let full = "node(s) did not have enough free storage";
    binding(&storage, &pod, [full, full, elsewhere]);
    let capacity = |zone: &str, more: Value| {
        let base = json!({"metadata": {"name": zone, "namespace": "csi"}, "storageClassName": "made",
            "nodeTopology": {"matchLabels": {"zone": zone}}});
        Some(parse(base, more))
    };
    storage.0.volumes.set_capacity("csi", "a", capacity("a", json!({"capacity": "100Gi", "maximumVolumeSize": "4Gi"})));
    storage.0.volumes.set_capacity("csi", "b", capacity("b", json!({"capacity": "5Gi"})));
    binding(&storage, &pod, [full, "", elsewhere]);
}
