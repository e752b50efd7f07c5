//! The flags of kube-controller-manager, as upstream's.
//!
//! A flag of a controller that is not built here has no effect, and says so when given. Enter by [`flags`].

use component::flags::{self, Flag, FlagSet, Group, Kind, Kind::*, flag, retired};

mod workloads;

const NO_CLOUD: &str = "there is no cloud provider";
const NO_RESYNC: &str = "informers are woken by events only";
const NO_COMPARING: &str = "what is attached is watched, and read anew at each step";
const BUILT_IN_RECYCLER: &str = "the pod is upstream's default";
const NOT_BUILT: &str = "its controller is not built yet";

/// A row whose controller is not here yet.
const fn later(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    flag(name, kind, default, help).without_effect(NOT_BUILT)
}

/// Upstream's table for v1.36, with today's effects.
pub fn flags() -> FlagSet {
    let [serving, authentication, authorization] = flags::secure_serving("10257");
    let election = flags::leader_election().with_default("leader-elect-resource-name", "kube-controller-manager");
    FlagSet::new("kube-controller-manager", "Runs the controllers that bring the cluster to the state asked for.")
        .include(generic())
        .include(election)
        .include(serving)
        .include(authentication)
        .include(authorization)
        .include(nodes())
        .include(workloads::group())
        .include(networking())
        .include(identity())
        .include(storage())
        .include(not_built())
        .with_common()
        .include(gone())
}

fn generic() -> Group {
    Group::new(
        "Generic flags",
        [
            flag(
                "controllers",
                Strings,
                "*",
                "The controllers to run: '*' is all that are on by default, 'foo' adds one, '-foo' takes one out.",
            ),
            flag("min-resync-period", Duration, "12h", "The least time between full resyncs of the caches.")
                .without_effect(NO_RESYNC),
            flag("controller-start-interval", Duration, "0s", "How long to wait between starting two controllers.")
                .without_effect("all controllers start at once"),
            flag("controller-shutdown-timeout", Duration, "10s", "How long controllers may take to stop."),
            flag("profiling", Bool, "true", "Serve profiles below /debug/pprof/.")
                .without_effect("profiles are not served on this port"),
            flag("contention-profiling", Bool, "false", "Profile lock contention.")
                .without_effect("profiles are not served on this port"),
            flag("enable-leader-migration", Bool, "false", "Migrate controllers between managers by their leases.")
                .without_effect(NO_CLOUD),
            flag("leader-migration-config", String, "", "The configuration of leader migration.")
                .without_effect(NO_CLOUD),
            flag("feature-gates", Map, "", "Features: name=true or name=false; all are as upstream's defaults."),
            flag("emulated-version", Strings, "", "The version to behave like.").without_effect("only v1.36 is known"),
            flag("emulation-forward-compatible", Bool, "false", "Take APIs newer than the emulated version.")
                .without_effect("only v1.36 is known"),
            flag("min-compatibility-version", Strings, "", "The oldest version to stay compatible with.")
                .without_effect("only v1.36 is known"),
            flag("show-hidden-metrics-for-version", String, "", "The version whose hidden metrics to show.")
                .without_effect("no metrics are hidden"),
            flag("disabled-metrics", Strings, "", "Metrics to leave out.").without_effect("all metrics are served"),
            flag("allow-metric-labels", Map, "", "Values that metric labels may have.")
                .without_effect("labels are bounded already"),
            flag("allow-metric-labels-manifest", String, "", "A file of values that metric labels may have.")
                .without_effect("labels are bounded already"),
            flag("cloud-provider", String, "", "The cloud provider; only empty or \"external\".")
                .without_effect(NO_CLOUD),
            flag("cloud-config", String, "", "The cloud provider's configuration.").without_effect(NO_CLOUD),
            flag("cluster-name", String, "kubernetes", "The prefix of instances of this cluster.")
                .without_effect(NO_CLOUD),
            flag("configure-cloud-routes", Bool, "true", "Set node CIDRs as routes of the cloud.")
                .without_effect(NO_CLOUD),
            flag("route-reconciliation-period", Duration, "10s", "How often cloud routes are looked at.")
                .without_effect(NO_CLOUD),
            flag("external-cloud-volume-plugin", String, "", "The volume plugin of an external cloud provider.")
                .without_effect(NO_CLOUD),
            flag("allow-untagged-cloud", Bool, "false", "Allow instances without a cluster id.")
                .without_effect(NO_CLOUD),
            flag("node-sync-period", Duration, "0s", "Was without effect upstream too.")
                .without_effect("nodes are seen by events"),
            flag("use-service-account-credentials", Bool, "false", "Give each controller a ServiceAccount of its own."),
        ],
    )
}

