//! Certificates and keys from PEM, in memory or in files that somebody replaces.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::Instant;

use super::{Error, certified_key};

/// How often the files are looked at, at most.
const RECHECK: Duration = Duration::from_secs(5);

/// All certificates of a PEM text; `what` names it in errors.
pub fn certificates_from_pem(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        certificates.map_err(|error| Error::Unusable { what: what.to_owned(), problem: error.to_string() })?;
    match certificates.is_empty() {
        true => Err(Error::NoCertificate { what: what.to_owned() }),
        false => Ok(certificates),
    }
}

/// The first private key of a PEM text: PKCS#8, PKCS#1 or SEC1.
pub fn key_from_pem(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => Error::NoKey { what: what.to_owned() },
        error => Error::Unusable { what: what.to_owned(), problem: error.to_string() },
    })
}

/// A certificate that stays as it is.
#[derive(Debug)]
pub struct FixedKey(pub Arc<CertifiedKey>);

impl ResolvesServerCert for FixedKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl ResolvesClientCert for FixedKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A certificate from files, read again when they change. While they cannot be read or do not fit, the last good one
/// is presented.
#[derive(Debug)]
pub struct ReloadingKey {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    loaded: Arc<CertifiedKey>,
    stamp: Stamp,
    checked: Instant,
    generation: u64,
}

/// Tells that a file may have changed: modification time and length of both files.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl ReloadingKey {
    /// Reads the files for the first time; both paths may be the same file.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Arc<Self>, Error> {
        let (certificate, key) = (certificate.into(), key.into());
        let stamp = stamp(&certificate, &key);
        let loaded = read_pair(&certificate, &key)?;
        let current = Mutex::new(Current { loaded, stamp, checked: Instant::now(), generation: 0 });
        Ok(Arc::new(Self { certificate, key, current }))
    }

    /// The certificate as the files have it now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.refreshed().0
    }

    /// Changes each time another certificate was read.
    pub fn generation(&self) -> u64 {
        self.refreshed().1
    }

    fn refreshed(&self) -> (Arc<CertifiedKey>, u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.checked.elapsed() >= RECHECK {
            current.checked = Instant::now();
            let stamp = stamp(&self.certificate, &self.key);
            if stamp != current.stamp {
                self.reload(&mut current, stamp);
            }
        }
        (current.loaded.clone(), current.generation)
    }

    fn reload(&self, current: &mut Current, stamp: Stamp) {
        match read_pair(&self.certificate, &self.key) {
            Ok(loaded) => {
                current.generation += u64::from(loaded.cert != current.loaded.cert);
                (current.loaded, current.stamp) = (loaded, stamp);
                tracing::info!(file = %self.certificate.display(), "read changed certificate");
            }
            Err(error) => tracing::warn!(%error, "keeping the last certificate"),
        }
    }
}

impl ResolvesServerCert for ReloadingKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for ReloadingKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A bundle of certificates from a file, read again when it changes. While it cannot be read, the last good one counts.
#[derive(Debug)]
pub struct ReloadingBundle {
    path: PathBuf,
    current: Mutex<Bundle>,
}

#[derive(Debug)]
struct Bundle {
    certificates: Arc<[CertificateDer<'static>]>,
    stamp: Stamp,
    checked: Instant,
}

impl ReloadingBundle {
    /// Reads the file for the first time.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let stamp = stamp(&path, &path);
        let certificates = read_bundle(&path)?;
        Ok(Self { path, current: Mutex::new(Bundle { certificates, stamp, checked: Instant::now() }) })
    }

    /// The certificates as the file has them now.
    pub fn current(&self) -> Arc<[CertificateDer<'static>]> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.checked.elapsed() >= RECHECK {
            current.checked = Instant::now();
            let stamp = stamp(&self.path, &self.path);
            if stamp != current.stamp {
                match read_bundle(&self.path) {
                    Ok(certificates) => (current.certificates, current.stamp) = (certificates, stamp),
                    Err(error) => tracing::warn!(%error, "keeping the last certificate bundle"),
                }
            }
        }
        current.certificates.clone()
    }
}

fn read_bundle(path: &Path) -> Result<Arc<[CertificateDer<'static>]>, Error> {
    Ok(certificates_from_pem(&read(path)?, &path.display().to_string())?.into())
}

fn read_pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates_from_pem(&read(certificate)?, &certificate.display().to_string())?;
    let secret = key_from_pem(&read(key)?, &key.display().to_string())?;
    certified_key(chain, secret, &key.display().to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source: io::Error| Error::Read { path: path.display().to_string(), source })
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}
