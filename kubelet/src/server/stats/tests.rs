//! Summaries over a runtime in memory and a fake cgroup tree.

use std::{fs, sync::Arc};

use http_body_util::BodyExt as _;
use k8s_cri::v1::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, MemoryUsage, UInt64Value,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{boot_time, own_cgroup, summary};
use crate::{
    cgroups::{
        Cgroups, Hierarchy,
        naming::{Driver, Naming},
    },
    pod::{node::Node, worker_tests::Bed},
    runtime::labels::{CONTAINER_NAME, Identity},
    server::{query::Query, stats::rates::Rates},
};

const POD: &str = "kubepods/besteffort/podu";

fn stats(id: &str) -> ContainerStats {
    let value = |value| Some(UInt64Value { value });
    let mut attributes = ContainerAttributes { id: id.into(), ..ContainerAttributes::default() };
    Identity { uid: "u".into(), namespace: "ns".into(), name: "p".into() }.write(&mut attributes.labels);
    attributes.labels.insert(CONTAINER_NAME.into(), id.into());
    ContainerStats {
        attributes: Some(attributes),
        cpu: Some(CpuUsage {
            timestamp: 5_000_000_000,
            usage_core_nano_seconds: value(70),
            usage_nano_cores: value(3),
        }),
        memory: Some(MemoryUsage { working_set_bytes: value(50), ..MemoryUsage::default() }),
        writable_layer: Some(FilesystemUsage {
            timestamp: 5_000_000_000,
            fs_id: Some(FilesystemIdentifier { mountpoint: "/".into() }),
            used_bytes: value(7),
            ..FilesystemUsage::default()
        }),
        ..ContainerStats::default()
    }
}

/// The containers `a`, which has a cgroup, and `b`, whose cgroup is not found.
fn bed() -> (Bed, Arc<Node>) {
    let mut bed = Bed::new();
    let root = bed.folder.path().join("cgroup");
    for (path, text) in [
        ("cgroup.controllers", "cpu memory\n"),
        ("kubepods/cpu.stat", "usage_usec 9\n"),
        (&*format!("{POD}/cpu.stat"), "usage_usec 4\n"),
        (&*format!("{POD}/memory.current"), "1000\n"),
        (&*format!("{POD}/memory.max"), "4000\n"),
        (&*format!("{POD}/memory.stat"), "anon 600\npgfault 9\n"),
        (&*format!("{POD}/memory.swap.current"), "5\n"),
        (&*format!("{POD}/memory.swap.max"), "max\n"),
        ("system.slice/runtime.service/cpu.stat", "usage_usec 8\n"),
        (&*format!("{POD}/a/cpu.stat"), "usage_usec 2\n"),
        (&*format!("{POD}/a/cgroup.procs"), "1\n2\n3\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("writes");
    }
    bed.cgroups = Some(Cgroups::new(Hierarchy::detect(&root), Naming::new(Driver::Cgroupfs, ""), None));
    let node = bed.node();
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    node.running.put(Arc::new(serde_json::from_value::<Pod>(object).expect("a pod")));
    bed.runtime.state().stats = vec![stats("a"), stats("b")];
    (bed, node)
}

async fn ask(node: &Arc<Node>, rates: &Arc<Rates>, query: &str) -> Value {
    let answer = summary(node, rates, &Query::parse(query)).await;
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn a_summary_is_whole() {
    let (bed, node) = bed();
    let rates = Arc::default();
    ask(&node, &rates, "").await;
    fs::write(bed.folder.path().join("cgroup").join(POD).join("cpu.stat"), "usage_usec 900000000\n").expect("writes");
    let found = ask(&node, &rates, "").await;
    let pod = &found["pods"][0];
    assert_eq!(pod["podRef"], json!({"name": "p", "namespace": "ns", "uid": "u"}));
    assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 900_000_000_000_u64);
    assert!(pod["cpu"]["usageNanoCores"].as_u64().is_some_and(|rate| rate > 0), "{pod}");
    let memory = &pod["memory"];
    assert_eq!(
        (&memory["usageBytes"], &memory["availableBytes"], &memory["rssBytes"], &memory["pageFaults"]),
        (&json!(1000), &json!(3000), &json!(600), &json!(9))
    );
    assert_eq!((&pod["swap"]["swapUsageBytes"], pod["swap"].get("swapAvailableBytes")), (&json!(5), None));
    assert_eq!(pod["process_stats"], json!({"process_count": 3}));
    let [a, b] = pod["containers"].as_array().expect("containers").as_slice() else { panic!("{pod}") };
    assert_eq!((&a["name"], &a["cpu"]["usageCoreNanoSeconds"]), (&json!("a"), &json!(2000)));
    assert_eq!((&b["cpu"]["usageCoreNanoSeconds"], &b["cpu"]["usageNanoCores"]), (&json!(70), &json!(3)));
    assert_eq!((&b["memory"]["workingSetBytes"], b["memory"].get("rssBytes")), (&json!(50), None));
    assert_eq!(a["rootfs"]["usedBytes"], 7);
    assert!(a["rootfs"]["capacityBytes"].as_i64().is_some_and(|bytes| bytes > 0), "{a}");
    assert!(a["logs"].is_object() && pod["ephemeral-storage"].is_object(), "{pod}");
    let own = &found["node"];
    assert!(own["network"]["interfaces"].is_array() && own["fs"].is_object() && own["rlimit"].is_object(), "{own}");
    assert!(own["runtime"]["imageFs"]["capacityBytes"].is_i64() && own["memory"]["availableBytes"].is_i64(), "{own}");
    let system = own["systemContainers"].as_array().expect("some");
    let used = |name| system.iter().find(|it| it["name"] == name).map(|it| &it["cpu"]["usageCoreNanoSeconds"]);
    assert_eq!((used("pods"), used("runtime")), (Some(&json!(9000)), Some(&json!(8000))));
}

#[tokio::test]
async fn a_short_summary_has_cpu_and_memory_alone() {
    let (_bed, node) = bed();
    let found = ask(&node, &Arc::default(), "only_cpu_and_memory=true").await;
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found["pods"][0]), ["containers", "cpu", "memory", "podRef", "swap"]);
    assert_eq!(names(&found["pods"][0]["containers"][1]), ["cpu", "memory", "name"]);
    let own = &found["node"];
    assert!(own["cpu"].is_object() && own["systemContainers"].is_array(), "{own}");
    assert!(own.get("fs").is_none() && own.get("network").is_none() && own.get("runtime").is_none(), "{own}");
}

#[test]
fn a_node_starts_with_its_boot() {
    let stat = "cpu  1 2 3 4 5 6 7 8\nintr 1\nbtime 1700000000\nprocesses 9\n";
    assert_eq!(boot_time(stat).as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(boot_time("cpu 1\n"), None);
}

#[test]
fn a_process_finds_its_cgroup() {
    let root = tempfile::tempdir().expect("a folder");
    let of = |text: &str| own_cgroup(text, &Hierarchy::detect(root.path()));
    assert_eq!(of("3:cpu,cpuacct:/x\n2:memory:/a/b\n0::/y\n"), Some("a/b".into()));
    assert_eq!(of("3:cpu:/x\n"), None);
    fs::write(root.path().join("cgroup.controllers"), "").expect("writes");
    assert_eq!(of("2:memory:/a/b\n0::/y\n"), Some("y".into()));
}
