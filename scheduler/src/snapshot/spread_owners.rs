//! The Services and workloads whose pods belong together, for spreading pods that say nothing about it themselves.

use std::collections::{BTreeMap, HashMap};

use machinery::selector::Selector;

use crate::objects::Pod;

type Labels = BTreeMap<String, String>;
type ByName<T> = HashMap<Box<str>, T>;

/// Selectors by namespace and name.
#[derive(Debug)]
pub struct Selectors<T>(HashMap<Box<str>, ByName<T>>);

impl<T> Default for Selectors<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Selectors<T> {
    pub fn set(&mut self, namespace: &str, name: &str, selector: Option<T>) {
        match selector {
            Some(selector) => drop(self.0.entry(namespace.into()).or_default().insert(name.into(), selector)),
            None => {
                if let Some(named) = self.0.get_mut(namespace) {
                    named.remove(name);
                    if named.is_empty() {
                        self.0.remove(namespace);
                    }
                }
            }
        }
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.0.get(namespace)?.get(name)
    }
}

#[derive(Debug, Default)]
pub struct SpreadOwners {
    pub services: Selectors<Labels>,
    pub replication_controllers: Selectors<Labels>,
    pub replica_sets: Selectors<Selector>,
    pub stateful_sets: Selectors<Selector>,
}

impl SpreadOwners {
    /// The labels of all Services that select the pod, and its controller's selector. `None` when nothing selects it.
    pub(super) fn selector_for(&self, pod: &Pod) -> Option<Selector> {
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        for service in self.services.0.get(pod.namespace()).into_iter().flat_map(HashMap::values) {
            if service.iter().all(|(key, value)| pod.label(key) == Some(value)) {
                labels.extend(service.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            }
        }
        let mut own = None;
        if let Some(controller) = &pod.controller {
            let (namespace, name) = (pod.namespace(), &*controller.name);
            match &*controller.kind {
                "ReplicationController" => {
                    let selector = self.replication_controllers.get(namespace, name);
                    labels.extend(selector.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str())));
                }
                "ReplicaSet" => own = self.replica_sets.get(namespace, name),
                "StatefulSet" => own = self.stateful_sets.get(namespace, name),
                _ => {}
            }
        }
        let own = own.map(Selector::requirements).unwrap_or_default();
        let selector = Selector::from_labels(labels).and(own.iter().cloned());
        (!selector.is_everything()).then_some(selector)
    }
}
