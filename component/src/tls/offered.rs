//! What a server offers when it is told what it may offer (`--tls-cipher-suites`, `tlsCurvePreferences`).

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::Error;

/// The cryptography of a server that must offer no other cipher suites of TLS 1.2 than `suites`, by Go's names, and no
/// other groups than `groups`, by their numbers; an empty list restricts nothing. Those of TLS 1.3 are not to be chosen,
/// as in Go.
///
/// # Errors
/// A name that is none, and lists of which nothing is left.
pub fn restricted(suites: &[String], groups: &[u16]) -> Result<Arc<CryptoProvider>, Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    let failed = |what: &str, problem: String| Error::Unusable { what: what.to_owned(), problem };
    if let Some(name) = suites.iter().find(|name| !name.starts_with("TLS_")) {
        return Err(failed("TLS cipher suites", format!("Cipher suite {name} not supported or doesn't exist")));
    }
    if !suites.is_empty() {
        // Go also knows these two by the names of their drafts.
        let is_named = |suite: &str| suites.iter().any(|it| it == suite || format!("{it}_SHA256") == suite);
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || suite.suite().as_str().is_some_and(is_named));
        if provider.cipher_suites.iter().all(|suite| suite.tls13().is_some()) {
            return Err(failed("TLS cipher suites", format!("none of {} is offered here", suites.join(", "))));
        }
    }
    if !groups.is_empty() {
        provider.kx_groups.retain(|group| groups.contains(&u16::from(group.name())));
        if provider.kx_groups.is_empty() {
            return Err(failed("TLS curve preferences", format!("none of {groups:?} is offered here")));
        }
    }
    Ok(Arc::new(provider))
}

#[test]
fn only_what_was_named_is_offered() {
    let suites = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        restricted(&names, &[]).map(|it| it.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count())
    };
    assert_eq!(suites(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"]).unwrap(), 1);
    assert_eq!(suites(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).unwrap(), 1);
    assert!(suites(&[]).unwrap() > 2);
    assert!(suites(&["TLS_RSA_WITH_AES_128_GCM_SHA256"]).is_err());
    let unknown = suites(&["ECDHE"]).unwrap_err().to_string();
    assert!(unknown.ends_with("Cipher suite ECDHE not supported or doesn't exist"), "{unknown}");
    assert_eq!(restricted(&[], &[29, 4588]).unwrap().kx_groups.len(), 1);
    assert!(restricted(&[], &[4588]).is_err());
}
