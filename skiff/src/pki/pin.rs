//! The hash by which a person tells a machine whose certificate authority to believe: kubeadm's, of the public key.

use std::fmt::Write as _;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::check::first_pem;

const PREFIX: &str = "sha256:";

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin([u8; 32]);

/// A text that is no such hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is of the form sha256:HEX, with 64 hexadecimal digits")]
pub(crate) struct Malformed;

impl Pin {
    /// That of the first certificate in a PEM text.
    pub(crate) fn of(certificate: &str) -> Result<Self> {
        let pem = first_pem(certificate).context("there is no certificate")?;
        let certificate = pem.parse_x509().context("read a certificate")?;
        Ok(Self(Sha256::digest(certificate.public_key().raw).into()))
    }
}

impl FromStr for Pin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let hex = text.strip_prefix(PREFIX).filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or(Malformed)?;
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).map_err(|_| Malformed)?;
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(PREFIX)?;
        let mut hex = String::new();
        self.0.iter().try_for_each(|byte| write!(hex, "{byte:02x}"))?;
        f.write_str(&hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_it_is_read() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
        for wrong in ["", "sha256:", "sha1:0a", &text[..70], &text.replace('a', "g"), &format!("{text}00")] {
            assert_eq!(wrong.parse::<Pin>(), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn the_key_is_what_counts_and_not_the_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str| {
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            Pin::of(&params.self_signed(&key).unwrap().pem()).unwrap()
        };
        assert_eq!(certificate("one"), certificate("two"));
        assert!(Pin::of("nothing").is_err());
    }
}
