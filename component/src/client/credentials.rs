//! What a request is signed with: a client certificate on the connection, a token in a header.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use http::HeaderValue;
use rustls::client::ResolvesClientCert;
use tokio::time::Instant;

use super::{
    kubeconfig::{Identity, Pem},
    service_account::AskedToken,
};
use crate::tls::{self, FixedKey, ReloadingKey};

/// How long a token file's content is used before it is read again, as client-go's.
const TOKEN_FRESH: Duration = Duration::from_secs(60);

/// A client certificate that may be replaced.
#[derive(Clone)]
pub(super) enum Certificate {
    None,
    Fixed(Arc<FixedKey>),
    Files(Arc<ReloadingKey>),
}

impl Certificate {
    pub(super) fn load(identity: &Identity) -> Result<Self, tls::Error> {
        Ok(match &identity.certificate {
            None => Self::None,
            Some((Pem::File(certificate), Pem::File(key))) => Self::Files(ReloadingKey::load(certificate, key)?),
            Some((certificate, key)) => {
                let (pem, what) = certificate.read("client-certificate-data")?;
                let chain = tls::certificates_from_pem(&pem, &what)?;
                let (pem, what) = key.read("client-key-data")?;
                let key = tls::key_from_pem(&pem, &what)?;
                Self::Fixed(Arc::new(FixedKey(tls::certified_key(chain, key, &what)?)))
            }
        })
    }

    pub(super) fn resolver(&self) -> Option<Arc<dyn ResolvesClientCert>> {
        match self {
            Self::None => None,
            Self::Fixed(key) => Some(key.clone()),
            Self::Files(key) => Some(key.clone()),
        }
    }

    /// Changes with the certificate: a connection made under another generation is outdated.
    pub(super) fn generation(&self) -> u64 {
        match self {
            Self::None | Self::Fixed(_) => 0,
            Self::Files(key) => key.generation(),
        }
    }
}

/// The `Authorization` header.
pub(super) enum Header {
    None,
    Fixed(HeaderValue),
    File { path: PathBuf, last: Mutex<Option<(HeaderValue, Instant)>> },
    Asked(Box<AskedToken>),
}

impl Header {
    pub(super) fn load(identity: &Identity) -> Result<Self, tls::Error> {
        if let Some(path) = &identity.token_file {
            return Ok(Self::File { path: path.clone(), last: Mutex::new(None) });
        }
        let text = match (&identity.token, &identity.basic) {
            (Some(token), _) => format!("Bearer {}", token.trim()),
            (None, Some((name, password))) => format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}"))),
            (None, None) => return Ok(Self::None),
        };
        sensitive(&text).map(Self::Fixed)
    }

    /// The header as it is now. While a token file cannot be read, the last token is used.
    /// An error only of a token that has to be asked for.
    pub(super) async fn current(&self) -> Result<Option<HeaderValue>, kube::Error> {
        Ok(match self {
            Self::None => None,
            Self::Asked(token) => Some(token.current().await?),
            Self::Fixed(value) => Some(value.clone()),
            Self::File { path, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.as_ref().is_none_or(|(_, read)| read.elapsed() >= TOKEN_FRESH) {
                    match read_token(path) {
                        Ok(value) => *last = Some((value, Instant::now())),
                        Err(error) => tracing::warn!(%error, "keeping the last token"),
                    }
                }
                last.as_ref().map(|(value, _)| value.clone())
            }
        })
    }
}

fn read_token(path: &PathBuf) -> Result<HeaderValue, tls::Error> {
    let token = fs::read_to_string(path);
    let token = token.map_err(|source| tls::Error::Read { path: path.display().to_string(), source })?;
    sensitive(&format!("Bearer {}", token.trim()))
}

pub(super) fn sensitive(text: &str) -> Result<HeaderValue, tls::Error> {
    let unusable = |_| tls::Error::Unusable { what: "token".into(), problem: "not a header value".into() };
    let mut value = HeaderValue::from_str(text).map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}
