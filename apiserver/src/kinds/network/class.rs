//! IngressClasses: which controller serves an Ingress.

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::go_form::TEXT;
use super::super::{Hooks, MetadataRounds, text_column, validate};
use super::typed_reference;
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    default: |class| {
        let parameters = class.pointer_mut("/spec/parameters").and_then(Value::as_object_mut);
        if let Some(parameters) = parameters.filter(|fields| fields.get("scope").is_none_or(Value::is_null)) {
            parameters.insert("scope".into(), "Cluster".into());
        }
    },
    validate: |class| {
        let path = Path::new("spec");
        let mut errors = controller(meta::text(class, "spec.controller"), &path.child("controller"));
        errors.extend(parameters(&class["spec"]["parameters"], &path.child("parameters")));
        errors
    },
    validate_update: |new, old| {
        let path = validate::path(&["spec", "controller"]);
        validate::immutable_as(&TEXT, &new["spec"]["controller"], &old["spec"]["controller"], &path)
            .into_iter()
            .collect()
    },
    has_generation: true,
    columns: &[
        NAME,
        text_column("Controller", "Controller that is responsible for handling this class"),
        text_column("Parameters", "A reference to a resource with additional parameters"),
        AGE,
    ],
    cells,
    ..Hooks::PLAIN
};

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

fn cells(class: &Value, now: i64) -> Vec<Value> {
    let is_default = meta::annotation(class, DEFAULT) == Some("true");
    let parameters = &class["spec"]["parameters"];
    let group = parameters["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
    let shown = match parameters.is_object() {
        true => format!("{}{group}/{}", meta::text(parameters, "kind"), meta::text(parameters, "name")),
        false => "<none>".to_owned(),
    };
    vec![
        format!("{}{}", meta::name(class), if is_default { " (default)" } else { "" }).into(),
        meta::text(class, "spec.controller").into(),
        shown.into(),
        age(class, now).into(),
    ]
}

const CONTROLLER_BYTES_MAX: usize = 250;
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// A domain and a path: `acme.io/ingress`.
fn controller(name: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if name.len() > CONTROLLER_BYTES_MAX {
        errors.push(Error::too_long(path, CONTROLLER_BYTES_MAX));
    }
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return errors;
    }
    let parts = name.split_once('/').filter(|(host, below)| !host.is_empty() && !below.is_empty());
    let Some((host, below)) = parts else {
        let why = format!("must be a domain-prefixed path (such as {})", quote("acme.io/foo"));
        errors.push(Error::invalid(path, name, why));
        return errors;
    };
    errors.extend(validate::named(host, names::dns_subdomain, path));
    let good = |byte: u8| byte.is_ascii_alphanumeric() || br"/-._~%!$&'()*+,;=:".contains(&byte);
    if !below.bytes().all(good) {
        errors.push(Error::invalid(path, below, names::pattern_error("Invalid path", HTTP_PATH, &[])));
    }
    errors
}

fn parameters(parameters: &Value, path: &Path) -> ErrorList {
    if !parameters.is_object() {
        return ErrorList::new();
    }
    let mut errors = typed_reference(parameters, path);
    let scopes = ["Cluster", "Namespace"];
    let (namespace, at) = (parameters["namespace"].as_str(), path.child("namespace"));
    match (parameters["scope"].as_str(), namespace) {
        (None, _) => errors.push(Error::required(&path.child("scope"), "")),
        (Some("Namespace"), None) => {
            errors.push(Error::required(&at, "`parameters.scope` is set to 'Namespace'"));
        }
        (Some("Namespace"), Some(namespace)) => errors.extend(validate::named(namespace, names::dns_label, &at)),
        (Some("Cluster"), Some(_)) => errors.push(Error::forbidden(&at, "`parameters.scope` is set to 'Cluster'")),
        (Some("Cluster"), None) => {}
        (Some(other), _) => errors.push(Error::not_supported(&path.child("scope"), other, &scopes)),
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_good_and_bad() {
        let told = |spec: Value| -> Vec<String> {
            let mut class = json!({"spec": spec});
            (HOOKS.default)(&mut class);
            (HOOKS.validate)(&class).iter().map(Error::to_string).collect()
        };
        assert_eq!(told(json!({"controller": "a.io/b", "parameters": {"kind": "P", "name": "p"}})), [""; 0]);
        assert_eq!(
            told(json!({"controller": "a.io/ b", "parameters": {"kind": "P", "name": "p", "namespace": "n"}})),
            [
                r"spec.controller: Invalid value: &quot; b&quot;: Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')".replace("&quot;", "\""),
                "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'".to_owned(),
            ]
        );
        assert_eq!(
            told(json!({"controller": "a.io/b", "parameters": {"kind": "P", "name": "p", "scope": "Namespace"}})),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
    }
}
