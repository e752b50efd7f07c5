//! Since when the servers tell of tokens in Secrets when they were last used: the ConfigMap
//! `kube-system/kube-apiserver-legacy-service-account-token-tracking` (Kubernetes reference: "Managing Service Accounts",
//! "Legacy ServiceAccount token tracking controller").
//!
//! Who deletes unused tokens goes by it, so that none is taken for unused that nobody looked at.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use machinery::status::Status;
use serde_json::{Value, json};

use super::follow::Follower;
use super::{ensure as ensure_object, own_call, row};
use crate::api::Api;
use crate::authn::legacy_tokens::day;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// A server that does not track takes the ConfigMap away: the two must not fight over it.
const PAUSE: Duration = Duration::from_secs(30 * 60);

/// Makes the ConfigMap, or mends one that tells no day. Returns whether it was made.
pub async fn ensure(api: &Api) -> Result<bool, Status> {
    let today = day(api.clock.now());
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {"since": today},
    });
    if ensure_object(api, "", "configmaps", object).await? {
        return Ok(true);
    }
    let tells = |map: &Value| map["data"]["since"].as_str().is_some_and(|since| since.parse::<Date>().is_ok());
    if api.peek_named("", "configmaps", NAMESPACE, NAME).is_some_and(|map| tells(&map)) {
        return Ok(false);
    }
    let call = own_call(row(api, "", "configmaps")?, "update", NAMESPACE, NAME);
    let mend = |old: &Value| {
        let mut new = old.clone();
        if !tells(old) {
            new["data"]["since"] = today.clone().into();
        }
        Ok(new)
    };
    change(api, &call, Part::Main, &WriteOptions::default(), mend).await.map(|_| false)
}

/// Mends it whenever somebody changes it, and makes it again, until shutdown.
pub async fn keep(api: &Api) {
    let Some(mut follower) = Follower::new(api, NAMESPACE, NAME) else { return };
    let mut made: Option<Timestamp> = None;
    loop {
        let is_there = api.peek_named("", "configmaps", NAMESPACE, NAME).is_some();
        let pause =
            made.filter(|_| !is_there).map_or(Duration::ZERO, |made| PAUSE.saturating_sub(api.clock.since(made)));
        if api.shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        match ensure(api).await {
            Ok(true) => made = Some(api.clock.now()),
            Ok(false) => {}
            Err(status) => tracing::warn!(%status, "telling since when uses of token Secrets are known"),
        }
        if !follower.lost().await {
            return;
        }
    }
}
