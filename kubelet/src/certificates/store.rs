//! Certificates on disk, as upstream lays them out (`client-go/util/certificate/certificate_store.go`): each with its key
//! in `kubelet-client-<time>.pem`, and the link `kubelet-client-current.pem` to the one in use. Blocking.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use component::random::Random;
use jiff::Timestamp;
use rcgen::KeyPair;
use x509_parser::pem::Pem;

use super::{Error, Purpose, write};

/// A certificate with its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// From when to when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    from: Timestamp,
    to: Timestamp,
    /// A stand-in that nobody vouches for.
    is_self_signed: bool,
}

impl Life {
    /// Between 70 % and 90 % of the life, so that a fleet does not ask at once; a stand-in is due at once.
    pub(super) fn renew_at(self, random: &Random) -> Timestamp {
        if self.is_self_signed {
            return self.from;
        }
        let life = Duration::try_from(self.to.duration_since(self.from)).unwrap_or_default();
        self.from.checked_add(life.mul_f64(0.7 + 0.2 * random.f64())).unwrap_or(self.to)
    }
}

fn prefix(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Client => "kubelet-client",
        Purpose::Serving => "kubelet-server",
    }
}

pub(super) fn current_path(folder: &Path, purpose: Purpose) -> PathBuf {
    folder.join(format!("{}-current.pem", prefix(purpose)))
}

/// The life of the certificate in use; None where there is none that holds now.
pub(super) fn current(folder: &Path, purpose: Purpose, now: Timestamp) -> Option<Life> {
    let life = life(&fs::read(current_path(folder, purpose)).ok()?)?;
    (now < life.to).then_some(life)
}

fn life(pem: &[u8]) -> Option<Life> {
    let found = Pem::iter_from_buffer(pem).flatten().find(|block| block.label == "CERTIFICATE")?;
    let certificate = found.parse_x509().ok()?;
    let validity = certificate.validity();
    let time = |at: &x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).ok();
    Some(Life {
        from: time(&validity.not_before)?,
        to: time(&validity.not_after)?,
        is_self_signed: certificate.issuer() == certificate.subject(),
    })
}

/// Makes the pair the one in use. Answers the link's path.
pub(super) fn put(folder: &Path, purpose: Purpose, pair: &Pair, now: Timestamp) -> Result<PathBuf, Error> {
    let current = current_path(folder, purpose);
    let put = || -> io::Result<()> {
        let name = format!("{}-{}.pem", prefix(purpose), now.strftime("%Y-%m-%d-%H-%M-%S"));
        write(&folder.join(&name), &format!("{}{}", pair.certificate_pem, pair.key_pem))?;
        let next = folder.join(format!("{}-updated.pem", prefix(purpose)));
        let _ = fs::remove_file(&next);
        symlink(folder.join(name), &next)?;
        // Whoever reads meanwhile finds the old pair or the new one.
        fs::rename(next, &current)
    };
    put().map_err(|source| Error::Store { path: current.clone(), source })?;
    Ok(current)
}

fn pending_path(folder: &Path, purpose: Purpose) -> PathBuf {
    folder.join(format!("{}.key.tmp", prefix(purpose)))
}

/// The key of a request that is not answered yet, made where there is none.
pub(super) fn pending_key(folder: &Path, purpose: Purpose) -> Result<KeyPair, Error> {
    let path = pending_path(folder, purpose);
    if let Some(key) = fs::read_to_string(&path).ok().and_then(|text| KeyPair::from_pem(&text).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate()?;
    write(&path, &key.serialize_pem()).map_err(|source| Error::Store { path, source })?;
    Ok(key)
}

pub(super) fn forget_pending_key(folder: &Path, purpose: Purpose) -> Result<(), Error> {
    let path = pending_path(folder, purpose);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Store { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_pair_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Timestamp::now();
        assert_eq!(current(folder.path(), Purpose::Client, now), None);
        let made = rcgen::generate_simple_self_signed(vec!["node-1".to_owned()]).expect("a certificate");
        let pair = Pair { certificate_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() };
        let path = put(folder.path(), Purpose::Client, &pair, now).expect("kept");
        assert_eq!(path, folder.path().join("kubelet-client-current.pem"));
        assert!(fs::read_to_string(&path).expect("reads").contains("PRIVATE KEY"));
        let life = current(folder.path(), Purpose::Client, now).expect("a life");
        assert!(life.is_self_signed && life.renew_at(&Random::seeded(1)) <= now, "a stand-in is replaced at once");
        let signed = Life { from: now, to: now + jiff::SignedDuration::from_hours(10), is_self_signed: false };
        let due = signed.renew_at(&Random::seeded(1)).duration_since(now).as_hours();
        assert!((7..9).contains(&due), "{due}");
        let key = pending_key(folder.path(), Purpose::Client).expect("a key").serialize_pem();
        assert_eq!(pending_key(folder.path(), Purpose::Client).expect("the key").serialize_pem(), key);
    }
}
