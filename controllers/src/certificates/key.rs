//! Private keys of authorities, in the one form that signing takes.
//!
//! Pure. kubeadm writes PKCS#1, openssl PKCS#8 or SEC 1; rcgen over ring reads PKCS#8 only, so the others are wrapped.

use rustls::pki_types::PrivateKeyDer;

const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
const P384: &[u8] =
    &[0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

pub(super) fn pkcs8(key: &PrivateKeyDer<'_>) -> Result<Vec<u8>, String> {
    match key {
        PrivateKeyDer::Pkcs8(key) => Ok(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Pkcs1(key) => Ok(wrap(RSA, key.secret_pkcs1_der())),
        PrivateKeyDer::Sec1(key) => {
            let der = key.secret_sec1_der();
            // The version, then the number itself, whose length tells the curve.
            let number = der.windows(5).find_map(|w| (w[..4] == [0x02, 0x01, 0x01, 0x04]).then_some(w[4]));
            match number {
                Some(32) => Ok(wrap(P256, der)),
                Some(48) => Ok(wrap(P384, der)),
                _ => Err("only the curves P-256 and P-384 are known".into()),
            }
        }
        _ => Err("unknown kind of private key".into()),
    }
}

/// RFC 5208: version, algorithm, key.
fn wrap(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let version = [0x02, 0x01, 0x00];
    tlv(0x30, &[&version, algorithm, &tlv(0x04, key)].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1)..];
    let mut der = vec![tag];
    if length < 0x80 {
        der.push(length as u8);
    } else {
        der.push(0x80 | significant.len() as u8);
        der.extend(significant);
    }
    der.extend(content);
    der
}
