//! The node's numbers and object as tables, on a fake machine.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeStatus;
use serde_json::json;

use super::{
    capacity,
    conditions::{self, Health},
    machine::{Machine, Space},
    object::{self, Identity},
};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("writes");
}

fn machine_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "proc/meminfo", "MemTotal:    2048000 kB\nMemAvailable:  90000 kB\nSwapTotal: 4 kB\n");
    write(root.path(), "proc/cpuinfo", "processor : 0\nmodel : x\n\nprocessor : 1\n");
    write(root.path(), "proc/swaps", "Filename Type Size Used Priority\n");
    write(root.path(), "proc/sys/kernel/pid_max", "1000\n");
    write(root.path(), "proc/loadavg", "0.1 0.1 0.1 1/990 12\n");
    write(root.path(), "proc/sys/kernel/osrelease", "6.1.0\n");
    write(root.path(), "etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
    write(root.path(), "etc/machine-id", "abc\n");
    write(root.path(), "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "4\n");
    root
}

fn identity(machine: Machine) -> Identity {
    let space = Space { total_bytes: 1 << 30, ..Space::default() };
    let capacity = capacity::capacity(&machine, Some(&space), 110, 0);
    Identity {
        name: "node-1".into(),
        addresses: vec!["192.0.2.1".into()],
        labels: BTreeMap::from([("tier".to_owned(), "a".to_owned())]),
        taints: vec![],
        provider_id: String::new(),
        external_cloud: true,
        port: 10250,
        machine,
        runtime_version: "containerd://1.6".into(),
        allocatable: capacity.clone(),
        capacity,
        images_max: 1,
        runtime_handlers: Vec::new(),
        runtime_features: None,
    }
}

#[test]
fn machines_are_read() {
    let root = machine_root();
    let machine = Machine::read(root.path());
    assert_eq!((machine.cpus, machine.memory_bytes, machine.has_swap), (2, 2_048_000 * 1024, false));
    assert_eq!((machine.os_image.as_str(), machine.system_uuid.as_str()), ("Debian GNU/Linux 12", "abc"));
    assert_eq!(machine.hugepages, [(2048, 4)]);
    write(root.path(), "proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
    assert!(Machine::read(root.path()).has_swap);
}

#[test]
fn allocatable_is_what_reservations_and_thresholds_leave() {
    let root = machine_root();
    let capacity = identity(Machine::read(root.path())).capacity;
    assert_eq!(capacity["hugepages-2Mi"].to_string(), "8Mi");
    let bare = capacity::capacity(&Machine::read(root.path()), None, 110, 0);
    assert!(!bare.contains_key("ephemeral-storage") && bare.len() + 1 == capacity.len(), "{bare:?}");
    let kube = BTreeMap::from([("cpu".to_owned(), "500m".to_owned()), ("memory".to_owned(), "100Mi".to_owned())]);
    let none = BTreeMap::new();
    let hard = crate::eviction::signal::Wanted::default().all_hard();
    let by_default = capacity::allocatable(&capacity, [&kube, &none], &hard);
    assert_eq!(by_default["cpu"].to_string(), "1500m");
    assert_eq!(by_default["memory"].to_string(), "1792Mi", "and huge pages are taken off");
    let own = BTreeMap::from([("memory.available".to_owned(), "50%".to_owned())]);
    let all = capacity::allocatable(&capacity, [&none, &none], &own);
    assert_eq!(all["memory"].to_string(), "992Mi");
    assert_eq!(all["ephemeral-storage"], capacity["ephemeral-storage"], "a set that is given is the whole set");
}

#[test]
fn conditions_keep_their_transition_times() {
    let at = |second| Timestamp::from_second(second).expect("a time");
    let problem = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                   message:Network plugin returns error: cni plugin not initialized";
    let not_ready = Health { network_problem: Some(problem.into()), ..Health::default() };
    let first = conditions::all(&not_ready, &[], at(1));
    let ready = first.iter().find(|it| it.type_ == "Ready").expect("the condition");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
    assert_eq!(ready.message.as_deref(), Some(problem));
    let later = conditions::all(&not_ready, &first, at(60));
    assert_eq!(later[3].last_transition_time, first[3].last_transition_time);
    let healthy = conditions::all(&Health::default(), &later, at(90));
    assert_eq!((healthy[3].status.as_str(), healthy[3].reason.as_deref()), ("True", Some("KubeletReady")));
    assert_ne!(healthy[3].last_transition_time, first[3].last_transition_time);
}

/// `pkg/kubelet/nodestatus`: the largest first, at most so many, of each at most five names, digests before tags.
#[test]
fn images_are_told_as_upstream_does() {
    let image = |size: u64, digests: &[&str], tags: &[&str]| k8s_cri::v1::Image {
        id: format!("sha256:{size}"),
        size,
        repo_digests: digests.iter().map(|&name| name.to_owned()).collect(),
        repo_tags: tags.iter().map(|&name| name.to_owned()).collect(),
        ..Default::default()
    };
    let images = [
        image(1, &[], &["small:1"]),
        image(9, &["a@sha256:9", "b@sha256:9"], &["a:1", "a:2", "a:3", "a:4"]),
        image(5, &["c@sha256:5"], &[]),
    ];
    let known: NodeStatus =
        serde_json::from_value(json!({"images": [{"names": ["old:1"], "sizeBytes": 7}]})).expect("a status");
    let told = |images_max: i64, images: Option<&[k8s_cri::v1::Image]>| {
        let identity = Identity { images_max, ..identity(Machine::read(machine_root().path())) };
        let status = object::status(&identity, &known, &Health::default(), images, Timestamp::UNIX_EPOCH);
        serde_json::to_value(status.images).expect("JSON")
    };
    let all = json!([
        {"names": ["a@sha256:9", "b@sha256:9", "a:1", "a:2", "a:3"], "sizeBytes": 9},
        {"names": ["c@sha256:5"], "sizeBytes": 5},
        {"names": ["small:1"], "sizeBytes": 1},
    ]);
    assert_eq!(told(50, Some(&images)), all);
    assert_eq!(told(-1, Some(&images)), all, "without a limit");
    assert_eq!(told(3, Some(&images)), all);
    assert_eq!(told(2, Some(&images)), json!([all[0], all[1]]));
    assert_eq!(told(0, Some(&images)), json!([]));
    assert_eq!(told(50, None), json!([{"names": ["old:1"], "sizeBytes": 7}]), "a runtime that does not answer");
}

#[test]
fn the_object_keeps_what_others_wrote() {
    let identity = identity(Machine::read(machine_root().path()));
    let known: NodeStatus = serde_json::from_value(json!({
        "capacity": {"example.com/gpu": "2", "cpu": "1", "hugepages-3Mi": "9Mi"},
        "conditions": [{"type": "NetworkUnavailable", "status": "False"}]
    }))
    .expect("a status");
    let image =
        |id: &str, size| k8s_cri::v1::Image { id: id.into(), size, repo_tags: vec![id.into()], ..Default::default() };
    let images = [image("small", 1), image("large", 9)];
    let status = object::status(&identity, &known, &Health::default(), Some(&images), Timestamp::UNIX_EPOCH);
    assert_eq!(status.node_info.as_ref().and_then(|it| it.swap.as_ref()?.capacity), Some(4096));
    let capacity = status.capacity.clone().expect("capacity");
    assert_eq!((capacity["example.com/gpu"].0.as_str(), capacity["cpu"].0.as_str()), ("2", "2"));
    assert!(capacity.contains_key("hugepages-2Mi") && !capacity.contains_key("hugepages-3Mi"), "{capacity:?}");
    assert_eq!(status.conditions.as_ref().map(Vec::len), Some(5));
    let told = status.images.clone().expect("images");
    assert_eq!(told[0].names.as_deref(), Some(&["large".to_owned()][..]), "the largest, and only as many as told");
    let node = object::initial(&identity, status);
    let labels = node.metadata.labels.expect("labels");
    assert_eq!((labels["kubernetes.io/hostname"].as_str(), labels["tier"].as_str()), ("node-1", "a"));
    let taints = node.spec.and_then(|spec| spec.taints).expect("taints");
    assert_eq!(taints[0].key, "node.cloudprovider.kubernetes.io/uninitialized");
}

/// `updateDefaultLabels`: of what `--node-labels` gave only some come back at a start.
#[test]
fn a_start_mends_the_default_labels_only() {
    let mut identity = identity(Machine::read(machine_root().path()));
    identity.labels.insert("topology.kubernetes.io/zone".into(), "z".into());
    identity.labels.insert("topology.kubernetes.io/region".into(), String::new());
    let whole = object::labels(&identity);
    let mut has = whole.clone();
    has.remove("topology.kubernetes.io/region");
    assert_eq!(object::relabelled(&identity, &has), serde_json::Map::new());
    has.remove("tier");
    assert_eq!(object::relabelled(&identity, &has), serde_json::Map::new(), "who took it away wants it gone");
    has.insert("kubernetes.io/hostname".into(), "other".into());
    has.remove("topology.kubernetes.io/zone");
    has.insert("topology.kubernetes.io/region".into(), "r".into());
    let wanted = json!({
        "kubernetes.io/hostname": "node-1",
        "topology.kubernetes.io/region": null,
        "topology.kubernetes.io/zone": "z",
    });
    assert_eq!(serde_json::Value::Object(object::relabelled(&identity, &has)), wanted);
}
