//! What the containers of a pod take together, and what the pod asks for as a whole where it says only a part of it.

use std::collections::BTreeMap;

use machinery::meta;
use machinery::quantity::Quantity;
use serde_json::{Map, Value, json};

use crate::kinds::defaults::within;
use crate::kinds::resource_names;

pub const HUGE_PAGES: &str = "hugepages-";

type Amounts<'a> = BTreeMap<&'a str, Quantity>;

/// Whether a pod can ask for it as a whole.
pub fn is_of_pod(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

fn add<'a>(sum: &mut Amounts<'a>, more: &Amounts<'a>) {
    for (name, amount) in more {
        sum.entry(*name).and_modify(|sum| sum.add(amount)).or_insert_with(|| amount.clone());
    }
}

fn raise<'a>(least: &mut Amounts<'a>, other: Amounts<'a>) {
    for (name, amount) in other {
        match least.get_mut(name) {
            Some(known) if *known >= amount => {}
            Some(known) => *known = amount,
            None => {
                least.insert(name, amount);
            }
        }
    }
}

/// `kind` is `requests` or `limits`. Init containers run one after the other, beside the sidecars before them.
pub fn sum<'a>(spec: &'a Value, kind: &str) -> Amounts<'a> {
    let of = |container: &'a Value| -> Amounts<'a> {
        let amounts = container["resources"][kind].as_object().into_iter().flatten();
        amounts.filter_map(|(name, amount)| Some((name.as_str(), Quantity::from_value(amount).ok()?))).collect()
    };
    let mut sum = Amounts::new();
    for container in meta::list(spec, "containers") {
        add(&mut sum, &of(container));
    }
    let (mut sidecars, mut least) = (Amounts::new(), Amounts::new());
    for container in meta::list(spec, "initContainers") {
        let mut own = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut least, own);
    }
    raise(&mut sum, least);
    sum
}

/// Fills in what a pod that asks for a part as a whole does not say.
pub fn default(spec: &mut Map<String, Value>) {
    if !spec.get("resources").is_some_and(Value::is_object) {
        return;
    }
    let whole = Value::Object(spec.clone());
    let Some(resources) = within(spec, "resources") else { return };
    let amounts = |kind: &str| meta::map(&whole["resources"], kind).clone();
    let (mut limits, mut requests) = (amounts("limits"), amounts("requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, amount) in sum(&whole, "limits") {
        if name.starts_with(HUGE_PAGES) && !requests.contains_key(name) {
            limits.entry(name).or_insert_with(|| amount.to_string().into());
        }
    }
    if !limits.is_empty() {
        for (name, amount) in sum(&whole, "requests") {
            if is_of_pod(name) && resource_names::may_be_overcommitted(name) {
                requests.entry(name).or_insert_with(|| amount.to_string().into());
            }
        }
        for (name, amount) in limits.iter().filter(|(name, _)| is_of_pod(name)) {
            requests.entry(name).or_insert_with(|| amount.clone());
        }
    }
    for (kind, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            resources.insert(kind.to_owned(), json!(amounts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn sidecars_run_beside_what_follows() {
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        for (init, want) in [
            (json!([]), "1"),
            (json!([container("2")]), "2"),
            (json!([sidecar]), "1100m"),
            (json!([sidecar, container("2")]), "2100m"),
            (json!([container("2"), sidecar]), "2"),
        ] {
            let spec = json!({"containers": [container("1")], "initContainers": init});
            assert_eq!(sum(&spec, "requests")["cpu"].to_string(), want, "{init}");
        }
    }

    #[test]
    fn a_pod_asks_for_what_its_containers_take() {
        let own = json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}, "limits": {"hugepages-2Mi": "2Mi"}});
        for (whole, want) in [
            (json!({}), json!({})),
            (
                json!({"limits": {"memory": "1Gi"}}),
                json!({"limits": {"hugepages-2Mi": "2Mi", "memory": "1Gi"},
                    "requests": {"cpu": "1", "hugepages-2Mi": "2Mi", "memory": "1Gi"}}),
            ),
            (json!({"requests": {"hugepages-2Mi": "4Mi"}}), json!({"requests": {"hugepages-2Mi": "4Mi"}})),
        ] {
            let spec = json!({"resources": whole, "containers": [{"resources": own}]});
            let mut fields = spec.as_object().unwrap().clone();
            default(&mut fields);
            assert_eq!(fields["resources"], want, "{whole}");
        }
    }
}
