//! The bearer token that a browser offers as a WebSocket's sub-protocol, for it can set no other header (Kubernetes
//! concept: "Authenticating", bearer tokens). Enter at [`token`].
//!
//! [`strip`] takes it out again: nobody behind this server is told a credential.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use crate::connect::websocket;

const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The token, if one is offered. There must be another sub-protocol, for this one is never chosen.
pub fn token(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let offered = websocket::offered(headers);
    let mut tokens = offered.iter().filter_map(|protocol| protocol.strip_prefix(PREFIX));
    let Some(encoded) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err("multiple base64.bearer.authorization tokens specified");
    }
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "invalid base64.bearer.authorization token encoding")?;
    let token = String::from_utf8(bytes).map_err(|_| "invalid base64.bearer.authorization token")?;
    match token.is_empty() {
        true => Ok(None),
        false if offered.len() == 1 => Err("missing additional subprotocol"),
        false => Ok(Some(token)),
    }
}

/// Takes the token out of what is offered.
pub fn strip(headers: &mut HeaderMap) {
    let offered = websocket::offered(headers);
    if !offered.iter().any(|protocol| protocol.starts_with(PREFIX)) {
        return;
    }
    let rest: Vec<&str> = offered.into_iter().filter(|protocol| !protocol.starts_with(PREFIX)).collect();
    match HeaderValue::from_str(&rest.join(",")) {
        Ok(rest) if !rest.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, rest),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, UPGRADE};

    use super::*;

    fn offering(protocols: &[&str]) -> HeaderMap {
        let asked = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        let mut headers = HeaderMap::from_iter(asked.map(|(name, value)| (name, HeaderValue::from_static(value))));
        for protocol in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_read_and_taken_out() {
        let offer = format!("a, {PREFIX}{}", URL_SAFE_NO_PAD.encode("secret"));
        let mut headers = offering(&[&offer, "b"]);
        assert_eq!(token(&headers), Ok(Some("secret".to_owned())));
        strip(&mut headers);
        assert_eq!(headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect::<Vec<_>>(), ["a,b"]);
        assert_eq!(token(&headers), Ok(None));
        headers.remove(CONNECTION);
        assert_eq!(token(&headers), Ok(None));
    }

    #[test]
    fn bad_offers_are_told() {
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode("secret"));
        let told = |protocols: &[&str]| token(&offering(protocols)).unwrap_err();
        assert_eq!(told(&[&secret]), "missing additional subprotocol");
        assert_eq!(told(&[&secret, &secret, "a"]), "multiple base64.bearer.authorization tokens specified");
        assert_eq!(told(&[&format!("{PREFIX}!"), "a"]), "invalid base64.bearer.authorization token encoding");
        let bytes = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([0xff]));
        assert_eq!(told(&[&bytes, "a"]), "invalid base64.bearer.authorization token");
    }
}
