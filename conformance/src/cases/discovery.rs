//! What a server says of itself: version, groups, kinds, schemas, health.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, Scope};
use crate::expect::{contains, matches, refused, same};

pub(super) const GROUP: Group = Group {
    name: "discovery",
    area: Area::Api,
    capability: "Discovery, plain and aggregated, OpenAPI v2 and v3, version and health",
    cases: &[
        case!(version_is_told, "/version has a one-digit major, a minor and a semantic gitVersion", quick),
        case!(groups_prefer_their_own_versions, "every group prefers one of the versions that it lists", quick),
        case!(kinds_are_where_clients_look, "every stable group lists the kinds that clients look for", quick),
        case!(aggregated_documents, "/api and /apis answer the aggregated document with its own media type", quick),
        case!(both_discoveries_agree, "aggregated and plain discovery name the same resources and verbs"),
        case!(openapi_v3_by_group, "/openapi/v3 leads to a document for each group version"),
        case!(openapi_v2_is_cached, "/openapi/v2 has an ETag, and answers 304 to who has it already"),
        case!(health_is_told, "/livez and /readyz say ok, each check by its name when asked", quick),
        case!(unknown_paths_are_404, "an unknown kind is a 404 in the words that clients look for", quick),
    ],
};

/// What a client library asks for when it wants the aggregated document.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One resource each of the stable group versions.
const RESOURCES: &[(&str, &str)] = &[
    ("v1", "namespaces"),
    ("apiregistration.k8s.io/v1", "apiservices"),
    ("apps/v1", "deployments"),
    ("authentication.k8s.io/v1", "tokenreviews"),
    ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
    ("autoscaling/v1", "horizontalpodautoscalers"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("batch/v1", "jobs"),
    ("certificates.k8s.io/v1", "certificatesigningrequests"),
    ("coordination.k8s.io/v1", "leases"),
    ("discovery.k8s.io/v1", "endpointslices"),
    ("events.k8s.io/v1", "events"),
    ("flowcontrol.apiserver.k8s.io/v1", "flowschemas"),
    ("networking.k8s.io/v1", "ingresses"),
    ("node.k8s.io/v1", "runtimeclasses"),
    ("policy/v1", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io/v1", "clusterroles"),
    ("resource.k8s.io/v1", "resourceclaims"),
    ("scheduling.k8s.io/v1", "priorityclasses"),
    ("storage.k8s.io/v1", "csinodes"),
];

async fn version_is_told(scope: &Scope) -> Result<()> {
    let version = scope.cluster.object(Call::get("/version")).await?;
    let text = |field: &str| version[field].as_str().unwrap_or_default().to_owned();
    matches("major", &text("major"), r"^[1-9]$")?;
    matches("minor", &text("minor"), r"^\d+\+?$")?;
    matches("gitVersion", &text("gitVersion"), r"^v\d\.\d+\.[\w\-.+]+$")
}

async fn groups_prefer_their_own_versions(scope: &Scope) -> Result<()> {
    let list = scope.cluster.object(Call::get("/apis/")).await?;
    let groups = list["groups"].as_array().context("/apis/ has no groups")?;
    ensure!(groups.len() >= 15, "expected at least 15 groups, saw {}", groups.len());
    for group in groups {
        let name = group["name"].as_str().unwrap_or_default();
        for path in [format!("/apis/{name}"), format!("/apis/{name}/")] {
            let alone = scope.cluster.object(Call::get(path)).await?;
            let versions = alone["versions"].as_array().context("a group has no versions")?;
            let preferred = &alone["preferredVersion"];
            ensure!(versions.contains(preferred), "{name}: expected one of {versions:?} preferred, saw {preferred}");
            same(name, &alone["preferredVersion"], &group["preferredVersion"])?;
        }
    }
    Ok(())
}

async fn kinds_are_where_clients_look(scope: &Scope) -> Result<()> {
    for (group_version, plural) in RESOURCES {
        let root = if group_version.contains('/') { "apis" } else { "api" };
        let list = scope.cluster.object(Call::get(format!("/{root}/{group_version}"))).await?;
        same("groupVersion", list["groupVersion"].as_str(), Some(*group_version))?;
        let resources = list["resources"].as_array().context("no resources")?;
        ensure!(
            resources
                .iter()
                .any(|one| one["name"] == *plural && one["verbs"].as_array().is_some_and(|v| !v.is_empty())),
            "{group_version}: expected {plural} with verbs, saw {list}"
        );
    }
    Ok(())
}

async fn aggregated_documents(scope: &Scope) -> Result<()> {
    for (path, group) in [("/api", ""), ("/apis", "apps")] {
        let answer = scope.cluster.call(Call::get(path).accept(AGGREGATED)).await?.ok()?;
        let content_type = answer.header("content-type").to_owned();
        for part in ["application/json", "g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"] {
            contains("content-type", &content_type, part)?;
        }
        let document = answer.json()?;
        same("kind", document["kind"].as_str(), Some("APIGroupDiscoveryList"))?;
        let items = document["items"].as_array().context("no items")?;
        let found = items.iter().find(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group);
        let found = found.with_context(|| format!("{path}: no group {group:?}"))?;
        ensure!(found["versions"][0]["resources"].as_array().is_some_and(|all| all.len() >= 5), "{path}: {found}");
    }
    Ok(())
}

async fn both_discoveries_agree(scope: &Scope) -> Result<()> {
    let (mut plain, mut aggregated) = (BTreeSet::new(), BTreeSet::new());
    for path in ["/api", "/apis"] {
        let document = scope.cluster.object(Call::get(path).accept(AGGREGATED)).await?;
        for item in document["items"].as_array().into_iter().flatten() {
            let group = item["metadata"]["name"].as_str().unwrap_or_default();
            for version in item["versions"].as_array().into_iter().flatten() {
                let version_name = version["version"].as_str().unwrap_or_default();
                let group_version =
                    if group.is_empty() { version_name.into() } else { format!("{group}/{version_name}") };
                aggregated.extend(aggregated_rows(&group_version, version));
                let list = scope.cluster.object(Call::get(format!("{path}/{group_version}"))).await?;
                let resources = list["resources"].as_array().cloned().unwrap_or_default();
                let row = |one: &Value| format!("{group_version} {} {}", text(&one["name"]), verbs(&one["verbs"]));
                plain.extend(resources.iter().map(row));
            }
        }
    }
    ensure!(plain.len() > 100, "expected more than 100 resources, saw {}", plain.len());
    let difference: Vec<_> = plain.symmetric_difference(&aggregated).collect();
    ensure!(difference.is_empty(), "expected the same resources, saw in one only: {difference:?}");
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn verbs(value: &Value) -> String {
    let mut verbs: Vec<&str> = value.as_array().into_iter().flatten().map(text).collect();
    verbs.sort_unstable();
    verbs.join(",")
}

/// `group/version resource verbs`, subresources as `resource/sub`.
fn aggregated_rows(group_version: &str, version: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for resource in version["resources"].as_array().into_iter().flatten() {
        let name = text(&resource["resource"]);
        // One without verbs is there for its subresources only, and plain discovery leaves it out.
        if resource["verbs"].as_array().is_some_and(|all| !all.is_empty()) {
            rows.push(format!("{group_version} {name} {}", verbs(&resource["verbs"])));
        }
        for sub in resource["subresources"].as_array().into_iter().flatten() {
            rows.push(format!("{group_version} {name}/{} {}", text(&sub["subresource"]), verbs(&sub["verbs"])));
        }
    }
    rows
}

async fn openapi_v3_by_group(scope: &Scope) -> Result<()> {
    let index = scope.cluster.object(Call::get("/openapi/v3")).await?;
    for (path, kind) in [("api/v1", "io.k8s.api.core.v1.Pod"), ("apis/apps/v1", "io.k8s.api.apps.v1.Deployment")] {
        let url =
            index["paths"][path]["serverRelativeURL"].as_str().with_context(|| format!("no {path} in {index}"))?;
        contains("serverRelativeURL", url, "hash=")?;
        let document = scope.cluster.object(Call::get(url)).await?;
        let schema = &document["components"]["schemas"][kind];
        ensure!(schema["properties"]["spec"].is_object(), "{path}: expected a schema {kind} with spec, saw {schema}");
        ensure!(schema["x-kubernetes-group-version-kind"].is_array(), "{kind} has no group, version and kind");
        ensure!(document["paths"].as_object().is_some_and(|paths| paths.len() > 10), "{path}: no paths");
    }
    Ok(())
}

async fn openapi_v2_is_cached(scope: &Scope) -> Result<()> {
    let first = scope.cluster.call(Call::get("/openapi/v2")).await?.ok()?;
    let etag = first.header("etag").to_owned();
    ensure!(!etag.is_empty(), "expected an ETag, saw {:?}", first.headers);
    let document = first.json()?;
    same("swagger", document["swagger"].as_str(), Some("2.0"))?;
    ensure!(document["definitions"]["io.k8s.api.core.v1.Pod"].is_object(), "no definition of Pod");
    let again = scope.cluster.call(Call::get("/openapi/v2").header("if-none-match", &etag)).await?;
    same("status to who has it", again.status, 304)?;
    same("body to who has it", again.body.len(), 0)
}

async fn health_is_told(scope: &Scope) -> Result<()> {
    for path in ["/livez", "/readyz"] {
        same(path, scope.cluster.call(Call::get(path).accept("*/*")).await?.ok()?.text(), "ok".to_owned())?;
        let verbose = scope.cluster.call(Call::get(format!("{path}?verbose")).accept("*/*")).await?.ok()?.text();
        contains(path, &verbose, "[+]ping ok")?;
        contains(path, &verbose, &format!("{} check passed", &path[1..]))?;
    }
    Ok(())
}

async fn unknown_paths_are_404(scope: &Scope) -> Result<()> {
    let words = "the server could not find the requested resource";
    for path in ["/api/v1/nothings", "/apis/apps/v9/deployments", "/apis/none.example.com/v1/things"] {
        let answer = scope.cluster.call(Call::get(path)).await?;
        same(path, answer.status, 404)?;
        // Below a group that is served the answer is a Status; elsewhere any text will do.
        if path.contains("/v1/nothings") {
            contains(path, &answer.error().message, words)?;
        }
    }
    let missing = scope.config_maps().get("missing").await;
    let error = refused(missing, 404, "NotFound")?;
    same("message", error.message.as_str(), r#"configmaps "missing" not found"#)?;
    same("details", &error.status["details"], &json!({"name": "missing", "kind": "configmaps"}))
}
