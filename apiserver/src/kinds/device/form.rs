//! What claims look like as Go writes them, for messages that tell what changed: the fields of upstream's internal types,
//! in their order.

use serde_json::Value;

use crate::kinds::go_form::{self, Form, METADATA, NUMBER, POINTER, TEXT};
use crate::kinds::pod::NODE_SELECTOR;

type Fields = &'static [(&'static str, Form)];

/// A claim's spec.
pub const CLAIM: Form = Form::Struct(SPEC);

/// The spec of a template of claims.
pub fn template(spec: &Value) -> String {
    const TEMPLATE: Form = Form::Struct(&[("metadata", METADATA), ("spec", Form::Inline(SPEC))]);
    go_form::write(&go_form::with_metadata(spec), &TEMPLATE)
}

/// What a claim was given.
pub const ALLOCATION: Form = Form::Struct(&[
    ("devices", Form::Inline(&[("results", Form::List(&RESULT)), ("config", Form::List(&ALLOCATED))])),
    ("nodeSelector", NODE_SELECTOR),
    ("allocationTimestamp", POINTER),
]);
const RESULT: Form = Form::Struct(&[
    ("request", TEXT),
    ("driver", TEXT),
    ("pool", TEXT),
    ("device", TEXT),
    ("adminAccess", POINTER),
    ("tolerations", TOLERATIONS),
    ("bindingConditions", POINTER),
    ("bindingFailureConditions", POINTER),
    ("shareID", POINTER),
    ("consumedCapacity", POINTER),
]);
const ALLOCATED: Form = Form::Struct(&[("source", TEXT), ("requests", POINTER), OPAQUE]);

const SPEC: Fields = &[("devices", Form::Inline(DEVICES))];
const DEVICES: Fields = &[
    ("requests", Form::List(&REQUEST)),
    ("constraints", Form::List(&CONSTRAINT)),
    ("config", Form::List(&CONFIGURATION)),
];
const REQUEST: Form =
    Form::Struct(&[("name", TEXT), ("exactly", EXACTLY), ("firstAvailable", Form::List(&SUB_REQUEST))]);
const EXACTLY: Form = Form::Struct(&[
    ("deviceClassName", TEXT),
    ("selectors", SELECTORS),
    ("allocationMode", TEXT),
    ("count", NUMBER),
    ("adminAccess", POINTER),
    ("tolerations", TOLERATIONS),
    ("capacity", CAPACITY),
]);
const SUB_REQUEST: Form = Form::Struct(&[
    ("name", TEXT),
    ("deviceClassName", TEXT),
    ("selectors", SELECTORS),
    ("allocationMode", TEXT),
    ("count", NUMBER),
    ("tolerations", TOLERATIONS),
    ("capacity", CAPACITY),
]);
const SELECTORS: Form = Form::List(&Form::Struct(&[("cel", Form::As("CEL", &Form::Struct(&[("expression", TEXT)])))]));
const TOLERATIONS: Form = Form::List(&Form::Struct(&[
    ("key", TEXT),
    ("operator", TEXT),
    ("value", TEXT),
    ("effect", TEXT),
    ("tolerationSeconds", POINTER),
]));
const CAPACITY: Form = Form::Struct(&[("requests", POINTER)]);
const CONSTRAINT: Form =
    Form::Struct(&[("requests", POINTER), ("matchAttribute", POINTER), ("distinctAttribute", POINTER)]);
const CONFIGURATION: Form = Form::Struct(&[("requests", POINTER), OPAQUE]);
const OPAQUE: (&str, Form) = ("opaque", Form::Struct(&[("driver", TEXT), ("parameters", POINTER)]));

/// An attribute of a device.
pub const ATTRIBUTE: Form = Form::Struct(&[
    ("int", Form::As("IntValue", &POINTER)),
    ("bool", Form::As("BoolValue", &POINTER)),
    ("string", Form::As("StringValue", &POINTER)),
    ("version", Form::As("VersionValue", &POINTER)),
    ("ints", Form::As("IntValues", &POINTER)),
    ("bools", Form::As("BoolValues", &POINTER)),
    ("strings", Form::As("StringValues", &POINTER)),
    ("versions", Form::As("VersionValues", &POINTER)),
]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_written_whole() {
        let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "count": 1}}]}});
        let written = r#"{"Devices":{"Requests":[{"Name":"r","Exactly":{"DeviceClassName":"c","Selectors":null,"AllocationMode":"","Count":1,"AdminAccess":null,"Tolerations":null,"Capacity":null},"FirstAvailable":null}],"Constraints":null,"Config":null}}"#;
        assert_eq!(go_form::write(&spec, &CLAIM), written);
        let labelled = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
        assert_eq!(template(&labelled), format!(r#"{{"labels":{{"a":"b"}},"Spec":{written}}}"#));
    }
}
