//! The serving certificate: the given files, or a self-signed pair that is made once in `--cert-dir`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use component::{client, tls};

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// The two files: those given, else `kubelet.crt` and `kubelet.key` in `cert_dir`, made when missing.
///
/// # Errors
/// The certificate cannot be made or written.
pub fn files(given: (&str, &str), cert_dir: &Path, names: Vec<String>) -> Result<(PathBuf, PathBuf), Error> {
    if !given.0.is_empty() {
        return Ok((given.0.into(), given.1.into()));
    }
    let (certificate, key) = (cert_dir.join("kubelet.crt"), cert_dir.join("kubelet.key"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let made = tls::self_signed(names)?;
    let written = fs::create_dir_all(cert_dir).and_then(|()| made.write(&certificate, &key));
    written.map_err(|source| Error::Write { path: cert_dir.to_owned(), source })?;
    Ok((certificate, key))
}
