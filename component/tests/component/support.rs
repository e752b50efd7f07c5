//! What several tests need.

use std::{sync::Arc, time::Duration};

use component::{
    clock::Clock, context::Context, random::Random, recorder::Source, shutdown::Shutdown, testing::FakeApi, tls,
};
use k8s_openapi::api::core::v1::ConfigMap;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::sign::CertifiedKey;
use serde_json::json;

pub(crate) const START: &str = "2026-01-01T00:00:00Z";

/// Fails a test that waits for something that does not come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

pub(crate) fn config_map(namespace: &str, name: &str, value: &str) -> ConfigMap {
    let labels = json!({"app": name});
    let object = json!({"metadata": {"namespace": namespace, "name": name, "labels": labels}, "data": {"k": value}});
    serde_json::from_value(object).unwrap()
}

pub(crate) fn context(fake: &FakeApi, seed: u64) -> Context {
    let clock = Clock::simulated(START.parse().unwrap());
    let source = Source::new("test-component").on_host("node-1");
    Context::with(fake.client(), source, clock, Random::seeded(seed), Shutdown::new())
}

/// An authority made for one test.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a user or, with `names`, for a server.
    pub(crate) fn issue(&self, user: &str, group: &str, names: &[&str]) -> Pair {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        let chain = tls::certificates_from_pem(self.certificate.as_bytes(), "test").unwrap();
        tls::certified_key(chain, tls::key_from_pem(self.key.as_bytes(), "test").unwrap(), "test").unwrap()
    }

    /// The self-signed version 1 certificate that `openssl x509 -new` makes.
    pub(crate) fn version_1() -> Self {
        Self {
            certificate: include_str!("fixtures/v1.crt").to_owned(),
            key: include_str!("fixtures/v1.key").to_owned(),
        }
    }
}
