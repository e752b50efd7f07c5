//! What a configuration says beside the namespaces' labels (`pod-security.admission.config.k8s.io/v1`
//! PodSecurityConfiguration): defaults, and whom the standards leave alone.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde::Deserialize;
use serde_json::Value;

use super::super::configuration::Configuration;
use super::policy::{LevelVersion, Policy};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    defaults: Defaults,
    exemptions: Exemptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exemptions {
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

const VERSIONS: [&str; 3] = [
    "pod-security.admission.config.k8s.io/v1",
    "pod-security.admission.config.k8s.io/v1beta1",
    "pod-security.admission.config.k8s.io/v1alpha1",
];

pub(super) fn read(configuration: &Configuration) -> Result<(Policy, Exemptions), String> {
    let found: Option<File> = configuration.of("PodSecurity", "PodSecurityConfiguration", &VERSIONS)?;
    let Some(File { defaults, exemptions }) = found else { return Ok((Policy::OPEN, Exemptions::default())) };
    let mut errors = ErrorList::new();
    let mut mode = |name: &str, level: &str, version: &str| {
        LevelVersion::parse(level, version).unwrap_or_else(|why| {
            let is_level = LevelVersion::parse(level, "").is_err();
            let (field, value) = if is_level { (name.to_owned(), level) } else { (format!("{name}-version"), version) };
            errors.push(Error::invalid(&Path::new("defaults").child(&field), value, why));
            Policy::OPEN.enforce
        })
    };
    let policy = Policy {
        enforce: mode("enforce", &defaults.enforce, &defaults.enforce_version),
        warn: mode("warn", &defaults.warn, &defaults.warn_version),
        audit: mode("audit", &defaults.audit, &defaults.audit_version),
    };
    errors.extend(exemptions.check());
    match errors.is_empty() {
        true => Ok((policy, exemptions)),
        false => {
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(format!("configuration of admission plugin PodSecurity: {}", told.join(", ")))
        }
    }
}

impl Exemptions {
    /// Why a request is left alone, by upstream's word; `None`: it is not.
    pub(super) fn reason(&self, namespace: &str, user: &str, pod: &Value) -> Option<&'static str> {
        let class = meta::text(pod, "spec.runtimeClassName");
        let has = |list: &[String], name: &str| !name.is_empty() && list.iter().any(|own| own == name);
        match () {
            () if has(&self.namespaces, namespace) => Some("namespace"),
            () if has(&self.usernames, user) => Some("user"),
            () if has(&self.runtime_classes, class) => Some("runtimeClass"),
            () => None,
        }
    }

    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|own| own == name)
    }

    fn check(&self) -> ErrorList {
        let path = Path::new("exemptions");
        let mut errors = each(&self.namespaces, &path.child("namespaces"), names::dns_label);
        errors.extend(each(&self.runtime_classes, &path.child("runtimeClasses"), names::dns_subdomain));
        errors.extend(each(&self.usernames, &path.child("usernames"), |name| match name {
            "" => vec!["username must not be empty".to_owned()],
            _ => Vec::new(),
        }));
        errors
    }
}

fn each(list: &[String], path: &Path, check: impl Fn(&str) -> Vec<String>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, name) in list.iter().enumerate() {
        let (at, wrong) = (path.index(position), check(name));
        if !wrong.is_empty() {
            errors.push(Error::invalid(&at, name.as_str(), wrong.join(", ")));
        } else if list[..position].contains(name) {
            errors.push(Error::duplicate(&at, name.as_str()));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<(Policy, Exemptions), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        let inner = format!("apiVersion: {}\nkind: PodSecurityConfiguration\n{yaml}", VERSIONS[0]);
        std::fs::write(folder.path().join("inner.yaml"), inner).unwrap();
        let outer = "{apiVersion: apiserver.config.k8s.io/v1, kind: AdmissionConfiguration, plugins: [{name: PodSecurity, path: inner.yaml}]}";
        std::fs::write(&path, outer).unwrap();
        read(&Configuration::load(&path)?)
    }

    #[test]
    fn defaults_and_exemptions_are_read() {
        let yaml = "defaults: {enforce: baseline, enforce-version: v1.25, audit: restricted}\nexemptions: {namespaces: [kube-system], usernames: [root], runtimeClasses: [kata]}";
        let (policy, exemptions) = parsed(yaml).expect("it is good");
        assert_eq!(
            (policy.enforce.to_string(), policy.audit.to_string()),
            ("baseline:v1.25".into(), "restricted:latest".into())
        );
        let pod = serde_json::json!({"spec": {"runtimeClassName": "kata"}});
        assert_eq!(exemptions.reason("a", "u", &pod), Some("runtimeClass"));
        assert_eq!(exemptions.reason("a", "root", &Value::Null), Some("user"));
        assert_eq!(exemptions.reason("kube-system", "root", &Value::Null), Some("namespace"));
        assert_eq!(exemptions.reason("a", "u", &Value::Null), None);
    }

    #[test]
    fn mistakes_are_told() {
        let told = parsed("defaults: {enforce: strict}\nexemptions: {namespaces: [A_b, x, x]}").unwrap_err();
        assert!(told.contains("defaults.enforce: Invalid value: \"strict\": must be one of privileged"), "{told}");
        assert!(
            told.contains("exemptions.namespaces[0]") && told.contains("exemptions.namespaces[2]: Duplicate"),
            "{told}"
        );
        assert!(parsed("default: {}").unwrap_err().contains("unknown field \"default\""));
    }
}
