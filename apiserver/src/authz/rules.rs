//! One RBAC policy rule and what it covers (Kubernetes reference: "Using RBAC Authorization").

use serde::Deserialize;

use crate::request::RequestInfo;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

const ALL: &str = "*";

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == wanted)
}

impl Rule {
    pub fn covers(&self, info: &RequestInfo) -> bool {
        if !holds(&self.verbs, &info.verb) {
            return false;
        }
        if !info.is_resource {
            return self.covers_path(&info.path);
        }
        holds(&self.api_groups, &info.group)
            && self.covers_resource(info)
            && (self.resource_names.is_empty() || self.resource_names.contains(&info.name))
    }

    /// `*`, `pods`, `pods/log`, `*/scale`.
    fn covers_resource(&self, info: &RequestInfo) -> bool {
        self.resources.iter().any(|entry| {
            entry == ALL
                || match (entry.split_once('/'), info.subresource.is_empty()) {
                    (None, true) => *entry == info.resource,
                    (Some((resource, subresource)), false) => {
                        (resource == ALL || resource == info.resource) && subresource == info.subresource
                    }
                    _ => false,
                }
        })
    }

    /// A path as it is, or all that begin with what stands before a closing `*`.
    fn covers_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => entry == path,
        })
    }

    /// The parts of this rule that no rule of `owned` includes: nobody grants more than they have.
    pub fn beyond(&self, owned: &[Rule]) -> Vec<Rule> {
        let mut parts = self.breakdown();
        parts.retain(|part| !owned.iter().any(|rule| rule.includes(part)));
        parts
    }

    /// The rule as rules of one verb, one group, one resource and at most one name each.
    fn breakdown(&self) -> Vec<Rule> {
        let mut parts = Vec::new();
        for verb in &self.verbs {
            let one = |text: &String| vec![text.clone()];
            for url in &self.non_resource_urls {
                parts.push(Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let part =
                        Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                    } else {
                        parts.extend(
                            self.resource_names.iter().map(|name| Rule { resource_names: one(name), ..part.clone() }),
                        );
                    }
                }
            }
        }
        parts
    }

    fn includes(&self, part: &Rule) -> bool {
        let all = |own: &[String], asked: &[String]| asked.iter().all(|entry| holds(own, entry));
        let resource = |entry: &String| {
            self.resources.iter().any(|own| {
                own == ALL
                    || own == entry
                    || matches!((own.split_once('/'), entry.split_once('/')), (Some((ALL, a)), Some((_, b))) if a == b)
            })
        };
        let url = |entry: &String| {
            self.non_resource_urls
                .iter()
                .any(|own| own == entry || own.strip_suffix('*').is_some_and(|prefix| entry.starts_with(prefix)))
        };
        all(&self.verbs, &part.verbs)
            && if part.non_resource_urls.is_empty() {
                all(&self.api_groups, &part.api_groups)
                    && part.resources.iter().all(resource)
                    && (self.resource_names.is_empty()
                        || (!part.resource_names.is_empty()
                            && part.resource_names.iter().all(|name| self.resource_names.contains(name))))
            } else {
                part.non_resource_urls.iter().all(url)
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list = |text: &str| match text {
            "-" => Vec::new(),
            text => text.split(',').map(|part| part.trim_matches('"').to_owned()).collect(),
        };
        Rule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            ..Rule::default()
        }
    }

    fn ask(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> RequestInfo {
        RequestInfo {
            verb: verb.into(),
            is_resource: true,
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn covers_resources_subresources_and_names() {
        let pods = rule("get,list", "\"\"", "pods", "-");
        assert!(pods.covers(&ask("get", "", "pods", "", "x")));
        assert!(!pods.covers(&ask("get", "", "pods", "log", "x")));
        assert!(!pods.covers(&ask("get", "apps", "pods", "", "x")));
        assert!(rule("*", "*", "*/scale", "-").covers(&ask("update", "apps", "deployments", "scale", "x")));
        let named = rule("get", "\"\"", "secrets", "a");
        assert!(
            named.covers(&ask("get", "", "secrets", "", "a")) && !named.covers(&ask("get", "", "secrets", "", "b"))
        );
    }

    #[test]
    fn covers_paths_by_prefix() {
        let mut info = RequestInfo { verb: "get".into(), path: "/healthz/etcd".into(), ..RequestInfo::default() };
        let urls =
            |url: &str| Rule { verbs: vec!["get".into()], non_resource_urls: vec![url.into()], ..Rule::default() };
        assert!(urls("/healthz/*").covers(&info) && !urls("/healthz").covers(&info));
        info.path = "/healthz".into();
        assert!(urls("/healthz").covers(&info) && urls("*").covers(&info));
    }

    #[test]
    fn a_grant_may_not_exceed_what_is_owned() {
        let owned = [rule("get,list", "\"\"", "pods", "-"), rule("watch", "\"\"", "pods", "-")];
        assert!(rule("get,watch", "\"\"", "pods", "-").beyond(&owned).is_empty());
        assert!(rule("get", "\"\"", "pods", "a").beyond(&owned).is_empty());
        assert!(!rule("delete", "\"\"", "pods", "-").beyond(&owned).is_empty());
        assert!(!rule("get", "\"\"", "secrets", "-").beyond(&owned).is_empty());
        assert!(!rule("get", "\"\"", "pods", "-").beyond(&[rule("get", "\"\"", "pods", "a")]).is_empty());
    }
}