fn nodes() -> Group {
    Group::new(
        "Node flags",
        [
            flag("allocate-node-cidrs", Bool, "false", "Give each node a part of --cluster-cidr."),
            flag("cidr-allocator-type", String, "RangeAllocator", "How node CIDRs are allocated.")
                .without_effect("only RangeAllocator is known"),
            flag("cluster-cidr", String, "", "The addresses of pods; only used with --allocate-node-cidrs."),
            flag("service-cluster-ip-range", String, "", "The addresses of Services, to keep node CIDRs off."),
            flag(
                "node-cidr-mask-size",
                Int,
                "0",
                "The prefix length of a node's CIDR: 24 for IPv4, 64 for IPv6 unless given.",
            ),
            flag(
                "node-cidr-mask-size-ipv4",
                Int,
                "0",
                "The prefix length of a node's IPv4 CIDR in a dual-stack cluster: 24 unless given.",
            ),
            flag(
                "node-cidr-mask-size-ipv6",
                Int,
                "0",
                "The prefix length of a node's IPv6 CIDR in a dual-stack cluster: 64 unless given.",
            ),
            flag("node-monitor-period", Duration, "5s", "How often nodes were looked at.")
                .without_effect("each node has its own deadline"),
            flag(
                "node-monitor-grace-period",
                Duration,
                "50s",
                "How long a node may be silent before it counts as unhealthy.",
            ),
            flag("node-startup-grace-period", Duration, "1m0s", "How long a node that is starting may be silent."),
            flag("node-eviction-rate", Float, "0.1", "Nodes a second whose pods are evicted when nodes fail."),
            flag("secondary-node-eviction-rate", Float, "0.01", "The same, when a large part of a zone has failed."),
            flag("large-cluster-size-threshold", Int, "50", "Up to so many nodes the secondary rate is 0."),
            flag(
                "unhealthy-zone-threshold",
                Float,
                "0.55",
                "The part of a zone's nodes that must have failed for it to count as unhealthy.",
            ),
            flag(
                "terminated-pod-gc-threshold",
                Int,
                "12500",
                "How many ended pods may exist before the oldest are deleted; 0 is any number.",
            ),
        ],
    )
}

fn networking() -> Group {
    Group::new(
        "Networking flags",
        [
            flag("concurrent-service-syncs", Int, "1", "Services whose load balancers are worked on at the same time.")
                .without_effect("addresses of the pool are given out one after the other"),
            flag(
                "load-balancer-pool",
                Strings,
                "",
                "Addresses for Services of type LoadBalancer: CIDRs, or ranges as 192.0.2.10-192.0.2.20. Not upstream's.",
            ),
            flag("concurrent-endpoint-syncs", Int, "5", "Services whose Endpoints are worked on at the same time."),
            flag(
                "endpoint-updates-batch-period",
                Duration,
                "0s",
                "How long changes of pods are collected before Endpoints are written.",
            ),
            flag(
                "concurrent-service-endpoint-syncs",
                Int,
                "5",
                "Services whose EndpointSlices are worked on at the same time.",
            ),
            flag("max-endpoints-per-slice", Int, "100", "The most endpoints in a slice."),
            flag(
                "endpointslice-updates-batch-period",
                Duration,
                "0s",
                "How long changes of pods are collected before slices are written.",
            ),
            flag("mirroring-concurrent-service-endpoint-syncs", Int, "5", "Endpoints mirrored at the same time."),
            flag("mirroring-max-endpoints-per-subset", Int, "1000", "The most endpoints mirrored of a subset."),
            flag(
                "mirroring-endpointslice-updates-batch-period",
                Duration,
                "0s",
                "How long changes are collected before slices are mirrored.",
            ),
        ],
    )
}

