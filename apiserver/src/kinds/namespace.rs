//! Namespaces: they end by the controller's word, when nothing is left in them (Kubernetes concept: "Namespaces").

use machinery::field::{Error, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::{Column, Hooks, MetadataRounds, validate};
use crate::rest::system::standard_finalizer;
use crate::rest::table::{AGE, NAME, age};

const FINALIZER: &str = "kubernetes";

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    resets: &[("", &["status"]), ("status", &["spec"]), ("finalize", &["status"])],
    name: names::dns_label,
    default: |namespace| {
        label_with_name(namespace);
        let status = meta::object_mut(namespace, "status");
        if status.get("phase").and_then(Value::as_str).unwrap_or_default().is_empty() {
            status.insert("phase".into(), "Active".into());
        }
    },
    prepare_create: |namespace| {
        // A generated name is known only now; one that is wrong is told once, not as a label too.
        if names::dns_label(meta::name(namespace)).is_empty() {
            label_with_name(namespace);
        }
        namespace["status"] = json!({"phase": "Active"});
        let held = meta::list(namespace, "spec.finalizers").iter().any(|finalizer| finalizer == FINALIZER);
        if !held {
            let mut finalizers = meta::list(namespace, "spec.finalizers").to_vec();
            finalizers.push(FINALIZER.into());
            meta::object_mut(namespace, "spec").insert("finalizers".into(), Value::Array(finalizers));
        }
    },
    validate_against: |namespace, old| {
        let path = Path::new("spec").child("finalizers");
        let finalizers = meta::list(namespace, "spec.finalizers").iter().filter_map(Value::as_str).enumerate();
        let told = |(position, name)| {
            // Of a change, upstream says which.
            let path = if old.is_some() { path.index(position) } else { path.clone() };
            let wrong = validate::named(name, names::qualified_name, &path).into_iter();
            wrong.chain(standard_finalizer(name, &path)).collect::<Vec<_>>()
        };
        finalizers.flat_map(told).collect()
    },
    validate_status: |new, _| {
        let (wanted, when) = match meta::is_deleting(new) {
            true => ("Terminating", "not empty"),
            false => ("Active", "empty"),
        };
        let phase = meta::text(new, "status.phase");
        // Upstream names the field as its own form does.
        let path = Path::new("status").child("Phase");
        let why = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
        (phase != wanted).then(|| Error::invalid(&path, phase, why)).into_iter().collect()
    },
    // Finalizers of the spec are changed through /finalize alone.
    prepare_update: |new, old| {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    },
    is_held: |namespace| !meta::list(namespace, "spec.finalizers").is_empty(),
    // It ends by its finalizers, whatever the time.
    on_deletion: |namespace| {
        namespace["status"]["phase"] = "Terminating".into();
        meta::metadata_mut(namespace).remove("deletionGracePeriodSeconds");
    },
    fields: &[("status.phase", "status.phase")],
    columns: &[
        NAME,
        Column { name: "Status", kind: "string", priority: 0, description: "The status of the namespace" },
        AGE,
    ],
    cells: |namespace, now| {
        vec![meta::name(namespace).into(), meta::text(namespace, "status.phase").into(), age(namespace, now).into()]
    },
    ..Hooks::PLAIN
};

/// Every namespace can be selected by its name.
fn label_with_name(namespace: &mut Value) {
    let name = meta::name(namespace).to_owned();
    if !name.is_empty() {
        let mut labels = meta::map(namespace, "metadata.labels").clone();
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
        meta::metadata_mut(namespace).insert("labels".into(), Value::Object(labels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_goes_with_the_deletion() {
        let told = |phase: &str, deleted: Value| -> Vec<String> {
            let namespace = json!({"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase}});
            (HOOKS.validate_status)(&namespace, &namespace).iter().map(Error::to_string).collect()
        };
        assert_eq!(told("Active", Value::Null), [""; 0]);
        assert_eq!(told("Terminating", "2026-01-01T00:00:00Z".into()), [""; 0]);
        assert_eq!(
            told("Terminating", Value::Null),
            ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]
        );
    }
}
