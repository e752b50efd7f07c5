//! ServiceAccount tokens for projected volumes: asked for by TokenRequest, bound to the pod, renewed in time.
//!
//! Enter at [`Tokens::get`]. A token is renewed after 80 % of its life, or after a day (`pkg/kubelet/token`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use component::{client::shown, clock::Clock};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Pod, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};

use crate::pod::{backoff::after, spec};

const DEFAULT_LIFE_SECONDS: i64 = 3600;
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    pod_uid: String,
    account: String,
    /// Empty: whichever account has the name.
    account_uid: String,
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

    /// The ServiceAccount as the API has it now.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<ServiceAccount, String> {
        let Some(client) = &self.client else { return Err("there is no API server".into()) };
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        api.get(name).await.map_err(|error| shown(&error))
    }

    /// A valid token for the pod's ServiceAccount, as long as it is the one with this UID.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_for(&self, pod: &Pod, audience: &str, account_uid: &str) -> Result<Token, String> {
        self.get_by(pod, Some(audience), account_uid, None).await
    }

    /// A valid token for the pod's ServiceAccount. A renewal that fails leaves the old one in use until its end.
    ///
    /// # Errors
    /// The API server's refusal, in upstream's words.
    pub async fn get(&self, pod: &Pod, audience: Option<&str>, life_seconds: Option<i64>) -> Result<Token, String> {
        self.get_by(pod, audience, "", life_seconds).await
    }

    async fn get_by(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        account_uid: &str,
        life_seconds: Option<i64>,
    ) -> Result<Token, String> {
        let account = spec::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".into());
        let key = TokenKey {
            pod_uid: spec::uid(pod).to_owned(),
            account,
            account_uid: account_uid.to_owned(),
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
        let uid = Some(key.account_uid.clone()).filter(|uid| !uid.is_empty());
        let request = TokenRequest {
            metadata: ObjectMeta { uid, ..ObjectMeta::default() },
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
            .map_err(|error| shown(&error))?;
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use component::testing::FakeApi;
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// An API server whose tokens live ten minutes, as long as it is well.
    fn api(clock: Clock, is_well: Arc<AtomicBool>) -> FakeApi {
        let (fake, count) = (FakeApi::new(), AtomicUsize::new(0));
        fake.react(move |request| {
            if (request.resource.as_str(), request.subresource.as_str()) != ("serviceaccounts", "token") {
                return None;
            }
            if !is_well.load(Ordering::Relaxed) {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
                    "reason": "InternalError", "message": "not now"});
                return Some((500, status));
            }
            let number = count.fetch_add(1, Ordering::Relaxed);
            let end = after(clock.now(), Duration::from_secs(600)).to_string();
            let answer = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {"audiences": []},
                "status": {"token": format!("token-{number}"), "expirationTimestamp": end}});
            Some((201, answer))
        });
        fake
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_after_four_fifths_of_its_life() {
        let clock = Clock::simulated(at("2026-01-01T00:00:00Z"));
        let is_well = Arc::new(AtomicBool::new(true));
        let fake = api(clock, is_well.clone());
        let tokens = Tokens::new(Some(fake.client()), clock);
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"serviceAccountName": "web", "containers": []}}))
        .expect("a pod");
        let get = || tokens.get(&pod, Some("vault"), Some(600));
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let first = get().await.expect("a token");
        assert_eq!((first.text.as_str(), first.renew_at), ("token-0", at("2026-01-01T00:08:00Z")));
        wait(479).await;
        assert_eq!(get().await.expect("a token").text, "token-0");
        is_well.store(false, Ordering::Relaxed);
        wait(1).await;
        let kept = get().await.expect("the old one serves until its end");
        assert_eq!((kept.text.as_str(), kept.renew_at), ("token-0", at("2026-01-01T00:08:10Z")));
        is_well.store(true, Ordering::Relaxed);
        wait(10).await;
        assert_eq!(get().await.expect("a token").text, "token-1");
        is_well.store(false, Ordering::Relaxed);
        wait(600).await;
        assert_eq!(get().await.err().as_deref(), Some("failed to fetch token: not now"));
    }
}
