//! Credential providers that act for pods: what of a pod's ServiceAccount they are told (`tokenAttributes`, KEP-4412).
//!
//! Enter at [`TokenAttributes::of_pod`]. Nothing here runs a program.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use machinery::names::qualified_name;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{images::access::PullAccount, pod::spec, volumes::tokens::Tokens};

/// The one version of the request that has a place for a token.
const REQUEST_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
/// An answer is for whoever shows the same token, or for the account.
const CACHE_TYPES: [&str; 2] = ["ServiceAccount", "Token"];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TokenAttributes {
    service_account_token_audience: String,
    cache_type: String,
    require_service_account: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required_service_account_annotation_keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    optional_service_account_annotation_keys: Vec<String>,
}

/// What a program is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Account {
    pub(super) account: PullAccount,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) token: String,
}

/// Whether a program is asked for a pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// The pod is not for this program.
    Not,
    Plainly,
    For(Account),
}

impl TokenAttributes {
    /// # Errors
    /// What is wrong first, in upstream's words.
    pub(super) fn check(&self, api_version: &str) -> Result<(), String> {
        let (required, optional) =
            (&self.required_service_account_annotation_keys, &self.optional_service_account_annotation_keys);
        if self.service_account_token_audience.is_empty() {
            return Err("tokenAttributes.serviceAccountTokenAudience: Required value".into());
        }
        let Some(is_required) = self.require_service_account else {
            return Err("tokenAttributes.requireServiceAccount: Required value".into());
        };
        if api_version != REQUEST_VERSION {
            return Err(format!("tokenAttributes is only supported for {REQUEST_VERSION} API version"));
        }
        if !is_required && !required.is_empty() {
            return Err("requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set".into());
        }
        for keys in [required, optional] {
            let mut seen = BTreeSet::new();
            for key in keys {
                if let Some(problem) = qualified_name(&key.to_lowercase()).into_iter().next() {
                    return Err(format!("tokenAttributes: Invalid value: {key:?}: {problem}"));
                }
                if !seen.insert(key) {
                    return Err(format!("tokenAttributes: Duplicate value: {key:?}"));
                }
            }
        }
        if required.iter().any(|key| optional.contains(key)) {
            return Err("annotation keys cannot be both required and optional".into());
        }
        match self.cache_type.as_str() {
            "" => Err("cacheType is required to be set when tokenAttributes is specified. Supported values are: \
                       ServiceAccount, Token"
                .into()),
            known if CACHE_TYPES.contains(&known) => Ok(()),
            other => Err(format!("tokenAttributes.cacheType: Unsupported value: {other:?}")),
        }
    }

    /// What the program is told of a pod's account.
    ///
    /// # Errors
    /// Account and token come from the API server.
    pub(super) async fn of_pod(&self, pod: &Pod, tokens: &Tokens) -> Result<Asked, String> {
        let name = spec::spec(pod).service_account_name.clone().unwrap_or_default();
        if name.is_empty() {
            // Of a static pod, say.
            return Ok(if self.require_service_account == Some(true) { Asked::Not } else { Asked::Plainly });
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let found = tokens.account(&namespace, &name).await;
        let found = found.map_err(|error| format!("failed to get service account: {error}"))?;
        // By such an annotation an account says that it wants to be used so.
        let Some(annotations) = self.annotations(&found) else { return Ok(Asked::Not) };
        let uid = found.metadata.uid.unwrap_or_default();
        let token = tokens.get_for(pod, &self.service_account_token_audience, &uid).await;
        let token = token.map_err(|error| format!("failed to get service account token: {error}"))?.text;
        Ok(Asked::For(Account { account: PullAccount { uid, namespace, name }, annotations, token }))
    }

    /// None where one is missing that must be there.
    fn annotations(&self, account: &ServiceAccount) -> Option<BTreeMap<String, String>> {
        let all = account.metadata.annotations.clone().unwrap_or_default();
        let one = |key: &String| Some((key.clone(), all.get(key)?.clone()));
        let required: Option<BTreeMap<_, _>> = self.required_service_account_annotation_keys.iter().map(one).collect();
        let optional = self.optional_service_account_annotation_keys.iter().filter_map(one);
        Some(required?.into_iter().chain(optional).collect())
    }

    fn is_by_token(&self) -> bool {
        self.cache_type == "Token"
    }

    /// For whom an answer holds.
    pub(super) fn key(&self, account: &Account) -> String {
        let Account { account: PullAccount { uid, namespace, name }, annotations, token } = account;
        let token = if self.is_by_token() { token } else { "" };
        json!([namespace, name, uid, annotations, token]).to_string()
    }

    /// A token that is the password itself ends with the pod: who may use the image by it must show it each time.
    ///
    /// # Errors
    /// That the program gave the token back, in upstream's words.
    pub(super) fn check_password(&self, account: &Account, password: &str) -> Result<(), String> {
        if self.is_by_token() || password != account.token {
            return Ok(());
        }
        Err("credential provider plugin returned the service account token as the password which is not allowed when \
             service account cache type is not set to 'Token'"
            .into())
    }
}
