//! Rules of claims, classes and slices as tables.

use serde_json::json;

use super::*;

fn told(errors: ErrorList) -> Vec<String> {
    errors.iter().map(Error::to_string).collect()
}

fn claim(devices: Value) -> Vec<String> {
    let mut claim = json!({"spec": {"devices": devices}});
    (claim::CLAIM.default)(&mut claim);
    told((claim::CLAIM.validate_against)(&claim, None))
}

#[test]
fn requests_good_and_bad() {
    let exactly = json!({"deviceClassName": "c"});
    let at = "spec.devices.requests[0]";
    for (devices, want) in [
        (json!({"requests": [{"name": "r", "exactly": exactly}]}), vec![]),
        (
            json!({"requests": [{"name": "r"}]}),
            vec![format!("{at}: Required value: exactly one of `exactly` or `firstAvailable` is required")],
        ),
        (
            json!({"requests": [{"name": "r", "exactly": exactly, "firstAvailable": [{"name": "a", "deviceClassName": "c"}]}]}),
            vec![format!(
                "{at}: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
            )],
        ),
        (
            json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}}]}),
            vec![format!("{at}.exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'")],
        ),
        (
            json!({"requests": [{"name": "r", "exactly": {"allocationMode": "Some"}}]}),
            vec![
                format!("{at}.exactly.deviceClassName: Required value"),
                format!(
                    "{at}.exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\""
                ),
            ],
        ),
        (
            json!({"requests": [{"name": "r", "exactly": exactly}, {"name": "r", "exactly": exactly}]}),
            vec!["spec.devices.requests[1]: Duplicate value: \"r\"".to_owned()],
        ),
        (
            json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "tolerations": [{"key": "k", "operator": "Exists", "value": "v"}, {}]}}]}),
            vec![
                format!("{at}.exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`"),
                format!("{at}.exactly.tolerations[1].operator: Required value"),
            ],
        ),
    ] {
        assert_eq!(claim(devices.clone()), want, "{devices}");
    }
}

#[test]
fn parts_name_requests_that_are_there() {
    let devices = json!({
        "requests": [{"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c"}]}],
        "constraints": [{"requests": ["r", "r/a"], "matchAttribute": "d.io/kind"}, {"requests": ["r/b"], "matchAttribute": "kind"}, {}],
        "config": [{"requests": ["x"], "opaque": {"driver": "d.io", "parameters": [1]}}],
    });
    let unknown =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    assert_eq!(
        claim(devices),
        [
            format!("spec.devices.constraints[1].requests[0]: Invalid value: \"r/b\": {unknown}"),
            "spec.devices.constraints[1].matchAttribute: Invalid value: \"kind\": a fully qualified name must be a domain and a name separated by a slash".to_owned(),
            "spec.devices.constraints[2]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set".to_owned(),
            format!("spec.devices.config[0].requests[0]: Invalid value: \"x\": {unknown}"),
            "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned(),
        ]
    );
}

#[test]
fn classes_have_selectors_and_configurations() {
    let check = |spec: Value| told((class::HOOKS.validate_against)(&json!({"spec": spec}), None));
    assert_eq!(check(json!({"extendedResourceName": "a.io/b"})), [""; 0]);
    assert_eq!(
        check(json!({"selectors": [{}], "config": [{}], "extendedResourceName": "cpu"})),
        [
            "spec.selectors[0].cel: Required value",
            "spec.config[0].opaque: Required value",
            "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name",
        ]
    );
    let long = json!({"cel": {"expression": "a".repeat(10 * 1024 + 1)}});
    assert_eq!(
        check(json!({"selectors": [long]})),
        ["spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"]
    );
}

fn slice(more: Value) -> Value {
    let mut spec =
        json!({"driver": "d.io", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 0}});
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({"spec": spec})
}

#[test]
fn slices_good_and_bad() {
    let check = |more: Value| told((slice::HOOKS.validate_against)(&slice(more), None));
    assert_eq!(
        check(
            json!({"devices": [{"name": "a", "attributes": {"kind": {"string": "x"}, "d.io/v": {"version": "1.0.0-rc.1+b"}}}]})
        ),
        [""; 0]
    );
    assert_eq!(
        check(json!({"nodeName": null})),
        [
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        ]
    );
    assert_eq!(
        check(json!({"allNodes": true})),
        [
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"
        ]
    );
    assert_eq!(
        check(
            json!({"devices": [{"name": "a", "allNodes": true, "attributes": {"k": {}, "v": {"version": "1.0"}}, "bindingConditions": ["x"], "taints": [{"key": "k", "effect": "No"}]}]})
        ),
        [
            "spec.devices[0].attributes[k]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1.0\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].taints[0].effect: Unsupported value: \"No\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
        ]
    );
}

#[test]
fn shared_capacities_have_policies() {
    let check = |policy: Value, shared: bool| {
        let device = json!({"name": "a", "allowMultipleAllocations": shared, "capacity": {"memory": {"value": "10Gi", "requestPolicy": policy}}});
        told((slice::HOOKS.validate_against)(&slice(json!({"devices": [device]})), None))
    };
    let at = "spec.devices[0].capacity[memory].requestPolicy";
    let range = json!({"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}});
    assert_eq!(check(range.clone(), true), [""; 0]);
    assert_eq!(check(range, false), [format!("{at}: Forbidden: allowMultipleAllocations must be true")]);
    assert_eq!(
        check(json!({"default": "3Gi", "validValues": ["2Gi", "1Gi", "20Gi"]}), true),
        [
            format!("{at}.validValues[1]: Invalid value: \"1Gi\": values must be sorted in ascending order"),
            format!("{at}.validValues[2]: Invalid value: \"20Gi\": option is larger than capacity value: 10Gi"),
            format!(
                "{at}.validValues: Invalid value: \"3Gi\": default value is not valid according to the requestPolicy"
            ),
        ]
    );
    assert_eq!(
        check(json!({"validRange": {"min": "1"}}), true),
        [format!("{at}.default: Required value: required when validRange is defined")]
    );
}

#[test]
fn a_slice_stays_with_its_driver() {
    let (new, old) = (slice(json!({"driver": "e.io"})), slice(json!({})));
    let errors = told((slice::HOOKS.validate_against)(&new, Some(&old)));
    assert_eq!(errors, ["spec.driver: Invalid value: \"e.io\": field is immutable"]);
}
