//! The cgroup tree on a fake root, v1 and v2.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Cgroups, Hierarchy, Limits, naming::Driver, naming::Naming};
use crate::status::qos;

fn pod() -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": "a-b"}, "spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}}}]}}))
    .expect("a pod")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("writes");
}

#[tokio::test]
async fn v1_writes_each_controllers_files() {
    let root = tempfile::tempdir().expect("a folder");
    for controller in ["cpu", "memory", "pids", "cpuset"] {
        fs::create_dir(root.path().join(controller)).expect("a folder");
    }
    write(&root.path().join("cpuset/cpuset.cpus"), "0-1\n");
    write(&root.path().join("cpuset/cpuset.mems"), "0\n");
    let hierarchy = Hierarchy::detect(root.path());
    assert!(!hierarchy.is_v2());
    let cgroups = Cgroups::new(hierarchy, Naming::new(Driver::Cgroupfs, "/top"), Some(100_000));
    cgroups.ensure_top(&Limits::default()).await.expect("makes the top");
    cgroups.ensure_pod(&pod(), Some(100)).await.expect("makes the pod");
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap_or_default();
    let pod = "top/kubepods/burstable/poda-b";
    assert_eq!(read(&format!("cpu/{pod}/cpu.shares")), "512");
    assert_eq!(read(&format!("cpu/{pod}/cpu.cfs_quota_us")), "100000");
    assert_eq!(read(&format!("memory/{pod}/memory.limit_in_bytes")), "67108864");
    assert_eq!(read(&format!("pids/{pod}/pids.max")), "100");
    assert_eq!(read(&format!("cpuset/{pod}/cpuset.cpus")), "0-1", "a cpuset without CPUs takes no task");
    assert_eq!(read("cpu/top/kubepods/besteffort/cpu.shares"), "2");
    assert_eq!(cgroups.pods(), [(qos::BURSTABLE, "a-b".to_owned())]);
}

#[tokio::test]
async fn v2_hands_controllers_down_and_writes_weights() {
    let root = tempfile::tempdir().expect("a folder");
    write(&root.path().join("cgroup.controllers"), "cpu memory pids\n");
    let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Systemd, ""), Some(100_000));
    cgroups.ensure_pod(&pod(), None).await.expect("makes the pod");
    let folder = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice";
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap_or_default();
    assert_eq!(read(&format!("{folder}/cpu.weight")), "20");
    assert_eq!(read(&format!("{folder}/cpu.max")), "100000 100000");
    assert_eq!(read(&format!("{folder}/memory.max")), "67108864");
    assert_eq!(read("cgroup.subtree_control"), "+pids", "the last of the three that were handed down");
    assert_eq!(cgroups.pods(), [(qos::BURSTABLE, "a-b".to_owned())]);
}

