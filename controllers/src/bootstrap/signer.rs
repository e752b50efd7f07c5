//! The bootstrap signer: signs the ConfigMap `cluster-info` with each token, so that whoever knows a token can tell that
//! the cluster's address and authority are the right ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::bootstrap_token::{
    CLUSTER_INFO as NAME, CLUSTER_INFO_CONTENT as CONTENT, CLUSTER_INFO_NAMESPACE as NAMESPACE, SIGNATURE_PREFIX,
    signature,
};
use component::context::Context;
use component::informer::{Informer, Selection};
use component::key::Key;
use component::queue::{self, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;

use super::token;
use crate::common::error::{Doing, Error, wait_for_event};

struct Signer {
    ctx: Context,
    secrets: Informer<Secret>,
    maps: Informer<ConfigMap>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context) {
    let maps = ctx.informers.namespaced(NAMESPACE, Selection::fields(format!("metadata.name={NAME}")));
    let signer = Signer { secrets: token::informer(&ctx.informers), maps, ctx };
    let queue = Queue::new("bootstrap_signer_queue");
    let key = || Key::new(NAMESPACE, NAME);
    let events = queue.clone();
    signer.maps.on_event(move |_| events.add(key()));
    let events = queue.clone();
    signer.secrets.on_event(move |_| events.add(key()));
    let synced = async {
        signer.maps.synced().await;
        signer.secrets.synced().await;
    };
    let shutdown = signer.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(queue, 1, shutdown, |_| signer.sync()).await;
    }
}

impl Signer {
    async fn sync(&self) -> Result<(), Error> {
        let Some(map) = self.maps.get(NAMESPACE, NAME) else { return Ok(()) };
        let data = map.data.clone().unwrap_or_default();
        let Some(signed) = signed(&data, &self.secrets.list(), self.ctx.clock.now())? else { return Ok(()) };
        let changed = ConfigMap { data: Some(signed), ..(*map).clone() };
        let api = Api::<ConfigMap>::namespaced(self.ctx.client.clone(), NAMESPACE);
        let written = api.replace(NAME, &PostParams::default(), &changed).await;
        wait_for_event(written.map(drop).doing("sign config map", NAME))
    }
}

type Data = BTreeMap<String, String>;

/// The data with a signature for each token, and no other; None when it is so already, or there is nothing to sign.
fn signed(data: &Data, secrets: &[Arc<Secret>], now: Timestamp) -> Result<Option<Data>, Error> {
    let Some(content) = data.get(CONTENT) else { return Ok(None) };
    let mut signed = data.clone();
    signed.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    for token in secrets.iter().filter_map(|secret| token::for_signing(secret, now)) {
        let signature = signature(content, &token).map_err(|error| Error::refused("sign config map", NAME, error))?;
        signed.insert(format!("{SIGNATURE_PREFIX}{}", token.id), signature);
    }
    Ok((signed != *data).then_some(signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str) -> Arc<Secret> {
        let data = [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        let value = super::super::token::tests::secret(&format!("bootstrap-token-{id}"), &data);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn signatures_come_and_go_with_their_tokens() {
        let now = Timestamp::UNIX_EPOCH;
        let data: Data = [("kubeconfig".to_owned(), "content".to_owned())].into();
        let one = signed(&data, &[token("abcdef")], now).unwrap().unwrap();
        assert_eq!(one.len(), 2);
        assert!(one["jws-kubeconfig-abcdef"].contains(".."));
        assert_eq!(signed(&one, &[token("abcdef")], now).unwrap(), None, "nothing new");
        let two = signed(&one, &[token("abcdef"), token("ghijkl")], now).unwrap().unwrap();
        assert_eq!(two.len(), 3);
        assert_eq!(signed(&two, &[], now).unwrap().unwrap(), data);
        assert_eq!(signed(&Data::new(), &[token("abcdef")], now).unwrap(), None);
    }
}
