//! Without `--allow-privileged` no container is privileged. Upstream has this among the rules of pods, and tells it with
//! whatever else is wrong with one.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::{Request, template};

/// What the object has that this server does not allow.
pub fn check(request: &Request<'_>, object: &Value) -> ErrorList {
    if !request.writes() || request.info().subresource == "status" {
        return ErrorList::new();
    }
    match template::of(request.served().hooks, object) {
        Some((template, path)) => privileged(&template["spec"], &path.child("spec")),
        None => ErrorList::new(),
    }
}

fn privileged(spec: &Value, path: &Path) -> ErrorList {
    const HOST_PROCESS: &str = "securityContext.windowsOptions.hostProcess";
    let mut errors = ErrorList::new();
    let of_pod = meta::is_true(spec, HOST_PROCESS);
    let mut is_host_process = false;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (position, container) in meta::list(spec, list).iter().enumerate() {
            if meta::is_true(container, "securityContext.privileged") {
                let at = path.child(list).index(position).child("securityContext").child("privileged");
                errors.push(Error::forbidden(&at, "disallowed by cluster policy"));
            }
            is_host_process |= meta::at(container, HOST_PROCESS).as_bool().unwrap_or(of_pod);
        }
    }
    if is_host_process {
        errors.push(Error::forbidden(path, "hostProcess containers are disallowed by cluster policy"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(spec: &Value) -> Vec<String> {
        privileged(spec, &Path::new("spec")).iter().map(Error::to_string).collect()
    }

    #[test]
    fn names_each_privileged_container() {
        let spec = json!({"containers": [{}, {"securityContext": {"privileged": true}}]});
        assert_eq!(
            told(&spec),
            ["spec.containers[1].securityContext.privileged: Forbidden: disallowed by cluster policy"]
        );
    }

    #[test]
    fn processes_of_the_host_are_told_once_for_the_pod() {
        let of = |is: bool| json!({"windowsOptions": {"hostProcess": is}});
        let why = "spec: Forbidden: hostProcess containers are disallowed by cluster policy";
        for (pod, container, want) in [
            (of(true), json!({}), vec![why]),
            (json!({}), of(true), vec![why]),
            (of(true), of(false), vec![]),
            (json!({}), json!({}), vec![]),
        ] {
            let container = json!({"securityContext": container});
            let spec = json!({"securityContext": pod, "containers": [container, container]});
            assert_eq!(told(&spec), want, "{spec}");
        }
    }
}
