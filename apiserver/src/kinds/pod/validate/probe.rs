//! Probes and lifecycle hooks (Kubernetes concepts: "Liveness, Readiness, and Startup Probes", "Container Lifecycle Hooks").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::validate;

/// `grace_seconds`: how long the pod has to end.
pub fn of_container(container: &Value, grace_seconds: Option<i64>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if handler.is_object() {
            let at = path.child("lifecycle").child(hook);
            errors.extend(self::handler(handler, &["exec", "httpGet", "tcpSocket", "sleep"], grace_seconds, &at));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[name];
        if !probe.is_object() {
            continue;
        }
        let at = path.child(name);
        errors.extend(self::probe(probe, &at));
        if name != "readinessProbe" && probe["successThreshold"].as_i64().is_some_and(|count| count != 1) {
            errors.push(Error::invalid(&at.child("successThreshold"), probe["successThreshold"].clone(), "must be 1"));
        }
        if name == "readinessProbe" && !probe["terminationGracePeriodSeconds"].is_null() {
            let at = at.child("terminationGracePeriodSeconds");
            let why = "must not be set for readinessProbes";
            errors.push(Error::invalid(&at, probe["terminationGracePeriodSeconds"].clone(), why));
        }
    }
    errors
}

fn probe(probe: &Value, path: &Path) -> ErrorList {
    let mut errors = handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, path);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.extend(validate::not_negative(&probe[field], &path.child(field)));
    }
    if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64().filter(|seconds| *seconds <= 0) {
        errors.push(Error::invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
    }
    errors
}

/// Exactly one way to act.
fn handler(handler: &Value, kinds: &[&str], grace_seconds: Option<i64>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let given: Vec<&str> = kinds.iter().copied().filter(|kind| !handler[kind].is_null()).collect();
    for (position, kind) in given.iter().enumerate() {
        let at = path.child(kind);
        if position > 0 {
            errors.push(Error::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        errors.extend(match *kind {
            "exec" => exec(&handler["exec"], &at),
            "httpGet" => http_get(&handler["httpGet"], &at),
            "tcpSocket" => validate::port(&handler["tcpSocket"]["port"], &at.child("port")),
            "grpc" => validate::port(&handler["grpc"]["port"], &at.child("port")),
            "sleep" => sleep(&handler["sleep"], grace_seconds, &at).into_iter().collect(),
            _ => ErrorList::new(),
        });
    }
    if given.is_empty() {
        errors.push(Error::required(path, "must specify a handler type"));
    }
    errors
}

/// A pod that ends does not sleep longer than it has time.
fn sleep(sleep: &Value, grace_seconds: Option<i64>, path: &Path) -> Option<Error> {
    let (seconds, most) = (sleep["seconds"].as_i64().unwrap_or(0), grace_seconds?);
    let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({most})");
    (seconds < 0 || seconds > most).then(|| Error::invalid(path, seconds, why))
}

fn exec(exec: &Value, path: &Path) -> ErrorList {
    let empty = meta::list(exec, "command").is_empty();
    empty.then(|| Error::required(&path.child("command"), "")).into_iter().collect()
}

fn http_get(get: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.extend(super::required_name(get, "path", path));
    errors.extend(validate::port(&get["port"], &path.child("port")));
    let scheme = meta::text(get, "scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(Error::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in meta::list(get, "httpHeaders") {
        errors.extend(validate::named(meta::text(header, "name"), names::http_header_name, &path.child("httpHeaders")));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_ends_has_no_time_to_sleep() {
        let refused = |seconds: i64| {
            let container = json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}});
            of_container(&container, Some(30), &Path::new("c"))
                .into_iter()
                .map(|error| error.body())
                .collect::<Vec<_>>()
        };
        assert_eq!(refused(0), [""; 0]);
        assert_eq!(refused(30), [""; 0]);
        for seconds in [-1, 31] {
            let why = "must be non-negative and less than terminationGracePeriodSeconds (30)";
            assert_eq!(refused(seconds), [format!("Invalid value: {seconds}: {why}")]);
        }
    }
}
