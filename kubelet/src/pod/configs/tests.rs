//! CRI messages as tables.

use machinery::quantity::{Format, Quantity};
use serde_json::{Value, json};

use k8s_cri::v1::NamespaceMode;
use k8s_openapi::api::core::v1::Pod;

use super::{NodeFacts, container, dns, hosts, resources, sandbox, security};
use crate::{
    cgroups::naming::{Driver, Naming},
    images::Image,
    paths::Paths,
    pod::spec,
    status::qos,
};

/// A node for tests: 1 GiB of memory, 2 CPUs.
pub(crate) fn facts() -> NodeFacts {
    let amount = |value| Quantity::new(value, Format::DecimalSi);
    NodeFacts {
        node_name: "node-1".into(),
        host_ips: vec!["192.0.2.1".into()],
        cluster_dns: vec!["10.0.0.10".into()],
        cluster_domain: "cluster.local".into(),
        host_dns: dns::DnsConfig { servers: vec!["192.0.2.53".into()], searches: vec!["lan".into()], options: vec![] },
        paths: Paths {
            root: "/var/lib/kubelet".into(),
            pod_logs: "/var/log/pods".into(),
            container_logs: "/var/log/containers".into(),
        },
        cgroups: Naming::new(Driver::Cgroupfs, ""),
        cgroup_v2: false,
        limits_swap: false,
        cpu_period_us: Some(resources::CPU_PERIOD_US),
        single_process_oom_kill: false,
        memory_capacity_bytes: 1 << 30,
        capacity_cpus: 2,
        allocatable: [("cpu", 2), ("memory", 1 << 30), ("ephemeral-storage", 1000), ("pods", 110)]
            .map(|(name, value)| (name.to_owned(), amount(value)))
            .into(),
        seccomp_default: false,
        abilities: super::Abilities::default(),
        has_app_armor: false,
        restart_delay_max: crate::pod::backoff::MAXIMUM,
        allowed_unsafe_sysctls: Vec::new(),
    }
}

fn pod(spec: Value) -> Pod {
    let object =
        json!({"metadata": {"name": "web-0", "namespace": "ns", "uid": "u", "labels": {"app": "web"}}, "spec": spec});
    serde_json::from_value(object).expect("a pod")
}

#[test]
fn cpu_becomes_shares_and_quota() {
    for (milli, shares) in [(0, 2), (1, 2), (100, 102), (1000, 1024), (2500, 2560), (1_000_000, 262_144)] {
        assert_eq!(resources::cpu_shares(milli), shares, "{milli}");
    }
    for (milli, quota) in [(0, 0), (1, 1000), (10, 1000), (500, 50_000), (1500, 150_000)] {
        assert_eq!(resources::cpu_quota_us(milli, resources::CPU_PERIOD_US), quota, "{milli}");
    }
    assert_eq!(resources::cpu_quota_us(500, 20_000), 10_000, "cpuCFSQuotaPeriod: 20ms");
}

#[test]
fn on_cgroup_v2_a_container_dies_as_one_unless_told_otherwise() {
    let pod = pod(json!({"containers": [{"name": "c"}]}));
    let group = |cgroup_v2, single_process_oom_kill| {
        let facts = NodeFacts { cgroup_v2, single_process_oom_kill, ..facts() };
        let own = resources::of_container(&pod, &spec::spec(&pod).containers[0], &facts);
        own.unified.get("memory.oom.group").cloned()
    };
    assert_eq!(group(true, false).as_deref(), Some("1"));
    assert_eq!((group(true, true), group(false, false)), (None, None));
}

