//! Clears requests away that nobody needs any more.
//!
//! Enter by [`run`]. Each request has its own deadline.

use std::sync::Arc;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::is_issued;
use crate::common::error::{Doing, Error};

const DECIDED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let requests: Informer<CertificateSigningRequest> = ctx.informers.of();
    let queue = Queue::new("csrcleaner");
    let events = queue.clone();
    requests.on_event(move |event| events.add(Key::of(&**event.object())));
    let shutdown = ctx.shutdown.clone();
    let work = Arc::new((ctx, requests, queue.clone()));
    if shutdown.run_until(work.1.synced()).await.is_some() {
        queue::run(queue, 1, shutdown, |key| {
            let work = work.clone();
            async move { sync(&work.0, &work.1, &work.2, key).await }
        })
        .await;
    }
}

async fn sync(
    ctx: &Context,
    requests: &Informer<CertificateSigningRequest>,
    queue: &Queue<Key>,
    key: Key,
) -> Result<(), Error> {
    let Some(csr) = requests.get_key(&key) else { return Ok(()) };
    let Some(due) = due(&csr) else { return Ok(()) };
    if due > ctx.clock.now() {
        queue.add_after(key, ctx.clock.until(due));
        return Ok(());
    }
    let this_one = Preconditions { uid: csr.metadata.uid.clone(), resource_version: None };
    let api = Api::<CertificateSigningRequest>::all(ctx.client.clone());
    let deleted = api.delete(&key.name, &DeleteParams::default().preconditions(this_one)).await;
    match deleted.doing("delete certificate signing request", &key) {
        Err(e) if !(e.is_not_found() || e.is_conflict()) => Err(e),
        _ => Ok(()),
    }
}

/// When a request may go: an hour after it was answered, a day after it was made or approved without an answer, or when
/// the certificate has run out.
pub(super) fn due(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions = csr.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let condition_due = |c: &k8s_openapi::api::certificates::v1::CertificateSigningRequestCondition| {
        let after = match c.type_.as_str() {
            "Denied" | "Failed" => DECIDED,
            "Approved" if is_issued(csr) => DECIDED,
            "Approved" => PENDING,
            _ => return None,
        };
        c.last_update_time.as_ref()?.0.checked_add(after).ok()
    };
    if conditions.is_empty() {
        return csr.metadata.creation_timestamp.as_ref()?.0.checked_add(PENDING).ok();
    }
    let approved = conditions.iter().any(|c| c.type_ == "Approved");
    let expired = approved.then(|| certificate_ends(csr)).flatten();
    conditions.iter().filter_map(condition_due).chain(expired).min()
}

fn certificate_ends(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let pem = csr.status.as_ref()?.certificate.as_ref()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem.0).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}
