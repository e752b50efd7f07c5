//! APIs of other servers: one behind a Service answers for a group version of its own.
//!
//! The cases run alone: clients that discover all APIs notice a server that cannot be asked.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Patch, Resource, SOON, Scope, condition, pod};
use crate::expect::{eventually, matches, refused, same};

pub(super) const GROUP: Group = Group {
    name: "aggregation",
    area: Area::Api,
    capability: "APIs of other servers: found in discovery, asked in the name of who asks, said to be away",
    cases: &[
        case!(another_server_answers, "an APIService hands a group version to another server, with who asks", serial),
        case!(servers_that_are_away_are_told, "an APIService says why its server cannot be asked", serial),
        case!(api_services_are_changed, "APIServices are checked, changed, given a status and deleted", serial),
    ],
};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn services(scope: &Scope) -> Resource {
    scope.global("apiregistration.k8s.io/v1", "apiservices")
}

fn group(scope: &Scope, name: &str) -> String {
    format!("{}.example.com", scope.unique(name))
}

/// For a group at the Service `web` of the case's namespace.
fn api_service(scope: &Scope, group: &str, authority: &str) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1.{group}"), "labels": {"set": scope.namespace}},
        "spec": {"group": group, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": STANDARD.encode(authority), "service": {"namespace": scope.namespace, "name": "web"}}})
}

fn web(port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": port, "targetPort": 8443}]}})
}

/// Waits for what an APIService says of its server; returns the message.
async fn until_told(scope: &Scope, group: &str, status: &str, reason: &str) -> Result<String> {
    let told = |object: &Value| {
        let available = condition(object, "Available");
        available["status"] == status && available["reason"] == reason
    };
    let object = services(scope).until(&format!("v1.{group}"), &format!("Available {status}: {reason}"), told).await?;
    Ok(condition(&object, "Available")["message"].as_str().unwrap_or_default().to_owned())
}

/// An authority, and a certificate for the Service with its key, all PEM.
pub(super) fn certificates(scope: &Scope) -> Result<[String; 3]> {
    let mut parameters = CertificateParams::new(Vec::new()).context("an authority")?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?).context("sign an authority")?;
    let key = KeyPair::generate().context("make a key")?;
    let server = CertificateParams::new(vec![format!("web.{}.svc", scope.namespace)]).context("a certificate")?;
    let server = server.signed_by(&key, &authority).context("sign a certificate")?;
    Ok([authority.pem(), server.pem(), key.serialize_pem()])
}

/// nginx that serves one kind without objects, whose list says who asked.
fn configuration(group: &str) -> String {
    let resources = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/v1"),
        "resources": [{"name": "things", "singularName": "thing", "namespaced": false, "kind": "Thing",
            "verbs": ["get", "list"]}]});
    let things = json!({"kind": "ThingList", "apiVersion": format!("{group}/v1"),
        "metadata": {"resourceVersion": "1"}, "items": [], "user": "$http_x_remote_user", "query": "$args"});
    format!(
        "pid /tmp/nginx.pid;\nevents {{}}\nhttp {{ server {{\n  listen 8443 ssl;\n  ssl_certificate /tls/tls.crt;\n  \
         ssl_certificate_key /tls/tls.key;\n  default_type application/json;\n  location = /apis/{group}/v1 {{ return 200 '{resources}'; }}\n  \
         location = /apis/{group}/v1/things {{ return 200 '{things}'; }}\n  location / {{ return 404; }}\n}} }}\n"
    )
}

/// Starts the server; returns its authority.
async fn start(scope: &Scope, group: &str) -> Result<String> {
    let [authority, certificate, key] = certificates(scope)?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"},
        "data": {"nginx.conf": configuration(group)}});
    scope.config_maps().create(&map).await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate, "tls.key": key}});
    scope.secrets().create(&secret).await?;
    let mut object = pod("web", &scope.cluster.images.nginx, "exec nginx -c /web/nginx.conf -g 'daemon off;'");
    object["metadata"]["labels"] = json!({"app": "web"});
    object["spec"]["volumes"] =
        json!([{"name": "web", "configMap": {"name": "web"}}, {"name": "tls", "secret": {"secretName": "web"}}]);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "web", "mountPath": "/web"}, {"name": "tls", "mountPath": "/tls"}]);
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8443}, "periodSeconds": 1});
    scope.start(&object).await?;
    scope.services().create(&web(443)).await?;
    Ok(authority)
}

