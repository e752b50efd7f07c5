//! Tells extension servers by whom clients and front proxies are vouched for: the ConfigMap
//! `kube-system/extension-apiserver-authentication` (Kubernetes concept: "Configure the Aggregation Layer").
//!
//! Several servers may trust different authorities while they are rolled over, so each adds what it trusts and takes
//! nothing away.

use machinery::status::Status;
use serde_json::{Map, Value, json};

use super::follow::Follower;
use super::{ensure, own_call, row};
use crate::api::Api;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

const CLIENT_CA: &str = "client-ca-file";
const PROXY_CA: &str = "requestheader-client-ca-file";

/// What is published, with what this server adds.
fn merged(own: &Map<String, Value>, published: &Value) -> Value {
    let mut merged = published.as_object().cloned().unwrap_or_default();
    for (name, own) in own {
        let own = own.as_str().unwrap_or_default();
        let before = merged.get(name).and_then(Value::as_str).unwrap_or_default();
        let joined = match name.as_str() {
            CLIENT_CA | PROXY_CA => join_bundles(before, own),
            _ => join_lists(before, own),
        };
        merged.insert(name.clone(), joined.into());
    }
    Value::Object(merged)
}

const END: &str = "-----END CERTIFICATE-----";

fn certificates(bundle: &str) -> impl Iterator<Item = String> + '_ {
    bundle.split_inclusive(END).map(str::trim).filter(|one| one.ends_with(END)).filter_map(|one| {
        let begin = one.find("-----BEGIN CERTIFICATE-----")?;
        Some(format!("{}\n", &one[begin..]))
    })
}

fn join_bundles(before: &str, own: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    for one in certificates(before).chain(certificates(own)) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all.concat()
}

fn join_lists(before: &str, own: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
    let mut all = parse(before);
    for one in parse(own) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    json!(all).to_string()
}

/// Makes or completes the ConfigMap.
pub async fn publish(api: &Api) -> Result<(), Status> {
    let own = &api.authenticator.published;
    if own.is_empty() {
        return Ok(());
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": merged(own, &Value::Null),
    });
    if ensure(api, "", "configmaps", object).await? {
        return Ok(());
    }
    let call = own_call(row(api, "", "configmaps")?, "update", NAMESPACE, NAME);
    let mend = |old: &Value| {
        let mut new = old.clone();
        new["data"] = merged(own, &old["data"]);
        Ok(new)
    };
    change(api, &call, Part::Main, &WriteOptions::default(), mend).await.map(|_| ())
}

/// Publishes again when somebody takes the ConfigMap away; until shutdown.
pub async fn keep(api: &Api) {
    if api.authenticator.published.is_empty() {
        return;
    }
    let Some(mut follower) = Follower::new(api, NAMESPACE, NAME) else { return };
    while follower.lost().await {
        if let Err(status) = publish(api).await {
            tracing::warn!(%status, "publishing the authorities for extension servers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_published_is_lost() {
        let one = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
        let two = "-----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n";
        let own = json!({CLIENT_CA: format!("words before\n{two}"), "requestheader-allowed-names": "[\"b\",\"a\"]"});
        let own = own.as_object().expect("an object");
        let published = json!({CLIENT_CA: one, "requestheader-allowed-names": "[\"a\"]", "other": "x"});
        let found = merged(own, &published);
        assert_eq!(found[CLIENT_CA], format!("{one}{two}"));
        assert_eq!(found["requestheader-allowed-names"], "[\"a\",\"b\"]");
        assert_eq!(found["other"], "x");
        assert_eq!(merged(own, &found), found);
    }
}
