//! NodeVolumeLimits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::verdicts_in;
use super::volumes::{Storage, bound, claim, nodes, parse, using};
use crate::event::Event;
use crate::objects::{Attachment, CsiNode, Pod};
use crate::plugins::Plugin;
use crate::plugins::node_volume_limits::NodeVolumeLimits;
use crate::testkit::{all, on, pod};

#[test]
fn limits() {
    let csi = |handle: &str| json!({"spec": {"csi": {"driver": "d", "volumeHandle": handle}, "nodeAffinity": null}});
    let mut placed = Pod::clone(&using("there", &["x", "y"]));
    placed.node_name = "a".into();
    let mut storage = Storage::new(&nodes(), &[Arc::new(placed)]);
    for name in ["x", "y", "z"] {
        storage.claim(name, bound(name));
        storage.volume(name, "a", csi(name));
    }
    let limit = |count: i64| json!({"metadata": {"name": "a"}, "spec": {"drivers": [{"name": "d", "nodeID": "a", "allocatable": {"count": count}}]}});
    for (count, claims, fits) in
        [(2, ["z", "z"], false), (3, ["z", "z"], true), (2, ["x", "y"], true), (1, ["x", "y"], true)]
    {
        storage.0.volumes.set_csi_node("a", Some(parse(limit(count), json!({}))));
        let got = verdicts_in(&NodeVolumeLimits, &using("p", &claims), &nodes(), &storage.0);
        let want = if fits { "" } else { "node(s) exceed max volume count" };
        assert_eq!(got, [want, "", ""], "{count} {claims:?}");
    }
}

#[test]
fn what_is_attached_counts_with_and_without_a_pod() {
    let csi = |handle: &str| json!({"spec": {"csi": {"driver": "d", "volumeHandle": handle}, "nodeAffinity": null}});
    let mut placed = Pod::clone(&using("there", &["x"]));
    placed.node_name = "a".into();
    let mut storage = Storage::new(&nodes(), &[Arc::new(placed)]);
    for name in ["x", "y", "z"] {
        storage.claim(name, bound(name));
        storage.volume(name, "a", csi(name));
    }
    let attachment = |name: &str, node: &str, attacher: &str, volume: &str| {
        parse::<Attachment>(
            json!({"metadata": {"name": name}}),
            json!({"spec": {"nodeName": node, "attacher": attacher, "source": {"persistentVolumeName": volume}}, "status": {"attached": true}}),
        )
    };
    let limit = json!({"metadata": {"name": "a"}, "spec": {"drivers": [{"name": "d", "nodeID": "a", "allocatable": {"count": 2}}]}});
    storage.0.volumes.set_csi_node("a", Some(parse(limit, json!({}))));
    let full = "node(s) exceed max volume count";
    for (attached, claim, want) in [
        (None, "z", ""),
        (Some(attachment("1", "a", "d", "x")), "z", ""),
        (Some(attachment("2", "b", "d", "y")), "z", ""),
        (Some(attachment("3", "a", "other", "y")), "z", ""),
        (Some(attachment("4", "a", "d", "unknown")), "z", ""),
        (Some(attachment("5", "a", "d", "y")), "z", full),
        (Some(attachment("5", "a", "d", "y")), "x", ""),
        (Some(attachment("5", "a", "d", "y")), "y", full),
    ] {
        if let Some(attachment) = &attached {
            storage.0.volumes.set_attachment(attachment.clone());
        }
        let got = verdicts_in(&NodeVolumeLimits, &using("p", &[claim]), &nodes(), &storage.0);
        assert_eq!(got, [want, "", ""], "{attached:?} {claim}");
        if let Some(attachment) = &attached {
            storage.0.volumes.remove_attachment(attachment);
        }
    }
    let lost = "looking up PVC default/none: persistentvolumeclaim \"none\" not found";
    assert_eq!(verdicts_in(&NodeVolumeLimits, &using("p", &["none"]), &nodes(), &storage.0), [lost; 3]);
}

