//! Front proxies: whoever holds a certificate of their authority says in headers who asks (Kubernetes concept:
//! "Authenticating Proxy").

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use component::delegated::ClientAuthority;
use component::flags::Values;
use component::tls;
use http::HeaderMap;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use crate::request::{User, extra_key, header_text};

/// What front proxies commonly use, and this server towards others.
const USUAL: [&str; 3] = ["x-remote-user", "x-remote-uid", "x-remote-group"];
const USUAL_EXTRA: &str = "x-remote-extra-";

/// Whether the header is one of those in which front proxies commonly say who asks.
pub fn is_usual(name: &str) -> bool {
    USUAL.contains(&name) || name.starts_with(USUAL_EXTRA)
}

/// The `--requestheader-…` flags.
pub struct RequestHeader {
    authority: ClientAuthority,
    /// Common names; none: any.
    allowed_names: Vec<String>,
    username: Vec<String>,
    uid: Vec<String>,
    groups: Vec<String>,
    extra_prefixes: Vec<String>,
}

impl RequestHeader {
    pub fn from_flags(values: &Values) -> Result<Option<Self>, tls::Error> {
        let Some(path) = values.opt_str("requestheader-client-ca-file") else { return Ok(None) };
        let names = |flag: &str| values.strings(flag).iter().map(|name| name.to_lowercase()).collect();
        Ok(Some(Self {
            authority: ClientAuthority::load(Path::new(path))?,
            allowed_names: values.strings("requestheader-allowed-names"),
            username: names("requestheader-username-headers"),
            uid: names("requestheader-uid-headers"),
            groups: names("requestheader-group-headers"),
            extra_prefixes: names("requestheader-extra-headers-prefix"),
        }))
    }

    /// The user that a front proxy names; `None` when this is no front proxy, or names nobody.
    pub fn user(&self, peer: &[CertificateDer<'static>], headers: &HeaderMap, now: Timestamp) -> Option<User> {
        // The headers first: hardly a request has them, and a certificate is dear to check.
        let user = self.named(headers)?;
        let proxy = self.authority.user(peer, now)?;
        (self.allowed_names.is_empty() || self.allowed_names.contains(&proxy.name)).then_some(user)
    }

    /// Whether a front proxy may say in this header who asks.
    pub fn reads(&self, name: &str) -> bool {
        let mut names = self.username.iter().chain(&self.uid).chain(&self.groups);
        names.any(|own| own == name) || self.extra_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    fn named(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[String]| {
            let mut values = names.iter().filter_map(|name| headers.get(name).map(header_text));
            values.find(|value| !value.is_empty()).map(Cow::into_owned)
        };
        let groups = self.groups.iter().flat_map(|name| headers.get_all(name)).filter(|group| !group.is_empty());
        Some(User {
            name: first(&self.username)?,
            uid: first(&self.uid).unwrap_or_default(),
            groups: groups.map(|value| header_text(value).into_owned()).collect(),
            extra: self.extra(headers),
        })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let mut prefixes = self.extra_prefixes.iter();
            let key = prefixes.find_map(|prefix| name.as_str().strip_prefix(prefix.as_str()));
            if let Some(key) = key {
                extra.entry(extra_key(key)).or_default().push(header_text(value).into_owned());
            }
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_the_user() {
        let list = |name: &str| vec![name.to_owned()];
        let proxy = RequestHeader {
            authority: ClientAuthority::new(Vec::new()),
            allowed_names: Vec::new(),
            username: list("x-remote-user"),
            uid: list("x-remote-uid"),
            groups: list("x-remote-group"),
            extra_prefixes: list("x-remote-extra-"),
        };
        let mut headers = HeaderMap::new();
        assert_eq!(proxy.named(&headers), None);
        for (name, value) in [
            ("x-remote-user", "bob"),
            ("x-remote-group", "a"),
            ("x-remote-group", ""),
            ("x-remote-group", "b"),
            ("x-remote-extra-a%2fb", "1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let other = HeaderMap::from_iter([("x-remote-user", "jürgen")].map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_bytes(value.as_bytes()).unwrap())
        }));
        assert_eq!(proxy.named(&other).unwrap().name, "jürgen");
        let user = proxy.named(&headers).unwrap();
        assert_eq!((user.name.as_str(), user.groups.len(), &user.extra["a/b"]), ("bob", 2, &list("1")));
        assert_eq!(proxy.user(&[], &headers, Timestamp::UNIX_EPOCH), None, "without a certificate anyone could say so");
    }
}
