//! The groups of flags that several components share, with upstream's defaults.

use super::{Group, Kind::*, flag};

const TEXT_ONLY: &str = "klog's file handling was removed upstream; logs go to standard error";

/// Upstream's global flags. Every table answers them without naming them; included, they show in `--help`.
pub fn global() -> Group {
    Group::new(GLOBAL, [])
}

pub(super) const GLOBAL: &str = "Global flags";

/// Logging flags of k8s.io/component-base.
pub fn logging() -> Group {
    Group::new(
        "Logs flags",
        [
            flag("logging-format", String, "text", "The log format: \"text\" or \"json\"."),
            flag("log-flush-frequency", Duration, "5s", "The longest time between log flushes.")
                .without_effect("logs are written at once"),
            flag("v", Int, "0", "The number of the log level verbosity.").short('v'),
            flag("vmodule", Map, "", "Log levels per source file: pattern=N, comma-separated (text format only).")
                .without_effect("levels are set for the whole program with --v"),
            flag(
                "log-text-split-stream",
                Bool,
                "false",
                "Write error messages to standard error and others to standard output.",
            )
            .without_effect(TEXT_ONLY),
            flag("log-text-info-buffer-size", String, "0", "Buffer for info messages when the streams are split.")
                .without_effect(TEXT_ONLY),
            flag(
                "log-json-split-stream",
                Bool,
                "false",
                "Write error messages to standard error and others to standard output.",
            )
            .without_effect(TEXT_ONLY),
            flag("log-json-info-buffer-size", String, "0", "Buffer for info messages when the streams are split.")
                .without_effect(TEXT_ONLY),
        ],
    )
}

/// How a component reaches the API server. See [`crate::client::ClientConfig::from_flags`].
pub fn client() -> Group {
    Group::new(
        "Misc flags",
        [
            flag(
                "kubeconfig",
                String,
                "",
                "Path to the kubeconfig file with the API server's address and credentials.",
            ),
            flag("master", String, "", "The address of the API server (overrides any value in the kubeconfig)."),
            flag(
                "kube-api-content-type",
                String,
                "application/json",
                "Content type of requests sent to the API server.",
            )
            .without_effect("requests are always JSON"),
            flag(
                "kube-api-qps",
                Float,
                "0",
                "Requests a second to the API server; 0 is without limit, the server being fair.",
            ),
            flag("kube-api-burst", Int, "0", "Requests to the API server that may exceed the rate for a moment."),
        ],
    )
}

/// Leader election by Lease. See [`crate::leader::Settings::from_flags`].
pub fn leader_election() -> Group {
    Group::new(
        "Leader election flags",
        [
            flag(
                "leader-elect",
                Bool,
                "true",
                "Hold an election before working, so that several replicas can stand by.",
            ),
            flag(
                "leader-elect-lease-duration",
                Duration,
                "15s",
                "How long others wait after the last renewal before they try to lead.",
            ),
            flag(
                "leader-elect-renew-deadline",
                Duration,
                "10s",
                "How long the leader tries to renew before it gives up leading.",
            ),
            flag("leader-elect-retry-period", Duration, "2s", "How long to wait between tries."),
            flag("leader-elect-resource-lock", String, "leases", "The kind of object that is held; only \"leases\"."),
            flag("leader-elect-resource-name", String, "", "The name of the object that is held."),
            flag("leader-elect-resource-namespace", String, "kube-system", "The namespace of the object that is held."),
        ],
    )
}

/// The secure port, its certificate and who may ask: upstream's secure serving and delegated groups.
/// `port` is the component's own, such as "10259".
pub fn secure_serving(port: &'static str) -> [Group; 3] {
    [serving(port), delegated_authentication(), delegated_authorization()]
}

