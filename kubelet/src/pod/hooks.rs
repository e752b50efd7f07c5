//! postStart and preStop: run by the kubelet, in the container or over HTTP.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::{node::Node, spec};
use crate::probes::handlers;

/// Runs a hook to its end.
///
/// # Errors
/// Upstream's words for the hook's failure.
pub async fn run(
    node: &Node,
    pod: &Pod,
    container: &Container,
    container_id: &str,
    pod_ips: &[String],
    handler: &LifecycleHandler,
) -> Result<(), String> {
    let identity = spec::identity(pod);
    let at = format!(
        "for Container {:?} in Pod \"{}_{}({})\" failed",
        container.name, identity.name, identity.namespace, identity.uid
    );
    let pod_ip = pod_ips.first().or(node.facts.host_ips.first()).map_or("", String::as_str);
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        let output = node.runtime.exec_sync(container_id, command, Duration::ZERO).await;
        return match output {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => Err(format!(
                "Exec lifecycle hook ([{shown}]) {at} - error: command '{shown}' exited with {}: {}, message: {:?}",
                output.exit_code,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            )),
            Err(error) => Err(format!("Exec lifecycle hook ([{shown}]) {at} - error: {}", error.rpc())),
        };
    }
    if let Some(get) = &handler.http_get {
        let path = get.path.as_deref().unwrap_or_default();
        let answer = handlers::http_get(get, container, pod_ip, "kube-lifecycle/1.36").await;
        return match answer {
            // Any answer will do: upstream looks at the connection, not at the status.
            Ok(_) => Ok(()),
            Err(error) => Err(format!("HTTP lifecycle hook ({path}) {at} - error: {error}")),
        };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err(format!("Cannot run handler {at}: invalid handler (tcpSocket hooks never had an effect)"))
}
