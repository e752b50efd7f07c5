//! The ServiceAccount issuer's OpenID documents, by which others verify this cluster's tokens.
//!
//! OpenID Connect Discovery 1.0, section 4, and RFC 7517; Kubernetes concept: "Service account issuer discovery". Made
//! once: keys do not change while the server runs.

use bytes::Bytes;
use http::Uri;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use crate::authn::tokens::Tokens;
use crate::http_body::{Response, full};

pub const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// For as long as upstream lets others keep keys that were read from files.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

pub struct Documents {
    configuration: Bytes,
    keys: Bytes,
}

impl Documents {
    /// `address` is host and port of this server, for the URL of the keys unless `keys_url` is one. Fails, in words,
    /// when the issuer is no URL that OpenID allows.
    pub fn new(tokens: &Tokens, keys_url: Option<&str>, address: &str) -> Result<Self, String> {
        let issuer = tokens.issuer();
        check_https("issuer URL", issuer)?;
        if issuer.contains(['?', '#']) {
            return Err(format!("issuer URL may not include a query or a fragment, got: {issuer}"));
        }
        let keys_url = keys_url.map_or_else(|| format!("https://{address}{KEYS_PATH}"), str::to_owned);
        check_https("jwksURI", &keys_url)?;
        let keys = tokens.public_keys();
        let mut algorithms: Vec<&str> = keys.iter().filter_map(|key| key["alg"].as_str()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        Ok(Self { configuration: text(&configuration), keys: text(&json!({"keys": keys})) })
    }

    /// The document at `path`, if it is one of the two.
    pub fn answer(&self, path: &str) -> Option<Response> {
        let (media_type, document) = match path.trim_end_matches('/') {
            CONFIGURATION_PATH => ("application/json", &self.configuration),
            KEYS_PATH => ("application/jwk-set+json", &self.keys),
            _ => return None,
        };
        let mut response = Response::new(full(document.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response.headers_mut().insert(CACHE_CONTROL, CACHED);
        Some(response)
    }
}

fn text(document: &Value) -> Bytes {
    document.to_string().into()
}

fn check_https(what: &str, url: &str) -> Result<(), String> {
    let is_https = url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("https"));
    if is_https { Ok(()) } else { Err(format!("{what} must use https scheme, got: {url}")) }
}
