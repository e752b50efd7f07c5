//! Discovery: which groups, versions and resources there are, read from the catalogue's rows.
//!
//! Kubernetes API concept: "API discovery". Both forms are served: one document a group version, and all in one
//! (aggregated), by what the client accepts.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Request};
use machinery::catalogue::{Resource, Subresource, priorities};
use machinery::status::Status;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aggregation::documents;
use crate::aggregation::extension::Extension;
use crate::catalogue::Catalogue;
use crate::http_body::{Response, empty, full};
use crate::paths;
use crate::request::Query;
use crate::rest::negotiate::{self, Accept, check_routed};
use crate::rest::respond;

/// Answers `/api`, `/apis` and what is below them but no resource; `None` for other paths.
pub fn answer(
    catalogue: &Catalogue,
    extensions: &[Arc<Extension>],
    address: &str,
    path: &str,
    request: &Request<()>,
) -> Option<Result<Response, Status>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["api"] => return Some(root(catalogue, &[], request, Some(address))),
        ["apis"] => return Some(root(catalogue, extensions, request, None)),
        ["api", "v1"] => return Some(resources(catalogue, path, "", "v1", request)),
        ["apis", group] => group_document(catalogue, group).or_else(|| documents::group(group, extensions)),
        ["apis", group, version] => return Some(resources(catalogue, path, group, version, request)),
        _ => return None,
    };
    let accept = accept_of(request);
    Some(match (document, accept) {
        (Some(document), Ok(accept)) => respond::encoded(accept, 200, &document),
        (None, _) => paths::unknown(catalogue, path),
        (_, Err(status)) => Err(status),
    })
}

fn accept_of(request: &Request<()>) -> Result<Accept, Status> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    check_routed(request.headers(), false)?;
    Accept::of_document(request.headers(), negotiate::pretty(&query))
}

/// The versions of the core, with the server's address (`of_core`), or all other groups.
fn root(
    catalogue: &Catalogue,
    extensions: &[Arc<Extension>],
    request: &Request<()>,
    of_core: Option<&str>,
) -> Result<Response, Status> {
    let headers = request.headers();
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(version) = aggregated_version(accepted) {
        return aggregated(catalogue, extensions, headers, of_core.is_some(), version);
    }
    let accept = accept_of(request)?;
    let document = if let Some(address) = of_core {
        let everybody = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": everybody})
    } else {
        let mut groups: Vec<Value> = groups(catalogue)
            .iter()
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, versions)| group_entry(group, versions))
            .collect();
        documents::add_groups(&mut groups, extensions);
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    };
    respond::encoded(accept, 200, &document)
}

/// The version of aggregated discovery that the client asks for first.
fn aggregated_version(accepted: &str) -> Option<&'static str> {
    accepted.split(',').find_map(|clause| {
        let has = |part: &str| clause.split(';').any(|own| own.trim() == part);
        if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
            return None;
        }
        ["v2", "v2beta1"].into_iter().find(|version| has(&format!("v={version}")))
    })
}

/// Groups with their versions, each in the order in which clients are to take them.
fn groups(catalogue: &Catalogue) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for served in catalogue.offered() {
        let versions = groups.entry(served.row.group.to_string()).or_default();
        if !versions.contains(&served.row.version.to_string()) {
            versions.push(served.row.version.to_string());
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    for (group, versions) in &mut groups {
        versions.sort_by_key(|version| Reverse(priorities::of(group, version)));
    }
    // The group of the APIServices themselves has no APIService, and stands first.
    let is_first = |group: &str| group == "apiregistration.k8s.io";
    groups.sort_by_key(|(group, versions)| {
        let priority = versions.first().and_then(|version| priorities::of(group, version));
        (!is_first(group), Reverse(priority.map(|priority| priority.group)))
    });
    groups
}

fn group_entry(group: &str, versions: &[String]) -> Value {
    let entries: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": entries, "preferredVersion": entries.first()})
}

fn group_document(catalogue: &Catalogue, group: &str) -> Option<Value> {
    let (group, versions) = groups(catalogue).into_iter().find(|(name, _)| name == group)?;
    let mut document = group_entry(&group, &versions);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// Whether resources of the group version are listed.
pub fn is_served(catalogue: &Catalogue, group: &str, version: &str) -> bool {
    rows(catalogue, group, version).next().is_some()
}

fn rows<'a>(catalogue: &'a Catalogue, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    catalogue.offered().map(|served| &served.row).filter(move |row| row.group == group && row.version == version)
}

/// `APIResourceList` and below it `APIResource`, members in upstream's order: shell scripts cut entries out of the text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceList<'a> {
    kind: &'static str,
    api_version: &'static str,
    group_version: String,
    resources: Vec<Entry<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    name: Cow<'a, str>,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    kind: &'a str,
    verbs: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
}

