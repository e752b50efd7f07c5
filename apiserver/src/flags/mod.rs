//! The flags of kube-apiserver: upstream's names, defaults and groups.

mod auditing;
mod later;

use component::flags::Kind::{Bool, Duration, Int, Ip, Map, String, Strings};
use component::flags::{FlagSet, Group, flag, retired, serving};

pub fn flags() -> FlagSet {
    FlagSet::new(
        "kube-apiserver",
        "The API server validates and stores the objects of the cluster, and is the one place through which all other parts meet.",
    )
    .group(
        "Generic flags",
        [
            flag("advertise-address", Ip, "", "The address that members of the cluster reach this server by. Without it --bind-address, and when that is unspecified the machine's own address."),
            flag("enable-priority-and-fairness", Bool, "true", "Sort requests by FlowSchemas and let them wait by priority. Without it only the numbers of requests in flight are limited."),
            flag("external-hostname", String, "", "The host name in generated URLs, of the token keys for one."),
            flag("feature-gates", Map, "", "Features: name=true or name=false. APIServerIdentity, HPAScaleToZero and MaxUnavailableStatefulSet can be switched; all others are as upstream's defaults, and the server does not start where they should not be."),
            flag("goaway-chance", component::flags::Kind::Float, "0", "How likely a request over HTTP/2 is the last one of its connection, so that clients spread over several servers; 0 is never, 0.02 the most."),
            flag("livez-grace-period", Duration, "0s", "How long start may take before /livez minds."),
            flag("max-mutating-requests-inflight", Int, "200", "Writes in flight. With priority and fairness this and --max-requests-inflight add up to the seats of all levels; without it 0 is no limit, and one user holds at most three quarters."),
            flag("max-requests-inflight", Int, "400", "Reads in flight; see --max-mutating-requests-inflight."),
            flag("min-request-timeout", Int, "1800", "Least seconds of a watch that names none; each lasts up to twice as long."),
            flag("request-timeout", Duration, "1m0s", "How long a request may take that is no watch and no stream."),
            flag("runtime-config", Strings, "", "APIs to switch on or off: group/version=false, group/version/resource=false, or all of a kind by api/all, api/ga, api/beta, api/alpha. Versions that are beta or alpha are not built."),
            flag("shutdown-delay-duration", Duration, "0s", "Time to go on serving after SIGTERM, not ready any more."),
            flag("storage-backend", String, "etcd3", "Where objects are kept: etcd3, or embedded (with --data-dir)."),
            flag("data-dir", String, "", "The folder of the embedded store (Skiff's own flag)."),
            flag("emulated-version", Strings, "", "Version to emulate.").without_effect("only this version"),
        ],
    )
    .include(serving("6443").with_default("cert-dir", "/var/run/kubernetes"))
    .group(
        "Insecure serving flags",
        [
            flag("insecure-port", Int, "0", "A port without TLS, authentication and authorization; 0 is none. Refused unless --authorization-mode=AlwaysAllow."),
            flag("insecure-bind-address", Ip, "127.0.0.1", "The address of --insecure-port."),
            retired("address", "use --bind-address for the secure port, or --insecure-bind-address"),
            retired("port", "use --secure-port, or --insecure-port"),
        ],
    )
    .group("Etcd flags", etcd())
    .group(
        "Authentication flags",
        [
            flag("anonymous-auth", Bool, "true", "Take requests without credentials as system:anonymous. Off when the authorization mode is AlwaysAllow."),
            flag("client-ca-file", String, "", "Authorities whose client certificates are taken."),
            flag("token-auth-file", String, "", "Static bearer tokens: token,user,uid,\"groups\" a line."),
            flag("enable-bootstrap-token-auth", Bool, "false", "Take bootstrap tokens: Secrets of type bootstrap.kubernetes.io/token in kube-system."),
            flag("service-account-issuer", Strings, "", "Who tokens say has issued them; the first issues, all are taken."),
            flag("service-account-key-file", component::flags::Kind::StringArray, "", "Keys that verify ServiceAccount tokens."),
            flag("service-account-signing-key-file", String, "", "The key that signs ServiceAccount tokens."),
            flag("service-account-lookup", Bool, "true", "Check that a token's account still exists.").without_effect("always checked"),
            flag("service-account-max-token-expiration", Duration, "0s", "Longest life of a token that is asked for; 0s is no limit."),
            flag("service-account-extend-token-expiration", Bool, "true", "Let tokens of pods go on for a year with a warning, for clients that do not read them anew."),
            flag("service-account-jwks-uri", String, "", "Where the token keys are published; this server when not given."),
            flag("api-audiences", Strings, "", "Audiences of this server; the issuers when not given."),
            flag("requestheader-client-ca-file", String, "", "The authority of front proxies."),
            flag("requestheader-allowed-names", Strings, "", "Names of front proxies."),
            flag("requestheader-extra-headers-prefix", Strings, "", "Headers with a user's extra."),
            flag("requestheader-group-headers", Strings, "", "Headers with a user's groups."),
            flag("requestheader-uid-headers", Strings, "", "Headers with a user's uid."),
            flag("requestheader-username-headers", Strings, "", "Headers with a user's name."),
            flag("proxy-client-cert-file", String, "", "This server's certificate towards extension servers."),
            flag("proxy-client-key-file", String, "", "The key of --proxy-client-cert-file."),
        ],
    )
    .group(
        "Authorization flags",
        [
            flag("authorization-mode", Strings, "", "Who decides, in order: AlwaysAllow, AlwaysDeny, Node, RBAC. AlwaysAllow when not given."),
        ],
    )
    .group(
        "Admission flags",
        [
            flag("enable-admission-plugins", Strings, "", "Admission plug-ins besides the default ones."),
            flag("disable-admission-plugins", Strings, "", "Admission plug-ins to leave out."),
            flag("default-not-ready-toleration-seconds", Int, "300", "How long pods stay on a node that is not ready."),
            flag("default-unreachable-toleration-seconds", Int, "300", "How long pods stay on a node that is not reachable."),
            flag("admission-control-config-file", String, "", "An AdmissionConfiguration; EventRateLimit, PodNodeSelector, PodSecurity and PodTolerationRestriction take one."),
        ],
    )
    .include(browsers())
    .include(later::generic())
    .include(later::identity())
    .include(auditing::group())
    .group(
        "Misc flags",
        [
            flag("allow-privileged", Bool, "false", "Allow privileged containers."),
            flag("apiserver-count", Int, "1", "Number of servers.").without_effect("servers find each other by lease"),
            flag("endpoint-reconciler-type", String, "lease", "How the kubernetes endpoints are kept.").without_effect("always lease"),
            flag("encryption-provider-config", String, "", "Encryption at rest. Only the provider identity is built: the server does not start with another."),
            flag("event-ttl", Duration, "1h0m0s", "How long events are kept; 0s is for ever."),
            flag("kubelet-certificate-authority", String, "", "Authorities of kubelets' serving certificates."),
            flag("kubelet-client-certificate", String, "", "This server's certificate towards kubelets."),
            flag("kubelet-client-key", String, "", "The key of --kubelet-client-certificate."),
            flag("kubelet-preferred-address-types", Strings, "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP", "Which address of a node to take."),
            flag("kubelet-timeout", Duration, "5s", "How long a kubelet may take to answer.").without_effect("streams have no limit"),
            flag("kubernetes-service-node-port", Int, "0", "Node port of the kubernetes Service.").without_effect("it is a ClusterIP"),
            flag("service-cluster-ip-range", String, "10.0.0.0/24", "Addresses of Services: one CIDR, or one a family."),
            flag("service-node-port-range", String, "30000-32767", "Ports of Services of type NodePort."),
            flag("profiling", Bool, "true", "Serve profiles. There are none to serve, so that false is all that can be had."),
            flag("watch-cache", Bool, "true", "Cache what is watched.").without_effect("the cache is part of the design"),
            flag("watch-cache-sizes", Strings, "", "Cache sizes.").without_effect("the cache is bounded by bytes"),
        ],
    )
    .include(aggregation())
    .include(component::flags::logging())
    .include(component::flags::global())
}