/// Swap is not built: where the machine has it, containers stay out of it.
#[test]
fn containers_never_swap() {
    let pod = pod(json!({"containers": [{"name": "c", "resources": {"limits": {"memory": "1Mi"}}}]}));
    let of = |cgroup_v2, limits_swap| {
        let facts = NodeFacts { cgroup_v2, limits_swap, ..facts() };
        let own = resources::of_container(&pod, &spec::spec(&pod).containers[0], &facts);
        (own.memory_swap_limit_in_bytes, own.unified.get("memory.swap.max").cloned())
    };
    assert_eq!(of(true, true), (0, Some("0".to_owned())));
    assert_eq!(of(false, true), (1 << 20, None), "memory and swap together are as much as memory alone");
    assert_eq!((of(true, false), of(false, false)), ((0, None), (0, None)));
}

#[test]
fn classes_and_oom_scores() {
    let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    for (resources, class, score) in [
        (json!({}), qos::BEST_EFFORT, 1000),
        (json!({"requests": both("100m", "512Mi")}), qos::BURSTABLE, 500),
        (json!({"requests": {"cpu": "100m"}}), qos::BURSTABLE, 999),
        (json!({"limits": both("1", "1Gi"), "requests": both("1", "1Gi")}), qos::GUARANTEED, -997),
        (json!({"limits": both("1", "1Gi"), "requests": both("500m", "1Gi")}), qos::BURSTABLE, 3),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "resources": resources}]}));
        assert_eq!(qos::of_pod(&pod), class, "{resources}");
        let container = &spec::spec(&pod).containers[0];
        assert_eq!(resources::of_container(&pod, container, &facts()).oom_score_adj, score, "{resources}");
    }
}

#[test]
fn a_pods_total_counts_sidecars_and_the_largest_init_container() {
    let with = |name: &str, cpu: &str, more: Value| {
        let mut container = json!({"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}});
        container.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        container
    };
    let sidecar = json!({"restartPolicy": "Always"});
    let pod = pod(json!({
        "initContainers": [with("i1", "300m", json!({})), with("s", "100m", sidecar), with("i2", "500m", json!({}))],
        "containers": [with("a", "200m", json!({})), with("b", "100m", json!({}))],
    }));
    let total = resources::PodTotal::of(&pod);
    assert_eq!((total.cpu_request_milli, total.cpu_limit_milli), (Some(600), 600), "i2 beside the sidecar");
    assert_eq!(total.memory_limit_bytes, 0, "a container without a limit has all");
}

#[test]
fn dns_follows_the_policy() {
    let of = |spec: Value| {
        let facts = facts();
        dns::of_pod(&pod(spec), &facts.cluster_dns, &facts.cluster_domain, &facts.host_dns)
    };
    let cluster = of(json!({"dnsPolicy": "ClusterFirst", "containers": []}));
    assert_eq!(cluster.servers, ["10.0.0.10"]);
    assert_eq!(cluster.searches, ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
    assert_eq!(cluster.options, ["ndots:5"]);
    assert_eq!(of(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true, "containers": []})).servers, ["192.0.2.53"]);
    let with_net = of(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true, "containers": []}));
    assert_eq!(with_net.servers, ["10.0.0.10"]);
    assert_eq!(of(json!({"dnsPolicy": "Default", "containers": []})).servers, ["192.0.2.53"]);
    let own = of(json!({"dnsPolicy": "None", "containers": [], "dnsConfig": {
        "nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}));
    assert_eq!(
        (own.servers, own.searches, own.options),
        (vec!["1.1.1.1".to_owned()], vec!["a".to_owned()], vec!["ndots:2".to_owned(), "edns0".to_owned()])
    );
}

#[test]
fn hosts_files_are_upstreams() {
    let plain = pod(json!({"subdomain": "sub", "hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}],
        "containers": []}));
    let text = hosts::file(&plain, &["10.0.0.2".into()], "cluster.local", "");
    assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
    assert!(text.contains("10.0.0.2\tweb-0.sub.ns.svc.cluster.local\tweb-0\n"));
    assert!(text.ends_with("\n# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n"));
    let host = pod(json!({"hostNetwork": true, "containers": []}));
    let text = hosts::file(&host, &[], "cluster.local", "127.0.0.1 me\n");
    assert_eq!(text, "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n");
    let long = pod(json!({"hostname": "h".repeat(70), "containers": []}));
    assert_eq!(hosts::name_and_domain(&long, "").0.len(), 63);
}

#[test]
fn sandboxes_carry_identity_ports_and_namespaces() {
    let pod = pod(json!({"shareProcessNamespace": true, "hostIPC": true,
        "securityContext": {"fsGroup": 7, "supplementalGroups": [5], "sysctls": [{"name": "net/ipv4/tcp_rmem", "value": "1"}]},
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}],
            "securityContext": {"privileged": true}}]}));
    let config = sandbox::config(&pod, 2, &facts());
    assert_eq!(config.hostname, "web-0");
    assert_eq!(config.log_directory, "/var/log/pods/ns_web-0_u");
    assert_eq!(config.labels["io.kubernetes.pod.uid"], "u");
    assert_eq!(config.labels["app"], "web");
    assert_eq!((config.port_mappings[0].host_port, config.port_mappings[0].protocol), (8080, 1));
    let linux = config.linux.expect("linux");
    assert_eq!(linux.cgroup_parent, "/kubepods/besteffort/podu");
    assert_eq!(linux.sysctls["net.ipv4.tcp_rmem"], "1");
    let context = linux.security_context.expect("a context");
    assert!(context.privileged);
    assert_eq!(context.supplemental_groups, [5, 7]);
    let namespaces = context.namespace_options.expect("namespaces");
    let wanted = [NamespaceMode::Pod, NamespaceMode::Pod, NamespaceMode::Node].map(|mode| mode as i32);
    assert_eq!([namespaces.network, namespaces.pid, namespaces.ipc], wanted);
}

