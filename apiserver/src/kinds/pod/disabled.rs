//! Fields that stand for what is not there yet: upstream has them behind gates that are off by default, and takes them
//! out of what it is sent. Who sent one owns it all the same.

use serde_json::{Map, Value};

use crate::kinds::Hooks;
use crate::kinds::defaults::{each, within};

type Fields = Map<String, Value>;

/// Takes them out of the pod, or the template of one, in an object of a kind with these hooks.
pub fn remove_disabled(object: &mut Value, hooks: &Hooks) {
    let Some(path) = hooks.pod else { return };
    let mut steps = path.split('.').filter(|step| !step.is_empty()).chain(["spec"]);
    let found = steps.try_fold(object, |inner, step| inner.get_mut(step));
    if let Some(spec) = found.and_then(Value::as_object_mut) {
        remove(spec);
    }
}

fn remove(spec: &mut Fields) {
    spec.remove("schedulingGroup");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(stop_signal);
    }
    for volume in each(spec, "volumes") {
        let Some(projected) = within(volume, "projected") else { continue };
        for source in each(projected, "sources") {
            source.remove("clusterTrustBundle");
            source.remove("podCertificate");
        }
    }
}

fn stop_signal(container: &mut Fields) {
    let Some(lifecycle) = within(container, "lifecycle") else { return };
    let was_there = lifecycle.remove("stopSignal").is_some_and(|signal| !signal.is_null());
    if was_there && lifecycle.values().all(Value::is_null) {
        container.remove("lifecycle");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_behind_a_gate_goes() {
        let hook = json!({"exec": {"command": ["a"]}});
        for (spec, want) in [
            (json!({"schedulingGroup": {"podGroupName": "g"}, "hostUsers": false}), json!({"hostUsers": false})),
            (
                json!({"containers": [{"lifecycle": {"stopSignal": "SIGTERM"}}, {"lifecycle": {}}]}),
                json!({"containers": [{}, {"lifecycle": {}}]}),
            ),
            (
                json!({"containers": [{"lifecycle": {"stopSignal": "SIGTERM", "preStop": hook}}]}),
                json!({"containers": [{"lifecycle": {"preStop": hook}}]}),
            ),
            (
                json!({"volumes": [{"projected": {"sources": [{"podCertificate": {}}, {"secret": {}}]}}]}),
                json!({"volumes": [{"projected": {"sources": [{}, {"secret": {}}]}}]}),
            ),
        ] {
            let mut fields = spec.as_object().unwrap().clone();
            remove(&mut fields);
            assert_eq!(Value::from(fields), want, "{spec}");
        }
    }
}
