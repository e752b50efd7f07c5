//! The rollback that an annotation asks for: what the API had as a field once, and old clients still write so.
//!
//! Pure. `kubectl rollout undo` does without; it changes the template itself.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;

use super::annotations::{self, ROLLBACK_TO};
use super::facts;
use crate::common::{map, template};

/// The Deployment to write, without the wish, and what is told of it.
#[derive(Debug, PartialEq)]
pub(super) struct Rollback {
    pub(super) deployment: Deployment,
    pub(super) done: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The revision to go back to; 0 is the one before the present one.
pub(super) fn wanted(d: &Deployment) -> Option<i64> {
    map(&d.metadata.annotations).get(ROLLBACK_TO)?.parse().ok()
}

pub(super) fn rollback(d: &Deployment, sets: &[ReplicaSet], wanted: i64) -> Rollback {
    let mut deployment = d.clone();
    deployment.annotations_mut().remove(ROLLBACK_TO);
    let not_found = |deployment: Deployment, message: &str| {
        let reason = "DeploymentRollbackRevisionNotFound";
        Rollback { deployment, done: false, reason, message: message.to_owned() }
    };
    let to = if wanted == 0 { last_revision(sets) } else { wanted };
    if to == 0 {
        return not_found(deployment, "Unable to find last revision.");
    }
    let Some(set) = sets.iter().find(|set| facts::revision(set) == Some(to)) else {
        return not_found(deployment, "Unable to find the revision to rollback to.");
    };
    let old = set.spec.as_ref().and_then(|s| s.template.as_ref());
    let (Some(old), Some(spec)) = (old, deployment.spec.as_mut()) else {
        return not_found(deployment, "Unable to find the revision to rollback to.");
    };
    let name = d.name_any();
    if template::equal_ignoring_hash(old, &spec.template) {
        let message = format!("The rollback revision contains the same template as current deployment {name:?}");
        return Rollback { deployment, done: false, reason: "DeploymentRollbackTemplateUnchanged", message };
    }
    spec.template = template::without_hash(old);
    annotations::take_back(&mut deployment, set);
    let message = format!("Rolled back deployment {name:?} to revision {to}");
    Rollback { deployment, done: true, reason: "DeploymentRollback", message }
}

/// The second highest; 0 when there is none.
fn last_revision(sets: &[ReplicaSet]) -> i64 {
    let mut revisions: Vec<i64> = sets.iter().filter_map(facts::revision).collect();
    revisions.sort_unstable();
    revisions.iter().rev().nth(1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn template(image: &str, hash: Option<&str>) -> Value {
        let mut labels = json!({"app": "web"});
        if let Some(hash) = hash {
            labels["pod-template-hash"] = json!(hash);
        }
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}})
    }

    fn set(revision: &str, image: &str) -> ReplicaSet {
        let annotations = json!({"deployment.kubernetes.io/revision": revision, "change-cause": image});
        let spec = json!({"selector": {}, "template": template(image, Some("abc"))});
        serde_json::from_value(json!({"metadata": {"name": image, "annotations": annotations}, "spec": spec})).unwrap()
    }

    #[test]
    fn an_annotation_asks_for_a_rollback() {
        let deployment = |to: &str| -> Deployment {
            let annotations =
                json!({ROLLBACK_TO: to, "deployment.kubernetes.io/revision": "7", "change-cause": "three"});
            serde_json::from_value(json!({"metadata": {"name": "web", "annotations": annotations},
                "spec": {"selector": {}, "template": template("three", None)}}))
            .unwrap()
        };
        let sets = [set("4", "one"), set("6", "two"), set("7", "three"), set("x", "four")];
        for (text, want) in [("", None), ("x", None), ("0", Some(0)), ("6", Some(6)), ("-1", Some(-1))] {
            assert_eq!(wanted(&deployment(text)), want, "{text:?}");
        }
        // Revision, ReplicaSets, the image afterwards, and what is told.
        let rows = [
            (0, &sets[..], "two", "DeploymentRollback", "Rolled back deployment \"web\" to revision 6"),
            (4, &sets[..], "one", "DeploymentRollback", "Rolled back deployment \"web\" to revision 4"),
            (
                5,
                &sets[..],
                "three",
                "DeploymentRollbackRevisionNotFound",
                "Unable to find the revision to rollback to.",
            ),
            (0, &sets[..1], "three", "DeploymentRollbackRevisionNotFound", "Unable to find last revision."),
            (
                7,
                &sets[..],
                "three",
                "DeploymentRollbackTemplateUnchanged",
                "The rollback revision contains the same template as current deployment \"web\"",
            ),
        ];
        for (to, sets, image, reason, message) in rows {
            let got = rollback(&deployment(&to.to_string()), sets, to);
            assert_eq!((got.reason, got.message.as_str(), got.done), (reason, message, image != "three"), "{to}");
            let written = serde_json::to_value(&got.deployment).unwrap();
            assert_eq!(written["spec"]["template"], template(image, None), "{to}");
            let annotations = json!({"deployment.kubernetes.io/revision": "7", "change-cause": image});
            assert_eq!(written["metadata"]["annotations"], annotations, "{to}");
        }
    }
}
