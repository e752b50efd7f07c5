//! Configuration files and flags as tables.

use std::time::Duration;

use super::{API_VERSIONS, KIND, KubeletConfiguration, validate};
use crate::Options;

fn parse(text: &str) -> Result<KubeletConfiguration, String> {
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    component::config::parse(&format!("{head}{text}"), KIND, &API_VERSIONS)
}

#[test]
fn fields_have_upstreams_names_and_defaults() {
    let c = parse(
        "clusterDNS: [10.0.0.10]\nclusterDomain: cluster.local\nfailSwapOn: false\nfailCgroupV1: true\n\
         runtimeRequestTimeout: 15m0s\nauthentication: {webhook: {enabled: true, cacheTTL: 30s}, x509: {clientCAFile: /ca}}\n\
         cpuCFSQuota: false\nevictionHard: {memory.available: 5%}\nregisterWithTaints: [{key: a, effect: NoSchedule}]\n\
         syncFrequency: 5m\nfileCheckFrequency: 0s\n",
    )
    .expect("a configuration");
    assert_eq!(c.cluster_dns, ["10.0.0.10"]);
    assert!(c.fail_cgroup_v1 && !c.fail_swap_on && !c.cpu_cfs_quota);
    assert_eq!(c.runtime_request_timeout.0, Duration::from_secs(900));
    assert_eq!(c.authentication.webhook.cache_ttl.0, Duration::from_secs(30));
    assert_eq!(c.authentication.x509.client_ca_file.as_deref(), Some("/ca"));
    assert_eq!((c.port, c.max_pods, c.node_lease_duration_seconds), (10250, 110, 40));
    assert_eq!(c.without_effect(), ["syncFrequency"], "and what is zero is not set");
    let checked =
        parse("containerLogMaxWorkers: 2\nhairpinMode: none\nconfigMapAndSecretChangeDetectionStrategy: Cache\n");
    let names = ["containerLogMaxWorkers", "hairpinMode", "configMapAndSecretChangeDetectionStrategy"];
    assert_eq!(checked.expect("a configuration").without_effect(), names);
    let usual = parse(
        "containerLogMaxWorkers: 1\nhairpinMode: promiscuous-bridge\nconfigMapAndSecretChangeDetectionStrategy: ''\n",
    );
    assert!(usual.expect("a configuration").without_effect().is_empty());
    let default = parse("").expect("a configuration");
    assert!(!default.fail_cgroup_v1 && default.fail_swap_on);
}

