//! What a server offers when it is told what it may offer (`--tls-cipher-suites`, `tlsCurvePreferences`).

use std::sync::Arc;

use rustls::{SupportedCipherSuite, crypto::CryptoProvider};

use super::Error;

/// Go's names of cipher suites (`crypto/tls`), secure and insecure ones of both generations, and the two names of drafts
/// that Kubernetes takes beside them.
const NAMES: [&str; 27] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// The cryptography of a server that must offer no other cipher suites of TLS 1.2 than `suites`, by Go's names, and no
/// other groups than `groups`, by their numbers; an empty list restricts nothing. Those of TLS 1.3 are not to be chosen,
/// as in Go: they are offered whatever is named, alone where no other that is named is there. What is known but not
/// there is logged.
///
/// # Errors
/// A name that is none, and groups of which nothing is left.
pub fn restricted(suites: &[String], groups: &[u16]) -> Result<Arc<CryptoProvider>, Error> {
    let mut provider = super::cryptography();
    let failed = |what: &str, problem: String| Error::Unusable { what: what.to_owned(), problem };
    if let Some(name) = suites.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(failed("TLS cipher suites", format!("Cipher suite {name} not supported or doesn't exist")));
    }
    if !suites.is_empty() {
        for name in suites.iter().filter(|name| !provider.cipher_suites.iter().any(|suite| is_of(*suite, name))) {
            tracing::warn!(name, "a cipher suite is not offered: this server does not have it");
        }
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || suites.iter().any(|name| is_of(*suite, name)));
    }
    if !groups.is_empty() {
        provider.kx_groups.retain(|group| groups.contains(&u16::from(group.name())));
        if provider.kx_groups.is_empty() {
            return Err(failed("TLS curve preferences", format!("none of {groups:?} is offered here")));
        }
    }
    Ok(Arc::new(provider))
}

/// Is it the suite of this name of Go's?
fn is_of(suite: SupportedCipherSuite, name: &str) -> bool {
    let known = suite.suite();
    let own = known.as_str().unwrap_or_default();
    match own.strip_prefix("TLS13_") {
        Some(own) => name.strip_prefix("TLS_") == Some(own),
        None => own == name || own.strip_suffix("_SHA256").is_some_and(|own| own == name && own.ends_with("POLY1305")),
    }
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
    assert_eq!(suites(&["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"]).unwrap(), 0, "TLS 1.3 is left");
    assert_eq!(suites(&["TLS_RSA_WITH_AES_128_GCM_SHA256"]).unwrap(), 0);
    for name in ["ECDHE", "TLS_ECDHE_RSA_WITH_AES_128_GCM", "TLS13_AES_128_GCM_SHA256"] {
        let unknown = suites(&[name]).unwrap_err().to_string();
        assert!(unknown.ends_with(&format!("Cipher suite {name} not supported or doesn't exist")), "{unknown}");
    }
    let all = rustls::crypto::ring::default_provider().cipher_suites;
    assert!(all.iter().all(|suite| NAMES.iter().any(|name| is_of(*suite, name))), "each has a name of Go's");
    assert_eq!(restricted(&[], &[29, 4588]).unwrap().kx_groups.len(), 1);
    assert!(restricted(&[], &[4588]).is_err());
}
