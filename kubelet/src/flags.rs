//! The kubelet's command line: upstream's table (`cmd/kubelet/app/options`).
//!
//! Most flags are older names of fields of the configuration file and override it; [`crate::options`] does that.

use component::flags::{self, FlagSet, Group, Kind::*, flag, retired};

const NO_MANAGER: &str = "CPU, memory and topology managers are not built";
const WATCHES: &str = "changes are watched, not polled";

/// The table.
pub fn flags() -> FlagSet {
    FlagSet::new("kubelet", "The node agent: runs the pods of one node through a CRI runtime, and tells how they are.")
        .include(program())
        .include(process())
        .include(runtime())
        .include(server())
        .include(pods())
        .include(resources())
        .include(images())
        .group(
            "Retired flags",
            [
                retired(
                    "network-plugin",
                    "the container runtime sets up pod networks: configure CNI in /etc/cni/net.d",
                ),
                retired("container-runtime", "every runtime speaks CRI now: use --container-runtime-endpoint"),
                retired("cni-conf-dir", "configure the container runtime"),
                retired("cni-bin-dir", "configure the container runtime"),
                retired("keep-terminated-pod-volumes", "volumes of ended pods are always given back"),
                retired("allow-privileged", "the API server decides about privileged pods"),
            ],
        )
        .include(flags::logging())
        .include(flags::global())
}

fn program() -> Group {
    Group::new(
        "Kubelet flags",
        [
            flag(
                "config",
                String,
                "",
                "The configuration file (KubeletConfiguration). Flags that are given override it.",
            ),
            flag(
                "config-dir",
                String,
                "",
                "A folder of drop-in configuration files (*.conf) that override --config in order of their names.",
            ),
            flag(
                "kubeconfig",
                String,
                "",
                "How to reach the API server. Without it (and --master) the kubelet runs standalone: static pods only.",
            ),
            flag(
                "master",
                String,
                "",
                "The API server's address, such as http://127.0.0.1:8080; overrides the kubeconfig's, alone it means no credentials.",
            ),
            flag(
                "bootstrap-kubeconfig",
                String,
                "",
                "A kubeconfig to ask for a client certificate with, when --kubeconfig does not exist yet.",
            ),
            flag("kube-api-qps", Float, "0", "Requests a second to the API server; 0 is no limit."),
            flag("kube-api-burst", Int, "0", "Requests that may exceed --kube-api-qps for a moment."),
            flag("kube-api-content-type", String, "", "The content type of requests.")
                .without_effect("requests are JSON"),
            flag("hostname-override", String, "", "The node's name, instead of the host name."),
            flag("node-ip", Strings, "", "The node's address, or two of different families."),
            flag("node-labels", Map, "", "Labels to register the node with."),
            flag("register-node", Bool, "true", "Register the node with the API server."),
            flag("register-with-taints", Strings, "", "Taints to register the node with: key=value:effect."),
            flag("provider-id", String, "", "The machine's identifier at a cloud provider, for spec.providerID."),
            flag(
                "cloud-provider",
                String,
                "",
                "Empty, or \"external\": then the node starts with the taint that the provider's controller removes.",
            ),
            flag("root-dir", String, "/var/lib/kubelet", "The folder of volumes and other files of pods."),
            flag(
                "cert-dir",
                String,
                "/var/lib/kubelet/pki",
                "The folder of the serving certificate that is made when none is given.",
            ),
        ],
    )
}

fn process() -> Group {
    Group::new(
        "Kubelet flags",
        [
            flag("node-status-update-frequency", Duration, "10s", "How often the node's status is looked at."),
            flag("lock-file", String, "", "A file to lock.")
                .without_effect("systemd or the caller keeps kubelets apart"),
            flag("exit-on-lock-contention", Bool, "false", "End when the lock is wanted.")
                .without_effect("there is no lock file"),
            flag("runonce", Bool, "false", "End after static pods were started: refused, upstream deprecated it."),
            flag("max-open-files", Int, "0", "Files that the process may open; not given, its limit stays."),
            flag("oom-score-adj", Int, "0", "The oom_score_adj of the process; not given, it stays."),
            flag("feature-gates", Map, "", "Feature gates by name: refused where they ask for what is not so."),
            flag("volume-plugin-dir", String, "", "A folder of FlexVolume plugins: refused, there are none."),
            flag(
                "enable-controller-attach-detach",
                Bool,
                "true",
                "Let the controller manager attach volumes; \"false\" is refused, the kubelet attaches none.",
            ),
            flag("local-storage-capacity-isolation", Bool, "true", "Account for local storage."),
            flag("experimental-mounter-path", String, "", "A mounter binary.")
                .without_effect("mounts are made directly"),
        ],
    )
}