#[test]
fn wrong_fields_and_values_are_named() {
    for (text, wanted) in [
        ("clusterDns: [a]", "unknown field \"clusterDns\""),
        ("authentication: {webhok: {}}", "unknown field \"authentication.webhok\""),
        ("maxPods: many", "invalid type"),
        ("maxPods: 1\nmaxPods: 2", "already set in map"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(wanted), "{error}");
    }
    for (text, wanted) in [
        ("cpuManagerPolicy: static", "cpuManagerPolicy: the CPU manager is not supported by this kubelet"),
        ("cpuManagerPolicyOptions: {full-pcpus-only: 'true'}", "cpuManagerPolicyOptions: the CPU manager is not"),
        ("reservedSystemCPUs: 0-1", "reservedSystemCPUs: the CPU manager is not supported"),
        ("memoryManagerPolicy: Static", "memoryManagerPolicy: the memory manager is not supported"),
        ("reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}]", "reservedMemory: the memory manager is not"),
        ("topologyManagerPolicy: best-effort", "topologyManagerPolicy: the topology manager is not supported"),
        ("topologyManagerPolicyOptions: {a: b}", "topologyManagerPolicyOptions: the topology manager is not"),
        ("qosReserved: {memory: 50%}", "qosReserved: memory kept for classes of service is not supported"),
        ("memorySwap: {swapBehavior: LimitedSwap}", "memorySwap.swapBehavior: swap is not supported by this kubelet"),
        ("userNamespaces: {idsPerPod: 65536}", "userNamespaces: a range for user namespaces is not supported"),
        ("staticPodURL: http://example.org", "staticPodURL: reading static pods from a URL is not supported"),
        ("topologyManagerScope: pod", "topologyManagerScope: the topology manager is not supported"),
        ("kubeletCgroups: /kubelet", "kubeletCgroups: moving the kubelet into a cgroup is not supported"),
        ("kernelMemcgNotification: true", "kernelMemcgNotification: the kernel's memory notification is not"),
        ("enableContentionProfiling: true", "enableContentionProfiling: profiling is not supported by this kubelet"),
        ("volumePluginDir: /opt/plugins", "volumePluginDir: FlexVolume is not supported by this kubelet"),
        ("tracing: {endpoint: 'localhost:4317'}", "tracing.endpoint: tracing is not supported by this kubelet"),
        ("logging: {format: json}", "logging.format: not supported in this kubelet's file: use --logging-format"),
        (
            "featureGates: {GracefulNodeShutdownBasedOnPodPriority: false}\nshutdownGracePeriodByPodPriority: [{priority: 1}]",
            "Specifying shutdownGracePeriodByPodPriority requires feature gate GracefulNodeShutdownBasedOnPodPriority",
        ),
        ("runOnce: true", "runOnce (--runOnce) true, Runonce mode has been deprecated"),
        ("enableControllerAttachDetach: false", "attaching volumes is not supported by this kubelet"),
        ("featureGates: {NodeSwap: true}", "featureGates: NodeSwap is not supported by this kubelet"),
        ("featureGates: {SidecarContainers: false}", "featureGates: SidecarContainers cannot be turned off"),
        ("featureGates: {AllBeta: true}", "featureGates: AllBeta is not supported by this kubelet"),
        ("featureGates: {Nothing: true}", "unrecognized feature gate: Nothing"),
        ("enforceNodeAllocatable: [nodes]", "option \"nodes\" specified for enforceNodeAllocatable"),
        ("enforceNodeAllocatable: [none, pods]", "may not contain additional enforcements when \"none\""),
        ("enforceNodeAllocatable: [kube-reserved]", "kubeReservedCgroup (--kube-reserved-cgroup) must be specified"),
        ("cgroupsPerQOS: false", "cgroupsPerQOS (--cgroups-per-qos) must be set to true when \"pods\""),
        ("cpuCFSQuotaPeriod: 2s", "must be between 1ms and 1sec, inclusive"),
        ("enableSystemLogQuery: true\nenableSystemLogHandler: false", "enableSystemLogHandler is required"),
        ("containerLogMonitorInterval: 2s", "greater than or equal to 3s"),
        ("serializeImagePulls: true\nmaxParallelImagePulls: 3", "maxParallelImagePulls cannot be larger than 1"),
        ("shutdownGracePeriod: 100ms", "must be either zero or otherwise >= 1 sec"),
        ("podLogsDir: logs", "pod logs path \"logs\" must be absolute path"),
        ("imagePullCredentialsVerificationPolicy: Sometimes", "option \"Sometimes\" specified"),
        ("cgroupDriver: other", "must be \"cgroupfs\" or \"systemd\""),
        ("kubeReserved: {gpu: '1'}", "cannot reserve \"gpu\" resource in kubeReserved"),
        ("evictionSoft: {memory.available: 1Gi}", "grace period must be specified"),
        ("imageGCLowThresholdPercent: 90", "must be less than imageGCHighThresholdPercent 85"),
        ("containerLogMaxSize: big", "must be a positive quantity"),
        ("crashLoopBackOff: {maxContainerRestartPeriod: 10m}", "must be between 1s and 300s"),
        ("clusterDNS: [nowhere]", "invalid IP: nowhere"),
        ("authorization: {mode: RBAC}", "unknown authorization mode RBAC"),
    ] {
        let problems = validate(&parse(text).expect(text));
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{text}: {problems:?}");
    }
}