#[test]
fn a_claim_of_a_volume_that_is_not_there_counts_by_its_class() {
    let mut storage = Storage::new(&nodes(), &[]);
    storage.claim("c", json!({"spec": {"volumeName": "gone", "storageClassName": "made"}}));
    let limit = json!({"metadata": {"name": "a"}, "spec": {"drivers": [{"name": "example.com/p", "nodeID": "a", "allocatable": {"count": 0}}]}});
    storage.0.volumes.set_csi_node("a", Some(parse(limit, json!({}))));
    let got = verdicts_in(&NodeVolumeLimits, &using("p", &["c"]), &nodes(), &storage.0);
    assert_eq!(got, ["node(s) exceed max volume count", "", ""]);
}

/// Kinds that were built in count against the limit of their driver.
#[test]
fn volumes_that_moved_to_a_driver_count() {
    let there = json!({"name": "v", "gcePersistentDisk": {"pdName": "there"}});
    let placed = pod("there", all([json!({"spec": {"volumes": [there.clone()]}}), on("a")]));
    let mut storage = Storage::new(&nodes(), &[placed]);
    let driver = json!({"name": "pd.csi.storage.gke.io", "nodeID": "a", "allocatable": {"count": 1}});
    let csi_node = json!({"metadata": {"name": "a"}, "spec": {"drivers": [driver]}});
    storage.0.volumes.set_csi_node("a", Some(parse(csi_node, json!({}))));
    storage.class("old", json!({"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "kubernetes.io/gce-pd"}));
    storage.claim("waits", json!({"spec": {"storageClassName": "old"}}));
    storage.claim("bound", bound("pv"));
    storage.volume("pv", "a", json!({"spec": {"gcePersistentDisk": {"pdName": "pv"}}}));
    let inline = |volume: Value| pod("p", json!({"spec": {"volumes": [volume]}}));
    let full = "node(s) exceed max volume count";
    for (pod, want) in [
        (inline(json!({"name": "v", "gcePersistentDisk": {"pdName": "another"}})), full),
        (inline(there), ""),
        (inline(json!({"name": "v", "cinder": {"volumeID": "another"}})), ""),
        (using("p", &["waits"]), full),
        (using("p", &["bound"]), full),
    ] {
        assert_eq!(verdicts_in(&NodeVolumeLimits, &pod, &nodes(), &storage.0), [want, "", ""], "{:?}", pod.volumes);
    }
}

#[test]
fn what_a_full_node_may_let_in() {
    let storage = Storage::new(&nodes(), &[]);
    let (waiting, without) = (using("p", &["c"]), pod("without", json!({})));
    let wakes = |pod: &Pod, event: Event<'_>| NodeVolumeLimits.wakes(pod, &event, &storage.0);
    let gone = parse::<Attachment>(
        json!({"metadata": {"name": "1"}}),
        json!({"spec": {"nodeName": "a", "attacher": "d", "source": {}}}),
    );
    assert!(wakes(&waiting, Event::AttachmentDelete(&gone)) && !wakes(&without, Event::AttachmentDelete(&gone)));
    assert!(wakes(&waiting, Event::PodDelete(&using("q", &["d"]))) && !wakes(&waiting, Event::PodDelete(&without)));
    let disk = json!({"name": "v", "iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0}});
    assert!(!wakes(&waiting, Event::PodDelete(&pod("q", json!({"spec": {"volumes": [disk]}})))));
    let (new, old) = (claim("c", json!({})), claim("c", json!({})));
    assert!(wakes(&waiting, Event::Claim { old: None, new: &new }));
    assert!(!wakes(&waiting, Event::Claim { old: Some(&old), new: &new }));
    let takes = |count: Value| {
        let drivers = json!([{"name": "d", "nodeID": "a", "allocatable": {"count": count}}]);
        parse::<CsiNode>(json!({"metadata": {"name": "a"}, "spec": {"drivers": drivers}}), json!({}))
    };
    let (few, many) = (takes(json!(1)), takes(json!(2)));
    assert!(wakes(&waiting, Event::CsiNode { old: None, new: &few }));
    assert!(wakes(&waiting, Event::CsiNode { old: Some(&few), new: &many }));
    assert!(!wakes(&waiting, Event::CsiNode { old: Some(&many), new: &few }));
    assert!(!wakes(&waiting, Event::CsiNode { old: Some(&few), new: &takes(Value::Null) }));
}
