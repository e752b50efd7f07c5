//! An application of several parts, in one file for kubectl.

use anyhow::Result;
use serde_json::{Value, json};

use super::template;
use crate::cluster::{Call, SOON, Scope};
use crate::expect::{equal, eventually, same};

/// Keeps what it is given.
const STORE: &str = "user root; pid /tmp/nginx.pid; events {}
    http { server { listen 80; root /tmp/root; dav_methods PUT; } }";

/// Knows the store by its name.
const FRONT: &str = "user root; pid /tmp/nginx.pid; events {}
    http { server { listen 80; location / { proxy_pass http://store; } } }";

/// A Deployment and its Service. The store's name may be known a moment after the front looks for it.
fn part(scope: &Scope, name: &str, configuration: &str, replicas: u32) -> [Value; 2] {
    let script = format!(
        "mkdir -p /tmp/root; echo '{{\"data\":\"\"}}' >/tmp/root/guestbook; echo '{configuration}' >/tmp/conf
         until nginx -c /tmp/conf -g 'daemon off;'; do sleep 0.2; done"
    );
    let mut template = template(name, &scope.cluster.images.nginx, &script);
    template["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/guestbook", "port": 80}, "periodSeconds": 1, "timeoutSeconds": 5});
    let metadata = json!({"name": name, "labels": {"application": "guestbook"}});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": name}}, "template": template}}),
    ]
}

pub(super) async fn applications_come_and_go(scope: &Scope) -> Result<()> {
    let parts = [part(scope, "store", STORE, 1), part(scope, "front", FRONT, 2)].concat();
    let file = json!({"apiVersion": "v1", "kind": "List", "items": parts}).to_string();
    let created = scope.kubectl_with(&["create", "-f", "-"], Some(&file)).await?;
    let expected = ["service/store", "deployment.apps/store", "service/front", "deployment.apps/front"];
    same("create", created, expected.map(|name| format!("{name} created\n")).concat())?;
    for name in ["deployment/store", "deployment/front"] {
        scope.kubectl(&["rollout", "status", name, "--timeout=150s"]).await?;
    }
    let path = scope.services().of("front:80/proxy/guestbook");
    let read = async || scope.cluster.call(Call::get(&path).accept("*/*")).await?.ok()?.json();
    eventually("an empty book", SOON, async || equal("book", &read().await?, &json!({"data": ""}))).await?;
    let entry = json!({"data": "TestEntry"});
    scope.cluster.call(Call::put(&path, &entry).accept("*/*")).await?.ok()?;
    equal("book", &read().await?, &entry)?;
    scope.kubectl_with(&["delete", "--force", "--grace-period=0", "-f", "-"], Some(&file)).await?;
    let left = ["get", "deployments,services", "-l", "application=guestbook", "--no-headers"];
    eventually("nothing is left", SOON, async || same("get", scope.kubectl(&left).await?.as_str(), "")).await?;
    let goes = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string());
    scope.pods().until_all("labelSelector=app+in+(store,front)", "no pod stays", goes).await.map(drop)
}
