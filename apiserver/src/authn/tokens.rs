//! ServiceAccount tokens: signed JWTs bound to an audience and, mostly, to a pod.
//!
//! Kubernetes concept: "Managing Service Accounts", bound tokens; the claims are upstream's, so that either server
//! takes the other's tokens when they share the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use machinery::meta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::signatures::{self, GoodSignatures};
use super::{Remarks, legacy_tokens, uses};
use crate::api::Api;
use crate::request::{User, service_account_groups};

/// Signs and verifies tokens.
pub struct Tokens {
    /// The first issues, all are believed: so a cluster's issuer is changed without a token becoming void.
    issuers: Vec<String>,
    /// Audiences of the API server; the issuers when `--api-audiences` is not given.
    pub audiences: Vec<String>,
    pub lives: Lives,
    signer: Signer,
    verifiers: Vec<Verifier>,
    good_signatures: GoodSignatures,
}

/// How long tokens may live.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// `--service-account-max-token-expiration`; none: as long as is asked for.
    pub seconds_max: Option<i64>,
    /// Tokens of pods go on for a year, with a warning, for clients that do not read them anew.
    pub extends: bool,
}

struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    key_id: String,
}

struct Verifier {
    key: DecodingKey,
    algorithm: Algorithm,
    key_id: String,
    parameters: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("service account key: {0}")]
    Key(String),
    #[error("token: {0}")]
    Token(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct ObjectRef {
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Private {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    pub serviceaccount: ObjectRef,
    /// Seconds since the epoch after which use of the token is worth a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub private: Private,
    pub nbf: i64,
    pub sub: String,
}

/// Who a token is for, and which of the asked audiences it is good for.
pub struct Authenticated {
    pub user: User,
    pub audiences: Vec<String>,
    pub remarks: Remarks,
}

impl Tokens {
    /// `signing_key` and `verifying_keys`: PEM; a private key is good for verifying too.
    pub fn new(
        issuers: Vec<String>,
        audiences: Vec<String>,
        lives: Lives,
        signing_key: &[u8],
        verifying_keys: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let (key, algorithm, public) = crate::keys::signing(signing_key).map_err(Error::Key)?;
        let signer = Signer { key, algorithm, key_id: key_id(&public.der) };
        let mut verifiers = vec![Verifier::of(public, algorithm)];
        for pem in verifying_keys {
            for (public, algorithm) in crate::keys::verifying(pem).map_err(Error::Key)? {
                verifiers.push(Verifier::of(public, algorithm));
            }
        }
        verifiers.dedup_by(|a, b| a.key_id == b.key_id);
        let audiences = if audiences.is_empty() { issuers.clone() } else { audiences };
        let good_signatures = GoodSignatures::default();
        Ok(Self { issuers, audiences, lives, signer, verifiers, good_signatures })
    }

    pub fn issuer(&self) -> &str {
        self.issuers.first().map_or("", String::as_str)
    }

    /// Signs claims; `exp`, `aud` and the rest are the caller's.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let mut header = Header::new(self.signer.algorithm);
        header.typ = None;
        header.kid = Some(self.signer.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signer.key).map_err(|error| Error::Token(error.to_string()))
    }

    /// Checks signature, issuer, times, audiences (the server's own when none are asked for), and that the account and
    /// the object that the token is bound to still exist.
    pub async fn authenticate(&self, api: &Api, token: &str, audiences: &[String]) -> Result<Authenticated, Error> {
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        if legacy_tokens::is_legacy(token) {
            let good: Vec<String> =
                wanted.iter().filter(|audience| self.audiences.contains(audience)).cloned().collect();
            if good.is_empty() {
                return Err(Error::Token(format!("a token of a Secret is not for the audiences {wanted:?}")));
            }
            let (user, remarks) = legacy_tokens::user(api, token, &self.open(token)?).await?;
            return Ok(Authenticated { user, audiences: good, remarks });
        }
        let claims = self.check_claims(self.open(token)?, api.clock.now().as_second())?;
        let good: Vec<String> = wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if good.is_empty() {
            return Err(Error::Token(format!(
                "token audiences {:?} is invalid for the target audiences {wanted:?}",
                claims.aud
            )));
        }
        check_alive(api, &claims).await?;
        let remarks = uses::of_bound(&claims, api.clock.now().as_second());
        Ok(Authenticated { user: user_of(&claims), audiences: good, remarks })
    }

    /// The claims of a token that one of the keys has signed.
    fn open<T: DeserializeOwned>(&self, token: &str) -> Result<T, Error> {
        let digest = signatures::digest(token);
        if self.good_signatures.knows(&digest) {
            return jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(refused);
        }
        let claims = self.verify(token)?;
        self.good_signatures.add(digest);
        Ok(claims)
    }

    fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(refused)?;
        let mut last = Error::Token("no key verifies it".to_owned());
        let candidates = self
            .verifiers
            .iter()
            .filter(|verifier| header.kid.as_ref().is_none_or(|kid| *kid == verifier.key_id))
            .filter(|verifier| verifier.algorithm == header.alg);
        for verifier in candidates {
            let mut validation = Validation::new(verifier.algorithm);
            validation.validate_aud = false;
            // The clock is an argument here; the library would read the machine's.
            validation.validate_exp = false;
            validation.required_spec_claims.clear();
            match jsonwebtoken::decode::<T>(token, &verifier.key, &validation) {
                Ok(data) => return Ok(data.claims),
                Err(error) => last = refused(error),
            }
        }
        Err(last)
    }

    fn check_claims(&self, claims: Claims, now: i64) -> Result<Claims, Error> {
        if !self.issuers.contains(&claims.iss) {
            return Err(Error::Token(format!("issued by {}, not by this cluster", claims.iss)));
        }
        if claims.exp + LEEWAY_SECONDS < now {
            return Err(Error::Token("service account token has expired".to_owned()));
        }
        if claims.nbf - LEEWAY_SECONDS > now {
            return Err(Error::Token("service account token is not valid yet".to_owned()));
        }
        Ok(claims)
    }

    /// The public keys as JSON Web Keys (RFC 7517).
    pub fn public_keys(&self) -> Vec<Value> {
        let key = |verifier: &Verifier| {
            let mut key = verifier.parameters.clone();
            key["use"] = "sig".into();
            key["kid"] = verifier.key_id.clone().into();
            key["alg"] = format!("{:?}", verifier.algorithm).into();
            key
        };
        self.verifiers.iter().map(key).collect()
    }
}

