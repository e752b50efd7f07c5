//! Leases (Kubernetes concept: "Leases").

use machinery::field::{Error, Path};
use machinery::meta;

use super::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

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
            spec.remove("strategy");
            spec.remove("preferredHolder");
        }
    },
    creates_on_update: true,
    updates_unconditionally: false,
    columns: &[NAME, Column { name: "Holder", kind: "string", priority: 0, description: "Who holds the lease." }, AGE],
    cells: |lease, now| {
        vec![meta::name(lease).into(), meta::text(lease, "spec.holderIdentity").into(), age(lease, now).into()]
    },
    ..Hooks::PLAIN
};
