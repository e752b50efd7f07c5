//! Flags of upstream's server whose feature is not built here: taken, named when given, without effect, or refused.

use component::flags::Kind::{Bool, Duration, Int, Map, String, Strings};
use component::flags::{Flag, Group, Kind, flag};

/// Name, kind, upstream's default and what it would do.
type Row = (&'static str, Kind, &'static str, &'static str);

const GENERIC: &[Row] = &[
    ("contention-profiling", Bool, "false", "Profile lock contention."),
    ("debug-socket-path", String, "", "A socket that serves profiles."),
    ("egress-selector-config-file", String, "", "How this server reaches kubelets and extension servers."),
    ("emulation-forward-compatible", Bool, "false", "Take APIs newer than the emulated version."),
    ("enable-logs-handler", Bool, "true", "Serve /logs."),
    ("runtime-config-emulation-forward-compatible", Bool, "false", "Serve APIs newer than the emulated version."),
    ("send-retry-after-while-not-ready-once", Bool, "false", "Answer 429 until the server is ready once."),
    ("shutdown-send-retry-after", Bool, "false", "Answer 429 while the server ends."),
    ("shutdown-watch-termination-grace-period", Duration, "0s", "How long watches may go on while the server ends."),
    ("storage-initialization-timeout", Duration, "1m0s", "How long the store may take to load."),
    ("tracing-config-file", String, "", "Where traces are sent."),
    ("coordinated-leadership-lease-duration", Duration, "15s", "Life of leases of coordinated elections."),
    ("coordinated-leadership-renew-deadline", Duration, "10s", "Deadline of renewals of coordinated elections."),
    ("coordinated-leadership-retry-period", Duration, "2s", "Pause between attempts of coordinated elections."),
    ("peer-advertise-ip", String, "", "The address that other servers reach this one by."),
    ("peer-advertise-port", String, "", "The port that other servers reach this one by."),
    ("peer-ca-file", String, "", "Authorities of other servers' certificates."),
    ("max-connection-bytes-per-sec", Int, "0", "Limit of a proxied connection."),
    ("encryption-provider-config-automatic-reload", Bool, "false", "Reload --encryption-provider-config."),
    ("default-watch-cache-size", Int, "100", "Events kept of each resource."),
    ("disabled-metrics", Strings, "", "Metrics to leave out."),
    ("allow-metric-labels", Map, "", "Values that metric labels may have."),
    ("allow-metric-labels-manifest", String, "", "A file of values that metric labels may have."),
    ("show-hidden-metrics-for-version", String, "", "The version whose hidden metrics to show."),
];

const IDENTITY: &[Row] = &[
    ("authentication-token-webhook-cache-ttl", Duration, "2m0s", "How long its answers are kept."),
    ("authentication-token-webhook-version", String, "v1beta1", "The version of the reviews."),
    ("oidc-ca-file", String, "", "Authority of the OpenID server."),
    ("oidc-client-id", String, "", "The client that tokens must be for."),
    ("oidc-groups-claim", String, "", "The claim with a user's groups."),
    ("oidc-groups-prefix", String, "", "The prefix of groups."),
    ("oidc-required-claim", Map, "", "Claims that a token must have."),
    ("oidc-signing-algs", Strings, "RS256", "Algorithms of signatures."),
    ("oidc-username-claim", String, "sub", "The claim with a user's name."),
    ("oidc-username-prefix", String, "", "The prefix of names."),
    ("authorization-webhook-cache-authorized-ttl", Duration, "5m0s", "How long allowances are kept."),
    ("authorization-webhook-cache-unauthorized-ttl", Duration, "30s", "How long refusals are kept."),
    ("authorization-webhook-version", String, "v1beta1", "The version of the reviews."),
];

/// Not built either, and too much hangs on them to go without: `crate::unbuilt` refuses them.
const REFUSED: &[&str] = &[
    "authentication-config",
    "authentication-token-webhook-config-file",
    "oidc-issuer-url",
    "service-account-signing-endpoint",
    "authorization-config",
    "authorization-policy-file",
    "authorization-webhook-config-file",
];

pub fn generic() -> Group {
    Group::new("Generic flags", without_effect(GENERIC, "this feature is not built yet").collect::<Vec<Flag>>())
}

pub fn identity() -> Group {
    let reason = "only certificates, static tokens and ServiceAccount tokens are taken; Node and RBAC decide";
    let refused = REFUSED.iter().map(|name| flag(name, String, "", "Not built: the server does not start with it."));
    Group::new("Authentication flags", without_effect(IDENTITY, reason).chain(refused).collect::<Vec<Flag>>())
}

fn without_effect(rows: &'static [Row], reason: &'static str) -> impl Iterator<Item = Flag> {
    rows.iter().map(move |(name, kind, default, help)| flag(name, *kind, default, help).without_effect(reason))
}
