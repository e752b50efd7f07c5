//! Registry credentials from a pod's imagePullSecrets. Pure, over [`Sources`].

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde::Deserialize;

use super::{
    access::{self, Credential, PullSecret, Source},
    matching,
};
use crate::{env::Sources, pod::spec};

#[derive(Deserialize, Default)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// Every credential for the image, the most specific one first; empty for an anonymous pull. A secret that is missing
/// or unreadable is passed over, as upstream does: the pull itself says what it lacks.
pub fn for_image(pod: &Pod, image: &str, sources: &dyn Sources) -> Vec<Credential> {
    let secrets = secrets(pod, sources).filter_map(|(_, secret)| secret);
    matching::choose(secrets.flat_map(|secret| of_secret(&secret)).collect(), image)
}

/// The names of the pod's pull secrets that are not to be had.
pub fn missing(pod: &Pod, sources: &dyn Sources) -> Vec<String> {
    secrets(pod, sources).filter(|(_, secret)| secret.is_none()).map(|(name, _)| name.to_owned()).collect()
}

fn secrets<'a>(pod: &'a Pod, sources: &dyn Sources) -> impl Iterator<Item = (&'a str, Option<Arc<Secret>>)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = spec::spec(pod).image_pull_secrets.iter().flatten().map(|reference| reference.name.as_str());
    // Older API servers took entries without a name.
    let names = names.filter(|name| !name.is_empty());
    names.map(move |name| (name, sources.secret(namespace, name).ok().flatten()))
}

/// With what the credentials are filed under.
fn of_secret(secret: &Secret) -> Vec<(String, Credential)> {
    let meta = secret.metadata.clone();
    let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
    let place = PullSecret { namespace, name, uid: meta.uid.unwrap_or_default(), credential_hash: String::new() };
    let one = |(at, it): (String, Entry)| {
        let auth = auth(&at, it);
        let secret = PullSecret { credential_hash: access::hash(&auth), ..place.clone() };
        (at, Credential { auth, source: Source::Secret(secret) })
    };
    entries(secret).into_iter().map(one).collect()
}

fn entries(secret: &Secret) -> Vec<(String, Entry)> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    if let Some(json) = data(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfigJson>(json).unwrap_or_default().auths.into_iter().collect();
    }
    let old = data(".dockercfg").and_then(|json| serde_json::from_slice::<BTreeMap<String, Entry>>(json).ok());
    old.unwrap_or_default().into_iter().collect()
}

/// The credentials in a file as `docker login` writes it, with what they are filed under; None where it is none.
pub(super) fn of_login_file(json: &[u8]) -> Option<Vec<(String, AuthConfig)>> {
    Some(filed(serde_json::from_slice::<DockerConfigJson>(json).ok()?.auths))
}

/// The same of a `.dockercfg`.
pub(super) fn of_old_login_file(json: &[u8]) -> Option<Vec<(String, AuthConfig)>> {
    Some(filed(serde_json::from_slice(json).ok()?))
}

fn filed(entries: BTreeMap<String, Entry>) -> Vec<(String, AuthConfig)> {
    entries.into_iter().map(|(at, it)| (at.clone(), auth(&at, it))).collect()
}

fn auth(at: &str, entry: Entry) -> AuthConfig {
    // Some write it without its padding.
    let decoded = BASE64_STANDARD_NO_PAD.decode(entry.auth.trim().trim_end_matches('='));
    let decoded = decoded.ok().and_then(|it| String::from_utf8(it).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = match pair {
        Some((username, password)) if entry.username.is_empty() => (username.to_owned(), password.to_owned()),
        _ => (entry.username, entry.password),
    };
    AuthConfig {
        username,
        password,
        server_address: at.to_owned(),
        identity_token: entry.identity_token,
        ..AuthConfig::default()
    }
}
