//! Keys of PEM files, for signing and verifying ServiceAccount tokens.
//!
//! RSA and P-256, in the forms that openssl and upstream's tools write: PKCS#8, PKCS#1, SEC1, SPKI, or a certificate.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use p256::pkcs8::EncodePublicKey as _;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use x509_parser::pem::Pem;

/// A public key with its SPKI DER form, by whose hash tokens name it.
pub struct Public {
    pub key: DecodingKey,
    pub der: Vec<u8>,
    /// The parameters of a JSON Web Key (RFC 7518, section 6).
    pub parameters: Value,
}

/// A private key of either kind.
enum Private {
    Rsa(Box<rsa::RsaPrivateKey>),
    P256(Box<p256::SecretKey>),
}

/// The first private key of a PEM file, and its public half.
pub fn signing(pem: &[u8]) -> Result<(EncodingKey, Algorithm, Public), String> {
    let text = std::str::from_utf8(pem).map_err(|error| error.to_string())?;
    let private = private(text).ok_or("the file holds no RSA or P-256 private key")?;
    let public = private.public()?;
    match private {
        Private::Rsa(key) => {
            use rsa::pkcs1::EncodeRsaPrivateKey;
            let der = key.to_pkcs1_der().map_err(|error| error.to_string())?;
            Ok((EncodingKey::from_rsa_der(der.as_bytes()), Algorithm::RS256, public))
        }
        Private::P256(key) => {
            let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
            Ok((EncodingKey::from_ec_der(der.as_bytes()), Algorithm::ES256, public))
        }
    }
}

/// Every key of a PEM file that can verify: public keys, private keys, certificates.
pub fn verifying(pem: &[u8]) -> Result<Vec<(Public, Algorithm)>, String> {
    let text = std::str::from_utf8(pem).map_err(|error| error.to_string())?;
    if let Some(private) = private(text) {
        let algorithm = private.algorithm();
        return Ok(vec![(private.public()?, algorithm)]);
    }
    let mut keys = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| error.to_string())?;
        keys.extend(public_of_block(&block)?);
    }
    if keys.is_empty() { Err("the file holds no key that can verify tokens".to_owned()) } else { Ok(keys) }
}

fn private(text: &str) -> Option<Private> {
    if let Ok(key) =
        rsa::RsaPrivateKey::from_pkcs8_pem(text).or_else(|_| rsa::RsaPrivateKey::from_pkcs1_pem(text).map_err(|_| ()))
    {
        return Some(Private::Rsa(Box::new(key)));
    }
    let key = p256::SecretKey::from_pkcs8_pem(text).ok().or_else(|| p256::SecretKey::from_sec1_pem(text).ok());
    key.map(|key| Private::P256(Box::new(key)))
}

impl Private {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
        }
    }

    fn public(&self) -> Result<Public, String> {
        match self {
            Self::Rsa(key) => rsa_public(&key.to_public_key()),
            Self::P256(key) => p256_public(&key.public_key()),
        }
    }
}

fn public_of_block(block: &Pem) -> Result<Option<(Public, Algorithm)>, String> {
    let der: Vec<u8> = match block.label.as_str() {
        "PUBLIC KEY" => block.contents.clone(),
        "CERTIFICATE" => block.parse_x509().map_err(|error| error.to_string())?.public_key().raw.to_vec(),
        _ => return Ok(None),
    };
    if let Ok(key) = rsa::RsaPublicKey::from_public_key_der(&der) {
        return Ok(Some((rsa_public(&key)?, Algorithm::RS256)));
    }
    let key =
        p256::PublicKey::from_public_key_der(&der).map_err(|_| "a public key is neither RSA nor P-256".to_owned())?;
    Ok(Some((p256_public(&key)?, Algorithm::ES256)))
}

fn rsa_public(key: &rsa::RsaPublicKey) -> Result<Public, String> {
    use rsa::pkcs1::EncodeRsaPublicKey;
    let pkcs1 = key.to_pkcs1_der().map_err(|error| error.to_string())?;
    let spki = key.to_public_key_der().map_err(|error| error.to_string())?;
    let number = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
    let parameters = json!({"kty": "RSA", "n": number(key.n()), "e": number(key.e())});
    Ok(Public { key: DecodingKey::from_rsa_der(pkcs1.as_bytes()), der: spki.as_bytes().to_vec(), parameters })
}

fn p256_public(key: &p256::PublicKey) -> Result<Public, String> {
    let spki = key.to_public_key_der().map_err(|error| error.to_string())?;
    let point = key.to_sec1_bytes();
    // The point is uncompressed: a byte that says so, then both coordinates.
    let (x, y) = point.get(1..).and_then(|rest| rest.split_at_checked(32)).ok_or("a public key is no point")?;
    let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let parameters = json!({"kty": "EC", "crv": "P-256", "x": coordinate(x), "y": coordinate(y)});
    Ok(Public { key: DecodingKey::from_ec_der(&point), der: spki.as_bytes().to_vec(), parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p256_key_signs_what_its_public_half_verifies() {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let (signer, algorithm, public) = signing(pem.as_bytes()).unwrap();
        let claims = serde_json::json!({"sub": "a"});
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &signer).unwrap();
        let mut validation = jsonwebtoken::Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        let data = jsonwebtoken::decode::<serde_json::Value>(&token, &public.key, &validation).unwrap();
        assert_eq!(data.claims, claims);
        assert!(verifying(b"nothing").is_err());
    }
}
