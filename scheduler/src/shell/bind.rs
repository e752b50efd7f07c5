//! Tells the API where a pod goes: `pods/<name>/binding`.

use std::sync::Arc;

use component::client;
use component::recorder::{Source, Type};
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use super::{Shared, devices, report, volumes};
use crate::core::{Attempt, Preparation};
use crate::metrics;
use crate::objects::Pod;
use crate::plugins::{dynamic_resources, volume_binding};

pub(super) async fn bind(shared: &Shared, pod: Arc<Pod>, node: &str, preparation: Preparation, attempt: Attempt) {
    if preparation.takes_time() {
        report::nominate(shared, &pod, node).await;
    }
    let clock = shared.context.clock;
    let failed = || metrics::attempt(metrics::ERROR, &pod, clock.since(attempt.started));
    let started = clock.now();
    let prepared = prepare(shared, &pod, node, &preparation).await;
    metrics::point_done("PreBind", prepared.is_ok(), &pod.scheduler_name, clock.since(started));
    if let Err(message) = prepared {
        failed();
        tracing::warn!(pod = pod.name(), namespace = pod.namespace(), node, message, "preparing a binding failed");
        report::binding_failed(shared, &pod, &message, preparation.takes_time()).await;
        return shared.change(|core, now| core.binding_failed(&pod, now));
    }
    let started = clock.now();
    let bound = match shared.extenders.bind(&pod, node).await {
        Some(bound) => bound,
        None => {
            let posted = post(shared, &pod, node).await;
            posted.map_err(|error| format!("running Bind plugin \"DefaultBinder\": {}", client::shown(&error)))
        }
    };
    metrics::point_done("Bind", bound.is_ok(), &pod.scheduler_name, clock.since(started));
    match bound {
        Ok(()) => {
            metrics::attempt(metrics::SCHEDULED, &pod, clock.since(attempt.started));
            metrics::bound(attempt.number, clock.since(attempt.arrived));
            shared.change(|core, _| core.bound(&pod));
            let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
            recorder(shared, &pod).event(&*pod, Type::Normal, "Scheduled", message);
        }
        Err(error) => {
            failed();
            tracing::warn!(pod = pod.name(), namespace = pod.namespace(), node, error, "binding failed");
            if let Some((plan, _)) = &preparation.devices {
                devices::unreserve(shared, &pod, plan).await;
            }
            report::binding_failed(shared, &pod, &error, preparation.takes_time()).await;
            shared.change(|core, now| core.binding_failed(&pod, now));
        }
    }
}

/// The error is for people, and names the plugin.
async fn prepare(shared: &Shared, pod: &Pod, node: &str, preparation: &Preparation) -> Result<(), String> {
    let told = |plugin: &str, why: String| format!("running PreBind plugin \"{plugin}\": {why}");
    if let Some((plan, timeout)) = &preparation.volumes {
        volumes::bind(shared, plan, *timeout).await.map_err(|why| told(volume_binding::NAME, why))?;
    }
    if let Some((plan, timeout)) = &preparation.devices {
        devices::reserve(shared, pod, node, (plan, *timeout))
            .await
            .map_err(|why| told(dynamic_resources::NAME, why))?;
    }
    Ok(())
}

async fn post(shared: &Shared, pod: &Pod, node: &str) -> kube::Result<()> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let api: Api<Pod> = Api::namespaced(shared.context.client.clone(), pod.namespace());
    let answer: kube::Result<serde::de::IgnoredAny> =
        api.create_subresource("binding", pod.name(), &PostParams::default(), &binding).await;
    answer.map(drop)
}

/// Events of a profile's pods are told in the profile's name.
pub(super) fn recorder(shared: &Shared, pod: &Pod) -> component::recorder::Recorder {
    shared.context.recorder.with_source(Source::new(&*pod.scheduler_name))
}
