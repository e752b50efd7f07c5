//! Tokens that lie in Secrets of type `kubernetes.io/service-account-token`: without an end, good as long as the Secret
//! holds them and the account is the same.
//!
//! Enter by [`user`], with claims whose signature was checked. Who makes such tokens it does not know.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use machinery::meta;
use serde::Deserialize;
use serde_json::Value;

use super::tokens::{Error, find};
use crate::api::Api;
use crate::request::User;

const ISSUER: &str = "kubernetes/serviceaccount";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
}

/// Whether the token says that it is one of these. Nothing is verified.
pub(super) fn is_legacy(token: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    claims.is_some_and(|claims| claims["iss"] == ISSUER)
}

/// Who the token is for, if its Secret still holds it and its account is still there.
pub(super) async fn user(api: &Api, token: &str, claims: &Claims) -> Result<User, Error> {
    let refused = |why: &str| Err(Error::Token(why.to_owned()));
    let Claims { sub, namespace, secret, account, uid } = claims;
    if *sub != format!("system:serviceaccount:{namespace}:{account}") {
        return refused("sub claim is invalid");
    }
    let Some(held) = find(api, "secrets", namespace, secret).await?.filter(|held| !meta::is_deleting(held)) else {
        return refused("Token has been invalidated");
    };
    if held["data"]["token"].as_str() != Some(&STANDARD.encode(token)) {
        return refused("Token does not match server's copy");
    }
    if held["metadata"]["labels"][INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty()) {
        return Err(Error::Token(format!(
            "the token in secret {namespace}/{secret} has been marked invalid; without the label {INVALID_SINCE} it may be used"
        )));
    }
    let found = find(api, "serviceaccounts", namespace, account).await?;
    match found.filter(|found| !meta::is_deleting(found)) {
        None => return Err(Error::Token(format!("ServiceAccount {namespace}/{account} has been deleted"))),
        Some(found) if meta::uid(&found) != uid => {
            return Err(Error::Token(format!(
                "ServiceAccount UID ({}) does not match claim ({uid})",
                meta::uid(&found)
            )));
        }
        Some(_) => {}
    }
    Ok(User {
        name: sub.clone(),
        uid: uid.clone(),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        ..User::default()
    })
}
