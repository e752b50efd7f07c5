//! What a pod's status tells of each container's devices and users.

use std::collections::HashSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::security;
use super::status::STATUSES;

/// Who runs in the containers.
pub fn users(pod: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, _) in STATUSES {
        for (position, status) in meta::list(&pod["status"], field).iter().enumerate() {
            let (user, at) = (&status["user"]["linux"], path.child(field).index(position).child("user").child("linux"));
            if user.is_null() {
                continue;
            }
            match meta::text(pod, "spec.os.name") {
                "windows" => errors.push(Error::forbidden(&at, "cannot be set for a windows pod")),
                "" | "linux" => errors.extend(identities(user, &at)),
                _ => {}
            }
        }
    }
    errors
}

fn identities(user: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["uid", "gid"] {
        errors.extend(security::identity(&user[field], &path.child(field)));
    }
    let at = path.child("supplementalGroups");
    for (position, group) in meta::list(user, "supplementalGroups").iter().enumerate() {
        errors.extend(security::identity(group, &at.index(position)));
    }
    errors
}

/// How the containers' devices are. A container to look at others has none.
pub fn allocated(pod: &Value, path: &Path) -> ErrorList {
    const TOLD: &str = "allocatedResourcesStatus";
    let mut errors = ErrorList::new();
    for (field, list) in STATUSES {
        for (position, status) in meta::list(&pod["status"], field).iter().enumerate() {
            let at = path.child(field).index(position).child(TOLD);
            if list == "ephemeralContainers" {
                let why = "must not be specified in container status";
                errors.extend((!meta::list(status, TOLD).is_empty()).then(|| Error::forbidden(&at, why)));
                continue;
            }
            let container = meta::list(&pod["spec"], list).iter().find(|container| container["name"] == status["name"]);
            for (position, resource) in meta::list(status, TOLD).iter().enumerate() {
                let at = at.index(position);
                errors.extend(container.and_then(|container| unknown(resource, container, &at.child("name"))));
                errors.extend(health(meta::list(resource, "resources"), &at.child("resources")));
            }
        }
    }
    errors
}

/// A resource that the container does not ask for.
fn unknown(resource: &Value, container: &Value, path: &Path) -> Option<Error> {
    let name = meta::text(resource, "name");
    let (is_asked, why) = match name.strip_prefix("claim:") {
        Some(claimed) => {
            let is_claimed = |claim: &Value| match (meta::text(claim, "name"), meta::text(claim, "request")) {
                (claim, "") => claimed == claim,
                (claim, request) => claimed.split_once('/') == Some((claim, request)),
            };
            let why = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
            (meta::list(container, "resources.claims").iter().any(is_claimed), why)
        }
        None => {
            let requests = meta::map(container, "resources.requests");
            (requests.contains_key(name), "must match one of the container's resource requests")
        }
    };
    (!is_asked).then(|| Error::invalid(path, name, why))
}

fn health(resources: &[Value], path: &Path) -> ErrorList {
    const STATES: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    const MESSAGE_LENGTH_MAX: usize = 1024;
    let mut errors = ErrorList::new();
    let mut known = HashSet::new();
    for (position, resource) in resources.iter().enumerate() {
        let at = path.index(position);
        let state = meta::text(resource, "health");
        if !STATES.contains(&state) {
            errors.push(Error::not_supported(&at.child("health"), state, &STATES));
        }
        match resource["message"].as_str() {
            Some("") => errors.push(Error::required(&at.child("message"), "must be non-empty if specified")),
            Some(message) if message.len() > MESSAGE_LENGTH_MAX => {
                errors.push(Error::too_long(&at.child("message"), MESSAGE_LENGTH_MAX));
            }
            _ => {}
        }
        let id = meta::text(resource, "resourceID");
        if !known.insert(id) {
            errors.push(Error::duplicate(&at.child("resourceID"), id));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn devices_are_those_that_were_asked_for() {
        let pod = |name: &str, resources: Value| {
            json!({"spec": {"containers": [{"name": "c", "resources":
                    {"requests": {"a.b/c": "1"}, "claims": [{"name": "x"}, {"name": "y", "request": "r"}]}}]},
                "status": {"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
                    {"name": name, "resources": resources}]}]}})
        };
        let path = Path::new("status");
        let at = "status.containerStatuses[0].allocatedResourcesStatus[0]";
        for good in ["a.b/c", "claim:x", "claim:y/r"] {
            assert_eq!(told(allocated(&pod(good, json!([])), &path)), [""; 0], "{good}");
        }
        for wrong in ["cpu", "claim:y", "claim:x/r"] {
            let errors = told(allocated(&pod(wrong, json!([])), &path));
            let begin = format!("{at}.name: Invalid value: \"{wrong}\": must match one of the container's");
            assert!(errors.len() == 1 && errors[0].starts_with(&begin), "{errors:?}");
        }
        let sick = json!([{"resourceID": "a", "health": "x", "message": ""}, {"resourceID": "a", "health": "Unknown"}]);
        let errors = told(allocated(&pod("a.b/c", sick), &path));
        let of = |text: &str| format!("{at}.resources{text}");
        assert_eq!(
            errors,
            [
                of("[0].health: Unsupported value: \"x\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\""),
                of("[0].message: Required value: must be non-empty if specified"),
                of("[1].resourceID: Duplicate value: \"a\""),
            ]
        );
        let looking =
            json!({"status": {"ephemeralContainerStatuses": [{"allocatedResourcesStatus": [{"name": "a"}]}]}});
        let why = "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status";
        assert_eq!(told(allocated(&looking, &path)), [why]);
    }

    #[test]
    fn users_are_the_systems() {
        let pod = |os: &str| {
            json!({"spec": {"os": {"name": os}},
                "status": {"initContainerStatuses": [{"user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [-2]}}}]}})
        };
        let fields = |os: &str| -> Vec<String> {
            users(&pod(os), &Path::new("status")).into_iter().map(|error| error.field).collect()
        };
        let at = "status.initContainerStatuses[0].user.linux";
        assert_eq!(fields("linux"), [format!("{at}.uid"), format!("{at}.supplementalGroups[0]")]);
        assert_eq!(fields("windows"), [at]);
    }
}
