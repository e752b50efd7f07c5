//! What a token Secret has to hold, and the token itself: a JWT without an end, good as long as the Secret is there.
//!
//! Pure. The claims are upstream's legacy ones.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt;
use serde::Serialize;

use crate::common::token_secrets::{ACCOUNT_NAME, ACCOUNT_UID};

const ISSUER: &str = "kubernetes/serviceaccount";

/// Signs tokens.
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: &'a str,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: &'a str,
    sub: String,
}

impl Signer {
    /// From a private key in PEM: RSA, or P-256 in PKCS#8.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
            return Ok(Self { key, algorithm: Algorithm::RS256 });
        }
        let key = EncodingKey::from_ec_pem(pem).map_err(|error| format!("no RSA or P-256 private key: {error}"))?;
        Ok(Self { key, algorithm: Algorithm::ES256 })
    }

    fn token(&self, secret: &Secret, account: &ServiceAccount) -> Result<String, String> {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), account.name_any());
        let claims = Claims {
            iss: ISSUER,
            namespace: &namespace,
            secret: &secret.name_any(),
            account: &name,
            uid: &account.uid().unwrap_or_default(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        };
        let header = Header { typ: None, ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| error.to_string())
    }
}

/// The Secret with all that it has to hold; `None` when it does already.
pub(super) fn filled(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: &[u8],
    signer: &Signer,
) -> Result<Option<Secret>, String> {
    let mut filled = secret.clone();
    let data: &mut BTreeMap<String, ByteString> = filled.data.get_or_insert_default();
    if !root_ca.is_empty() {
        data.insert("ca.crt".to_owned(), ByteString(root_ca.to_vec()));
    }
    let is_empty =
        |data: &BTreeMap<String, ByteString>, key: &str| data.get(key).is_none_or(|bytes| bytes.0.is_empty());
    if is_empty(data, "namespace") {
        data.insert("namespace".to_owned(), ByteString(secret.namespace().unwrap_or_default().into_bytes()));
    }
    if is_empty(data, "token") {
        data.insert("token".to_owned(), ByteString(signer.token(secret, account)?.into_bytes()));
    }
    if filled == *secret {
        return Ok(None);
    }
    let annotations = filled.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCOUNT_NAME.to_owned(), account.name_any());
    annotations.insert(ACCOUNT_UID.to_owned(), account.uid().unwrap_or_default());
    Ok(Some(filled))
}
