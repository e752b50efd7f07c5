//! Users from client certificates: the common name is the user, organizations are groups.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    x509::{AttributeTypeAndValue, X509Name},
};

use super::{User, known::Known};
use crate::tls;

/// The authorities whose client certificates are taken.
///
/// Unlike webpki this also takes version 1 certificates, and a self-signed authority shown as the client certificate
/// itself, as upstream does: `openssl x509 -new` makes such ones.
#[derive(Clone, Debug)]
pub struct ClientAuthority {
    authorities: Arc<[CertificateDer<'static>]>,
    known: Arc<Known>,
}

/// What a client's certificate came to.
#[derive(Clone, Debug)]
pub struct Judged {
    pub user: Option<User>,
    /// Its last second since the epoch; none of what is no certificate.
    pub ends: Option<i64>,
}

impl ClientAuthority {
    pub fn new(authorities: impl Into<Arc<[CertificateDer<'static>]>>) -> Self {
        Self { authorities: authorities.into(), known: Arc::default() }
    }

    /// From a PEM bundle.
    pub fn load(path: &Path) -> Result<Self, tls::Error> {
        let shown = path.display().to_string();
        let pem = std::fs::read(path).map_err(|source| tls::Error::Read { path: shown.clone(), source })?;
        Ok(Self::new(tls::certificates_from_pem(&pem, &shown)?))
    }

    /// The user of the first certificate, if its chain ends at one of the authorities at the time `now`. Possession of
    /// the key was proved in the handshake.
    pub fn user(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Option<User> {
        self.judge(chain, now).user
    }

    /// As [`ClientAuthority::user`], and when the first certificate ends, whether or not anybody vouches for it.
    pub fn judge(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Judged {
        if let Some((user, ends)) = self.known.find(chain, now) {
            return Judged { user: Some(user), ends: Some(ends) };
        }
        let ends = chain.first().and_then(|der| Some(parse(der)?.validity().not_after.timestamp()));
        let user = self.check(chain, now);
        if let (Some(user), Some(ends)) = (&user, ends) {
            self.remember(chain, user, ends, now);
        }
        Judged { user, ends }
    }

    /// As long as nothing ends that the user may rest on; when the clock goes back, it is looked at anew.
    fn remember(&self, chain: &[CertificateDer<'static>], user: &User, ends: i64, now: Timestamp) {
        let all = chain.iter().chain(self.authorities.iter()).filter_map(|der| Some(parse(der)?.validity().not_after));
        if let Some(end) = all.map(|end| end.timestamp()).filter(|end| *end >= now.as_second()).min() {
            self.known.remember(chain, (user.clone(), ends), now.as_second()..=end);
        }
    }

    fn check(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<User> {
        let (leaf, intermediates) = chain.split_first()?;
        let parsed = parse(leaf)?;
        if !valid_at(&parsed, now) || !for_clients(&parsed) || !self.vouches(leaf, intermediates, now, MAX_DEPTH) {
            return None;
        }
        let name = readable(parsed.subject().iter_common_name().last()?)?;
        let groups = parsed.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        let uid = uid(parsed.subject())?;
        Some(User { name, uid, groups, extra: Vec::new() })
    }

    fn vouches(&self, leaf: &[u8], intermediates: &[CertificateDer<'_>], now: Timestamp, depth: usize) -> bool {
        if self.authorities.iter().any(|authority| &**authority == leaf) {
            return true;
        }
        let Some(parsed) = parse(leaf).filter(|_| depth > 0) else {
            return false;
        };
        let direct =
            self.authorities.iter().filter_map(|der| parse(der)).any(|ca| valid_at(&ca, now) && signed(&parsed, &ca));
        direct
            || intermediates.iter().any(|der| {
                let issuer = parse(der).filter(|ca| valid_at(ca, now) && ca.is_ca() && signed(&parsed, ca));
                issuer.is_some() && self.vouches(der, intermediates, now, depth - 1)
            })
    }
}

/// Longer chains are nobody's honest work.
const MAX_DEPTH: usize = 5;

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

fn valid_at(certificate: &X509Certificate<'_>, now: Timestamp) -> bool {
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.as_second())
}

/// Without the extension a certificate may be used for everything.
fn for_clients(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
        Ok(None) => true,
        Err(_) => false,
    }
}

fn signed(certificate: &X509Certificate<'_>, authority: &X509Certificate<'_>) -> bool {
    certificate.issuer() == authority.subject() && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

fn readable(value: &AttributeTypeAndValue<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned).filter(|text| !text.is_empty())
}

/// Kubernetes's own attribute for a user's UID; empty where there is none. Of several, and of one that says nothing, no
/// user is believed.
fn uid(subject: &X509Name<'_>) -> Option<String> {
    let kubernetes_uid = x509_parser::der_parser::oid!(1.3.6.1.4.1.57683.2);
    let mut uids = subject.iter_attributes().filter(|attribute| *attribute.attr_type() == kubernetes_uid);
    match (uids.next(), uids.next()) {
        (None, _) => Some(String::new()),
        (Some(uid), None) => readable(uid),
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subject with these UIDs.
    fn subject(uids: &[&str]) -> Vec<u8> {
        const OID: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc2, 0x53, 0x02];
        let tagged = |tag: u8, body: &[u8]| [&[tag, u8::try_from(body.len()).unwrap()], body].concat();
        let one = |uid: &&str| tagged(0x31, &tagged(0x30, &[OID, &tagged(0x0c, uid.as_bytes())].concat()));
        tagged(0x30, &uids.iter().flat_map(one).collect::<Vec<u8>>())
    }

    #[test]
    fn a_user_has_one_uid_or_none() {
        for (uids, wanted) in
            [(&[][..], Some("")), (&["a"], Some("a")), (&["a", "b"], None), (&["a", "a"], None), (&[""], None)]
        {
            let der = subject(uids);
            let (_, name) = X509Name::from_der(&der).unwrap();
            assert_eq!(uid(&name).as_deref(), wanted, "{uids:?}");
        }
    }
}