impl Verifier {
    fn of(public: crate::keys::Public, algorithm: Algorithm) -> Self {
        Self { key_id: key_id(&public.der), key: public.key, algorithm, parameters: public.parameters }
    }
}

/// Upstream names a key by the hash of its public part.
fn key_id(public_der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(public_der))
}

fn refused(error: jsonwebtoken::errors::Error) -> Error {
    Error::Token(error.to_string())
}

/// Clocks of servers differ a little.
const LEEWAY_SECONDS: i64 = 60;

/// What is being deleted vouches for a token until its grace is over, though it may stay longer.
fn was_deleted(object: &Value, now: i64) -> bool {
    let end = meta::text(object, "metadata.deletionTimestamp").parse::<jiff::Timestamp>();
    end.is_ok_and(|end| end.as_second() + LEEWAY_SECONDS < now)
}

async fn check_alive(api: &Api, claims: &Claims) -> Result<(), Error> {
    let namespace = &claims.private.namespace;
    let mut bound = vec![("serviceaccounts", namespace.as_str(), &claims.private.serviceaccount)];
    bound.extend(claims.private.pod.iter().map(|pod| ("pods", namespace.as_str(), pod)));
    bound.extend(claims.private.secret.iter().map(|secret| ("secrets", namespace.as_str(), secret)));
    // Of a pod's token the pod is what counts: its node is told for the record.
    let node = claims.private.node.iter().filter(|_| claims.private.pod.is_none());
    bound.extend(node.map(|node| ("nodes", "", node)));
    for (plural, namespace, reference) in bound {
        let found = find(api, plural, namespace, &reference.name).await?;
        let Some(found) = found else {
            return Err(Error::Token(format!("{plural} {namespace}/{} does not exist", reference.name)));
        };
        if meta::uid(&found) != reference.uid {
            return Err(Error::Token(format!("{plural} {namespace}/{} was made anew", reference.name)));
        }
        if was_deleted(&found, api.clock.now().as_second()) {
            return Err(Error::Token(format!("{plural} {namespace}/{} has been deleted", reference.name)));
        }
    }
    Ok(())
}

/// The cache first; what it lacks is asked of the store, for it may have been made a moment ago.
pub(super) async fn find(api: &Api, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
    if let Some(found) = api.peek_named("", plural, namespace, name) {
        return Ok(Some(found));
    }
    let Some(served) = api.catalogue.find("", "v1", plural) else { return Ok(None) };
    let found = api.read(served, namespace, name).await.map_err(|status| Error::Token(status.message))?;
    Ok(found.map(|found| found.object))
}

fn user_of(claims: &Claims) -> User {
    let (namespace, account) = (&claims.private.namespace, &claims.private.serviceaccount);
    let mut user = User {
        name: format!("system:serviceaccount:{namespace}:{}", account.name),
        uid: account.uid.clone(),
        groups: service_account_groups(namespace),
        ..User::default()
    };
    let mut extra = |name: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
        }
    };
    for (kind, reference) in [("pod", &claims.private.pod), ("node", &claims.private.node)] {
        if let Some(reference) = reference {
            extra(&format!("{kind}-name"), &reference.name);
            extra(&format!("{kind}-uid"), &reference.uid);
        }
    }
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    user
}

#[test]
fn what_was_deleted_vouches_a_minute_longer() {
    let now = 1_000_000_000;
    for (ago, gone) in [(-30, false), (0, false), (60, false), (61, true)] {
        let end = jiff::Timestamp::from_second(now - ago).expect("a time").to_string();
        assert_eq!(was_deleted(&serde_json::json!({"metadata": {"deletionTimestamp": end}}), now), gone, "{ago}");
    }
    assert!(!was_deleted(&serde_json::json!({"metadata": {}}), now));
}
