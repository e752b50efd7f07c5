//! Which paths there are, and which methods each takes.

use http::Method;
use serde_json::json;

use crate::client::{CONFIG_MAPS, Reply, call, config_map, get, post};
use crate::support::TestServer;

async fn ask(client: &kube::Client, method: Method, path: &str) -> Reply {
    let json = [("content-type", "application/json")];
    call(client, method, path, &json, "{}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_path_counts() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    post(client, CONFIG_MAPS, &config_map("a", &json!({}))).await.expect(201);
    for path in [
        "/api/v1//configmaps",
        "/api//v1/configmaps",
        "/api/v1/namespaces/default//configmaps",
        "/api/v1/namespaces/default/status/x",
        "/api/v1/namespaces/default/pods/p/status/x",
        "/api/v1/namespaces/default/pods/p/log/x",
        "/api/v1/namespaces/default/pods/p/exec/x",
        "/apis/apps/v1/namespaces/default/deployments/d/scale/x",
        "/api/v1/watch/namespaces/default/pods/p/status",
    ] {
        get(client, path).await.refused(404, "NotFound");
        ask(client, Method::PUT, path).await.refused(404, "NotFound");
    }
    for path in ["/api/v1/configmaps//", "/api/v1/namespaces//configmaps", &format!("{CONFIG_MAPS}//")] {
        let list = get(client, path).await.expect(200);
        assert!(list["items"].as_array().is_some_and(|items| items.iter().any(|item| item["metadata"]["name"] == "a")));
    }
    for path in ["/api/v1/namespaces/default/pods//log", "/api/v1/nodes//proxy/x", "/api/v1/nodes//status"] {
        let refused = get(client, path).await;
        refused.refused(400, "BadRequest");
        assert_eq!(refused.body["message"], "name must be provided", "{path}");
    }
}

/// HEAD is for what is no API of upstream's router: probes, metrics, the lists of groups, and what is behind a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_read_by_get() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for path in [
        "/api",
        "/api/v1",
        "/apis/apps/v1",
        "/version",
        "/version/",
        "/.well-known/openid-configuration",
        "/openid/v1/jwks",
        CONFIG_MAPS,
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/default/status",
        "/api/v1/namespaces/default/pods/p/log",
        "/api/v1/namespaces/default/pods/p/exec",
        "/api/v1/watch/pods",
    ] {
        assert_eq!(call(client, Method::HEAD, path, &[], "").await.code, 405, "{path}");
    }
    for path in ["/api", "/api/v1", "/apis/apps/v1", "/version", "/openid/v1/jwks"] {
        ask(client, Method::POST, path).await.refused(405, "MethodNotAllowed");
    }
    let others = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    for path in ["/", "/apis", "/apis/", "/apis/apps", "/openapi/v3", "/livez", "/livez/ping"] {
        let read = get(client, path).await;
        for method in others.clone() {
            let other = ask(client, method.clone(), path).await;
            assert_eq!((other.code, &other.body), (200, &read.body), "{method} {path}");
        }
    }
    for path in ["/metrics", "/openapi/v2"] {
        for method in others.clone() {
            ask(client, method, path).await.expect(200);
        }
    }
    for path in ["/nothing", "/apis/nothing.io"] {
        ask(client, Method::POST, path).await.nowhere();
    }
    for (path, code) in [("/apis", 200), ("/apis/apps", 200), ("/livez", 200), ("/metrics", 200), ("/api/v2", 404)] {
        assert_eq!(call(client, Method::HEAD, path, &[], "").await.code, code, "{path}");
    }
    assert_eq!(call(client, Method::HEAD, "/api/v1/nodes/n/proxy/", &[], "").await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_or_listed_takes_no_other_method() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for path in ["/api/v1/watch/pods", "/api/v1/watch/namespaces/default/pods/p"] {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            ask(client, method, path).await.refused(405, "MethodNotAllowed");
        }
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        ask(client, method, "/api/v1/pods").await.refused(405, "MethodNotAllowed");
    }
    for path in ["/api/v1/bindings", "/api/v1/pods/p", "/apis/authorization.k8s.io/v1/localsubjectaccessreviews"] {
        ask(client, Method::POST, path).await.refused(404, "NotFound");
    }
}

/// The old paths of watches and proxies.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_says_the_verb_says_of_what_and_where() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    for path in ["/api/v1/watch", "/api/v1/watch//", "/apis/apps/v1/proxy", "/api/v1/watch?a=b&c"] {
        let refused = ask(client, Method::POST, path).await;
        let told = path.replace('&', "&amp;");
        let why = format!(
            "Internal Server Error: \"{told}\": failed to create RequestInfo: unable to determine kind and namespace from url, {told}\n"
        );
        assert_eq!((refused.code, &refused.body), (500, &json!(why)));
        assert_eq!(refused.headers["x-content-type-options"], "nosniff");
        assert!(refused.headers.contains_key("audit-id") && !refused.headers.contains_key("cache-control"));
    }
    for path in ["/api/v1/watch/pods/p", "/api/v1/proxy/nodes/n", "/api/v1/proxy/namespaces/default/pods/p/x"] {
        get(client, path).await.refused(404, "NotFound");
    }
}

/// Whatever comes behind them.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_begins_with_two_slashes() {
    let server = TestServer::start(&[]).await;
    for path in
        ["//", "//api/v1/configmaps", "//api", "//apis/apps/v1", "//version", "//livez", "//flagz", "///metrics"]
    {
        get(&server.client, path).await.nowhere();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_parameters_are_refused_where_others_are_left_out() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let refused = async |path: &str, why: &str| {
        let refused = get(client, path).await;
        refused.refused(400, "BadRequest");
        assert_eq!(refused.body["message"], why, "{path}");
    };
    for path in ["pods/p/exec?dryRun=All", "pods/p/attach?dryRun", "services/s/proxy/?dryRun=None"] {
        refused(&format!("/api/v1/namespaces/default/{path}"), "dryRun is not supported").await;
    }
    get(client, "/api/v1/namespaces/default/pods/p/log?dryRun=All").await.refused(404, "NotFound");
    let why = "the export parameter, deprecated since v1.14, is no longer supported";
    for path in [
        "/api/v1/namespaces/default?export",
        "/api/v1/namespaces/default/status?export=true",
        "/apis/apps/v1/namespaces/default/deployments/d/scale?export=1",
        "/api/v1/componentstatuses/x?export=yes",
    ] {
        refused(path, why).await;
    }
    for path in ["/api/v1/namespaces/default?export=false", "/api/v1/namespaces?export=true"] {
        get(client, path).await.expect(200);
    }
}
