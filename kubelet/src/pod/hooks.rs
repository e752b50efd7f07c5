//! postStart and preStop: run by the kubelet, in the container or over HTTP.

use std::time::Duration;

use component::recorder::Type;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Pod};

use super::{node::Node, spec};
use crate::{metrics, probes::handlers};

const AGENT: &str = "kube-lifecycle/1.36";

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
        let mut answer = handlers::http_get(get, container, pod_ip, AGENT).await;
        if answer.as_ref().is_err_and(|error| error.ends_with(handlers::PLAIN_ANSWER)) {
            answer = without_tls(node, pod, container, pod_ip, get).await.or(answer);
        }
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

/// Hooks asked for HTTPS reached plain servers for years before anybody looked: upstream tries those again.
async fn without_tls(
    node: &Node,
    pod: &Pod,
    container: &Container,
    pod_ip: &str,
    get: &HTTPGetAction,
) -> Result<handlers::Answer, String> {
    let plain = without_credentials(get);
    let answer = handlers::http_get(&plain, container, pod_ip, AGENT).await?;
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    metrics::hook_fell_back();
    let message = format!("request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded");
    node.reporter.pod(pod, Type::Warning, "LifecycleHTTPFallback", message);
    Ok(answer)
}

fn without_credentials(get: &HTTPGetAction) -> HTTPGetAction {
    let mut plain = HTTPGetAction { scheme: Some("HTTP".into()), ..get.clone() };
    if let Some(headers) = &mut plain.http_headers {
        headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
    }
    plain
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
        let plain = crate::probes::tests::server(false).await;
        let get = json!({"httpGet": {"port": plain, "path": "/fine", "scheme": "HTTPS"}});
        assert_eq!(run(get).await, Ok(()), "a server that speaks no TLS");
        let named = json!({"port": 1, "scheme": "HTTPS", "httpHeaders": [{"name": "Authorization", "value": "x"},
            {"name": "A", "value": "b"}]});
        let bare = without_credentials(&serde_json::from_value(named).expect("an action"));
        assert_eq!((bare.scheme.as_deref(), bare.http_headers.map(|it| it.len())), (Some("HTTP"), Some(1)));
        let closed = run(json!({"httpGet": {"port": 1, "path": "/x"}})).await.expect_err("nobody listens");
        assert!(closed.starts_with(&format!("HTTP lifecycle hook (/x) {at} - error: ")), "{closed}");
    }
}