/// The secure port and its certificate.
pub fn serving(port: &'static str) -> Group {
    Group::new(
        "Secure serving flags",
        [
            flag("bind-address", Ip, "0.0.0.0", "The address on which to serve the secure port."),
            flag(
                "secure-port",
                Int,
                port,
                "The port on which to serve HTTPS with authentication and authorization; 0 is not at all.",
            ),
            flag(
                "cert-dir",
                String,
                "",
                "The folder of the serving certificate; ignored when --tls-cert-file is given.",
            ),
            flag(
                "tls-cert-file",
                String,
                "",
                "The serving certificate, with its chain. Without it a self-signed one is made.",
            ),
            flag("tls-private-key-file", String, "", "The key of --tls-cert-file."),
            flag("tls-cipher-suites", Strings, "", "Cipher suites to offer.")
                .without_effect("rustls offers only safe suites"),
            flag("tls-min-version", String, "", "The least TLS version: VersionTLS12 or VersionTLS13."),
            flag("tls-sni-cert-key", StringArray, "", "Further certificates by server name.")
                .without_effect("one serving certificate is enough for this port"),
            flag("tls-curve-preferences", Strings, "", "Key exchange mechanisms to offer.")
                .without_effect("rustls offers only safe mechanisms"),
            flag("permit-address-sharing", Bool, "false", "Listen with SO_REUSEADDR.")
                .without_effect("listeners always have SO_REUSEADDR"),
            flag("permit-port-sharing", Bool, "false", "Listen with SO_REUSEPORT.")
                .without_effect("one process serves a port"),
            flag(
                "http2-max-streams-per-connection",
                Int,
                "0",
                "Streams a client may open on one connection; 0 is the server's own number.",
            )
            .without_effect("the server's own number is used"),
            flag("disable-http2-serving", Bool, "false", "Serve HTTP/1.1 only.")
                .without_effect("the client chooses by ALPN"),
        ],
    )
}

fn delegated_authentication() -> Group {
    Group::new(
        "Authentication flags",
        [
            flag(
                "authentication-kubeconfig",
                String,
                "",
                "The kubeconfig used to ask the API server who a token belongs to.",
            ),
            flag(
                "authentication-skip-lookup",
                Bool,
                "false",
                "Do not look up missing authentication settings in the cluster.",
            ),
            flag("authentication-token-webhook-cache-ttl", Duration, "10s", "How long answers about tokens are kept."),
            flag(
                "authentication-tolerate-lookup-failure",
                Bool,
                "false",
                "Go on when the settings cannot be looked up; requests may then be anonymous.",
            )
            .without_effect("the lookup goes on beside the work and never keeps it from starting"),
            flag("client-ca-file", String, "", "The authorities whose client certificates are taken."),
            flag("requestheader-client-ca-file", String, "", "The authority of front proxies.")
                .without_effect(NO_PROXY),
            flag("requestheader-allowed-names", Strings, "", "Common names of front proxies.").without_effect(NO_PROXY),
            flag("requestheader-username-headers", Strings, "x-remote-user", "Headers with the user's name.")
                .without_effect(NO_PROXY),
            flag("requestheader-uid-headers", Strings, "x-remote-uid", "Headers with the user's UID.")
                .without_effect(NO_PROXY),
            flag("requestheader-group-headers", Strings, "x-remote-group", "Headers with groups.")
                .without_effect(NO_PROXY),
            flag("requestheader-extra-headers-prefix", Strings, "x-remote-extra-", "Prefixes of further headers.")
                .without_effect(NO_PROXY),
        ],
    )
}

fn delegated_authorization() -> Group {
    Group::new(
        "Authorization flags",
        [
            flag("authorization-kubeconfig", String, "", "The kubeconfig used to ask the API server who may do what."),
            flag(
                "authorization-always-allow-paths",
                Strings,
                "/healthz,/readyz,/livez",
                "Paths that everybody may read.",
            ),
            flag("authorization-webhook-cache-authorized-ttl", Duration, "10s", "How long a yes is kept."),
            flag("authorization-webhook-cache-unauthorized-ttl", Duration, "10s", "How long a no is kept."),
        ],
    )
}

const NO_PROXY: &str = "no front proxy stands before this port";