/// What kubeadm and others write though they mean nothing by it.
#[test]
fn what_is_off_may_be_said() {
    let text = "memorySwap: {}\ncpuManagerPolicy: none\nmemoryManagerPolicy: None\ntopologyManagerPolicy: none\n\
                cpuManagerReconcilePeriod: 0s\nreservedMemory: []\nstaticPodURL: ''\nfeatureGates: {NodeSwap: false}\n\
                logging: {flushFrequency: 0, options: {json: {infoBufferSize: '0'}}, verbosity: 0}\nvolumePluginDir: ''\n";
    assert_eq!(validate(&parse(text).expect(text)), Vec::<String>::new());
    let gates = "featureGates: {AllBeta: false, AllAlpha: false, EventedPLEG: false, RuntimeClassInImageCriApi: false,\n  \
                 HPAScaleToZero: true, WatchList: false, NFTablesProxyMode: true}\n";
    assert_eq!(validate(&parse(gates).expect(gates)), Vec::<String>::new());
    let on_upstream = "featureGates: {ReloadKubeletClientCAFile: true, KubeletCgroupDriverFromCRI: true,\n  \
                       PreventStaticPodAPIReferences: true, SELinuxChangePolicy: true, KubeletSeparateDiskGC: true}\n";
    assert_eq!(validate(&parse(on_upstream).expect(on_upstream)), Vec::<String>::new());
    let evented = "featureGates: {EventedPLEG: true}\n";
    assert_eq!(validate(&parse(evented).expect(evented)), Vec::<String>::new());
    let no_url = parse(
        "staticPodURLHeader: {a: [b]}\nshutdownGracePeriod: 20s\n\
         featureGates: {GracefulNodeShutdownBasedOnPodPriority: false}\n",
    )
    .expect("a configuration");
    assert_eq!((validate(&no_url), no_url.without_effect()), (vec![], vec!["staticPodURLHeader"]));
    let no_swap = "memorySwap: {swapBehavior: NoSwap}\n";
    assert_eq!(validate(&parse(no_swap).expect(no_swap)), Vec::<String>::new());
}

/// A file of kubeadm's says "the default" by zero.
#[test]
fn zero_is_the_default() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubelet.yaml");
    let read = |text: &str| {
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        std::fs::write(&path, format!("{head}{text}")).expect("writes");
        options(&[&format!("--config={}", path.display())]).configuration
    };
    let zero = read(
        "nodeStatusUpdateFrequency: 0s\nnodeStatusReportFrequency: 0s\nruntimeRequestTimeout: 0s\n\
         containerRuntimeEndpoint: ''\nimageMinimumGCAge: 0s\nauthentication: {webhook: {cacheTTL: 0s, enabled: true}}\n",
    );
    let seconds = |it: super::GoDuration| it.0.as_secs();
    let frequencies =
        |c: &KubeletConfiguration| (seconds(c.node_status_update_frequency), seconds(c.node_status_report_frequency));
    assert_eq!(frequencies(&zero), (10, 300));
    assert_eq!((seconds(zero.runtime_request_timeout), seconds(zero.image_minimum_gc_age)), (120, 120));
    assert_eq!(zero.container_runtime_endpoint, "unix:///run/containerd/containerd.sock");
    assert_eq!(frequencies(&read("nodeStatusUpdateFrequency: 4s\n")), (4, 4), "who looks more often tells more often");
    assert_eq!(frequencies(&read("nodeStatusUpdateFrequency: 4s\nnodeStatusReportFrequency: 1m\n")), (4, 60));
}

#[test]
fn flags_for_what_is_not_built_are_refused_too() {
    for (given, wanted) in [
        ("--cpu-manager-policy=static", "the CPU manager"),
        ("--reserved-cpus=0", "the CPU manager"),
        ("--memory-manager-policy=Static", "the memory manager"),
        ("--topology-manager-policy=restricted", "the topology manager"),
        ("--manifest-url=http://example.org", "static pods from a URL"),
        ("--volume-plugin-dir=/opt/plugins", "FlexVolume"),
        ("--topology-manager-scope=pod", "the topology manager"),
        ("--qos-reserved=memory=50%", "memory kept for classes of service"),
        ("--cpu-manager-policy-options=full-pcpus-only=true", "cpuManagerPolicyOptions: the CPU manager"),
        ("--topology-manager-policy-options=prefer-closest-numa-nodes=true", "PolicyOptions: the topology manager"),
        ("--reserved-memory=0:memory=1Gi", "reservedMemory: the memory manager"),
        ("--kubelet-cgroups=/kubelet", "kubeletCgroups: moving the kubelet into a cgroup"),
        ("--system-cgroups=/system", "systemCgroups: moving other processes into a cgroup"),
        ("--enable-controller-attach-detach=false", "attaching volumes"),
        ("--kernel-memcg-notification", "the kernel's memory notification"),
        ("--contention-profiling", "profiling"),
        ("--feature-gates=NodeSwap=true", "NodeSwap"),
    ] {
        let values = crate::flags().parse([given]).expect("flags");
        let error = Options::from_flags(&values).expect_err(given).to_string();
        assert!(error.contains(wanted) && error.contains("not supported by this kubelet"), "{given}: {error}");
    }
    let once = crate::flags().parse(["--runonce"]).expect("flags");
    assert!(Options::from_flags(&once).expect_err("refused").to_string().contains("Runonce mode has been deprecated"));
    options(&["--cpu-manager-policy=none", "--topology-manager-policy=none", "--topology-manager-scope=container"]);
    options(&["--feature-gates=NodeSwap=F,EnvFiles=1"]);
    options(&["--enable-controller-attach-detach", "--contention-profiling=false", "--runonce=false"]);
}

