//! What is said of Windows in a pod's spec, and what a pod for one operating system may not say.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::each_container;
use crate::kinds::validate;

const CREDENTIALS_KIB_MAX: usize = 64;
const DOMAIN_LENGTH_MAX: usize = 256;
const USER_LENGTH_MAX: usize = 104;

pub fn options(options: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        errors.extend(validate::named(name, names::dns_subdomain, &path.child("gmsaCredentialSpecName")));
    }
    if let Some(credentials) = options["gmsaCredentialSpec"].as_str() {
        let at = path.child("gmsaCredentialSpec");
        if credentials.is_empty() {
            errors.push(Error::invalid(&at, credentials, "gmsaCredentialSpec cannot be an empty string"));
        } else if credentials.len() > CREDENTIALS_KIB_MAX * 1024 {
            let why = format!("gmsaCredentialSpec size must be under {CREDENTIALS_KIB_MAX} KiB");
            errors.push(Error::invalid(&at, credentials, why));
        }
    }
    if let Some(name) = options["runAsUserName"].as_str() {
        let at = path.child("runAsUserName");
        errors
            .extend(user_faults(name).into_iter().map(|why| Error::invalid(&at, name, format!("runAsUserName{why}"))));
    }
    errors
}

/// What is wrong with `DOMAIN\user`, as the rest of a sentence.
fn user_faults(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![" cannot be an empty string".to_owned()];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec![" cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => {
            return vec![" cannot contain more than one backslash".to_owned()];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let mut faults = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_LENGTH_MAX) {
        faults.push(format!("'s Domain length must be under {DOMAIN_LENGTH_MAX} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        faults.push("'s Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        faults.push("'s User cannot be empty".to_owned());
    } else if user.len() > USER_LENGTH_MAX {
        faults.push(format!("'s User length must not be longer than {USER_LENGTH_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        faults.push("'s User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|c| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        faults.push(r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned());
    }
    faults
}

fn is_net_bios(domain: &str) -> bool {
    let is_good = |c: char| !r#"\/:*?"<>|"#.contains(c);
    (1..=15).contains(&domain.chars().count()) && !domain.starts_with('.') && domain.chars().all(is_good)
}

fn is_dns(domain: &str) -> bool {
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label)
}

/// Containers that are processes of the node: all or none, and on the node's network.
pub fn host_process(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let of = |holder: &Value| meta::at(holder, "securityContext.windowsOptions.hostProcess").as_bool();
    let of_pod = of(spec);
    let (mut all, mut hosted) = (0, 0);
    for (container, at) in each_container(spec, path) {
        let own = of(container);
        all += 1;
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.push(Error::invalid(&at, own, why));
        }
        hosted += usize::from(own.or(of_pod).unwrap_or(false));
    }
    if hosted == 0 {
        return errors;
    }
    if hosted != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(Error::invalid(path, "", why));
    }
    if !meta::is_true(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(Error::invalid(&path.child("hostNetwork"), false, why));
    }
    errors
}

/// The operating system that a pod is for, and what means nothing there.
pub fn system(spec: &Value, path: &Path) -> ErrorList {
    if spec["os"].is_null() {
        return ErrorList::new();
    }
    match meta::text(spec, "os.name") {
        "" => vec![Error::required(&path.child("os").child("name"), "")],
        "linux" => without_windows(spec, path),
        "windows" => without_linux(spec, path),
        other => vec![Error::not_supported(&path.child("os"), other, &["linux", "windows"])],
    }
}

fn without_windows(spec: &Value, path: &Path) -> ErrorList {
    let mut holders = vec![(spec, path.clone())];
    holders.extend(each_container(spec, path));
    let given = holders.iter().filter(|(holder, _)| !meta::at(holder, "securityContext.windowsOptions").is_null());
    let why = "windows options cannot be set for a linux pod";
    given.map(|(_, at)| Error::forbidden(&at.child("securityContext").child("windowsOptions"), why)).collect()
}

/// Fields of a pod by the step above them ("" is the spec itself), in upstream's order.
const OF_LINUX_PODS: [(&str, &str); 15] = [
    ("securityContext", "appArmorProfile"),
    ("securityContext", "seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("securityContext", "seccompProfile"),
    ("securityContext", "fsGroup"),
    ("securityContext", "fsGroupChangePolicy"),
    ("securityContext", "sysctls"),
    ("", "shareProcessNamespace"),
    ("securityContext", "runAsUser"),
    ("securityContext", "runAsGroup"),
    ("securityContext", "supplementalGroups"),
    ("securityContext", "supplementalGroupsPolicy"),
    ("securityContext", "seLinuxChangePolicy"),
];
const OF_LINUX_CONTAINERS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn without_linux(spec: &Value, path: &Path) -> ErrorList {
    const WHY: &str = "cannot be set for a windows pod";
    let mut errors = ErrorList::new();
    for (step, field) in OF_LINUX_PODS {
        let (holder, at) = if step.is_empty() { (spec, path.clone()) } else { (&spec[step], path.child(step)) };
        let is_set = match field {
            "hostPID" | "hostIPC" => meta::is_true(holder, field),
            "sysctls" => !meta::list(holder, field).is_empty(),
            field => !holder[field].is_null(),
        };
        if is_set {
            errors.push(Error::forbidden(&at.child(field), WHY));
        }
    }
    for (container, at) in each_container(spec, path) {
        let context = &container["securityContext"];
        let given = OF_LINUX_CONTAINERS.iter().filter(|field| !context[**field].is_null());
        errors.extend(given.map(|field| Error::forbidden(&at.child("securityContext").child(field), WHY)));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::pod::validate::told;

    #[test]
    fn users_have_names_of_their_own() {
        for (name, want) in [
            ("ContainerUser", vec![]),
            (r"example.com\user", vec![]),
            (r"a\b\c", vec![" cannot contain more than one backslash"]),
            ("", vec![" cannot be an empty string"]),
            ("a\tb", vec![" cannot contain control characters"]),
            (r"-a:\u", vec!["'s Domain doesn't match the NetBios nor the DNS format"]),
            (r"a\", vec!["'s User cannot be empty"]),
            ("..", vec!["'s User cannot contain only periods or spaces"]),
            ("a@b", vec![r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#]),
        ] {
            assert_eq!(user_faults(name), want, "{name}");
        }
        assert_eq!(
            told(options(&json!({"gmsaCredentialSpec": ""}), &Path::new("w"))),
            ["w.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string"]
        );
    }

    #[test]
    fn processes_of_the_node_are_among_themselves() {
        let with = |is: bool| json!({"windowsOptions": {"hostProcess": is}});
        for (spec, want) in [
            (json!({"securityContext": with(true), "hostNetwork": true, "containers": [{}]}), vec![]),
            (
                json!({"containers": [{"securityContext": with(true)}, {}], "hostNetwork": true}),
                vec![
                    "s: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                ],
            ),
            (
                json!({"securityContext": with(false), "containers": [{"securityContext": with(true)}]}),
                vec![
                    "s.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: true: pod hostProcess value must be identical if both are specified, was false",
                    "s.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
                ],
            ),
        ] {
            assert_eq!(told(host_process(&spec, &Path::new("s"))), want, "{spec}");
        }
    }

    #[test]
    fn each_system_has_its_own_fields() {
        for (spec, want) in [
            (json!({"os": {"name": "linux"}, "securityContext": {"runAsUser": 1}}), vec![]),
            (json!({"os": {"name": "windows"}, "securityContext": {"windowsOptions": {}}}), vec![]),
            (json!({"os": {}}), vec!["s.os.name: Required value"]),
            (
                json!({"os": {"name": "x"}}),
                vec!["s.os: Unsupported value: \"x\": supported values: \"linux\", \"windows\""],
            ),
            (
                json!({"os": {"name": "linux"}, "containers": [{"securityContext": {"windowsOptions": {}}}]}),
                vec![
                    "s.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
                ],
            ),
            (
                json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"fsGroup": 1},
                    "containers": [{"securityContext": {"privileged": false}}]}),
                vec![
                    "s.hostPID: Forbidden: cannot be set for a windows pod",
                    "s.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
                    "s.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
                ],
            ),
        ] {
            assert_eq!(told(system(&spec, &Path::new("s"))), want, "{spec}");
        }
    }
}
