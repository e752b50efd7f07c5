//! What a container asks for, and what a pod asks for as a whole (Kubernetes concepts: "Resource Management for Pods and
//! Containers", "Dynamic Resource Allocation").

use std::collections::{BTreeSet, HashSet};

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Value;

use crate::kinds::go_form;
use crate::kinds::pod::form;
use crate::kinds::pod::together::{self, HUGE_PAGES};
use crate::kinds::{resource_names, validate};

type NameRules = fn(&str, &Path) -> ErrorList;

/// `claims`: the names of the pod's resource claims.
pub fn container(resources: &Value, claims: &BTreeSet<&str>, path: &Path) -> ErrorList {
    requirements(resources, resource_names::container, claims, path)
}

fn requirements(resources: &Value, name_rules: NameRules, claims: &BTreeSet<&str>, path: &Path) -> ErrorList {
    let (limits, requests) = (meta::map(resources, "limits"), meta::map(resources, "requests"));
    let (limits_at, requests_at) = (path.child("limits"), path.child("requests"));
    let mut errors = ErrorList::new();
    for (name, limit) in limits {
        let at = limits_at.key(name);
        errors.extend(name_rules(name, &at));
        errors.extend(resource_names::amount(name, limit, &at));
        errors.extend(whole_pages(name, limit, &at));
    }
    for (name, request) in requests {
        let at = requests_at.key(name);
        errors.extend(name_rules(name, &at));
        errors.extend(resource_names::amount(name, request, &at));
        match limits.get(name) {
            Some(limit) => errors.extend(within_limit(name, request, limit, &requests_at)),
            None if !resource_names::may_be_overcommitted(name) => {
                errors.push(Error::required(&limits_at, "Limit must be set for non overcommitable resources"));
            }
            None => {}
        }
        errors.extend(whole_pages(name, request, &at));
    }
    let mut names = limits.keys().chain(requests.keys());
    let has_pages = names.clone().any(|name| name.starts_with(HUGE_PAGES));
    if has_pages && !names.any(|name| matches!(name.as_str(), "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
    errors.extend(claimed(resources, claims, &path.child("claims")));
    errors
}

fn within_limit(name: &str, request: &Value, limit: &Value, path: &Path) -> Option<Error> {
    let (wanted, limit) = (Quantity::from_value(request).ok()?, Quantity::from_value(limit).ok()?);
    let why = if !resource_names::may_be_overcommitted(name) && wanted != limit {
        format!("must be equal to {name} limit of {limit}")
    } else if wanted > limit {
        format!("must be less than or equal to {name} limit of {limit}")
    } else {
        return None;
    };
    Some(Error::invalid(path, wanted.to_string(), why))
}

/// Memory in pages of a size comes in whole pages.
fn whole_pages(name: &str, amount: &Value, path: &Path) -> Option<Error> {
    let size = name.strip_prefix(HUGE_PAGES)?;
    let amount = Quantity::from_value(amount).ok()?;
    let size = Quantity::parse(size).ok().filter(|size| size.sign() > 0 && !size.is_fractional());
    let fits = size.is_some_and(|size| amount.value() % size.value() == 0);
    let why = format!("{amount} is not positive integer multiple of {name}");
    (!fits).then(|| Error::invalid(path, amount.to_string(), why))
}

fn claimed(resources: &Value, claims: &BTreeSet<&str>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    // A claim as a whole, or `claim/request`.
    let mut known: HashSet<String> = HashSet::new();
    for (position, entry) in meta::list(resources, "claims").iter().enumerate() {
        let at = path.index(position);
        let (name, request) = (meta::text(entry, "name"), meta::text(entry, "request"));
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        if known.contains(name) {
            errors.push(Error::duplicate(&at, name));
        } else {
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                errors.extend(validate::named(request, names::dns_label, &at.child("request")));
            }
            if known.contains(&key) {
                errors.push(Error::duplicate(&at, key.as_str()));
            } else if request.is_empty() {
                let parts = known.iter().filter(|key| key.split_once('/').is_some_and(|(claim, _)| claim == name));
                errors.extend(parts.map(|_| Error::duplicate(&at, name)));
            }
            known.insert(key);
        }
        if !claims.contains(name) {
            let mut error = Error::not_found(&at, name);
            let all: Vec<&str> = claims.iter().copied().collect();
            let which = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{which}");
            errors.push(error);
        }
    }
    errors
}

/// The claims of a pod. `is_static`: the pod stands for one that a node made by itself.
pub fn claims(spec: &Value, is_static: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, claim) in meta::list(spec, "resourceClaims").iter().enumerate() {
        if is_static {
            errors.push(Error::forbidden(&Path::root(), "static pods do not support resource claims"));
            continue;
        }
        let at = path.index(position);
        let (name, name_at) = (meta::text(claim, "name"), at.child("name"));
        if name.is_empty() {
            errors.push(Error::required(&name_at, ""));
        } else if known.insert(name) {
            errors.extend(validate::named(name, names::dns_label, &name_at));
        } else {
            errors.push(Error::duplicate(&name_at, name));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let why = match sources.iter().filter(|source| claim[**source].is_string()).count() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            2 => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
            _ => None,
        };
        let shown = || go_form::write(claim, &form::RESOURCE_CLAIM);
        errors.extend(why.map(|why| Error::invalid(&at, claim.clone(), why).showing(shown())));
        for source in sources {
            let target = claim[source].as_str();
            errors.extend(
                target.into_iter().flat_map(|name| validate::named(name, names::dns_subdomain, &at.child(source))),
            );
        }
    }
    errors
}

