//! What extension servers say of themselves, merged into this server's discovery and OpenAPI.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::meta;
use machinery::openapi::Extra;
use serde_json::{Value, json};

use super::extension::Extension;

/// Adds their groups to an `APIGroupList`'s: behind the built-in ones, or, of a group that is there, their versions.
pub fn add_groups(groups: &mut Vec<Value>, extensions: &[Arc<Extension>]) {
    for extension in extensions {
        let entry = json!({
            "groupVersion": format!("{}/{}", extension.group, extension.version), "version": extension.version,
        });
        let known = groups.iter_mut().find(|group| group["name"] == extension.group);
        match known.and_then(|group| group["versions"].as_array_mut()) {
            Some(versions) if versions.contains(&entry) => {}
            Some(versions) => versions.push(entry),
            None => groups.push(json!({"name": extension.group, "versions": [entry], "preferredVersion": entry})),
        }
    }
}

/// The `APIGroup` of a group that only they serve.
pub fn group(name: &str, extensions: &[Arc<Extension>]) -> Option<Value> {
    let mut groups = Vec::new();
    add_groups(&mut groups, extensions);
    let mut document = groups.into_iter().find(|group| group["name"] == name)?;
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

/// Adds them to the items of an `APIGroupDiscoveryList`. What cannot be asked now is told as it was last, and marked.
pub fn add_aggregated(items: &mut Vec<Value>, extensions: &[Arc<Extension>]) {
    for extension in extensions {
        let entry = json!({
            "version": extension.version,
            "resources": aggregated(&extension.resources),
            "freshness": if extension.available { "Current" } else { "Stale" },
        });
        let known = items.iter_mut().find(|item| item["metadata"]["name"] == extension.group);
        match known.and_then(|item| item["versions"].as_array_mut()) {
            Some(versions) if versions.iter().any(|known| known["version"] == extension.version) => {}
            Some(versions) => versions.push(entry),
            None => items.push(json!({"metadata": {"name": extension.group}, "versions": [entry]})),
        }
    }
}

/// An `APIResourceList` in the shape of aggregated discovery: subresources below what they belong to.
fn aggregated(list: &Value) -> Vec<Value> {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let kind =
        |of: &Value| json!({"group": text(of, "group"), "version": text(of, "version"), "kind": text(of, "kind")});
    let mut below: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut resources = Vec::new();
    for entry in meta::list(list, "resources") {
        let name = text(entry, "name");
        if let Some((parent, subresource)) = name.split_once('/') {
            let told = json!({"subresource": subresource, "responseKind": kind(entry), "verbs": entry["verbs"]});
            below.entry(parent.to_owned()).or_default().push(told);
            continue;
        }
        let mut told = json!({
            "resource": name, "responseKind": kind(entry), "singularResource": text(entry, "singularName"),
            "scope": if meta::is_true(entry, "namespaced") { "Namespaced" } else { "Cluster" },
            "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                told[field] = entry[field].clone();
            }
        }
        resources.push(told);
    }
    for resource in &mut resources {
        if let Some(subresources) = below.remove(resource["resource"].as_str().unwrap_or_default()) {
            resource["subresources"] = Value::Array(subresources);
        }
    }
    resources
}

/// Their lines of the OpenAPI v3 index: path and URL.
pub fn v3_entries(extensions: &[Arc<Extension>]) -> Vec<(String, String)> {
    let hashed = extensions.iter().filter_map(|extension| Some((extension, extension.v3_hash.as_ref()?)));
    let entry = |(extension, hash): (&Arc<Extension>, &String)| {
        let path = extension.path().trim_start_matches('/').to_owned();
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, url)
    };
    hashed.map(entry).collect()
}

/// Their own paths and what these need of their OpenAPI v2 documents.
pub fn v2(extensions: &[Arc<Extension>]) -> Extra {
    let mut extra = Extra::default();
    for extension in extensions {
        let (own, below) = (extension.path() + "/", format!("/apis/{}/", extension.group));
        let paths = extension.v2["paths"].as_object().into_iter().flatten();
        let own = paths.filter(|(path, _)| path.starts_with(&own) || **path == below);
        extra.paths.extend(own.map(|(path, item)| (path.clone(), item.clone())));
        let definitions = extension.v2["definitions"].as_object().into_iter().flatten();
        extra.definitions.extend(definitions.map(|(name, item)| (name.clone(), item.clone())));
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_stand_below_what_they_belong_to() {
        let list = json!({"resources": [
            {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get"]},
            {"name": "pods/scale", "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["update"]},
        ]});
        let told = aggregated(&list);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["scope"], "Namespaced");
        assert_eq!(told[0]["subresources"][0]["responseKind"]["group"], "autoscaling");
    }
}
