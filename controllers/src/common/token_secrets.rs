//! Secrets that hold a ServiceAccount's token: their type, and whose they are.
//!
//! Pure. Reference: "Managing Service Accounts", "Secrets for ServiceAccount credentials".

use k8s_openapi::api::core::v1::Secret;

use super::map;

pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
pub(crate) const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
pub(crate) const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

pub(crate) fn account_of(secret: &Secret) -> Option<&str> {
    map(&secret.metadata.annotations).get(ACCOUNT_NAME).map(String::as_str)
}

/// The account's UID, where the Secret says it.
pub(crate) fn account_uid(secret: &Secret) -> Option<&str> {
    map(&secret.metadata.annotations).get(ACCOUNT_UID).map(String::as_str).filter(|uid| !uid.is_empty())
}
