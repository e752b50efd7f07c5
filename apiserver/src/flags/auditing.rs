//! The flags of the audit log and the audit webhook.

use component::flags::Kind::{Bool, Duration, Float, Int, String};
use component::flags::{Flag, Group, flag};

pub fn group() -> Group {
    let policy = flag("audit-policy-file", String, "", "The Policy that says what is written of which request.");
    Group::new("Auditing flags", [vec![policy], log(), webhook()].concat())
}

fn log() -> Vec<Flag> {
    vec![
        flag("audit-log-path", String, "", "The file that audit events are written to; - is the standard output."),
        flag("audit-log-maxage", Int, "366", "Days that old files are kept; 0 is without limit."),
        flag("audit-log-maxbackup", Int, "100", "How many old files are kept; 0 is without limit."),
        flag("audit-log-maxsize", Int, "100", "Megabytes of a file; 0 is without limit."),
        flag(
            "audit-log-mode",
            String,
            "blocking",
            "batch, blocking (a request waits for its events), or blocking-strict (what cannot be written is refused).",
        ),
        flag("audit-log-format", String, "json", "json, or legacy: a line of text."),
        flag("audit-log-version", String, "audit.k8s.io/v1", "The version of written events."),
        flag("audit-log-compress", Bool, "false", "Compress old files."),
        flag("audit-log-batch-buffer-size", Int, "10000", "Events that wait; more are lost."),
        flag("audit-log-batch-max-size", Int, "1", "Events of a batch."),
        flag("audit-log-batch-max-wait", Duration, "0s", "How long a batch waits for more."),
        flag("audit-log-batch-throttle-burst", Int, "0", "Batches at once."),
        flag("audit-log-batch-throttle-enable", Bool, "false", "Limit batches."),
        flag("audit-log-batch-throttle-qps", Float, "0", "Batches a second."),
        flag("audit-log-truncate-enabled", Bool, "false", "Leave the objects out of large events."),
        flag("audit-log-truncate-max-batch-size", Int, "10485760", "Bytes of a batch; here no less than an event."),
        flag(
            "audit-log-truncate-max-event-size",
            Int,
            "102400",
            "Bytes of an event; one that is larger still is lost.",
        ),
    ]
}

fn webhook() -> Vec<Flag> {
    vec![
        flag("audit-webhook-config-file", String, "", "A kubeconfig that says whom events are sent to."),
        flag("audit-webhook-initial-backoff", Duration, "10s", "Pause before the first retry."),
        flag("audit-webhook-batch-initial-backoff", Duration, "10s", "Pause before the first retry.")
            .deprecated("use --audit-webhook-initial-backoff"),
        flag("audit-webhook-version", String, "audit.k8s.io/v1", "The version of sent events."),
        flag(
            "audit-webhook-mode",
            String,
            "batch",
            "batch, blocking (a request waits for its events), or blocking-strict (what cannot be sent is refused).",
        ),
        flag("audit-webhook-batch-buffer-size", Int, "10000", "Events that wait; more are lost."),
        flag("audit-webhook-batch-max-size", Int, "400", "Events of a batch."),
        flag("audit-webhook-batch-max-wait", Duration, "30s", "How long a batch waits for more."),
        flag("audit-webhook-batch-throttle-burst", Int, "15", "Batches at once."),
        flag("audit-webhook-batch-throttle-enable", Bool, "true", "Limit batches."),
        flag("audit-webhook-batch-throttle-qps", Float, "10", "Batches a second."),
        flag("audit-webhook-truncate-enabled", Bool, "false", "Leave the objects out of large events."),
        flag("audit-webhook-truncate-max-batch-size", Int, "10485760", "Bytes of a batch."),
        flag(
            "audit-webhook-truncate-max-event-size",
            Int,
            "102400",
            "Bytes of an event; one that is larger still is lost.",
        ),
    ]
}
