//! RuntimeClasses: which handler of the runtime runs a pod (Kubernetes concept: "Runtime Class").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::go_form::TEXT;
use super::{Hooks, MetadataRounds, node_labels, pod, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    takes_bare_finalizers: true,
    validate: validate_class,
    validate_update: |new, old| {
        validate::immutable_as(&TEXT, &new["handler"], &old["handler"], &Path::new("handler")).into_iter().collect()
    },
    warnings: |class| {
        let labels = meta::map(class, "scheduling.nodeSelector").keys();
        labels
            .filter_map(|label| Some(format!("scheduling.nodeSelector: {}", node_labels::deprecation(label)?)))
            .collect()
    },
    creates_on_update: true,
    updates_unconditionally: false,
    columns: &[NAME, text_column("Handler", "What the runtime calls it."), AGE],
    cells: |class, now| vec![meta::name(class).into(), meta::text(class, "handler").into(), age(class, now).into()],
    ..Hooks::PLAIN
};

fn validate_class(class: &Value) -> ErrorList {
    let (handler, path) = (meta::text(class, "handler"), Path::new("handler"));
    let mut errors = match handler {
        "" => vec![Error::required(&path, "")],
        handler => validate::named(handler, names::dns_label, &path),
    };
    if class["overhead"].is_object() {
        errors.extend(pod::validate::overhead(&class["overhead"]["podFixed"], &Path::new("overhead")));
    }
    let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
    errors.extend(validate::validate_labels(&scheduling["nodeSelector"], &path.child("nodeSelector")));
    let mut known = Vec::new();
    for (position, toleration) in meta::list(scheduling, "tolerations").iter().enumerate() {
        let at = path.child("tolerations").index(position);
        errors.extend(pod::validate::toleration(toleration, &at));
        let key = ["key", "operator", "value", "effect"].map(|field| meta::text(toleration, field));
        if known.contains(&key) {
            errors.push(Error::duplicate(&at, toleration.clone()).showing(shown(toleration)));
        }
        known.push(key);
    }
    errors
}

/// As upstream's own type has it.
fn shown(toleration: &Value) -> String {
    let text = |field: &str| machinery::field::quote(meta::text(toleration, field));
    let (key, operator, value, effect) = (text("key"), text("operator"), text("value"), text("effect"));
    let seconds = &toleration["tolerationSeconds"];
    format!(
        "{{\"Key\":{key},\"Operator\":{operator},\"Value\":{value},\"Effect\":{effect},\"TolerationSeconds\":{seconds}}}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_good_and_bad() {
        let told = |class: Value| -> Vec<String> { validate_class(&class).iter().map(Error::to_string).collect() };
        let toleration = json!({"key": "a", "operator": "Exists"});
        assert_eq!(told(json!({"handler": "h", "scheduling": {"tolerations": [toleration]}})), [""; 0]);
        assert_eq!(
            told(json!({"handler": "h", "scheduling": {"tolerations": [toleration, toleration]}})),
            [
                "scheduling.tolerations[1]: Duplicate value: {\"Key\":\"a\",\"Operator\":\"Exists\",\"Value\":\"\",\"Effect\":\"\",\"TolerationSeconds\":null}"
            ]
        );
        assert_eq!(
            told(json!({"handler": "h", "overhead": {"podFixed": {"cpu": "-1"}}})),
            ["overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"]
        );
    }
}
