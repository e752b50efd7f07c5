//! `LimitRanger`: containers' defaults, and the least and most that pods and claims of a namespace may ask for
//! (Kubernetes concept: "Limit Ranges").

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::aggregate;
use machinery::meta;
use machinery::quantity::Quantity;
use machinery::resources::ResourceList;
use machinery::resources::pod::{self, Counting};
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Above so many units, thousandths no longer fit; upstream compares whole units then.
const MILLI_VALUE_MAX: i64 = i64::MAX / 1000;

pub struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if is_pod(request) && !is_going(request) {
            ranges(request)?.iter().for_each(|range| fill(object, range));
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let judge = match is_pod(request) {
            true => judge_pod,
            false if request.writes() && request.is("", "persistentvolumeclaims", "") => judge_claim,
            false => return Ok(()),
        };
        if is_going(request) {
            return Ok(());
        }
        for range in ranges(request)? {
            let mut wrong = Vec::new();
            judge(object, meta::list(&range, "spec.limits"), &mut wrong);
            if !wrong.is_empty() {
                return Err(request.forbidden_object(object, &aggregate(wrong)));
            }
        }
        Ok(())
    }
}

/// A new pod, or one that is resized: what pods ask for does not change otherwise.
fn is_pod(request: &Request<'_>) -> bool {
    request.creates("", "pods") || (request.operation == Operation::Update && request.is("", "pods", "resize"))
}

fn is_going(request: &Request<'_>) -> bool {
    request.old.is_some_and(meta::is_deleting)
}

fn ranges(request: &Request<'_>) -> Result<Vec<Arc<Value>>, Status> {
    request.list("", "limitranges", request.namespace())
}

/// Puts the defaults of one LimitRange into a pod, and says so in an annotation.
fn fill(pod: &mut Value, range: &Value) {
    let mut defaults = [("requests", "defaultRequest"), ("limits", "default")].map(|(which, field)| {
        let mut list = serde_json::Map::new();
        for limit in meta::list(range, "spec.limits").iter().filter(|limit| limit["type"] == "Container") {
            list.extend(meta::map(limit, field).clone());
        }
        (which, list)
    });
    for (_, list) in &mut defaults {
        list.sort_keys();
    }
    let mut told = Vec::new();
    for (list, noun) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            for (which, defaults) in &defaults {
                let missing: Vec<&String> =
                    defaults.keys().filter(|name| container["resources"][which].get(name).is_none()).collect();
                if missing.is_empty() {
                    continue;
                }
                let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
                let name = container["name"].as_str().unwrap_or_default();
                told.push(format!("{} {} for {noun} {name}", names.join(", "), which.trim_end_matches('s')));
                let added = missing.iter().map(|name| ((*name).clone(), defaults[*name].clone()));
                let added: Vec<_> = added.collect();
                let mut resources = std::mem::take(meta::object_mut(container, "resources"));
                let mut own = resources.remove(*which).and_then(|own| own.as_object().cloned()).unwrap_or_default();
                own.extend(added);
                resources.insert((*which).to_owned(), Value::Object(own));
                container["resources"] = Value::Object(resources);
            }
        }
    }
    if !told.is_empty() {
        let annotations = meta::object_mut(&mut pod["metadata"], "annotations");
        annotations.insert(ANNOTATION.into(), format!("LimitRanger plugin set: {}", told.join("; ")).into());
    }
}

fn judge_pod(pod: &Value, limits: &[Value], wrong: &mut Vec<String>) {
    for limit in limits {
        match limit["type"].as_str() {
            Some("Container") => {
                let lists = ["spec.containers", "spec.initContainers"];
                for container in lists.iter().flat_map(|list| meta::list(pod, list)) {
                    let of = |which: &str| ResourceList::from_value(&container["resources"][which]);
                    Asked { by: "Container", requests: of("requests"), limits: of("limits") }.judge(limit, wrong);
                }
            }
            Some("Pod") => {
                let counting = Counting::default();
                let asked =
                    Asked { by: "Pod", requests: pod::requests(pod, counting), limits: pod::limits(pod, counting) };
                asked.judge(limit, wrong);
            }
            _ => {}
        }
    }
}