fn resources(
    catalogue: &Catalogue,
    path: &str,
    group: &str,
    version: &str,
    request: &Request<()>,
) -> Result<Response, Status> {
    let mut resources: Vec<Entry<'_>> = Vec::new();
    for row in rows(catalogue, group, version) {
        resources.push(entry(row));
        resources.extend(row.subresources.iter().map(|subresource| subresource_entry(row, subresource)));
    }
    if resources.is_empty() {
        return paths::unknown(catalogue, path);
    }
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    let group_version = machinery::gvk::api_version(group, version);
    let list = ResourceList { kind: "APIResourceList", api_version: "v1", group_version, resources };
    respond::encoded_in_order(accept_of(request)?, 200, &list)
}

fn entry(row: &Resource) -> Entry<'_> {
    Entry {
        name: Cow::Borrowed(row.plural.as_ref()),
        singular_name: &row.singular,
        namespaced: row.namespaced,
        kind: &row.kind,
        verbs: row.verbs,
        short_names: &row.short_names,
        categories: &row.categories,
        storage_version_hash: row.storage.is_some().then(|| storage_version_hash(row)),
        ..Entry::default()
    }
}

/// Tells clients whether the stored form changed: upstream's hash of group, version and kind.
fn storage_version_hash(row: &Resource) -> String {
    let stored = row.stored_gvk();
    let hash = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, stored.kind));
    STANDARD.encode(&hash[..8])
}

fn subresource_entry<'a>(row: &'a Resource, subresource: &'a Subresource) -> Entry<'a> {
    let elsewhere = subresource.kind.filter(|(group, version, _)| *group != row.group || *version != row.version);
    let (group, version, _) = elsewhere.unwrap_or_default();
    Entry {
        name: Cow::Owned(format!("{}/{}", row.plural, subresource.name)),
        namespaced: row.namespaced,
        group,
        version,
        kind: subresource.kind.map_or(row.kind.as_ref(), |(_, _, kind)| kind),
        verbs: subresource.verbs,
        ..Entry::default()
    }
}

fn aggregated(
    catalogue: &Catalogue,
    extensions: &[Arc<Extension>],
    headers: &HeaderMap,
    is_core: bool,
    version: &str,
) -> Result<Response, Status> {
    let groups = groups(catalogue);
    let mut items: Vec<Value> = groups
        .iter()
        .filter(|(group, _)| group.is_empty() == is_core)
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| aggregated_version_entry(catalogue, group, version)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    documents::add_aggregated(&mut items, extensions);
    let api_version = format!("apidiscovery.k8s.io/{version}");
    let document = json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items});
    let bytes = serde_json::to_vec(&document).map_err(Status::internal_error)?;
    let tag = format!("\"{:X}\"", u128::from_be_bytes(Sha256::digest(&bytes)[..16].try_into().unwrap_or_default()));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if unchanged { empty() } else { full(bytes) });
    if unchanged {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    }
    let media_type = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_str(&media_type).map_err(Status::internal_error)?);
    set.insert(ETAG, HeaderValue::from_str(&tag).map_err(Status::internal_error)?);
    set.insert(VARY, HeaderValue::from_static("Accept"));
    set.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}

fn aggregated_version_entry(catalogue: &Catalogue, group: &str, version: &str) -> Value {
    let mut rows: Vec<&Resource> = rows(catalogue, group, version).collect();
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    let resources: Vec<Value> = rows.into_iter().map(aggregated_entry).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn kind_of(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_entry(row: &Resource) -> Value {
    let mut entry = json!({
        "resource": row.plural, "responseKind": kind_of("", "", &row.kind),
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular, "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        entry["subresources"] = row
            .subresources
            .iter()
            .map(|subresource| {
                let kind = match subresource.kind {
                    Some((group, version, kind)) if group != row.group || version != row.version => {
                        kind_of(group, version, kind)
                    }
                    Some((_, _, kind)) => kind_of("", "", kind),
                    None => kind_of("", "", &row.kind),
                };
                json!({"subresource": subresource.name, "responseKind": kind, "verbs": subresource.verbs})
            })
            .collect();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_upstream() {
        let row = machinery::catalogue::BUILTIN.iter().find(|row| row.plural == "configmaps").unwrap();
        assert_eq!(storage_version_hash(row), "qFsyl6wFWjQ=");
    }

    #[test]
    fn the_first_accepted_version_is_answered() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_version(kubectl), Some("v2"));
        assert_eq!(aggregated_version("application/json"), None);
    }
}