fn identity() -> Group {
    Group::new(
        "Identity flags",
        [
            flag(
                "root-ca-file",
                String,
                "",
                "The authorities to publish in every namespace; without it those of the kubeconfig.",
            ),
            flag("service-account-private-key-file", String, "", "The key that signs tokens stored in Secrets."),
            flag("concurrent-serviceaccount-token-syncs", Int, "5", "Token Secrets worked on at the same time."),
            flag(
                "legacy-service-account-token-clean-up-period",
                Duration,
                "8760h",
                "How long an unused token Secret is kept.",
            ),
            flag("cluster-signing-cert-file", String, "", "The authority that signs certificate requests."),
            flag("cluster-signing-key-file", String, "", "The key of --cluster-signing-cert-file."),
            flag("cluster-signing-duration", Duration, "8760h", "The longest time a signed certificate is valid."),
            flag(
                "cluster-signing-kubelet-serving-cert-file",
                String,
                "",
                "The authority for kubernetes.io/kubelet-serving.",
            ),
            flag("cluster-signing-kubelet-serving-key-file", String, "", "The key of that authority."),
            flag(
                "cluster-signing-kubelet-client-cert-file",
                String,
                "",
                "The authority for kubernetes.io/kube-apiserver-client-kubelet.",
            ),
            flag("cluster-signing-kubelet-client-key-file", String, "", "The key of that authority."),
            flag(
                "cluster-signing-kube-apiserver-client-cert-file",
                String,
                "",
                "The authority for kubernetes.io/kube-apiserver-client.",
            ),
            flag("cluster-signing-kube-apiserver-client-key-file", String, "", "The key of that authority."),
            flag(
                "cluster-signing-legacy-unknown-cert-file",
                String,
                "",
                "The authority for kubernetes.io/legacy-unknown.",
            ),
            flag("cluster-signing-legacy-unknown-key-file", String, "", "The key of that authority."),
        ],
    )
}

fn storage() -> Group {
    Group::new(
        "Storage flags",
        [
            flag("disable-attach-detach-reconcile-sync", Bool, "false", "Do not compare attached volumes.")
                .without_effect(NO_COMPARING),
            flag("attach-detach-reconcile-sync-period", Duration, "1m0s", "How often attached volumes are compared.")
                .without_effect(NO_COMPARING),
            flag(
                "disable-force-detach-on-timeout",
                Bool,
                "false",
                "Never take a mounted volume off a node because it is not ready for long.",
            ),
            flag("concurrent-ephemeralvolume-syncs", Int, "5", "Ephemeral volumes worked on at the same time."),
            flag("pvclaimbinder-sync-period", Duration, "15s", "How often claims were looked at.")
                .without_effect("claims are woken by what they wait for"),
            flag("pv-recycler-pod-template-filepath-nfs", String, "", "The pod that recycles NFS volumes.")
                .without_effect(BUILT_IN_RECYCLER),
            flag("pv-recycler-minimum-timeout-nfs", Int, "300", "Seconds that it has at least."),
            flag("pv-recycler-increment-timeout-nfs", Int, "30", "Seconds for each GiB."),
            flag("pv-recycler-pod-template-filepath-hostpath", String, "", "The pod that recycles host path volumes.")
                .without_effect(BUILT_IN_RECYCLER),
            flag("pv-recycler-minimum-timeout-hostpath", Int, "60", "Seconds that it has at least."),
            flag("pv-recycler-timeout-increment-hostpath", Int, "30", "Seconds for each GiB."),
            flag(
                "enable-hostpath-provisioner",
                Bool,
                "false",
                "Provision host path volumes below /tmp of this machine, for clusters of one node.",
            ),
            flag("enable-dynamic-provisioning", Bool, "true", "Provision volumes on demand."),
            flag(
                "flex-volume-plugin-dir",
                String,
                "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
                "Where volume plugins are.",
            )
            .without_effect("volumes of FlexVolume drivers are not attached"),
        ],
    )
}

