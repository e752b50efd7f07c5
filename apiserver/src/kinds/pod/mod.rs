//! Pods (Kubernetes concept: "Pods"). The spec is shared with the templates of workloads.

mod alike;
mod columns;
pub mod defaults;
mod disabled;
mod form;
mod image;
mod label_keys;
mod paths;
mod ports;
mod profiles;
mod subresources;
mod together;
pub mod validate;
pub mod warnings;

use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Value, json};

pub use disabled::remove_disabled;
pub use form::{NODE_SELECTOR, NODE_TERMS, spec as spec_form, template as template_form};

use super::{Hooks, MetadataRounds};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    pod: Some(""),
    default: |pod| {
        defaults::pod(super::defaults::spec(pod));
        if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
            defaults::status(status);
        }
        align_addresses(pod);
    },
    prepare_create,
    // What a limit range gave the containers counts for the whole.
    complete_created: |pod| together::default(super::defaults::spec(pod)),
    prepare_status,
    resets: &[("", &["status"]), ("status", &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"])],
    portions: &[subresources::EPHEMERAL_CONTAINERS, subresources::RESIZE],
    validate: alike::errors,
    validate_against: |new, old| if old.is_none() { validate::new_pod(new) } else { Vec::new() },
    validate_update: validate::validate_update,
    validate_status: validate::validate_status,
    warnings_of_sent: profiles::of_new_pod,
    status_warnings: crate::kinds::warnings::pod_status,
    // People seldom change pods themselves.
    is_worth_warning: |_, _| false,
    warnings: |pod| {
        let wrong = names::dns_label(meta::name(pod));
        let why = "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended";
        let of_name = (!wrong.is_empty()).then(|| format!("{why}: [{}]", wrong.join(" ")));
        of_name.into_iter().chain(alike::words(pod)).collect()
    },
    has_generation: true,
    fields: &[
        ("spec.nodeName", "spec.nodeName"),
        ("spec.host", "spec.nodeName"),
        ("spec.restartPolicy", "spec.restartPolicy"),
        ("spec.schedulerName", "spec.schedulerName"),
        ("spec.serviceAccountName", "spec.serviceAccountName"),
        ("spec.hostNetwork", "spec.hostNetwork"),
        ("status.phase", "status.phase"),
        ("status.podIP", "status.podIP"),
        ("status.podIPs", "status.podIP"),
        ("status.nominatedNodeName", "status.nominatedNodeName"),
    ],
    columns: columns::COLUMNS,
    cells: columns::cells,
    row_condition: columns::completed,
    grace,
    ..Hooks::PLAIN
};

/// What the name of the volume begins with that admission adds for the account's token.
pub const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";

/// The one address and the list of them are kept in step; where they differ, the one counts.
fn align_addresses(pod: &mut Value) {
    let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) else { return };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = text(status.get("podIPs").and_then(|listed| listed.get(0)?.get("ip")));
    match text(status.get("podIP")) {
        single if single == first => {}
        single if single.is_empty() => drop(status.insert("podIP".into(), first.into())),
        single => drop(status.insert("podIPs".into(), json!([{"ip": single}]))),
    }
}

/// A new pod is pending, of the class that its sender names or its resources put it in.
fn prepare_create(pod: &mut Value) {
    label_keys::merge(pod);
    profiles::fill_in(pod);
    let class = match meta::text(pod, "status.qosClass") {
        "" => quality_of_service(pod),
        named => named,
    };
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !meta::list(pod, "spec.schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "lastTransitionTime": pod["metadata"]["creationTimestamp"],
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    pod["status"] = status;
}

/// Owners and the class stay; who does not know of observed generations loses none.
fn prepare_status(new: &mut Value, old: &Value) {
    let metadata = meta::metadata_mut(new);
    for field in ["deletionTimestamp", "ownerReferences"] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    let before = &old["status"];
    let status = meta::object_mut(new, "status");
    if status.get("qosClass").and_then(Value::as_str).unwrap_or_default().is_empty() && before["qosClass"].is_string() {
        status.insert("qosClass".into(), before["qosClass"].clone());
    }
    let is_unset = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(0) == 0;
    if is_unset(status.get("observedGeneration")) && before["observedGeneration"].is_i64() {
        status.insert("observedGeneration".into(), before["observedGeneration"].clone());
    }
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let twin = meta::list(before, "conditions").iter().find(|twin| twin["type"] == condition["type"]);
        let generation = twin.map(|twin| twin["observedGeneration"].clone()).unwrap_or_default();
        if is_unset(condition.get("observedGeneration")) && !generation.is_null() {
            condition["observedGeneration"] = generation;
        }
    }
}