/// Claims know no limits: their request is held against both ends.
fn judge_claim(claim: &Value, limits: &[Value], wrong: &mut Vec<String>) {
    let requests = ResourceList::from_value(meta::at(claim, "spec.resources.requests"));
    let asked = Asked { by: "PersistentVolumeClaim", requests, limits: ResourceList::default() };
    for limit in limits.iter().filter(|limit| limit["type"] == asked.by) {
        let bounds = |field: &str| ResourceList::from_value(&limit[field]);
        wrong.extend(bounds("min").iter().filter_map(|(name, bound)| asked.below(name, bound)));
        for (name, bound) in bounds("max").iter() {
            let usage = format!("maximum {name} usage per {} is {bound}", asked.by);
            match asked.requests.get(name) {
                None => wrong.push(format!("{usage}.  No request is specified")),
                Some(request) if compare(request, bound).is_gt() => {
                    wrong.push(format!("{usage}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
}

/// What a container or a pod asks for.
struct Asked {
    by: &'static str,
    requests: ResourceList,
    limits: ResourceList,
}

impl Asked {
    fn judge(&self, limit: &Value, wrong: &mut Vec<String>) {
        let bounds = |field: &str| ResourceList::from_value(&limit[field]);
        wrong.extend(bounds("min").iter().filter_map(|(name, bound)| self.below(name, bound)));
        wrong.extend(bounds("max").iter().filter_map(|(name, bound)| self.above(name, bound)));
        wrong.extend(bounds("maxLimitRequestRatio").iter().filter_map(|(name, bound)| self.apart(name, bound)));
    }

    fn below(&self, name: &str, bound: &Quantity) -> Option<String> {
        let usage = format!("minimum {name} usage per {} is {bound}", self.by);
        let Some(request) = self.requests.get(name) else { return Some(format!("{usage}.  No request is specified")) };
        if compare(request, bound).is_lt() {
            return Some(format!("{usage}, but request is {request}"));
        }
        let limit = self.limits.get(name).filter(|limit| compare(limit, bound).is_lt())?;
        Some(format!("{usage}, but limit is {limit}"))
    }

    fn above(&self, name: &str, bound: &Quantity) -> Option<String> {
        let usage = format!("maximum {name} usage per {} is {bound}", self.by);
        let Some(limit) = self.limits.get(name) else { return Some(format!("{usage}.  No limit is specified")) };
        if compare(limit, bound).is_gt() {
            return Some(format!("{usage}, but limit is {limit}"));
        }
        let request = self.requests.get(name).filter(|request| compare(request, bound).is_gt())?;
        Some(format!("{usage}, but request is {request}"))
    }

    fn apart(&self, name: &str, bound: &Quantity) -> Option<String> {
        let ratio = format!("{name} max limit to request ratio per {} is {bound}", self.by);
        let given = |list: &ResourceList| list.get(name).map_or(0, Quantity::milli_value);
        let (request, limit) = (given(&self.requests), given(&self.limits));
        if request == 0 {
            return Some(format!("{ratio}, but no request is specified or request is 0"));
        }
        if limit == 0 {
            return Some(format!("{ratio}, but no limit is specified or limit is 0"));
        }
        let provided = limit as f64 / request as f64;
        (provided * 1000.0 > bound.milli_value() as f64)
            .then(|| format!("{ratio}, but provided ratio is {provided:.6}"))
    }
}

/// In thousandths where they fit, else in whole units.
fn compare(given: &Quantity, bound: &Quantity) -> std::cmp::Ordering {
    match given.value().max(bound.value()) <= MILLI_VALUE_MAX {
        true => given.milli_value().cmp(&bound.milli_value()),
        false => given.value().cmp(&bound.value()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limit: Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    #[test]
    fn defaults_are_filled_and_told() {
        let range = range(json!({
            "type": "Container", "default": {"cpu": "1", "memory": "2Gi"}, "defaultRequest": {"memory": "1Gi"},
        }));
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"cpu": "2", "memory": "1"}, "requests": {"memory": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "2"}}}],
        }});
        fill(&mut pod, &range);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: memory request for container a; cpu, memory limit for container a; \
             memory request for init container i; memory limit for init container i"
        );
        let filled = json!({"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"memory": "1Gi"}});
        assert_eq!(pod["spec"]["containers"][0]["resources"], filled);
        let before = pod.clone();
        fill(&mut pod, &range);
        assert_eq!(pod, before);
    }

    #[test]
    fn bounds_are_told_in_upstreams_words() {
        let pod = json!({"spec": {"containers": [
            {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "3Gi"}}},
        ]}});
        let check = |limit: Value, wanted: &[&str]| {
            let mut wrong = Vec::new();
            judge_pod(&pod, meta::list(&range(limit), "spec.limits"), &mut wrong);
            assert_eq!(wrong, wanted);
        };
        let container = |field: &str, bounds: Value| json!({"type": "Container", field: bounds});
        check(container("min", json!({"cpu": "100m"})), &[]);
        check(
            container("min", json!({"cpu": "200m", "memory": "1Gi"})),
            &[
                "minimum cpu usage per Container is 200m, but request is 100m",
                "minimum memory usage per Container is 1Gi.  No request is specified",
            ],
        );
        check(
            container("max", json!({"cpu": "400m", "memory": "2Gi", "ephemeral-storage": "1"})),
            &[
                "maximum cpu usage per Container is 400m, but limit is 500m",
                "maximum ephemeral-storage usage per Container is 1.  No limit is specified",
                "maximum memory usage per Container is 2Gi, but limit is 3Gi",
            ],
        );
        check(
            json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "4", "memory": "1"}}),
            &[
                "cpu max limit to request ratio per Pod is 4, but provided ratio is 5.000000",
                "memory max limit to request ratio per Pod is 1, but no request is specified or request is 0",
            ],
        );
    }

    #[test]
    fn claims_are_held_to_both_ends() {
        let claim = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
        let limit = json!({"type": "PersistentVolumeClaim", "min": {"storage": "4Gi"}, "max": {"storage": "2Gi"}});
        let mut wrong = Vec::new();
        judge_claim(&claim, &[limit], &mut wrong);
        assert_eq!(
            aggregate(wrong),
            "[minimum storage usage per PersistentVolumeClaim is 4Gi, but request is 3Gi, \
             maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi]"
        );
    }
}
