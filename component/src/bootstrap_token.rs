//! Bootstrap tokens, by which a machine and a cluster that do not know each other yet find trust (Kubernetes reference:
//! "Authenticating with Bootstrap Tokens").
//!
//! [`Token`] is the text that people pass around; the constants are the names that its Secret is written with;
//! [`signature`] is how `cluster-info` is signed. What is done with them is not known here.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rand::RngExt as _;

/// Where the Secrets are, of what type, and what their names begin with.
pub const NAMESPACE: &str = "kube-system";
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
pub const NAME_PREFIX: &str = "bootstrap-token-";

/// The group of all who come with such a token, and the prefix of their names.
pub const GROUP: &str = "system:bootstrappers";
pub const USER_PREFIX: &str = "system:bootstrap:";

/// The ConfigMap that whoever has a token can believe, the key of its content, and what keys of signatures begin with.
pub const CLUSTER_INFO_NAMESPACE: &str = "kube-public";
pub const CLUSTER_INFO: &str = "cluster-info";
pub const CLUSTER_INFO_CONTENT: &str = "kubeconfig";
pub const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;

/// A token: the public part that it is found by, and the secret one.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub id: String,
    pub secret: String,
}

/// A text that is no bootstrap token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bootstrap token is of the form abcdef.0123456789abcdef: lower-case letters and digits")]
pub struct Malformed;

impl Token {
    /// One that nobody can guess.
    pub fn random() -> Self {
        Self { id: random_text(ID_CHARS), secret: random_text(SECRET_CHARS) }
    }

    /// The name of its Secret.
    pub fn secret_name(&self) -> String {
        format!("{NAME_PREFIX}{}", self.id)
    }
}

fn random_text(chars: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..chars).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

/// Whether this can be the first part of a token.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl FromStr for Token {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (id, secret) = text.split_once('.').ok_or(Malformed)?;
        if !(is_id(id) && secret.len() == SECRET_CHARS && is_plain(secret)) {
            return Err(Malformed);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

/// Logs must not have the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

/// The signature of `content`: a JWS with its content left out (RFC 7515, appendix F), by the token's secret.
///
/// # Errors
/// The library's, which has none for this algorithm.
pub fn signature(content: &str, token: &Token) -> Result<String, jsonwebtoken::errors::Error> {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = EncodingKey::from_secret(token.secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256)?;
    Ok(format!("{header}..{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_tokens_are_tokens() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        assert_eq!((token.id.as_str(), token.secret.as_str()), ("abcdef", "0123456789abcdef"));
        for text in
            ["", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde.", "a.b.c"]
        {
            assert_eq!(text.parse::<Token>(), Err(Malformed), "{text}");
        }
        let random = Token::random();
        assert_eq!(random.to_string().parse(), Ok(random.clone()));
        assert_ne!(random, Token::random());
        assert!(!format!("{random:?}").contains(&random.secret));
    }

    #[test]
    fn a_signature_has_header_and_no_content() {
        let token = "abcdef.0123456789abcdef".parse().unwrap();
        let signed = signature("content", &token).unwrap();
        let (header, rest) = signed.split_once("..").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(header).unwrap(), br#"{"alg":"HS256","kid":"abcdef"}"#);
        assert_eq!(URL_SAFE_NO_PAD.decode(rest).unwrap().len(), 32);
        assert_ne!(signed, signature("other", &token).unwrap());
    }
}
