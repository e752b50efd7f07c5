//! CRI messages as tables.

use machinery::quantity::{Format, Quantity};
use serde_json::{Value, json};

use k8s_cri::v1::NamespaceMode;
use k8s_openapi::api::core::v1::Pod;

use super::{NodeFacts, container, dns, hosts, resources, sandbox, security};
use crate::{
    cgroups::naming::{Driver, Naming},
    images::Image,
    node::machine::Machine,
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
        runtime_cgroup: Some("system.slice/runtime.service".into()),
        cgroup_v2: false,
        limits_swap: false,
        cpu_period_us: Some(resources::CPU_PERIOD_US),
        single_process_oom_kill: false,
        memory_capacity_bytes: 1 << 30,
        machine: Machine { cpus: 2, ..Machine::default() },
        allocatable: [("cpu", 2), ("memory", 1 << 30), ("ephemeral-storage", 1000), ("pods", 110)]
            .map(|(name, value)| (name.to_owned(), amount(value)))
            .into(),
        seccomp_default: false,
        abilities: super::Abilities::default(),
        has_app_armor: false,
        restart_delay_max: crate::pod::backoff::MAXIMUM,
        heat_paths: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".into()],
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
        (json!({"limits": both("1", "1Gi"), "requests": both("0", "512Mi")}), qos::BURSTABLE, 500),
        (json!({"limits": both("1", "512Mi"), "requests": {"cpu": "0"}}), qos::BURSTABLE, 999),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "resources": resources}]}));
        assert_eq!(qos::of_pod(&pod), class, "{resources}");
        let container = &spec::spec(&pod).containers[0];
        assert_eq!(resources::of_container(&pod, container, &facts()).oom_score_adj, score, "{resources}");
    }
}

