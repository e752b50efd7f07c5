//! Approves the certificates of kubelets, if the one who asks may have them so.
//!
//! Enter by [`run`]. Who may is for the API server's authorizer to say.

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Backoff, Queue};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;

use super::request::{self, Request};
use super::{KUBELET_CLIENT, KUBELET_SERVING, has_condition, is_issued, serving};
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::time;

/// A right may be granted long after it was asked for.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_secs(1000) };

struct Controller {
    ctx: Context,
    requests: Informer<CertificateSigningRequest>,
    nodes: Informer<Node>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let controller = Arc::new(Controller { requests: ctx.informers.of(), nodes: ctx.informers.of(), ctx });
    let queue = Queue::with_backoff("certificate", BACKOFF);
    let events = queue.clone();
    controller.requests.on_event(move |event| events.add(Key::of(&**event.object())));
    // A kubelet may ask for its serving certificate before its Node tells addresses.
    let (events, requests) = (queue.clone(), controller.requests.clone());
    controller.nodes.on_event(move |event| {
        if event.old().is_none_or(|old| serving::names(old) != serving::names(event.object())) {
            let waiting = requests.list().into_iter().filter(|csr| is_pending(csr));
            waiting.for_each(|csr| events.add(Key::of(&*csr)));
        }
    });
    let shutdown = controller.ctx.shutdown.clone();
    let synced = async { tokio::join!(controller.requests.synced(), controller.nodes.synced()) };
    if shutdown.run_until(synced).await.is_some() {
        queue::run(queue, 1, shutdown, |key| controller.sync(key)).await;
    }
}

/// The subresources that the right to have a request approved is written as, with the message of an approval.
pub(super) fn rights(csr: &CertificateSigningRequest, request: &Request) -> Vec<(&'static str, &'static str)> {
    let usages = csr.spec.usages.as_deref().unwrap_or_default();
    if csr.spec.signer_name != KUBELET_CLIENT || request::check(KUBELET_CLIENT, request, usages).is_err() {
        return Vec::new();
    }
    let own = csr.spec.username.as_ref() == Some(&request.common_name);
    let own =
        own.then_some(("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."));
    let any = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    own.into_iter().chain([any]).collect()
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(csr) = self.requests.get_key(&key) else { return Ok(()) };
        if !is_pending(&csr) {
            return Ok(());
        }
        let parsed = request::der(&csr.spec.request.0).and_then(|der| request::parse(&der));
        let request = match parsed {
            Ok(request) => request,
            // The API server lets none in that cannot be read; trying again would not help.
            Err(error) => {
                tracing::warn!(csr = %key, error, "unable to parse the certificate signing request");
                return Ok(());
            }
        };
        if csr.spec.signer_name == KUBELET_SERVING {
            return self.sync_serving(&key, &csr, &request).await;
        }
        let rights = rights(&csr, &request);
        for (subresource, message) in &rights {
            if self.may(&csr, subresource).await? {
                return wait_for_event(approve(&self.ctx, &key, &csr, message).await);
            }
        }
        let asked: Vec<_> = rights.iter().map(|(subresource, _)| *subresource).collect();
        if asked.is_empty() { Ok(()) } else { Err(not_approved(&key, &asked)) }
    }

    async fn sync_serving(&self, key: &Key, csr: &CertificateSigningRequest, request: &Request) -> Result<(), Error> {
        const MESSAGE: &str = "Auto approving self kubelet serving certificate after SubjectAccessReview.";
        if let Err(why) = serving::judge(csr, request, &self.nodes.list()) {
            tracing::info!(csr = %key, why, "a kubelet's serving certificate waits for somebody to approve it");
            return Ok(());
        }
        match self.may(csr, "selfnodeserver").await? {
            true => wait_for_event(approve(&self.ctx, key, csr, MESSAGE).await),
            false => Err(not_approved(key, &["selfnodeserver"])),
        }
    }

    async fn may(&self, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, Error> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: csr.spec.username.clone(),
                uid: csr.spec.uid.clone(),
                groups: csr.spec.groups.clone(),
                extra: csr.spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".into()),
                    version: Some("*".into()),
                    resource: Some("certificatesigningrequests".into()),
                    subresource: Some(subresource.into()),
                    verb: Some("create".into()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.ctx.client.clone());
        let answer = api.create(&PostParams::default(), &review).await.doing("review access for", subresource)?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }
}

/// Asked again with back-off.
fn not_approved(key: &Key, asked: &[&str]) -> Error {
    let reason = format!("recognized as {asked:?}, but the subject access review did not approve it");
    Error::refused("approve certificate signing request", key, reason)
}

/// Writes the condition that lets a request be signed.
pub(super) async fn approve(
    ctx: &Context,
    key: &Key,
    csr: &CertificateSigningRequest,
    message: &str,
) -> Result<(), Error> {
    let mut approved = csr.clone();
    let now = time(ctx.clock.now());
    let condition = CertificateSigningRequestCondition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: Some("AutoApproved".into()),
        message: Some(message.into()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    };
    approved.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    let api = Api::<CertificateSigningRequest>::all(ctx.client.clone());
    let written = api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await;
    written.map(drop).doing("approve certificate signing request", key)
}

/// Nobody has decided about it yet.
pub(super) fn is_pending(csr: &CertificateSigningRequest) -> bool {
    !(is_issued(csr) || has_condition(csr, "Approved") || has_condition(csr, "Denied"))
}
