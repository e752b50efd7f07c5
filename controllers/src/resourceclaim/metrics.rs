//! The ResourceClaim controller's series, by upstream's names.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use component::metrics;
use k8s_openapi::api::resource::v1::ResourceClaim;
use prometheus::{IntCounterVec, IntGaugeVec};

use super::plan::{POD_CLAIM, is_allocated};
use crate::common::map;

static CREATES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of ResourceClaims creation requests, categorized by creation status and admin access";
    metrics::counter("resourceclaim_controller_creates_total", help, &["status", "admin_access"])
});

static CLAIMS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of ResourceClaims, categorized by allocation status, admin access, and source.";
    metrics::int_gauge("resourceclaim_controller_resource_claims", help, &["allocated", "admin_access", "source"])
});

fn for_admins(claim: &ResourceClaim) -> bool {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    requests.filter_map(|request| request.exactly.as_ref()).any(|exact| exact.admin_access == Some(true))
}

fn source(claim: &ResourceClaim) -> &'static str {
    let annotations = map(&claim.metadata.annotations);
    if annotations.contains_key(POD_CLAIM) {
        "resource_claim_template"
    } else if annotations.contains_key("resource.kubernetes.io/extended-resource-claim") {
        "extended_resource"
    } else {
        ""
    }
}

pub(super) fn created(claim: &ResourceClaim, succeeded: bool) {
    let status = if succeeded { "success" } else { "failure" };
    CREATES.with_label_values(&[status, word(for_admins(claim))]).inc();
}

pub(super) fn count(claims: &[Arc<ResourceClaim>]) {
    let mut counts: HashMap<[&str; 3], i64> = HashMap::new();
    for claim in claims {
        *counts.entry([word(is_allocated(claim)), word(for_admins(claim)), source(claim)]).or_default() += 1;
    }
    CLAIMS.reset();
    counts.iter().for_each(|(labels, count)| CLAIMS.with_label_values(labels).set(*count));
}

fn word(holds: bool) -> &'static str {
    if holds { "true" } else { "false" }
}
