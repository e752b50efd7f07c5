//! Admission: what else must hold, or be filled in, beyond the object's own rules (Kubernetes concept: "Admission
//! Controllers").
//!
//! Enter at [`Admission::mutate`] and [`Admission::validate`]; which plug-ins there are, in which order, is in
//! [`plugins`]. Plug-ins bear upstream's names and see a [`Request`] and the object. They read other objects from the
//! watch cache and write none, but for `NamespaceAutoProvision`: what must be written beside the object goes into the object's own commit
//! ([`Request::beside`]). What [`Admission::against_place`] and [`Admission::against_policy`] find is told with the object's
//! own rules.

mod always;
mod certificates;
mod claim_status;
mod configuration;
mod default_class;
mod default_tolerations;
mod device_admin;
mod event_rate_limit;
mod limit_ranger;
mod mountable_secrets;
mod namespace_lifecycle;
mod node_audience;
mod node_restriction;
mod node_taint;
mod opt_in;
mod owner_references;
pub mod plugins;
mod pod_node_selector;
mod pod_security;
mod pod_tolerations;
mod priority;
mod privileged;
mod request;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
mod template;
mod topology_labels;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use machinery::field::ErrorList;
use machinery::status::Status;
use serde_json::Value;

pub use self::request::{Operation, Request};
use crate::authz::escalation;
use crate::metrics::admission::{self as metrics, Series, Step};

/// One admission controller.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Fills in. Runs after the defaults of what was sent and before validation; what it adds is whole, and gets no defaults
    /// of its own. Must be idempotent.
    async fn mutate(&self, _request: &Request<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses. Runs on the object as it would be stored. On a delete, `object` is what would go.
    async fn validate(&self, _request: &Request<'_>, _object: &Value) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins in upstream's order: a chain for each step and operation, of those that have something to say there.
#[derive(Default)]
pub struct Admission {
    allows_privileged: bool,
    chains: [[Vec<Link>; Operation::ALL.len()]; 2],
}

/// A plug-in in a chain.
struct Link {
    plugin: Arc<dyn Plugin>,
    /// None of what upstream does elsewhere than in a plug-in.
    series: Option<Series>,
}

impl Link {
    /// It ran since `begun`. The time now, at which the next one begins.
    fn over(&self, begun: Instant, outcome: &Result<(), Status>) -> Instant {
        let now = Instant::now();
        if let Some(series) = &self.series {
            series.took(now - begun, outcome.is_err());
        }
        now
    }
}

impl Admission {
    pub async fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let begun = Instant::now();
        let admitted = self.mutate_by_all(request, object, begun).await;
        metrics::took(Step::Admit, request.operation, begun, admitted.is_err());
        admitted
    }

    pub async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let begun = Instant::now();
        let admitted = self.validate_by_all(request, object, begun).await;
        metrics::took(Step::Validate, request.operation, begun, admitted.is_err());
        admitted
    }

    /// Of a delete. Nothing is filled in into what goes; upstream asks plug-ins all the same, so that they are counted.
    pub async fn validate_delete(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let begun = Instant::now();
        self.chain(Step::Admit, request).iter().fold(begun, |begun, link| link.over(begun, &Ok(())));
        metrics::took(Step::Admit, request.operation, begun, false);
        self.validate(request, object).await
    }

    /// What is not allowed in an object's namespace, or to who writes it, told before what else is wrong with it.
    pub fn against_place(&self, request: &Request<'_>, object: &Value) -> ErrorList {
        let mut errors = device_admin::check(request, object);
        errors.extend(claim_status::check(request, object));
        errors
    }

    /// What this server's flags do not allow in an object, told with what else is wrong with it.
    pub fn against_policy(&self, request: &Request<'_>, object: &Value) -> ErrorList {
        if self.allows_privileged { ErrorList::new() } else { privileged::check(request, object) }
    }

    async fn mutate_by_all(&self, request: &Request<'_>, object: &mut Value, begun: Instant) -> Result<(), Status> {
        let mut begun = begun;
        for link in self.chain(Step::Admit, request) {
            let outcome = link.plugin.mutate(request, object).await;
            begun = link.over(begun, &outcome);
            outcome?;
        }
        // No plug-in, so that it cannot be turned off.
        let call = request.call;
        escalation::check(request.api, &call.served, &call.info, &call.user, object, request.old)
    }

    async fn validate_by_all(&self, request: &Request<'_>, object: &Value, begun: Instant) -> Result<(), Status> {
        let mut begun = begun;
        for link in self.chain(Step::Validate, request) {
            let outcome = link.plugin.validate(request, object).await;
            begun = link.over(begun, &outcome);
            outcome?;
        }
        Ok(())
    }

    fn chain(&self, step: Step, request: &Request<'_>) -> &[Link] {
        &self.chains[step as usize][request.operation as usize]
    }
}
