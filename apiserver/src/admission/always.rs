//! What upstream does outside its plug-ins and what needs more than the object: it cannot be switched off.
//!
//! [`Requestor`]: a signing request carries who asked for it. [`Privileged`]: privileged containers only where
//! `--allow-privileged` allows them (upstream: a process-wide setting that validation reads; here validation stays pure,
//! and this answers as validation does).

use async_trait::async_trait;
use component::flags::Values;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request, template};

pub struct Requestor;

#[async_trait]
impl Plugin for Requestor {
    async fn mutate(&self, request: &Request<'_>, signing: &mut Value) -> Result<(), Status> {
        if !request.creates("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        let user = request.user();
        let spec = meta::object_mut(signing, "spec");
        for name in ["uid", "extra"] {
            spec.remove(name);
        }
        spec.insert("username".into(), json!(user.name));
        spec.insert("groups".into(), json!(user.groups));
        if !user.uid.is_empty() {
            spec.insert("uid".into(), json!(user.uid));
        }
        if !user.extra.is_empty() {
            spec.insert("extra".into(), json!(user.extra));
        }
        Ok(())
    }
}

pub struct Privileged {
    allowed: bool,
}

impl Privileged {
    pub fn from_flags(values: &Values) -> Self {
        Self { allowed: values.bool("allow-privileged") }
    }
}

#[async_trait]
impl Plugin for Privileged {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if self.allowed || !request.writes() || request.info().subresource == "status" {
            return Ok(());
        }
        let row = &request.served().row;
        let Some((template, path)) = template::of(row, object) else { return Ok(()) };
        let errors = privileged(&template["spec"], &path.child("spec"));
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
