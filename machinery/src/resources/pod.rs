//! What a whole pod asks for and may use (Kubernetes concepts: "Resource Management for Pods and Containers", "Sidecar
//! Containers", "Pod Overhead").

use serde_json::Value;

use super::ResourceList;
use crate::meta;

/// Resources that can be set for a pod as a whole.
const POD_LEVEL: [&str; 2] = ["cpu", "memory"];

/// What counts besides the containers' own words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting {
    /// What runs counts where it is more than what is asked for: a resize that is under way.
    pub status: bool,
    pub overhead: bool,
}

pub fn requests(pod: &Value, counting: Counting) -> ResourceList {
    let mut total = total(pod, "requests", counting);
    if counting.overhead {
        total.add(&ResourceList::from_value(meta::at(pod, "spec.overhead")));
    }
    total
}

pub fn limits(pod: &Value, counting: Counting) -> ResourceList {
    let mut total = total(pod, "limits", counting);
    if counting.overhead {
        let overhead = ResourceList::from_value(meta::at(pod, "spec.overhead"));
        let limited: Vec<String> =
            total.iter().filter(|(_, limit)| !limit.is_zero()).map(|(name, _)| name.to_owned()).collect();
        total.add(&overhead.only(limited.iter().map(String::as_str)));
    }
    total
}

/// Whether the pod as a whole says what it needs.
pub fn has_pod_level(pod: &Value) -> bool {
    ["requests", "limits"].iter().any(|which| {
        let own = meta::map(&pod["spec"]["resources"], which);
        POD_LEVEL.iter().any(|name| own.contains_key(*name))
    })
}

/// Containers run side by side; init containers one after the other, each beside the sidecars before it.
fn total(pod: &Value, which: &str, counting: Counting) -> ResourceList {
    let mut total = ResourceList::default();
    for container in meta::list(pod, "spec.containers") {
        total.add(&of_container(pod, container, "containerStatuses", which, counting));
    }
    let (mut sidecars, mut initial) = (ResourceList::default(), ResourceList::default());
    for container in meta::list(pod, "spec.initContainers") {
        let is_sidecar = container["restartPolicy"] == "Always";
        let counting = Counting { status: counting.status && is_sidecar, ..counting };
        let own = of_container(pod, container, "initContainerStatuses", which, counting);
        if is_sidecar {
            total.add(&own);
            sidecars.add(&own);
            initial.raise_to(&sidecars);
        } else {
            let mut beside = own;
            beside.add(&sidecars);
            initial.raise_to(&beside);
        }
    }
    total.raise_to(&initial);
    let whole = ResourceList::from_value(&pod["spec"]["resources"][which]);
    for (name, quantity) in whole.only(POD_LEVEL).iter() {
        total.set(name, quantity.clone());
    }
    total
}

fn of_container(pod: &Value, container: &Value, statuses: &str, which: &str, counting: Counting) -> ResourceList {
    let wanted = ResourceList::from_value(&container["resources"][which]);
    if !counting.status {
        return wanted;
    }
    let mut statuses = meta::list(&pod["status"], statuses).iter();
    let Some(status) = statuses.find(|status| status["name"] == container["name"] && status["resources"].is_object())
    else {
        return wanted;
    };
    let mut effective = if is_infeasible(pod) { ResourceList::default() } else { wanted };
    effective.raise_to(&ResourceList::from_value(&status["resources"][which]));
    if which == "requests" {
        effective.raise_to(&ResourceList::from_value(&status["allocatedResources"]));
    }
    effective
}

/// The node has said that it will never give what is asked for.
fn is_infeasible(pod: &Value) -> bool {
    let mut conditions = meta::list(pod, "status.conditions").iter();
    let pending = conditions.find(|condition| condition["type"] == "PodResizePending");
    pending.is_some_and(|condition| condition["reason"] == "Infeasible")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str) -> Value {
        json!({"name": cpu, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_count_beside_the_sidecars_before_them() {
        let mut sidecar = container("1");
        sidecar["restartPolicy"] = json!("Always");
        let mut pod = json!({"spec": {
            "initContainers": [container("2"), sidecar, container("3")],
            "containers": [container("500m"), container("500m")],
            "overhead": {"cpu": "100m", "memory": "1Mi"},
        }});
        let cpu = |pod: &Value, overhead: bool| {
            requests(pod, Counting { overhead, ..Counting::default() }).get("cpu").map(ToString::to_string)
        };
        assert_eq!(cpu(&pod, false).as_deref(), Some("4"));
        assert_eq!(cpu(&pod, true).as_deref(), Some("4100m"));
        let limits = limits(&pod, Counting { overhead: true, ..Counting::default() });
        assert_eq!(limits.to_string(), "cpu=4100m");
        pod["spec"]["resources"] = json!({"requests": {"cpu": "7", "storage": "1"}});
        assert_eq!(cpu(&pod, false).as_deref(), Some("7"));
        assert!(has_pod_level(&pod));
    }

    #[test]
    fn a_resize_under_way_counts_the_greater() {
        let mut pod = json!({
            "spec": {"containers": [container("1")]},
            "status": {"containerStatuses": [{"name": "1", "resources": {"requests": {"cpu": "2"}}}]},
        });
        let cpu = |pod: &Value| requests(pod, Counting { status: true, overhead: true }).to_string();
        assert_eq!(cpu(&pod), "cpu=2");
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3");
        assert_eq!(cpu(&pod), "cpu=3");
        pod["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
        assert_eq!(cpu(&pod), "cpu=2");
    }
}