async fn another_server_answers(scope: &Scope) -> Result<()> {
    let group = group(scope, "things");
    let authority = start(scope, &group).await?;
    scope.create_global(&services(scope), &api_service(scope, &group, &authority)).await?;
    same("message", until_told(scope, &group, "True", "Passed").await?, "all checks passed")?;
    let path = format!("/apis/{group}/v1/things");
    let ask = || {
        let call = Call::get(format!("{path}?limit=5"));
        call.header("impersonate-user", "alice").header("impersonate-group", "system:masters")
    };
    let list = eventually("the server is asked", SOON, async || scope.cluster.object(ask()).await).await?;
    same("user", list["user"].as_str(), Some("alice"))?;
    same("query", list["query"].as_str(), Some("limit=5"))?;
    eventually("the group is discovered", SOON, async || {
        let groups = scope.cluster.object(Call::get("/apis")).await?;
        let found = named(&groups["groups"], "/name", &group).context("not in /apis")?;
        same("preferred version", found["preferredVersion"]["version"].as_str(), Some("v1"))?;
        let all = scope.cluster.object(Call::get("/apis").accept(AGGREGATED)).await?;
        let found = named(&all["items"], "/metadata/name", &group).context("not in the aggregated document")?;
        let resources = &found["versions"][0]["resources"];
        named(resources, "/resource", "things").context("no things in the aggregated document").map(drop)
    })
    .await?;
    services(scope).delete(&format!("v1.{group}")).await?;
    eventually("the group is gone", SOON, async || {
        same("status", scope.cluster.call(ask()).await?.status, 404)?;
        let groups = scope.cluster.object(Call::get("/apis")).await?;
        same("in /apis", named(&groups["groups"], "/name", &group), None)
    })
    .await
}

/// The object of a list with a value at a place.
fn named<'a>(list: &'a Value, place: &str, value: &str) -> Option<&'a Value> {
    list.as_array().into_iter().flatten().find(|one| one.pointer(place).is_some_and(|found| found == value))
}

async fn servers_that_are_away_are_told(scope: &Scope) -> Result<()> {
    let group = group(scope, "away");
    let [authority, ..] = certificates(scope)?;
    scope.create_global(&services(scope), &api_service(scope, &group, &authority)).await?;
    let told = until_told(scope, &group, "False", "ServiceNotFound").await?;
    same("message", told, format!("service/web in {:?} is not present", scope.namespace))?;
    scope.services().create(&web(80)).await?;
    let told = until_told(scope, &group, "False", "ServicePortError").await?;
    same("message", told, format!("service/web in {:?} is not listening on port 443", scope.namespace))?;
    let ports = json!({"spec": {"ports": [{"port": 443, "targetPort": 8443}]}});
    scope.services().patch("web", Patch::Merge(ports)).await?;
    let told = until_told(scope, &group, "False", "MissingEndpoints").await?;
    matches("message", &told, "^endpointslices for service/web in .* have no addresses with port name \"\"$")?;
    let answer = scope.cluster.call(Call::get(format!("/apis/{group}/v1/things"))).await?;
    same("status of a request", answer.status, 503)
}

async fn api_services_are_changed(scope: &Scope) -> Result<()> {
    let services = services(scope);
    let (one, two) = (group(scope, "one"), group(scope, "two"));
    let mut wrong = api_service(scope, &one, "");
    wrong["metadata"]["name"] = format!("v2.{one}").into();
    refused(services.create(&wrong).await, 422, "Invalid")?;
    for group in [&one, &two] {
        scope.create_global(&services, &api_service(scope, group, "")).await?;
    }
    let name = format!("v1.{one}");
    let patched = services.patch(&name, Patch::Strategic(json!({"spec": {"versionPriority": 15}}))).await?;
    same("versionPriority", patched["spec"]["versionPriority"].as_u64(), Some(15))?;
    let condition = json!({"type": "Odd", "status": "True", "reason": "Case", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    services.patch(&format!("{name}/status"), status).await?;
    services
        .until(&name, "both conditions are there", |object| {
            crate::cluster::condition(object, "Odd")["status"] == "True"
                && crate::cluster::condition(object, "Available")["reason"] == "ServiceNotFound"
        })
        .await?;
    let selector = format!("labelSelector=set%3D{}", scope.namespace);
    services.delete_collection(&selector).await?;
    services.until_all(&selector, "none is left", <[Value]>::is_empty).await.map(drop)
}
