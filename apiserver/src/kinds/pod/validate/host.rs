//! What a pod shares with its node: ports, namespaces, users, the name.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::{Context, each_container};
use crate::kinds::validate;

/// On the node's network a port is the node's. A template may leave that open.
pub fn ports(spec: &Value, context: &Context, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !meta::is_true(spec, "hostNetwork") {
        return errors;
    }
    for (index, container) in meta::list(spec, "containers").iter().enumerate() {
        for (position, port) in meta::list(container, "ports").iter().enumerate() {
            let [own, of_host] = ["containerPort", "hostPort"].map(|field| port[field].as_i64().unwrap_or(0));
            if of_host != own && (context.pod.is_some() || of_host != 0) {
                let at = path.child("containers").index(index).child("ports").index(position);
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&at.child("hostPort"), of_host, why));
            }
        }
    }
    errors
}

/// A pod with users of its own has the rest of its own too.
pub fn users(spec: &Value, path: &Path) -> ErrorList {
    const WHY: &str = "when `hostUsers` is false";
    if spec["hostUsers"] != false {
        return ErrorList::new();
    }
    // Upstream's own capitals.
    let shared = [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")];
    let shared = shared.into_iter().filter(|(field, _)| meta::is_true(spec, field));
    let mut errors: ErrorList = shared.map(|(_, told)| Error::forbidden(&path.child(told), WHY)).collect();
    let containers = each_container(spec, path);
    let with_devices = containers.iter().filter(|(container, _)| !meta::list(container, "volumeDevices").is_empty());
    errors.extend(with_devices.map(|(_, at)| Error::forbidden(&at.child("volumeDevices"), WHY)));
    errors
}

const NAME_LENGTH_MAX: usize = 64;

/// The name that the pod's processes see, where it is not the pod's.
pub fn name(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(name) = spec["hostnameOverride"].as_str() else { return errors };
    let at = path.child("hostnameOverride");
    for other in ["setHostnameAsFQDN", "hostNetwork"] {
        if meta::is_true(spec, other) {
            errors.push(Error::forbidden(&at, format!("may not be specified when {other} is true")));
        }
    }
    if name.len() > NAME_LENGTH_MAX {
        errors.push(Error::too_long(&at, NAME_LENGTH_MAX));
    }
    errors.extend(validate::named(name, names::dns_subdomain, &at));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn what_is_shared_is_shared_whole() {
        let with_name = |name: &str| json!({"hostnameOverride": name, "hostNetwork": true});
        for (rule, spec, want) in [
            (name as fn(&Value, &Path) -> ErrorList, json!({"hostnameOverride": "a.b"}), vec![]),
            (
                name,
                with_name("a"),
                vec!["s.hostnameOverride: Forbidden: may not be specified when hostNetwork is true"],
            ),
            (
                name,
                json!({"hostnameOverride": "a".repeat(65)}),
                vec!["s.hostnameOverride: Too long: may not be more than 64 bytes"],
            ),
            (users, json!({"hostUsers": true, "hostPID": true}), vec![]),
            (
                users,
                json!({"hostUsers": false, "hostPID": true, "containers": [{"volumeDevices": [{}]}]}),
                vec![
                    "s.HostPID: Forbidden: when `hostUsers` is false",
                    "s.containers[0].volumeDevices: Forbidden: when `hostUsers` is false",
                ],
            ),
        ] {
            assert_eq!(told(rule(&spec, &Path::new("s"))), want, "{spec}");
        }
        let spec = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
        assert_eq!(told(ports(&spec, &Context::TEMPLATE, &Path::new("s"))), [""; 0]);
        let pod = json!({});
        assert_eq!(
            told(ports(&spec, &Context::of_pod(&pod), &Path::new("s"))),
            [
                "s.containers[0].ports[0].hostPort: Invalid value: 0: must match `containerPort` when `hostNetwork` is true"
            ]
        );
    }
}
