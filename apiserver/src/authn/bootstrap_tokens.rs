//! Bootstrap tokens: Secrets by which a machine proves that it may join (Kubernetes reference: "Authenticating with
//! Bootstrap Tokens").
//!
//! Enter at [`user`]. A token that does not hold is not refused here: another way of authentication may know it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::{GROUP, NAMESPACE, TYPE, Token, USER_PREFIX};
use jiff::Timestamp;
use machinery::meta;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tokens::{Error, find};
use crate::api::Api;
use crate::request::User;

const GROUP_CHARS_MAX: usize = 256;

/// Whom a token of the form `id.secret` stands for; `None` when it is no such token, or does not hold.
pub async fn user(api: &Api, token: &str) -> Result<Option<User>, Error> {
    let Ok(token) = token.parse::<Token>() else { return Ok(None) };
    let name = token.secret_name();
    let Some(object) = find(api, "secrets", NAMESPACE, &name).await? else { return Ok(None) };
    match judge(&object, &token, api.clock.now()) {
        Ok(user) => Ok(Some(user)),
        Err(why) => {
            tracing::info!(secret = name, why, "a bootstrap token is not taken");
            Ok(None)
        }
    }
}

/// Pure. The error says what of the Secret is wrong.
fn judge(object: &Value, token: &Token, now: Timestamp) -> Result<User, String> {
    let text = |key: &str| decoded(&object["data"][key]);
    if meta::is_deleting(object) {
        return Err("is deleted and awaiting removal".to_owned());
    }
    if object["type"] != TYPE {
        return Err(format!("has invalid type, expected {TYPE}"));
    }
    // Digests, so that the time this takes tells nothing of how far a guess is right.
    if Sha256::digest(text("token-secret")) != Sha256::digest(&token.secret) {
        return Err("has invalid value for key token-secret".to_owned());
    }
    if text("token-id") != token.id {
        return Err("has invalid value for key token-id".to_owned());
    }
    let expiration = text("expiration");
    if !expiration.is_empty() && expiration.parse::<Timestamp>().map_or(true, |end| end <= now) {
        return Err("has expired".to_owned());
    }
    if text("usage-bootstrap-authentication") != "true" {
        return Err("not marked usage-bootstrap-authentication=true".to_owned());
    }
    Ok(User {
        name: format!("{USER_PREFIX}{}", token.id),
        groups: groups(&text("auth-extra-groups"))?,
        ..User::default()
    })
}

fn decoded(value: &Value) -> String {
    let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The group of all such tokens and the Secret's own, sorted, each once.
fn groups(extra: &str) -> Result<Vec<String>, String> {
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !is_bootstrap_group(group) {
            return Err(format!(
                "has invalid value for key auth-extra-groups: {group:?} is no group of bootstrap tokens"
            ));
        }
        groups.push(group.to_owned());
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

fn is_bootstrap_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= GROUP_CHARS_MAX
        && name.bytes().all(|byte| is_plain(byte) || byte == b':' || byte == b'-')
        && name.bytes().last().is_some_and(is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token() -> Token {
        "abcdef.0123456789abcdef".parse().unwrap()
    }

    fn judged(changes: &[(&str, &str)]) -> Result<User, String> {
        let mut data = serde_json::Map::new();
        let good =
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
        for (key, value) in good.iter().chain(changes) {
            data.insert((*key).to_owned(), STANDARD.encode(value).into());
        }
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        judge(&json!({"metadata": {}, "type": TYPE, "data": data}), &token(), now)
    }

    #[test]
    fn a_good_token_is_its_user() {
        let user = judged(&[]).unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("system:bootstrap:abcdef", &[GROUP.to_owned()][..]));
        let extra =
            "system:bootstrappers:workers,system:bootstrappers:kubeadm:default-node-token,system:bootstrappers:workers";
        let groups =
            judged(&[("auth-extra-groups", extra), ("expiration", "2026-01-01T01:00:01+01:00")]).unwrap().groups;
        assert_eq!(groups, [GROUP, "system:bootstrappers:kubeadm:default-node-token", "system:bootstrappers:workers"]);
    }

    #[test]
    fn what_is_wrong_with_the_secret_is_said() {
        let cases = [
            ("token-secret", "0123456789abcdee", "token-secret"),
            ("token-id", "abcdeg", "token-id"),
            ("usage-bootstrap-authentication", "yes", "not marked"),
            ("expiration", "2026-01-01T00:00:00Z", "expired"),
            ("expiration", "tomorrow", "expired"),
            ("auth-extra-groups", "system:masters", "auth-extra-groups"),
            ("auth-extra-groups", "system:bootstrappers:", "auth-extra-groups"),
            ("auth-extra-groups", "system:bootstrappers:a-", "auth-extra-groups"),
            ("auth-extra-groups", "system:bootstrappers:a,", "auth-extra-groups"),
        ];
        for (key, value, expected) in cases {
            let why = judged(&[(key, value)]).unwrap_err();
            assert!(why.contains(expected), "{key}={value}: {why}");
        }
        let other = json!({"metadata": {}, "type": "Opaque", "data": {}});
        assert!(judge(&other, &token(), Timestamp::UNIX_EPOCH).unwrap_err().contains("invalid type"));
    }
}