fn browsers() -> Group {
    Group::new(
        "Generic flags",
        vec![
            flag(
                "cors-allowed-origins",
                Strings,
                "",
                "Regular expressions of the origins whose pages may read answers; each must pin the host, as in //www\\.example\\.com(:|$).",
            ),
            flag("strict-transport-security-directives", Strings, "", "Directives of the HSTS header."),
        ],
    )
}

fn aggregation() -> Group {
    Group::new(
        "Misc flags",
        vec![
            flag("aggregator-reject-forwarding-redirect", Bool, "true", "Refuse redirects of extension servers."),
            flag("enable-aggregator-routing", Bool, "false", "Route to endpoints of extension servers."),
        ],
    )
}

fn etcd() -> Vec<component::flags::Flag> {
    vec![
        flag("etcd-servers", Strings, "", "URLs of the etcd servers."),
        flag("etcd-cafile", String, "", "Authorities of the etcd servers' certificates."),
        flag("etcd-certfile", String, "", "This server's certificate towards etcd."),
        flag("etcd-keyfile", String, "", "The key of --etcd-certfile."),
        flag("etcd-prefix", String, "/registry", "The prefix of all keys."),
        flag("etcd-compaction-interval", Duration, "5m0s", "How often history is compacted."),
        flag("etcd-count-metric-poll-period", Duration, "1m0s", "How often objects are counted.")
            .without_effect("counts come from the cache"),
        flag("etcd-db-metric-poll-interval", Duration, "30s", "How often the store's size is read.")
            .without_effect("not measured"),
        flag(
            "etcd-healthcheck-timeout",
            Duration,
            "2s",
            "Deadline of the store's health check; the longer of this and --etcd-readycheck-timeout.",
        ),
        flag("etcd-readycheck-timeout", Duration, "2s", "See --etcd-healthcheck-timeout."),
        flag("etcd-servers-overrides", Strings, "", "etcd servers by resource.").without_effect("one store holds all"),
        flag(
            "storage-media-type",
            String,
            "application/vnd.kubernetes.protobuf",
            "Encoding of stored objects: this, or application/json. Both are read. JSON on the embedded store unless given.",
        ),
        flag("delete-collection-workers", Int, "1", "How many objects of a deletecollection are deleted at a time."),
        flag("enable-garbage-collector", Bool, "true", "Whether the controller manager collects garbage.")
            .without_effect("orphans are marked by the request"),
        flag("lease-reuse-duration-seconds", Int, "60", "How long an etcd lease is shared.")
            .without_effect("leases are shared by their length"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_works_or_says_that_it_does_not() {
        component::flags::check_table(&flags());
    }

    /// The command lines of kubeadm, of the hard way's unit file and of k0s.
    const LINES: [&str; 3] = [
        "--advertise-address=192.0.2.1 --allow-privileged=true --authorization-mode=Node,RBAC --client-ca-file=/k/ca.crt \
         --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true --etcd-cafile=/k/etcd/ca.crt \
         --etcd-certfile=/k/e.crt --etcd-keyfile=/k/e.key --etcd-servers=https://127.0.0.1:2379 \
         --kubelet-client-certificate=/k/kc.crt --kubelet-client-key=/k/kc.key \
         --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname --proxy-client-cert-file=/k/f.crt \
         --proxy-client-key-file=/k/f.key --requestheader-allowed-names=front-proxy-client \
         --requestheader-client-ca-file=/k/f-ca.crt --requestheader-extra-headers-prefix=X-Remote-Extra- \
         --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User --secure-port=6443 \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=/k/sa.pub \
         --service-account-signing-key-file=/k/sa.key --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file=/k/a.crt \
         --tls-private-key-file=/k/a.key",
        "--allow-privileged=true --audit-log-maxage=30 --audit-log-maxbackup=3 --audit-log-maxsize=100 \
         --audit-log-path=/var/log/audit.log --authorization-mode=Node,RBAC --bind-address=0.0.0.0 --client-ca-file=/k/ca.crt \
         --enable-admission-plugins=NamespaceLifecycle,NodeRestriction,LimitRanger,ServiceAccount,DefaultStorageClass,ResourceQuota \
         --etcd-servers=http://127.0.0.1:2379 --event-ttl=1h \
         --kubelet-certificate-authority=/k/ca.crt --kubelet-client-certificate=/k/a.crt --kubelet-client-key=/k/a.key \
         --runtime-config=api/all=true --service-account-key-file=/k/sa.crt --service-account-signing-key-file=/k/sa.key \
         --service-account-issuer=https://server.kubernetes.local:6443 --service-node-port-range=30000-32767 \
         --tls-cert-file=/k/a.crt --tls-private-key-file=/k/a.key --v=2",
        "--advertise-address=192.0.2.1 --secure-port=6443 --authorization-mode=Node,RBAC --client-ca-file=/k/ca.crt \
         --enable-bootstrap-token-auth=true --kubelet-client-certificate=/k/c.crt --kubelet-client-key=/k/c.key \
         --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname --proxy-client-cert-file=/k/f.crt \
         --proxy-client-key-file=/k/f.key --requestheader-allowed-names=front-proxy-client --requestheader-client-ca-file=/k/f \
         --service-account-key-file=/k/sa.pub --service-cluster-ip-range=10.96.0.0/12 --tls-min-version=VersionTLS12 \
         --tls-cert-file=/k/s.crt --tls-private-key-file=/k/s.key --service-account-signing-key-file=/k/sa.key \
         --service-account-issuer=https://kubernetes.default.svc --service-account-jwks-uri=https://kubernetes.default.svc/openid/v1/jwks \
         --profiling=false --v=1 --kubelet-certificate-authority=/k/ca.crt --enable-admission-plugins=NodeRestriction \
         --allow-privileged=true --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
         --requestheader-username-headers=X-Remote-User --api-audiences=https://kubernetes.default.svc \
         --egress-selector-config-file=/k/konnectivity.conf --anonymous-auth=true --feature-gates=SidecarContainers=true \
         --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 --etcd-servers=https://127.0.0.1:2379 --etcd-cafile=/k/e \
         --etcd-certfile=/k/e.crt --etcd-keyfile=/k/e.key --kubelet-timeout=5s",
    ];

    #[test]
    fn known_command_lines_are_good_options() {
        for line in LINES {
            let values = flags().parse(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}: {line}"));
            if let Err(error) = crate::Options::from_flags(&values) {
                panic!("{error}: {line}");
            }
        }
        let hint = flags().parse(["--port=8080"]).unwrap_err().to_string();
        assert!(hint.contains("--secure-port"), "{hint}");
    }

    #[test]
    fn defaults_are_upstreams() {
        let values = flags().parse(Vec::<&str>::new()).expect("no flags are flags");
        assert_eq!((values.int("secure-port"), values.str("etcd-prefix")), (6443, "/registry"));
        assert_eq!(values.int("audit-webhook-batch-max-size"), 400);
    }
}
