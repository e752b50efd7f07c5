//! What several controllers share: ownership, pod facts, expectations, pod templates, revision history, errors.
//!
//! Enter by the module that has the concept's name. Nothing here knows a particular controller.

pub(crate) mod batch;
pub(crate) mod claim;
pub(crate) mod departures;
pub(crate) mod device_claims;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod expectations;
pub(crate) mod go_text;
pub(crate) mod history;
pub(crate) mod jobs;
pub(crate) mod lean;
pub(crate) mod nodes;
pub(crate) mod owner;
pub(crate) mod pod;
pub(crate) mod pod_control;
pub(crate) mod pod_status;
pub(crate) mod pods;
pub(crate) mod ranges;
pub(crate) mod ranking;
pub(crate) mod root_ca;
pub(crate) mod scaled;
pub(crate) mod service;
pub(crate) mod slice_tracker;
pub(crate) mod subsets;
pub(crate) mod template;
pub(crate) mod token_secrets;
pub(crate) mod trigger_times;
pub(crate) mod written;

use std::collections::BTreeMap;

/// Labels or annotations of an object, the empty map when it has none.
pub(crate) fn map(labels: &Option<BTreeMap<String, String>>) -> &BTreeMap<String, String> {
    static EMPTY: BTreeMap<String, String> = BTreeMap::new();
    labels.as_ref().unwrap_or(&EMPTY)
}

/// A count as Kubernetes writes it: zero is left out.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// `now` as the API stores a `metav1.Time`: whole seconds.
pub(crate) fn seconds(now: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// `now` as a `metav1.Time`.
pub(crate) fn time(now: jiff::Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(seconds(now))
}

/// Whether things may still be put into a namespace.
pub(crate) fn is_active_namespace(namespace: &k8s_openapi::api::core::v1::Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}
