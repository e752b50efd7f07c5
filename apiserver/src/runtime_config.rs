//! `--runtime-config`: which of the built-in groups, versions and resources are served.
//!
//! What is switched off is gone from HTTP, discovery and OpenAPI; what is stored of it stays, and the server's own parts go
//! on reading it. Enter at [`RuntimeConfig::parse`], whose errors are upstream's. Pure.

use std::collections::{BTreeMap, BTreeSet};

use component::flags::parse_bool;
use machinery::catalogue::{BUILTIN, Resource};

/// Of upstream's v1.36, versions that are not built here.
const UNBUILT: [(&str, &[&str]); 15] = [
    ("admissionregistration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apps", &["v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1beta1", "v1alpha1"]),
    ("batch", &["v1beta1"]),
    ("certificates.k8s.io", &["v1beta1", "v1alpha1"]),
    ("coordination.k8s.io", &["v1beta1", "v1alpha2"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1beta1"]),
    ("policy", &["v1beta1"]),
    ("resource.k8s.io", &["v1beta2", "v1beta1", "v1alpha3"]),
    ("scheduling.k8s.io", &["v1beta1", "v1alpha2"]),
    ("storage.k8s.io", &["v1beta1", "v1alpha1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1beta1", "v1beta2", "v1beta3"]),
];

type OfVersion = fn(&str) -> bool;

/// Keys that stand for all versions of a kind, in the order in which they are followed.
const LEVELS: [(&str, OfVersion); 4] = [
    ("api/all", |_| true),
    ("api/ga", |version| Level::of(version) == Level::Ga),
    ("api/beta", |version| Level::of(version) == Level::Beta),
    ("api/alpha", |version| Level::of(version) == Level::Alpha),
];

#[derive(PartialEq, Eq)]
enum Level {
    Ga,
    Beta,
    Alpha,
}

impl Level {
    fn of(version: &str) -> Self {
        match () {
            () if version.contains("alpha") => Self::Alpha,
            () if version.contains("beta") => Self::Beta,
            () => Self::Ga,
        }
    }
}

type GroupVersion = (String, String);

/// What is switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    disabled: BTreeSet<GroupVersion>,
    /// Group, version, plural.
    resources: BTreeMap<(String, String, String), bool>,
    /// What was asked for and changes nothing, each in a sentence.
    pub idle: Vec<String>,
}

impl RuntimeConfig {
    /// Of the flag's values, `key` or `key=value` each; the error is everything that is wrong.
    pub fn parse(given: &[String]) -> Result<Self, Vec<String>> {
        let pairs = given.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let trimmed = pairs.map(|(key, value)| (key.trim(), value.trim()));
        let given: BTreeMap<&str, &str> = trimmed.filter_map(|(key, value)| Some((of_core(key)?, value))).collect();
        if given.len() == 1 && given.get("api/all") == Some(&"false") {
            return Err(vec!["invalid runtime-config with only api/all=false".to_owned()]);
        }
        let specific: Vec<(&str, &str)> =
            given.iter().filter(|(key, _)| !is_level(key)).map(|(key, value)| (*key, *value)).collect();
        check_groups(&specific)?;
        let mut config = Self::default();
        let mut wrong = Vec::new();
        for (level, matches) in LEVELS {
            match given.get(level) {
                None => {}
                Some(&"true") => config.switch_all(level, matches),
                Some(&"false") => config.disabled.extend(versions().filter(|(_, version)| matches(version))),
                Some(value) => wrong.push(format!("invalid value {level}={value}")),
            }
        }
        // Versions before resources, which go before them.
        let (versions, resources): (Vec<_>, Vec<_>) =
            specific.into_iter().partition(|(key, _)| key.matches('/').count() == 1);
        for (key, value) in versions.into_iter().chain(resources) {
            wrong.extend(config.switch(key, value).err());
        }
        if wrong.is_empty() { Ok(config) } else { Err(wrong) }
    }

    fn switch_all(&mut self, level: &str, matches: OfVersion) {
        self.disabled.retain(|(_, version)| !matches(version));
        if level != "api/ga" {
            self.idle.push(format!("--runtime-config={level}=true: versions that are beta or alpha are not built"));
        }
    }

    fn switch(&mut self, key: &str, value: &str) -> Result<(), String> {
        let parts: Vec<&str> = key.split('/').collect();
        let (group, version) = (parts[0].to_owned(), parts[1].to_owned());
        let built = versions().any(|known| known == (group.clone(), version.clone()));
        let unbuilt = UNBUILT.iter().any(|(name, versions)| *name == group && versions.contains(&parts[1]));
        if !built && !unbuilt {
            return Err(format!("group version {group}/{version} that has not been registered"));
        }
        let wanted = match value {
            "" => true,
            value => parse_bool(value).map_err(|error| format!("invalid value of {key}: {value}, err: {error}"))?,
        };
        if unbuilt && wanted {
            return Err(format!("--runtime-config={key} cannot be honoured by this server: it is not built"));
        }
        match parts.get(2) {
            None if wanted => drop(self.disabled.remove(&(group, version))),
            None => drop(self.disabled.insert((group, version))),
            Some(plural) if plural.to_lowercase() != **plural => {
                return Err(format!(
                    "invalid key {key}: group/version/resource and resource is always lowercase plural, not {plural:?}"
                ));
            }
            Some(plural) => drop(self.resources.insert((group, version, (*plural).to_owned()), wanted)),
        }
        Ok(())
    }

    pub fn serves(&self, row: &Resource) -> bool {
        let version = (row.group.to_string(), row.version.to_string());
        let by_version = !self.disabled.contains(&version);
        let (group, version) = version;
        self.resources.get(&(group, version, row.plural.to_string())).copied().unwrap_or(by_version)
    }
}

/// Upstream's older names of the core group's version; all of them mean the version, also one that goes on with a resource.
/// None for `api/legacy`, which means nothing any more.
fn of_core(key: &str) -> Option<&str> {
    let names_version =
        |name: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match key {
        "api/legacy" => None,
        _ if names_version("v1") || names_version("api/v1") => Some("/v1"),
        _ => Some(key),
    }
}

fn is_level(key: &str) -> bool {
    LEVELS.iter().any(|(level, _)| *level == key)
}

fn versions() -> impl Iterator<Item = GroupVersion> {
    BUILTIN.iter().map(|row| (row.group.to_string(), row.version.to_string()))
}

/// That each key names a group that there is.
fn check_groups(given: &[(&str, &str)]) -> Result<(), Vec<String>> {
    let mut unknown = BTreeSet::new();
    for (key, _) in given {
        let parts: Vec<&str> = key.split('/').collect();
        let ([group, version] | [group, version, _]) = parts[..] else {
            return Err(vec![format!("runtime-config invalid key {key}")]);
        };
        let is_known = BUILTIN.iter().any(|row| row.group == group) || UNBUILT.iter().any(|(name, _)| *name == group);
        if !is_known {
            unknown.insert(format!("{group}/{version}"));
        }
    }
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(vec![format!("unknown api groups {}", Vec::from_iter(unknown).join(","))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuntimeConfig, Vec<String>> {
        RuntimeConfig::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    fn served(text: &str) -> Vec<String> {
        let config = parse(text).unwrap();
        let rows = BUILTIN.iter().filter(|row| config.serves(row));
        rows.map(|row| format!("{}/{}/{}", row.group, row.version, row.plural)).collect()
    }

    #[test]
    fn the_most_particular_word_holds() {
        let all = BUILTIN.len();
        assert_eq!(served("api/all=true").len(), all);
        let without = served("batch/v1=false,batch/v1/jobs=true");
        assert!(without.contains(&"batch/v1/jobs".to_owned()) && !without.contains(&"batch/v1/cronjobs".to_owned()));
        assert_eq!(without.len(), all - 1);
        assert_eq!(served("api/all=false,batch/v1"), ["batch/v1/cronjobs", "batch/v1/jobs"]);
        assert!(served("api/ga=false").is_empty());
        assert_eq!(served("api/beta=false,resource.k8s.io/v1beta1=false").len(), all);
        assert_eq!(parse("api/all=true").unwrap().idle.len(), 1);
    }

    #[test]
    fn the_core_group_has_older_names() {
        let all = BUILTIN.len();
        for name in ["v1", "api/v1", "v1/pods", "api/v1/pods", "/v1"] {
            assert_eq!(served(name).len(), all, "{name}");
            let without = served(&format!("{name}=false"));
            assert!(without.iter().all(|resource| !resource.starts_with("/v1/")) && !without.is_empty(), "{name}");
        }
        assert_eq!(served("api/legacy=false").len(), all);
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        let error = |text: &str| parse(text).unwrap_err().join("; ");
        assert_eq!(error("api/all=false"), "invalid runtime-config with only api/all=false");
        assert_eq!(error("apps=true"), "runtime-config invalid key apps");
        assert_eq!(error("b.example/v1,a.example/v1/x=true"), "unknown api groups a.example/v1,b.example/v1");
        assert_eq!(error("api/all=yes"), "invalid value api/all=yes");
        assert_eq!(error("apps/v7=true"), "group version apps/v7 that has not been registered");
        let value = "invalid value of apps/v1: no, err: strconv.ParseBool: parsing \"no\": invalid syntax";
        assert_eq!(error("apps/v1=no"), value);
        let key = "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural, not \"Deployments\"";
        assert_eq!(error("apps/v1/Deployments=true"), key);
        assert!(error("resource.k8s.io/v1beta1=true").ends_with("cannot be honoured by this server: it is not built"));
    }
}
