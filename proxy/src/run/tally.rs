//! Numbers about all Services, kept Service by Service.

use std::collections::BTreeMap;

use crate::mode::Ports;
use crate::model::{NodeView, categorize};

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) endpoints: usize,
    /// Ports under internal policy `Local` that have endpoints, but none on this node.
    pub(super) without_local_internal: usize,
    /// The same of the external policy.
    pub(super) without_local_external: usize,
}

impl Numbers {
    pub(super) fn of(ports: &Ports, node: &NodeView) -> Numbers {
        let mut numbers = Numbers::default();
        for (port, endpoints) in ports {
            numbers.endpoints += endpoints.len();
            if !port.uses_local_endpoints() {
                continue;
            }
            let categories = categorize(port, endpoints, node);
            if categories.has_any && categories.local.is_empty() {
                numbers.without_local_internal += usize::from(port.internal_policy_local);
                numbers.without_local_external += usize::from(port.external_policy_local);
            }
        }
        numbers
    }

    fn replace(&mut self, old: Numbers, new: Numbers) {
        self.endpoints = self.endpoints + new.endpoints - old.endpoints;
        self.without_local_internal =
            self.without_local_internal + new.without_local_internal - old.without_local_internal;
        self.without_local_external =
            self.without_local_external + new.without_local_external - old.without_local_external;
    }
}

/// The numbers of each Service that has any, and of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_service: BTreeMap<String, Numbers>,
    pub(super) sum: Numbers,
}

impl Tally {
    pub(super) fn set(&mut self, service: &str, numbers: Numbers) {
        let old = if numbers == Numbers::default() {
            self.by_service.remove(service)
        } else {
            self.by_service.insert(service.to_owned(), numbers)
        };
        self.sum.replace(old.unwrap_or_default(), numbers);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Family;
    use crate::testkit::{node, ports_of, service, settings};

    fn numbers(spec: serde_json::Value, addresses: &[&str]) -> Numbers {
        let (service, slices) = service("web", spec, addresses);
        Numbers::of(&ports_of(&settings(Family::V4), &service, &slices), &node())
    }

    #[test]
    fn only_ports_that_lack_a_local_endpoint_count() {
        let spec = json!({"type": "NodePort", "clusterIP": "172.30.0.1", "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local"});
        let elsewhere = numbers(spec.clone(), &["10.1.0.2", "10.1.0.3"]);
        assert_eq!(elsewhere, Numbers { endpoints: 2, without_local_internal: 1, without_local_external: 1 });
        assert_eq!(numbers(spec.clone(), &["10.1.0.2*"]).without_local_internal, 0);
        assert_eq!(numbers(spec, &[]), Numbers::default(), "there is nothing to prefer");
        let mut tally = Tally::default();
        tally.set("ns/a", elsewhere);
        tally.set("ns/b", elsewhere);
        tally.set("ns/a", Numbers::default());
        assert_eq!((tally.sum, tally.by_service.len()), (elsewhere, 1));
    }
}