#[test]
fn the_pods_own_request_and_its_containers_decide_who_is_killed_first() {
    let with = |name: &str, memory: &str, more: Value| {
        let mut container = json!({"name": name, "resources": {"requests": {"memory": memory}}});
        container.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        container
    };
    let score = |spec: Value, index: usize| {
        let pod = pod(spec);
        let (_, container) = &spec::containers(&pod)[index];
        resources::of_container(&pod, container, &facts()).oom_score_adj
    };
    let sidecar = with("s", "128Mi", json!({"restartPolicy": "Always"}));
    let beside = json!({"initContainers": [sidecar], "containers": [with("a", "256Mi", json!({})), with("b", "512Mi", json!({}))]});
    assert_eq!((score(beside.clone(), 0), score(beside, 1)), (750, 750), "with the least of those that need it");
    let whole = json!({"resources": {"requests": {"memory": "512Mi"}}, "containers": [with("a", "256Mi", json!({})),
        {"name": "b"}]});
    assert_eq!((score(whole.clone(), 0), score(whole, 1)), (625, 875));
    let critical = |class: &str| json!({"priority": 2_000_001_000, "priorityClassName": class, "containers": [with("a", "256Mi", json!({}))]});
    assert_eq!(score(critical("system-node-critical"), 0), -997);
    assert_eq!(score(critical("system-cluster-critical"), 0), 750);
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
        dns::of_pod(&pod(spec), &facts.cluster_dns, &facts.cluster_domain, &facts.host_dns).0
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
fn what_does_not_fit_a_resolver_is_left_out_and_told() {
    let list = |count: usize, item: fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>();
    let of = |servers: Vec<String>, searches: Vec<String>| {
        let own = json!({"nameservers": servers, "searches": searches});
        let pod = pod(json!({"dnsPolicy": "None", "containers": [], "dnsConfig": own}));
        dns::of_pod(&pod, &[], "cluster.local", &dns::DnsConfig::default())
    };
    let (four, told) = of(list(4, |n| format!("10.0.0.{n}")), vec![]);
    assert_eq!(four.servers.len(), 3);
    let words = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ";
    assert_eq!(told, [format!("{words}10.0.0.0 10.0.0.1 10.0.0.2")]);
    let (many, told) = of(vec![], list(33, |n| format!("d{n}")));
    assert_eq!(many.searches.len(), 32);
    assert!(told[0].starts_with("Search Line limits were exceeded, some search paths have been omitted, the applied"));
    let (long, told) = of(vec![], vec!["a".repeat(254), "b".into()]);
    assert_eq!((long.searches, told.len()), (vec!["b".to_owned()], 1));
    assert_eq!(of(vec![], list(32, |_| "c".repeat(10))).1.len(), 0, "the same path counts once");
    let host = dns::parse_resolv_conf("search . a. b\nnameserver 1.1.1.1\noptions ndots:2 edns0\noptions ndots:3\n");
    assert_eq!(host.searches, ["a", "b"]);
    assert_eq!(host.options, ["edns0", "ndots:3"]);
    assert_eq!(dns::host_problem(&host, "/etc/resolv.conf", "cluster.local"), None);
    let full = dns::DnsConfig { searches: list(30, |n| format!("d{n}")), ..dns::DnsConfig::default() };
    let words = "Resolv.conf file '/r' contains search line consisting of more than 29 domains!";
    assert_eq!(dns::host_problem(&full, "/r", "cluster.local").as_deref(), Some(words));
    let plain = pod(json!({"dnsPolicy": "ClusterFirst", "containers": []}));
    assert!(dns::misses_cluster_dns(&plain, &[]).is_some_and(|it| it.ends_with("back to \"Default\" policy.")));
    assert_eq!(dns::misses_cluster_dns(&plain, &["10.0.0.10".to_owned()]), None);
}

#[test]
fn a_full_name_that_the_kernel_does_not_take_is_refused() {
    let of = |name: String| {
        let pod = pod(json!({"hostname": name, "subdomain": "sub", "setHostnameAsFQDN": true, "containers": []}));
        hosts::sandbox_host_name(&pod, "cluster.local")
    };
    assert_eq!(of("web".into()).as_deref(), Ok("web.sub.ns.svc.cluster.local"));
    let error = of("h".repeat(63)).expect_err("88 characters");
    let words = "is too long (64 characters is the max, 88 characters requested)";
    assert!(error.starts_with("failed to construct FQDN from pod hostname") && error.ends_with(words), "{error}");
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
    let config = sandbox::config(&pod, 2, &facts()).expect("a configuration");
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
        volume_groups: vec![1234],
        ..container::Prepared::default()
    };
    let config = container::config(&pod, &spec::spec(&pod).containers[0], prepared, &facts()).expect("a configuration");
    assert_eq!(config.command, ["sh", "-c", "echo 1 $(B)"]);
    assert_eq!(config.log_path, "c/3.log");
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()).expect("a context");
    assert_eq!(context.supplemental_groups, [1234], "of a volume");
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
fn what_tells_of_the_machine_is_masked() {
    let of = |context: Value| {
        let pod = pod(json!({"containers": [{"name": "c", "securityContext": context}]}));
        let image = security::ImageUser::default();
        security::of_container(&pod, &spec::spec(&pod).containers[0], &image, None, &facts()).expect("a context")
    };
    let usual = of(json!({}));
    assert!(usual.masked_paths.iter().any(|path| path == "/proc/kcore"));
    assert_eq!(usual.masked_paths.last().map(String::as_str), Some("/sys/devices/system/cpu/cpu0/thermal_throttle"));
    let bare = of(json!({"procMount": "Unmasked"}));
    assert!(bare.masked_paths.is_empty() && bare.readonly_paths.is_empty());
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

#[test]
fn a_seccomp_profile_of_the_node_has_a_name() {
    let of = |profile: Value| {
        let pod = pod(json!({"containers": [{"name": "c", "securityContext": {"seccompProfile": profile}}]}));
        let image = security::ImageUser::default();
        let found = security::of_container(&pod, &spec::spec(&pod).containers[0], &image, None, &facts());
        found.map(|context| context.seccomp.expect("a profile"))
    };
    let named = of(json!({"type": "Localhost", "localhostProfile": "a.json"})).expect("a context");
    assert!(named.localhost_ref.ends_with("/seccomp/a.json"), "{named:?}");
    for nameless in [json!({"type": "Localhost"}), json!({"type": "Localhost", "localhostProfile": ""})] {
        let refused = of(nameless).expect_err("it would not be confined");
        assert_eq!(refused, "localhostProfile must be set if seccompProfile type is Localhost.");
    }
}
