//! IPAddresses: who holds an address of a Service range.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::{Hooks, MetadataRounds, ip, text_column, validate};
use super::required_segments;
use crate::rest::table::{NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    name: ip::address_name,
    validate: validate_address,
    validate_update: |new, old| {
        let path = validate::path(&["spec", "parentRef"]);
        let holder = |address: &Value| address["spec"]["parentRef"].clone();
        validate::immutable(&holder(new), &holder(old), &path)
            .map(|error| if holder(new).is_null() { error } else { error.showing(shown(&holder(new))) })
            .into_iter()
            .collect()
    },
    columns: &[NAME, text_column("ParentRef", "Who holds it.")],
    cells: |address, now| {
        let holder = &address["spec"]["parentRef"];
        let text = |field: &str| meta::text(holder, field);
        let mut shown = text("resource").to_owned();
        for (separator, part) in [(".", text("group")), ("/", text("namespace"))] {
            if !part.is_empty() {
                shown = format!("{shown}{separator}{part}");
            }
        }
        let shown =
            if holder.is_object() { format!("{}/{}", shown.to_lowercase(), text("name")) } else { "<none>".to_owned() };
        // Upstream has a cell more than columns.
        vec![meta::name(address).into(), shown.into(), age(address, now).into()]
    },
    ..Hooks::PLAIN
};

/// As upstream's own type has it.
fn shown(holder: &Value) -> String {
    let text = |field: &str| machinery::field::quote(meta::text(holder, field));
    let (group, resource, namespace, name) = (text("group"), text("resource"), text("namespace"), text("name"));
    format!("{{\"Group\":{group},\"Resource\":{resource},\"Namespace\":{namespace},\"Name\":{name}}}")
}

fn validate_address(address: &Value) -> ErrorList {
    let (path, holder) = (validate::path(&["spec", "parentRef"]), &address["spec"]["parentRef"]);
    if !holder.is_object() {
        return vec![Error::required(&path, "")];
    }
    let mut errors = optional(holder, "group", names::dns_subdomain, &path);
    errors.extend(required_segments(holder, &["resource", "name"], &path));
    errors.extend(optional(holder, "namespace", names::path_segment, &path));
    errors
}

fn optional(object: &Value, field: &str, check: names::NameCheck, path: &Path) -> ErrorList {
    match meta::text(object, field) {
        "" => ErrorList::new(),
        text => validate::named(text, check, &path.child(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_has_a_holder() {
        let told = |holder: Value| -> Vec<String> {
            validate_address(&json!({"spec": {"parentRef": holder}})).iter().map(Error::to_string).collect()
        };
        assert_eq!(told(Value::Null), ["spec.parentRef: Required value"]);
        assert_eq!(told(json!({"resource": "services", "namespace": "a", "name": "b"})), [""; 0]);
        assert_eq!(
            told(json!({"group": "-", "name": "a/b"})).len(),
            3,
            "a bad group, no resource, a name that is no part of a path"
        );
        assert_eq!((HOOKS.name)("10.0.0.01"), ["must not have leading 0s"]);
    }
}
