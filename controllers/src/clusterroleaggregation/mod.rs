//! The ClusterRole aggregation controller: roles that are made up of other roles' rules, chosen by label.
//!
//! Enter by [`run`]. `admin`, `edit` and `view` are such roles. Reference: "Using RBAC Authorization", "Aggregated
//! ClusterRoles".

use std::sync::Arc;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::SelectorExt;
use serde_json::json;

use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::map;
use crate::common::owner::selector;

const WORKERS: usize = 5;
/// The rules of aggregated roles are this manager's alone, whoever wrote them before.
const MANAGER: &str = "clusterrole-aggregation-controller";

struct Controller {
    ctx: Context,
    roles: Informer<ClusterRole>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let controller = Arc::new(Controller { roles: ctx.informers.of(), ctx });
    let queue = Queue::new("ClusterRoleAggregator");
    let (events, roles) = (queue.clone(), controller.roles.clone());
    // Any role may be part of any aggregated one; there are few of these.
    controller.roles.on_event(move |_| {
        let aggregated = roles.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.for_each(|role| events.add(Key::of(&*role)));
    });
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.roles.synced()).await.is_some() {
        queue::run(queue, WORKERS, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(role) = self.roles.get_key(&key) else { return Ok(()) };
        let Some(rules) = aggregated(&role, &self.roles.list()) else { return Ok(()) };
        let applied = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": key.name}, "rules": rules});
        let api = Api::<ClusterRole>::all(self.ctx.client.clone());
        let written = api.patch(&key.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(applied)).await;
        wait_for_event(written.map(drop).doing("update aggregated cluster role", &key))
    }
}

/// The rules to write; None when the role has them, or is not aggregated. Selectors in order, roles by name, each rule
/// once.
fn aggregated(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for chosen in selectors.into_iter().flatten().filter_map(selector) {
        let matching = all.iter().filter(|other| other.metadata.name != role.metadata.name);
        for other in matching.filter(|other| chosen.matches(map(&other.metadata.labels))) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn role(name: &str, label: &str, rules: Value, selects: Option<&str>) -> Arc<ClusterRole> {
        let mut value = json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        if let Some(label) = selects {
            value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_gathered_once_each() {
        let get = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
        let list = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]});
        let view = role("view", "to-edit", json!([]), Some("to-view"));
        let all = [
            role("a", "to-view", json!([get]), None),
            role("b", "to-view", json!([get, list]), None),
            role("c", "else", json!([list]), None),
            view.clone(),
        ];
        let rules = aggregated(&view, &all).unwrap();
        assert_eq!(serde_json::to_value(&rules).unwrap(), json!([get, list]));
        let done = role("view", "to-edit", json!([get, list]), Some("to-view"));
        assert_eq!(aggregated(&done, &all), None);
        assert_eq!(aggregated(&all[0], &all), None);
    }
}
