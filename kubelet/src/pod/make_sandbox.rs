//! The step that makes a pod's sandbox, with what must be there before: its cgroup, its folder of logs, its handler.
//!
//! Enter at [`run_sandbox`]. What the sandbox is like is decided in [`super::configs::sandbox`].

use component::{client::shown, recorder::Type, shutdown::Shutdown};
use k8s_openapi::api::{core::v1::Pod, node::v1::RuntimeClass};
use kube::Api;

use super::{configs, node::Node, spec};
use crate::metrics;

/// Makes the pod's cgroup and log folder, and runs its sandbox when its turn comes: none where the pod is to stop before.
pub async fn run_sandbox(node: &Node, pod: &Pod, attempt: u32, stopping: &Shutdown) -> Result<Option<String>, String> {
    let result = make_sandbox(node, pod, attempt, stopping).await;
    if !matches!(result, Ok(None)) {
        metrics::pod_started(result.is_err());
    }
    result
}

async fn make_sandbox(node: &Node, pod: &Pod, attempt: u32, stopping: &Shutdown) -> Result<Option<String>, String> {
    let identity = spec::identity(pod);
    if let Some(cgroups) = &node.cgroups {
        cgroups.ensure_pod(pod, node.pod_pids_limit).await.map_err(|error| {
            let message = format!(
                "failed to ensure that the pod: {} cgroups exist and are correctly applied: {error}",
                identity.uid
            );
            node.reporter.pod(
                pod,
                Type::Warning,
                "FailedCreatePodContainer",
                format!("unable to ensure pod container exists: {message}"),
            );
            message
        })?;
    }
    let handler = runtime_handler(node, pod).await?;
    let folder = node.facts.paths.log_folder(&identity);
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(|error| format!("create pod log directory for pod {identity} failed: {error}"))?;
    tell_dns(node, pod);
    let made = match configs::sandbox::config(pod, attempt, &node.facts) {
        Ok(config) => {
            let made = node.turns.take(stopping, node.runtime.run_sandbox(config, &handler)).await;
            made.transpose().map_err(|error| error.rpc())
        }
        Err(problem) => Err(problem),
    };
    made.inspect_err(|message| {
        let message = format!("Failed to create pod sandbox: {message}");
        node.reporter.pod(pod, Type::Warning, "FailedCreatePodSandBox", message);
    })
}

/// What the pod's resolver will not have though it was asked for.
fn tell_dns(node: &Node, pod: &Pod) {
    let facts = &node.facts;
    if let Some(problem) = configs::dns::misses_cluster_dns(pod, &facts.cluster_dns) {
        let identity = spec::identity(pod);
        let named = format!("pod: \"{}_{}({})\". {problem}", identity.name, identity.namespace, identity.uid);
        node.reporter.node(Type::Warning, "MissingClusterDNS", problem);
        node.reporter.pod(pod, Type::Warning, "MissingClusterDNS", named);
    }
    let (_, problems) = configs::dns::of_pod(pod, &facts.cluster_dns, &facts.cluster_domain, &facts.host_dns);
    for problem in problems {
        node.reporter.pod(pod, Type::Warning, "DNSConfigForming", problem);
    }
}

async fn runtime_handler(node: &Node, pod: &Pod) -> Result<String, String> {
    let Some(name) = spec::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    let Some(client) = &node.client else {
        return Err(format!("RuntimeClass {name:?} cannot be read without an API server"));
    };
    let api: Api<RuntimeClass> = Api::all(client.clone());
    let found = api.get(name).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 404 => shown(&error),
        _ => format!("failed to lookup RuntimeClass {name}: {}", shown(&error)),
    });
    found.map(|class| class.handler).inspect_err(|message| {
        node.reporter.pod(
            pod,
            Type::Warning,
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {message}"),
        );
    })
}
