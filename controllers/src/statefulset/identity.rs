//! Who a StatefulSet's pods are: ordinal, name, host name, labels, and the claims they use.
//!
//! Pure. Concepts: "StatefulSets", "Pod Identity".

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    self as api, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use kube::ResourceExt;

use crate::common::history::REVISION_LABEL;
use crate::common::map;
use crate::common::owner::controller_ref;
use crate::common::pod::Pod;
use crate::common::template::pod_from;

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// A pod's owner and ordinal as its name says them; None for other names, and for ordinals beyond 32 bits.
fn parent_and_ordinal(name: &str) -> Option<(&str, i32)> {
    let (parent, digits) = name.rsplit_once('-')?;
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten().map(|ordinal| (parent, ordinal))
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    ordinal_in(pod.metadata.name.as_deref()?)
}

pub(super) fn ordinal_in(pod_name: &str) -> Option<i32> {
    parent_and_ordinal(pod_name).map(|(_, ordinal)| ordinal)
}

/// Whether the pod has the name of one of the set's.
pub(super) fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    let parent = pod.metadata.name.as_deref().and_then(parent_and_ordinal).map(|(parent, _)| parent);
    parent.is_some() && parent == set.metadata.name.as_deref()
}

pub(super) fn spec(set: &StatefulSet) -> Option<&StatefulSetSpec> {
    set.spec.as_ref()
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    spec(set).and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn start(set: &StatefulSet) -> i32 {
    spec(set).and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0)
}

pub(super) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    (start(set)..start(set).saturating_add(replicas(set))).contains(&ordinal)
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The name of the revision that a pod says it is of; empty when it says none.
pub(super) fn revision_of(pod: &Pod) -> &str {
    map(&pod.metadata.labels).get(REVISION_LABEL).map(String::as_str).unwrap_or_default()
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    spec(set).and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default()
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The names of the claims that the pod of this ordinal uses.
pub(super) fn claim_names(set: &StatefulSet, ordinal: i32) -> Vec<String> {
    claim_templates(set).iter().map(|t| claim_name(set, t, ordinal)).collect()
}

/// The claims that the pod of this ordinal uses, ready to be created.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selected: BTreeMap<_, _> = spec(set).and_then(|s| s.selector.match_labels.clone()).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(set, template, ordinal));
        claim.metadata.namespace = set.namespace();
        claim.metadata.labels.get_or_insert_default().extend(selected.clone());
        claim
    };
    claim_templates(set).iter().map(claim).collect()
}

/// A new pod of this ordinal, out of a revision's template.
pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> api::Pod {
    let mut pod = pod_from(template, controller_ref(set));
    pod.metadata.name = Some(pod_name(set, ordinal));
    set_identity(set, &mut pod, ordinal);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = pod.metadata.name.clone();
    spec.subdomain = self::spec(set).and_then(|s| s.service_name.clone());
    set_storage(set, &mut pod, ordinal);
    pod.metadata.labels.get_or_insert_default().insert(REVISION_LABEL.into(), revision.into());
    pod
}

/// Whether the pod is labelled with its own name.
pub(super) fn identity_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let right_name = ordinal(pod).is_some_and(|o| pod.metadata.name.as_ref() == Some(&pod_name(set, o)));
    right_name && map(&pod.metadata.labels).get(NAME_LABEL) == pod.metadata.name.as_ref()
}

/// Labels that a pod has of its identity. Host name and subdomain are only set once: they cannot change.
pub(super) fn set_identity(set: &StatefulSet, pod: &mut api::Pod, ordinal: i32) {
    pod.metadata.namespace = set.namespace();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME_LABEL.into(), pod_name(set, ordinal));
    labels.insert(INDEX_LABEL.into(), ordinal.to_string());
}

pub(super) fn storage_matches(set: &StatefulSet, pod: &Pod) -> bool {
    let Some(ordinal) = ordinal(pod) else { return false };
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    claim_templates(set).iter().all(|template| {
        let name = template.name_any();
        let volume = volumes.iter().rfind(|v| v.name == name);
        let claimed = volume.and_then(|v| v.persistent_volume_claim.as_ref()).map(|c| &c.claim_name);
        claimed == Some(&claim_name(set, template, ordinal))
    })
}

/// The set's claims as volumes, in the place of the template's volumes of the same name.
pub(super) fn set_storage(set: &StatefulSet, pod: &mut api::Pod, ordinal: i32) {
    let claimed = |template: &PersistentVolumeClaim| Volume {
        name: template.name_any(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, template, ordinal),
            read_only: None,
        }),
        ..Default::default()
    };
    let mut volumes: Vec<Volume> = claim_templates(set).iter().map(claimed).collect();
    let spec = pod.spec.get_or_insert_default();
    let others = spec.volumes.take().unwrap_or_default();
    let own: Vec<String> = volumes.iter().map(|v| v.name.clone()).collect();
    volumes.extend(others.into_iter().filter(|v| !own.contains(&v.name)));
    spec.volumes = Some(volumes).filter(|v| !v.is_empty());
}
