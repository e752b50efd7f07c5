//! Privileged containers only where the server allows them (`--allow-privileged`).
//!
//! Upstream does this in validation with a process-wide setting; here it is a plug-in, so that validation stays pure,
//! and it answers as validation does.

use async_trait::async_trait;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Attributes, Operation, Plugin};
use crate::api::Api;

pub const NAME: &str = "Privileged";

pub struct Privileged;

#[async_trait]
impl Plugin for Privileged {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn validate(
        &self,
        api: &Api,
        attributes: &Attributes<'_>,
        object: &Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        if api.allow_privileged || !writes || attributes.info.subresource == "status" {
            return Ok(());
        }
        let row = &attributes.served.row;
        let errors = match (row.group.as_ref(), row.plural.as_ref()) {
            ("", "pods") => privileged(&object["spec"], &Path::new("spec")),
            ("apps", "deployments" | "replicasets") => {
                let path = Path::new("spec").child("template").child("spec");
                privileged(meta::at(object, "spec.template.spec"), &path)
            }
            _ => return Ok(()),
        };
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&row.group, &row.kind, meta::name(object), &errors))
    }
}

fn privileged(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (position, container) in meta::list(spec, list).iter().enumerate() {
            if meta::is_true(container, "securityContext.privileged") {
                let at = path.child(list).index(position).child("securityContext").child("privileged");
                errors.push(Error::forbidden(&at, "disallowed by cluster policy"));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_each_privileged_container() {
        let spec = json!({"containers": [{}, {"securityContext": {"privileged": true}}]});
        let errors = privileged(&spec, &Path::new("spec"));
        assert_eq!(
            errors[0].to_string(),
            "spec.containers[1].securityContext.privileged: Forbidden: disallowed by cluster policy"
        );
    }
}
