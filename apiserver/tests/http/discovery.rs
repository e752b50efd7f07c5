//! Discovery beside upstream's recorded answers, and the OpenAPI documents.

use std::io::Write as _;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::client::{call, get, get_as};
use crate::support::{TestServer, oracle};

fn recorded(folder: &Path, name: &str) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("discovery").join(name)).ok()?;
    Some(serde_json::from_str(&text).expect("recorded JSON"))
}

/// Entries without what is told in no certain order.
fn settled(mut entry: Value) -> Value {
    for list in ["verbs", "shortNames", "categories"] {
        if let Some(Value::Array(items)) = entry.get_mut(list) {
            items.sort_by_key(Value::to_string);
        }
    }
    if let Some(Value::Array(parts)) = entry.get_mut("subresources") {
        parts.iter_mut().for_each(|part| *part = settled(part.take()));
        parts.sort_by_key(|part| part["subresource"].to_string());
    }
    entry
}

/// Served by upstream and not here, each with its reason.
const LEFT_OUT: [&str; 2] = [
    // Stored webhooks and definitions that do not work yet would be a hole.
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
];

fn is_left_out(name: &Value) -> bool {
    LEFT_OUT.iter().any(|left_out| name == left_out)
}

fn is_stable(version: &Value) -> bool {
    version.as_str().is_some_and(|version| !version.contains("alpha") && !version.contains("beta"))
}

fn differences(what: &str, own: &Value, upstream: &Value, name: &str) -> Vec<String> {
    let list = |of: &Value| of["resources"].as_array().cloned().unwrap_or_default();
    let theirs = list(upstream);
    let lacking = list(own).into_iter().filter_map(|entry| {
        let twin = theirs.iter().find(|twin| twin[name] == entry[name]).cloned().unwrap_or_default();
        let (own, twin) = (settled(entry), settled(twin));
        (own != twin).then(|| format!("{what}\n  here     {own}\n  upstream {twin}"))
    });
    let ours = list(own);
    let absent = list(upstream)
        .into_iter()
        .filter(|entry| !is_left_out(&entry[name]) && !ours.iter().any(|twin| twin[name] == entry[name]));
    let absent = absent.map(|entry| format!("{what}\n  upstream alone {entry}"));
    lacking.chain(absent).collect()
}

