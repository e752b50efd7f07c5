//! Namespaces: they end by the controller's word, when nothing is left in them (Kubernetes concept: "Namespaces").

use machinery::field::Path;
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::{Column, Hooks, validate};
use crate::rest::table::{AGE, NAME, age};

const FINALIZER: &str = "kubernetes";

pub static HOOKS: Hooks = Hooks {
    name: names::dns_label,
    default: |namespace| {
        let name = meta::name(namespace).to_owned();
        if !name.is_empty() {
            let mut labels = meta::map(namespace, "metadata.labels").clone();
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
            meta::metadata_mut(namespace).insert("labels".into(), Value::Object(labels));
        }
    },
    prepare_create: |namespace| {
        namespace["status"] = json!({"phase": "Active"});
        let held = meta::list(namespace, "spec.finalizers").iter().any(|finalizer| finalizer == FINALIZER);
        if !held {
            let mut finalizers = meta::list(namespace, "spec.finalizers").to_vec();
            finalizers.push(FINALIZER.into());
            meta::object_mut(namespace, "spec").insert("finalizers".into(), Value::Array(finalizers));
        }
    },
    validate: |namespace| {
        let path = Path::new("spec").child("finalizers");
        let finalizers = meta::list(namespace, "spec.finalizers").iter().filter_map(Value::as_str);
        finalizers.flat_map(|finalizer| validate::named(finalizer, names::qualified_name, &path)).collect()
    },
    // Finalizers of the spec are changed through /finalize alone.
    prepare_update: |new, old| {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    },
    is_held: |namespace| !meta::list(namespace, "spec.finalizers").is_empty(),
    on_deletion: |namespace| namespace["status"]["phase"] = "Terminating".into(),
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
