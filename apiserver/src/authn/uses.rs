//! Counts by which ServiceAccount tokens people come, and says of each what upstream's server says.
//!
//! Pure but for the series, which have upstream's names (`docs/metrics.md`).

use std::sync::LazyLock;

use component::metrics;
use prometheus::IntCounterVec;

use super::Remarks;
use super::tokens::Claims;

/// A kind of token, whose uses are counted.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// Of a Secret.
    Legacy,
    /// Of a Secret that people made.
    Manual,
    /// Of a Secret that the control plane made for the account.
    Automatic,
    /// The same, marked as invalid for want of use.
    Invalid,
    /// Bound, and of an age at which a client should have a newer one.
    Stale,
    Valid,
}

static SERIES: LazyLock<[IntCounterVec; 6]> = LazyLock::new(|| {
    let series = |name: &str, help| metrics::counter(&format!("serviceaccount_{name}"), help, &[]);
    [
        series("legacy_tokens_total", "Cumulative legacy service account tokens used"),
        series("legacy_manual_token_uses_total", "Cumulative manually created legacy tokens used"),
        series("legacy_auto_token_uses_total", "Cumulative auto-generated legacy tokens used"),
        series("invalid_legacy_auto_token_uses_total", "Cumulative invalid auto-generated legacy tokens used"),
        series("stale_tokens_total", "Cumulative stale projected service account tokens used"),
        series("valid_tokens_total", "Cumulative valid projected service account tokens used"),
    ]
});

pub(super) fn count(kind: Use) {
    SERIES[kind as usize].with_label_values::<&str>(&[]).inc();
}

/// Counts the use of a token that asked to be warned about.
pub(super) fn of_bound(claims: &Claims, now: i64) -> Remarks {
    let Some(warn_after) = claims.private.warnafter.filter(|at| *at != 0) else { return Remarks::default() };
    if now <= warn_after {
        count(Use::Valid);
        return Remarks::default();
    }
    count(Use::Stale);
    let told = format!("subject: {}, seconds after warning threshold: {}", claims.sub, now - warn_after);
    Remarks { warning: None, annotations: vec![("authentication.k8s.io/stale-token", told)] }
}
