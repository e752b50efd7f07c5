//! The text of `/metrics/cadvisor`.

use super::{
    Scrape,
    open::Open,
    render,
    rows::{Layer, Network, Row},
};
use crate::{
    cgroups::figures::{Cpu, Disk, Figures, Memory, Stall, Stalls},
    net_usage::{Interface, Traffic},
    node::machine::{Machine, Space},
};

/// A container with a limit of CPU, and a pod without.
fn rows() -> [Row; 2] {
    let cpu = Cpu {
        usage_ns: 1_500_000_000,
        periods: 10,
        throttled_ns: 500_000_000,
        shares: Some(512),
        quota_us: Some(50_000),
        ..Cpu::default()
    };
    let memory = Memory {
        working_set: 900,
        cache: Some(300),
        page_faults: Some(9),
        oom_kills: Some(2),
        limit: Some(u64::MAX),
        ..Memory::default()
    };
    let disk = Disk { numbers: "8:0".into(), written_bytes: 8192, writes: 2, ..Disk::default() };
    let stalls =
        Stalls { io: (Stall { total_us: 2_500_000, ..Stall::default() }, Stall::default()), ..Stalls::default() };
    let figures = Figures {
        made_at_seconds: Some(1_700_000_000),
        cpu: Some(cpu),
        memory: Some(memory),
        disks: vec![disk],
        processes: Some(vec![7, 8, 9]),
        pressure: Some(stalls),
        ..Figures::default()
    };
    let space = Space { total_bytes: 4096, inodes: 1000, ..Space::default() };
    let layer = Some(Layer { used_bytes: Some(7), space: Some(space) });
    let free = Figures { cpu: Some(Cpu::default()), ..Figures::default() };
    [
        Row {
            labels: "container=\"c\",pod=\"p\"".into(),
            at_ms: 5000,
            figures,
            layer,
            open: Some(Open { descriptors: 8, sockets: 1, files_max: Some(1024) }),
        },
        Row { labels: "container=\"\",pod=\"q\"".into(), at_ms: 5000, figures: free, layer: None, open: None },
    ]
}

#[test]
fn families_have_cadvisors_names_and_labels() {
    let received = Traffic { bytes: 7, ..Traffic::default() };
    let interfaces = vec![Interface { name: "eth0".into(), received, sent: Traffic::default() }];
    let networks = [Network { labels: "container=\"\",pod=\"p\"".into(), at_ms: 5000, interfaces }];
    let scrape = Scrape {
        rows: rows().into(),
        networks: networks.into(),
        device_names: [("8:0".to_owned(), "/dev/sda".to_owned())].into(),
        machine: Machine { cpus: 2, ..Machine::default() },
    };
    let families: Vec<String> = render(scrape).collect();
    for family in &families {
        assert_eq!(family.matches("# TYPE").count(), 1, "they are handed over one by one: {family}");
    }
    let text = families.concat();
    for wanted in [
        "container_last_seen{container=\"c\",pod=\"p\"} 5 5000\n",
        "container_start_time_seconds{container=\"c\",pod=\"p\"} 1700000000\n",
        "container_cpu_usage_seconds_total{container=\"c\",pod=\"p\",cpu=\"total\"} 1.5 5000\n",
        "container_cpu_cfs_periods_total{container=\"c\",pod=\"p\"} 10 5000\n",
        "container_cpu_cfs_throttled_seconds_total{container=\"c\",pod=\"p\"} 0.5 5000\n",
        "container_spec_cpu_shares{container=\"c\",pod=\"p\"} 512\n",
        "container_spec_cpu_quota{container=\"c\",pod=\"p\"} 50000\n",
        "container_spec_memory_limit_bytes{container=\"c\",pod=\"p\"} 0\n",
        "container_memory_cache{container=\"c\",pod=\"p\"} 300 5000\n",
        "container_memory_failures_total{container=\"c\",pod=\"p\",failure_type=\"pgfault\",scope=\"hierarchy\"} 9 5000\n",
        "container_oom_events_total{container=\"c\",pod=\"p\"} 2 5000\n",
        "container_processes{container=\"c\",pod=\"p\"} 3 5000\n",
        "container_file_descriptors{container=\"c\",pod=\"p\"} 8 5000\n",
        "container_sockets{container=\"c\",pod=\"p\"} 1 5000\n",
        "container_ulimits_soft{container=\"c\",pod=\"p\",ulimit=\"max_open_files\"} 1024 5000\n",
        "container_blkio_device_usage_total{container=\"c\",pod=\"p\",device=\"/dev/sda\",major=\"8\",minor=\"0\",\
         operation=\"Write\"} 8192 5000\n",
        "container_fs_inodes_total{container=\"c\",pod=\"p\"} 1000 5000\n",
        "container_fs_limit_bytes{container=\"c\",pod=\"p\"} 4096 5000\n",
        "container_fs_usage_bytes{container=\"c\",pod=\"p\"} 7 5000\n",
        "container_fs_writes_bytes_total{container=\"c\",pod=\"p\",device=\"/dev/sda\"} 8192 5000\n",
        "container_pressure_io_waiting_seconds_total{container=\"c\",pod=\"p\"} 2.5 5000\n",
        "container_network_receive_bytes_total{container=\"\",pod=\"p\",interface=\"eth0\"} 7 5000\n",
        "machine_cpu_cores{boot_id=\"\",machine_id=\"\",system_uuid=\"\"} 2\n",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("container_memory_rss{"), "what nobody tells is not made up");
    assert!(!text.contains("container_cpu_cfs_periods_total{container=\"\""), "there is no limit to be counted");
    let mut heads: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let all = heads.len();
    heads.sort_unstable();
    heads.dedup();
    assert_eq!(heads.len(), all, "a family comes once");
}
