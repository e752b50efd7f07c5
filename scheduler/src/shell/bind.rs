//! Tells the API where a pod goes: `pods/<name>/binding`.

use std::sync::{Arc, LazyLock};

use component::client;
use component::metrics;
use component::recorder::{Source, Type};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use prometheus::HistogramVec;

use super::{Shared, devices, report, volumes};
use crate::core::Preparation;
use crate::objects::Pod;
use crate::plugins::{dynamic_resources, volume_binding};

static WAITED: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Seconds from a pod's coming to its binding, by attempts.";
    let buckets: Vec<f64> = (0..20).map(|power| 0.001 * f64::from(1 << power)).collect();
    metrics::histogram("scheduler_pod_scheduling_sli_duration_seconds", help, &["attempts"], &buckets)
});

pub(super) async fn bind(
    shared: &Shared,
    pod: Arc<Pod>,
    node: &str,
    preparation: Preparation,
    attempts: u32,
    arrived: Timestamp,
) {
    if preparation.takes_time() {
        report::nominate(shared, &pod, node).await;
    }
    if let Err(message) = prepare(shared, &pod, node, &preparation).await {
        tracing::warn!(pod = pod.name(), namespace = pod.namespace(), node, message, "preparing a binding failed");
        report::binding_failed(shared, &pod, &message, preparation.takes_time()).await;
        return shared.change(|core, now| core.binding_failed(&pod, now));
    }
    let bound = match shared.extenders.bind(&pod, node).await {
        Some(bound) => bound,
        None => {
            let posted = post(shared, &pod, node).await;
            posted.map_err(|error| format!("running Bind plugin \"DefaultBinder\": {}", client::shown(&error)))
        }
    };
    match bound {
        Ok(()) => {
            shared.change(|core, _| core.bound(&pod));
            WAITED
                .with_label_values(&[attempts_label(attempts)])
                .observe(shared.context.clock.since(arrived).as_secs_f64());
            let message = format!("Successfully assigned {}/{} to {node}", pod.namespace(), pod.name());
            recorder(shared, &pod).event(&*pod, Type::Normal, "Scheduled", message);
        }
        Err(error) => {
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

fn attempts_label(attempts: u32) -> &'static str {
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"]
        .get(attempts.saturating_sub(1) as usize)
        .copied()
        .unwrap_or("16+")
}
