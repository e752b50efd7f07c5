//! The pods that a Job makes from its template.
//!
//! Pure. Concepts: "Jobs", "Completion mode": an index is told by annotation, label, host name and environment.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{self as api, Container, EnvVar, EnvVarSource, ObjectFieldSelector};

use super::facts::{
    COMPLETION_INDEX, INDEX_FAILURE_COUNT, INDEX_IGNORED_FAILURE_COUNT, TRACKING_FINALIZER, failures_with,
};
use crate::common::owner::controller_ref;
use crate::common::pod::Pod;
use crate::common::template::pod_from;

const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// What the server leaves of a prefix before it adds its five characters.
const PREFIX_MAX: usize = 58;

/// A pod for no index in particular.
pub(super) fn plain(job: &Job, spec: &JobSpec) -> api::Pod {
    let mut pod = pod_from(&spec.template, controller_ref(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == TRACKING_FINALIZER) {
        finalizers.push(TRACKING_FINALIZER.into());
    }
    pod
}

/// The pod for an index; `before` is the pod of that index that failed last, when the Job counts failures by index.
pub(super) fn for_index(job: &Job, spec: &JobSpec, index: i32, before: Option<&Pod>) -> api::Pod {
    let mut pod = plain(job, spec);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let text = index.to_string();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(COMPLETION_INDEX.into(), text.clone());
    if spec.backoff_limit_per_index.is_some() {
        let (counted, ignored) = before.map_or((0, 0), |pod| failures_with(pod, spec));
        annotations.insert(INDEX_FAILURE_COUNT.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(INDEX_IGNORED_FAILURE_COUNT.into(), ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(COMPLETION_INDEX.into(), text);
    pod.metadata.generate_name = Some(prefix(name, index));
    if let Some(pod) = &mut pod.spec {
        pod.hostname = Some(format!("{name}-{index}"));
        pod.init_containers.iter_mut().flatten().chain(&mut pod.containers).for_each(tell_index);
    }
    pod
}

fn prefix(name: &str, index: i32) -> String {
    let end = format!("-{index}-");
    // Names are ASCII.
    let room = PREFIX_MAX.saturating_sub(end.len());
    format!("{}{end}", name.get(..room).unwrap_or(name))
}

/// A variable of that name that the user set stays.
fn tell_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().all(|e| e.name != INDEX_ENV) {
        let field_path = format!("metadata.labels['{COMPLETION_INDEX}']");
        env.push(EnvVar {
            name: INDEX_ENV.into(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector { api_version: None, field_path }),
                ..Default::default()
            }),
        });
    }
}