/// Of the sizes of 2 MiB and 1 GiB, where the kernel has the controller.
#[tokio::test]
async fn huge_pages_are_limited_where_the_kernel_counts_them() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "a-b"}, "spec": {"containers": [{"name": "c",
        "resources": {"requests": {"cpu": "500m", "hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}}]}}))
    .expect("a pod");
    let made = async |root: &Path| {
        let cgroups = Cgroups::new(Hierarchy::detect(root), Naming::new(Driver::Cgroupfs, ""), None);
        let cgroups = cgroups.with_huge_pages([2048, 1 << 20]);
        let all = cgroups.huge_pages().of_amounts([("hugepages-2Mi", 8 << 20)]);
        cgroups.ensure_top(&Limits { huge_pages: all, ..Limits::default() }).await.expect("makes the top");
        cgroups.ensure_pod(&pod, None).await.expect("makes the pod");
        cgroups.weigh_burstable(&[]).await.expect("leaves what it does not name");
        cgroups.widen_pod(&pod).await.expect("leaves what it does not name");
    };
    for (controllers, folder, limit) in
        [("v1", "hugetlb/", "limit_in_bytes"), ("cpu hugetlb", "", "max"), ("cpu", "", "max"), ("v1 cpu", "", "max")]
    {
        let root = tempfile::tempdir().expect("a folder");
        match controllers {
            "v1" => fs::create_dir(root.path().join("hugetlb")).expect("a folder"),
            "v1 cpu" => fs::create_dir(root.path().join("cpu")).expect("a folder"),
            controllers => write(&root.path().join("cgroup.controllers"), controllers),
        }
        made(root.path()).await;
        for (name, small, large) in [
            ("kubepods", "4611686018427387904", "4611686018427387904"),
            ("kubepods/burstable", "4611686018427387904", "4611686018427387904"),
            ("kubepods/besteffort", "4611686018427387904", "4611686018427387904"),
            ("kubepods/burstable/poda-b", "4194304", "0"),
        ] {
            let read = |file: String| fs::read_to_string(root.path().join(format!("{folder}{name}/{file}")));
            for (size, wanted) in [("2MB", small), ("2MB.rsvd", small), ("1GB", large), ("1GB.rsvd", large)] {
                let found = read(format!("hugetlb.{size}.{limit}")).ok();
                let wanted = ["v1", "cpu hugetlb"].contains(&controllers).then(|| wanted.to_owned());
                assert_eq!(found, wanted, "{controllers}: {name} {size}");
            }
        }
    }
}

#[tokio::test]
async fn removing_what_is_gone_is_fine() {
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir(root.path().join("cpu")).expect("a folder");
    let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Cgroupfs, ""), Some(100_000));
    cgroups.remove_pod(qos::BURSTABLE, "none").await.expect("succeeds");
    fs::create_dir_all(root.path().join("cpu/kubepods/burstable/podx/container")).expect("folders");
    cgroups.remove_pod(qos::BURSTABLE, "x").await.expect("succeeds");
    assert!(!root.path().join("cpu/kubepods/burstable/podx").exists());
}

#[tokio::test]
async fn what_runtimes_made_beside_the_controllers_goes_too() {
    let root = tempfile::tempdir().expect("a folder");
    for made in ["cpu/kubepods/burstable/podx", "systemd/kubepods/burstable/podx/container", "unified/kubepods/podgone"]
    {
        fs::create_dir_all(root.path().join(made)).expect("folders");
    }
    let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Cgroupfs, ""), Some(100_000));
    assert_eq!(cgroups.pods(), [(qos::BURSTABLE, "x".to_owned()), (qos::GUARANTEED, "gone".to_owned())]);
    for (class, uid) in cgroups.pods() {
        cgroups.remove_pod(class, &uid).await.expect("succeeds");
    }
    assert!(!root.path().join("systemd/kubepods/burstable/podx").exists());
    assert!(!root.path().join("unified/kubepods/podgone").exists());
}

#[tokio::test]
async fn what_is_reserved_is_held_to_it_where_it_is() {
    let root = tempfile::tempdir().expect("a folder");
    for folder in ["cpu/system", "memory/system", "pids/system", "freezer"] {
        fs::create_dir_all(root.path().join(folder)).expect("folders");
    }
    let cgroups = Cgroups::new(Hierarchy::detect(root.path()), Naming::new(Driver::Cgroupfs, "/top"), None);
    let limits = Limits { cpu_shares: Some(512), memory_bytes: Some(1 << 20), ..Limits::default() };
    cgroups.hold("/system", &limits).await.expect("it is there");
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap_or_default();
    assert_eq!(
        (read("cpu/system/cpu.shares"), read("memory/system/memory.limit_in_bytes")),
        ("512".into(), "1048576".into())
    );
    let error = cgroups.hold("/none", &limits).await.expect_err("it is not there");
    assert!(error.to_string().contains("there is no such cgroup"), "{error}");
    cgroups.ensure_pod(&pod(), None).await.expect("makes the pod");
    assert_eq!(read("cpu/top/kubepods/burstable/poda-b/cpu.cfs_quota_us"), "", "cpuCFSQuota: false");
}

#[test]
fn swap_is_limited_where_the_kernel_does() {
    let root = tempfile::tempdir().expect("a folder");
    let (v1, v2) = (root.path().join("v1"), root.path().join("v2"));
    write(&root.path().join("proc/self/cgroup"), "1:memory:/a\n0::/own\n");
    write(&v1.join("memory/tasks"), "");
    write(&v2.join("cgroup.controllers"), "memory\n");
    let limits = |mount: &Path| Hierarchy::detect(mount).limits_swap(root.path());
    assert!(!limits(&v1) && !limits(&v2));
    write(&v1.join("memory/memory.memsw.limit_in_bytes"), "1\n");
    write(&v2.join("own/memory.swap.max"), "max\n");
    assert!(limits(&v1) && limits(&v2));
}
