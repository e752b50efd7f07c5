//! TLS of the secure port, and towards kubelets.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use component::flags::Values;
use component::tls::{self, FixedKey, MinVersion, ReloadingKey, Trust};
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, ServerConfig};

use crate::connect::kubelet::KubeletClient;
use crate::options::Options;
use crate::run::Error;

/// The certificate of the flags, or a self-signed one that is kept in `--cert-dir`.
pub fn server_config(options: &Options) -> Result<Arc<ServerConfig>, Error> {
    let values = &options.values;
    let version: MinVersion = values.str("tls-min-version").parse().map_err(Error::Options)?;
    let authorities = client_authorities(values)?;
    let config = |key: Arc<dyn ResolvesServerCert>| -> Result<_, Error> {
        Ok(Arc::new(tls::server_config_with(tls::provider(), key, version, &authorities)?))
    };
    match (values.opt_str("tls-cert-file"), values.opt_str("tls-private-key-file")) {
        (Some(certificate), Some(key)) => {
            let key = ReloadingKey::load(PathBuf::from(certificate), PathBuf::from(key))?;
            config(key)
        }
        (None, None) => config(Arc::new(self_made(options)?)),
        _ => Err(Error::Options("--tls-cert-file and --tls-private-key-file must be given together".to_owned())),
    }
}

/// Those of clients and those of front proxies. Both files are read once, here as where certificates are judged.
fn client_authorities(values: &Values) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut authorities = Vec::new();
    for path in ["client-ca-file", "requestheader-client-ca-file"].iter().filter_map(|flag| values.opt_str(flag)) {
        let pem = std::fs::read(path).map_err(|error| Error::Options(format!("reading {path}: {error}")))?;
        authorities.extend(tls::certificates_from_pem(&pem, path)?);
    }
    Ok(authorities)
}

/// Upstream's file names, so that a restart keeps the certificate that clients have pinned.
fn self_made(options: &Options) -> Result<FixedKey, Error> {
    let folder = Path::new(options.values.str("cert-dir"));
    let (certificate_path, key_path) = (folder.join("apiserver.crt"), folder.join("apiserver.key"));
    let read = |path: &Path| std::fs::read(path);
    if let (Ok(certificate), Ok(key)) = (read(&certificate_path), read(&key_path)) {
        let chain = tls::certificates_from_pem(&certificate, &certificate_path.display().to_string())?;
        let key = tls::key_from_pem(&key, &key_path.display().to_string())?;
        return Ok(FixedKey(tls::certified_key(chain, key, "serving certificate")?));
    }
    let made = tls::self_signed(names(options))?;
    let written = std::fs::create_dir_all(folder).and_then(|()| made.write(&certificate_path, &key_path));
    written.map_err(|error| Error::Certificate(format!("keeping it in {}: {error}", folder.display())))?;
    Ok(made.key)
}

fn names(options: &Options) -> Vec<String> {
    let mut names: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(options.advertise.to_string());
    names.extend(options.ranges.kubernetes_address().as_ref().map(IpAddr::to_string));
    names.dedup();
    names
}

/// Who the server is towards extension servers.
pub fn proxy_identity(values: &Values) -> Result<Option<Arc<dyn rustls::client::ResolvesClientCert>>, Error> {
    match (values.opt_str("proxy-client-cert-file"), values.opt_str("proxy-client-key-file")) {
        (Some(certificate), Some(key)) => Ok(Some(ReloadingKey::load(PathBuf::from(certificate), PathBuf::from(key))?)),
        (None, None) => Ok(None),
        _ => Err(Error::Options(
            "--proxy-client-cert-file and --proxy-client-key-file must be given together".to_owned(),
        )),
    }
}

/// How the server speaks to kubelets: with its own certificate, and judging theirs only when told by whom they are
/// signed, as upstream does.
pub fn kubelet_client(values: &Values) -> Result<KubeletClient, Error> {
    let trust = match values.opt_str("kubelet-certificate-authority") {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| Error::Options(format!("reading {path}: {error}")))?;
            Trust::Authorities(tls::certificates_from_pem(&pem, path)?)
        }
        None => Trust::Anyone,
    };
    let certificate = match (values.opt_str("kubelet-client-certificate"), values.opt_str("kubelet-client-key")) {
        (Some(certificate), Some(key)) => Some(ReloadingKey::load(PathBuf::from(certificate), PathBuf::from(key))?
            as Arc<dyn rustls::client::ResolvesClientCert>),
        _ => None,
    };
    let config = |trust: &Trust| -> Result<Arc<ClientConfig>, Error> {
        let mut config = tls::client_config(trust, certificate.clone())?;
        // Streams are upgraded, which HTTP/2 cannot do.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    };
    Ok(KubeletClient {
        tls: config(&trust)?,
        tls_with_anyone: config(&Trust::Anyone)?,
        address_types: values.strings("kubelet-preferred-address-types"),
    })
}