#[test]
fn containers_carry_commands_and_what_a_later_kubelet_needs() {
    let pod = pod(json!({"terminationGracePeriodSeconds": 9, "containers": [{"name": "c", "image": "i",
        "command": ["sh", "-c", "echo $(A) $(B)"], "terminationMessagePath": "/t",
        "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}]}));
    let prepared = container::Prepared {
        attempt: 3,
        restart_count: 3,
        image: Image { id: "sha256:1".into(), ..Image::default() },
        env: vec![("A".into(), "1".into())],
        ..container::Prepared::default()
    };
    let config = container::config(&pod, &spec::spec(&pod).containers[0], prepared, &facts()).expect("a configuration");
    assert_eq!(config.command, ["sh", "-c", "echo 1 $(B)"]);
    assert_eq!(config.log_path, "c/3.log");
    for (key, value) in [
        ("io.kubernetes.container.restartCount", "3"),
        ("io.kubernetes.container.terminationMessagePath", "/t"),
        ("io.kubernetes.pod.terminationGracePeriod", "9"),
        ("io.kubernetes.container.preStopHandler", "{\"exec\":{\"command\":[\"x\"]}}"),
    ] {
        assert_eq!(config.annotations[key], value, "{key}");
    }
}

#[test]
fn run_as_non_root_is_kept() {
    let image = |uid, name: &str| security::ImageUser { uid, name: name.into() };
    for (context, image, problem) in [
        (json!({"runAsNonRoot": true, "runAsUser": 0}), image(None, ""), Some("container's runAsUser breaks")),
        (json!({"runAsNonRoot": true, "runAsUser": 5}), image(Some(0), ""), None),
        (json!({"runAsNonRoot": true}), image(Some(0), ""), Some("image will run as root")),
        (json!({"runAsNonRoot": true}), image(None, "web"), Some("image has non-numeric user (web)")),
        (json!({"runAsNonRoot": true}), image(Some(7), ""), None),
        (json!({}), image(Some(0), ""), None),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "securityContext": context}]}));
        let found = security::of_container(&pod, &spec::spec(&pod).containers[0], &image, None, &facts());
        match problem {
            Some(problem) => assert!(found.is_err_and(|error| error.contains(problem)), "{context}"),
            None => assert!(found.is_ok(), "{context}"),
        }
    }
}
