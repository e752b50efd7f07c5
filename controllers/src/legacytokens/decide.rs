//! Whether a legacy token is kept, marked or deleted.
//!
//! Pure. Days are compared as they are written, `2026-01-31`.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt;

use crate::common::map;
use crate::common::pod::Pod;
use crate::common::token_secrets::account_uid;

pub(super) const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";

pub(super) struct World<'a> {
    /// The one that the token names.
    pub(super) account: Option<&'a ServiceAccount>,
    /// Names of Secrets that pods of the namespace use.
    pub(super) mounted: &'a dyn Fn() -> HashSet<String>,
    pub(super) period: Duration,
    pub(super) tracked_since: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// From this day on.
    Invalidate(String),
    Delete,
}

/// The start of the day after; None for what is no day.
pub(super) fn day_after(day: &str) -> Option<Timestamp> {
    let next = day.parse::<Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

pub(super) fn verdict(secret: &Secret, world: &World<'_>, now: Timestamp) -> Verdict {
    let period = i64::try_from(world.period.as_secs()).unwrap_or(i64::MAX).seconds();
    let Ok(limit) = now.checked_sub(period) else { return Verdict::Keep };
    let young = secret.metadata.creation_timestamp.as_ref().is_none_or(|created| created.0 >= limit);
    if limit < world.tracked_since || young || secret.metadata.deletion_timestamp.is_some() {
        return Verdict::Keep;
    }
    let labels = map(&secret.metadata.labels);
    let used_late = |used: &String| used.parse::<Date>().is_err() || *used >= day(limit);
    if labels.get(LAST_USED).is_some_and(used_late) || !is_listed(secret, world.account) {
        return Verdict::Keep;
    }
    if (world.mounted)().contains(&secret.name_any()) {
        return Verdict::Keep;
    }
    match labels.get(INVALID_SINCE).filter(|since| since.parse::<Date>().is_ok()) {
        None => Verdict::Invalidate(day(now)),
        Some(since) if *since >= day(limit) => Verdict::Keep,
        Some(_) => Verdict::Delete,
    }
}

/// Whether the control plane made it: then its account lists it. Those that people made are theirs.
fn is_listed(secret: &Secret, account: Option<&ServiceAccount>) -> bool {
    let uid = account_uid(secret);
    let same = |account: &&ServiceAccount| uid.is_none() || uid == account.metadata.uid.as_deref();
    let name = secret.metadata.name.as_ref();
    account.filter(same).is_some_and(|a| a.secrets.iter().flatten().any(|s| s.name.as_ref() == name))
}

/// Names of all Secrets that the pod refers to.
pub(super) fn secrets_of(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut names: Vec<String> = spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()).collect();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        let sources = container.env_from.iter().flatten().filter_map(|e| e.secret_ref.as_ref());
        names.extend(sources.map(|s| s.name.clone()));
        let values = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()?.secret_key_ref.as_ref());
        names.extend(values.map(|s| s.name.clone()));
    }
    for volume in spec.volumes.iter().flatten() {
        names.extend(volume.secret.as_ref().and_then(|s| s.secret_name.clone()));
        let parts = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        names.extend(parts.filter_map(|p| p.secret.as_ref()).map(|s| s.name.clone()));
        let csi = volume.csi.as_ref().and_then(|c| c.node_publish_secret_ref.as_ref());
        names.extend(csi.map(|s| s.name.clone()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::token_secrets::{ACCOUNT_NAME, ACCOUNT_UID, TYPE};
    use serde_json::{Value, json};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_year_unused_then_invalid_then_gone() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "a", "uid": "u"}, "secrets": [{"name": "t"}]})).unwrap();
        let now = at("2026-06-15T12:00:00Z");
        let check = |labels: Value, created: &str, tracked: &str, mounted: bool, account: Option<&ServiceAccount>| {
            let secret: Secret =
                serde_json::from_value(json!({"type": TYPE, "metadata": {"name": "t", "labels": labels,
                "creationTimestamp": created, "annotations": {ACCOUNT_NAME: "a", ACCOUNT_UID: "u"}}}))
                .unwrap();
            let mounted = || if mounted { HashSet::from(["t".to_owned()]) } else { HashSet::new() };
            let period = Duration::from_secs(365 * 24 * 60 * 60);
            let tracked_since = day_after(tracked).unwrap();
            verdict(&secret, &World { account, mounted: &mounted, period, tracked_since }, now)
        };
        let (old, long, some) = ("2024-01-01T00:00:00Z", "2024-01-01", Some(&account));
        let used = |day: &str| json!({LAST_USED: day});
        let invalid = |day: &str| json!({INVALID_SINCE: day});
        assert_eq!(check(json!({}), old, long, false, some), Verdict::Invalidate("2026-06-15".into()));
        assert_eq!(check(json!({}), "2026-01-01T00:00:00Z", long, false, some), Verdict::Keep);
        assert_eq!(check(json!({}), old, "2025-06-15", false, some), Verdict::Keep, "not watched for long enough");
        assert_eq!(check(used("2025-06-15"), old, long, false, some), Verdict::Keep);
        assert_eq!(check(used("2025-06-14"), old, long, false, some), Verdict::Invalidate("2026-06-15".into()));
        assert_eq!(check(used("never"), old, long, false, some), Verdict::Keep);
        assert_eq!(check(json!({}), old, long, true, some), Verdict::Keep);
        assert_eq!(check(json!({}), old, long, false, None), Verdict::Keep, "somebody's own");
        assert_eq!(check(invalid("2025-06-15"), old, long, false, some), Verdict::Keep);
        assert_eq!(check(invalid("2025-06-14"), old, long, false, some), Verdict::Delete);
        assert_eq!(check(invalid("nonsense"), old, long, false, some), Verdict::Invalidate("2026-06-15".into()));
    }

    #[test]
    fn secrets_that_pods_use() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "from"}}]}],
            "containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "volume"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}]}}]}})).unwrap();
        assert_eq!(secrets_of(&pod), ["pull", "key", "from", "volume", "projected"]);
    }
}
