//! Certificate signing requests: approved for kubelets, signed by the cluster's authorities, and cleared away.
//!
//! Enter by [`approve::run`], [`sign::run`] and [`clean::run`]. [`request`] reads requests and knows the rules of the
//! signers, [`serving`] those for certificates that kubelets serve with. Concepts: "Certificates and Certificate Signing Requests".

pub(crate) mod approve;
pub(crate) mod clean;
mod key;
mod request;
mod serving;
pub(crate) mod sign;
#[cfg(test)]
mod tests;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

fn has_condition(csr: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = csr.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == kind)
}

fn is_issued(csr: &CertificateSigningRequest) -> bool {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).is_some_and(|c| !c.0.is_empty())
}
