//! One CertificateSigningRequest, from its making to its answer.

use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::{Error, Purpose, Settings};

/// What is asked for.
pub(super) struct Wish {
    pub(super) purpose: Purpose,
    node_name: String,
    names: Vec<String>,
}

impl Wish {
    pub(super) fn new(purpose: Purpose, settings: &Settings) -> Self {
        let names = match purpose {
            Purpose::Client => Vec::new(),
            Purpose::Serving => settings.names.clone(),
        };
        Self { purpose, node_name: settings.node_name.clone(), names }
    }

    fn signer(&self) -> &'static str {
        match self.purpose {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving => "kubernetes.io/kubelet-serving",
        }
    }

    /// Without key encipherment: the keys are elliptic.
    fn usages(&self) -> Vec<String> {
        let own = match self.purpose {
            Purpose::Client => "client auth",
            Purpose::Serving => "server auth",
        };
        vec!["digital signature".to_owned(), own.to_owned()]
    }

    fn pem(&self, key: &KeyPair) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, "system:nodes");
        subject.push(DnType::CommonName, format!("system:node:{}", self.node_name));
        params.distinguished_name = subject;
        params.serialize_request(key)?.pem()
    }

    /// The same for the same key, so that a request is found again.
    fn request_name(&self, key: &KeyPair) -> String {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in key.public_key_raw() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let kind = match self.purpose {
            Purpose::Client => "client",
            Purpose::Serving => "serving",
        };
        format!("node-csr-{kind}-{hash:016x}")
    }
}

/// Asks, and waits for the answer.
pub(super) async fn certificate(client: &Client, wish: &Wish, key: &KeyPair) -> Result<String, Error> {
    let name = wish.request_name(key);
    let failed = |problem: String| Error::Request { name: name.clone(), problem };
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(wish.pem(key)?.into_bytes()),
            signer_name: wish.signer().to_owned(),
            usages: Some(wish.usages()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    match api.create(&PostParams::default(), &request).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other.map_err(|error| failed(error.to_string()))?),
    }
    let mut changes = std::pin::pin!(watcher::watch_object(api, &name).default_backoff());
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(request)) => {
                if let Some(answer) = answer(&request) {
                    return answer.map_err(failed);
                }
            }
            Ok(None) => return Err(failed("it is gone".into())),
            Err(error) => tracing::debug!(%error, name, "watching a certificate request"),
        }
    }
    Err(failed("the watch ended".into()))
}

/// None while the request waits.
fn answer(request: &CertificateSigningRequest) -> Option<Result<String, String>> {
    let status = request.status.as_ref()?;
    let refused = status.conditions.iter().flatten().find(|it| matches!(it.type_.as_str(), "Denied" | "Failed"));
    if let Some(condition) = refused {
        let message = condition.message.as_deref().unwrap_or_default();
        return Some(Err(format!("it is {}: {message}", condition.type_.to_lowercase())));
    }
    let certificate = status.certificate.as_ref().filter(|it| !it.0.is_empty())?;
    Some(String::from_utf8(certificate.0.clone()).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn requests_are_the_nodes_and_found_again() {
        let settings = Settings { cert_dir: "/pki".into(), node_name: "n1".into(), names: vec!["192.0.2.1".into()] };
        let key = KeyPair::generate().expect("a key");
        let client = Wish::new(Purpose::Client, &settings);
        assert!(client.pem(&key).expect("a request").contains("CERTIFICATE REQUEST"));
        assert_eq!(client.request_name(&key), client.request_name(&key));
        let serving = Wish::new(Purpose::Serving, &settings);
        assert_ne!(client.request_name(&key), serving.request_name(&key));
        assert_eq!((serving.signer(), serving.names.len()), ("kubernetes.io/kubelet-serving", 1));
    }

    #[test]
    fn answers_are_read() {
        let request = |status: Value| -> CertificateSigningRequest {
            let spec = json!({"request": "", "signerName": "s"});
            serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).expect("a request")
        };
        assert_eq!(answer(&request(json!({}))), None);
        let denied = request(json!({"conditions": [{"type": "Denied", "status": "True", "message": "no"}]}));
        assert_eq!(answer(&denied), Some(Err("it is denied: no".to_owned())));
        assert_eq!(answer(&request(json!({"certificate": "UEVN"}))), Some(Ok("PEM".to_owned())));
    }
}
