//! What a cgroup uses, on fake roots of both versions.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    Hierarchy,
    figures::{Disk, Memory, Stall, made_at, of_container},
    swap::Swap,
};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("writes");
    }
}

#[test]
fn v1_is_read_from_its_controllers() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &[
            ("cpu/a/b/cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 1500\n"),
            ("cpu/a/b/cpu.shares", "512\n"),
            ("cpu/a/b/cpu.cfs_period_us", "100000\n"),
            ("cpu/a/b/cpu.cfs_quota_us", "50000\n"),
            ("cpu/a/b/cgroup.procs", "7\n8\n"),
            ("cpu/a/cpu.cfs_quota_us", "-1\n"),
            ("cpuacct/a/b/cpuacct.usage", "2500\n"),
            ("cpuacct/a/b/cpuacct.stat", "user 2\nsystem 1\n"),
            ("memory/a/b/memory.usage_in_bytes", "1000\n"),
            ("memory/a/b/memory.max_usage_in_bytes", "1200\n"),
            ("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/a/b/memory.memsw.limit_in_bytes", "4096\n"),
            ("memory/a/b/memory.failcnt", "4\n"),
            ("memory/a/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            (
                "memory/a/b/memory.stat",
                "cache 1\nrss 1\npgfault 9\npgmajfault 5\ntotal_cache 300\ntotal_rss 600\n\
                                    total_swap 70\ntotal_inactive_file 100\n",
            ),
            ("blkio/a/b/blkio.throttle.io_service_bytes_recursive", "999:9 Read 4096\n999:9 Write 8192\nTotal 12288\n"),
            ("blkio/a/b/blkio.throttle.io_serviced_recursive", "999:9 Read 1\n999:9 Write 2\nTotal 3\n"),
            ("pids/a/b/pids.current", "3\n"),
            ("pids/a/b/pids.max", "max\n"),
        ],
    );
    let hierarchy = Hierarchy::detect(root.path());
    let found = hierarchy.figures(Path::new("a/b")).expect("it is there");
    let cpu = found.cpu.expect("a controller");
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.system_ns), (2500, Some(20_000_000), Some(10_000_000)));
    assert_eq!((cpu.periods, cpu.throttled_periods, cpu.throttled_ns), (10, 3, 1500));
    assert_eq!((cpu.shares, cpu.period_us, cpu.quota_us), (Some(512), Some(100_000), Some(50_000)));
    let memory = Memory {
        usage: Some(1000),
        usage_max: Some(1200),
        working_set: 900,
        cache: Some(300),
        rss: Some(600),
        swap: Some(70),
        inactive_file: Some(100),
        failcnt: Some(4),
        page_faults: Some(9),
        major_page_faults: Some(5),
        oom_kills: Some(2),
        limit: Some(9_223_372_036_854_771_712),
        swap_limit: Some(4096),
        ..Memory::default()
    };
    assert_eq!(found.memory, Some(memory));
    let disk = Disk { numbers: "999:9".into(), read_bytes: 4096, written_bytes: 8192, reads: 1, writes: 2 };
    assert_eq!(found.disks, [disk]);
    assert_eq!((found.processes, found.threads, found.threads_max), (Some(vec![7, 8]), Some(3), Some(u64::MAX)));
    let above = hierarchy.figures(Path::new("a")).expect("it is there");
    assert_eq!(above.cpu.expect("a controller").quota_us, None, "-1 is no limit");
    assert_eq!(hierarchy.figures(Path::new("none")), None);
    assert_eq!(hierarchy.swap(Path::new("a/b")), Some(Swap { used: 70, limit: Some(4096) }));
    assert_eq!(hierarchy.swap(Path::new("none")), None);
}

