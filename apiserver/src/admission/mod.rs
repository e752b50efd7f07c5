//! Admission: what else must hold, or be filled in, beyond the object's own rules (Kubernetes concept: "Admission
//! Controllers").
//!
//! Enter at [`Admission::mutate`] and [`Admission::validate`]. Plug-ins bear upstream's names and see the request's
//! attributes and the object; they read other objects from the watch cache and write none.

mod certificate_subject;
mod default_tolerations;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod pod_security_context;
mod priority;
mod service_account;

use async_trait::async_trait;
use machinery::status::Status;
use serde_json::Value;

use crate::api::Api;
use crate::authz::escalation;
use crate::catalogue::Served;
use crate::request::{RequestInfo, User};
use crate::rest::Call;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What is being asked, by whom, of which object.
pub struct Attributes<'a> {
    pub operation: Operation,
    pub served: &'a Served,
    pub info: &'a RequestInfo,
    pub user: &'a User,
    pub dry_run: bool,
}

impl<'a> Attributes<'a> {
    pub fn of(call: &'a Call, operation: Operation, dry_run: bool) -> Self {
        Self { operation, served: &call.served, info: &call.info, user: &call.user, dry_run }
    }

    pub fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.served.row.group == group && self.served.row.plural == plural && self.info.subresource == subresource
    }

    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(self.served.row.group_resource(), &self.info.name, why)
    }

    /// As [`Attributes::forbidden`], named after the object where the path names none.
    pub fn forbidden_object(&self, object: &Value, why: &str) -> Status {
        let name = machinery::meta::name(object);
        let name = if name.is_empty() { &self.info.name } else { name };
        Status::forbidden(self.served.row.group_resource(), name, why)
    }
}

/// One admission controller.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name, as `--enable-admission-plugins` takes it.
    fn name(&self) -> &'static str;

    /// Fills in. Runs before defaults and validation, and must be idempotent.
    async fn mutate(
        &self,
        _api: &Api,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses. Runs on the object as it would be stored. On a delete, `object` is what would go.
    async fn validate(
        &self,
        _api: &Api,
        _attributes: &Attributes<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The chain of plug-ins, in upstream's order.
pub struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
}

/// Names accepted by `--enable-admission-plugins` and `--disable-admission-plugins` that work here.
pub const PLUGINS: &[&str] = &[
    namespace_lifecycle::NAME,
    service_account::NAME,
    node_restriction::NAME,
    node_taint::NAME,
    certificate_subject::NAME,
    priority::NAME,
    default_tolerations::NAME,
    pod_security_context::NAME,
];

impl Admission {
    /// `is_enabled` by plug-in name.
    pub fn new(is_enabled: impl Fn(&str) -> bool) -> Self {
        let all: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(node_taint::TaintNodesByCondition),
            Box::new(certificate_subject::CertificateSubject),
            Box::new(priority::Priority),
            Box::new(default_tolerations::DefaultTolerationSeconds),
            Box::new(pod_security_context::Privileged),
        ];
        Self { plugins: all.into_iter().filter(|plugin| is_enabled(plugin.name())).collect() }
    }

    pub async fn mutate(
        &self,
        api: &Api,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.mutate(api, attributes, object, old).await?;
        }
        // No plug-in, so that it cannot be turned off.
        escalation::check(api, attributes.served, attributes.info, attributes.user, object, old)?;
        Ok(())
    }

    pub async fn validate(
        &self,
        api: &Api,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in &self.plugins {
            plugin.validate(api, attributes, object, old).await?;
        }
        Ok(())
    }
}