/// Stable group versions in the order in which they are told.
fn group_versions(groups: &Value) -> Vec<String> {
    let groups = groups["groups"].as_array().into_iter().flatten();
    let groups = groups.filter(|group| !is_left_out(&group["name"]));
    let versions = groups.flat_map(|group| group["versions"].as_array().into_iter().flatten());
    let stable = versions.filter(|version| is_stable(&version["version"]));
    stable.filter_map(|version| version["groupVersion"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_told_as_upstream_does() {
    let Some(folder) = oracle() else {
        let _ = writeln!(std::io::stderr(), "NOTICE: the recorded answers are not there; test skipped");
        return;
    };
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let mut wrong = Vec::new();
    let groups = get(client, "/apis").await.expect(200);
    let upstream = recorded(&folder, "apis.json").unwrap_or_default();
    assert_eq!(group_versions(&groups), group_versions(&upstream), "groups and versions, in order");
    let mut versions = vec![("api__v1.json".to_owned(), "/api/v1".to_owned())];
    for group in groups["groups"].as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            let version = version["groupVersion"].as_str().expect("a version");
            versions.push((format!("apis__{}.json", version.replace('/', "__")), format!("/apis/{version}")));
        }
    }
    for (file, path) in versions {
        let own = get(client, &path).await.expect(200);
        let Some(upstream) = recorded(&folder, &file) else {
            wrong.push(format!("{path} is served, upstream does not"));
            continue;
        };
        wrong.extend(differences(&path, &own, &upstream, "name"));
    }
    if let Some(upstream) = recorded(&folder, "aggregated_v2.json") {
        let own = get_as(client, "/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").await;
        let own = own.expect(200);
        for group in own["items"].as_array().expect("items") {
            let name = &group["metadata"]["name"];
            let twin =
                upstream["items"].as_array().expect("items").iter().find(|twin| twin["metadata"]["name"] == *name);
            let Some(twin) = twin else {
                wrong.push(format!("aggregated: no group {name}"));
                continue;
            };
            for version in group["versions"].as_array().expect("versions") {
                let mut theirs = twin["versions"].as_array().expect("versions").iter();
                let theirs = theirs.find(|theirs| theirs["version"] == version["version"]).cloned().unwrap_or_default();
                wrong.extend(differences(&format!("aggregated {name}"), version, &theirs, "resource"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Scripts cut an entry out of the text from its name on, and look for what upstream writes behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_resources_members_have_upstreams_order() {
    let server = TestServer::start(&[]).await;
    let told = async |path: &str| {
        let request = http::Request::get(path).header("accept", "application/json").body(Vec::new());
        server.client.request_text(request.expect("a request")).await.expect("a text")
    };
    let core = told("/api/v1").await;
    let head = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"bindings","#;
    assert!(core.starts_with(head), "{core}");
    let pods = r#"{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["po"],"categories":["all"],"storageVersionHash":"xPOwRZ+Yhw8="}"#;
    assert!(core.contains(pods), "{core}");
    let scale = r#"{"name":"replicationcontrollers/scale","singularName":"","namespaced":true,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["get","patch","update"]}"#;
    assert!(core.contains(scale), "{core}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_the_api_are_there() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let v2 = get(client, "/openapi/v2").await.expect(200);
    assert_eq!(v2["swagger"], "2.0");
    assert!(v2["paths"].get("/api/v1/namespaces/{namespace}/pods").is_some());
    let index = get(client, "/openapi/v3").await.expect(200);
    for path in ["api/v1", "apis/apps/v1"] {
        let url = index["paths"][path]["serverRelativeURL"].as_str().expect("a URL");
        let document = get(client, url).await.expect(200);
        assert_eq!(document["openapi"], "3.0.0", "{path}");
        assert!(document["components"]["schemas"].as_object().is_some_and(|schemas| !schemas.is_empty()));
    }
    let version = get(client, "/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&Value::from("1"), &Value::from("36")));
    let paths = get(client, "/").await.expect(200);
    let paths = paths["paths"].as_array().expect("a list");
    for path in ["/apis/apps/v1", "/api/v1", "/openapi/v3/apis/apps/v1", "/readyz/etcd", "/metrics/slis", "/flagz"] {
        assert!(paths.contains(&Value::from(path)), "{path}");
    }
    // Each of them answers.
    for path in paths.iter().filter_map(Value::as_str) {
        assert_eq!(get_as(client, path, "*/*").await.code, 200, "{path}");
    }
    let core = get(client, "/api").await.expect(200);
    let [everybody] = &core["serverAddressByClientCIDRs"].as_array().expect("a list")[..] else { panic!("{core}") };
    assert_eq!(everybody["clientCIDR"], "0.0.0.0/0");
    let port = format!(":{}", server.secure.port());
    assert!(everybody["serverAddress"].as_str().is_some_and(|address| address.ends_with(&port)), "{core}");
}

/// As kubectl explain shows them; the older document has none, as upstream's has none.
#[tokio::test(flavor = "multi_thread")]
async fn enumerations_tell_their_values() {
    let server = TestServer::start(&[]).await;
    let client = &server.client;
    let core = get(client, "/openapi/v3/api/v1").await.expect(200);
    let of = |name: &str, pointer: &str| {
        let schema = &core["components"]["schemas"][format!("io.k8s.api.core.v1.{name}")]["properties"];
        schema.pointer(pointer).map(|found| found["enum"].clone())
    };
    assert_eq!(of("PodSpec", "/restartPolicy"), Some(json!(["Always", "Never", "OnFailure"])));
    assert_eq!(of("EphemeralContainer", "/imagePullPolicy"), Some(json!(["Always", "IfNotPresent", "Never"])));
    assert_eq!(of("ServiceSpec", "/ipFamilies/items"), Some(json!(["", "IPv4", "IPv6"])));
    let statuses = of("PersistentVolumeClaimStatus", "/allocatedResourceStatuses/additionalProperties");
    assert_eq!(statuses.and_then(|values| values.as_array().map(Vec::len)), Some(5));
    assert_eq!(of("Container", "/name"), Some(Value::Null));
    let words = |name: &str, field: &str| {
        let schema = &core["components"]["schemas"][format!("io.k8s.api.core.v1.{name}")]["properties"][field];
        schema["description"].as_str().expect("words").to_owned()
    };
    let policy = words("EphemeralContainer", "imagePullPolicy");
    let values = "\n\nPossible enum values:\n - `\"Always\"`\n - `\"IfNotPresent\"`\n - `\"Never\"`";
    assert!(policy.ends_with(values) && !policy.starts_with(values), "{policy}");
    // Of lists upstream says it with the elements alone.
    assert!(!words("ServiceSpec", "ipFamilies").contains("Possible enum"));
    let all = get(client, "/openapi/v2").await.expect(200);
    let policy = &all["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"];
    assert!(policy["enum"].is_null() && !policy["description"].to_string().contains("Possible enum"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_has_no_views_and_no_versions_of_the_servers() {
    let server = TestServer::start(&[]).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1"] {
        for accept in [table, "application/json;sv=v1"] {
            get_as(&server.client, path, accept).await.refused(406, "NotAcceptable");
            get_as(&server.client, path, &format!("{accept}, application/json")).await.expect(200);
        }
    }
    get_as(&server.client, "/api/v1/nodes", "application/json;sv=v1").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_keeps_what_only_some_may_read() {
    let server = TestServer::start(&[]).await;
    for path in ["/healthz", "/metrics", "/version", "/flagz", "/nothing", "/api/v1/nodes", "/api/v1/nothing"] {
        assert_eq!(get(&server.client, path).await.headers["cache-control"], "no-cache, private", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_how_it_was_started() {
    let server = TestServer::start(&["--event-ttl=7m0s"]).await;
    let client = &server.client;
    let flags = get_as(client, "/flagz", "application/json, */*").await;
    assert_eq!(flags.headers["content-type"], "text/plain; charset=utf-8");
    let text = flags.expect(200);
    let text = text.as_str().expect("text");
    assert!(
        text.starts_with("\nkube-apiserver flagz\nWarning: ") && text.lines().any(|line| line == "event-ttl=7m0s"),
        "{text}"
    );
    let named = |kind: &str, version: &str| format!("application/json;as={kind};v={version};g=config.k8s.io");
    let flags = get_as(client, "/flagz", &named("Flagz", "v1beta1")).await.expect(200);
    assert_eq!((&flags["kind"], &flags["apiVersion"]), (&json!("Flagz"), &json!("config.k8s.io/v1beta1")));
    assert_eq!((&flags["metadata"]["name"], &flags["flags"]["event-ttl"]), (&json!("kube-apiserver"), &json!("7m0s")));
    let old = get_as(client, "/flagz", &named("Flagz", "v1alpha1")).await;
    let word = "299 - \"This version of the flagz endpoint is deprecated. Please use a newer version.\"";
    assert_eq!(old.warnings(), [word]);
    get_as(client, "/flagz", "application/json").await.refused(406, "NotAcceptable");
    call(client, Method::POST, "/flagz", &[("accept", "*/*")], "").await.expect(200);
    let status = get_as(client, "/statusz", &named("Statusz", "v1beta1")).await.expect(200);
    assert_eq!(status["emulationVersion"], "1.36");
    assert!(status["uptimeSeconds"].as_i64().is_some_and(|seconds| seconds >= 0));
    assert!(
        status["paths"]
            .as_array()
            .is_some_and(|paths| paths.contains(&json!("/livez")) && !paths.contains(&json!("/statusz")))
    );
    let text = get_as(client, "/statusz", "text/plain").await.expect(200);
    assert!(text.as_str().is_some_and(|text| text.contains("\nBinary version: 1.36")), "{text}");
}
