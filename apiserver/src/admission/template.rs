//! Where the kinds that run pods keep what a pod is made of.

use machinery::field::Path;
use machinery::meta;
use serde_json::Value;

use crate::kinds::Hooks;

/// The pod itself or the pod template in an object (metadata and spec), and its path; `None` for kinds without one and
/// for a ReplicationController that leaves it out.
pub fn of<'a>(hooks: &Hooks, object: &'a Value) -> Option<(&'a Value, Path)> {
    match hooks.pod? {
        "" => Some((object, Path::root())),
        path => Some((meta::at(object, path), Path::new(path))).filter(|(template, _)| template.is_object()),
    }
}
