//! What a pod's status may become.

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::{annotations, status_claims, status_parts};
use crate::kinds::validate;

pub fn validate_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = annotations::of_update(new, old);
    let path = Path::new("status");
    errors.extend(conditions(new, &path.child("conditions")));
    errors.extend(nominated(new, old, &path.child("nominatedNodeName")));
    if let Some(generation) = meta::at(new, "status.observedGeneration").as_i64().filter(|generation| *generation < 0) {
        errors.push(Error::invalid(&path.child("observedGeneration"), generation, "must be a non-negative integer"));
    }
    let class = meta::text(new, "status.qosClass");
    if class != meta::text(old, "status.qosClass") {
        errors.push(Error::invalid(&path.child("qosClass"), class, "field is immutable"));
    }
    errors.extend(restarts(new, old, &path));
    errors.extend(status_claims::claims(new, &path.child("resourceClaimStatuses")));
    errors.extend(status_claims::extended(new, &path.child("extendedResourceClaimStatus")));
    errors.extend(addresses(new, old, "podIPs", &path));
    errors.extend(addresses(new, old, "hostIPs", &path));
    errors.extend(status_parts::users(new, &path));
    errors.extend(status_parts::allocated(new, &path));
    errors
}

fn conditions(pod: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, condition) in meta::list(pod, "status.conditions").iter().enumerate() {
        let at = path.index(position);
        if let Some(generation) = condition["observedGeneration"].as_i64().filter(|generation| *generation < 0) {
            errors.push(Error::invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer"));
        }
        let kind = meta::text(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            errors.extend(validate::named(kind, names::qualified_name, &at.child("Type")));
        }
    }
    errors
}

/// A pod that has a node is not on its way to another.
fn nominated(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let name = meta::text(new, "status.nominatedNodeName");
    if name.is_empty() || name == meta::text(old, "status.nominatedNodeName") {
        return ErrorList::new();
    }
    let mut errors = validate::named(name, names::dns_subdomain, path);
    if !meta::text(old, "spec.nodeName").is_empty() {
        errors.push(Error::forbidden(path, "may not be set on pods that are already bound to a node"));
    }
    errors
}

/// Lists of a status, and what of the spec they tell of.
pub(super) const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// What has ended for good does not run again.
fn restarts(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let spec = &old["spec"];
    let mut errors = ErrorList::new();
    for (field, list) in STATUSES {
        if list != "ephemeralContainers" && all_may_restart(spec) {
            continue;
        }
        let now = meta::list(&new["status"], field);
        for (position, before) in meta::list(&old["status"], field).iter().enumerate() {
            let ended = &before["state"]["terminated"];
            let runs =
                now.iter().any(|status| status["name"] == before["name"] && status["state"]["terminated"].is_null());
            if ended.is_null() || !runs || may_restart(spec, list, before) {
                continue;
            }
            let at = path.child(field).index(position).child("state");
            errors.push(Error::forbidden(&at, "may not be transitioned to non-terminated state"));
        }
    }
    errors
}

fn all_may_restart(spec: &Value) -> bool {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| meta::list(spec, list));
    let mut rules = containers.flat_map(|container| meta::list(container, "restartPolicyRules"));
    rules.any(|rule| rule["action"] == "RestartAllContainers")
}

fn may_restart(spec: &Value, list: &str, status: &Value) -> bool {
    let containers = meta::list(spec, list);
    let Some(container) = containers.iter().find(|container| container["name"] == status["name"]) else { return false };
    if list == "ephemeralContainers" {
        return false;
    }
    let code = meta::at(status, "state.terminated.exitCode").as_i64().unwrap_or(0);
    let applies = |rule: &&Value| {
        let has = meta::list(rule, "exitCodes.values").iter().any(|value| value.as_i64() == Some(code));
        match meta::text(rule, "exitCodes.operator") {
            "In" => has,
            "NotIn" => !has,
            _ => false,
        }
    };
    if let Some(rule) = meta::list(container, "restartPolicyRules").iter().find(applies) {
        return rule["action"] == "Restart";
    }
    let own = container["restartPolicy"].as_str();
    match own.unwrap_or_else(|| meta::text(spec, "restartPolicy")) {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

/// At most one address of each family; one that was there before is not judged again.
fn addresses(new: &Value, old: &Value, field: &str, path: &Path) -> ErrorList {
    let at = path.child(field);
    let (entries, before) = (meta::list(&new["status"], field), meta::list(&old["status"], field));
    let mut errors = ErrorList::new();
    let first = entries.first().map(|entry| meta::text(entry, "ip"));
    if let Some(first) = first.filter(|first| field == "hostIPs" && *first != meta::text(new, "status.hostIP")) {
        errors.push(Error::invalid(&at.index(0).child("ip"), first, "must be equal to `hostIP`"));
    }
    for (position, entry) in entries.iter().enumerate().filter(|(_, entry)| !before.contains(entry)) {
        errors.extend(validate::address(meta::text(entry, "ip"), &at.index(position)));
    }
    let parsed = entries.iter().filter_map(|entry| meta::text(entry, "ip").parse::<IpAddr>().ok());
    let (four, six): (Vec<IpAddr>, Vec<IpAddr>) = parsed.partition(IpAddr::is_ipv4);
    if four.len() > 1 || six.len() > 1 {
        let why = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&at, entries.to_vec(), why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(policy: &str, container: Value, state: Value) -> Value {
        let mut spec = json!({"restartPolicy": policy, "containers": [{"name": "c"}]});
        spec["containers"][0].as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        json!({"spec": spec, "status": {"containerStatuses": [{"name": "c", "state": state}]}})
    }

    #[test]
    fn what_ended_for_good_stays_so() {
        let failed = json!({"terminated": {"exitCode": 1}});
        let done = json!({"terminated": {"exitCode": 0}});
        let by_rule =
            json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]});
        for (policy, container, ended, allowed) in [
            ("Always", json!({}), &done, true),
            ("OnFailure", json!({}), &failed, true),
            ("OnFailure", json!({}), &done, false),
            ("Never", json!({}), &failed, false),
            ("Never", json!({"restartPolicy": "Always"}), &done, true),
            ("Never", by_rule.clone(), &failed, true),
            ("Never", by_rule, &done, false),
        ] {
            let old = pod(policy, container.clone(), ended.clone());
            let new = pod(policy, container.clone(), json!({"running": {}}));
            assert_eq!(validate_status(&new, &old).is_empty(), allowed, "{policy} {container} {ended}");
        }
    }

    #[test]
    fn there_is_one_address_of_each_family() {
        let with = |addresses: &[&str]| {
            let entries: Value = addresses.iter().map(|address| json!({"ip": address})).collect();
            json!({"spec": {}, "status": {"podIPs": entries}})
        };
        for (addresses, wrong) in
            [(vec!["10.0.0.1", "fd00::1"], 0), (vec!["10.0.0.1", "10.0.0.2"], 1), (vec!["nowhere"], 1)]
        {
            assert_eq!(validate_status(&with(&addresses), &with(&[])).len(), wrong, "{addresses:?}");
        }
        assert!(validate_status(&with(&["nowhere"]), &with(&["nowhere"])).is_empty());
    }

    #[test]
    fn a_bound_pod_is_not_nominated() {
        let bound = |nominated: &str| json!({"spec": {"nodeName": "n"}, "status": {"nominatedNodeName": nominated}});
        assert_eq!(validate_status(&bound("m"), &bound("")).len(), 1);
        assert!(validate_status(&bound(""), &bound("m")).is_empty());
    }
}
