//! ServiceAccount tokens for projected volumes: asked for by TokenRequest, bound to the pod, renewed in time.
//!
//! Enter at [`Tokens::get`]. A token is renewed after 80 % of its life, or after a day (`pkg/kubelet/token`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use component::clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};

use crate::pod::{backoff::after, spec};

const DEFAULT_LIFE_SECONDS: i64 = 3600;
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    pod_uid: String,
    account: String,
    audience: Option<String>,
    life_seconds: i64,
}

/// A token and when it is to be asked for anew.
#[derive(Clone)]
pub struct Token {
    pub text: String,
    pub renew_at: Timestamp,
    expires_at: Timestamp,
}

/// The tokens of this node's pods.
#[derive(Clone)]
pub struct Tokens {
    client: Option<Client>,
    clock: Clock,
    cache: Arc<Mutex<HashMap<TokenKey, Token>>>,
}

impl Tokens {
    pub fn new(client: Option<Client>, clock: Clock) -> Self {
        Self { client, clock, cache: Arc::default() }
    }

    /// A valid token for the pod's ServiceAccount. A renewal that fails leaves the old one in use until its end.
    ///
    /// # Errors
    /// The API server's refusal, in upstream's words.
    pub async fn get(&self, pod: &Pod, audience: Option<&str>, life_seconds: Option<i64>) -> Result<Token, String> {
        let account = spec::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".into());
        let key = TokenKey {
            pod_uid: spec::uid(pod).to_owned(),
            account,
            audience: audience.map(str::to_owned),
            life_seconds: life_seconds.unwrap_or(DEFAULT_LIFE_SECONDS),
        };
        let now = self.clock.now();
        let kept = self.lock().get(&key).cloned();
        if let Some(token) = kept.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        match self.request(pod, &key, now).await {
            Ok(token) => {
                self.lock().insert(key, token.clone());
                Ok(token)
            }
            Err(error) => match kept.filter(|token| now < token.expires_at) {
                Some(token) => {
                    tracing::warn!(pod = %spec::identity(pod), error, "renewing a token failed; the old one is kept");
                    Ok(Token { renew_at: after(now, Duration::from_secs(10)), ..token })
                }
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, pod_uid: &str) {
        self.lock().retain(|key, _| key.pod_uid != pod_uid);
    }

    async fn request(&self, pod: &Pod, key: &TokenKey, now: Timestamp) -> Result<Token, String> {
        let Some(client) = &self.client else {
            return Err("cannot use TokenManager when kubelet is in standalone mode".into());
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: key.audience.clone().map(|audience| vec![audience]),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                expiration_seconds: Some(key.life_seconds),
            }),
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&key.account, &PostParams::default(), &request)
            .await
            .map_err(|error| format!("serviceaccounts {:?}: {error}", key.account))?;
        let status = answer.status.ok_or("the answer has no token")?;
        let expires_at = status.expiration_timestamp.ok_or("the answer has no expiration time")?.0;
        let text = status.token.filter(|text| !text.is_empty()).ok_or("the answer has no token")?;
        let life = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
        Ok(Token { text, renew_at: after(now, (life * 4 / 5).min(AGE_MAX)), expires_at })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenKey, Token>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