#[test]
fn v2_is_read_from_one_folder() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &[
            ("cgroup.controllers", "cpu memory io pids\n"),
            ("memory.stat", "anon 600\nfile 300\ninactive_file 100\n"),
            ("a/cgroup.events", "populated 1\n"),
            (
                "a/cpu.stat",
                "usage_usec 25\nuser_usec 20\nsystem_usec 5\nnr_periods 10\nnr_throttled 3\nthrottled_usec 7\n",
            ),
            ("a/cpu.weight", "20\n"),
            ("a/cpu.max", "max 100000\n"),
            ("a/memory.current", "1000\n"),
            ("a/memory.peak", "1200\n"),
            ("a/memory.max", "2048\n"),
            ("a/memory.swap.max", "0\n"),
            ("a/memory.swap.current", "70\n"),
            (
                "a/memory.stat",
                "anon 600\nfile 300\nfile_mapped 30\nkernel 40\ninactive_file 100\nactive_file 50\npgfault 9\n",
            ),
            ("a/memory.events", "low 0\noom 3\noom_kill 2\n"),
            ("a/io.stat", "999:9 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"),
            (
                "a/cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.25 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
            ),
            ("a/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"),
            ("a/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2\n"),
        ],
    );
    let hierarchy = Hierarchy::detect(root.path());
    let found = hierarchy.figures(Path::new("a")).expect("it is there");
    let cpu = found.cpu.expect("a controller");
    assert_eq!((cpu.usage_ns, cpu.user_ns, cpu.throttled_ns), (25_000, Some(20_000), 7000));
    assert_eq!((cpu.shares, cpu.period_us, cpu.quota_us), (Some(500), Some(100_000), None));
    let memory = found.memory.expect("a controller");
    assert_eq!((memory.usage, memory.working_set, memory.limit), (Some(1000), 900, Some(2048)));
    assert_eq!((memory.swap, memory.swap_limit, memory.oom_kills), (Some(70), Some(0), Some(2)));
    assert_eq!((memory.cache, memory.rss, memory.kernel), (Some(300), Some(600), Some(40)));
    assert_eq!((found.disks[0].written_bytes, found.disks[0].reads), (8192, 1));
    let (some, full) = found.pressure.expect("the kernel measures").cpu;
    assert_eq!(some, Stall { averages: [1.5, 0.0, 0.25], total_us: 42 });
    assert_eq!(full.total_us, 7);
    assert!(found.made_at_seconds.is_some());
    assert_eq!(hierarchy.swap(Path::new("a")), Some(Swap { used: 70, limit: Some(0) }));
    assert_eq!(hierarchy.swap(Path::new("")), Some(Swap { used: 0, limit: None }));
    assert_eq!(hierarchy.swap(Path::new("none")), None);
    let top = hierarchy.figures(Path::new("")).and_then(|top| top.memory).expect("sums");
    assert_eq!((top.usage, top.working_set), (Some(900), 800), "the topmost cgroup has no memory.current");
}

#[test]
fn containers_are_found_by_either_drivers_names() {
    let root = tempfile::tempdir().expect("a folder");
    write(
        root.path(),
        &[
            ("cgroup.controllers", "cpu\n"),
            ("pod/abc/cgroup.procs", ""),
            ("pod/cri-containerd-def.scope/cgroup.procs", ""),
        ],
    );
    let hierarchy = Hierarchy::detect(root.path());
    let find = |id: &str| of_container(&hierarchy, Path::new("pod"), id);
    assert_eq!(find("abc").as_deref(), Some(Path::new("pod/abc")));
    assert_eq!(find("def").as_deref(), Some(Path::new("pod/cri-containerd-def.scope")));
    assert_eq!(find("ghi"), None);
}

#[test]
fn a_cgroup_is_as_old_as_the_oldest_of_its_times() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), &[("cpu/a/kernels", ""), ("memory/a/kernels", ""), ("pids/b/kernels", "")]);
    let set = |path: &str, second: u64| {
        let file = fs::File::open(root.path().join(path)).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).expect("a time");
    };
    for (path, second) in [("cpu/a", 300), ("cpu/a/kernels", 400), ("memory/a", 900), ("memory/a/kernels", 200)] {
        set(path, second);
    }
    let of = |controllers: &[&str], boot| {
        made_at(controllers.iter().map(|controller| root.path().join(controller).join("a")), "kernels", boot)
    };
    assert_eq!(of(&["cpu"], 0), Some(300), "the folder's, lower than its file's");
    assert_eq!(of(&["cpu", "memory", "pids"], 0), Some(200), "the file's of another controller");
    assert_eq!(of(&["cpu", "memory"], 250), Some(250), "nothing is older than the machine's start");
    assert_eq!(of(&["pids"], 0), None, "no such cgroup");
}