fn options(arguments: &[&str]) -> Options {
    let values = crate::flags().parse(arguments.iter().copied()).expect("flags");
    Options::from_flags(&values).expect("options")
}

#[test]
fn given_flags_win_over_the_file_and_bare_flags_are_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubelet.yaml");
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    std::fs::write(&path, format!("{head}maxPods: 50\nclusterDomain: a\n")).expect("writes");
    let config = format!("--config={}", path.display());
    let from_file = options(&[&config, "--cluster-domain=b"]).configuration;
    assert_eq!((from_file.max_pods, from_file.cluster_domain.as_str()), (50, "b"));
    assert_eq!(from_file.authorization.mode.as_deref(), Some("Webhook"));
    assert_eq!(from_file.authentication.anonymous.enabled, Some(false));
    let bare = options(&["--register-with-taints=a=b:NoSchedule,c:NoExecute", "--eviction-hard=memory.available<1Gi"]);
    assert_eq!(bare.configuration.authorization.mode.as_deref(), Some("AlwaysAllow"));
    assert_eq!(bare.configuration.authentication.anonymous.enabled, Some(true));
    let taints: Vec<(&str, Option<&str>)> =
        bare.configuration.register_with_taints.iter().map(|it| (it.key.as_str(), it.value.as_deref())).collect();
    assert_eq!(taints, [("a", Some("b")), ("c", None)]);
    assert_eq!(bare.configuration.eviction_hard["memory.available"], "1Gi");
}

#[test]
fn drop_ins_change_only_what_they_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), format!("{head}{text}")).expect("writes");
    write("10-a.conf", "maxPods: 20\nclusterDomain: a\nstaticPodURLHeader: {a: [b, c], d: [e]}\n");
    write("20-b.conf", "maxPods: 30\nstaticPodURLHeader: {a: [f]}\n");
    write("ignored.yaml", "maxPods: 99\n");
    std::fs::create_dir(folder.path().join("30-more")).expect("a folder");
    write("30-more/c.conf", "evictionHard: {memory.available: 1Gi}\nport: 1\nserializeImagePulls: true\n");
    write("40-d.conf", "port: null\nserializeImagePulls: null\n");
    let merged = options(&[&format!("--config-dir={}", folder.path().display())]).configuration;
    assert_eq!((merged.max_pods, merged.cluster_domain.as_str(), merged.port), (30, "a", 10250));
    assert_eq!(merged.eviction_hard["memory.available"], "1Gi", "out of a folder below");
    assert_eq!(merged.other("staticPodURLHeader"), Some(&serde_json::json!({"a": ["f"], "d": ["e"]})));
    assert!(!merged.serialize_image_pulls, "back to the default");
    let refused = crate::flags().parse(["--node-labels=node-role.kubernetes.io/a=b"]).expect("flags");
    let refused = Options::from_flags(&refused).expect_err("not for a kubelet to set").to_string();
    assert!(refused.contains("unknown 'kubernetes.io' or 'k8s.io' labels"), "{refused}");
}

#[test]
fn the_table_is_sound() {
    let set = crate::flags();
    component::flags::check_table(&set);
    // Logging is read by the program, before the options.
    let read = |values: &component::flags::Values| drop(Options::from_flags(values));
    component::flags::check_effective(&set, read, &["logging-format", "v"]);
    for retired in ["--network-plugin=cni", "--container-runtime=docker"] {
        assert!(crate::flags().parse([retired]).is_err(), "{retired}");
    }
}