fn runtime() -> Group {
    Group::new(
        "Container runtime flags",
        [
            flag(
                "container-runtime-endpoint",
                String,
                "unix:///run/containerd/containerd.sock",
                "The runtime's CRI socket.",
            ),
            flag("image-service-endpoint", String, "", "The CRI socket of the image service; empty: the runtime's."),
            flag(
                "runtime-request-timeout",
                Duration,
                "2m0s",
                "The limit of a CRI call (not of pulls, execs and streams).",
            ),
            flag("pod-infra-container-image", String, "", "The sandbox image.")
                .without_effect("the runtime's own configuration names its sandbox image"),
            flag(
                "runtime-cgroups",
                String,
                "",
                "The cgroup that the runtime is in: what it uses is told; it is moved to none.",
            ),
            flag("cgroup-driver", String, "cgroupfs", "How cgroups are named: \"cgroupfs\" or \"systemd\"."),
            flag("cgroup-root", String, "", "The cgroup below which pods' cgroups are made."),
            flag("cgroups-per-qos", Bool, "true", "Make a cgroup for each pod and QoS class."),
            flag("kubelet-cgroups", String, "", "The kubelet's own cgroup: refused, its unit places it."),
            flag("system-cgroups", String, "", "The cgroup of other processes: refused, their units place them."),
            flag("fail-swap-on", Bool, "true", "Refuse to start while swap is on."),
            flag("fail-cgroupv1", Bool, "false", "Refuse to start on cgroup v1."),
            flag("hairpin-mode", String, "promiscuous-bridge", "Hairpin mode.")
                .without_effect("the CNI plugin sets it"),
            flag(
                "pod-cidr",
                String,
                "",
                "Pods' addresses, told to the runtime; in a cluster what the Node was given counts.",
            ),
            flag("make-iptables-util-chains", Bool, "true", "Make helper chains.")
                .without_effect("kube-proxy makes what it needs"),
            flag("protect-kernel-defaults", Bool, "false", "Do not start where the kernel's settings are others."),
            flag(
                "kernel-memcg-notification",
                Bool,
                "false",
                "Watch memory by memcg: refused, it is looked at every ten seconds.",
            ),
        ],
    )
}

fn server() -> Group {
    Group::new(
        "Server flags",
        [
            flag("enable-server", Bool, "true", "Serve the kubelet's API."),
            flag("address", Ip, "0.0.0.0", "The address of the kubelet's API."),
            flag("port", Int, "10250", "The port of the kubelet's API."),
            flag("read-only-port", Int, "0", "A plain HTTP port without authentication, for reading; 0 for none."),
            flag("healthz-port", Int, "10248", "The port of /healthz; 0 for none."),
            flag("healthz-bind-address", Ip, "127.0.0.1", "The address of /healthz."),
            flag("anonymous-auth", Bool, "true", "Let requests without credentials in, as system:anonymous."),
            flag("authentication-token-webhook", Bool, "false", "Ask the API server who a bearer token belongs to."),
            flag("authentication-token-webhook-cache-ttl", Duration, "2m0s", "How long such answers are kept."),
            flag("authorization-mode", String, "AlwaysAllow", "\"AlwaysAllow\", or \"Webhook\" to ask the API server."),
            flag("authorization-webhook-cache-authorized-ttl", Duration, "5m0s", "How long a yes is kept."),
            flag("authorization-webhook-cache-unauthorized-ttl", Duration, "30s", "How long a no is kept."),
            flag("client-ca-file", String, "", "The authorities whose client certificates are taken."),
            flag(
                "tls-cert-file",
                String,
                "",
                "The serving certificate; without it a self-signed one is made in --cert-dir.",
            ),
            flag("tls-private-key-file", String, "", "The key of --tls-cert-file."),
            flag("tls-min-version", String, "", "The least TLS version: VersionTLS12 or VersionTLS13."),
            flag("tls-cipher-suites", Strings, "", "Cipher suites."),
            flag("rotate-certificates", Bool, "false", "Renew the client certificate."),
            flag("rotate-server-certificates", Bool, "false", "Ask the API server for the serving certificate."),
            flag("enable-debugging-handlers", Bool, "true", "Serve logs, exec, attach, run and port-forward."),
            flag("contention-profiling", Bool, "false", "Profile contention: refused, there is no such profile."),
            flag("streaming-connection-idle-timeout", Duration, "4h0m0s", "The longest silence of a stream.")
                .without_effect("the runtime ends idle streams"),
            flag("event-qps", Int, "0", "Events a second; 0 for no limit."),
            flag("event-burst", Int, "100", "Events at once."),
        ],
    )
}

