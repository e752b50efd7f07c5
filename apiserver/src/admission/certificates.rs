//! `CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`: who may let certificates be made, and
//! which never are (Kubernetes reference: "Certificates and Certificate Signing Requests").

use async_trait::async_trait;
use machinery::field::quote;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::authz::{Attributes, Decision};
use crate::kinds::certificate::asked;
use crate::request::{MASTERS, RequestInfo};

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub struct CertificateApproval;

#[async_trait]
impl Plugin for CertificateApproval {
    async fn validate(&self, request: &Request<'_>, _signing: &Value) -> Result<(), Status> {
        match request.old {
            Some(old) if request.operation == Operation::Update && request.is(GROUP, PLURAL, "approval") => {
                check(request, "approve", meta::text(old, "spec.signerName"))
            }
            _ => Ok(()),
        }
    }
}

pub struct CertificateSigning;

#[async_trait]
impl Plugin for CertificateSigning {
    async fn validate(&self, request: &Request<'_>, signing: &Value) -> Result<(), Status> {
        let Some(old) = request.old else { return Ok(()) };
        if request.operation != Operation::Update || !request.is(GROUP, PLURAL, "status") {
            return Ok(());
        }
        let is_same = |field: &str| signing["status"][field] == old["status"][field];
        if is_same("certificate") && is_same("conditions") {
            return Ok(());
        }
        check(request, "sign", meta::text(old, "spec.signerName"))
    }
}

/// Whether the user may use the signer, by its name or by its whole domain. The stored name counts, whatever is sent.
fn check(request: &Request<'_>, verb: &str, signer: &str) -> Result<(), Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    let allowed = [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let info = RequestInfo {
            verb: verb.to_owned(),
            is_resource: true,
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..RequestInfo::default()
        };
        let attributes = Attributes { info, ..Attributes::default() };
        matches!(request.api.authorizer.authorize(request.api, request.user(), &attributes), Decision::Allow(_))
    });
    if allowed {
        return Ok(());
    }
    Err(request.forbidden(&format!("user not permitted to {verb} requests with signerName {}", quote(signer))))
}

pub struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    async fn validate(&self, request: &Request<'_>, signing: &Value) -> Result<(), Status> {
        if !request.creates(GROUP, PLURAL) || meta::text(signing, "spec.signerName") != CLIENT_SIGNER {
            return Ok(());
        }
        let organizations = asked::organizations(meta::text(signing, "spec.request"))
            .map_err(|why| request.forbidden_object(signing, &format!("failed to parse CSR: {why}")))?;
        if organizations.iter().any(|organization| organization == MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(request.forbidden_object(signing, &why));
        }
        Ok(())
    }
}
