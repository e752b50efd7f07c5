//! Which resource claims a pod's status may name: those of its spec, and the one that was made for extended resources.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::validate;

/// The claims that were made of templates, or were there.
pub fn claims(pod: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (position, status) in meta::list(pod, "status.resourceClaimStatuses").iter().enumerate() {
        let at = path.index(position);
        let name = meta::text(status, "name");
        if meta::list(pod, "spec.resourceClaims").iter().all(|claim| claim["name"] != name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&at.child("name"), name, why));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        if let Some(claim) = status["resourceClaimName"].as_str() {
            errors.extend(validate::named(claim, names::dns_subdomain, &at.child("resourceClaimName")));
        }
    }
    errors
}

/// The claim behind extended resources that containers ask for.
pub fn extended(pod: &Value, path: &Path) -> ErrorList {
    let status = meta::at(pod, "status.extendedResourceClaimStatus");
    let mut errors = ErrorList::new();
    if status.is_null() {
        return errors;
    }
    let (mappings, at) = (meta::list(status, "requestMappings"), path.child("requestMappings"));
    if mappings.is_empty() {
        errors.push(Error::required(&at, "at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for (position, mapping) in mappings.iter().enumerate() {
        let at = at.index(position);
        errors.extend(asked_for(&pod["spec"], mapping, &at));
        errors.extend(validate::named(
            meta::text(mapping, "requestName"),
            names::dns_label,
            &path.child("requestName"),
        ));
        const NAMES: [&str; 3] = ["containerName", "resourceName", "requestName"];
        if !seen.insert(NAMES.map(|name| meta::text(mapping, name))) {
            errors.extend(NAMES.map(|name| Error::duplicate(&at.child(name), meta::text(mapping, name))));
        }
    }
    let at = path.child("resourceClaimName");
    match meta::text(status, "resourceClaimName") {
        "" => errors.push(Error::required(&at, "")),
        name => errors.extend(validate::named(name, names::dns_subdomain, &at)),
    }
    errors
}

fn asked_for(spec: &Value, mapping: &Value, at: &Path) -> Option<Error> {
    let (container, resource) = (meta::text(mapping, "containerName"), meta::text(mapping, "resourceName"));
    let mut containers = ["containers", "initContainers"].into_iter().flat_map(|list| meta::list(spec, list));
    let Some(found) = containers.find(|found| found["name"] == container) else {
        let why = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
        return Some(Error::invalid(&at.child("containerName"), container, why));
    };
    let why = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
    let is_asked_for = meta::map(found, "resources.requests").contains_key(resource);
    (!is_asked_for).then(|| Error::invalid(&at.child("resourceName"), resource, why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn a_claim_is_one_of_the_specs_and_stands_once() {
        let of = |names: &[&str]| {
            let statuses: Vec<Value> =
                names.iter().map(|name| json!({"name": name, "resourceClaimName": "c"})).collect();
            let pod =
                json!({"spec": {"resourceClaims": [{"name": "a"}]}, "status": {"resourceClaimStatuses": statuses}});
            told(claims(&pod, &Path::new("s")))
        };
        assert!(of(&["a"]).is_empty());
        assert_eq!(
            of(&["b"]),
            ["s[0].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`"]
        );
        assert_eq!(of(&["a", "a"]), ["s[1].name: Duplicate value: \"a\""]);
    }

    #[test]
    fn an_extended_claim_maps_what_containers_ask_for() {
        let container = json!({"name": "c", "resources": {"requests": {"e.io/x": "1"}}});
        let of = |status: Value| {
            let pod = json!({"spec": {"containers": [container]}, "status": {"extendedResourceClaimStatus": status}});
            told(extended(&pod, &Path::new("s")))
        };
        let good = json!({"containerName": "c", "resourceName": "e.io/x", "requestName": "r"});
        assert!(of(Value::Null).is_empty());
        assert!(of(json!({"requestMappings": [good], "resourceClaimName": "a"})).is_empty());
        assert_eq!(
            of(json!({"requestMappings": [], "resourceClaimName": ""})),
            [
                "s.requestMappings: Required value: at least one request mapping is required",
                "s.resourceClaimName: Required value"
            ]
        );
        let twice = of(json!({"requestMappings": [good, good], "resourceClaimName": "a"}));
        assert_eq!(twice.len(), 3, "{twice:?}");
        let other = json!({"containerName": "d", "resourceName": "e.io/x", "requestName": "r"});
        let odd = of(json!({"requestMappings": [other], "resourceClaimName": "a"}));
        assert!(odd[0].starts_with("s.requestMappings[0].containerName: Invalid value: \"d\""), "{odd:?}");
        let unasked = json!({"containerName": "c", "resourceName": "e.io/y", "requestName": "r"});
        let odd = of(json!({"requestMappings": [unasked], "resourceClaimName": "a"}));
        assert!(odd[0].starts_with("s.requestMappings[0].resourceName: Invalid value: \"e.io/y\""), "{odd:?}");
    }
}
