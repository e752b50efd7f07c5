//! The serving certificate: the given files, or a self-signed pair that is made once in `--cert-dir`.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use component::{client, tls};

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unable to generate self signed cert: {0}")]
    Generate(#[from] rcgen::Error),
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
    let made = rcgen::generate_simple_self_signed(names)?;
    write(cert_dir, &key, &made.signing_key.serialize_pem())?;
    write(cert_dir, &certificate, &made.cert.pem())?;
    Ok((certificate, key))
}

fn write(folder: &Path, path: &Path, text: &str) -> Result<(), Error> {
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}
