//! What the parts of a joined node prove themselves with: tokens of ServiceAccounts, bound to this machine's Node.
//!
//! The first ones are asked for with the token that the machine joined with ([`obtain`]); after that each part's token is
//! good for asking for the next one ([`keep`]). When the Node is deleted they end, all at once. The kubelet is no part of
//! this: it has a certificate, which it keeps itself. [`Claims`] are pure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use component::shutdown::Shutdown;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use serde::Deserialize;

use super::answer;
use crate::addons::NAMESPACE;
use crate::layout::Layout;
use crate::part::Part;
use crate::settings::Settings;
use crate::{files, node};

/// As long as the kubelet's certificate by default: a node may be switched off for as long as that.
const LIFE_SECONDS: i64 = 365 * 24 * 3600;
/// How often to look whether one is due: a machine may sleep through any longer wait.
const PERIOD: Duration = Duration::from_secs(3600);

/// The node that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Binding {
    name: String,
    uid: String,
}

/// What of a token's claims counts here (RFC 7519).
#[derive(Debug, Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    #[serde(rename = "kubernetes.io")]
    private: Private,
}

#[derive(Debug, Deserialize)]
struct Private {
    node: Option<Binding>,
}

impl Claims {
    /// Not checked: the file is this machine's own.
    fn read(token: &str) -> Result<Self> {
        let payload = token.split('.').nth(1).context("a token has three parts")?;
        let payload = URL_SAFE_NO_PAD.decode(payload).context("decode a token")?;
        serde_json::from_slice(&payload).context("read a token's claims")
    }

    /// After two thirds of its life.
    fn is_due(&self, now: Timestamp) -> bool {
        now.as_second() >= self.iat + (self.exp - self.iat) / 3 * 2
    }
}

/// The parts that have a token each.
fn parts(settings: &Settings) -> impl Iterator<Item = Part> {
    let settings = settings.clone();
    Part::OF_NODES.into_iter().filter(move |part| *part != Part::Kubelet && settings.runs(*part))
}

pub(super) fn all(settings: &Settings) -> Vec<Part> {
    parts(settings).collect()
}

/// Whether every part has what it needs to start.
pub(super) fn are_there(layout: &Layout, settings: &Settings) -> bool {
    parts(settings).all(|part| layout.token(part).exists())
}

/// Asks for the tokens that are missing, with the identity of the bootstrap kubeconfig.
pub(super) async fn obtain(layout: &Layout, settings: &Settings, node: &Node) -> Result<()> {
    let metadata = &node.metadata;
    let (name, uid) = (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default());
    let binding = Binding { name, uid };
    for part in parts(settings).filter(|part| !layout.token(*part).exists()) {
        ask(layout, layout.bootstrap_kubeconfig(), part, &binding).await?;
    }
    Ok(())
}

/// Renews each part's token before it ends, until shutdown.
pub(super) async fn keep(layout: Layout, settings: Settings, shutdown: Shutdown) {
    loop {
        for part in parts(&settings) {
            if let Err(error) = renew(&layout, part).await {
                tracing::warn!(part = part.name(), "its token is not renewed, trying again later: {error:#}");
            }
        }
        if shutdown.run_until(tokio::time::sleep(PERIOD)).await.is_none() {
            return;
        }
    }
}

async fn renew(layout: &Layout, part: Part) -> Result<()> {
    let path = layout.token(part);
    let token = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let claims = Claims::read(&token)?;
    let binding = claims.private.node.as_ref().context("the token is not bound to a node")?;
    if !claims.is_due(Timestamp::now()) {
        return Ok(());
    }
    ask(layout, layout.kubeconfig(part), part, binding).await
}

async fn ask(layout: &Layout, identity: PathBuf, part: Part, binding: &Binding) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(node::client_of(identity)?, NAMESPACE);
    let bound_object_ref = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(binding.name.clone()),
        uid: Some(binding.uid.clone()),
    };
    let spec = TokenRequestSpec {
        audiences: None,
        bound_object_ref: Some(bound_object_ref),
        expiration_seconds: Some(LIFE_SECONDS),
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let what = format!("ask for a token of the {}", part.name());
    let post = PostParams::default();
    let made = answer(&what, || accounts.create_token_request(part.name(), &post, &request)).await?;
    let token = made.status.and_then(|status| status.token).context("an answer without a token")?;
    files::write_secret(&layout.token(part), token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_due_after_two_thirds_of_its_life() {
        let claims = r#"{"iat": 1000, "exp": 1300, "kubernetes.io": {"namespace": "kube-system",
            "node": {"name": "n", "uid": "u"}, "serviceaccount": {"name": "kube-proxy"}}}"#;
        let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(claims));
        let claims = Claims::read(&token).unwrap();
        assert_eq!(claims.private.node, Some(Binding { name: "n".into(), uid: "u".into() }));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(!claims.is_due(at(1199)) && claims.is_due(at(1200)));
        assert!(Claims::read("nonsense").is_err());
    }
}
