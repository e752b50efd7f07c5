//! Signs approved requests with the cluster's authorities.
//!
//! Enter by [`run`]. The authority's files are read for each signature: they may have been renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::flags::Values;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use component::tls::key_from_pem;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use kube::Api;
use kube::api::PostParams;
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose as Extended, IsCa, Issuer, KeyPair,
    KeyUsagePurpose as Plain,
};
use rustls::pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer;

use super::{
    APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN, has_condition, is_issued, key, request,
};
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::time as stamp;

/// Clocks differ; so much before now a certificate is already valid.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// Certificates that are valid for less are not shortened by the backdating.
const SHORT: Duration = Duration::from_secs(8 * 3600);
const SHORTEST: Duration = Duration::from_secs(10 * 60);

/// What the flags say: the signers that have an authority, with its files.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    signers: Vec<(&'static str, PathBuf, PathBuf)>,
    longest: Duration,
}

impl Settings {
    /// None when there is nothing to sign with.
    pub(crate) fn from_flags(values: &Values) -> Result<Option<Self>, String> {
        let all = (values.opt_str("cluster-signing-cert-file"), values.opt_str("cluster-signing-key-file"));
        let names = [
            (KUBELET_SERVING, "kubelet-serving"),
            (KUBELET_CLIENT, "kubelet-client"),
            (APISERVER_CLIENT, "kube-apiserver-client"),
            (LEGACY_UNKNOWN, "legacy-unknown"),
        ];
        let mut signers = Vec::new();
        for (signer, name) in names {
            let (certificate, key) =
                (format!("cluster-signing-{name}-cert-file"), format!("cluster-signing-{name}-key-file"));
            let own = (values.opt_str(&certificate), values.opt_str(&key));
            let files = match (own, all) {
                ((None, None), all) => all,
                (own, (None, None)) => own,
                _ => {
                    return Err(format!(
                        "cannot specify --cluster-signing-{{cert,key}}-file and other --cluster-signing-*-file flags at the same time (--{certificate})"
                    ));
                }
            };
            match files {
                (Some(certificate), Some(key)) => signers.push((signer, certificate.into(), key.into())),
                (None, None) => {}
                _ => return Err(format!("--{certificate} and --{key} must be given together")),
            }
        }
        let longest = values.duration("cluster-signing-duration");
        Ok((!signers.is_empty()).then_some(Settings { signers, longest }))
    }
}