fn not_built() -> Group {
    Group::new(
        "Flags of controllers to come",
        [later(
            "concurrent-validating-admission-policy-status-syncs",
            Int,
            "5",
            "Admission policies worked on at the same time.",
        )],
    )
}

fn gone() -> Group {
    Group::new(
        "Removed flags",
        [
            retired("address", "use --bind-address"),
            retired("port", "use --secure-port"),
            retired("pod-eviction-timeout", "taints with tolerationSeconds decide when pods are evicted"),
            retired("enable-taint-manager", "taint based eviction is always on"),
            retired("deleting-pods-qps", "it has had no effect for many releases"),
            retired("deleting-pods-burst", "it has had no effect for many releases"),
            retired("register-retry-count", "it has had no effect for many releases"),
            retired("experimental-cluster-signing-duration", "use --cluster-signing-duration"),
            retired("horizontal-pod-autoscaler-use-rest-clients", "metrics always come from the metrics API"),
            retired("volume-host-cidr-denylist", "it was removed with the in-tree volume plugins"),
            retired("volume-host-allow-local-loopback", "it was removed with the in-tree volume plugins"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        flags::check_table(&flags());
    }

    /// The command lines of kubeadm, of the hard way's unit file and of k0s.
    #[test]
    fn known_command_lines_parse() {
        let lines = [
            "--allocate-node-cidrs=true --authentication-kubeconfig=/k/c.conf --authorization-kubeconfig=/k/c.conf \
             --bind-address=127.0.0.1 --client-ca-file=/k/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
             --cluster-signing-cert-file=/k/ca.crt --cluster-signing-key-file=/k/ca.key --controllers=*,bootstrapsigner,tokencleaner \
             --kubeconfig=/k/c.conf --leader-elect=true --requestheader-client-ca-file=/k/f.crt --root-ca-file=/k/ca.crt \
             --service-account-private-key-file=/k/sa.key --service-cluster-ip-range=10.96.0.0/12 --use-service-account-credentials=true",
            "--bind-address=0.0.0.0 --cluster-cidr=10.200.0.0/16 --cluster-name=kubernetes --cluster-signing-cert-file=/k/ca.crt \
             --cluster-signing-key-file=/k/ca.key --kubeconfig=/k/c.conf --root-ca-file=/k/ca.crt \
             --service-account-private-key-file=/k/sa.key --service-cluster-ip-range=10.32.0.0/24 --use-service-account-credentials=true --v=2",
            "--authentication-kubeconfig=/k/c --authorization-kubeconfig=/k/c --kubeconfig=/k/c --client-ca-file=/k/ca \
             --requestheader-client-ca-file=/k/f --root-ca-file=/k/ca --service-account-private-key-file=/k/sa \
             --cluster-signing-cert-file=/k/ca --cluster-signing-key-file=/k/key --service-cluster-ip-range=10.96.0.0/12 \
             --profiling=false --terminated-pod-gc-threshold=12500 --v=1 --bind-address=127.0.0.1 --leader-elect=false \
             --use-service-account-credentials=true --controllers=*,bootstrapsigner,tokencleaner --allocate-node-cidrs=true \
             --cluster-cidr=10.244.0.0/16 --feature-gates=RotateKubeletServerCertificate=true",
        ];
        for line in lines {
            assert!(flags().parse(line.split_whitespace()).is_ok(), "{line}");
        }
        let hint = flags().parse(["--address=0.0.0.0"]).unwrap_err().to_string();
        assert!(hint.contains("--bind-address"), "{hint}");
    }
}
