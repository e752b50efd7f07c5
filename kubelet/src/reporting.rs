//! Events about pods, their containers and the node, with the references that upstream's kubelet gives them.

use component::recorder::{Recorder, Type};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use crate::pod::spec::{self, Role};

/// Tells events. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Reporter {
    recorder: Recorder,
    node_name: String,
}

impl Reporter {
    pub fn new(recorder: Recorder, node_name: impl Into<String>) -> Self {
        Self { recorder, node_name: node_name.into() }
    }

    pub fn pod(&self, pod: &Pod, kind: Type, reason: &str, message: impl Into<String>) {
        self.recorder.event_about(&reference(pod, None), kind, reason, message);
    }

    /// About one container of the pod: the reference has `fieldPath: spec.containers{name}`. Without a name it is about
    /// the pod.
    pub fn container(&self, pod: &Pod, name: &str, kind: Type, reason: &str, message: impl Into<String>) {
        if name.is_empty() {
            return self.pod(pod, kind, reason, message);
        }
        let list = match spec::find_container(pod, name) {
            Some((Role::Init | Role::Sidecar, _)) => "initContainers",
            Some((Role::Ephemeral, _)) => "ephemeralContainers",
            _ => "containers",
        };
        let path = format!("spec.{list}{{{name}}}");
        self.recorder.event_about(&reference(pod, Some(path)), kind, reason, message);
    }

    pub fn node(&self, kind: Type, reason: &str, message: impl Into<String>) {
        let regarding = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            // Upstream puts the name here, and kubectl describe finds a node's events by it.
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event_about(&regarding, kind, reason, message);
    }
}

fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    // The events of a static pod belong to its mirror, which has another UID.
    let mirror_uid = spec::annotation(pod, spec::CONFIG_HASH).filter(|_| spec::is_static(pod));
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: mirror_uid.map(str::to_owned).or_else(|| pod.metadata.uid.clone()),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}
