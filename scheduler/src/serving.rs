//! The secure port: its certificate, and who may ask.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use component::client::{self, ClientConfig};
use component::clock::Clock;
use component::delegated::{self, Delegated};
use component::flags::Values;
use component::serve::{Endpoints, Gate};
use component::tls::{self, FixedKey, MinVersion, ReloadingKey};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::{Error, Options};

/// Health, metrics and configuration behind delegated authentication and authorization. The API server is asked with
/// the kubeconfigs that the flags name, else with the scheduler's own.
pub(crate) fn endpoints(options: &Options, own: &kube::Client, clock: Clock) -> Result<Endpoints, Error> {
    let values = &options.values;
    let named = values.opt_str("authentication-kubeconfig").or(values.opt_str("authorization-kubeconfig"));
    let asking = match named {
        Some(path) => client::connect(ClientConfig::from_kubeconfig("kube-scheduler", path))?,
        None => own.clone(),
    };
    let delegated = Delegated::new(Some(asking), delegated::Settings::from_flags(values), clock)?;
    let configz = serde_json::json!({ "componentconfig": options.configuration });
    Ok(Endpoints::new(Gate::Delegated(delegated)).with_configz(configz))
}

/// TLS with the certificate of the flags, or with one made up now.
pub(crate) fn tls(values: &Values, address: IpAddr) -> Result<Arc<ServerConfig>, Error> {
    let min_version: MinVersion = values.str("tls-min-version").parse().map_err(Error::Options)?;
    match (values.opt_str("tls-cert-file"), values.opt_str("tls-private-key-file")) {
        (Some(certificate), Some(key)) => {
            let key = ReloadingKey::load(PathBuf::from(certificate), PathBuf::from(key))?;
            Ok(Arc::new(tls::server_config(key, min_version)?))
        }
        (None, None) => Ok(Arc::new(tls::server_config(Arc::new(self_signed(address)?), min_version)?)),
        _ => Err(Error::Options("tls-cert-file and tls-private-key-file must be given together".to_owned())),
    }
}

fn self_signed(address: IpAddr) -> Result<FixedKey, Error> {
    let shown = if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), shown.to_string()]);
    let made = made.map_err(|error| Error::Certificate(error.to_string()))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let key = key.map_err(|error| Error::Certificate(error.to_owned()))?;
    Ok(FixedKey(tls::certified_key(vec![made.cert.der().clone()], key, "self-signed serving certificate")?))
}
