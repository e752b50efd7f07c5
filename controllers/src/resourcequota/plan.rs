//! The ResourceQuota controller's core: which resources a quota counts, and its status over what there is.
//!
//! Pure. What one object uses is `machinery::quota`'s to say, which admission charges by too.

use machinery::meta;
use machinery::quota::Evaluator;
use machinery::resources::ResourceList;
use serde_json::{Value, json};

use crate::common::discovery::Resource;

/// The resources that `spec.hard` counts, or may come to count, each with how it is counted.
pub(super) fn counted<'a>(quota: &Value, resources: &'a [Resource]) -> Vec<(&'a Resource, Evaluator)> {
    let hard = meta::map(quota, "spec.hard");
    let of = |r: &'a Resource| Evaluator::of(&r.group, &r.resource).map(|evaluator| (r, evaluator));
    let listable = resources.iter().filter(|r| r.namespaced && r.supports("list"));
    listable.filter_map(of).filter(|(_, evaluator)| hard.keys().any(|name| evaluator.may_count(name))).collect()
}

/// Whether every name of `spec.hard` is counted by one of these.
pub(super) fn all_known(quota: &Value, counted: &[(&Resource, Evaluator)]) -> bool {
    let hard = meta::map(quota, "spec.hard");
    hard.keys().all(|name| counted.iter().any(|(_, evaluator)| evaluator.counts(name)))
}

/// Adds what these objects use, and names what the evaluator would count, even if it is nothing.
pub(super) fn add(used: &mut ResourceList, quota: &Value, evaluator: &Evaluator, objects: &[Value], now: i64) {
    let hard = meta::map(quota, "spec.hard");
    let names: Vec<&str> = hard.keys().map(String::as_str).filter(|name| evaluator.counts(name)).collect();
    let mut nothing = ResourceList::default();
    names.iter().for_each(|name| nothing.count(*name, 0));
    // Pods and claims of devices count under the same names.
    used.add(&nothing);
    for object in objects.iter().filter(|object| evaluator.matches_scopes(quota, object)) {
        used.add(&evaluator.usage(object, now).only(names.iter().copied()));
    }
}

/// The new status, when it differs. What nobody here counts keeps the use that it had.
pub(super) fn status(quota: &Value, used: &ResourceList) -> Option<Value> {
    let hard = ResourceList::from_value(&quota["spec"]["hard"]);
    let mut all = ResourceList::from_value(&quota["status"]["used"]);
    for (name, quantity) in used.iter() {
        all.set(name, quantity.clone());
    }
    let all = all.only(hard.names());
    let old = &quota["status"];
    let same = |list: &ResourceList, old: &Value| old.is_object() && ResourceList::from_value(old) == *list;
    if same(&hard, &old["hard"]) && same(&all, &old["used"]) {
        return None;
    }
    Some(json!({"hard": hard.to_value(), "used": all.to_value()}))
}

/// Whether the status lacks something that only a count can give.
pub(super) fn is_urgent(quota: &Value) -> bool {
    let hard = ResourceList::from_value(&quota["spec"]["hard"]);
    let status = &quota["status"];
    let used = ResourceList::from_value(&status["used"]);
    ResourceList::from_value(&status["hard"]) != hard || hard.names().any(|name| used.get(name).is_none())
}

#[cfg(test)]
mod tests {
    use machinery::quota::Devices;

    use super::*;

    fn resource(group: &str, plural: &str) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            resource: plural.into(),
            kind: "K".into(),
            namespaced: true,
            verbs: ["list", "watch"].map(String::from).into(),
        }
    }

    fn quota(hard: Value, status: Value) -> Value {
        json!({"metadata": {"name": "q", "namespace": "n"}, "spec": {"hard": hard}, "status": status})
    }

    #[test]
    fn names_lead_to_resources() {
        let all = [
            resource("", "pods"),
            resource("", "secrets"),
            resource("apps", "deployments"),
            resource("", "services"),
            resource("resource.k8s.io", "resourceclaims"),
        ];
        let rows = [
            (json!({"pods": "1"}), vec!["pods"], true),
            (json!({"requests.cpu": "1"}), vec!["pods"], true),
            (json!({"count/deployments.apps": "1", "services": "1"}), vec!["deployments", "services"], true),
            (json!({"secrets": "1"}), vec!["secrets"], true),
            (json!({"requests.example.com/gpu": "1"}), vec!["pods", "resourceclaims"], true),
            (json!({"gpu.deviceclass.resource.k8s.io/devices": "1"}), vec!["resourceclaims"], true),
            (json!({"count/foos.example.com": "1"}), vec![], false),
        ];
        for (hard, want, known) in rows {
            let quota = quota(hard.clone(), json!({}));
            let got = counted(&quota, &all);
            assert_eq!(got.iter().map(|(r, _)| r.resource.as_str()).collect::<Vec<_>>(), want, "{hard}");
            assert_eq!(all_known(&quota, &got), known, "{hard}");
        }
    }

    #[test]
    fn use_is_added_up() {
        let quota = quota(
            json!({"pods": "5", "requests.cpu": "1", "count/foos.example.com": "3"}),
            json!({"hard": {"pods": "5"}, "used": {"pods": "9", "count/foos.example.com": "2"}}),
        );
        let pod = |cpu: &str, phase: &str| {
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": phase}})
        };
        let pods = [pod("250m", "Running"), pod("500m", "Pending"), pod("4", "Succeeded")];
        let mut used = ResourceList::default();
        add(&mut used, &quota, &Evaluator::Pods, &pods, 0);
        let status = status(&quota, &used).unwrap();
        assert_eq!(status["used"], json!({"pods": "2", "requests.cpu": "750m", "count/foos.example.com": "2"}));
        assert_eq!(status["hard"], quota["spec"]["hard"]);
        let mut settled = quota.clone();
        assert!(is_urgent(&settled));
        settled["status"] = status;
        assert!(!is_urgent(&settled));
        assert_eq!(super::status(&settled, &used), None);
    }

    #[test]
    fn pods_and_claims_share_the_name_of_an_extended_resource() {
        let quota = quota(json!({"requests.example.com/gpu": "9"}), json!({}));
        let classes = [json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}})];
        let claims = Evaluator::DeviceClaims(Devices::new(&classes));
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "2"}}}]}});
        let exactly = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3});
        let claim = json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}});
        let mut used = ResourceList::default();
        add(&mut used, &quota, &Evaluator::Pods, &[pod], 0);
        add(&mut used, &quota, &claims, &[claim], 0);
        assert_eq!(status(&quota, &used).unwrap()["used"], json!({"requests.example.com/gpu": "5"}));
    }

    #[test]
    fn nothing_there_is_zero() {
        let quota = quota(json!({"configmaps": "5", "pods": "2"}), json!({}));
        let mut used = ResourceList::default();
        let maps = Evaluator::of("", "configmaps").unwrap();
        add(&mut used, &quota, &maps, &[], 0);
        add(&mut used, &quota, &Evaluator::Pods, &[], 0);
        assert_eq!(status(&quota, &used).unwrap()["used"], json!({"configmaps": "0", "pods": "0"}));
    }
}
