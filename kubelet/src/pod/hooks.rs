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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::worker_tests::Bed;

    #[tokio::test]
    async fn hooks_run_or_say_why_not() {
        let bed = Bed::new();
        let node = bed.node();
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}})).expect("a pod");
        let container: Container = serde_json::from_value(json!({"name": "c"})).expect("a container");
        let run = async |handler: Value| {
            let handler: LifecycleHandler = serde_json::from_value(handler).expect("a handler");
            run(&node, &pod, &container, "id", &["127.0.0.1".to_owned()], &handler).await
        };
        assert_eq!(run(json!({"exec": {"command": ["true"]}})).await, Ok(()));
        assert_eq!(run(json!({"sleep": {"seconds": 0}})).await, Ok(()));
        let at = "for Container \"c\" in Pod \"p_ns(u)\" failed";
        let socket = run(json!({"tcpSocket": {"port": 1}})).await.expect_err("upstream takes it and fails it, too");
        assert!(socket.starts_with(&format!("Cannot run handler {at}: invalid handler")), "{socket}");
        let closed = run(json!({"httpGet": {"port": 1, "path": "/x"}})).await.expect_err("nobody listens");
        assert!(closed.starts_with(&format!("HTTP lifecycle hook (/x) {at} - error: ")), "{closed}");
    }
}