fn pods() -> Group {
    Group::new(
        "Pod flags",
        [
            flag("pod-manifest-path", String, "", "A folder (or file) of static pods."),
            flag("manifest-url", String, "", "A URL of static pods: refused, they are read from a folder."),
            flag("manifest-url-header", StringArray, "", "Headers for --manifest-url.")
                .without_effect("--manifest-url is refused"),
            flag("file-check-frequency", Duration, "20s", "How often static pods are looked at.")
                .without_effect(WATCHES),
            flag("http-check-frequency", Duration, "20s", "How often --manifest-url is read.")
                .without_effect("static pods are read from a folder"),
            flag("sync-frequency", Duration, "1m0s", "How often pods are compared with their spec.")
                .without_effect(WATCHES),
            flag("cluster-dns", Strings, "", "Addresses of the cluster's DNS servers."),
            flag("cluster-domain", String, "", "The cluster's DNS domain."),
            flag("resolv-conf", String, "/etc/resolv.conf", "The node's resolver configuration; empty for none."),
            flag("max-pods", Int, "110", "How many pods may run."),
            flag("pods-per-core", Int, "0", "How many pods may run per core; 0 for no such limit."),
            flag("pod-max-pids", Int, "-1", "Processes of a pod; -1 for no limit."),
            flag("cpu-cfs-quota", Bool, "true", "Enforce CPU limits by CFS quota."),
            flag("cpu-cfs-quota-period", Duration, "100ms", "The period of the CFS quota."),
            flag(
                "seccomp-default",
                Bool,
                "false",
                "RuntimeDefault as the seccomp profile of containers that name none.",
            ),
            flag("allowed-unsafe-sysctls", Strings, "", "Unsafe sysctls that pods may set; a name may end in *."),
            flag("container-log-max-size", String, "10Mi", "The size at which a container's log is rotated."),
            flag("container-log-max-files", Int, "5", "How many log files a container keeps."),
            flag("maximum-dead-containers-per-container", Int, "1", "Dead containers kept for each name.")
                .without_effect("one is kept"),
            flag("maximum-dead-containers", Int, "-1", "Dead containers kept in all.")
                .without_effect("one is kept for each name"),
            flag("minimum-container-ttl-duration", Duration, "0s", "How long dead containers are kept.")
                .without_effect("one is kept for each name"),
        ],
    )
}

fn resources() -> Group {
    Group::new(
        "Resource flags",
        [
            flag("kube-reserved", Map, "", "Resources kept for Kubernetes itself, taken off allocatable."),
            flag("system-reserved", Map, "", "Resources kept for the system, taken off allocatable."),
            flag("kube-reserved-cgroup", String, "", "The cgroup of Kubernetes itself."),
            flag("system-reserved-cgroup", String, "", "The cgroup of the system."),
            flag("reserved-cpus", String, "", "CPUs kept for the system: refused, there is no CPU manager."),
            flag("reserved-memory", StringArray, "", "Memory kept per NUMA node: refused, there is no memory manager."),
            flag("enforce-node-allocatable", Strings, "pods", "What allocatable is enforced on."),
            flag(
                "eviction-hard",
                Strings,
                "",
                "Hard eviction thresholds, such as memory.available<100Mi; pods are ended at once. They count for allocatable.",
            ),
            flag("eviction-soft", Strings, "", "Soft eviction thresholds."),
            flag("eviction-soft-grace-period", Strings, "", "Grace of soft thresholds."),
            flag("eviction-max-pod-grace-period", Int, "0", "Grace of evicted pods."),
            flag("eviction-minimum-reclaim", Strings, "", "What an eviction must bring."),
            flag("eviction-pressure-transition-period", Duration, "5m0s", "How long a pressure condition stays."),
            flag("experimental-allocatable-ignore-eviction", Bool, "false", "Leave thresholds out of allocatable.")
                .without_effect("upstream deprecated it"),
            flag("cpu-manager-policy", String, "none", "CPU manager: only \"none\"."),
            flag("cpu-manager-policy-options", Map, "", "CPU manager options: refused, there is no CPU manager."),
            flag("cpu-manager-reconcile-period", Duration, "10s", "CPU manager period.").without_effect(NO_MANAGER),
            flag("memory-manager-policy", String, "None", "Memory manager: only \"None\"."),
            flag("topology-manager-policy", String, "none", "Topology manager: only \"none\"."),
            flag(
                "topology-manager-policy-options",
                Map,
                "",
                "Topology manager options: refused, there is no topology manager.",
            ),
            flag("topology-manager-scope", String, "container", "Topology manager scope: only \"container\"."),
            flag("qos-reserved", Map, "", "Memory kept per QoS class: refused, it is an alpha feature upstream."),
            flag("volume-stats-agg-period", Duration, "1m0s", "How often disk use is added up.")
                .without_effect("it is looked at when asked for"),
        ],
    )
}

fn images() -> Group {
    Group::new(
        "Image flags",
        [
            flag("serialize-image-pulls", Bool, "false", "Pull one image at a time."),
            flag("registry-qps", Int, "0", "Pulls a second; 0 for no limit."),
            flag("registry-burst", Int, "10", "Pulls at once."),
            flag("node-status-max-images", Int, "50", "Images told in the node's status; -1 for all."),
            flag("minimum-image-ttl-duration", Duration, "2m0s", "How long unused images stay."),
            flag("image-gc-high-threshold", Int, "85", "Disk use at which images are removed."),
            flag("image-gc-low-threshold", Int, "80", "Disk use to which images are removed."),
            flag("image-credential-provider-config", String, "", "Credential provider plugins."),
            flag("image-credential-provider-bin-dir", String, "", "Their binaries."),
        ],
    )
}