/// Kubernetes concept: "Pod Quality of Service Classes".
pub fn quality_of_service(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let of_containers = ["initContainers", "containers"].into_iter().flat_map(|list| meta::list(spec, list));
    // What the pod asks for as a whole decides where that is said, be it nothing.
    let holders: Vec<&Value> = if spec["resources"].is_object() { vec![spec] } else { of_containers.collect() };
    let mut guaranteed = true;
    let mut any = false;
    for container in holders {
        let (requests, limits) = (meta::map(container, "resources.requests"), meta::map(container, "resources.limits"));
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount(requests.get(name)), amount(limits.get(name)));
            any |= [&request, &limit].into_iter().flatten().any(|amount| !amount.is_zero());
            // A request that is not made is the limit; one of zero is none.
            guaranteed &= limit.is_some_and(|limit| !limit.is_zero() && request.is_none_or(|request| request == limit));
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn amount(value: Option<&Value>) -> Option<Quantity> {
    Quantity::from_value(value?).ok()
}

/// The kubelet ends what runs; what has no node, or has ended, goes at once.
fn grace(pod: &Value, asked: Option<i64>) -> Option<i64> {
    let own = || meta::at(pod, "spec.terminationGracePeriodSeconds").as_i64();
    // A negative time is from older days and means the shortest.
    let seconds = match asked.or_else(own).unwrap_or(0) {
        ..0 => 1,
        seconds => seconds,
    };
    let ended = matches!(meta::text(pod, "status.phase"), "Failed" | "Succeeded");
    let goes_at_once = meta::text(pod, "spec.nodeName").is_empty() || ended;
    Some(if goes_at_once { 0 } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(resources: Value) -> &'static str {
        quality_of_service(&json!({"spec": {"containers": [{"resources": resources}]}}))
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "0", "memory": "0"}})), "BestEffort");
        let whole = json!({"spec": {"resources": {"requests": {"cpu": "1"}}, "containers": [{}]}});
        assert_eq!(quality_of_service(&whole), "Burstable");
        let nothing = json!({"spec": {"resources": {}, "containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
        assert_eq!(quality_of_service(&nothing), "BestEffort");
    }

    #[test]
    fn a_new_pods_class_can_be_named() {
        let created = |status: Value| {
            let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}, "status": status});
            prepare_create(&mut pod);
            pod["status"].take()
        };
        let named = json!({"phase": "Running", "qosClass": "Guaranteed", "podIP": "10.0.0.1"});
        assert_eq!(created(named), json!({"phase": "Pending", "qosClass": "Guaranteed"}));
        assert_eq!(created(json!({"qosClass": ""})), json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }

    #[test]
    fn a_pod_without_node_goes_at_once() {
        assert_eq!(grace(&json!({"spec": {}}), None), Some(0));
        let pod = json!({"spec": {"nodeName": "a", "terminationGracePeriodSeconds": 7}});
        assert_eq!(grace(&pod, None), Some(7));
        assert_eq!(grace(&pod, Some(0)), Some(0));
        assert_eq!(grace(&pod, Some(-5)), Some(1));
        assert_eq!(grace(&json!({"spec": {"nodeName": "a"}}), None), Some(0));
    }

    #[test]
    fn one_address_and_the_list_are_in_step() {
        for (status, want) in [
            (json!({"podIP": "10.0.0.1"}), json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})),
            (json!({"podIPs": [{"ip": "10.0.0.1"}]}), json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})),
            (
                json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}),
                json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}]}),
            ),
            (json!({}), json!({})),
        ] {
            let mut pod = json!({"status": status});
            align_addresses(&mut pod);
            assert_eq!(pod["status"], want, "{status}");
        }
    }

    #[test]
    fn a_status_that_says_less_loses_nothing() {
        let old = json!({"metadata": {"ownerReferences": [{"name": "o"}]}, "status": {
            "qosClass": "Burstable", "observedGeneration": 2,
            "conditions": [{"type": "Ready", "observedGeneration": 2}],
        }});
        let mut new = json!({"metadata": {}, "status": {"conditions": [{"type": "Ready"}, {"type": "Other"}]}});
        prepare_status(&mut new, &old);
        assert_eq!(new["metadata"], old["metadata"]);
        assert_eq!(
            new["status"],
            json!({
                "qosClass": "Burstable", "observedGeneration": 2,
                "conditions": [{"type": "Ready", "observedGeneration": 2}, {"type": "Other"}],
            })
        );
    }
}