/// What the pod asks for as a whole.
pub fn pod(spec: &Value, claims: &BTreeSet<&str>, path: &Path) -> ErrorList {
    let resources = &spec["resources"];
    if resources.is_null() {
        return ErrorList::new();
    }
    if meta::text(spec, "os.name") == "windows" {
        return vec![Error::forbidden(path, "may not be set for a windows pod")];
    }
    let mut errors = ErrorList::new();
    if !resources["claims"].is_null() {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.child("claims"), why));
    }
    errors.extend(requirements(resources, pod_name, claims, path));
    errors.extend(consistent(spec, path));
    errors
}

fn pod_name(name: &str, path: &Path) -> ErrorList {
    let mut errors = resource_names::any(name, path);
    if errors.is_empty() && !together::is_of_pod(name) {
        errors.push(Error::not_supported(path, name, &["cpu", HUGE_PAGES, "memory"]));
    }
    errors
}

/// The containers must fit into what the pod has.
fn consistent(spec: &Value, path: &Path) -> ErrorList {
    let (requests, limits) = (meta::map(spec, "resources.requests"), meta::map(spec, "resources.limits"));
    let given = |amounts: &serde_json::Map<String, Value>, name: &str| Quantity::from_value(amounts.get(name)?).ok();
    let mut errors = ErrorList::new();
    let sums = [("requests", requests, ""), ("limits", limits, HUGE_PAGES)];
    for (kind, amounts, prefix) in sums {
        for (name, sum) in together::sum(spec, kind).into_iter().filter(|(name, _)| name.starts_with(prefix)) {
            let Some(whole) = given(amounts, name).filter(|whole| sum > *whole) else { continue };
            let why = format!("must be greater than or equal to aggregate container {kind} of {sum}");
            errors.push(Error::invalid(&path.child(kind).key(name), whole.to_string(), why));
        }
    }
    for (position, container) in meta::list(spec, "containers").iter().enumerate() {
        for (name, limit) in meta::map(container, "resources.limits") {
            let (Some(whole), Ok(limit)) = (given(limits, name), Quantity::from_value(limit)) else { continue };
            if limit > whole {
                let at = path.child("containers").index(position).key(name).child("limits");
                let why = format!("must be less than or equal to pod limits of {whole}");
                errors.push(Error::invalid(&at, limit.to_string(), why));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn requests_stay_within_limits() {
        let claims = BTreeSet::from(["a", "b"]);
        for (resources, want) in [
            (json!({"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}), vec![]),
            (json!({"claims": [{"name": "a", "request": "x"}, {"name": "a", "request": "y"}, {"name": "b"}]}), vec![]),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                vec!["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
            ),
            (
                json!({"requests": {"a.b/c": "1"}}),
                vec!["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}}),
                vec![
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
            (
                json!({"claims": [{"name": "c"}, {"name": "a"}, {"name": "a"}]}),
                vec![
                    "r.claims[0]: Not found: \"c\": must be one of the names in pod.spec.resourceClaims: a, b",
                    "r.claims[2]: Duplicate value: \"a\"",
                ],
            ),
            (
                json!({"claims": [{"name": "a", "request": "x"}, {"name": "a"}]}),
                vec!["r.claims[1]: Duplicate value: \"a\""],
            ),
        ] {
            assert_eq!(told(container(&resources, &claims, &Path::new("r"))), want, "{resources}");
        }
    }

    #[test]
    fn a_claim_has_one_source() {
        for (claim, want) in [
            (json!({"name": "a", "resourceClaimName": "x"}), vec![]),
            (
                json!({"name": "a"}),
                vec![
                    "c[0]: Invalid value: {\"Name\":\"a\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                ],
            ),
            (json!({"resourceClaimTemplateName": "x"}), vec!["c[0].name: Required value"]),
        ] {
            let spec = json!({"resourceClaims": [claim]});
            assert_eq!(told(claims(&spec, false, &Path::new("c"))), want, "{claim}");
            assert_eq!(
                told(claims(&spec, true, &Path::new("c"))),
                ["<nil>: Forbidden: static pods do not support resource claims"]
            );
        }
    }

    #[test]
    fn containers_fit_into_their_pod() {
        let spec = |whole: Value, own: Value| json!({"resources": whole, "containers": [{"resources": own}]});
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}});
        for (spec, want) in [
            (spec(cpu("2"), cpu("1")), vec![]),
            (
                spec(json!({"requests": {"ephemeral-storage": "1"}}), json!({})),
                vec![
                    "p.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
                ],
            ),
            (
                spec(cpu("1"), cpu("2")),
                vec![
                    "p.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                    "p.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
                ],
            ),
            (
                json!({"os": {"name": "windows"}, "resources": {}}),
                vec!["p: Forbidden: may not be set for a windows pod"],
            ),
        ] {
            assert_eq!(told(pod(&spec, &BTreeSet::new(), &Path::new("p"))), want, "{spec}");
        }
    }
}
