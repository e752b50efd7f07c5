//! What the Secret of a bootstrap token says.
//!
//! Pure.

use std::time::Duration;

use component::bootstrap_token::{self, NAME_PREFIX, TYPE, Token};
use component::informer::{Informer, Informers, Selection};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

pub(super) use component::bootstrap_token::NAMESPACE;

/// The Secrets of all tokens.
pub(super) fn informer(informers: &Informers) -> Informer<Secret> {
    informers.namespaced(NAMESPACE, Selection::fields(format!("type={TYPE}")))
}

fn text<'a>(secret: &'a Secret, key: &str) -> &'a str {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
}

/// How long a token still holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Validity {
    For(Duration),
    Forever,
    /// Also one whose end cannot be read.
    Over,
}

pub(super) fn validity(secret: &Secret, now: Timestamp) -> Validity {
    match text(secret, "expiration") {
        "" => Validity::Forever,
        end => {
            let left = end.parse::<Timestamp>().ok().and_then(|end| Duration::try_from(end.duration_since(now)).ok());
            left.filter(|left| !left.is_zero()).map_or(Validity::Over, Validity::For)
        }
    }
}

/// The token, if it may sign.
pub(super) fn for_signing(secret: &Secret, now: Timestamp) -> Option<Token> {
    let named = secret.metadata.name.as_deref()?.strip_prefix(NAME_PREFIX)?;
    let (id, key) = (text(secret, "token-id"), text(secret, "token-secret"));
    let may = bootstrap_token::is_id(named)
        && id == named
        && !key.is_empty()
        && validity(secret, now) != Validity::Over
        && text(secret, "usage-bootstrap-signing") == "true";
    may.then(|| Token { id: id.to_owned(), secret: key.to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use base64::Engine;
    use serde_json::{Map, Value, json};

    pub(in crate::bootstrap) fn secret(name: &str, data: &[(&str, &str)]) -> Value {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let data: Map<_, _> = data.iter().map(|(key, value)| (key.to_string(), json!(encode(value)))).collect();
        json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE, "data": data,
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": name}})
    }

    #[test]
    fn tokens() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let good = [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        let with = |key: &'static str, value: &'static str| {
            let mut data: Vec<_> = good.iter().copied().filter(|(k, _)| *k != key).collect();
            data.push((key, value));
            data
        };
        let signs = |name: &str, data: &[(&str, &str)]| {
            let secret: Secret = serde_json::from_value(secret(name, data)).unwrap();
            for_signing(&secret, now).is_some()
        };
        let name = "bootstrap-token-abcdef";
        assert!(signs(name, &good));
        assert!(!signs("bootstrap-token-ABCDEF", &with("token-id", "ABCDEF")));
        assert!(!signs("bootstrap-token-abcdeg", &good) && !signs("other", &good));
        assert!(!signs(name, &with("token-secret", "")));
        assert!(!signs(name, &with("usage-bootstrap-signing", "false")));
        assert!(signs(name, &with("expiration", "2026-01-01T00:00:01Z")));
        assert!(signs(name, &with("expiration", "2026-01-01T02:00:00+01:00")));
        assert!(!signs(name, &with("expiration", "2026-01-01T00:00:00Z")));
        assert!(!signs(name, &with("expiration", "soon")));
        let lasting: Secret =
            serde_json::from_value(secret(name, &with("expiration", "2026-01-01T00:01:00Z"))).unwrap();
        assert_eq!(validity(&lasting, now), Validity::For(Duration::from_secs(60)));
    }
}
