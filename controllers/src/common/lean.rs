//! Which fields of a pod no controller reads.
//!
//! Enter by [`pod`]. Pure. A controller that wants to read another field takes it off the lists below, and adds it to
//! [`super::pod`] if it is one of the status.

use k8s_openapi::api::core::v1::{Affinity, Container, Pod, PodSpec, PodStatus, Volume};

/// Conditions that say nothing the phase does not, as long as the pod has not ended.
const PASSING: [&str; 4] = ["PodScheduled", "Initialized", "PodReadyToStartContainers", "ContainersReady"];

/// Drops what no controller reads.
pub(crate) fn pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.generate_name = None;
    shrink(&mut pod.metadata.owner_references);
    shrink(&mut pod.metadata.finalizers);
    if let Some(spec) = &mut pod.spec {
        trim_spec(spec);
    }
    if let Some(status) = &mut pod.status {
        trim_status(status, pod.metadata.deletion_timestamp.is_some());
    }
}

fn trim_spec(spec: &mut PodSpec) {
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(trim_container);
    spec.containers.shrink_to_fit();
    shrink(&mut spec.init_containers);
    retain(&mut spec.volumes, matters);
    shrink(&mut spec.tolerations);
    spec.affinity = spec
        .affinity
        .take()
        .filter(pins)
        .map(|affinity| Affinity { node_affinity: affinity.node_affinity, ..Affinity::default() });
    spec.dns_config = None;
    spec.dns_policy = None;
    spec.enable_service_links = None;
    spec.ephemeral_containers = None;
    spec.host_aliases = None;
    spec.preemption_policy = None;
    spec.scheduler_name = None;
    spec.security_context = None;
    spec.service_account = None;
    spec.topology_spread_constraints = None;
}

fn trim_container(container: &mut Container) {
    // Whose keys they are is asked of tokens in Secrets.
    retain(&mut container.env, |env| env.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some()));
    retain(&mut container.env_from, |from| from.secret_ref.is_some());
    container.args = None;
    container.command = None;
    container.image_pull_policy = None;
    container.lifecycle = None;
    container.liveness_probe = None;
    container.readiness_probe = None;
    container.resize_policy = None;
    container.security_context = None;
    container.startup_probe = None;
    container.termination_message_path = None;
    container.termination_message_policy = None;
    container.volume_devices = None;
    container.volume_mounts = None;
    container.working_dir = None;
    shrink(&mut container.ports);
}

/// Whether it may name the one node that the pod is for.
fn pins(affinity: &Affinity) -> bool {
    let node = affinity.node_affinity.as_ref();
    let required = node.and_then(|of| of.required_during_scheduling_ignored_during_execution.as_ref());
    required.into_iter().flat_map(|selector| &selector.node_selector_terms).any(|term| term.match_fields.is_some())
}

/// Volumes of claims and of Secrets, and those that are attached; the token that every pod has is neither.
fn matters(volume: &Volume) -> bool {
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.secret.is_some()
        || volume.csi.is_some()
        || volume.iscsi.is_some()
        || volume.fc.is_some()
        || projected.into_iter().any(|source| source.secret.is_some())
}

fn trim_status(status: &mut PodStatus, is_going: bool) {
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if !ended {
        retain(&mut status.conditions, |condition| !PASSING.contains(&condition.type_.as_str()));
    }
    let eventful = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        let over = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|state| state.terminated.is_some())
        };
        status.restart_count > 0 || over(&status.state) || over(&status.last_state)
    };
    if !is_going {
        status.ephemeral_container_statuses = None;
    }
    let all =
        [&mut status.container_statuses, &mut status.init_container_statuses, &mut status.ephemeral_container_statuses];
    for statuses in all {
        // All or none: who asks when the last one ended, or whether any runs, must not be told of some.
        if !ended && !is_going && !statuses.iter().flatten().any(eventful) {
            *statuses = None;
        }
        for status in statuses.iter_mut().flatten() {
            status.allocated_resources = None;
            status.allocated_resources_status = None;
            status.container_id = None;
            status.image = String::new();
            status.image_id = String::new();
            status.resources = None;
            status.user = None;
            status.volume_mounts = None;
        }
        shrink(statuses);
    }
    status.host_ips = None;
    status.qos_class = None;
    shrink(&mut status.pod_ips);
}

fn shrink<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

fn retain<T>(list: &mut Option<Vec<T>>, keep: impl Fn(&T) -> bool) {
    if let Some(items) = list {
        items.retain(keep);
        items.shrink_to_fit();
    }
    if list.as_ref().is_some_and(Vec::is_empty) {
        *list = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trimmed(value: serde_json::Value) -> serde_json::Value {
        let mut object = serde_json::from_value(value).unwrap();
        pod(&mut object);
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn what_controllers_read_stays() {
        let spec = json!({
            "nodeName": "n", "hostname": "h", "tolerations": [{"key": "k"}],
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}},
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        });
        let condition = json!({"type": "Ready", "status": "True"});
        let restarted = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 2});
        let status = json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [condition], "containerStatuses": [restarted]});
        let whole =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": status});
        assert_eq!(trimmed(whole.clone()), whole);
    }

    #[test]
    fn what_nobody_reads_goes() {
        let token = json!({"serviceAccountToken": {"path": "token"}});
        let got = trimmed(json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "c", "command": ["sleep"], "env": [{"name": "E", "value": "v"}],
                    "livenessProbe": {"exec": {"command": ["true"]}}, "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
                "volumes": [{"name": "t", "projected": {"sources": [token]}}, {"name": "e", "emptyDir": {}}],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "x", "ready": true, "restartCount": 0}]},
        }));
        assert_eq!(got["spec"], json!({"containers": [{"name": "c"}]}));
        assert_eq!(got["status"], json!({"phase": "Running"}));
    }

    #[test]
    fn of_a_pod_that_has_ended_it_stays_how() {
        let ended = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 3}}});
        let status = json!({"phase": "Failed", "conditions": [{"type": "ContainersReady", "status": "False"}],
            "containerStatuses": [ended]});
        let got = trimmed(json!({"metadata": {}, "spec": {"containers": []}, "status": status}));
        assert_eq!(got["status"], status);
    }
}
