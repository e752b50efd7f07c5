//! What a signing request asks for, as its PEM says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// A signing request in PEM, in base64.
pub fn check(encoded: &str) -> Result<(), String> {
    let block = pem(encoded)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| error.to_string())
}

fn pem(encoded: &str) -> Result<x509_parser::pem::Pem, String> {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let block = x509_parser::pem::Pem::iter_from_buffer(&bytes).next().and_then(Result::ok);
    let block = block.filter(|block| block.label == "CERTIFICATE REQUEST");
    block.ok_or_else(|| "PEM block type must be CERTIFICATE REQUEST".to_owned())
}

/// The organizations (that is, groups) that a signing request asks for.
pub fn organizations(encoded: &str) -> Result<Vec<String>, String> {
    let block = pem(encoded)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let names = request.certification_request_info.subject.iter_organization();
    // One that cannot be read here may be read by whoever is shown the certificate.
    names.map(|name| name.as_str().map(str::to_owned).map_err(|error| error.to_string())).collect()
}

/// The name that a signing request asks for.
pub fn common_name(encoded: &str) -> Result<String, String> {
    let block = pem(encoded)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let name = request.certification_request_info.subject.iter_common_name().last().and_then(|name| name.as_str().ok());
    Ok(name.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_are_read_or_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let of = |organization: rcgen::DnValue| {
            let mut asked = rcgen::CertificateParams::default();
            asked.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
            organizations(&STANDARD.encode(asked.serialize_request(&key).unwrap().pem().unwrap()))
        };
        assert_eq!(of(rcgen::DnValue::Utf8String("g".to_owned())), Ok(vec!["g".to_owned()]));
        assert!(of(rcgen::DnValue::BmpString("system:masters".try_into().unwrap())).is_err());
    }
}
