//! Finding a cluster that is known by an address, a token and a hash, as kubeadm does it.
//!
//! Enter at [`discover`]. `cluster-info` is fetched from whoever answers at the address; that the cluster knows the token is
//! seen by the signature, and whose authority it names by the hash ([`believe`], pure). Then it is fetched again under
//! that authority, and must be the same: so nobody in between can be the one who answered.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::{
    CLUSTER_INFO, CLUSTER_INFO_CONTENT, CLUSTER_INFO_NAMESPACE, SIGNATURE_PREFIX, Token, signature,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answer;
use crate::pki::Pin;
use crate::{files, kubeconfig, node};

/// How long a new cluster may take to show itself and a new token to be signed with, and how often to look: nobody may
/// watch without a name.
const SIGNED_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// What is believed of a cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The API server's URL.
    pub(super) server: String,
    /// The certificate of its authority, PEM.
    pub(super) authority: String,
}

type Data = BTreeMap<String, String>;

/// `scratch` is where a kubeconfig may be written.
pub(super) async fn discover(scratch: &Path, endpoint: &str, token: &Token, pins: &[Pin]) -> Result<Found> {
    let data = fetch(scratch, endpoint, json!({"insecure-skip-tls-verify": true}), token).await?;
    let found = believe(&data, token, pins)?;
    let authority = json!({"certificate-authority-data": STANDARD.encode(&found.authority)});
    let again = fetch(scratch, endpoint, authority, token).await?;
    ensure!(
        again.get(CLUSTER_INFO_CONTENT) == data.get(CLUSTER_INFO_CONTENT),
        "the second {CLUSTER_INFO}, from the cluster's own authority, is not the first: somebody stands in between"
    );
    Ok(found)
}

/// The ConfigMap's data, once it is signed with the token.
async fn fetch(scratch: &Path, endpoint: &str, authority: Value, token: &Token) -> Result<Data> {
    let text = kubeconfig::kubeconfig("token-bootstrap-client", &format!("https://{endpoint}"), authority, json!({}))?;
    files::write_secret(scratch, text.as_bytes())?;
    let maps: Api<ConfigMap> = Api::namespaced(node::client_of(scratch.to_owned())?, CLUSTER_INFO_NAMESPACE);
    let what = format!("ask {endpoint} for {CLUSTER_INFO}");
    let signed = format!("{SIGNATURE_PREFIX}{}", token.id);
    let mut first = None;
    loop {
        let map = answer(&what, || async { not_yet_is_none(maps.get(CLUSTER_INFO).await) }).await?;
        let is_late = first.get_or_insert_with(Instant::now).elapsed() >= SIGNED_WITHIN;
        match map.map(|map| map.data.unwrap_or_default()) {
            Some(data) if data.contains_key(&signed) => return Ok(data),
            Some(_) if is_late => bail!(
                "the cluster at {endpoint} does not know the token {}, or it has expired: skiff token create makes a new one",
                token.id
            ),
            None if is_late => bail!(
                "the cluster at {endpoint} shows nobody its {CLUSTER_INFO}: skiff and kubeadm make it in {CLUSTER_INFO_NAMESPACE}, \
                 with the right for system:anonymous to get it"
            ),
            _ => sleep(PAUSE).await,
        }
    }
}

/// A cluster that began a moment ago has no `cluster-info` yet, or nobody has the right to read it.
fn not_yet_is_none(answer: kube::Result<ConfigMap>) -> kube::Result<Option<ConfigMap>> {
    match answer {
        Err(kube::Error::Api(status)) if [401, 403, 404].contains(&status.code) => Ok(None),
        other => other.map(Some),
    }
}

/// What the data says, if it is signed with the token and names an authority with one of the hashes.
fn believe(data: &Data, token: &Token, pins: &[Pin]) -> Result<Found> {
    let content = data.get(CLUSTER_INFO_CONTENT).with_context(|| format!("{CLUSTER_INFO} has no kubeconfig"))?;
    let signed = data.get(&format!("{SIGNATURE_PREFIX}{}", token.id));
    ensure!(
        signed.is_some_and(|signed| signature(content, token).is_ok_and(|right| right == *signed)),
        "{CLUSTER_INFO} is not signed with this token: whoever answers does not know it"
    );
    let found = parse(content).with_context(|| format!("the kubeconfig in {CLUSTER_INFO}"))?;
    let pin = Pin::of(&found.authority).with_context(|| format!("the authority in {CLUSTER_INFO}"))?;
    ensure!(pins.contains(&pin), "the cluster's authority has the hash {pin}, which is none of those given");
    Ok(found)
}

/// The cluster without a name, as kubeadm writes it, or that of the current context.
fn parse(text: &str) -> Result<Found> {
    let config: Value = serde_yaml_ng::from_str(text).context("read YAML")?;
    let named = |list: &str, name: &str| {
        config[list].as_array().into_iter().flatten().find(|item| item["name"].as_str().unwrap_or_default() == name)
    };
    let of_context = || {
        let context = named("contexts", config["current-context"].as_str()?)?;
        named("clusters", context["context"]["cluster"].as_str()?)
    };
    let cluster = &named("clusters", "").or_else(of_context).context("it has no cluster")?["cluster"];
    let text = |key: &str| cluster[key].as_str().with_context(|| format!("its cluster has no {key}"));
    let authority = STANDARD.decode(text("certificate-authority-data")?).context("decode its authority")?;
    Ok(Found {
        server: text("server")?.to_owned(),
        authority: String::from_utf8(authority).context("decode its authority")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(vec!["kubernetes".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    }

    fn token() -> Token {
        "abcdef.0123456789abcdef".parse().unwrap()
    }

    /// As kubeadm writes it.
    fn data(certificate: &str) -> Data {
        let content = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: https://192.0.2.1:6443\n  \
             name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
            STANDARD.encode(certificate)
        );
        let signed = signature(&content, &token()).unwrap();
        [(CLUSTER_INFO_CONTENT.to_owned(), content), (format!("{SIGNATURE_PREFIX}abcdef"), signed)].into()
    }

    #[test]
    fn a_signed_cluster_of_the_right_authority_is_believed() {
        let certificate = certificate();
        let pins = [Pin::of(&self::certificate()).unwrap(), Pin::of(&certificate).unwrap()];
        let found = believe(&data(&certificate), &token(), &pins).unwrap();
        assert_eq!(found, Found { server: "https://192.0.2.1:6443".into(), authority: certificate });
    }

    #[test]
    fn what_cannot_be_believed_is_said() {
        let certificate = certificate();
        let pins = [Pin::of(&certificate).unwrap()];
        let data = data(&certificate);
        let why = |data: &Data, token: &Token, pins: &[Pin]| format!("{:#}", believe(data, token, pins).unwrap_err());
        let other: Token = "abcdef.0123456789abcdee".parse().unwrap();
        assert!(why(&data, &other, &pins).contains("not signed with this token"));
        let mut changed = data.clone();
        changed
            .entry(CLUSTER_INFO_CONTENT.to_owned())
            .and_modify(|text| *text = text.replace("192.0.2.1", "192.0.2.6"));
        assert!(why(&changed, &token(), &pins).contains("not signed with this token"));
        assert!(why(&data, &token(), &[Pin::of(&self::certificate()).unwrap()]).contains("none of those given"));
        assert!(why(&Data::new(), &token(), &pins).contains("no kubeconfig"));
    }
}
