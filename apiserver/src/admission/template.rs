//! Where the kinds that run pods keep what a pod is made of.

use machinery::catalogue::Resource;
use machinery::field::Path;
use machinery::meta;
use serde_json::Value;

/// The pod itself or the pod template in an object (metadata and spec), and its path; `None` for kinds without one and
/// for a ReplicationController that leaves it out.
pub fn of<'a>(row: &Resource, object: &'a Value) -> Option<(&'a Value, Path)> {
    let path = match (row.group.as_ref(), row.plural.as_ref()) {
        ("", "pods") => return Some((object, Path::root())),
        ("", "podtemplates") => "template",
        ("", "replicationcontrollers") => "spec.template",
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") | ("batch", "jobs") => "spec.template",
        ("batch", "cronjobs") => "spec.jobTemplate.spec.template",
        _ => return None,
    };
    let template = meta::at(object, path);
    template.is_object().then(|| (template, Path::new(path)))
}
