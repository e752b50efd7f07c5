//! Leases (Kubernetes concept: "Leases").

use machinery::field::{Error, Path};
use machinery::meta;

use super::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

/// What is new only behind a gate, but stays where it is.
const COORDINATED: [&str; 2] = ["strategy", "preferredHolder"];

pub static HOOKS: Hooks = Hooks {
    takes_bare_finalizers: true,
    validate: |lease| {
        let at = |field: &str| Path::new("spec").child(field);
        let duration = lease["spec"]["leaseDurationSeconds"].as_i64().filter(|seconds| *seconds <= 0);
        let duration =
            duration.map(|seconds| Error::invalid(&at("leaseDurationSeconds"), seconds, "must be greater than 0"));
        let transitions = validate::not_negative(&lease["spec"]["leaseTransitions"], &at("leaseTransitions"));
        duration.into_iter().chain(transitions).collect()
    },
    // Coordinated leader election is a gate that is off.
    prepare_create: |lease| {
        if let Some(spec) = lease["spec"].as_object_mut() {
            spec.retain(|field, _| !COORDINATED.contains(&field.as_str()));
        }
    },
    prepare_update: |lease, old| {
        let Some(spec) = lease["spec"].as_object_mut() else { return };
        spec.retain(|field, _| !COORDINATED.contains(&field.as_str()) || !old["spec"][field].is_null());
    },
    creates_on_update: true,
    updates_unconditionally: false,
    columns: &[NAME, Column { name: "Holder", kind: "string", priority: 0, description: "Who holds the lease." }, AGE],
    cells: |lease, now| {
        vec![meta::name(lease).into(), meta::text(lease, "spec.holderIdentity").into(), age(lease, now).into()]
    },
    ..Hooks::PLAIN
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_behind_the_gate_stays_only_where_it_was() {
        let mut lease = json!({"spec": {"holderIdentity": "h", "strategy": "s", "preferredHolder": "p"}});
        (HOOKS.prepare_update)(&mut lease, &json!({"spec": {"strategy": "x"}}));
        assert_eq!(lease, json!({"spec": {"holderIdentity": "h", "strategy": "s"}}));
        (HOOKS.prepare_create)(&mut lease);
        assert_eq!(lease, json!({"spec": {"holderIdentity": "h"}}));
    }
}
