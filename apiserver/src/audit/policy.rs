//! What is written of which request (`audit.k8s.io/v1` Policy). Pure.

use machinery::field::{Error, ErrorList, Path, aggregate};
use machinery::names;
use serde::{Deserialize, Serialize};

use crate::request::{RequestInfo, User};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// Not used; a file may have it.
    #[serde(rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What the policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    pub omitted: Vec<Stage>,
    pub omits_managed_fields: bool,
}

impl Policy {
    /// The policy when it is a good one, or all that is wrong with it.
    pub fn checked(self) -> Result<Self, String> {
        let mut errors = stages(&self.omit_stages, &Path::new("omitStages"));
        for (position, rule) in self.rules.iter().enumerate() {
            errors.extend(rule.check(&Path::new("rules").index(position)));
        }
        match (errors.as_slice(), self.rules.is_empty()) {
            ([], true) => Err("loaded illegal policy with 0 rules".to_owned()),
            ([], false) => Ok(self),
            (wrong, _) => Err(aggregate(wrong)),
        }
    }

    /// The first rule that matches decides; what none matches is not written.
    pub fn judge(&self, info: &RequestInfo, user: &User) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(info, user));
        let named = self.omit_stages.iter().chain(rule.iter().flat_map(|rule| &rule.omit_stages));
        Verdict {
            level: rule.and_then(|rule| level(&rule.level)).unwrap_or_default(),
            omitted: named.filter_map(|name| stage(name)).collect(),
            omits_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(self.omit_managed_fields),
        }
    }
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];
const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

fn level(name: &str) -> Option<Level> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

fn stage(name: &str) -> Option<Stage> {
    STAGES.iter().find(|(known, _)| *known == name).map(|(_, stage)| *stage)
}

fn stages(given: &[String], path: &Path) -> ErrorList {
    let known = STAGES.map(|(name, _)| name).join(",");
    let unknown = given.iter().enumerate().filter(|(_, name)| stage(name).is_none());
    let refuse = |(at, name): (usize, &String)| {
        Error::invalid(&path.index(at), name.as_str(), format!("allowed stages are {known}"))
    };
    unknown.map(refuse).collect()
}

impl Rule {
    fn check(&self, path: &Path) -> ErrorList {
        let mut errors = ErrorList::new();
        match self.level.as_str() {
            "" => errors.push(Error::required(&path.child("level"), "")),
            name if level(name).is_none() => {
                errors.push(Error::not_supported(&path.child("level"), name, &LEVELS.map(|(name, _)| name)));
            }
            _ => {}
        }
        let at = path.child("nonResourceURLs");
        for (position, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut refuse = |why: &str| errors.push(Error::invalid(&at.index(position), url.as_str(), why));
            if !url.starts_with('/') {
                refuse("non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                refuse("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        let at = path.child("resources");
        for group in &self.resources {
            if !matches!(group.group.as_str(), "" | "*") {
                let wrong = names::dns_subdomain(&group.group);
                if !wrong.is_empty() {
                    errors.push(Error::invalid(&at.child("group"), group.group.as_str(), wrong.join(",")));
                }
            }
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                errors.push(Error::invalid(&at.child("resourceNames"), group.resource_names.clone(), why));
            }
        }
        errors.extend(stages(&self.omit_stages, &path.child("omitStages")));
        let is_of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if is_of_resources && !self.non_resource_urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(Error::invalid(&path.child("nonResourceURLs"), self.non_resource_urls.clone(), why));
        }
        errors
    }

    fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        let has = |list: &[String], value: &str| list.is_empty() || list.iter().any(|own| own == value);
        let is_of_user = has(&self.users, &user.name)
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group)));
        if !is_of_user || !has(&self.verbs, &info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let is_of_resource = || self.resources.is_empty() || self.resources.iter().any(|group| group.matches(info));
            return info.is_resource && has(&self.namespaces, &info.namespace) && is_of_resource();
        }
        let is_of_path = |url: &String| {
            url == "*" || *url == info.path || url.strip_suffix('*').is_some_and(|start| info.path.starts_with(start))
        };
        self.non_resource_urls.is_empty() || (!info.is_resource && self.non_resource_urls.iter().any(is_of_path))
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let is_named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        let whole = info.resource_path();
        let covers = |wanted: &String| {
            wanted == "*"
                || *wanted == whole
                || wanted.strip_prefix("*/").is_some_and(|sub| !sub.is_empty() && sub == info.subresource)
                || wanted.strip_suffix("/*").is_some_and(|resource| resource == info.resource)
        };
        is_named && self.resources.iter().any(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;
    use http::Method;

    fn policy(yaml: &str) -> Result<Policy, String> {
        serde_yaml_ng::from_str::<Policy>(yaml).map_err(|error| error.to_string())?.checked()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            "omitStages: [RequestReceived]
rules:
- {level: None, users: ['system:kube-proxy'], verbs: [watch]}
- {level: None, nonResourceURLs: ['/healthz*', /version]}
- {level: Metadata, resources: [{group: '', resources: [secrets, configmaps]}], omitStages: [ResponseStarted]}
- {level: Request, resources: [{group: '', resources: [pods/log]}]}
- {level: Request, namespaces: [kube-system], omitManagedFields: true}
- {level: RequestResponse, userGroups: [ops]}
- {level: Metadata, resources: [{group: '*', resources: ['*/scale']}]}",
        )
        .expect("a good policy");
        let level = |method: Method, path: &str, name: &str, groups: &[&str]| {
            let info = RequestInfo::parse(&method, path, &Query::default());
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            policy.judge(&info, &User { name: name.to_owned(), groups, ..User::default() })
        };
        let get = || Method::GET;
        for (path, name, groups, wanted) in [
            ("/healthz/ping", "u", &[][..], Level::None),
            ("/api/v1/namespaces/a/secrets/x", "u", &[], Level::Metadata),
            ("/api/v1/namespaces/a/pods/x/log", "u", &[], Level::Request),
            ("/api/v1/namespaces/a/pods/x", "u", &[], Level::None),
            ("/api/v1/namespaces/a/pods/x", "u", &["ops"], Level::RequestResponse),
            ("/api/v1/namespaces/kube-system/pods/x", "u", &["ops"], Level::Request),
            ("/apis/apps/v1/namespaces/a/deployments/x/scale", "u", &[], Level::Metadata),
        ] {
            assert_eq!(level(get(), path, name, groups).level, wanted, "{path}");
        }
        let secret = level(get(), "/api/v1/namespaces/a/secrets/x", "u", &[]);
        assert_eq!(secret.omitted, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(level(get(), "/api/v1/namespaces/kube-system/pods", "u", &[]).omits_managed_fields);
    }

    #[test]
    fn mistakes_are_told_in_upstreams_words() {
        for (yaml, words) in [
            ("rules: []", "loaded illegal policy with 0 rules"),
            ("rules: [{users: [a]}]", "rules[0].level: Required value"),
            (
                "rules: [{level: All}]",
                "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
            ),
            (
                "rules: [{level: None, nonResourceURLs: ['a*b']}]",
                "[rules[0].nonResourceURLs[0]: Invalid value: \"a*b\": non-resource URL rules must begin with a '/' character, \
                 rules[0].nonResourceURLs[0]: Invalid value: \"a*b\": non-resource URL wildcards '*' must be the final character of the rule]",
            ),
            (
                "{omitStages: [Later], rules: [{level: None}]}",
                "omitStages[0]: Invalid value: \"Later\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
            ),
        ] {
            assert_eq!(policy(yaml).unwrap_err(), words, "{yaml}");
        }
    }
}
