//! Cleaning a volume for the next claim: a pod that empties it. Its state is read off the pod, so that a new start goes on
//! where an old one ended.
//!
//! Pure.

use k8s_openapi::api::core::v1::{self as api, PersistentVolume, Volume};
use kube::ResourceExt;
use serde_json::json;

use super::super::facts;
use crate::common::pod::Pod;
use crate::common::pods;

const PREFIX: &str = "recycler-for-";
pub(super) const NAMESPACE: &str = "default";
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRUB: &str = "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
const GIB: i64 = 1 << 30;

/// Seconds that a cleaning pod has: so many for each GiB, and at least the minimum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout {
    pub(crate) minimum_seconds: i64,
    pub(crate) increment_seconds: i64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Start(Box<api::Pod>),
    /// The pod works.
    Wait,
    Done,
    Failed(String),
    /// Nobody knows how to clean such a volume.
    Unknown,
}

pub(super) fn pod_name(volume: &str) -> String {
    format!("{PREFIX}{volume}")
}

/// The volume that the pod of this name cleans.
pub(super) fn volume_of(pod: &str) -> Option<&str> {
    pod.strip_prefix(PREFIX)
}

pub(super) fn step(volume: &PersistentVolume, pod: Option<&Pod>, host_path: Timeout, nfs: Timeout) -> Step {
    let spec = volume.spec.clone().unwrap_or_default();
    let name = "vol".to_owned();
    let (timeout, source) = match (spec.host_path, spec.nfs) {
        (Some(host_path_source), _) => {
            (host_path, Volume { name, host_path: Some(host_path_source), ..Default::default() })
        }
        (None, Some(source)) => (nfs, Volume { name, nfs: Some(source), ..Default::default() }),
        (None, None) => return Step::Unknown,
    };
    match pod {
        None => match cleaner(volume, timeout, &source) {
            Some(pod) => Step::Start(Box::new(pod)),
            None => Step::Unknown,
        },
        Some(pod) => match pods::phase(pod) {
            _ if pod.metadata.deletion_timestamp.is_some() => Step::Wait,
            "Succeeded" => Step::Done,
            "Failed" => {
                let message = pod.status.as_ref().and_then(|s| s.message.clone()).filter(|m| !m.is_empty());
                let why = message.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".into());
                Step::Failed(format!("Recycle failed: failed to recycle volume: {why}"))
            }
            _ => Step::Wait,
        },
    }
}

fn cleaner(volume: &PersistentVolume, timeout: Timeout, source: &Volume) -> Option<api::Pod> {
    let seconds = (facts::capacity(volume).value() / GIB * timeout.increment_seconds).max(timeout.minimum_seconds);
    let pod = json!({
        "metadata": {"name": pod_name(&volume.name_any()), "namespace": NAMESPACE},
        "spec": {
            "activeDeadlineSeconds": seconds,
            "restartPolicy": "Never",
            "volumes": [source],
            "containers": [{"name": "pv-recycler", "image": IMAGE, "command": ["/bin/sh"], "args": ["-c", SCRUB],
                "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}]}],
        },
    });
    serde_json::from_value(pod).ok()
}
