//! Registry credentials from a pod's imagePullSecrets. Pure, over [`Sources`].

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde::Deserialize;

use super::{
    access::{self, Credential, PullSecret},
    name,
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

/// Every credential for the image's registry; empty for an anonymous pull. A secret that is missing or unreadable is
/// passed over, as upstream does: the pull itself says what it lacks.
pub fn for_image(pod: &Pod, image: &str, sources: &dyn Sources) -> Vec<Credential> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let names = spec::spec(pod).image_pull_secrets.iter().flatten();
    let secrets = names.filter_map(|reference| sources.secret(namespace, &reference.name).ok().flatten());
    secrets.flat_map(|secret| of_secret(&secret, image)).collect()
}

fn of_secret(secret: &Secret, image: &str) -> Vec<Credential> {
    let meta = secret.metadata.clone();
    let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
    let place = PullSecret { namespace, name, uid: meta.uid.unwrap_or_default(), credential_hash: String::new() };
    let fitting = entries(secret).into_iter().filter(|(at, _)| is_for(at, image));
    let one = |(at, it): (String, Entry)| {
        let auth = auth(&at, it);
        let secret = PullSecret { credential_hash: access::hash(&auth), ..place.clone() };
        Credential { auth, secret: Some(secret) }
    };
    fitting.map(one).collect()
}

fn entries(secret: &Secret) -> Vec<(String, Entry)> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.as_slice());
    if let Some(json) = data(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfigJson>(json).unwrap_or_default().auths.into_iter().collect();
    }
    let old = data(".dockercfg").and_then(|json| serde_json::from_slice::<BTreeMap<String, Entry>>(json).ok());
    old.unwrap_or_default().into_iter().collect()
}

/// The credentials for an image in a file as `docker login` writes it.
pub(super) fn of_login_file(json: &[u8], image: &str) -> Vec<AuthConfig> {
    let file = serde_json::from_slice::<DockerConfigJson>(json).unwrap_or_default();
    file.auths.into_iter().filter(|(at, _)| is_for(at, image)).map(|(at, it)| auth(&at, it)).collect()
}

/// Credentials are filed under a registry, maybe as a URL, maybe with a path that the image's name must begin with.
fn is_for(at: &str, image: &str) -> bool {
    let at = at.trim_start_matches("https://").trim_start_matches("http://");
    let at = at.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let (host, path) = at.split_once('/').unwrap_or((at, ""));
    let registry = name::registry(image);
    let is_hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    let host_fits = host == registry || (is_hub(host) && is_hub(registry));
    host_fits && (path.is_empty() || image.split_once('/').is_some_and(|(_, rest)| rest.starts_with(path)))
}

fn auth(at: &str, entry: Entry) -> AuthConfig {
    let decoded = BASE64_STANDARD.decode(entry.auth.trim()).ok().and_then(|it| String::from_utf8(it).ok());
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