struct Controller {
    ctx: Context,
    settings: Settings,
    requests: Informer<CertificateSigningRequest>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, settings: Settings) {
    let controller = Arc::new(Controller { requests: ctx.informers.of(), ctx, settings });
    let queue = Queue::new("certificate");
    let events = queue.clone();
    controller.requests.on_event(move |event| events.add(Key::of(&**event.object())));
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(controller.requests.synced()).await.is_some() {
        queue::run(queue, 1, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(csr) = self.requests.get_key(&key) else { return Ok(()) };
        let wanted =
            has_condition(&csr, "Approved") && !has_condition(&csr, "Denied") && !has_condition(&csr, "Failed");
        let mut signers = self.settings.signers.iter();
        let Some((signer, certificate, secret)) = signers.find(|s| s.0 == csr.spec.signer_name) else { return Ok(()) };
        if !wanted || is_issued(&csr) {
            return Ok(());
        }
        let now = self.ctx.clock.now();
        let usages = csr.spec.usages.clone().unwrap_or_default();
        let der = request::der(&csr.spec.request.0);
        let der = match der.and_then(|der| request::check(signer, &request::parse(&der)?, &usages).map(|()| der)) {
            Ok(der) => der,
            Err(why) => return wait_for_event(self.refuse(&key, &csr, why, now).await),
        };
        let validity = validity(csr.spec.expiration_seconds, self.settings.longest);
        let signed = sign(&der, &usages, validity, certificate, secret, now);
        let pem = signed.map_err(|e| Error::refused("sign certificate signing request", &key, e))?;
        let mut issued = (*csr).clone();
        issued.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
        wait_for_event(self.write(&key, &issued).await)
    }

    async fn refuse(
        &self,
        key: &Key,
        csr: &CertificateSigningRequest,
        why: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut failed = csr.clone();
        let condition = CertificateSigningRequestCondition {
            type_: "Failed".into(),
            status: "True".into(),
            reason: Some("SignerValidationFailure".into()),
            message: Some(why),
            last_update_time: Some(stamp(now)),
            last_transition_time: Some(stamp(now)),
        };
        failed.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
        self.write(key, &failed).await
    }

    async fn write(&self, key: &Key, csr: &CertificateSigningRequest) -> Result<(), Error> {
        let api = Api::<CertificateSigningRequest>::all(self.ctx.client.clone());
        let written = api.replace_status(&key.name, &PostParams::default(), csr).await;
        written.map(drop).doing("update status of certificate signing request", key)
    }
}

fn validity(asked_seconds: Option<i32>, longest: Duration) -> Duration {
    let asked = asked_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
    asked.map_or(longest, |asked| asked.max(SHORTEST).min(longest))
}

/// The certificate as PEM. It never outlives its authority.
pub(super) fn sign(
    der: &[u8],
    usages: &[String],
    validity: Duration,
    certificate: &Path,
    secret: &Path,
    now: Timestamp,
) -> Result<String, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("reading {}: {e}", path.display()));
    let (authority, secret_pem) = (read(certificate)?, read(secret)?);
    let secret_der = key_from_pem(&secret_pem, &secret.display().to_string()).map_err(|e| e.to_string())?;
    let secret_der = PrivatePkcs8KeyDer::from(key::pkcs8(&secret_der)?);
    let key = KeyPair::try_from(&secret_der).map_err(|e| format!("{}: {e}", secret.display()))?;
    let (_, block) =
        x509_parser::pem::parse_x509_pem(&authority).map_err(|e| format!("{}: {e}", certificate.display()))?;
    let (_, parsed) =
        x509_parser::certificate::X509Certificate::from_der(&block.contents).map_err(|e| e.to_string())?;
    let authority_ends = parsed.validity().not_after.timestamp();
    if now.as_second() >= authority_ends {
        return Err("refusing to sign a certificate that expired in the past".into());
    }
    let issuer = Issuer::from_ca_cert_der(&block.contents.as_slice().into(), key).map_err(|e| e.to_string())?;
    let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der.to_vec()))
        .map_err(|e| e.to_string())?;
    let backdate = BACKDATE.as_secs() as i64;
    let shortened = if validity < SHORT { 0 } else { backdate };
    let ends = now.as_second().saturating_add_unsigned(validity.as_secs()) - shortened;
    let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).map_err(|e| e.to_string());
    request.params.not_before = at(now.as_second() - backdate)?;
    request.params.not_after = at(ends.min(authority_ends))?;
    request.params.is_ca = IsCa::ExplicitNoCa;
    request.params.use_authority_key_identifier_extension = true;
    (request.params.key_usages, request.params.extended_key_usages) = purposes(usages)?;
    Ok(request.signed_by(&issuer).map_err(|e| e.to_string())?.pem())
}

fn purposes(usages: &[String]) -> Result<(Vec<Plain>, Vec<Extended>), String> {
    let (mut plain, mut extended) = (Vec::new(), Vec::new());
    for usage in usages {
        match usage.as_str() {
            "signing" | "digital signature" => plain.push(Plain::DigitalSignature),
            "content commitment" => plain.push(Plain::ContentCommitment),
            "key encipherment" => plain.push(Plain::KeyEncipherment),
            "data encipherment" => plain.push(Plain::DataEncipherment),
            "key agreement" => plain.push(Plain::KeyAgreement),
            "cert sign" => plain.push(Plain::KeyCertSign),
            "crl sign" => plain.push(Plain::CrlSign),
            "encipher only" => plain.push(Plain::EncipherOnly),
            "decipher only" => plain.push(Plain::DecipherOnly),
            "any" => extended.push(Extended::Any),
            "server auth" => extended.push(Extended::ServerAuth),
            "client auth" => extended.push(Extended::ClientAuth),
            "code signing" => extended.push(Extended::CodeSigning),
            "email protection" | "s/mime" => extended.push(Extended::EmailProtection),
            "timestamping" => extended.push(Extended::TimeStamping),
            "ocsp signing" => extended.push(Extended::OcspSigning),
            other => return Err(format!("unrecognized usage value: {other:?}")),
        }
    }
    plain.dedup();
    extended.dedup();
    Ok((plain, extended))
}
